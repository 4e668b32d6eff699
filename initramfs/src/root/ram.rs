//! RAM for the image: whether it fits is said before the first byte is fetched, and what fits is taken at once.
//!
//! The file lies in a tmpfs of its own with exactly its size: tmpfs's default of half the RAM is why other netboots
//! fail with "no space left" in the middle. It is the only copy of the image, ever.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context as _;
use ramboot_wire::Overlay;
use ramboot_wire::root::PAGE;
pub use ramboot_wire::root::{HEADROOM, mib};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::root::sys::{Mapped, Room};

/// The image and the worker's first programs do not fit beside this initramfs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "image of {image} bytes does not fit: needs {} MiB (image {} MiB, this initramfs {} MiB, the worker's first programs \
     {} MiB), {} MiB available; add RAM or publish a smaller image",
    mib(image.saturating_add(*initramfs).saturating_add(HEADROOM)),
    mib(*image),
    mib(*initramfs),
    mib(HEADROOM),
    available.saturating_add(*initramfs) >> 20
)]
pub struct NoRoom {
    /// Bytes of the image.
    pub image: u64,
    /// Bytes that the initramfs holds until the handover.
    pub initramfs: u64,
    /// Bytes the kernel can give beside the initramfs.
    pub available: u64,
}

/// Compares what is needed with what there is. What the initramfs holds is needed, too, until the image is in and the
/// worker's init starts; but the kernel has taken it out of `available` already, so it is on both sides.
///
/// # Errors
/// It does not fit. That is permanent: fetching would only make it worse.
pub fn check(image: u64, initramfs: u64, available: u64) -> Result<(), NoRoom> {
    if image.saturating_add(HEADROOM) <= available {
        Ok(())
    } else {
        Err(NoRoom {
            image,
            initramfs,
            available,
        })
    }
}

/// What the initramfs holds at this moment: bytes of the pages of its files. Asked file by file, since rootfs may be a
/// ramfs, for which statfs(2) knows no numbers.
///
/// # Errors
/// A folder cannot be read.
pub fn initramfs() -> anyhow::Result<u64> {
    held(Path::new("/")).context("adding up the files of the initramfs")
}

/// Bytes of the pages of all files below `root`, on its file system only.
fn held(root: &Path) -> std::io::Result<u64> {
    let device = fs::symlink_metadata(root)?.dev();
    let mut folders = vec![root.to_owned()];
    let mut bytes = 0_u64;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.dev() != device {
                continue;
            }
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.is_file() {
                bytes = bytes.saturating_add(metadata.len().next_multiple_of(PAGE));
            }
        }
    }
    Ok(bytes)
}

/// What the kernel says it can give without swapping: `MemAvailable`.
///
/// # Errors
/// /proc/meminfo is not as it should be.
pub fn available() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    mem_available(&text).context("finding MemAvailable in /proc/meminfo")
}

/// The image's file, with all its RAM or as it comes, in a tmpfs of exactly its size that only root can look into.
///
/// # Errors
/// Those of the kernel.
pub fn image_file(folder: &Path, size: u64, room: Room) -> anyhow::Result<Mapped> {
    let tmpfs = device_len(size);
    // Huge pages where they lie wholly inside the file, so that they cost no RAM: filling the file takes a fifth of the
    // CPU time. A kernel built without them refuses the option.
    if mount_with(folder, tmpfs, "0700", ",huge=within_size").is_err() {
        mount_tmpfs(folder, tmpfs, "0700")?;
    }
    let len = usize::try_from(size).context("an image larger than this machine can address")?;
    Mapped::new(folder, len, room).with_context(|| {
        let folder = folder.display();
        format!("taking {} MiB of RAM for the image in {folder}", mib(size))
    })
}

/// The same, taken before anything is known of the network, if there is so much RAM that none of them can make the
/// difference. `None` leaves no trace: it is to be asked for again when everything is known, and the answer said then.
#[must_use]
pub fn image_file_ahead(folder: &Path, size: u64) -> Option<Mapped> {
    check(size.saturating_add(HEADROOM), 0, available().ok()?).ok()?;
    let file = image_file(folder, size, Room::Now);
    if file.is_err() {
        unmount(folder, UnmountFlags::DETACH).ok();
    }
    file.ok()
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
#[must_use]
pub const fn device_len(size: u64) -> u64 {
    size.next_multiple_of(PAGE)
}

/// Bytes of RAM that the kernel has.
#[must_use]
pub fn total() -> u64 {
    let system = rustix::system::sysinfo();
    system.totalram.saturating_mul(system.mem_unit.into())
}

pub(crate) fn mem_available(meminfo: &str) -> Option<u64> {
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
    fn a_refusal_names_all_numbers_and_a_way_out() {
        let refused = check(205_586_432, 2_400_000, 104_857_600).expect_err("too little");
        assert_eq!(
            refused.to_string(),
            "image of 205586432 bytes does not fit: needs 263 MiB (image 197 MiB, this initramfs 3 MiB, the worker's first \
             programs 64 MiB), 102 MiB available; add RAM or publish a smaller image"
        );
    }

    #[test]
    fn an_image_fits_or_not() {
        const MIB: u64 = 1 << 20;
        for (image, initramfs, available, fits) in [
            (100, 0, HEADROOM + 100, true),
            (101, 0, HEADROOM + 100, false),
            (1, MIB, HEADROOM, false),
            (196 * MIB, 2 * MIB, 260 * MIB, true),
            (196 * MIB, 2 * MIB, 260 * MIB - 1, false),
            (0, 0, 0, false),
            (u64::MAX, 0, u64::MAX - 1, false),
            (1, u64::MAX, 1, false),
        ] {
            let checked = check(image, initramfs, available);
            assert_eq!(checked.is_ok(), fits, "{image} {initramfs} {available}");
        }
    }

    #[test]
    fn what_an_initramfs_holds_is_counted_in_pages() {
        let root = std::env::temp_dir().join(format!("ramboot-held-{}", std::process::id()));
        fs::create_dir_all(root.join("a/b")).expect("made");
        for (path, bytes) in [
            ("one", 1),
            ("a/page", 4096),
            ("a/b/more", 4097),
            ("none", 0),
        ] {
            fs::write(root.join(path), vec![0; bytes]).expect("written");
        }
        std::os::unix::fs::symlink("/", root.join("a/loop")).expect("linked");
        assert_eq!(held(&root).expect("read"), 4 * PAGE);
        fs::remove_dir_all(&root).expect("clean up");
        let gone = held(&root).expect_err("nothing is there");
        assert_eq!(gone.kind(), std::io::ErrorKind::NotFound);
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
