//! What a fetch says about itself: how far it is, or what it waits for, since when, and when it tries next.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Fetch;
use super::table::TICK;
use crate::clock;
use crate::event::{Event, Next, Progress, Wait, What};
use crate::fault::{Fault, Why};
use crate::sources::{Source, Sources, Trouble};

impl Fetch<'_> {
    /// Says where the fetch stands until it ends.
    pub(super) fn watch(&self) {
        let mut speed = Speed::new(clock::now());
        let mut table = self.lock();
        while !table.is_finished() {
            table = self.wait(table, TICK);
            let now = clock::now();
            let gap = now.duration_since(speed.told());
            if gap < self.pace.tell {
                continue;
            }
            let here = (table.good, self.wanted);
            speed.add(now, here.0);
            if self.rests(&table) {
                // Nothing moves, and nothing should.
                speed.moved = now;
            }
            let still = now.duration_since(speed.moved);
            let all_fail = table.sources.all().iter().all(|s| s.trouble.is_some());
            // On a slow line a chunk may take longer than the time between two lines.
            let event = if still >= self.pace.tell * STILL || (all_fail && !still.is_zero()) {
                let wait = waiting(What::Source, table.sources, speed.moved, now);
                Event::Wait(Wait {
                    here: Some(here),
                    ..wait
                })
            } else {
                Event::Progress(Progress {
                    done: here.0,
                    total: here.1,
                    per_second: speed.per_second(),
                    trouble: trouble(table.sources),
                })
            };
            drop(table);
            (self.tell)(event);
            table = self.lock();
        }
    }
}

/// Verified bytes of the last seconds: the last line and some before it, so that a slow line's chunks, which come
/// together, are not told as bursts.
struct Speed {
    seen: VecDeque<(Instant, u64)>,
    moved: Instant,
}

impl Speed {
    fn new(now: Instant) -> Self {
        Self {
            seen: VecDeque::from([(now, 0)]),
            moved: now,
        }
    }

    fn told(&self) -> Instant {
        self.seen.back().map_or(self.moved, |(at, _)| *at)
    }

    fn add(&mut self, now: Instant, good: u64) {
        if self.seen.back().is_some_and(|(_, before)| good > *before) {
            self.moved = now;
        }
        self.seen.push_back((now, good));
        if self.seen.len() > WINDOW {
            self.seen.pop_front();
        }
    }

    fn per_second(&self) -> f64 {
        let (Some((from, before)), Some((to, here))) = (self.seen.front(), self.seen.back()) else {
            return 0.0;
        };
        (here - before) as f64 / to.duration_since(*from).as_secs_f64().max(0.001)
    }
}

/// The base whose trouble is the newest, unless all it does is serve others first: what others suffer from is said when they wait for it.
fn trouble(sources: &Sources) -> Option<(String, Why)> {
    let failing = |(_, trouble): &(_, &Trouble)| !matches!(trouble.why.fault, Fault::Busy(_));
    let troubled = troubled(sources)
        .filter(failing)
        .max_by_key(|(_, trouble)| trouble.since)?;
    Some((troubled.0.base.to_string(), troubled.1.why.clone()))
}

fn troubled(sources: &Sources) -> impl Iterator<Item = (&Source, &Trouble)> {
    let all = sources.all().iter();
    all.filter_map(|source| Some((source, source.trouble.as_ref()?)))
}

/// Nothing has moved since `since`: whose fault that is, or whose turn it is, and what comes next.
pub(crate) fn waiting(
    what: fn(String) -> What,
    sources: &Sources,
    since: Instant,
    now: Instant,
) -> Wait {
    // The one that is asked next speaks for all; the others are named behind it.
    let mut fail: Vec<(_, &Trouble)> = Vec::new();
    for (source, trouble) in troubled(sources) {
        // There are a few at most, and the library's sort is 5 KiB of /init.
        let at = fail.partition_point(|(_, other)| other.until <= trouble.until);
        fail.insert(at, (source, trouble));
    }
    let asked = || sources.all().first().map(|source| source.base.to_string());
    let (base, why) = match fail.split_first() {
        Some(((source, trouble), others)) => {
            let others = others
                .iter()
                .map(|(s, t)| format!("; {}: {}", s.base, t.why));
            let text = others.fold(trouble.why.text.clone(), |text, other| text + &other);
            let fault = trouble.why.fault;
            (source.base.to_string(), Why { fault, text })
        }
        None => (
            asked().unwrap_or_default(),
            Why {
                fault: Fault::Silent,
                text: "nothing comes".to_owned(),
            },
        ),
    };
    let left = sources
        .next_try()
        .map(|at| at.saturating_duration_since(now));
    let (what, why) = match why.fault {
        Fault::Busy(place) => (What::Turn { base, place }, None),
        _ => (what(base), Some(why)),
    };
    Wait {
        what,
        since: now.duration_since(since),
        why,
        next: match left {
            Some(left) if left > Duration::ZERO => Next::TryIn(left),
            _ => Next::Now,
        },
        here: None,
    }
}

/// So many times the time between two lines without a chunk are a standstill.
const STILL: u32 = 6;
/// Lines that a speed is the mean of, and one.
const WINDOW: usize = 11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_that_of_the_last_lines() {
        let start = clock::now();
        let mut speed = Speed::new(start);
        let at = |tick: u64| start + Duration::from_millis(500 * tick);
        assert!(speed.per_second().abs() < 1.0);
        // One megabyte each second line, then nothing.
        for tick in 1..=20 {
            speed.add(at(tick), tick / 2 * 1_000_000);
        }
        assert!(
            (speed.per_second() - 1e6).abs() < 1.0,
            "{}",
            speed.per_second()
        );
        for tick in 21..=24 {
            speed.add(at(tick), 10_000_000);
        }
        assert_eq!(speed.moved, at(20));
        assert_eq!(speed.told(), at(24));
    }

    #[test]
    fn who_is_asked_next_speaks_for_all() {
        let bases =
            ["http://10.0.0.1:8067", "http://10.0.0.2:8067"].map(|b| b.parse().expect("base"));
        let (first, now) = (Duration::from_secs(4), clock::now());
        let mut sources = Sources::new(&bases, first, first);
        let said =
            |s: &Sources| waiting(What::Source, s, now, now + Duration::from_secs(12)).to_string();
        assert_eq!(
            said(&sources),
            "waiting for http://10.0.0.1:8067 since 12 s (nothing comes); trying now"
        );
        for (index, text, ms) in [(0, "no route", 9_000), (1, "refused", 10_000)] {
            let (fault, text) = (Fault::Refused, text.to_owned());
            let turn = sources.begin(index, now);
            let at = now + Duration::from_millis(ms);
            sources.failed(turn, Why { fault, text }, at, u32::MAX);
        }
        assert_eq!(
            said(&sources),
            "waiting for http://10.0.0.1:8067 since 12 s (no route; http://10.0.0.2:8067: refused); next try in 1.0 s"
        );
    }

    #[test]
    fn a_place_in_a_queue_is_no_trouble() {
        let base = "http://10.0.0.1:8067".parse().expect("base");
        let (first, now) = (Duration::from_millis(500), clock::now());
        let mut sources = Sources::new(&[base], first, Duration::from_secs(15));
        let turn = sources.begin(0, now);
        let after = Duration::from_secs(2);
        let place = "17/120".parse().ok();
        sources.busy(turn, crate::sources::Later { after, place }, now);
        assert_eq!(trouble(&sources), None);
        let said = |now| waiting(What::Source, &sources, now, now).to_string();
        assert_eq!(
            said(now),
            "waiting for our turn: 17th of 120 at http://10.0.0.1:8067, asking again in 2 s"
        );
        assert_eq!(
            said(now + after),
            "waiting for our turn: 17th of 120 at http://10.0.0.1:8067, asking now"
        );
    }
}
