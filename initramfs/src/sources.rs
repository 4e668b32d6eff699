//! Whom to ask next, and when: one pure table of bases, shared by all streams.
//!
//! Three kinds of base are told apart. One that is **well** may be asked by every stream. One that **failed** (down, or
//! without the image) has one back-off, and after it a single stream finds out whether it is well again: a manager that
//! comes back to a thousand workers is not asked four thousand times. One that **lied**, that is sent bytes which are not
//! the image, is asked only while no other can be, for as long as this boot lasts.

use std::time::{Duration, Instant};

use ramboot_wire::Base;

use crate::backoff::Backoff;
use crate::fault::{Fault, Why};

/// All bases of one boot, in the order of the command line.
#[derive(Debug, Clone)]
pub struct Sources {
    all: Vec<Source>,
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
}

/// Since when a base fails, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What went wrong last.
    pub why: Why,
    /// Of the first failure in a row.
    pub since: Instant,
    /// When it is asked again.
    pub until: Instant,
    /// A stream is asking.
    pub probed: bool,
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
    /// It had failed, and this stream finds out for all.
    probe: bool,
}

impl Sources {
    /// None of them asked yet. A base that fails is left alone for at most `first`, then for longer, up to `cap`.
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
        }
    }

    /// Every base with what is known of it.
    #[must_use]
    pub fn all(&self) -> &[Source] {
        &self.all
    }

    /// For a stream that last asked `last`: it stays there while that base is well, else the next one takes its place.
    #[must_use]
    pub fn choose(&self, last: Option<usize>, now: Instant) -> Choice {
        let count = self.all.len();
        let turn = |step: usize| (last.unwrap_or(0) + step) % count.max(1);
        let open = |index: &usize| match self.all.get(*index).map(|source| &source.trouble) {
            Some(None) => true,
            Some(Some(trouble)) => !trouble.probed && trouble.until <= now,
            None => false,
        };
        let lied = |index: &usize| self.all.get(*index).is_some_and(|s| s.counts.bad > 0);
        let honest = (0..count).map(turn).filter(|i| !lied(i)).find(open);
        match honest.or_else(|| (0..count).map(turn).filter(lied).find(open)) {
            Some(index) => Choice::Ask(index),
            None => Choice::Wait(self.next_try()),
        }
    }

    /// When the first base that failed is asked again; `None` if each is being asked.
    #[must_use]
    pub fn next_try(&self) -> Option<Instant> {
        let troubles = self.all.iter().filter_map(|source| source.trouble.as_ref());
        troubles.filter(|t| !t.probed).map(|t| t.until).min()
    }

    /// A stream asks the base it was told to.
    pub fn begin(&mut self, index: usize) -> Turn {
        let trouble = self.all.get_mut(index).and_then(|s| s.trouble.as_mut());
        let probe = trouble.is_some();
        if let Some(trouble) = trouble {
            trouble.probed = true;
        }
        Turn { index, probe }
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
        source.trouble.take().is_some()
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
            Some(trouble) if !turn.probe => trouble.why = why,
            trouble => {
                let since = trouble.as_ref().map_or(now, |trouble| trouble.since);
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
        let turn = sources.begin(index);
        sources.failed(turn, why(lied), now, u32::MAX);
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
        assert_eq!(s.choose(Some(1), now), Choice::Ask(1));
        fail(&mut s, 1, false, now);
        assert_eq!(s.choose(Some(1), now), Choice::Ask(2));
        fail(&mut s, 2, false, now);
        assert_eq!(s.choose(Some(2), now), Choice::Ask(0));
        fail(&mut s, 0, false, now);
        assert_eq!(s.choose(Some(0), now), Choice::Wait(Some(now + FIRST)));
        assert_eq!(s.choose(Some(0), now + FIRST), Choice::Ask(0));
    }

    #[test]
    fn one_stream_finds_out_for_all() {
        let (mut s, now) = (sources(1), Instant::now());
        fail(&mut s, 0, false, now);
        let later = now + FIRST;
        let probe = s.begin(0);
        assert_eq!(s.choose(None, later), Choice::Wait(None));
        s.failed(probe, why(false), later, u32::MAX);
        assert_eq!(s.choose(None, later), Choice::Wait(Some(later + 2 * FIRST)));
        assert_eq!(s.all()[0].trouble.as_ref().map(|t| t.since), Some(now));
        let probe = s.begin(0);
        assert!(s.good(probe));
        assert!(!s.good(probe), "only once");
        assert_eq!(s.choose(None, later), Choice::Ask(0));
        fail(&mut s, 0, false, later);
        assert_eq!(s.next_try(), Some(later + FIRST), "it was well in between");
    }

    #[test]
    fn connections_that_die_together_are_one_failure() {
        let (mut s, now) = (sources(1), Instant::now());
        let turns: Vec<Turn> = (0..4).map(|_| s.begin(0)).collect();
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
        for at in [now, later] {
            assert_eq!(s.choose(Some(0), at), Choice::Ask(1));
        }
        let turn = s.begin(0);
        s.good(turn);
        assert_eq!(s.choose(Some(0), later), Choice::Ask(1));
        fail(&mut s, 1, false, later);
        assert_eq!(s.choose(Some(1), later), Choice::Ask(0));
        assert_eq!(s.choose(Some(0), later + FIRST), Choice::Ask(1));
    }

    proptest! {
        /// Whatever happened, there is always somebody to ask, or a moment to wait for, or a stream that asks.
        #[test]
        fn never_stuck(count in 1_usize..5, steps in prop::collection::vec((0_u8..4, 0_u64..20_000, any::<u32>()), 0..200)) {
            let (mut s, mut now) = (sources(count), Instant::now());
            let mut asking: Vec<Turn> = Vec::new();
            let mut last = None;
            for (what, ms, chance) in steps {
                now += Duration::from_millis(ms);
                match s.choose(last, now) {
                    Choice::Ask(index) => {
                        last = Some(index);
                        asking.push(s.begin(index));
                    }
                    Choice::Wait(Some(at)) => prop_assert!(at > now && at <= now + CAP),
                    Choice::Wait(None) => prop_assert!(!asking.is_empty()),
                }
                if what < 3 && !asking.is_empty() {
                    let turn = asking.swap_remove(chance as usize % asking.len());
                    match what {
                        0 | 1 => drop(s.good(turn)),
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
