//! Which chunks next, for which stream: one pure function, [`Chunks::pick`], and the table it looks at.
//!
//! File order today. The table is the resume information, too: what is done stays done whatever happens to a
//! connection, so an interrupted run costs at most the chunk that was on its way.

use std::collections::BTreeMap;
use std::time::Instant;

/// Neighbouring chunks that one request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// 0-based number of the first.
    pub first: u64,
    /// How many; never zero.
    pub count: u64,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// Number of the base the stream is connected to.
    pub base: usize,
    /// How many streams share the work.
    pub streams: u64,
    /// The time.
    pub now: Instant,
}

/// What a stream should do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// Every chunk is done.
    Finished,
    /// Fetch these.
    Run(Run),
    /// Nothing now: others are on their way, or a bad chunk must wait until then.
    Wait(Option<Instant>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    Busy,
    Done,
    Missing,
}

#[derive(Debug, Clone, Copy)]
struct Bad {
    base: usize,
    until: Instant,
}

/// Where every chunk of the image stands.
#[derive(Debug, Clone)]
pub struct Chunks {
    cells: Vec<Cell>,
    /// Chunks that arrived wrong and are not done yet.
    bad: BTreeMap<u64, Bad>,
    missing: u64,
    done: u64,
    /// No chunk below this is missing.
    from: u64,
}

impl Chunks {
    /// All of them missing.
    #[must_use]
    pub fn new(count: u64) -> Self {
        let cells = vec![Cell::Missing; usize::try_from(count).unwrap_or(0)];
        Self {
            cells,
            bad: BTreeMap::new(),
            missing: count,
            done: 0,
            from: 0,
        }
    }

    /// The first missing chunk and its missing neighbours, at most [`MAX_RUN`]; shorter towards the end, so that
    /// no stream is left with a long run when the others have nothing to do.
    ///
    /// A chunk that arrived wrong is asked for alone. Another base may try it at once; the base that sent it, only
    /// after its back-off, so that a single base is still asked again and again.
    #[must_use]
    pub fn pick(&self, ask: Ask) -> Pick {
        let (mut first, mut wake) = (None, None);
        for index in self.from..self.cells.len() as u64 {
            if self.cell(index) != Some(Cell::Missing) {
                continue;
            }
            match self.bad.get(&index) {
                Some(bad) if bad.base == ask.base && ask.now < bad.until => {
                    wake = Some(wake.map_or(bad.until, |at: Instant| at.min(bad.until)));
                }
                Some(_) => {
                    return Pick::Run(Run {
                        first: index,
                        count: 1,
                    });
                }
                None => {
                    first = Some(index);
                    break;
                }
            }
        }
        let Some(first) = first else {
            return if self.done == self.cells.len() as u64 {
                Pick::Finished
            } else {
                Pick::Wait(wake)
            };
        };
        let most = (self.missing / (2 * ask.streams.max(1))).clamp(1, MAX_RUN);
        let count = (first..first + most)
            .take_while(|index| {
                self.cell(*index) == Some(Cell::Missing) && !self.bad.contains_key(index)
            })
            .count() as u64;
        Pick::Run(Run { first, count })
    }

    /// These are being fetched.
    pub fn take(&mut self, run: Run) {
        for index in run.first..run.first.saturating_add(run.count) {
            self.set(index, Cell::Busy);
        }
        if self.from == run.first {
            self.from += run.count;
        }
    }

    /// Verified and written.
    pub fn done(&mut self, index: u64) {
        self.set(index, Cell::Done);
        self.bad.remove(&index);
    }

    /// What of `run` is not done will not come: it is missing again.
    pub fn release(&mut self, run: Run) {
        for index in run.first..run.first.saturating_add(run.count) {
            if self.cell(index) == Some(Cell::Busy) {
                self.set(index, Cell::Missing);
                self.from = self.from.min(index);
            }
        }
    }

    /// This chunk arrived wrong from `base`, which is not asked for it again before `until`.
    pub fn bad(&mut self, index: u64, base: usize, until: Instant) {
        self.bad.insert(index, Bad { base, until });
    }

    /// How many are done.
    #[must_use]
    pub const fn count_done(&self) -> u64 {
        self.done
    }

    fn cell(&self, index: u64) -> Option<Cell> {
        self.cells.get(usize::try_from(index).ok()?).copied()
    }

    fn set(&mut self, index: u64, to: Cell) {
        let Some(cell) = usize::try_from(index)
            .ok()
            .and_then(|i| self.cells.get_mut(i))
        else {
            return;
        };
        let was = std::mem::replace(cell, to);
        self.missing =
            self.missing + u64::from(to == Cell::Missing) - u64::from(was == Cell::Missing);
        self.done = self.done + u64::from(to == Cell::Done) - u64::from(was == Cell::Done);
    }
}

/// 16 × 256 KiB = 4 MiB a request: long enough that the pause between two requests does not show at 10 Gb/s, short
/// enough that four streams share a small image evenly.
pub const MAX_RUN: u64 = 16;

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "any moment will do as the first")]
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn ask(base: usize, now: Instant) -> Ask {
        Ask {
            base,
            streams: 4,
            now,
        }
    }

    #[test]
    fn file_order_and_shorter_runs_towards_the_end() {
        let now = Instant::now();
        let mut chunks = Chunks::new(150);
        let mut runs = Vec::new();
        while let Pick::Run(run) = chunks.pick(ask(0, now)) {
            chunks.take(run);
            runs.push((run.first, run.count));
        }
        assert_eq!(runs[..3], [(0, 16), (16, 16), (32, 14)]);
        assert_eq!(runs.last(), Some(&(149, 1)));
        assert_eq!(chunks.pick(ask(0, now)), Pick::Wait(None));
        (0..150).for_each(|index| chunks.done(index));
        assert_eq!(chunks.pick(ask(0, now)), Pick::Finished);
    }

    #[test]
    fn a_broken_run_gives_back_what_did_not_come() {
        let now = Instant::now();
        let mut chunks = Chunks::new(1000);
        let run = Run {
            first: 0,
            count: 16,
        };
        chunks.take(run);
        (0..5).for_each(|index| chunks.done(index));
        chunks.release(run);
        assert_eq!(
            chunks.pick(ask(0, now)),
            Pick::Run(Run {
                first: 5,
                count: 16
            })
        );
        assert_eq!(chunks.count_done(), 5);
    }

    #[test]
    fn a_bad_chunk_goes_to_another_base_at_once_and_to_the_same_one_later() {
        let now = Instant::now();
        let until = now + Duration::from_secs(2);
        let mut chunks = Chunks::new(3);
        for index in [0, 2] {
            chunks.done(index);
        }
        chunks.take(Run { first: 1, count: 1 });
        chunks.bad(1, 0, until);
        chunks.release(Run { first: 1, count: 1 });
        let run = Pick::Run(Run { first: 1, count: 1 });
        for (base, at, want) in [
            (0, now, Pick::Wait(Some(until))),
            (1, now, run),
            (0, until, run),
        ] {
            assert_eq!(chunks.pick(ask(base, at)), want, "base {base}");
        }
        chunks.done(1);
        assert_eq!(chunks.pick(ask(0, now)), Pick::Finished);
    }

    proptest! {
        /// Whatever fails in whatever order, every chunk is handed out until it is done, and none twice at a time.
        #[test]
        fn everything_is_fetched_once(count in 1_u64..200, failures in prop::collection::vec(0_u8..4, 0..100)) {
            let now = Instant::now();
            let mut chunks = Chunks::new(count);
            let mut failures = failures.into_iter();
            let mut busy: Vec<Run> = Vec::new();
            let mut steps = 0;
            loop {
                steps += 1;
                prop_assert!(steps < 5000);
                match chunks.pick(ask(0, now)) {
                    Pick::Finished => break,
                    Pick::Run(run) => {
                        prop_assert!(run.count >= 1 && run.first + run.count <= count);
                        for other in &busy {
                            prop_assert!(run.first + run.count <= other.first || other.first + other.count <= run.first);
                        }
                        chunks.take(run);
                        busy.push(run);
                    }
                    Pick::Wait(_) => {}
                }
                if busy.len() >= 4 || matches!(chunks.pick(ask(0, now)), Pick::Wait(_)) {
                    let run = busy.remove(0);
                    let good = match failures.next() {
                        Some(fault) => run.count * u64::from(fault) / 4,
                        None => run.count,
                    };
                    (run.first..run.first + good).for_each(|index| chunks.done(index));
                    chunks.release(run);
                }
            }
            prop_assert_eq!(chunks.count_done(), count);
        }
    }
}
