//! One stream: asks, receives, verifies, and does it again until every chunk is done.

use ramboot_wire::CHUNK_BYTES;
use ramboot_wire::image::BadChunk;

use super::Job;
use super::table::{Next, Work};
use crate::clock;
use crate::console::{Bad, Event, Lie};
use crate::fault::Why;
use crate::http::{ByteRange, Connection, HttpError};

/// How a run ended early.
enum End {
    /// Down, or without the image, or not understood.
    Failed(HttpError),
    /// Sent something else than was published.
    Lied(u64, BadChunk),
}

impl<'a> Job<'a> {
    pub(super) fn stream(&self) {
        let mut last = None;
        let mut kept = None;
        while let Some(work) = self.next(last) {
            // A connection leads to one base.
            let slot = kept.take().filter(|_| last == Some(work.turn.index));
            last = Some(work.turn.index);
            kept = self.work(slot, work);
        }
    }

    /// Waits until there is something to do; `None` when there never will be.
    fn next(&self, last: Option<usize>) -> Option<Work<'a>> {
        let mut table = self.lock();
        loop {
            match table.next(last, clock::now()) {
                Next::Work(work) => return Some(work),
                Next::Wait(time) => table = self.wait(table, time),
                Next::Finished => {
                    self.changed.notify_all();
                    return None;
                }
            }
        }
    }

    /// Does it and says how it went; gives the connection back if it can be used again.
    fn work(&self, slot: Option<Connection>, mut work: Work<'a>) -> Option<Connection> {
        let turn = work.turn;
        match self.run(slot, &mut work) {
            Ok(connection) => {
                self.changed.notify_all();
                Some(connection)
            }
            Err(end) => {
                let (now, chance) = (clock::now(), clock::chance());
                let mut table = self.lock();
                let said = match end {
                    End::Failed(error) => {
                        table.sources.failed(turn, Why::of(error), now, chance);
                        None
                    }
                    End::Lied(index, bad) => {
                        table
                            .sources
                            .failed(turn, Why::of(bad.clone()), now, chance);
                        table.bad(turn, index, now);
                        let source = table.sources.all().get(turn.index);
                        source.map(|source| Bad {
                            from: source.base.to_string(),
                            what: Lie::Chunk(bad),
                        })
                    }
                };
                table.release(work.run, work.places);
                drop(table);
                self.changed.notify_all();
                if let Some(said) = said {
                    (self.tell)(Event::Bad(said));
                }
                None
            }
        }
    }

    /// Fetches a run. The places of chunks that are done leave `work`.
    fn run(&self, slot: Option<Connection>, work: &mut Work<'a>) -> Result<Connection, End> {
        let mut connection = match slot.filter(Connection::is_reusable) {
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
        connection
            .get_range(&self.path, range)
            .map_err(End::Failed)?;
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
                // Others wait for what this stream found out.
                self.changed.notify_all();
            }
        }
        Ok(connection)
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
