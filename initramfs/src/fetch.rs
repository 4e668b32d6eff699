//! The image, chunk by chunk, from whoever has it, for ever: several streams over kept-alive connections.
//!
//! **Verify, then write.** A chunk is received into a buffer of its own, checked against the proven [`ChunkList`], and
//! only then written to the file. What a server says about itself decides nothing. The only error that ends a fetch
//! is one of this machine (the file cannot be written); everything else is waited for, visibly.

mod table;
mod watch;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use ramboot_wire::image::BadChunk;
use ramboot_wire::paths::Resource;
use ramboot_wire::{Base, CHUNK_BYTES, ChunkList};

use crate::backoff::Backoff;
use crate::clock;
use crate::console::Event;
use crate::http::{ByteRange, Connection, HttpError, Patience};
use crate::pick::{Ask, Chunks, Pick, Run};
use table::{Table, Waiting};

/// How a fetch behaves in time. Tests use a shorter one.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// For one connection.
    pub patience: Patience,
    /// The longest wait after the first failure.
    pub retry: Duration,
    /// The longest wait after many. A manager that comes back is found within this time; a thousand workers that
    /// wait for it ask 130 times a second.
    pub retry_cap: Duration,
    /// Between two lines about progress or waiting.
    pub tell: Duration,
}

impl Pace {
    /// For a worker.
    pub const WORKER: Self = Self {
        patience: Patience {
            connect: Duration::from_secs(5),
            stall: Duration::from_secs(10),
            // 256 KiB in five minutes is 0.9 kB/s: a thousand workers with four streams each on a 100 Mb/s line get
            // three times that, and no image ever arrives at less.
            piece: Duration::from_secs(300),
        },
        retry: Duration::from_millis(500),
        retry_cap: Duration::from_secs(15),
        tell: Duration::from_secs(2),
    };
}

/// How many streams: enough that one slow or dead connection does not hold up the rest, and few enough that a
/// thousand workers are four thousand connections.
pub const STREAMS: usize = 4;

/// What a finished fetch cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes of bodies received, with those that were wasted.
    pub bytes: u64,
    /// Requests that failed for any reason.
    pub retries: u64,
    /// Chunks that arrived whole and wrong.
    pub bad: u64,
}

/// Fetches all of `list` into `file`.
///
/// # Errors
/// This machine cannot go on. A server can never cause one.
pub fn fetch(
    list: &ChunkList,
    bases: &[Base],
    file: &File,
    pace: Pace,
    tell: &(dyn Fn(Event) + Sync),
) -> anyhow::Result<Counts> {
    let job = Job {
        list,
        bases,
        path: Resource::Image(list.id()).path(),
        file,
        pace,
        tell,
        table: Mutex::new(Table {
            chunks: Chunks::new(list.count()),
            counts: Counts::default(),
            good: 0,
            well: None,
            waiting: Vec::new(),
            failed: None,
        }),
        changed: Condvar::new(),
    };
    thread::scope(|scope| {
        for number in 0..STREAMS {
            let started = thread::Builder::new()
                .name(format!("fetch-{number}"))
                .stack_size(STACK)
                .spawn_scoped(scope, || job.stream());
            // One stream is enough to boot by; none is not.
            if let Err(error) = started
                && number == 0
            {
                return Err(error).context("starting a thread");
            }
        }
        job.watch();
        Ok(())
    })?;
    let table = job
        .table
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    match table.failed {
        Some(error) => Err(error),
        None => Ok(table.counts),
    }
}

struct Job<'a> {
    list: &'a ChunkList,
    bases: &'a [Base],
    path: String,
    file: &'a File,
    pace: Pace,
    tell: &'a (dyn Fn(Event) + Sync),
    table: Mutex<Table>,
    changed: Condvar,
}

/// How a run ended early.
enum End {
    /// The base's doing: try again.
    Base(HttpError),
    /// The base sent something else.
    Bad(BadChunk),
    /// Ours: nothing helps.
    Local(anyhow::Error),
}

impl Job<'_> {
    /// One stream: picks, fetches, waits, until every chunk is done.
    fn stream(&self) {
        let mut backoff = Backoff::new(self.pace.retry, self.pace.retry_cap);
        let mut connection = None;
        let (mut base, mut failures) = (0, 0);
        while let Some(run) = self.next(base) {
            let before = self.lock().good;
            let Err(end) = self.run(&mut connection, base, run) else {
                failures = 0;
                backoff.reset();
                continue;
            };
            connection = None;
            let why = match end {
                End::Base(error) => format!("{:#}", anyhow::Error::new(error)),
                End::Bad(error) => error.to_string(),
                End::Local(error) => return self.fail(error),
            };
            if self.lock().good > before {
                backoff.reset();
            }
            failures += 1;
            // Another base is tried at once; when all of them failed in a row, it is time to wait.
            let wait = if failures % self.bases.len().max(1) == 0 {
                backoff.next(clock::chance())
            } else {
                Duration::ZERO
            };
            let next = (base + 1) % self.bases.len().max(1);
            self.release_and_wait(run, Waiting::new(base, next, why, wait));
            base = next;
        }
    }

    /// The next run for a stream at `base`; `None` when there is nothing left to do.
    fn next(&self, base: usize) -> Option<Run> {
        let mut table = self.lock();
        loop {
            if table.failed.is_some() {
                return None;
            }
            let now = clock::now();
            let streams = STREAMS as u64;
            match table.chunks.pick(Ask { base, streams, now }) {
                Pick::Finished => {
                    self.changed.notify_all();
                    return None;
                }
                Pick::Run(run) => {
                    table.chunks.take(run);
                    return Some(run);
                }
                Pick::Wait(until) => {
                    let time = until.map_or(TICK, |at| at.saturating_duration_since(now));
                    table = self.wait(table, time.min(TICK));
                }
            }
        }
    }

    /// Fetches a run. No byte reaches the file before its chunk was verified.
    fn run(&self, slot: &mut Option<Connection>, base: usize, run: Run) -> Result<(), End> {
        let from = self
            .bases
            .get(base)
            .ok_or_else(|| End::Local(anyhow!("no base to fetch from")))?;
        let mut connection = match slot.take().filter(Connection::is_reusable) {
            Some(connection) => connection,
            None => Connection::open(from, self.pace.patience).map_err(End::Base)?,
        };
        let first = run.first * CHUNK_BYTES;
        let range = ByteRange {
            first,
            len: (run.count * CHUNK_BYTES).min(self.list.size() - first),
            total: self.list.size(),
        };
        connection.get_range(&self.path, range).map_err(End::Base)?;
        let mut buffer = vec![0; usize::try_from(CHUNK_BYTES).unwrap_or(0)];
        for index in run.first..run.first + run.count {
            let len = usize::try_from(self.list.chunk_len(index)).unwrap_or(0);
            let chunk = buffer.get_mut(..len).unwrap_or_default();
            let before = connection.received();
            let read = connection.read_exact(chunk);
            self.lock().counts.bytes += connection.received() - before;
            read.map_err(End::Base)?;
            if let Err(bad) = self.list.verify(index, chunk) {
                self.bad(index, base, &bad);
                return Err(End::Bad(bad));
            }
            self.file
                .write_all_at(chunk, index * CHUNK_BYTES)
                .with_context(|| format!("writing chunk {index} of {}", self.list.count()))
                .map_err(End::Local)?;
            let mut table = self.lock();
            table.chunks.done(index);
            table.good += len as u64;
            table.well = Some((base, clock::now()));
            if !table.waiting.is_empty() {
                self.changed.notify_all();
            }
        }
        self.changed.notify_all();
        *slot = Some(connection);
        Ok(())
    }

    fn bad(&self, index: u64, base: usize, bad: &BadChunk) {
        let mut table = self.lock();
        let mut backoff = Backoff::new(self.pace.retry, self.pace.retry_cap);
        let wait = (0..=table.chunks.times_bad(index))
            .map(|_| backoff.next(clock::chance()))
            .last();
        table
            .chunks
            .bad(index, base, clock::now() + wait.unwrap_or_default());
        table.counts.bad += 1;
        drop(table);
        (self.tell)(Event::Bad(format!("{}: {bad}", self.name(base))));
    }

    /// Waits out the back-off, or until another stream finds that the base to try next is well.
    fn release_and_wait(&self, run: Run, waiting: Waiting) {
        let Waiting {
            stream,
            next,
            since,
            until,
            ..
        } = waiting;
        let mut table = self.lock();
        table.chunks.release(run);
        table.counts.retries += 1;
        table.waiting.push(waiting);
        self.changed.notify_all();
        loop {
            let left = until.saturating_duration_since(clock::now());
            let well = table
                .well
                .is_some_and(|(base, at)| base == next && at > since);
            if left.is_zero() || well || table.failed.is_some() {
                break;
            }
            table = self.wait(table, left);
        }
        table.waiting.retain(|waiting| waiting.stream != stream);
    }

    fn fail(&self, error: anyhow::Error) {
        self.lock().failed.get_or_insert(error);
        self.changed.notify_all();
    }

    fn name(&self, base: usize) -> String {
        self.bases
            .get(base)
            .map(Base::to_string)
            .unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'t>(&self, table: MutexGuard<'t, Table>, time: Duration) -> MutexGuard<'t, Table> {
        self.changed
            .wait_timeout(table, time)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

/// A stream's deepest call verifies a chunk; BLAKE3 needs a few KiB of stack.
const STACK: usize = 256 * 1024;
const TICK: Duration = Duration::from_millis(100);
