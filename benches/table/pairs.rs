//! Runs that alternate, and the ratios of neighbours: absolute rates of a virtual machine drift, ratios of two runs a
//! second apart hardly do.
//!
//! Contenders are measured A B C A B C …; the first round warms all of them and is thrown away. A figure of a row is
//! the median over rounds, and a ratio is the median of the ratios of each round, not the ratio of medians.

/// One figure of one run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reading {
    /// `rate`, `CPU`, `RSS`, …
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
}

/// What is measured in turn; each run gives the same figures in the same order.
pub(crate) struct Contender<'a> {
    pub(crate) name: &'static str,
    pub(crate) run: Box<dyn FnMut() -> anyhow::Result<Vec<Reading>> + 'a>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(
        name: &'static str,
        run: impl FnMut() -> anyhow::Result<Vec<Reading>> + 'a,
    ) -> Self {
        let run = Box::new(run);
        Self { name, run }
    }
}

/// One line of the table: a figure of ours, and the same of the peers that have it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) ours: f64,
    pub(crate) peers: Vec<Peer>,
}

/// How ours is to a peer's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    pub(crate) ratio: Ratio,
}

/// Ours / theirs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    /// Least and greatest of all rounds.
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Measures `rounds` times after one round that warms; the first contender is ours.
///
/// # Errors
/// The first that a contender has.
pub(crate) fn measure(
    rounds: usize,
    contenders: &mut [Contender<'_>],
) -> anyhow::Result<Vec<Figure>> {
    let mut runs: Vec<Vec<Vec<Reading>>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        for (contender, runs) in contenders.iter_mut().zip(&mut runs) {
            let readings = (contender.run)()
                .map_err(|error| error.context(format!("measuring {}", contender.name)))?;
            if round > 0 {
                runs.push(readings);
            }
        }
    }
    let names: Vec<_> = contenders.iter().map(|one| one.name).collect();
    Ok(figures(&names, &runs))
}

pub(crate) fn figures(names: &[&'static str], runs: &[Vec<Vec<Reading>>]) -> Vec<Figure> {
    let Some((ours, peers)) = runs.split_first() else {
        return Vec::new();
    };
    let first = ours.first().map_or(&[][..], Vec::as_slice);
    let figure = |reading: &Reading| {
        let own = values(ours, reading.what)?;
        let peers = names.iter().skip(1).zip(peers).filter_map(|(name, runs)| {
            let theirs = values(runs, reading.what)?;
            let ratios: Vec<_> = own.iter().zip(&theirs).map(|(a, b)| a / b).collect();
            Some(Peer {
                name,
                value: median(&theirs)?,
                ratio: ratio(&ratios)?,
            })
        });
        Some(Figure {
            what: reading.what,
            unit: reading.unit,
            ours: median(&own)?,
            peers: peers.collect(),
        })
    };
    first.iter().filter_map(figure).collect()
}

/// The figure of this name in each run; `None` unless all have it.
fn values(runs: &[Vec<Reading>], what: &str) -> Option<Vec<f64>> {
    let of = |run: &Vec<Reading>| run.iter().find(|r| r.what == what).map(|r| r.value);
    runs.iter().map(of).collect()
}

fn ratio(ratios: &[f64]) -> Option<Ratio> {
    Some(Ratio {
        median: median(ratios)?,
        low: ratios.iter().copied().min_by(f64::total_cmp)?,
        high: ratios.iter().copied().max_by(f64::total_cmp)?,
    })
}

/// The middle one; of an even number the mean of both.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// The value that `percent` of all are not above (nearest rank).
pub(crate) fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}
