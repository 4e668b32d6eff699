//! What a fetch says about itself: how far it is, or what it waits for, since when, and when it tries next.

use std::time::Instant;

use super::Job;
use super::table::TICK;
use crate::clock;
use crate::console::{Event, Progress, Wait};
use crate::sources::{Source, Sources};

impl Job<'_> {
    /// Says where the fetch stands until it ends.
    pub(super) fn watch(&self) {
        let mut good = 0;
        let mut moved = clock::now();
        let mut told = moved;
        let mut table = self.lock();
        while !table.is_finished() {
            table = self.wait(table, TICK);
            let now = clock::now();
            let gap = now.duration_since(told);
            if gap < self.pace.tell {
                continue;
            }
            let here = (table.good, self.list.size());
            let event = if here.0 > good {
                moved = now;
                Event::Progress(Progress {
                    done: here.0,
                    total: here.1,
                    per_second: (here.0 - good) as f64 / gap.as_secs_f64(),
                    trouble: trouble(table.sources),
                })
            } else {
                Event::Wait(waiting(table.sources, moved, now, Some(here)))
            };
            (good, told) = (here.0, now);
            drop(table);
            (self.tell)(event);
            table = self.lock();
        }
    }
}

/// The base whose trouble is the newest: what others suffer from is said when they wait for it.
fn trouble(sources: &Sources) -> Option<(String, String)> {
    let troubled = sources
        .all()
        .iter()
        .filter_map(|s| Some((s, s.trouble.as_ref()?)));
    let (source, trouble) = troubled.max_by_key(|(_, trouble)| trouble.since)?;
    Some((source.base.to_string(), trouble.why.clone()))
}

/// Nothing has moved since `since`: whose fault that is, and what comes next.
pub(crate) fn waiting(
    sources: &Sources,
    since: Instant,
    now: Instant,
    here: Option<(u64, u64)>,
) -> Wait {
    let troubled = |source: &&Source| source.trouble.is_some();
    let some_fail = sources.all().iter().any(|s| s.trouble.is_some());
    let concerned: Vec<&Source> = sources
        .all()
        .iter()
        .filter(|s| !some_fail || troubled(s))
        .collect();
    let names: Vec<String> = concerned.iter().map(|s| s.base.to_string()).collect();
    let reasons: Vec<String> = concerned
        .iter()
        .filter_map(|s| Some((s, &s.trouble.as_ref()?.why)))
        .map(|(s, why)| match concerned.len() {
            1 => why.clone(),
            _ => format!("{}: {why}", s.base),
        })
        .collect();
    let left = sources
        .next_try()
        .map(|at| at.saturating_duration_since(now));
    let next = match left {
        Some(left) if !left.is_zero() => format!("next try in {:.1} s", left.as_secs_f64()),
        _ => "asking now".to_owned(),
    };
    let or_nothing = Some("nothing comes".to_owned());
    Wait {
        what: names.join(" and "),
        since: now.duration_since(since),
        why: (!reasons.is_empty())
            .then(|| reasons.join("; "))
            .or(or_nothing),
        next,
        here,
    }
}
