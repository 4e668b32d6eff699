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
