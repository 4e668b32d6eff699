//! One stream: asks, receives, verifies, and does it again until every chunk is done.

use std::sync::atomic::Ordering;

use ramboot_wire::CHUNK_BYTES;
use ramboot_wire::image::BadChunk;

use super::table::{Next, Work};
use super::{Fetch, STREAMS};
use crate::clock::{self, give_way};
use crate::event::{Bad, Event, Lie};
use crate::fault::Why;
use crate::http::{ByteRange, Connection, HttpError};
use crate::sources::{Last, Later};

/// How a run ended early.
enum End {
    /// Down, or without the image, or not understood.
    Failed(HttpError),
    /// Sent something else than was published.
    Lied(u64, BadChunk),
    /// Served others first.
    Busy(Later),
}

impl<'a> Fetch<'a> {
    /// Stream `number` of [`STREAMS`]; the one after the last is for what programs wait for alone.
    pub(super) fn stream(&self, number: usize) {
        if self.on_demand && number < STREAMS {
            // What the worker's programs do is worth more.
            give_way(NICE);
        }
        let mut last: Option<Last> = None;
        let mut slot = None;
        while let Some(work) = self.next(last, number) {
            let index = work.turn.index;
            if last.is_some_and(|last| last.index != index) {
                // A connection leads to one base.
                slot = None;
            }
            let served = self.work(&mut slot, work);
            last = Some(Last { index, served });
        }
    }

    /// Waits until there is something to do; `None` when there never will be.
    fn next(&self, last: Option<Last>, number: usize) -> Option<Work<'a>> {
        let mut table = self.lock();
        loop {
            let only_demanded = number >= self.fillers.load(Ordering::SeqCst).min(STREAMS);
            match table.next(last, only_demanded, clock::now()) {
                Next::Work(work) => return Some(work),
                Next::Wait(time) => table = self.wait(table, time),
                Next::Finished => {
                    self.changed.notify_all();
                    return None;
                }
            }
        }
    }

    /// Does it and says whether it was served. `slot` is for a connection that may be used again.
    fn work(&self, slot: &mut Option<Connection>, mut work: Work<'a>) -> bool {
        let turn = work.turn;
        match self.fetch_run(slot, &mut work) {
            Ok(()) => {
                self.changed.notify_all();
                true
            }
            Err(end) => {
                let (now, chance) = (clock::now(), clock::chance());
                let mut table = self.lock();
                let said = match end {
                    End::Failed(error) => {
                        table.sources.failed(turn, Why::of(&error), now, chance);
                        None
                    }
                    End::Lied(index, bad) => {
                        table.sources.failed(turn, Why::of(&bad), now, chance);
                        table.bad(turn, index, now);
                        let source = table.sources.all().get(turn.index);
                        source.map(|source| Bad {
                            from: source.base.to_string(),
                            what: Lie::Chunk(bad),
                        })
                    }
                    End::Busy(later) => {
                        table.sources.busy(turn, later, now);
                        None
                    }
                };
                table.release(work.run, work.places);
                drop(table);
                self.changed.notify_all();
                if let Some(said) = said {
                    (self.tell)(Event::Bad(said));
                }
                false
            }
        }
    }

    /// Fetches a run. The places of chunks that are done leave `work`.
    fn fetch_run(&self, slot: &mut Option<Connection>, work: &mut Work<'a>) -> Result<(), End> {
        let mut connection = match slot.take().filter(Connection::is_reusable) {
            Some(connection) => connection,
            None => self.connect(work)?,
        };
        let (turn, run) = (work.turn, work.run);
        let first = run.first * CHUNK_BYTES;
        let range = ByteRange {
            first,
            len: (run.count * CHUNK_BYTES).min(self.list.size() - first),
            total: self.list.size(),
        };
        match connection.get_range(&self.path, range, run.urgency) {
            Ok(()) => {}
            Err(HttpError::Busy { after, place, .. }) => {
                *slot = Some(connection);
                return Err(End::Busy(Later { after, place }));
            }
            Err(error) => return Err(End::Failed(error)),
        }
        for index in run.first..run.first + run.count {
            let Some(place) = work.places.first_mut() else {
                break;
            };
            let before = connection.received();
            let read = connection.read_exact(place);
            self.lock()
                .sources
                .received(turn, connection.received() - before);
            read.map_err(End::Failed)?;
            if let Err(bad) = self.list.verify(index, place) {
                place.fill(0);
                return Err(End::Lied(index, bad));
            }
            let len = self.list.chunk_len(index);
            work.places.remove(0);
            if self.lock().done(turn, index, len) {
                // Others wait for what this stream found out, or for the line.
                self.changed.notify_all();
            }
            self.arrived.notify_all();
        }
        *slot = Some(connection);
        Ok(())
    }

    fn connect(&self, work: &Work<'_>) -> Result<Connection, End> {
        let table = self.lock();
        let source = table.sources.all().get(work.turn.index);
        let base = source.map(|source| source.base.clone());
        drop(table);
        // The table gave the number.
        let base = base.ok_or_else(|| End::Failed(HttpError::Head("no such base".to_owned())))?;
        Connection::open(&base, self.pace.patience).map_err(End::Failed)
    }
}

/// How much a stream that only fills gives way to programs that run.
const NICE: i32 = 15;
