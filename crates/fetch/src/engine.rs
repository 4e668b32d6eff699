//! The image, chunk by chunk, from whoever has it, for ever: several streams over kept-alive connections.
//!
//! **Verified, then counted.** A chunk is received into its own place in the image's file, which nobody else can see
//! yet, and is there only when it was checked against the proven [`ChunkList`]; one that is wrong is wiped. What a server
//! says about itself decides nothing. A server can never end a fetch; it can only be waited for, visibly.

mod progress;
mod stream;
mod table;

use std::fmt;
use std::ops::{Range, Sub};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use ramboot_wire::ChunkList;
use ramboot_wire::image::CHUNK_LEN;
use ramboot_wire::paths::Resource;

use crate::event::Event;
use crate::http::Patience;
use crate::order::Order;
use crate::schedule::Chunks;
use crate::sources::Sources;
pub(crate) use progress::waiting;
use table::Table;

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
    let order = Order::file(list.count());
    Fetch::new(list, order, sources, image, pace, tell)?.run()
}

/// One fetch: what its streams share, and what others may ask of it meanwhile.
pub struct Fetch<'a> {
    list: &'a ChunkList,
    path: String,
    pace: Pace,
    tell: &'a (dyn Fn(Event) + Sync),
    /// Bytes that are wanted.
    wanted: u64,
    /// Somebody may [`demand`](Self::demand): there is a stream for that alone.
    on_demand: bool,
    /// How many streams fetch what nobody waits for.
    fillers: AtomicUsize,
    table: Mutex<Table<'a>>,
    changed: Condvar,
    /// A chunk is done.
    arrived: Condvar,
}

impl<'a> Fetch<'a> {
    /// What `order` wants of `list`, into its places in `image`, which has the image's size; `sources` keeps the counts.
    ///
    /// # Errors
    /// There is no base, or no room.
    pub fn new(
        list: &'a ChunkList,
        order: Order,
        sources: &'a mut Sources,
        image: &'a mut [u8],
        pace: Pace,
        tell: &'a (dyn Fn(Event) + Sync),
    ) -> anyhow::Result<Self> {
        if sources.all().is_empty() {
            bail!("no base to fetch from");
        }
        ensure!(
            image.len() as u64 == list.size() && order.count() == list.count(),
            "room for {} bytes, expected {}",
            image.len(),
            list.size()
        );
        let queue = order.queue().iter();
        Ok(Self {
            list,
            path: Resource::Image(list.id()).path(),
            pace,
            tell,
            wanted: queue.map(|index| list.chunk_len(*index)).sum(),
            on_demand: false,
            fillers: AtomicUsize::new(STREAMS),
            table: Mutex::new(Table::new(
                Chunks::new(order),
                image.chunks_mut(CHUNK_LEN).collect(),
                sources,
            )),
            changed: Condvar::new(),
            arrived: Condvar::new(),
        })
    }

    /// Programs will wait for single chunks; nothing else is fetched before [`fill`](Self::fill).
    #[must_use]
    pub fn on_demand(mut self) -> Self {
        self.on_demand = true;
        self.fillers = AtomicUsize::new(0);
        self
    }

    /// From now on so many streams fetch what nobody waits for, at most [`STREAMS`].
    pub fn fill(&self, streams: usize) {
        // The lock, so that no stream has looked and does not wait yet.
        let table = self.lock();
        self.fillers.store(streams, Ordering::SeqCst);
        drop(table);
        self.changed.notify_all();
    }

    /// Fetches until all that is wanted is there.
    ///
    /// # Errors
    /// This machine cannot go on. A server can never cause one.
    pub fn run(&self) -> anyhow::Result<()> {
        thread::scope(|scope| {
            for number in 0..STREAMS + usize::from(self.on_demand) {
                let started = thread::Builder::new()
                    .name(format!("fetch-{number}"))
                    .stack_size(STACK)
                    .spawn_scoped(scope, move || self.stream(number));
                // One stream is enough to boot by; none is not.
                if let Err(error) = started
                    && number == 0
                {
                    return Err(error).context("starting a thread");
                }
            }
            self.watch();
            Ok(())
        })
    }

    /// Somebody waits for these chunks: they come before all others.
    pub fn demand(&self, chunks: Range<u64>) -> u64 {
        let mut table = self.lock();
        let news = chunks.filter(|index| table.chunks.demand(*index)).count() as u64;
        drop(table);
        if news > 0 {
            self.changed.notify_all();
        }
        news
    }

    /// Whether all of these chunks are there.
    pub fn is_here(&self, mut chunks: Range<u64>) -> bool {
        let table = self.lock();
        chunks.all(|index| table.chunks.is_done(index))
    }

    /// How many chunks are there.
    pub fn count_done(&self) -> u64 {
        self.lock().chunks.count_done()
    }

    /// Waits until others are there than those `seen`, or for a while.
    pub fn await_arrival(&self, seen: u64, time: Duration) {
        let is_same = |table: &mut Table<'a>| table.chunks.count_done() == seen;
        drop(
            self.arrived
                .wait_timeout_while(self.lock(), time, is_same)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// What it cost so far.
    pub fn counts(&self) -> Counts {
        Counts::of(self.lock().sources)
    }

    /// Verified bytes of those that were wanted.
    pub fn good(&self) -> u64 {
        self.lock().good
    }

    /// Bytes that were wanted.
    pub const fn wanted(&self) -> u64 {
        self.wanted
    }

    /// Nobody asked for anything.
    fn rests(&self, table: &Table<'a>) -> bool {
        self.fillers.load(Ordering::SeqCst) == 0 && !table.chunks.is_demanded()
    }

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

impl fmt::Debug for Fetch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fetch({:?}, {} bytes)", self.list, self.wanted)
    }
}

/// A stream's deepest call verifies a chunk; BLAKE3 needs a few KiB of stack.
const STACK: usize = 256 * 1024;
