//! Which rows are wanted, and what became of them.

use std::time::{Duration, Instant};

use crate::noise::Noise;
use crate::pairs::{self, Contender};
use crate::table::{Row, Style};
use crate::wanted::Wanted;

/// Rows that were measured, printed one by one.
#[derive(Debug)]
pub(crate) struct Plan {
    wanted: Wanted,
    /// All if not said.
    peers: Option<&'static [&'static str]>,
    rounds: usize,
    begin: Instant,
    noise: Noise,
    pub(crate) rows: Vec<Row>,
    /// Rows that were not measured, and why.
    pub(crate) notes: Vec<String>,
}

impl Plan {
    pub(crate) fn new(wanted: Wanted, rounds: usize) -> anyhow::Result<Self> {
        let (begin, rows) = (Instant::now(), Vec::new());
        println!("{}", Style::Text.head());
        Ok(Self {
            wanted,
            peers: None,
            rounds,
            begin,
            noise: Noise::now()?,
            rows,
            notes: Vec::new(),
        })
    }

    /// Beside these alone.
    pub(crate) fn beside(self, peers: &'static [&'static str]) -> Self {
        let peers = Some(peers);
        Self { peers, ..self }
    }

    pub(crate) fn wants(&self, row: &str) -> bool {
        self.wanted.holds(row)
    }

    /// Measures a row and prints it.
    pub(crate) fn measure(
        &mut self,
        name: String,
        contenders: Vec<Contender<'_>>,
    ) -> anyhow::Result<()> {
        self.measure_rounds(name, self.rounds, contenders)
    }

    /// The same with at most so many rounds, where one takes long.
    pub(crate) fn measure_rounds(
        &mut self,
        name: String,
        rounds: usize,
        mut contenders: Vec<Contender<'_>>,
    ) -> anyhow::Result<()> {
        let ours = contenders.first().map_or("", |first| first.name);
        contenders
            .retain(|one| one.name == ours || self.peers.is_none_or(|p| p.contains(&one.name)));
        let figures = pairs::measure(rounds.min(self.rounds), &mut contenders)
            .map_err(|error| error.context(name.clone()))?;
        let row = Row { name, figures };
        print!("{}", row.render(Style::Text));
        self.rows.push(row);
        Ok(())
    }

    /// Says why a row that is wanted is not there.
    pub(crate) fn note(&mut self, row: &str, why: &str) {
        println!("{row}: not measured: {why}");
        self.notes.push(format!("{row}: {why}"));
    }

    pub(crate) fn rounds(&self) -> usize {
        self.rounds
    }

    /// CPUs that others had meanwhile, on average.
    pub(crate) fn others(&self) -> anyhow::Result<f64> {
        Noise::now()?.cpus_since(self.noise)
    }

    pub(crate) fn took(&self) -> Duration {
        self.begin.elapsed()
    }
}
