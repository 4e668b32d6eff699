//! Whether serving has become dearer: the CPU ratios of a few rows against those of BENCHMARKS.md.
//!
//! A ratio to a peer measured in the same minute holds on a busier machine, too, where seconds per GB do not. The peers are
//! those whose own time scatters least. nginx is not one: at 64 connections the kernel sends what it queued in the time
//! of the client, or does not, and its time is one or two.

use anyhow::{bail, ensure};

use crate::table::{Row, ratio_in};

/// Rows whose ratios scatter little, each another way through the code. Not with 4 connections: of one build on one idle
/// machine the ratio to the limit was 0.72 to 0.98, by which thread ran on which of two processors.
pub(crate) const ROWS: &str = "http 64 whole, http 64 1MiB, http 64 4KiB, tftp 50 16, dhcp";
pub(crate) const PEERS: [&str; 2] = ["limit", "dnsmasq"];
/// Each measured this often, beside the round that warms.
pub(crate) const ROUNDS: usize = 5;
/// So often again, and that counts, if a ratio looks worse.
pub(crate) const MORE_ROUNDS: usize = 15;
/// What a ratio may be of its baseline.
pub(crate) const TOLERANCE: f64 = 1.25;
/// The same where the baseline was measured on a CPU of another make: one commit's ratio of small requests to the limit was 1.45 on
/// an AMD EPYC and 1.94 on an Intel Xeon (a later one's 1.78 to 2.11 there, and 0.64 for whole bodies, 0.97 before).
pub(crate) const OTHER_CPU: f64 = 2.0;
/// CPUs that others have (the hypervisor's other guests, too) where ratios scatter by more than that.
const TOO_BUSY: f64 = 0.5;
const FIGURE: &str = "CPU";

/// A ratio beside the one it had.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Compared {
    pub(crate) row: String,
    pub(crate) peer: &'static str,
    pub(crate) now: f64,
    pub(crate) baseline: f64,
    /// [`TOLERANCE`] or [`OTHER_CPU`].
    pub(crate) tolerance: f64,
}

impl Compared {
    pub(crate) fn worse(&self) -> bool {
        self.now > self.baseline * self.tolerance
    }

    pub(crate) fn line(&self) -> String {
        let Self {
            row,
            peer,
            now,
            baseline,
            ..
        } = self;
        let verdict = if self.worse() { "WORSE" } else { "ok" };
        format!("{row} {FIGURE}: {now:.2} × {peer}, baseline {baseline:.2}: {verdict}")
    }
}

/// What a ratio may be of that in `markdown` if it is measured on `cpu`, which is named as there.
pub(crate) fn tolerance(markdown: &str, cpu: &str) -> f64 {
    let of_baseline = markdown
        .lines()
        .find_map(|line| line.strip_prefix("- CPU: "));
    if of_baseline == Some(cpu) {
        TOLERANCE
    } else {
        OTHER_CPU
    }
}

/// Every CPU ratio of `rows`, measured on `cpu`, beside that in `markdown`.
///
/// # Errors
/// The baseline lacks one of them: nothing would be compared.
pub(crate) fn compare(rows: &[Row], markdown: &str, cpu: &str) -> anyhow::Result<Vec<Compared>> {
    let tolerance = tolerance(markdown, cpu);
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
                tolerance,
            });
        }
    }
    ensure!(!compared.is_empty(), "no row has a {FIGURE} ratio");
    Ok(compared)
}

/// The rows of `compared` that have become worse, in words that choose them.
pub(crate) fn worse_rows(compared: &[Compared]) -> String {
    let rows = compared.iter().filter(|one| one.worse());
    rows.map(|one| one.row.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

/// The last line.
///
/// # Errors
/// Some ratios are worse; what to do about it.
pub(crate) fn judge(compared: &[Compared], others: f64) -> anyhow::Result<String> {
    let worse: Vec<_> = compared.iter().filter(|one| one.worse()).collect();
    let (few, all) = (worse.len(), compared.len());
    let Some(first) = worse.first() else {
        return Ok(format!("bench-quick: ok, none of {all} ratios is worse"));
    };
    if others > TOO_BUSY {
        return Ok(format!(
            "bench-quick: NOT JUDGED: {few} of {all} ratios are worse, while others had {others:.2} of the machine's CPUs: \
             measure again when it is idle"
        ));
    }
    bail!(
        "{few} of {all} ratios are more than {:.0} % worse than in BENCHMARKS.md, while others had {others:.2} CPUs. \
         Measure one alone (`make bench ROWS='{}'`) and find the commit; if it is meant, renew the baseline on an idle \
         machine by `make bench WRITE=1` and say why in the commit",
        (first.tolerance - 1.0) * 100.0,
        first.row
    )
}
