//! What the streams of one fetch share.

use std::thread;
use std::time::{Duration, Instant};

use super::Counts;
use crate::clock;
use crate::pick::Chunks;

pub(super) struct Table {
    pub(super) chunks: Chunks,
    pub(super) counts: Counts,
    /// Verified bytes.
    pub(super) good: u64,
    /// The base that last sent a good chunk, and when.
    pub(super) well: Option<(usize, Instant)>,
    /// One entry for each stream that waits after a failure.
    pub(super) waiting: Vec<Waiting>,
    pub(super) failed: Option<anyhow::Error>,
}

#[derive(Clone)]
pub(super) struct Waiting {
    pub(super) stream: thread::ThreadId,
    /// What failed, and why.
    pub(super) base: usize,
    pub(super) why: String,
    /// What will be tried, and when.
    pub(super) next: usize,
    pub(super) since: Instant,
    pub(super) until: Instant,
}

impl Waiting {
    pub(super) fn new(base: usize, next: usize, why: String, wait: Duration) -> Self {
        let since = clock::now();
        Self {
            stream: thread::current().id(),
            base,
            why,
            next,
            since,
            until: since + wait,
        }
    }
}
