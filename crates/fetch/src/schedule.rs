//! Which chunks next, for which stream: one pure function, [`Chunks::pick`], and the table it looks at.
//!
//! What a program waits for comes first, then what the [`Order`] says. The table is the resume information, too: what is
//! done stays done whatever happens to a connection, so an interrupted run costs at most the chunk that was on its way.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::order::Order;

/// Neighbouring chunks that one request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// 0-based number of the first.
    pub first: u64,
    /// How many; never zero.
    pub count: u64,
    /// How urgent it is (RFC 9218), if the server should know.
    pub urgency: Option<u8>,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// Number of the base the stream is connected to.
    pub base: usize,
    /// How many streams share the work.
    pub streams: u64,
    /// It fetches nothing but what a program waits for.
    pub only_demanded: bool,
    /// The time.
    pub now: Instant,
}

/// What a stream should do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// Every chunk that is wanted is done.
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
    order: Order,
    /// Where in the order each chunk stands; beyond its end if it is not wanted.
    at: Vec<usize>,
    cells: Vec<Cell>,
    /// Chunks that arrived wrong and are not done yet.
    bad: BTreeMap<u64, Bad>,
    /// Chunks that a program waits for and that are not done, in the order they were asked for.
    demanded: Vec<u64>,
    missing: u64,
    done: u64,
    /// No chunk before this place of the order is missing.
    from: usize,
}

impl Chunks {
    /// All that `order` wants is missing, the other chunks of the image are done.
    #[must_use]
    pub fn new(order: Order) -> Self {
        let count = usize::try_from(order.count()).unwrap_or(0);
        let (mut cells, mut at) = (vec![Cell::Done; count], vec![usize::MAX; count]);
        let mut missing = 0;
        for (place, index) in order.queue().iter().enumerate() {
            let Ok(index) = usize::try_from(*index) else {
                continue;
            };
            if let (Some(cell), Some(at)) = (cells.get_mut(index), at.get_mut(index)) {
                missing += u64::from(std::mem::replace(cell, Cell::Missing) == Cell::Done);
                *at = place;
            }
        }
        Self {
            done: count as u64 - missing,
            order,
            at,
            cells,
            bad: BTreeMap::new(),
            demanded: Vec::new(),
            missing,
            from: 0,
        }
    }

    /// What a program waits for, else the first missing chunk of the order and its missing neighbours of the same tier;
    /// fewer towards the end, so that no stream is left with a long run when the others have nothing to do. While what is
    /// waited for is on its way, nobody else begins anything: it gets the line.
    ///
    /// A chunk that arrived wrong is asked for alone. Another base may try it at once; the base that sent it, only
    /// after its back-off, so that a single base is still asked again and again.
    #[must_use]
    pub fn pick(&self, ask: Ask) -> Pick {
        if self.is_finished() {
            return Pick::Finished;
        }
        let mut wake = None;
        for index in &self.demanded {
            if let Some(run) = self.alone(*index, ask, true, &mut wake) {
                return Pick::Run(run);
            }
        }
        if ask.only_demanded || !self.demanded.is_empty() {
            return Pick::Wait(wake);
        }
        let queue = self.order.queue().get(self.from..).unwrap_or_default();
        for first in queue.iter().copied() {
            if self.cell(first) != Some(Cell::Missing) {
                continue;
            }
            if !self.bad.contains_key(&first) {
                return Pick::Run(self.run(first, ask.streams));
            }
            if let Some(run) = self.alone(first, ask, false, &mut wake) {
                return Pick::Run(run);
            }
        }
        Pick::Wait(wake)
    }

    /// This chunk by itself, if it is missing and this base may be asked for it; else `wake` says when it may.
    fn alone(
        &self,
        index: u64,
        ask: Ask,
        is_demanded: bool,
        wake: &mut Option<Instant>,
    ) -> Option<Run> {
        if self.cell(index) != Some(Cell::Missing) {
            return None;
        }
        let bad = self.bad.get(&index);
        match bad.filter(|bad| bad.base == ask.base && ask.now < bad.until) {
            Some(bad) => {
                *wake = Some(wake.map_or(bad.until, |at| at.min(bad.until)));
                None
            }
            None => Some(Run {
                first: index,
                count: 1,
                urgency: self.order.urgency(index, is_demanded),
            }),
        }
    }

    fn run(&self, first: u64, streams: u64) -> Run {
        let most = (self.missing / (2 * streams.max(1))).clamp(1, self.order.max_run());
        let tier = self.order.tier(first);
        let count = (first..first + most)
            .take_while(|index| {
                self.cell(*index) == Some(Cell::Missing)
                    && !self.bad.contains_key(index)
                    && self.order.tier(*index) == tier
            })
            .count() as u64;
        Run {
            first,
            count,
            urgency: self.order.urgency(first, false),
        }
    }

    /// A program waits for this chunk; says whether that is news.
    pub fn demand(&mut self, index: u64) -> bool {
        let is_news = !self.is_done(index) && !self.demanded.contains(&index);
        if is_news {
            self.demanded.push(index);
        }
        is_news
    }

    /// Whether a program waits.
    #[must_use]
    pub const fn is_demanded(&self) -> bool {
        !self.demanded.is_empty()
    }

    /// These are being fetched.
    pub fn take(&mut self, run: Run) {
        for index in run.first..run.first.saturating_add(run.count) {
            self.set(index, Cell::Busy);
        }
        let queue = self.order.queue();
        while let Some(index) = queue.get(self.from)
            && self.cell(*index) != Some(Cell::Missing)
        {
            self.from += 1;
        }
    }

    /// Verified and written.
    pub fn done(&mut self, index: u64) {
        self.set(index, Cell::Done);
        self.bad.remove(&index);
        self.demanded.retain(|other| *other != index);
    }

    /// What of `run` is not done will not come: it is missing again.
    pub fn release(&mut self, run: Run) {
        for index in run.first..run.first.saturating_add(run.count) {
            if self.cell(index) == Some(Cell::Busy) {
                self.set(index, Cell::Missing);
                let at = usize::try_from(index).ok().and_then(|i| self.at.get(i));
                self.from = self.from.min(at.copied().unwrap_or(0));
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

    /// Whether this one is; one that the image does not have will never be missed.
    #[must_use]
    pub fn is_done(&self, index: u64) -> bool {
        self.cell(index).is_none_or(|cell| cell == Cell::Done)
    }

    /// Whether all are.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.done == self.cells.len() as u64
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

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "any moment will do as the first")]
    use super::*;
    use crate::order::{BACKGROUND, URGENT, Waits};
    use proptest::prelude::*;
    use ramboot_wire::profile::{Profile, Want};
    use std::time::Duration;

    fn ask(base: usize, now: Instant) -> Ask {
        Ask {
            base,
            streams: 4,
            only_demanded: false,
            now,
        }
    }

    const fn plain(first: u64, count: u64) -> Run {
        Run {
            first,
            count,
            urgency: None,
        }
    }

    /// Chunks 2 and 5 are hot, 0 and the last are always, 3 and 4 are read later.
    fn streamed() -> Chunks {
        let wants = "c.hwwh..".chars().map(|c| match c {
            'h' => Want::Hot(0),
            'w' => Want::Warm(1),
            _ => Want::Cold,
        });
        let profile = Profile::new(wants.collect());
        Chunks::new(Order::stream(8, Waits::Hot, Some(&profile), &(0..0)))
    }

    #[test]
    fn a_stream_goes_by_tiers_and_says_what_is_urgent() {
        let now = Instant::now();
        let mut chunks = streamed();
        let mut runs = Vec::new();
        while let Pick::Run(run) = chunks.pick(ask(0, now)) {
            chunks.take(run);
            runs.push((run.first, run.urgency));
        }
        let (hot, rest) = (Some(URGENT), Some(BACKGROUND));
        let want = [
            (0, hot),
            (7, hot),
            (2, hot),
            (5, hot),
            (3, rest),
            (4, rest),
            (1, rest),
            (6, rest),
        ];
        assert_eq!(runs, want);
    }

    #[test]
    fn what_a_program_waits_for_jumps_the_queue_and_gets_the_line() {
        let now = Instant::now();
        let mut chunks = streamed();
        assert!(chunks.demand(6) && !chunks.demand(6));
        let run = Run {
            urgency: Some(URGENT),
            ..plain(6, 1)
        };
        assert_eq!(chunks.pick(ask(0, now)), Pick::Run(run));
        chunks.take(run);
        assert_eq!(chunks.pick(ask(0, now)), Pick::Wait(None));
        chunks.release(run);
        let demanded = Ask {
            only_demanded: true,
            ..ask(0, now)
        };
        assert_eq!(chunks.pick(demanded), Pick::Run(run), "asked for again");
        chunks.take(run);
        chunks.done(6);
        assert_eq!(chunks.pick(demanded), Pick::Wait(None));
        assert!(matches!(chunks.pick(ask(0, now)), Pick::Run(run) if run.first == 0));
        assert!(!chunks.demand(6), "it is there");
        assert!(!chunks.demand(99), "the image has no such chunk");
    }

    #[test]
    fn file_order_and_shorter_runs_towards_the_end() {
        let now = Instant::now();
        let mut chunks = Chunks::new(Order::file(150));
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
        let mut chunks = Chunks::new(Order::file(1000));
        let run = plain(0, 16);
        chunks.take(run);
        (0..5).for_each(|index| chunks.done(index));
        chunks.release(run);
        assert_eq!(chunks.pick(ask(0, now)), Pick::Run(plain(5, 16)));
        assert_eq!(chunks.count_done(), 5);
    }

    #[test]
    fn a_bad_chunk_goes_to_another_base_at_once_and_to_the_same_one_later() {
        let now = Instant::now();
        let until = now + Duration::from_secs(2);
        let mut chunks = Chunks::new(Order::file(3));
        for index in [0, 2] {
            chunks.done(index);
        }
        chunks.take(plain(1, 1));
        chunks.bad(1, 0, until);
        chunks.release(plain(1, 1));
        let run = Pick::Run(plain(1, 1));
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
            let mut chunks = Chunks::new(Order::file(count));
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
