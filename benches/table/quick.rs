//! Whether serving has become dearer: the CPU ratios of a few rows against those of BENCHMARKS.md.
//!
//! A ratio to a peer measured in the same minute holds on a busier machine, too, where seconds per GB do not. The peers are
//! those whose own time scatters least. nginx is not one: at 64 connections the kernel sends what it queued in the time
//! of the client, or does not, and its time is one or two.

use anyhow::ensure;

use crate::table::{Row, ratio_in};

/// Rows whose ratios scatter little, each another way through the code.
pub(crate) const ROWS: &str = "http 4 whole, http 64 whole, http 64 1MiB, tftp 50 16, dhcp";
pub(crate) const PEERS: [&str; 2] = ["limit", "dnsmasq"];
/// Each measured this often, beside the round that warms.
pub(crate) const ROUNDS: usize = 5;
/// What a ratio may be of its baseline. Where others have more than half of the machine, ratios scatter by more.
pub(crate) const TOLERANCE: f64 = 1.25;
const FIGURE: &str = "CPU";

/// A ratio beside the one it had.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Compared {
    pub(crate) row: String,
    pub(crate) peer: &'static str,
    pub(crate) now: f64,
    pub(crate) baseline: f64,
}

impl Compared {
    pub(crate) fn worse(&self) -> bool {
        self.now > self.baseline * TOLERANCE
    }

    pub(crate) fn line(&self) -> String {
        let Self {
            row,
            peer,
            now,
            baseline,
        } = self;
        let verdict = if self.worse() { "WORSE" } else { "ok" };
        format!("{row} {FIGURE}: {now:.2} × {peer}, baseline {baseline:.2}: {verdict}")
    }
}

/// Every CPU ratio of `rows` beside that in `markdown`.
///
/// # Errors
/// The baseline lacks one of them: nothing would be compared.
pub(crate) fn compare(rows: &[Row], markdown: &str) -> anyhow::Result<Vec<Compared>> {
    let mut compared = Vec::new();
    for row in rows {
        let figures = row.figures.iter().filter(|figure| figure.what == FIGURE);
        for peer in figures.flat_map(|figure| &figure.peers) {
            let baseline = ratio_in(markdown, &row.name, FIGURE, peer.name);
            ensure!(
                baseline.is_some(),
                "BENCHMARKS.md has no {FIGURE} ratio to {} for the row {:?}: renew it on an idle machine by `make bench WRITE=1`",
                peer.name,
                row.name
            );
            compared.push(Compared {
                row: row.name.clone(),
                peer: peer.name,
                now: peer.ratio.median,
                baseline: baseline.unwrap_or(f64::NAN),
            });
        }
    }
    ensure!(!compared.is_empty(), "no row has a {FIGURE} ratio");
    Ok(compared)
}

/// What to do when `compared` has worse ones; `others` is how many CPUs somebody else had meanwhile.
///
/// # Errors
/// It has.
pub(crate) fn judge(compared: &[Compared], others: f64) -> anyhow::Result<()> {
    let worse: Vec<_> = compared.iter().filter(|one| one.worse()).collect();
    ensure!(
        worse.is_empty(),
        "{} of {} ratios are more than {:.0} % worse than in BENCHMARKS.md, while others had {others:.2} CPUs: if that is not about zero, \
         measure again on an idle machine. Measure one alone (`make bench ROWS='{}'`) and find \
         the commit; if it is meant, renew the baseline on an idle machine by `make bench WRITE=1` and say why in the commit",
        worse.len(),
        compared.len(),
        (TOLERANCE - 1.0) * 100.0,
        worse.first().map_or("", |one| one.row.as_str())
    );
    Ok(())
}
