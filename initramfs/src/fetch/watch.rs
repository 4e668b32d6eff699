//! What a fetch says about itself: how far it is, or what it waits for, since when, and when it tries next.

use super::{Job, TICK};
use crate::clock;
use crate::console::{Event, mb};

impl Job<'_> {
    /// Says where the fetch stands until it ends.
    pub(super) fn watch(&self) {
        let mut good = 0;
        let mut since = clock::now();
        let mut told = since;
        loop {
            let mut table = self.lock();
            let total = self.list.count();
            if table.failed.is_some() || table.chunks.count_done() == total {
                return;
            }
            table = self.wait(table, TICK);
            let now = clock::now();
            let gap = now.duration_since(told);
            if gap < self.pace.tell {
                continue;
            }
            let here = table.good;
            let waiting = table.waiting.iter().min_by_key(|w| w.until).cloned();
            drop(table);
            let done = format!(
                "{} % ({} of {} MB)",
                here.saturating_mul(100) / self.list.size().max(1),
                mb(here),
                mb(self.list.size())
            );
            if here > good || waiting.is_none() {
                let speed = (here - good) as f64 / 1e6 / gap.as_secs_f64();
                let from = waiting.map_or_else(String::new, |w| {
                    format!("; trouble with {}: {}", self.name(w.base), w.why)
                });
                (self.tell)(Event::Progress(format!(
                    "fetch {done} at {speed:.1} MB/s{from}"
                )));
                since = now;
            } else if let Some(w) = waiting {
                (self.tell)(Event::Progress(format!(
                    "fetch waits for {} since {} s ({}); next try in {:.1} s; {done} are here",
                    self.name(w.base),
                    now.duration_since(since).as_secs(),
                    w.why,
                    w.until.saturating_duration_since(now).as_secs_f64(),
                )));
            }
            (good, told) = (here, now);
        }
    }
}
