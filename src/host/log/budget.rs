//! How many lines others can make the manager write into its log. Pure: a line's kind, its source and the time in, whether it
//! is written out.
//!
//! A source has a burst of lines of each kind and then one a second; all sources of a kind together have more, so that a rack
//! that boots is logged whole, and made-up sources fill no disk. What is left out is counted, and the count is logged.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// Who has written how much. `K` tells kinds of lines apart.
#[derive(Debug)]
pub(super) struct Budget<K> {
    kinds: HashMap<K, Account>,
    sources: HashMap<(K, Box<str>), Account>,
    /// When sources that are as new were last dropped.
    swept: Duration,
}

/// Lines of one kind that were not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Where they came from; `None`: from many.
    pub(super) source: Option<Box<str>>,
    pub(super) lines: u64,
    pub(super) seconds: u64,
    /// The first of them.
    pub(super) text: Box<str>,
}

impl<K: Hash + Eq + Clone> Budget<K> {
    pub(super) fn new() -> Self {
        Self {
            kinds: HashMap::new(),
            sources: HashMap::new(),
            swept: Duration::ZERO,
        }
    }

    /// Whether a line is written; `text` is asked for the first one that is not.
    pub(super) fn take(
        &mut self,
        kind: &K,
        source: &str,
        now: Duration,
        text: impl FnOnce() -> String,
    ) -> bool {
        let known = (kind.clone(), Box::from(source));
        let room = self.room_for(&known, now);
        let all = self
            .kinds
            .entry(kind.clone())
            .or_insert_with(|| Account::new(ALL, now));
        if !room {
            return all.take(ALL, now, text);
        }
        let own = self
            .sources
            .entry(known)
            .or_insert_with(|| Account::new(OWN, now));
        if !own.has_left(OWN, now) {
            return own.take(OWN, now, text);
        }
        all.take(ALL, now, text) && own.take(OWN, now, String::new)
    }

    /// What was left out some time ago and was not told yet, some of it at a time.
    pub(super) fn due(&mut self, now: Duration) -> Vec<LeftOut> {
        let kinds = self.kinds.values_mut().map(|account| (None, account));
        let sources = self.sources.iter_mut();
        let sources = sources.map(|((_, source), account)| (Some(source.clone()), account));
        let due = kinds.chain(sources).filter_map(|(source, account)| {
            let out = account
                .out
                .take_if(|out| now.saturating_sub(out.since) >= WINDOW)?;
            Some(LeftOut {
                source,
                lines: out.lines,
                seconds: now.saturating_sub(out.since).as_secs(),
                text: out.text,
            })
        });
        due.take(TOLD_AT_ONCE).collect()
    }

    fn room_for(&mut self, source: &(K, Box<str>), now: Duration) -> bool {
        if self.sources.len() < MAX_SOURCES || self.sources.contains_key(source) {
            return true;
        }
        // Not for each line of a flood.
        if now.saturating_sub(self.swept) >= SWEEP {
            self.swept = now;
            self.sources
                .retain(|_, account| account.out.is_some() || !account.is_whole(OWN, now));
        }
        self.sources.len() < MAX_SOURCES
    }
}

/// Lines at once, and lines a second.
type Rate = (u32, u32);

/// Lines that may be written, and those that were not.
#[derive(Debug)]
struct Account {
    left: u32,
    at: Duration,
    out: Option<Out>,
}

#[derive(Debug)]
struct Out {
    lines: u64,
    since: Duration,
    text: Box<str>,
}

impl Account {
    const fn new((burst, _): Rate, now: Duration) -> Self {
        Self {
            left: burst,
            at: now,
            out: None,
        }
    }

    fn has_left(&mut self, (burst, per_second): Rate, now: Duration) -> bool {
        let seconds = now.saturating_sub(self.at).as_secs();
        if seconds > 0 {
            let more = u32::try_from(seconds).unwrap_or(u32::MAX);
            let more = more.saturating_mul(per_second);
            self.left = self.left.saturating_add(more).min(burst);
            self.at += Duration::from_secs(seconds);
        }
        self.left > 0
    }

    fn is_whole(&mut self, rate: Rate, now: Duration) -> bool {
        self.has_left(rate, now) && self.left == rate.0
    }

    fn take(&mut self, rate: Rate, now: Duration, text: impl FnOnce() -> String) -> bool {
        if self.has_left(rate, now) {
            self.left -= 1;
            return true;
        }
        let out = self.out.get_or_insert_with(|| Out {
            lines: 0,
            since: now,
            text: text().into(),
        });
        out.lines += 1;
        false
    }
}

/// A boot has some twenty lines, and may be tried again.
const OWN: Rate = (64, 1);
/// A thousand machines that are switched on together.
const ALL: Rate = (10_000, 50);
/// Of any kind. Others share what their kind has.
const MAX_SOURCES: usize = 4_096;
const SWEEP: Duration = Duration::from_secs(1);
/// What is left out is told so long after it began.
const WINDOW: Duration = Duration::from_secs(10);
/// What is told is bounded, too; the rest is told a second later.
const TOLD_AT_ONCE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    struct Log {
        budget: Budget<&'static str>,
        written: usize,
    }

    impl Log {
        fn new() -> Self {
            Self {
                budget: Budget::new(),
                written: 0,
            }
        }

        fn line(&mut self, kind: &'static str, source: &str, now: Duration) -> bool {
            let text = || format!("{source}: hello");
            let written = self.budget.take(&kind, source, now, text);
            self.written += usize::from(written);
            written
        }
    }

    #[test]
    fn one_source_writes_little_and_what_is_left_out_is_counted() {
        let mut log = Log::new();
        // 22 000 lines a second.
        for number in 0..220_000_u64 {
            let now = Duration::from_micros(number * 1_000 / 22);
            log.line("inform", "02:00:00:00:00:07", now);
        }
        assert_eq!(log.written, 64 + 9);
        assert!(
            log.line("inform", "02:00:00:00:00:08", Duration::from_secs(9)),
            "others"
        );
        assert!(
            log.line("discover", "02:00:00:00:00:07", Duration::from_secs(9)),
            "others"
        );
        let due = log
            .budget
            .due(Duration::from_secs(10) + Duration::from_millis(3));
        let want = LeftOut {
            source: Some("02:00:00:00:00:07".into()),
            lines: 220_000 - 64 - 9,
            seconds: 10,
            text: "02:00:00:00:00:07: hello".into(),
        };
        assert_eq!(due, [want]);
        assert_eq!(log.budget.due(Duration::from_secs(99)), [], "told once");
    }

    #[test]
    fn who_makes_sources_up_fills_no_disk() {
        let mut log = Log::new();
        for number in 0..600_000_u64 {
            let now = Duration::from_micros(number * 100);
            log.line("inform", &format!("{number:012x}"), now);
        }
        assert_eq!(log.written, 10_000 + 59 * 50, "in a minute");
        assert!(log.budget.sources.len() <= MAX_SOURCES);
        let due = log.budget.due(Duration::from_secs(61));
        let lines: u64 = due.iter().map(|out| out.lines).sum();
        assert_eq!((due.len(), due[0].source.clone()), (1, None));
        assert_eq!(
            lines + log.written as u64,
            600_000,
            "each is written or counted"
        );
    }

    #[test]
    fn a_thousand_machines_that_boot_are_logged_whole() {
        let mut log = Log::new();
        for machine in 0..1_000 {
            for _stage in 0..9 {
                let source = format!("10.0.{}.{}", machine / 256, machine % 256);
                assert!(log.line("report", &source, Duration::from_secs(1)));
            }
        }
    }

    #[test]
    fn few_are_told_at_once_and_all_in_the_end() {
        let mut log = Log::new();
        for source in 0..40 {
            for _ in 0..65 {
                log.line("inform", &source.to_string(), Duration::ZERO);
            }
        }
        let mut told = |seconds| log.budget.due(Duration::from_secs(seconds)).len();
        assert_eq!([9, 10, 11, 12, 13].map(&mut told), [0, 16, 16, 8, 0]);
    }
}
