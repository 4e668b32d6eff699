//! What the streams of one fetch share, and what they do to it; no waiting, no I/O.

use std::time::{Duration, Instant};

use crate::schedule::{Ask, Chunks, Pick, Run};
use crate::sources::{Choice, Last, Sources, Turn};

use super::STREAMS;

pub(super) struct Table<'a> {
    pub(super) chunks: Chunks,
    /// The place in the image of each chunk that nobody is fetching and that is not done.
    places: Vec<Option<&'a mut [u8]>>,
    pub(super) sources: &'a mut Sources,
    /// Verified bytes.
    pub(super) good: u64,
}

/// What a stream is to fetch, from whom, and the places that are its own until it brings them back.
pub(super) struct Work<'a> {
    pub(super) turn: Turn,
    pub(super) run: Run,
    pub(super) places: Vec<&'a mut [u8]>,
}

/// What a stream does next.
pub(super) enum Next<'a> {
    Work(Work<'a>),
    /// At most so long, or until something changed.
    Wait(Duration),
    Finished,
}

impl<'a> Table<'a> {
    pub(super) fn new(chunks: Chunks, places: Vec<&'a mut [u8]>, sources: &'a mut Sources) -> Self {
        Self {
            chunks,
            places: places.into_iter().map(Some).collect(),
            sources,
            good: 0,
        }
    }

    pub(super) const fn is_finished(&self) -> bool {
        self.chunks.is_finished()
    }

    /// For a stream that did `last`.
    pub(super) fn next(
        &mut self,
        last: Option<Last>,
        only_demanded: bool,
        now: Instant,
    ) -> Next<'a> {
        if self.is_finished() {
            return Next::Finished;
        }
        let base = match self.sources.choose(last, now) {
            Choice::Ask(base) => base,
            Choice::Wait(until) => return wait(until, now),
        };
        let streams = STREAMS as u64;
        match self.chunks.pick(Ask {
            base,
            streams,
            only_demanded,
            now,
        }) {
            Pick::Finished => Next::Finished,
            Pick::Wait(until) => wait(until, now),
            Pick::Run(run) => {
                self.chunks.take(run);
                let indexes = run.first..run.first + run.count;
                Next::Work(Work {
                    turn: self.sources.begin(base, now),
                    run,
                    places: indexes.filter_map(|i| self.place(i)?.take()).collect(),
                })
            }
        }
    }

    /// Chunk `index` is verified, in its place. Says whether others can begin something now: that base is well again, or
    /// what a program waited for is there.
    pub(super) fn done(&mut self, turn: Turn, index: u64, len: u64) -> bool {
        let was_demanded = self.chunks.is_demanded();
        self.chunks.done(index);
        self.good += len;
        self.sources.good(turn) || (was_demanded && !self.chunks.is_demanded())
    }

    /// Chunk `index` came whole and wrong; that base is not asked for it before its back-off is over.
    pub(super) fn bad(&mut self, turn: Turn, index: u64, now: Instant) {
        let source = self.sources.all().get(turn.index);
        let until = source
            .and_then(|source| source.trouble.as_ref())
            .map_or(now, |t| t.until);
        self.chunks.bad(index, turn.index, until);
    }

    /// The end of a run did not come: `rest` are the places of its last chunks.
    pub(super) fn release(&mut self, run: Run, rest: Vec<&'a mut [u8]>) {
        let first = run.first + run.count - rest.len() as u64;
        for (index, place) in (first..).zip(rest) {
            if let Some(slot) = self.place(index) {
                *slot = Some(place);
            }
        }
        self.chunks.release(run);
    }

    fn place(&mut self, index: u64) -> Option<&mut Option<&'a mut [u8]>> {
        self.places.get_mut(usize::try_from(index).ok()?)
    }
}

fn wait(until: Option<Instant>, now: Instant) -> Next<'static> {
    let time = until.map_or(TICK, |at| at.saturating_duration_since(now));
    // Never zero, so that a moment that has passed meanwhile is no busy loop.
    Next::Wait(time.clamp(Duration::from_millis(1), TICK))
}

/// Streams and the watch look again this often, whatever woke them or not.
pub(super) const TICK: Duration = Duration::from_millis(100);
