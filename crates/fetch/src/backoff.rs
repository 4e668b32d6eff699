//! How long to wait before the next try: exponential with full jitter, for ever.
//!
//! Full jitter, because a thousand workers that lost the same manager at the same moment must not come back at the
//! same moment. Pure: chance is an argument.

use std::time::Duration;

/// Counts failures in a row.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits at most `first` after the first failure, twice as long after the next, and never longer than `cap`.
    #[must_use]
    pub const fn new(first: Duration, cap: Duration) -> Self {
        Self {
            first,
            cap,
            failures: 0,
        }
    }

    /// Something worked: the next failure is a first one again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// One more failure: how long to wait. `chance` is any number, all equally likely.
    pub fn next(&mut self, chance: u32) -> Duration {
        let ceiling = self
            .first
            .saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX))
            .min(self.cap);
        self.failures = self.failures.saturating_add(1);
        // Never zero: a refused connection costs nothing, and a loop of them would eat a core.
        (ceiling.mul_f64(f64::from(chance) / f64::from(u32::MAX))).max(FLOOR.min(self.cap))
    }
}

const FLOOR: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIRST: Duration = Duration::from_millis(500);
    const CAP: Duration = Duration::from_secs(15);

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let mut backoff = Backoff::new(FIRST, CAP);
        let waits: Vec<u128> = (0..7).map(|_| backoff.next(u32::MAX).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
        backoff.reset();
        assert_eq!(backoff.next(u32::MAX), FIRST);
        assert_eq!(backoff.next(0), FLOOR);
    }

    proptest! {
        #[test]
        fn always_between_floor_and_cap(failures in 0_u32..200, chance: u32) {
            let mut backoff = Backoff::new(FIRST, CAP);
            for _ in 0..failures {
                backoff.next(chance);
            }
            let wait = backoff.next(chance);
            prop_assert!(wait >= FLOOR && wait <= CAP);
        }
    }
}
