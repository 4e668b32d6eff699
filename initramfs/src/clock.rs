//! Time as a boot counts it; where it comes from is the fetch's clock.

use std::time::{Duration, Instant};

pub use ramboot_fetch::clock::{chance, give_way, now, sleep};
use ramboot_wire::stage::Bar;

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
