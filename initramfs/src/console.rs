//! What a boot says: on the console for people and tests, in /dev/kmsg so that `dmesg` and the journal keep it.
//!
//! Nothing here can fail: a worker without a console boots all the same.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Something to say while a stage runs. [`fmt::Display`] gives the line for a console.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A chunk that is not what was published, and from whom. Told at once, reported, kept in the log.
    Bad(String),
    /// Where a transfer stands. Console only: the kernel's log is small.
    Progress(Progress),
    /// Nothing moves, and why. Console only, too.
    Wait(Wait),
}

/// Where the transfer of the image stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Verified bytes.
    pub done: u64,
    /// Bytes of the image.
    pub total: u64,
    /// Verified bytes a second, since it was said last.
    pub per_second: f64,
    /// What some streams suffer from while others go on: the base, and what went wrong with it.
    pub trouble: Option<(String, String)>,
}

/// What is waited for, since when, and what will be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// `http://10.0.0.1:8067`, `a DHCP server on eth0`.
    pub what: String,
    /// For how long.
    pub since: Duration,
    /// What went wrong last, if anything did.
    pub why: Option<String>,
    /// `next try in 1.2 s`, `asking again until one answers`.
    pub next: String,
    /// Verified bytes and all bytes, where part of the image is there already.
    pub here: Option<(u64, u64)>,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad(text) => write!(f, "bad chunk from {text}; fetching it again"),
            Self::Progress(progress) => progress.fmt(f),
            Self::Wait(wait) => wait.fmt(f),
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let here = share(self.done, self.total);
        write!(f, "fetch {here} at {:.1} MB/s", self.per_second / 1e6)?;
        match &self.trouble {
            Some((base, why)) => write!(f, "; trouble with {base}: {why}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "waiting for {} since {} s",
            self.what,
            self.since.as_secs()
        )?;
        if let Some(why) = &self.why {
            write!(f, " ({why})")?;
        }
        write!(f, "; {}", self.next)?;
        match self.here {
            Some((done, total)) => write!(f, "; {} are here", share(done, total)),
            None => Ok(()),
        }
    }
}

/// `45 % (62 of 139 MB)`
fn share(done: u64, total: u64) -> String {
    let percent = done.saturating_mul(100) / total.max(1);
    format!("{percent} % ({} of {} MB)", mb(done), mb(total))
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

/// Says what is waited for.
pub fn wait(wait: Wait) {
    progress(&format!("ramboot: {}", Event::Wait(wait)));
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
