//! What a boot says: on the console for people and tests, in /dev/kmsg so that `dmesg` and the journal keep it.
//!
//! Nothing here can fail: a worker without a console boots all the same.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Something to say while a stage runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A chunk that is not what was published, and from whom. Told at once, reported, kept in the log.
    Bad(String),
    /// Where a transfer stands, or what it waits for. Console only: the kernel's log is small.
    Progress(String),
}

/// Writes one line to the console and to the kernel's log.
pub fn say(text: &str) {
    progress(text);
    if let Some(kmsg) = KMSG.get() {
        let mut kmsg = kmsg.lock().unwrap_or_else(PoisonError::into_inner);
        // Debug level: the console, which shows what is more urgent than that, has the line already.
        kmsg.write_all(format!("<7>{text}\n").as_bytes()).ok();
    }
}

/// Writes one line to the console only.
pub fn progress(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{text}\n").as_bytes())
        .and_then(|()| out.flush())
        .ok();
}

/// Writes one line to the console if `ramboot.debug` stands on the command line.
pub fn debug(text: impl FnOnce() -> String) {
    if DEBUG.load(Ordering::Relaxed) {
        progress(&format!("ramboot: debug: {}", text()));
    }
}

/// What [`debug`] is given is shown from now on.
pub fn show_debug() {
    DEBUG.store(true, Ordering::Relaxed);
}

/// Starts to write to the kernel's log.
pub fn open_kmsg() {
    // "ratelimit", the default, drops lines of user space after ten in five seconds.
    std::fs::write("/proc/sys/kernel/printk_devkmsg", "on\n").ok();
    if let Ok(file) = OpenOptions::new().write(true).open("/dev/kmsg") {
        KMSG.set(Mutex::new(file)).ok();
    }
}

/// Bytes as megabytes, for people.
#[must_use]
pub const fn mb(bytes: u64) -> u64 {
    bytes / 1_000_000
}

/// Bytes as mebibytes, rounded up: RAM is counted in powers of two.
#[must_use]
pub const fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

static DEBUG: AtomicBool = AtomicBool::new(false);
static KMSG: OnceLock<Mutex<File>> = OnceLock::new();
