//! What is wanted, what was found.

use std::fmt;

/// One line of the table.
#[derive(Debug)]
struct Check {
    scenario: &'static str,
    what: &'static str,
    found: f64,
    unit: &'static str,
    /// A bar, or nothing: a figure to know.
    bar: Option<Bar>,
}

/// On which side of a number it should be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

impl Bar {
    fn holds(self, found: f64) -> bool {
        match self {
            Self::AtMost(most) => found <= most,
            Self::AtLeast(least) => found >= least,
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => f.pad(&format!("at most {most}")),
            Self::AtLeast(least) => f.pad(&format!("at least {least}")),
        }
    }
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Checks(Vec<Check>);

impl Checks {
    pub(crate) fn bar(
        &mut self,
        scenario: &'static str,
        what: &'static str,
        found: f64,
        unit: &'static str,
        bar: Bar,
    ) {
        let bar = Some(bar);
        self.0.push(Check {
            scenario,
            what,
            found,
            unit,
            bar,
        });
    }

    pub(crate) fn figure(
        &mut self,
        scenario: &'static str,
        what: &'static str,
        found: f64,
        unit: &'static str,
    ) {
        let bar = None;
        self.0.push(Check {
            scenario,
            what,
            found,
            unit,
            bar,
        });
    }

    pub(crate) fn all_hold(&self) -> bool {
        self.0
            .iter()
            .all(|check| check.bar.is_none_or(|bar| bar.holds(check.found)))
    }
}

impl fmt::Display for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<10}{:<44}{:>12} {:<6}{:<16}",
            "scenario", "figure", "found", "", "wanted"
        )?;
        for check in &self.0 {
            let Check {
                scenario,
                what,
                found,
                unit,
                bar,
            } = check;
            write!(f, "{scenario:<10}{what:<44}{found:>12.3} {unit:<6}")?;
            match bar {
                Some(bar) if bar.holds(*found) => writeln!(f, "{bar:<16}held")?,
                Some(bar) => writeln!(f, "{bar:<16}NOT HELD")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}
