//! The one place of a fetch where time and chance come from, and where a thread steps back, so that everything that decides can
//! take them as arguments.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: owns the clock and the waiting"
)]

use std::time::{Duration, Instant};

use rustix::rand::{GetRandomFlags, getrandom};

/// The monotonic clock.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
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
