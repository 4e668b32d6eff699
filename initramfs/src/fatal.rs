//! The last resort: what PID 1 does when it cannot go on, or when the deadline passes. It never returns.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::system::{RebootCommand, reboot};

use crate::clock;
use crate::console::{self, say};

/// From now on the machine reboots after so many seconds, whatever a stage is waiting for.
pub fn arm(seconds: u32) {
    let at = clock::now() + Duration::from_secs(seconds.into());
    if REBOOT_AT.set(at).is_err() {
        return;
    }
    console::deadline(at);
    let watch = move || {
        clock::sleep(at.saturating_duration_since(clock::now()));
        if !HANDED_OVER.load(Ordering::SeqCst) {
            say(&format!(
                "ramboot: no handover after {seconds} s (ramboot.deadline); rebooting now"
            ));
            restart();
        }
    };
    // Without the thread a failed boot still ends in `stop`, which looks at the deadline, too.
    if let Err(error) = thread::Builder::new()
        .name("deadline".to_owned())
        .spawn(watch)
    {
        say(&format!("ramboot: no thread for ramboot.deadline: {error}"));
    }
}

/// The image's init is about to run: the deadline is met.
pub fn disarm() {
    HANDED_OVER.store(true, Ordering::SeqCst);
}

/// Says what failed and what happens now, and does it: waits for ever, or reboots at the deadline.
pub fn stop(sentence: &str) -> ! {
    loop {
        let now = clock::now();
        let left = REBOOT_AT.get().map(|at| at.saturating_duration_since(now));
        match left {
            Some(Duration::ZERO) => restart(),
            Some(left) => say(&format!(
                "{sentence}; rebooting in {} s (ramboot.deadline)",
                left.as_secs()
            )),
            None => say(&format!(
                "{sentence}; waiting for somebody to look (ramboot.deadline would reboot)"
            )),
        }
        clock::sleep(left.unwrap_or(REPEAT).min(REPEAT));
    }
}

/// A panic of PID 1 is a kernel panic, and its message scrolls away under the kernel's own.
pub fn hook_panics() {
    std::panic::set_hook(Box::new(|info| {
        console::panicked();
        stop(&format!("ramboot: a bug in /init: {info}"));
    }));
}

/// Reboots.
pub fn restart() -> ! {
    // Lets a serial line print what was said last.
    clock::sleep(Duration::from_millis(200));
    loop {
        // Nothing on this machine is worth a sync: everything is in RAM.
        if let Err(error) = reboot(RebootCommand::Restart) {
            say(&format!(
                "ramboot: rebooting: {error}; trying again in 60 s"
            ));
        }
        clock::sleep(REPEAT);
    }
}

static REBOOT_AT: OnceLock<Instant> = OnceLock::new();
static HANDED_OVER: AtomicBool = AtomicBool::new(false);
/// Often enough for whoever plugs a screen in, rare enough to keep what stands above.
const REPEAT: Duration = Duration::from_secs(60);
