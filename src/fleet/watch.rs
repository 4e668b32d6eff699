//! The shell around [`Fleet`]: one for all servers, with the clock; tells those who look that something has changed.
#![expect(clippy::disallowed_methods, reason = "shell: owns the clock")]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, watch};

use super::event::{Event, Sign};
use super::rows::Catalogue;
use super::snapshot::WorkerRow;
use super::{Fleet, Refused};
use crate::metrics::Metrics;

/// What servers tell what they saw.
#[derive(Debug)]
pub struct Watch {
    fleet: Mutex<Fleet>,
    start: Instant,
    changes: watch::Sender<u64>,
    signs: broadcast::Sender<Sign>,
    metrics: Metrics,
}

impl Watch {
    /// Nothing was seen yet; time begins.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self {
            fleet: Mutex::default(),
            start: Instant::now(),
            changes: watch::Sender::new(0),
            signs: broadcast::Sender::new(MAX_SIGNS),
            metrics,
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
            self.metrics.boot(news);
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
        self.lock().rows(catalogue, self.up())
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

    /// Where all is counted.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
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
