//! Whose turn it is to fetch: first come, first served, as many at a time as fill the link. Pure.
//!
//! Counted are workers, that is addresses, not requests: who has begun goes on to its end. Who waits holds a request
//! open; who waits longer than it wanted to is told its place, and keeps it while it is away for a moment.

mod limit;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use limit::Limit;
use ramboot_wire::queue::Place;

/// Who asks may fetch, or waits until [`Turns::admit`] names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// At once.
    Go,
    /// In line.
    Wait,
}

/// All workers that fetch or wait.
#[derive(Debug)]
pub(super) struct Turns {
    limit: Limit,
    fetching: HashMap<IpAddr, Fetching>,
    waiting: HashMap<IpAddr, Waiting>,
    /// In the order they came.
    line: BTreeMap<u64, IpAddr>,
    next: u64,
    period: Period,
}

/// A worker whose turn it is.
#[derive(Debug, Clone, Copy)]
struct Fetching {
    /// Bytes it was sent, and when that last changed.
    sent: u64,
    moved: Instant,
}

/// A worker in line.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    number: u64,
    /// Requests it holds open.
    held: u32,
    /// When it was last here.
    seen: Instant,
}

/// What is measured now.
#[derive(Debug, Clone, Copy)]
struct Period {
    begin: Instant,
    sent: u64,
    /// All the time as many as may were fetching, and somebody waited.
    full: bool,
}

/// Who got nothing for this long is not counted: a worker without power must not keep the others waiting.
const STALLED: Duration = Duration::from_secs(1);
/// Who asks again later than this has lost its place. A worker that was told to come back after a second does.
const AWAY: Duration = Duration::from_secs(10);
/// Long enough for a rate, short enough for a search of a few steps during a boot.
const PERIOD: Duration = Duration::from_millis(500);

impl Turns {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            limit: Limit::new(),
            fetching: HashMap::new(),
            waiting: HashMap::new(),
            line: BTreeMap::new(),
            next: 0,
            period: Period {
                begin: now,
                sent: 0,
                full: false,
            },
        }
    }

    /// A worker asks for a piece of an image and would wait. After [`Answer::Wait`] it holds its request open until it is
    /// named by [`Turns::admit`], or until [`Turns::leave`].
    pub(super) fn ask(&mut self, worker: IpAddr, now: Instant) -> Answer {
        if self.fetching.contains_key(&worker) {
            return Answer::Go;
        }
        let number = self.next;
        let waiting = self.waiting.entry(worker).or_insert_with(|| {
            self.next += 1;
            self.line.insert(number, worker);
            Waiting {
                number,
                held: 0,
                seen: now,
            }
        });
        waiting.held += 1;
        waiting.seen = now;
        Answer::Wait
    }

    /// Makes it the turn of as many as may, in the order they came, and names them. Who is away is passed over, and
    /// keeps its place.
    pub(super) fn admit(&mut self, now: Instant) -> Vec<IpAddr> {
        let mut free = usize::try_from(self.limit.get())
            .unwrap_or(usize::MAX)
            .saturating_sub(self.counted(now));
        let mut named = Vec::new();
        for (&number, &worker) in &self.line {
            if free == 0 {
                break;
            }
            if self.waiting.get(&worker).is_some_and(|one| one.held > 0) {
                free -= 1;
                named.push((number, worker));
            }
        }
        for (number, worker) in &named {
            self.line.remove(number);
            self.waiting.remove(worker);
            let begun = Fetching {
                sent: 0,
                moved: now,
            };
            self.fetching.insert(*worker, begun);
        }
        named.into_iter().map(|(_, worker)| worker).collect()
    }

    /// A worker gives up a request that it held: its place, if it still waits.
    pub(super) fn leave(&mut self, worker: IpAddr, now: Instant) -> Option<Place> {
        let waiting = self.waiting.get_mut(&worker)?;
        waiting.held = waiting.held.saturating_sub(1);
        waiting.seen = now;
        let number = waiting.number;
        let before = self.line.range(..number).count();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Some(Place {
            place: count(before + 1),
            waiting: count(self.line.len()),
        })
    }

    /// A worker closed its last connection, or says nothing more: it has all, or will ask again.
    pub(super) fn gone(&mut self, worker: IpAddr) {
        self.fetching.remove(&worker);
    }

    /// A worker was sent so many bytes in all since it came.
    pub(super) fn sent(&mut self, worker: IpAddr, bytes: u64, now: Instant) {
        if let Some(fetching) = self.fetching.get_mut(&worker)
            && fetching.sent != bytes
        {
            fetching.sent = bytes;
            fetching.moved = now;
        }
    }

    /// Time goes by; `sent` is the sum of all bytes to anybody.
    pub(super) fn tick(&mut self, sent: u64, now: Instant) {
        let away = |one: &Waiting| one.held == 0 && now.duration_since(one.seen) > AWAY;
        let lost: Vec<IpAddr> = self
            .waiting
            .iter()
            .filter(|(_, one)| away(one))
            .map(|(worker, _)| *worker)
            .collect();
        for worker in lost {
            if let Some(one) = self.waiting.remove(&worker) {
                self.line.remove(&one.number);
            }
        }
        if self.is_idle() {
            // The next storm may be of other workers.
            self.limit = Limit::new();
        }
        let full = !self.line.is_empty() && self.counted(now) == self.limit.get() as usize;
        let length = now.duration_since(self.period.begin);
        if !full {
            self.period.full = false;
        }
        if length < PERIOD {
            return;
        }
        if self.period.full {
            let bytes = sent.saturating_sub(self.period.sent);
            #[expect(clippy::cast_precision_loss, reason = "a rate")]
            self.limit.measured(bytes as f64 / length.as_secs_f64());
        }
        // A period that begins with another limit is not full from its beginning: what is measured is the new one.
        let full = full && self.counted(now) == self.limit.get() as usize;
        self.period = Period {
            begin: now,
            sent,
            full,
        };
    }

    /// Nobody fetches and nobody waits.
    pub(super) fn is_idle(&self) -> bool {
        self.line.is_empty() && self.fetching.is_empty()
    }

    fn counted(&self, now: Instant) -> usize {
        let moves = |one: &&Fetching| now.duration_since(one.moved) < STALLED;
        self.fetching.values().filter(moves).count()
    }
}

#[cfg(test)]
mod tests;
