//! Whom to ask next, and when: one pure table of bases, shared by all streams.
//!
//! Three kinds of base are told apart. One that is **well** may be asked by every stream. One that **failed** (down, or
//! without the image) has one back-off, and after it a single stream finds out whether it is well again: a manager that
//! comes back to a thousand workers is not asked four thousand times. One that **lied**, that is sent bytes which are not
//! the image, is asked only while no other can be, for as long as this boot lasts.
//!
//! One that is **busy** (503 with `Retry-After`) has not failed: it is asked again when it wants to be, within bounds, by a
//! single stream; meanwhile every other base that can be asked is. A stream that it serves goes on.

use std::time::{Duration, Instant};

use ramboot_wire::Base;
use ramboot_wire::queue::Place;

use crate::backoff::Backoff;
use crate::fault::{Fault, Why};

/// All bases of one boot, in the order of the command line.
#[derive(Debug, Clone)]
pub struct Sources {
    all: Vec<Source>,
    /// Between two requests to a base that is busy.
    first: Duration,
    /// The longest that a busy base is left alone.
    longest: Duration,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where it is.
    pub base: Base,
    /// What it did so far.
    pub counts: SourceCounts,
    /// Why it is not well, if it is not.
    pub trouble: Option<Trouble>,
    backoff: Backoff,
}

/// What came from one base.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceCounts {
    /// Bytes of bodies, with those that were of no use.
    pub bytes: u64,
    /// Requests that failed, for any reason.
    pub failures: u64,
    /// Answers that came whole and are not what was published.
    pub bad: u64,
    /// Answers that it was not our turn.
    pub busy: u64,
}

/// Since when a base fails or is busy, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What went wrong last.
    pub why: Why,
    /// Of the first failure in a row, or the first time it was busy.
    pub since: Instant,
    /// When it is asked again.
    pub until: Instant,
    /// A stream is asking.
    pub probed: bool,
}

impl Trouble {
    /// One stream should find out whether it is over.
    fn is_due(&self, now: Instant) -> bool {
        !self.probed && self.until <= now
    }

    /// All that is wrong is that others come first.
    const fn is_turn(&self) -> bool {
        matches!(self.why.fault, Fault::Busy(_))
    }
}

/// What a stream did last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// Number of the base it asked.
    pub index: usize,
    /// That base gave all it was asked for.
    pub served: bool,
}

/// A busy base's answer: when it wants to be asked again, and where we stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Later {
    /// As long as it says, which may be centuries.
    pub after: Duration,
    /// Our place in its queue.
    pub place: Option<Place>,
}

/// What a stream should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Ask this base.
    Ask(usize),
    /// Nobody can be asked before then; `None` if that depends on streams that are asking now.
    Wait(Option<Instant>),
}

/// A stream's right to ask one base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Number of the base.
    pub index: usize,
    /// It had failed or was busy, and this stream finds out for all.
    probe: bool,
    began: Instant,
}

impl Sources {
    /// None of them asked yet. A base that fails is left alone for at most `first`, then for longer, up to `cap`; one that
    /// is busy for as long as it says, up to four times `cap`.
    #[must_use]
    pub fn new(bases: &[Base], first: Duration, cap: Duration) -> Self {
        let source = |base: &Base| Source {
            base: base.clone(),
            counts: SourceCounts::default(),
            trouble: None,
            backoff: Backoff::new(first, cap),
        };
        Self {
            all: bases.iter().map(source).collect(),
            first,
            longest: cap.saturating_mul(4),
        }
    }

    /// Every base with what is known of it.
    #[must_use]
    pub fn all(&self) -> &[Source] {
        &self.all
    }

    /// For a stream that did `last`: it stays there while that base is well or serves it, else the next one takes its place.
    #[must_use]
    pub fn choose(&self, last: Option<Last>, now: Instant) -> Choice {
        let count = self.all.len();
        let turns = || {
            let first = last.map_or(0, |last| last.index);
            (0..count).map(move |step| (first + step) % count.max(1))
        };
        let trouble = |index: usize| self.all.get(index).and_then(|s| s.trouble.as_ref());
        let lied = |index: &usize| self.all.get(*index).is_some_and(|s| s.counts.bad > 0);
        let serves = |index| {
            last == Some(Last {
                index,
                served: true,
            })
        };
        let well = |index: &usize| trouble(*index).is_none_or(|t| t.is_turn() && serves(*index));
        let due = |index: &usize| trouble(*index).is_some_and(|t| t.is_due(now));
        let honest = || turns().filter(|index| !lied(index));
        let found = honest().find(well).or_else(|| honest().find(due));
        match found.or_else(|| turns().filter(lied).find(|index| well(index) || due(index))) {
            Some(index) => Choice::Ask(index),
            None => Choice::Wait(self.next_try()),
        }
    }

    /// When the first base that failed or is busy is asked again; `None` if each is being asked.
    #[must_use]
    pub fn next_try(&self) -> Option<Instant> {
        let troubles = self.all.iter().filter_map(|source| source.trouble.as_ref());
        troubles.filter(|t| !t.probed).map(|t| t.until).min()
    }

    /// A stream asks the base it was told to.
    pub fn begin(&mut self, index: usize, now: Instant) -> Turn {
        let trouble = self.all.get_mut(index).and_then(|s| s.trouble.as_mut());
        // Not due: a stream that a busy base serves finds out nothing.
        let due = trouble.filter(|trouble| trouble.is_due(now));
        let probe = due.is_some();
        if let Some(trouble) = due {
            trouble.probed = true;
        }
        Turn {
            index,
            probe,
            began: now,
        }
    }

    /// So many bytes came.
    pub fn received(&mut self, turn: Turn, bytes: u64) {
        if let Some(source) = self.all.get_mut(turn.index) {
            source.counts.bytes += bytes;
        }
    }

    /// Something good came: whatever was wrong with this base is over, and it says whether anything was.
    pub fn good(&mut self, turn: Turn) -> bool {
        let Some(source) = self.all.get_mut(turn.index) else {
            return false;
        };
        source.backoff.reset();
        // That one stream is served does not say that the others would be.
        let over = |trouble: &mut Trouble| turn.probe || !trouble.is_turn();
        source.trouble.take_if(over).is_some()
    }

    /// It is not our turn. That is no failure: nothing is counted against this base and its back-off does not grow.
    pub fn busy(&mut self, turn: Turn, later: Later, now: Instant) {
        let (first, longest) = (self.first, self.longest);
        let Some(source) = self.all.get_mut(turn.index) else {
            return;
        };
        source.counts.busy += 1;
        let why = Why::busy(later.place);
        // A manager that holds requests may say 0; one that does not is not asked in a loop.
        let until = (now + later.after.min(longest)).max(turn.began + first);
        match &mut source.trouble {
            // Streams that ask together are told together; what failed meanwhile is worse.
            Some(trouble) if !turn.probe => {
                if trouble.is_turn() {
                    trouble.why = why;
                }
            }
            trouble => {
                let before = trouble.as_ref().filter(|trouble| trouble.is_turn());
                *trouble = Some(Trouble {
                    since: before.map_or(now, |trouble| trouble.since),
                    why,
                    until,
                    probed: false,
                });
            }
        }
    }

    /// The request failed. `chance` is for the back-off.
    pub fn failed(&mut self, turn: Turn, why: Why, now: Instant, chance: u32) {
        let Some(source) = self.all.get_mut(turn.index) else {
            return;
        };
        source.counts.failures += 1;
        source.counts.bad += u64::from(why.fault == Fault::Lied);
        match &mut source.trouble {
            // Connections that die together are one failure: waiting four times as long helps nobody.
            Some(trouble) if !turn.probe && !trouble.is_turn() => trouble.why = why,
            trouble => {
                let before = trouble.as_ref().filter(|trouble| !trouble.is_turn());
                let since = before.map_or(now, |trouble| trouble.since);
                *trouble = Some(Trouble {
                    why,
                    since,
                    until: now + source.backoff.next(chance),
                    probed: false,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "any moment will do as the first")]
    use super::*;
    use proptest::prelude::*;

    const FIRST: Duration = Duration::from_millis(500);
    const CAP: Duration = Duration::from_secs(15);

    fn sources(count: usize) -> Sources {
        let bases: Vec<Base> = (0..count)
            .map(|i| {
                format!("http://10.0.0.{}:8067", i + 1)
                    .parse()
                    .expect("base")
            })
            .collect();
        Sources::new(&bases, FIRST, CAP)
    }

    fn fail(sources: &mut Sources, index: usize, lied: bool, now: Instant) {
        let turn = sources.begin(index, now);
        sources.failed(turn, why(lied), now, u32::MAX);
    }

    /// A stream that asked this base last, for nothing.
    #[expect(clippy::unnecessary_wraps, reason = "as it is asked for")]
    const fn at(index: usize) -> Option<Last> {
        let served = false;
        Some(Last { index, served })
    }

    fn why(lied: bool) -> Why {
        Why {
            fault: if lied { Fault::Lied } else { Fault::Refused },
            text: "why".to_owned(),
        }
    }

    #[test]
    fn a_stream_stays_where_it_is_well_and_goes_on_in_turn() {
        let (mut s, now) = (sources(3), Instant::now());
        assert_eq!(s.choose(None, now), Choice::Ask(0));
        assert_eq!(s.choose(at(1), now), Choice::Ask(1));
        fail(&mut s, 1, false, now);
        assert_eq!(s.choose(at(1), now), Choice::Ask(2));
        fail(&mut s, 2, false, now);
        assert_eq!(s.choose(at(2), now), Choice::Ask(0));
        fail(&mut s, 0, false, now);
        assert_eq!(s.choose(at(0), now), Choice::Wait(Some(now + FIRST)));
        assert_eq!(s.choose(at(0), now + FIRST), Choice::Ask(0));
    }

    #[test]
    fn one_stream_finds_out_for_all() {
        let (mut s, now) = (sources(1), Instant::now());
        fail(&mut s, 0, false, now);
        let later = now + FIRST;
        let probe = s.begin(0, later);
        assert_eq!(s.choose(None, later), Choice::Wait(None));
        s.failed(probe, why(false), later, u32::MAX);
        assert_eq!(s.choose(None, later), Choice::Wait(Some(later + 2 * FIRST)));
        assert_eq!(s.all()[0].trouble.as_ref().map(|t| t.since), Some(now));
        let probe = s.begin(0, later + 2 * FIRST);
        assert!(s.good(probe));
        assert!(!s.good(probe), "only once");
        assert_eq!(s.choose(None, later), Choice::Ask(0));
        fail(&mut s, 0, false, later);
        assert_eq!(s.next_try(), Some(later + FIRST), "it was well in between");
    }

    #[test]
    fn connections_that_die_together_are_one_failure() {
        let (mut s, now) = (sources(1), Instant::now());
        let turns: Vec<Turn> = (0..4).map(|_| s.begin(0, now)).collect();
        for turn in turns {
            s.failed(turn, why(false), now, u32::MAX);
        }
        assert_eq!(s.next_try(), Some(now + FIRST));
        assert_eq!(s.all()[0].counts.failures, 4);
    }

    #[test]
    fn a_liar_is_asked_when_nobody_else_can_be() {
        let (mut s, now) = (sources(2), Instant::now());
        fail(&mut s, 0, true, now);
        let later = now + CAP;
        // Well again, and still the last.
        for now in [now, later] {
            assert_eq!(s.choose(at(0), now), Choice::Ask(1));
        }
        let turn = s.begin(0, later);
        s.good(turn);
        assert_eq!(s.choose(at(0), later), Choice::Ask(1));
        fail(&mut s, 1, false, later);
        assert_eq!(s.choose(at(1), later), Choice::Ask(0));
        assert_eq!(s.choose(at(0), later + FIRST), Choice::Ask(1));
    }

    const fn later(seconds: u64) -> Later {
        Later {
            after: Duration::from_secs(seconds),
            place: None,
        }
    }

    #[test]
    fn busy_is_no_failure_and_others_are_asked_first() {
        let (mut s, now) = (sources(2), Instant::now());
        let turn = s.begin(0, now);
        s.busy(turn, later(7), now);
        assert_eq!(s.choose(at(0), now), Choice::Ask(1));
        assert_eq!(
            s.choose(at(0), now + CAP),
            Choice::Ask(1),
            "as long as it is well"
        );
        fail(&mut s, 1, false, now);
        assert_eq!(s.choose(at(1), now), Choice::Wait(Some(now + FIRST)));
        let then = now + Duration::from_secs(7);
        assert_eq!(s.choose(at(0), then), Choice::Ask(0));
        assert_eq!((s.all()[0].counts.failures, s.all()[0].counts.busy), (0, 1));
        // A real failure after it is a first one.
        let probe = s.begin(0, then);
        s.failed(probe, why(false), then, u32::MAX);
        let trouble = s.all()[0].trouble.clone().expect("failed");
        assert_eq!((trouble.since, trouble.until), (then, then + FIRST));
    }

    #[test]
    fn one_stream_asks_again_for_all_and_who_is_served_goes_on() {
        let (mut s, now) = (sources(1), Instant::now());
        let turns: Vec<Turn> = (0..4).map(|_| s.begin(0, now)).collect();
        for turn in &turns[1..] {
            s.busy(*turn, later(2), now);
        }
        assert_eq!(s.all()[0].counts.busy, 3);
        assert!(!s.good(turns[0]), "the others still wait");
        let then = now + Duration::from_secs(2);
        assert_eq!(s.choose(at(0), now), Choice::Wait(Some(then)));
        let served = Some(Last {
            index: 0,
            served: true,
        });
        assert_eq!(s.choose(served, now), Choice::Ask(0));
        assert!(!s.begin(0, now).probe);
        let probe = s.begin(0, then);
        assert_eq!(s.choose(at(0), then), Choice::Wait(None));
        assert!(s.good(probe), "now all of them");
        assert_eq!(s.choose(at(0), then), Choice::Ask(0));
    }

    #[test]
    fn what_a_busy_base_says_is_bounded() {
        for (seconds, held, want) in [
            (u64::MAX, Duration::ZERO, 4 * CAP),
            (61, Duration::ZERO, 4 * CAP),
            (2, Duration::ZERO, Duration::from_secs(2)),
            // It lets requests wait: asked again at once. It does not: no loop.
            (0, Duration::from_secs(1), Duration::ZERO),
            (0, Duration::ZERO, FIRST),
            (0, FIRST / 5, FIRST / 5 * 4),
        ] {
            let (mut s, now) = (sources(1), Instant::now());
            let turn = s.begin(0, now);
            s.busy(turn, later(seconds), now + held);
            let until = s.next_try().expect("a time");
            assert_eq!(until.duration_since(now + held), want, "{seconds} {held:?}");
        }
    }

    proptest! {
        /// Whatever happened, there is always somebody to ask, or a moment to wait for, or a stream that asks.
        #[test]
        fn never_stuck(count in 1_usize..5, steps in prop::collection::vec((0_u8..6, 0_u64..20_000, any::<u32>()), 0..200)) {
            let (mut s, mut now) = (sources(count), Instant::now());
            let mut asking: Vec<Turn> = Vec::new();
            let mut last: Option<Last> = None;
            for (what, ms, chance) in steps {
                now += Duration::from_millis(ms);
                match s.choose(last, now) {
                    Choice::Ask(index) => {
                        last = Some(Last { index, served: chance % 3 == 0 });
                        asking.push(s.begin(index, now));
                    }
                    Choice::Wait(Some(at)) => prop_assert!(at > now && at <= now + 4 * CAP),
                    Choice::Wait(None) => prop_assert!(!asking.is_empty()),
                }
                if what < 5 && !asking.is_empty() {
                    let turn = asking.swap_remove(chance as usize % asking.len());
                    match what {
                        0 | 1 => drop(s.good(turn)),
                        2 => {
                            let after = Duration::from_secs(u64::from(chance).pow(2));
                            s.busy(turn, Later { after, place: None }, now);
                        }
                        _ => s.failed(turn, why(chance % 7 == 0), now, chance),
                    }
                }
            }
            let honest = s.all().iter().any(|s| s.counts.bad == 0 && s.trouble.is_none());
            if let (true, Choice::Ask(index)) = (honest, s.choose(last, now)) {
                prop_assert_eq!(s.all()[index].counts.bad, 0);
            }
        }
    }
}
