//! What a storm comes to: quantiles, sums, and one table. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::stage::{Log, Question, Stage};

/// How times are spread, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// How many.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Half of them are no longer.
    pub p50: f64,
    /// 95 of 100 are no longer.
    pub p95: f64,
    /// 99 of 100 are no longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Spread {
    /// Of times in any order; `None` of none.
    #[must_use]
    pub fn of(times: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut times: Vec<f64> = times.into_iter().map(|time| time.as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        // The smallest that is at least as long as so many of a hundred.
        let rank = |percent: usize| {
            let place = (times.len() * percent).div_ceil(100).max(1) - 1;
            times.get(place).copied()
        };
        Some(Self {
            count: times.len(),
            mean: times.iter().sum::<f64>() / times.len() as f64,
            p50: rank(50)?,
            p95: rank(95)?,
            p99: rank(99)?,
            max: rank(100)?,
        })
    }
}

/// A storm in numbers.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Machines that were switched on.
    pub machines: usize,
    /// Machines that have their image.
    pub booted: usize,
    /// Why the others have not, and how many.
    pub failed: BTreeMap<String, u64>,
    /// Questions that failed and were asked again, and how often.
    pub faults: BTreeMap<String, u64>,
    /// From the first machine's switch to the last byte, in seconds.
    pub seconds: f64,
    /// Times in each stage there was.
    pub stages: Vec<(Stage, Spread)>,
    /// From switch to what a machine needs to run, of those that stream.
    pub runs: Option<Spread>,
    /// How long they were blocked on a chunk, until all of it was there.
    pub demands: Option<Spread>,
    /// Of the bytes that machines received while one of them was blocked on a chunk, half of the times no more than this, and
    /// the most.
    pub beside_demands: Option<[u64; 2]>,
    /// Answers that told a machine to wait which was blocked on a chunk.
    pub demands_told_to_wait: u64,
    /// Bytes that were received before the last machine ran, of those that stream.
    pub received_when_all_run: Option<u64>,
    /// From switch to image, of those that booted.
    pub boot: Option<Spread>,
    /// From a question to the first byte of its answer.
    pub waits: Vec<(Question, Spread)>,
    /// Bytes of boot files and chunk lists.
    pub boot_bytes: u64,
    /// Bytes of chunks.
    pub image_bytes: u64,
    /// From the first chunk that was asked for to the last byte, in seconds.
    pub image_seconds: f64,
    /// Chunks that were read and verified.
    pub verified: u64,
    /// DHCP and TFTP packets that were sent again.
    pub again: u64,
    /// Answers that told a machine to wait.
    pub told_to_wait: u64,
    /// The longest that the swarm itself was late, in seconds: it is in every time here.
    pub own_delay: f64,
}

impl Summary {
    /// Of all machines' notes.
    #[must_use]
    pub fn of(logs: &[Log], own_delay: Duration) -> Self {
        let sum = |what: fn(&Log) -> u64| logs.iter().map(what).sum::<u64>();
        let first = logs.iter().map(|log| log.on).min().unwrap_or_default();
        let last = logs.iter().map(|log| log.off).max().unwrap_or_default();
        let fetching = logs.iter().flat_map(|log| &log.spans);
        let fetching = fetching.filter(|span| span.stage.is_fetching());
        let fetch_first = fetching.clone().map(|span| span.from).min();
        let fetch_last = fetching.map(|span| span.to).max();
        let fetch = fetch_last
            .unwrap_or_default()
            .saturating_sub(fetch_first.unwrap_or_default());
        let (mut failed, mut faults) = (BTreeMap::new(), BTreeMap::new());
        for log in logs {
            if let Some(reason) = &log.failed {
                *failed.entry(reason.clone()).or_default() += 1;
            }
            for (fault, count) in &log.faults {
                *faults.entry(fault.clone()).or_default() += count;
            }
        }
        let booted = || logs.iter().filter(|log| log.failed.is_none());
        let demands = || logs.iter().flat_map(|log| &log.demands);
        let waits = |question| {
            let waits = logs.iter().flat_map(|log| &log.waits);
            waits.filter_map(move |(what, time)| (*what == question).then_some(*time))
        };
        Self {
            machines: logs.len(),
            booted: booted().count(),
            failed,
            faults,
            seconds: last.saturating_sub(first).as_secs_f64(),
            stages: Stage::ALL
                .into_iter()
                .filter_map(|stage| {
                    let times = logs.iter().filter_map(|log| log.time_in(stage));
                    Some((stage, Spread::of(times)?))
                })
                .collect(),
            runs: Spread::of(booted().filter_map(|log| Some(log.runs?.saturating_sub(log.on)))),
            demands: Spread::of(demands().map(|demand| demand.took)),
            beside_demands: median_and_most(demands().map(|demand| demand.received).collect()),
            demands_told_to_wait: demands().map(|demand| demand.told_to_wait).sum(),
            received_when_all_run: booted()
                .filter(|log| log.runs.is_some())
                .map(|log| log.received_when_it_runs)
                .max(),
            boot: Spread::of(booted().map(|log| log.off.saturating_sub(log.on))),
            waits: Question::ALL
                .into_iter()
                .filter_map(|question| Some((question, Spread::of(waits(question))?)))
                .collect(),
            boot_bytes: sum(|log| log.boot_bytes),
            image_bytes: sum(|log| log.image_bytes),
            image_seconds: fetch.as_secs_f64(),
            verified: sum(|log| log.verified),
            again: sum(|log| log.again),
            told_to_wait: sum(|log| log.told_to_wait),
            own_delay: own_delay.as_secs_f64(),
        }
    }

    /// How much longer than the mean the slowest took to boot; 1 is fair.
    #[must_use]
    pub fn slowest_to_mean(&self) -> Option<f64> {
        self.boot.map(|boot| boot.max / boot.mean)
    }

    /// The longest wait for the first byte of an answer, in seconds.
    #[must_use]
    pub fn longest_wait(&self) -> f64 {
        let longest = self.waits.iter().map(|(_, spread)| spread.max);
        longest.fold(0.0, f64::max)
    }

    /// Bytes of chunks a second.
    #[must_use]
    pub fn image_rate(&self) -> f64 {
        self.image_bytes as f64 / self.image_seconds
    }
}

fn median_and_most(mut bytes: Vec<u64>) -> Option<[u64; 2]> {
    bytes.sort_unstable();
    let median = bytes.len().div_ceil(2).checked_sub(1)?;
    Some([*bytes.get(median)?, *bytes.last()?])
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["machines", "mean s", "p50 s", "p95 s", "p99 s", "max s"];
        write!(f, "{:<18}", "stage")?;
        head.iter().try_for_each(|name| write!(f, "{name:>10}"))?;
        writeln!(f)?;
        for (stage, spread) in &self.stages {
            row(f, stage.name(), spread)?;
        }
        for (name, spread) in [
            ("switch to running", &self.runs),
            ("switch to image", &self.boot),
            ("blocked on a chunk", &self.demands),
        ] {
            if let Some(spread) = spread {
                row(f, name, spread)?;
            }
        }
        writeln!(f, "\nfirst byte of an answer")?;
        for (question, spread) in &self.waits {
            row(f, question.name(), spread)?;
        }
        writeln!(
            f,
            "\n{} of {} booted in {:.1} s; {:.3} GB of images at {:.3} GB/s, {:.3} GB of boot files, {} chunks verified",
            self.booted,
            self.machines,
            self.seconds,
            self.image_bytes as f64 / 1e9,
            self.image_rate() / 1e9,
            self.boot_bytes as f64 / 1e9,
            self.verified
        )?;
        writeln!(
            f,
            "slowest / mean {:.2}; told to wait {} times; {} datagrams sent again; the swarm itself was late by up to {:.0} ms",
            self.slowest_to_mean().unwrap_or(f64::NAN),
            self.told_to_wait,
            self.again,
            self.own_delay * 1e3
        )?;
        if let Some([median, most]) = self.beside_demands {
            writeln!(
                f,
                "while a machine was blocked on a chunk, all of them received {:.2} MB (median), {:.2} MB at most; such machines were told to wait {} times",
                median as f64 / 1e6,
                most as f64 / 1e6,
                self.demands_told_to_wait
            )?;
        }
        if let Some(bytes) = self.received_when_all_run {
            writeln!(
                f,
                "{:.3} GB were received when the last one ran",
                bytes as f64 / 1e9
            )?;
        }
        let failed = self
            .failed
            .iter()
            .map(|(why, count)| ("failed", why, count));
        let faults = self
            .faults
            .iter()
            .map(|(why, count)| ("asked again", why, count));
        failed
            .chain(faults)
            .try_for_each(|(what, why, count)| writeln!(f, "{what}: {count} × {why}"))
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, spread: &Spread) -> fmt::Result {
    write!(f, "{name:<18}{:>10}", spread.count)?;
    for value in [spread.mean, spread.p50, spread.p95, spread.p99, spread.max] {
        write!(f, "{value:>10.3}")?;
    }
    writeln!(f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Demand;

    #[test]
    fn a_spread_is_of_times_that_were() {
        let ms = Duration::from_millis;
        let spread = Spread::of((1..=100).rev().map(ms)).expect("some");
        let want = Spread {
            count: 100,
            mean: 0.0505,
            p50: 0.05,
            p95: 0.095,
            p99: 0.099,
            max: 0.1,
        };
        assert!((spread.mean - want.mean).abs() < 1e-9);
        assert_eq!(
            Spread {
                mean: want.mean,
                ..spread
            },
            want
        );
        assert_eq!(Spread::of([]), None);
        let one = Spread::of([ms(7)]).expect("one");
        assert_eq!((one.p50, one.max), (0.007, 0.007));
    }

    #[test]
    fn failures_are_counted_by_reason_and_the_slowest_is_held_against_the_mean() {
        let log = |seconds, failed: Option<&str>| Log {
            off: Duration::from_secs(seconds),
            failed: failed.map(str::to_owned),
            ..Log::default()
        };
        let logs = [
            log(1, None),
            log(3, None),
            log(9, Some("x")),
            log(9, Some("x")),
        ];
        let summary = Summary::of(&logs, Duration::ZERO);
        assert_eq!((summary.machines, summary.booted), (4, 2));
        assert_eq!(summary.failed, BTreeMap::from([("x".to_owned(), 2)]));
        assert_eq!(summary.slowest_to_mean(), Some(1.5));
        assert!(summary.to_string().contains("failed: 2 × x"), "{summary}");
    }

    #[test]
    fn who_streams_runs_before_it_has_all() {
        let seconds = Duration::from_secs;
        let log = |runs, failed: Option<&str>| Log {
            on: seconds(1),
            runs: Some(seconds(runs)),
            off: seconds(9),
            demands: vec![Demand {
                took: seconds(2),
                told_to_wait: 1,
                received: runs,
            }],
            received_when_it_runs: 10 * runs,
            failed: failed.map(str::to_owned),
            ..Log::default()
        };
        let logs = [log(3, None), log(5, None), log(8, Some("x"))];
        let summary = Summary::of(&logs, Duration::ZERO);
        let max = |spread: Option<Spread>| spread.map(|spread| spread.max);
        assert_eq!(max(summary.runs), Some(4.0));
        assert_eq!(max(summary.boot), Some(8.0));
        assert_eq!(max(summary.demands), Some(2.0));
        assert_eq!(summary.beside_demands, Some([5, 8]));
        assert_eq!(summary.demands_told_to_wait, 3);
        assert_eq!(summary.received_when_all_run, Some(50), "the third failed");
    }
}
