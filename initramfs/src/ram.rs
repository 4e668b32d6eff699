//! RAM for the image: whether it fits is said before the first byte is fetched, and what fits is taken at once.
//!
//! The file lies in a tmpfs of its own with exactly its size: tmpfs's default of half the RAM is why other netboots
//! fail with "no space left" in the middle. It is the only copy of the image, ever.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use ramboot_wire::Overlay;
use rustix::mount::{MountFlags, mount};

use crate::console::mib;
use crate::sys::Mapped;

/// What must be free beside the image, so that the worker comes up and not only the image in: buffers and sockets of
/// the fetch (2 MiB), and the image's own init with its first services until they run (a Debian with systemd takes
/// some 50 MiB with caches). Less ends in the OOM killer at a place that looks like anything but too little RAM.
pub const HEADROOM: u64 = 64 << 20;

/// The image and the worker's first programs do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "image of {size} bytes does not fit: needs {} MiB (image + {} MiB for the worker's first programs), {} MiB available; \
     add RAM or publish a smaller image",
    mib(size.saturating_add(HEADROOM)),
    mib(HEADROOM),
    available >> 20
)]
pub struct NoRoom {
    /// Bytes of the image.
    pub size: u64,
    /// Bytes the kernel can give.
    pub available: u64,
}

/// Compares both numbers.
///
/// # Errors
/// It does not fit. That is permanent: fetching would only make it worse.
pub fn check(size: u64, available: u64) -> Result<(), NoRoom> {
    if size.saturating_add(HEADROOM) <= available {
        Ok(())
    } else {
        Err(NoRoom { size, available })
    }
}

/// What the kernel says it can give without swapping: `MemAvailable`.
///
/// # Errors
/// /proc/meminfo is not as it should be.
pub fn available() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    mem_available(&text).context("finding MemAvailable in /proc/meminfo")
}

/// The image's file with all its RAM, in a tmpfs of exactly its size that only root can look into.
///
/// # Errors
/// Those of the kernel.
pub fn image_file(folder: &Path, size: u64) -> anyhow::Result<Mapped> {
    let tmpfs = device_len(size);
    // Huge pages where they lie wholly inside the file, so that they cost no RAM: filling the file takes a fifth of the
    // CPU time. A kernel built without them refuses the option.
    if mount_with(folder, tmpfs, "0700", ",huge=within_size").is_err() {
        mount_tmpfs(folder, tmpfs, "0700")?;
    }
    let len = usize::try_from(size).context("an image larger than this machine can address")?;
    Mapped::new(folder, len).with_context(|| {
        let folder = folder.display();
        format!("taking {} MiB of RAM for the image in {folder}", mib(size))
    })
}

/// A tmpfs of a given size.
///
/// # Errors
/// Those of the kernel.
pub fn mount_tmpfs(folder: &Path, size: u64, mode: &str) -> anyhow::Result<()> {
    mount_with(folder, size, mode, "")
}

fn mount_with(folder: &Path, size: u64, mode: &str, more: &str) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let data = std::ffi::CString::new(format!("size={size},mode={mode}{more}"))?;
    mount("ramboot", folder, "tmpfs", MountFlags::empty(), &*data).with_context(|| {
        format!(
            "mounting a tmpfs of {} MiB on {}",
            mib(size),
            folder.display()
        )
    })
}

/// How large the writable layer may grow; half of what is left if nobody said. It takes no RAM before it is used.
#[must_use]
pub fn layer_bytes(wanted: Option<Overlay>, left: u64) -> u64 {
    let bytes = match wanted.unwrap_or(Overlay::Percent(50)) {
        Overlay::Bytes(bytes) => bytes,
        Overlay::Percent(percent) => left / 100 * u64::from(percent),
    };
    // A layer of nothing cannot even hold overlayfs's own folders.
    bytes.max(MIN_LAYER)
}

/// A loop device cuts off what does not fill a sector, so the file ends on a page.
const fn device_len(size: u64) -> u64 {
    size.next_multiple_of(4096)
}

fn mem_available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

const MIN_LAYER: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_both_numbers_and_a_way_out() {
        assert_eq!(check(100, HEADROOM + 100), Ok(()));
        let refused = check(205_586_432, 104_857_600).expect_err("too little");
        assert_eq!(
            refused.to_string(),
            "image of 205586432 bytes does not fit: needs 261 MiB (image + 64 MiB for the worker's first programs), \
             100 MiB available; add RAM or publish a smaller image"
        );
        assert!(check(u64::MAX, u64::MAX - 1).is_err());
    }

    #[test]
    fn meminfo() {
        let text = "MemTotal:  1000 kB\nMemFree: 10 kB\nMemAvailable:     756 kB\n";
        assert_eq!(mem_available(text), Some(756 * 1024));
        for text in [
            "",
            "MemAvailable: x kB\n",
            "MemAvailable: 99999999999999999999 kB\n",
        ] {
            assert_eq!(mem_available(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_layer() {
        for (wanted, left, want) in [
            (None, 1 << 30, (1 << 30) / 100 * 50),
            (Some(Overlay::Percent(25)), 400 << 20, 104_857_600),
            (Some(Overlay::Bytes(2 << 30)), 1, 2 << 30),
            (None, 0, MIN_LAYER),
        ] {
            assert_eq!(layer_bytes(wanted, left), want);
        }
    }
}
