//! The waterfall of a boot as bars: where they begin and how long they are, in hundredths of a percent. Pure.

use ramboot_wire::stage::Bar;
use serde::Serialize;

use crate::fleet::snapshot::{Standing, WorkerRow};
use crate::text::words::{self, count, shown};

/// What a bar is of, which is also its class in page.css. The page's legend has them in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Address,
    Load,
    Linux,
    Drivers,
    Fetch,
    Mount,
    Other,
}

impl Kind {
    fn of(what: &str) -> Self {
        match what {
            "dhcp" | "net" => Self::Address,
            "loader" | "kernel" | "initramfs" | "kernel+initramfs" => Self::Load,
            "linux" => Self::Linux,
            "early" | "modules" => Self::Drivers,
            "files" | "chunks" | "fetch" | AFTER => Self::Fetch,
            "mount" | "handover" => Self::Mount,
            _ => Self::Other,
        }
    }

    /// What goes on now, by where the machine stands.
    fn now(row: &WorkerRow) -> Self {
        match row.state {
            Standing::Asking => Self::Address,
            Standing::Loading => match row.boot.last() {
                Some(bar) if bar.what.ends_with("initramfs") => Self::Linux,
                _ => Self::Load,
            },
            _ => row.stage.as_deref().map_or(Self::Other, Self::of),
        }
    }
}

/// One bar of the small waterfall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Short {
    kind: Kind,
    /// It goes on.
    now: bool,
    x: String,
    width: String,
}

/// One bar of the large waterfall, a line of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Long {
    kind: Kind,
    /// It goes on.
    now: bool,
    what: String,
    x: String,
    width: String,
    from: String,
    took: String,
    /// Of the fetch.
    rate: Option<String>,
}

/// A boot, in milliseconds, with what goes on now at its end.
pub(super) struct Waterfall<'a> {
    row: &'a WorkerRow,
    /// Where the last bar ends before the machine runs.
    ended: u64,
    /// Since then, of a boot that goes on.
    open: Option<u64>,
    /// Since then, of one that runs and fetches the rest of its image.
    fills: Option<u64>,
}

impl<'a> Waterfall<'a> {
    pub(super) fn of(row: &'a WorkerRow) -> Self {
        let before = row.boot.iter().filter(|bar| bar.what != AFTER);
        let ended = before.map(|bar| bar.end_ms).max().unwrap_or(0);
        let since = row.since_s.saturating_mul(1000);
        let goes_on = matches!(
            row.state,
            Standing::Asking | Standing::Loading | Standing::Booting
        );
        Self {
            row,
            ended,
            open: goes_on.then_some(since),
            fills: row.filling.map(|_| since),
        }
    }

    /// How long it is, so far, until the machine runs.
    pub(super) fn total(&self) -> u64 {
        self.ended.saturating_add(self.open.unwrap_or(0))
    }

    /// The same in words, of a boot that did not end well, or not yet.
    pub(super) fn so_far(&self) -> Option<String> {
        let total = words::seconds(self.total());
        match self.open {
            Some(_) => Some(format!("{total} so far")),
            None if self.ended >= 100 => Some(format!("stopped after {total}")),
            None => None,
        }
    }

    /// In one line, where `scale` milliseconds are all of it. What went on beside the stages, or after them, is left out.
    pub(super) fn short(&self, scale: u64) -> Vec<Short> {
        let bars = self.row.boot.iter();
        let mut short: Vec<Short> = bars
            .filter(|bar| bar.what != AFTER && Kind::of(&bar.what) != Kind::Other)
            .filter(|bar| bar.begin_ms < scale)
            .map(|bar| Short {
                kind: Kind::of(&bar.what),
                now: false,
                x: percent(bar.begin_ms, scale),
                width: percent(length(bar.begin_ms, bar.end_ms, scale, 200), scale),
            })
            .collect();
        if self.open.is_some() && self.ended < scale {
            short.push(Short {
                kind: Kind::now(self.row),
                now: true,
                x: percent(self.ended, scale),
                width: percent(length(self.ended, self.total(), scale, 50), scale),
            });
        }
        short
    }

    /// A line for each bar; `size` is that of the image.
    pub(super) fn long(&self, size: Option<u64>) -> Vec<Long> {
        let open = self.open.or(self.fills);
        let end = self.row.boot.iter().map(|bar| bar.end_ms).max();
        let so_far = self.ended.saturating_add(open.unwrap_or(0));
        let scale = so_far.max(end.unwrap_or(0)).max(1);
        // Of an image that came in two parts, nobody knows how large the first one was.
        let whole = self.fills.is_none() && !self.row.boot.iter().any(|bar| bar.what == AFTER);
        let size = size.filter(|_| whole);
        let bars = self.row.boot.iter().take(MAX_BARS);
        let mut long: Vec<Long> = bars
            .map(|bar| {
                let took = bar.end_ms.saturating_sub(bar.begin_ms);
                let size = size.filter(|_| bar.what == "fetch" && took > 0);
                let rate = size.map(|size| rate(size.saturating_mul(1000) / took));
                line(bar, Kind::of(&bar.what), scale, rate)
            })
            .collect();
        if let Some(open) = open {
            let kind = match self.fills {
                Some(_) => Kind::of(AFTER),
                None => Kind::now(self.row),
            };
            let what = match (kind, &self.row.stage) {
                _ if self.fills.is_some() => AFTER,
                (_, Some(stage)) => stage,
                (Kind::Address, None) => "dhcp",
                (Kind::Linux, None) => "linux",
                (_, None) => "loading",
            };
            let bar = Bar {
                what: what.to_owned(),
                begin_ms: self.ended,
                end_ms: self.ended.saturating_add(open),
            };
            let fetched = self.row.fetch.map(|fetch| fetch.bytes_per_s);
            let filled = self.row.filling.map(|filling| filling.bytes_per_s);
            let rate = fetched.or(filled).filter(|rate| *rate > 0).map(rate);
            long.push(Long {
                now: true,
                took: format!("{} so far", words::span(open / 1000)),
                ..line(&bar, kind, scale, rate)
            });
        }
        long
    }
}

fn line(bar: &Bar, kind: Kind, scale: u64, rate: Option<String>) -> Long {
    Long {
        kind,
        now: false,
        what: shown(&bar.what, MAX_NAME),
        x: percent(bar.begin_ms, scale),
        width: percent(length(bar.begin_ms, bar.end_ms, scale, 100), scale),
        from: words::seconds(bar.begin_ms),
        took: format!("{} ms", count(bar.end_ms.saturating_sub(bar.begin_ms))),
        rate,
    }
}

/// The time that is a small waterfall's whole width, the same for all: the longest, but nobody makes the others invisible.
pub(super) fn scale(totals: impl Iterator<Item = u64>) -> u64 {
    let mut totals: Vec<u64> = totals.filter(|total| *total > 0).collect();
    totals.sort_unstable();
    let longest = totals.last().copied().unwrap_or(0);
    let median = totals.get(totals.len() / 2).copied().unwrap_or(0);
    longest.min(median.saturating_mul(3)).max(MIN_SCALE_MS)
}

/// How far a fetch has come, for the element `progress`; also of one that goes on while the machine runs.
pub(super) fn progress(row: &WorkerRow) -> Option<(u64, u64)> {
    if let Some(filling) = row.filling {
        return Some((u64::from(filling.percent).min(100), 100));
    }
    let fetch = row.fetch?;
    let size = fetch.size?.max(1);
    Some((fetch.bytes.min(size), size))
}

/// Bytes a second: `92 MB/s`.
pub(super) fn rate(bytes_per_s: u64) -> String {
    format!("{}/s", words::size(bytes_per_s))
}

/// Of a bar that may leave the picture, or be too short to be seen: `least` of them would fill it.
fn length(begin: u64, end: u64, scale: u64, least: u64) -> u64 {
    let begin = begin.min(scale);
    let length = end.clamp(begin, scale) - begin;
    length.max(scale / least).min(scale - begin)
}

fn percent(part: u64, whole: u64) -> String {
    let share = u128::from(part) * 10_000 / u128::from(whole.max(1));
    format!("{}.{:02}%", share / 100, share % 100)
}

/// What a machine fetches once it runs.
const AFTER: &str = "untethered";
/// The fleet keeps fewer.
const MAX_BARS: usize = 40;
const MAX_NAME: usize = 24;
/// A small waterfall is not wider than five seconds deserve.
const MIN_SCALE_MS: u64 = 5000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_outlier_does_not_hide_the_others() {
        for (totals, want) in [
            (vec![], 5_000),
            (vec![0, 0], 5_000),
            (vec![12_000], 12_000),
            (vec![10_000, 12_000, 14_000], 14_000),
            (vec![10_000, 12_000, 900_000], 36_000),
            (vec![u64::MAX, u64::MAX], u64::MAX),
        ] {
            assert_eq!(scale(totals.iter().copied()), want, "{totals:?}");
        }
    }

    #[test]
    fn bars_stay_in_the_picture() {
        for ((begin, end), scale, want) in [
            ((0, 10), 100, ("0.00%", "10.00%")),
            ((90, 200), 100, ("90.00%", "10.00%")),
            ((10, 10), 1000, ("1.00%", "0.50%")),
            ((10, 5), 1000, ("1.00%", "0.50%")),
            // A second after a stage that took three minutes.
            ((995, 1000), 1000, ("99.50%", "0.50%")),
            ((999, 1000), 1000, ("99.90%", "0.10%")),
            ((u64::MAX, 0), u64::MAX, ("100.00%", "0.00%")),
        ] {
            let (x, width) = (
                percent(begin, scale),
                percent(length(begin, end, scale, 200), scale),
            );
            assert_eq!((x.as_str(), width.as_str()), want, "{begin} to {end}");
        }
    }
}
