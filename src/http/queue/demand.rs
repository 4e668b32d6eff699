//! Workers that run while they fetch the rest, and what they are blocked on: that is let go at once. Pure.
//!
//! In line behind a hundred workers that fetch 200 MB each over 1 Gbit/s it would come after 160 s, and a program would
//! stand still so long; beside the four whose turn it is, a chunk takes 40 ms. So many requests are let go at once as a boot
//! has left when it starts (some 10 MB), then four a second; what is more is the rest like any other.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{AWAY, Class};

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Running(HashMap<IpAddr, One>);

#[derive(Debug, Clone, Copy)]
struct One {
    /// When it last asked.
    seen: Instant,
    /// When all that it was let go is paid for.
    paid: Instant,
}

/// Requests that are let go one after the other.
const BURST: u32 = 64;
/// A hundred workers that ask for a chunk each time take 100 MB/s of a gigabit, and only while all of them are blocked.
const EACH: Duration = Duration::from_millis(250);

impl Running {
    /// A worker asks: what for, as far as its turn goes; `None` if it need not wait for one.
    pub(super) fn ask(&mut self, worker: IpAddr, class: Class, now: Instant) -> Option<Class> {
        match class {
            Class::Rest => self.begins(worker, now),
            // It was switched off and on.
            Class::Whole => drop(self.0.remove(&worker)),
            Class::Hot => {
                if let Some(one) = self.0.get_mut(&worker) {
                    one.seen = now;
                    let paid = one.paid.max(now) + EACH;
                    if paid > now + EACH * BURST {
                        return Some(Class::Rest);
                    }
                    one.paid = paid;
                    return None;
                }
            }
        }
        Some(class)
    }

    /// A worker has what it needs to run.
    pub(super) fn begins(&mut self, worker: IpAddr, now: Instant) {
        let one = One {
            seen: now,
            paid: now,
        };
        self.0.entry(worker).or_insert(one).seen = now;
    }

    /// Time goes by. Who has all, or lost its power, says nothing more.
    pub(super) fn tick(&mut self, now: Instant) {
        self.0.retain(|_, one| now.duration_since(one.seen) <= AWAY);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "any moment will do as the first")]
    use super::*;

    #[test]
    fn what_blocks_is_let_go_up_to_a_bound() {
        let (now, worker) = (Instant::now(), IpAddr::from([10, 0, 0, 1]));
        let mut running = Running::default();
        let mut ask = |class, now| running.ask(worker, class, now);
        assert_eq!(ask(Class::Hot, now), Some(Class::Hot), "it does not run");
        assert_eq!(ask(Class::Rest, now), Some(Class::Rest));
        for _ in 0..BURST {
            assert_eq!(ask(Class::Hot, now), None);
        }
        assert_eq!(ask(Class::Hot, now), Some(Class::Rest), "too much");
        assert_eq!(ask(Class::Hot, now + EACH), None, "one more");
        assert_eq!(ask(Class::Hot, now + EACH), Some(Class::Rest));
        assert_eq!(ask(Class::Whole, now), Some(Class::Whole));
        assert_eq!(ask(Class::Hot, now), Some(Class::Hot), "it began anew");
    }

    #[test]
    fn who_says_nothing_more_is_forgotten() {
        let (now, worker) = (Instant::now(), IpAddr::from([10, 0, 0, 1]));
        let mut running = Running::default();
        running.begins(worker, now);
        running.tick(now + AWAY);
        assert_eq!(running.ask(worker, Class::Hot, now + AWAY), None);
        running.tick(now + AWAY + AWAY + EACH);
        assert!(running.0.is_empty());
    }
}
