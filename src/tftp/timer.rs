//! When what was sent is sent once more, and when nobody is there any more. Pure.
//!
//! A client that asked for a `timeout` and was told yes gets exactly that interval, from the first repetition to the last: it is
//! "the number of seconds to wait before retransmitting", and nothing in RFC 2349 lets a server wait longer. For all others
//! the wait is what the path takes, measured as TCP measures it (RFC 6298): a lost block costs a client on a LAN a twentieth
//! of a second. It doubles while nothing is heard, five times, and then there is a pause. What was sent twice is not measured
//! (Karn's algorithm): nobody can tell whether the first was lost or late. So the block after it waits a little longer than it took in all; if it was late, that one is
//! measured, and a path that is slow because it is full is not filled further.

use std::time::Duration;

/// Nothing was measured yet: as TCP (RFC 6298 §2: 1 s is late enough for a machine that only is slow). Before a Raspberry
/// Pi's own 2 s and EDK2's 4 s, so a lost OACK is not asked for twice.
pub const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Below it a client that looks at its network now and then (EDK2 polls each 10 ms) would be sent all twice.
const MIN_WAIT: Duration = Duration::from_millis(50);
/// Longer than the timers of clients (a Raspberry Pi's 2 s, EDK2's 4 s, atftp's 5 s, curl's 6 s): some answer a block that they have
/// once only, count from the last packet whatever it was (seen: atftp 0.8.0), and say what they have when there was silence.
const PAUSE: Duration = Duration::from_secs(7);
/// Before each pause.
const QUICK_TRIES: u32 = 5;
/// Nothing at all was heard: whoever forges its address has everything sent there five times.
const GIVE_UP_FIRST: Duration = Duration::from_secs(20);
/// Nothing new acknowledged for so long. That is two dozen tries: where of five packets each way one is lost, all of them fail once in
/// 10^10 blocks.
pub const GIVE_UP: Duration = Duration::from_secs(40);
/// Tries at a client that chose how far they are apart.
const TRIES: u32 = 16;

/// The timer of one transfer.
#[derive(Debug)]
pub(super) struct Timer {
    /// What the client asked for.
    fixed: Option<Duration>,
    /// The first of each row of quick tries.
    wait: Duration,
    /// Since something was acknowledged.
    tries: u32,
    repeat_at: Duration,
    path: Option<Path>,
    /// Of what was sent so far the highest block: of a window that is the one that is answered.
    highest: Option<Flight>,
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    block: u64,
    /// When it was sent first.
    at: Duration,
    again: bool,
}

/// RFC 6298: smoothed round-trip time and its variation.
#[derive(Debug, Clone, Copy)]
struct Path {
    smoothed: Duration,
    variation: Duration,
}

impl Path {
    fn measured(before: Option<Self>, sample: Duration) -> Self {
        match before {
            None => Self {
                smoothed: sample,
                variation: sample / 2,
            },
            Some(before) => Self {
                smoothed: (before.smoothed * 7 + sample) / 8,
                variation: (before.variation * 3 + before.smoothed.abs_diff(sample)) / 4,
            },
        }
    }

    fn wait(self) -> Duration {
        (self.smoothed + self.variation * 4).clamp(MIN_WAIT, PAUSE)
    }
}

impl Timer {
    /// Of a transfer that begins; `timeout` is what its client asked for and was told yes to, in seconds.
    pub(super) fn begin(timeout: Option<u16>, now: Duration) -> Self {
        let fixed = timeout.map(|seconds| Duration::from_secs(seconds.into()));
        let wait = fixed.unwrap_or(FIRST_WAIT);
        Self {
            fixed,
            wait,
            tries: 0,
            repeat_at: now + wait,
            path: None,
            highest: None,
        }
    }

    pub(super) const fn repeat_at(&self) -> Duration {
        self.repeat_at
    }

    /// A block (0 for an OACK) is sent, for the first time or again.
    pub(super) fn sent(&mut self, block: u64, now: Duration) {
        self.repeat_at = now + self.patience();
        match &mut self.highest {
            Some(highest) if block < highest.block => {}
            Some(highest) if block == highest.block => highest.again = true,
            highest => {
                *highest = Some(Flight {
                    block,
                    at: now,
                    again: false,
                });
            }
        }
    }

    /// All up to this block is acknowledged.
    pub(super) fn acknowledged(&mut self, block: u64, now: Duration) {
        let flight = self.highest.filter(|flight| flight.block == block);
        let took = flight.map(|flight| (now.saturating_sub(flight.at), flight.again));
        if let Some((took, false)) = took {
            self.path = Some(Path::measured(self.path, took));
        }
        let measured = self.path.map_or(FIRST_WAIT, Path::wait);
        let wait = match took {
            Some((took, true)) => measured.max(took + took / 4).min(PAUSE),
            _ => measured,
        };
        self.wait = self.fixed.unwrap_or(wait);
        self.tries = 0;
        self.repeat_at = now + self.wait;
    }

    /// What was sent is sent again.
    pub(super) fn expired(&mut self, now: Duration) {
        self.tries += 1;
        self.repeat_at = now + self.patience();
    }

    /// From the try that is made now to the next one.
    fn patience(&self) -> Duration {
        let doubled = match self.tries % (QUICK_TRIES + 1) {
            QUICK_TRIES => PAUSE,
            quick => (self.wait * (1 << quick)).min(PAUSE),
        };
        self.fixed.unwrap_or(doubled)
    }
}

/// How long a client may be silent whose `timeout` has so many seconds, and that was `heard` at all.
#[must_use]
pub fn give_up(timeout: Option<u16>, heard: bool) -> Duration {
    let least = if heard { GIVE_UP } else { GIVE_UP_FIRST };
    timeout.map_or(least, |seconds| {
        (Duration::from_secs(seconds.into()) * TRIES).max(least)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Sends and acknowledges blocks one by one, each after `round_trip`.
    fn after(round_trips: &[Duration]) -> Timer {
        let mut timer = Timer::begin(None, Duration::ZERO);
        let mut now = Duration::ZERO;
        for (block, round_trip) in (0..).zip(round_trips) {
            timer.sent(block, now);
            now += *round_trip;
            timer.acknowledged(block, now);
        }
        timer
    }

    /// RFC 6298 §2.2, 2.3.
    #[test]
    fn the_wait_is_what_the_path_takes() {
        assert_eq!(after(&[]).wait, FIRST_WAIT);
        assert_eq!(after(&[MS; 9]).wait, MIN_WAIT);
        assert_eq!(after(&[100 * MS]).wait, 300 * MS);
        // SRTT 7/8·100 + 1/8·200, RTTVAR 3/4·50 + 1/4·100.
        assert_eq!(
            after(&[100 * MS, 200 * MS]).wait,
            Duration::from_micros(112_500 + 4 * 62_500)
        );
        assert_eq!(after(&[30 * FIRST_WAIT; 5]).wait, PAUSE);
    }

    /// RFC 6298 §3: what was sent twice tells nothing.
    #[test]
    fn what_was_sent_twice_is_not_measured() {
        let mut timer = after(&[MS; 9]);
        timer.sent(9, 100 * MS);
        assert_eq!(timer.repeat_at(), 150 * MS);
        timer.expired(150 * MS);
        timer.sent(9, 150 * MS);
        assert_eq!(timer.repeat_at(), 250 * MS, "twice as long");
        timer.acknowledged(9, 152 * MS);
        assert_eq!(timer.wait, 65 * MS, "a quarter more than the 52 ms it took");
        timer.sent(10, 152 * MS);
        timer.acknowledged(10, 153 * MS);
        assert_eq!(timer.wait, MIN_WAIT);
    }

    #[test]
    fn five_quick_tries_and_a_pause() {
        let mut timer = after(&[MS; 9]);
        let mut now = FIRST_WAIT;
        let mut waits = Vec::new();
        for _ in 0..8 {
            timer.sent(9, now);
            waits.push((timer.repeat_at() - now).as_millis());
            now = timer.repeat_at();
            timer.expired(now);
        }
        assert_eq!(waits, [50, 100, 200, 400, 800, 7000, 50, 100]);
    }

    /// Whatever a path takes that was fast before, up to the longest wait: soon nothing is sent twice any more.
    #[test]
    fn a_path_that_became_slow_is_noticed() {
        for round_trip in [60 * MS, 150 * MS, FIRST_WAIT, 4 * FIRST_WAIT] {
            let mut timer = after(&[MS; 9]);
            let mut now = 100 * MS;
            let mut twice = Vec::new();
            for block in 9..60 {
                timer.sent(block, now);
                let answered = now + round_trip;
                while timer.repeat_at() < answered {
                    now = timer.repeat_at();
                    timer.expired(now);
                    timer.sent(block, now);
                    twice.push(block);
                }
                now = answered;
                timer.acknowledged(block, now);
            }
            assert!(twice.len() < 12, "{round_trip:?}: {twice:?}");
            assert!(twice.last() < Some(&20), "{round_trip:?}: {twice:?}");
        }
    }

    #[test]
    fn what_a_client_asked_for_stays() {
        let mut timer = Timer::begin(Some(3), Duration::ZERO);
        for block in 0..5 {
            timer.sent(block, 10 * MS);
            assert_eq!(timer.repeat_at(), 3010 * MS);
            timer.expired(3010 * MS);
            timer.sent(block, 3010 * MS);
            assert_eq!(timer.repeat_at(), 6010 * MS);
            timer.acknowledged(block, 3011 * MS);
        }
        assert_eq!(give_up(Some(1), true), GIVE_UP);
        assert_eq!(give_up(Some(5), true), 80 * FIRST_WAIT);
    }
}
