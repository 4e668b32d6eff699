//! Whose turn it is to fetch: first come, first served, as many at a time as fill the link. Pure.
//!
//! Counted are workers, that is addresses, not requests: who has begun goes on to its end. Who waits holds a request
//! open; who waits longer than it wanted to is told its place, and keeps it while it is away for a moment.
//!
//! A worker that needs only a part to run has its turn until it has that. For the rest it is behind all who do not run yet,
//! request by request: it gets what they leave, and in any case, one worker after the other, a sixteenth of the link
//! ([`background`]), so it ends however many more come. What a running worker is blocked on never waits ([`demand`]).

mod background;
mod demand;
mod limit;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use background::Share;
use demand::Running;
use limit::Limit;
use ramboot_wire::queue::Place;

/// What a piece of an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// The worker runs when it has what is hot; or it runs, and is blocked on this.
    Hot,
    /// The worker needs all of the image to run.
    Whole,
    /// The worker runs without it.
    Rest,
}

/// Who asks may fetch, or waits until [`Queue::admit`] names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// At once.
    Go,
    /// At once, and before what others are sent: a worker that runs is blocked on it.
    Urgent,
    /// In line.
    Wait,
}

/// All workers that fetch or wait.
#[derive(Debug)]
pub(super) struct Queue {
    limit: Limit,
    fetching: HashMap<IpAddr, Fetching>,
    waiting: HashMap<IpAddr, Waiting>,
    line: BTreeMap<Spot, IpAddr>,
    next: u64,
    running: Running,
    share: Share,
    /// Bytes to anybody at the last tick.
    sent: u64,
    period: Period,
}

/// Where a worker stands in line: behind those who do not run yet, in the order they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Spot {
    is_behind: bool,
    number: u64,
}

/// A worker whose turn it is.
#[derive(Debug, Clone, Copy)]
struct Fetching {
    class: Class,
    spot: Spot,
    /// Bytes it was sent, and when that last changed.
    sent: u64,
    moved: Instant,
}

/// A worker in line.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    class: Class,
    spot: Spot,
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

impl Queue {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            limit: Limit::new(),
            fetching: HashMap::new(),
            waiting: HashMap::new(),
            line: BTreeMap::new(),
            next: 0,
            running: Running::default(),
            share: Share::default(),
            sent: 0,
            period: Period {
                begin: now,
                sent: 0,
                full: false,
            },
        }
    }

    /// A worker asks for a piece of an image and would wait. After [`Answer::Wait`] it holds its request open until it is
    /// named by [`Queue::admit`], or until [`Queue::leave`].
    pub(super) fn ask(&mut self, worker: IpAddr, class: Class, now: Instant) -> Answer {
        let Some(class) = self.running.ask(worker, class, now) else {
            return Answer::Urgent;
        };
        let is_behind = class == Class::Rest;
        let mut spot = Spot {
            is_behind,
            number: self.next,
        };
        self.next += 1;
        if let Some(fetching) = self.fetching.get(&worker).copied() {
            if fetching.spot.is_behind == is_behind {
                if !is_behind || self.has_room(fetching.spot, now) {
                    return Answer::Go;
                }
                spot = fetching.spot;
            }
            self.fetching.remove(&worker);
        }
        self.line_up(worker, class, spot, now);
        Answer::Wait
    }

    /// Makes it the turn of as many as may, in the order they stand in line, and names them. Who is away is passed over,
    /// and keeps its place.
    pub(super) fn admit(&mut self, now: Instant) -> Vec<IpAddr> {
        let mut named = self.begin(false, now);
        named.extend(self.begin(true, now));
        named
    }

    /// A worker gives up a request that it held: its place, if it still waits.
    pub(super) fn leave(&mut self, worker: IpAddr, now: Instant) -> Option<Place> {
        let waiting = self.waiting.get_mut(&worker)?;
        waiting.held = waiting.held.saturating_sub(1);
        waiting.seen = now;
        let spot = waiting.spot;
        let before = self.line.range(..spot).count();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Some(Place {
            place: count(before + 1),
            waiting: count(self.line.len()),
        })
    }

    /// A worker closed its last connection, or says nothing more: it has all, or will ask again.
    pub(super) fn gone(&mut self, worker: IpAddr, now: Instant) {
        let fetching = self.fetching.remove(&worker);
        if fetching.is_some_and(|one| one.class == Class::Hot) {
            self.running.begins(worker, now);
        }
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
                self.line.remove(&one.spot);
            }
        }
        self.running.tick(now);
        if self.left(now) == 0 {
            self.share.earn(sent.saturating_sub(self.sent));
        }
        self.sent = sent;
        if self.is_idle() {
            // The next storm may be of other workers.
            self.limit = Limit::new();
        }
        let full = self.is_full(now);
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
        let full = full && self.is_full(now);
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

    /// Puts a worker in line, or one more of its requests.
    fn line_up(&mut self, worker: IpAddr, class: Class, spot: Spot, now: Instant) {
        let waiting = self.waiting.entry(worker).or_insert(Waiting {
            class,
            spot,
            held: 0,
            seen: now,
        });
        if waiting.spot.is_behind != spot.is_behind {
            self.line.remove(&waiting.spot);
            waiting.spot = spot;
        }
        waiting.class = class;
        waiting.held += 1;
        waiting.seen = now;
        self.line.insert(waiting.spot, worker);
    }

    /// Of those who run, or of those who do not.
    fn begin(&mut self, is_behind: bool, now: Instant) -> Vec<IpAddr> {
        let mut free =
            self.room(is_behind, now)
                .saturating_sub(self.counted(is_behind, now, u64::MAX));
        let mut named = Vec::new();
        let first = Spot {
            is_behind,
            number: 0,
        };
        for (spot, &worker) in self.line.range(first..) {
            if free == 0 || spot.is_behind != is_behind {
                break;
            }
            if let Some(one) = self.waiting.get(&worker).filter(|one| one.held > 0) {
                free -= 1;
                named.push((worker, *one));
            }
        }
        for (worker, one) in &named {
            if is_behind && self.left(now) == 0 {
                self.share.spend(one.held);
            }
            self.line.remove(&one.spot);
            self.waiting.remove(worker);
            let begun = Fetching {
                class: one.class,
                spot: one.spot,
                sent: 0,
                moved: now,
            };
            self.fetching.insert(*worker, begun);
        }
        named.into_iter().map(|(worker, _)| worker).collect()
    }

    /// Whether one who runs, and whose turn it is, may go on.
    fn has_room(&mut self, spot: Spot, now: Instant) -> bool {
        let goes = self.counted(true, now, spot.number) < self.room(true, now);
        if goes && self.left(now) == 0 {
            self.share.spend(1);
        }
        goes
    }

    /// How many may fetch.
    fn room(&self, is_behind: bool, now: Instant) -> usize {
        match (is_behind, self.left(now)) {
            (false, _) => self.limit.get() as usize,
            (true, 0) => usize::from(self.share.is_due()),
            (true, left) => left,
        }
    }

    /// What those leave who do not run yet.
    fn left(&self, now: Instant) -> usize {
        let limit = self.limit.get() as usize;
        limit.saturating_sub(self.counted(false, now, u64::MAX))
    }

    /// As many as may fetch do, and others wait.
    fn is_full(&self, now: Instant) -> bool {
        let (limit, all) = (self.limit.get() as usize, u64::MAX);
        let first = self.counted(false, now, all);
        // One who fetches on its share is not counted.
        let filled = match self.left(now) {
            0 => first,
            _ => first + self.counted(true, now, all),
        };
        !self.line.is_empty() && filled == limit
    }

    /// Those who fetch and get something, of numbers below this.
    fn counted(&self, is_behind: bool, now: Instant, below: u64) -> usize {
        let counts = |one: &&Fetching| {
            one.spot.is_behind == is_behind
                && one.spot.number < below
                && now.duration_since(one.moved) < STALLED
        };
        self.fetching.values().filter(counts).count()
    }
}

#[cfg(test)]
mod storm;
#[cfg(test)]
mod tests;
