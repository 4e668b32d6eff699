//! The shell around [`Fleet`]: one for all servers, with the clock; tells those who look that something has changed.
#![expect(clippy::disallowed_methods, reason = "shell: owns the clock")]

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, watch};

use super::event::{Event, Sign};
use super::rows::{Catalogue, Rows};
use super::snapshot::WorkerRow;
use super::worker::{News, Worker};
use super::{Fleet, Refused};

/// Is told what became of boots, to count it.
pub type NewsSink = dyn Fn(News) + Send + Sync;

/// What servers tell what they saw.
pub struct SharedFleet {
    fleet: Mutex<Fleet>,
    start: Instant,
    changes: watch::Sender<u64>,
    signs: broadcast::Sender<Sign>,
    news: Box<NewsSink>,
}

impl fmt::Debug for SharedFleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedFleet")
            .field("fleet", &self.fleet)
            .finish_non_exhaustive()
    }
}

impl SharedFleet {
    /// Nothing was seen yet; time begins.
    #[must_use]
    pub fn new(news: Box<NewsSink>) -> Self {
        Self {
            fleet: Mutex::default(),
            start: Instant::now(),
            changes: watch::Sender::new(0),
            signs: broadcast::Sender::new(MAX_SIGNS),
            news,
        }
    }

    /// Since the manager started.
    #[must_use]
    pub fn up(&self) -> Duration {
        self.start.elapsed()
    }

    /// Something was seen.
    ///
    /// # Errors
    /// It is not believed.
    pub fn saw(&self, event: Event) -> Result<(), Refused> {
        let sign = event.sign();
        let news = self.lock().apply(event, self.up())?;
        // Nobody may listen: only who gives addresses does.
        let _ = sign.map(|sign| self.signs.send(sign));
        if let Some(news) = news {
            (self.news)(news);
        }
        self.changes.send_modify(|changes| *changes += 1);
        Ok(())
    }

    /// A second has gone by.
    pub fn tick(&self) {
        let seconds = self.up().as_secs();
        if seconds.is_multiple_of(FORGET_EVERY) {
            self.lock().tick(self.up());
        }
        // What was not heard of is news, too.
        if seconds.is_multiple_of(NEWS_EVERY) {
            self.changes.send_modify(|changes| *changes += 1);
        }
    }

    /// The machines now.
    #[must_use]
    pub fn rows(&self, catalogue: &Catalogue) -> Vec<WorkerRow> {
        let mut rows = Rows::of(catalogue);
        self.each(|workers| rows.add(workers, self.up()));
        rows.sorted()
    }

    /// All machines that are shown, some at a time. Whoever serves tells the fleet what it saw, so the lock is held for no
    /// longer than a few copies take, and not while something is made of them.
    fn each(&self, mut take: impl FnMut(&[Worker])) {
        let macs = self.lock().listed();
        for some in macs.chunks(AT_ONCE) {
            let copies = self.lock().copies(some);
            take(&copies);
        }
    }

    /// Who looks until something changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Where machines are heard of from now on. Who is too slow misses the oldest; heartbeats come again.
    #[must_use]
    pub fn signs(&self) -> broadcast::Receiver<Sign> {
        self.signs.subscribe()
    }

    /// The fleet, for one question. It is whole after every event, whoever panicked.
    pub fn lock(&self) -> MutexGuard<'_, Fleet> {
        self.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As many as come in a tenth of a second.
const MAX_SIGNS: usize = 4_096;
/// Seconds.
const FORGET_EVERY: u64 = 60;
/// Seconds.
const NEWS_EVERY: u64 = 10;
/// Machines that are copied under one lock.
const AT_ONCE: usize = 256;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use ramboot_wire::{Heartbeat, ImageId, Mac};

    use super::*;

    /// What serves waits for this lock: a fleet of any size is copied in small pieces, and what is made of them is made
    /// while the lock is free.
    #[test]
    fn nothing_is_made_under_the_lock() {
        let watch = SharedFleet::new(Box::new(drop));
        for number in 0..1_000_u32 {
            let beat = Heartbeat {
                mac: Mac([2, 0, 0, 0, number.to_be_bytes()[2], number.to_be_bytes()[3]]),
                image: ImageId([7; 32]),
                hostname: None,
                boot_ms: 1,
                up_s: 1,
                memory: 1,
                available: 1,
                load_percent: 1,
                filling: None,
            };
            let from = Ipv4Addr::from(0x0a00_0000 + number);
            watch.saw(Event::Beat(from, beat)).expect("believed");
        }
        let mut pieces = Vec::new();
        watch.each(|workers| {
            assert!(watch.fleet.try_lock().is_ok(), "the lock is free");
            pieces.push(workers.len());
        });
        assert_eq!(pieces, [256, 256, 256, 232]);
    }
}
