//! Which rows are wanted, and what became of them.

use std::time::{Duration, Instant};

use crate::pairs::{self, Contender};
use crate::table::{Row, Style};
use crate::wanted::Wanted;

/// Rows that were measured, printed one by one.
#[derive(Debug)]
pub(crate) struct Plan {
    wanted: Wanted,
    rounds: usize,
    begin: Instant,
    pub(crate) rows: Vec<Row>,
}

impl Plan {
    pub(crate) fn new(wanted: Wanted, rounds: usize) -> Self {
        let (begin, rows) = (Instant::now(), Vec::new());
        println!("{}", Style::Text.head());
        Self {
            wanted,
            rounds,
            begin,
            rows,
        }
    }

    pub(crate) fn wants(&self, row: &str) -> bool {
        self.wanted.holds(row)
    }

    /// Measures a row and prints it.
    pub(crate) fn measure(
        &mut self,
        name: String,
        contenders: &mut [Contender<'_>],
    ) -> anyhow::Result<()> {
        let figures =
            pairs::measure(self.rounds, contenders).map_err(|error| error.context(name.clone()))?;
        self.add(Row { name, figures });
        Ok(())
    }

    pub(crate) fn add(&mut self, row: Row) {
        print!("{}", row.render(Style::Text));
        self.rows.push(row);
    }

    pub(crate) fn rounds(&self) -> usize {
        self.rounds
    }

    pub(crate) fn took(&self) -> Duration {
        self.begin.elapsed()
    }
}
