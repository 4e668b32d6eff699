//! What a fetch says about itself: how far it is, or what it waits for, since when, and when it tries next.

use super::{Job, TICK};
use crate::clock;
use crate::console::{Event, Progress, Wait};

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
            let event = if here > good || waiting.is_none() {
                since = now;
                Event::Progress(Progress {
                    done: here,
                    total: self.list.size(),
                    per_second: (here - good) as f64 / gap.as_secs_f64(),
                    trouble: waiting.map(|w| (self.name(w.base), w.why)),
                })
            } else if let Some(w) = waiting {
                let left = w.until.saturating_duration_since(now);
                Event::Wait(Wait {
                    what: self.name(w.base),
                    since: now.duration_since(since),
                    why: Some(w.why),
                    next: format!("next try in {:.1} s", left.as_secs_f64()),
                    here: Some((here, self.list.size())),
                })
            } else {
                continue;
            };
            (self.tell)(event);
            (good, told) = (here, now);
        }
    }
}
