//! The one place where time and chance come from, and where a thread steps back, so that everything that decides can take them as arguments.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: owns the clock and the waiting"
)]

use std::time::{Duration, Instant};

use ramboot_wire::stage::Bar;
use rustix::rand::{GetRandomFlags, getrandom};

/// The monotonic clock.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Since the kernel started: `CLOCK_BOOTTIME`, which also counts a suspend.
#[must_use]
pub fn since_kernel() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Counts from when `/init` started.
#[derive(Debug, Clone, Copy)]
pub struct Watch(Instant);

impl Watch {
    /// It starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(now())
    }

    /// Milliseconds since.
    #[must_use]
    pub fn ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Something that began then and ends now.
    #[must_use]
    pub fn bar(&self, what: &str, begin_ms: u64) -> Bar {
        Bar {
            what: what.to_owned(),
            begin_ms,
            end_ms: self.ms(),
        }
    }
}

/// Does nothing for a while.
pub fn sleep(time: Duration) {
    std::thread::sleep(time);
}

/// Makes this thread give way to others: 19 most of all. Of a thread, on Linux (setpriority(2)); refused to nobody.
pub fn give_way(nice: i32) {
    let _ = rustix::process::setpriority_process(None, nice);
}

/// 32 bits of chance, good enough for jitter and transaction ids, never for secrets.
///
/// `GRND_INSECURE` (Linux 5.6), because the kernel's pool may fill late on a board without a hardware generator and
/// a boot must not wait for that. An older kernel gets the low bits of its clock.
#[must_use]
pub fn chance() -> u32 {
    let mut bytes = [0; 4];
    match getrandom(&mut bytes, GetRandomFlags::INSECURE) {
        Ok(_) => u32::from_ne_bytes(bytes),
        Err(_) => {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            u32::try_from(time.tv_nsec & 0x3fff_ffff)
                .unwrap_or(0)
                .rotate_left(9)
        }
    }
}
