//! Streaming: the image's init starts before all of the image is there, and in the end the worker needs nobody all the same.
//!
//! A second process ([`process`]), `/init` started once more, serves the image to the kernel as a FUSE file over the file in
//! tmpfs that its chunks come into, verified as ever. A read of what is there is answered at once, another waits, and what it
//! waits for is fetched first. The file lies under the loop device that the root is mounted from. When the last chunk is in,
//! the kernel exchanges it for the plain file (LOOP_CHANGE_FD), and the process ends.
//!
//! Nobody is ever told that a read failed: a program waits, and `ramboot.deadline` says for how long.

pub mod file_server;
pub mod fuse;
pub mod handoff;
pub mod process;
pub mod reads;
pub mod start;
pub mod system_events;
pub mod uplink;

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

use anyhow::{Context as _, bail};

use handoff::Handoff;

/// How the process is called in a list of processes. systemd spares a process whose name begins so when it shuts down
/// (<https://systemd.io/ROOT_STORAGE_DAEMONS/>).
pub const NAME: &str = "@ramboot-stream";

/// The image can be mounted from `device` now.
#[derive(Debug)]
pub struct Started {
    /// The loop device.
    pub device: PathBuf,
    /// Closes when this process becomes another: then the other one knows that the handover is done.
    pub until_handover: ChildStdin,
}

/// Why this kernel cannot, if it cannot.
///
/// # Errors
/// What is missing.
pub fn is_possible() -> Result<(), &'static str> {
    for (path, lack) in [
        ("/dev/fuse", "this kernel has no FUSE: /dev/fuse is missing"),
        (
            "/dev/loop-control",
            "this kernel has no loop devices: /dev/loop-control is missing",
        ),
    ] {
        if !Path::new(path).exists() {
            return Err(lack);
        }
    }
    Ok(())
}

/// Starts the process and hands over what it needs.
///
/// # Errors
/// It cannot, and says why; nothing is mounted then.
pub fn spawn(handoff: &Handoff) -> anyhow::Result<Started> {
    let mut child = Command::new("/proc/self/exe")
        .arg0(NAME)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::options().write(true).open("/dev/null")?)
        .spawn()
        .context("starting the process that streams")?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    // Whoever is the first process then reaps it.
    drop(child);
    let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
        bail!("no pipes to the process that streams");
    };
    // If it ends meanwhile, it has said why.
    let told = handoff.write(&mut stdin);
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if let Some(device) = line.strip_prefix(DEVICE) {
            return Ok(Started {
                device: device.into(),
                until_handover: stdin,
            });
        }
        if let Some(why) = line.strip_prefix(FAILED) {
            bail!("{why}");
        }
    }
    told.context("giving orders to the process that streams")?;
    bail!("the process that streams ended without a word");
}

/// Whether this process is to be that one.
#[must_use]
pub fn called(args: &[OsString]) -> bool {
    args.first().is_some_and(|name| name == NAME)
}

const DEVICE: &str = "device ";
const FAILED: &str = "failed ";
