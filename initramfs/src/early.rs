//! The file systems every later part needs, the console, and the kernel command line.

use std::fs::{self, OpenOptions};
use std::io;

use anyhow::Context as _;
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use crate::console;

struct Mount {
    kind: &'static str,
    on: &'static str,
    flags: MountFlags,
    data: Option<&'static std::ffi::CStr>,
}

/// In this order; all of them are moved into the image's root at the end.
const MOUNTS: [Mount; 4] = [
    Mount {
        kind: "proc",
        on: "/proc",
        flags: SAFE,
        data: None,
    },
    Mount {
        kind: "sysfs",
        on: "/sys",
        flags: SAFE,
        data: None,
    },
    // Devices and programs are what it is for (`/dev/shm` is a mount of its own).
    Mount {
        kind: "devtmpfs",
        on: "/dev",
        flags: MountFlags::NOSUID,
        data: Some(c"mode=0755"),
    },
    // systemd keeps a /run that is mounted already, and with it what we leave in /run/ramboot.
    Mount {
        kind: "tmpfs",
        on: "/run",
        flags: MountFlags::NOSUID.union(MountFlags::NODEV),
        data: Some(c"mode=0755"),
    },
];

const SAFE: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// Mounts what is not mounted, and speaks from now on.
///
/// # Errors
/// One of the mounts failed: nothing works without them.
pub fn prepare() -> anyhow::Result<()> {
    for Mount {
        kind,
        on,
        flags,
        data,
    } in MOUNTS
    {
        fs::create_dir_all(on).with_context(|| format!("making {on}"))?;
        match mount(kind, on, kind, flags, data) {
            // With CONFIG_DEVTMPFS_MOUNT some kernels have mounted /dev already.
            Ok(()) | Err(Errno::BUSY) => {}
            Err(error) => return Err(error).with_context(|| format!("mounting {kind} on {on}")),
        }
        if on == "/dev" {
            // Without a console there is still the kernel's log and the report.
            open_console().ok();
        }
    }
    console::open_kmsg();
    Ok(())
}

/// The kernel opened /dev/console for us only if the initramfs holds that node.
fn open_console() -> io::Result<()> {
    let console = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/console")?;
    rustix::stdio::dup2_stdin(&console)?;
    rustix::stdio::dup2_stdout(&console)?;
    rustix::stdio::dup2_stderr(&console)?;
    Ok(())
}

/// The kernel command line.
///
/// # Errors
/// /proc has none.
pub fn cmdline() -> anyhow::Result<String> {
    fs::read_to_string("/proc/cmdline").context("reading /proc/cmdline")
}

/// What the machine is, as its maker has it; `None` where it does not say.
#[must_use]
pub fn machine() -> Option<String> {
    let read = |path: &str| fs::read_to_string(path).ok();
    // Device trees (a Raspberry Pi's), then SMBIOS (PCs).
    if let Some(model) = read("/proc/device-tree/model") {
        return named("", model.trim_end_matches('\0'));
    }
    let vendor = read("/sys/class/dmi/id/sys_vendor").unwrap_or_default();
    named(&vendor, &read("/sys/class/dmi/id/product_name")?)
}

/// Vendor and product in one; mainboard makers leave words in both that say nothing.
fn named(vendor: &str, product: &str) -> Option<String> {
    let says = |text: &str| {
        let text = text.trim();
        let empty = text.is_empty()
            || text.starts_with("To ")
            || text.starts_with("Default ")
            || text.starts_with("System ");
        (!empty).then(|| text.to_owned())
    };
    let product = says(product)?;
    let name = match says(vendor).filter(|vendor| !product.starts_with(vendor.as_str())) {
        Some(vendor) => format!("{vendor} {product}"),
        None => product,
    };
    Some(name.chars().take(MAX_MACHINE).collect())
}

const MAX_MACHINE: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_called_as_its_maker_does() {
        for (vendor, product, want) in [
            (
                "",
                "Raspberry Pi 4 Model B Rev 1.4",
                Some("Raspberry Pi 4 Model B Rev 1.4"),
            ),
            (
                "QEMU\n",
                "Standard PC (i440FX + PIIX, 1996)\n",
                Some("QEMU Standard PC (i440FX + PIIX, 1996)"),
            ),
            ("HP\n", "HP EliteDesk 800 G3\n", Some("HP EliteDesk 800 G3")),
            ("To Be Filled By O.E.M.\n", "X570\n", Some("X570")),
            ("System manufacturer\n", "System Product Name\n", None),
            ("Dell Inc.", "", None),
        ] {
            assert_eq!(
                named(vendor, product).as_deref(),
                want,
                "{vendor} {product}"
            );
        }
    }
}
