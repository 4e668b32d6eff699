//! The image, chunk by chunk, from whoever has it, for ever: several streams over kept-alive connections.
//!
//! **Verified, then counted.** A chunk is received into its own place in the image's file, which nobody else can see
//! yet, and is there only when it was checked against the proven [`ChunkList`]; one that is wrong is wiped. What a server
//! says about itself decides nothing. A server can never end a fetch; it can only be waited for, visibly.

mod stream;
mod table;
mod watch;

use std::ops::Sub;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use ramboot_wire::paths::Resource;
use ramboot_wire::{CHUNK_BYTES, ChunkList};

use crate::console::Event;
use crate::http::Patience;
use crate::sources::Sources;
use table::Table;
pub(crate) use watch::waiting;

/// How a fetch behaves in time. Tests use a shorter one.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// For one connection.
    pub patience: Patience,
    /// The longest wait after a base's first failure.
    pub retry: Duration,
    /// The longest wait after many. A manager that comes back is found within this time; a thousand workers that
    /// wait for it ask 130 times a second.
    pub retry_cap: Duration,
    /// Between two words about progress or waiting.
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
        tell: Duration::from_millis(500),
    };
}

/// How many streams: enough that one slow or dead connection does not hold up the rest, and few enough that a
/// thousand workers are four thousand connections.
pub const STREAMS: usize = 4;

/// What a fetch cost, from all bases together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes of bodies received, with those that were wasted.
    pub bytes: u64,
    /// Requests that failed for any reason.
    pub retries: u64,
    /// Chunks that arrived whole and wrong.
    pub bad: u64,
}

impl Counts {
    /// The sums.
    #[must_use]
    pub fn of(sources: &Sources) -> Self {
        sources
            .all()
            .iter()
            .fold(Self::default(), |sum, source| Self {
                bytes: sum.bytes + source.counts.bytes,
                retries: sum.retries + source.counts.failures,
                bad: sum.bad + source.counts.bad,
            })
    }
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            bytes: self.bytes - earlier.bytes,
            retries: self.retries - earlier.retries,
            bad: self.bad - earlier.bad,
        }
    }
}

/// Fetches all of `list` into `image`, which has its size; `sources` keeps the counts.
///
/// # Errors
/// This machine cannot go on. A server can never cause one.
pub fn fetch(
    list: &ChunkList,
    sources: &mut Sources,
    image: &mut [u8],
    pace: Pace,
    tell: &(dyn Fn(Event) + Sync),
) -> anyhow::Result<()> {
    if sources.all().is_empty() {
        bail!("no base to fetch from");
    }
    ensure!(
        image.len() as u64 == list.size(),
        "room for {} bytes, expected {}",
        image.len(),
        list.size()
    );
    let chunk = usize::try_from(CHUNK_BYTES).context("a chunk")?;
    let job = Job {
        list,
        path: Resource::Image(list.id()).path(),
        pace,
        tell,
        table: Mutex::new(Table::new(image.chunks_mut(chunk).collect(), sources)),
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
    })
}

/// What the streams share.
struct Job<'a> {
    list: &'a ChunkList,
    path: String,
    pace: Pace,
    tell: &'a (dyn Fn(Event) + Sync),
    table: Mutex<Table<'a>>,
    changed: Condvar,
}

impl<'a> Job<'a> {
    fn lock(&self) -> MutexGuard<'_, Table<'a>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'t>(
        &self,
        table: MutexGuard<'t, Table<'a>>,
        time: Duration,
    ) -> MutexGuard<'t, Table<'a>> {
        self.changed
            .wait_timeout(table, time)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

/// A stream's deepest call verifies a chunk; BLAKE3 needs a few KiB of stack.
const STACK: usize = 256 * 1024;
