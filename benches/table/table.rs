//! The table as text and as Markdown, and the ratios read back from it.

use std::fmt::Write as _;

use crate::bars::{Bar, bar};
use crate::pairs::Figure;

/// A row, a line for each of its figures.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) figures: Vec<Figure>,
}

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Text,
    Markdown,
}

impl Style {
    pub(crate) fn head(self) -> String {
        let titles = ["row", "figure", "ours", "against", "", "", "bars"];
        match self {
            Self::Text => self.line(titles.map(str::to_owned)),
            Self::Markdown => {
                let rule = ["---"; 7].map(str::to_owned);
                format!(
                    "{}\n{}",
                    self.line(titles.map(str::to_owned)),
                    self.line(rule)
                )
            }
        }
    }

    fn line(self, cells: [String; 7]) -> String {
        match self {
            Self::Text => {
                let [row, figure, ours, one, two, three, bars] = cells;
                let peers = format!("{one:<30} {two:<30} {three:<30}");
                let line = format!("{row:<26} {figure:<10} {ours:>18}   {peers} {bars}");
                line.trim_end().to_owned()
            }
            Self::Markdown => format!("| {} |", cells.join(" | ")),
        }
    }
}

impl Row {
    /// Lines, each with its end.
    pub(crate) fn render(&self, style: Style) -> String {
        let mut text = String::new();
        for figure in &self.figures {
            let mut peers = figure.peers.iter().map(|peer| {
                let ratio = &peer.ratio;
                let (low, high) = (digits(ratio.low), digits(ratio.high));
                format!("{} × {} ({low}–{high})", digits(ratio.median), peer.name)
            });
            let ours = format!("{} {}", digits(figure.ours), figure.unit);
            let mut peer = || peers.next().unwrap_or_default();
            let [one, two, three] = [peer(), peer(), peer()];
            let line = style.line([
                self.name.clone(),
                figure.what.to_owned(),
                ours,
                one,
                two,
                three,
                self.verdicts(figure),
            ]);
            let _ = writeln!(text, "{line}");
        }
        text
    }

    /// Bars that are there and not held.
    pub(crate) fn failed(&self) -> Vec<String> {
        let verdicts = self
            .figures
            .iter()
            .flat_map(|figure| self.bars(figure).map(move |bar| (figure, bar)));
        verdicts
            .filter(|(_, (_, _, held))| !held)
            .map(|(figure, (text, value, _))| {
                format!(
                    "{} {}: {} where {text} is the bar",
                    self.name,
                    figure.what,
                    digits(value)
                )
            })
            .collect()
    }

    fn verdicts(&self, figure: &Figure) -> String {
        let verdict =
            |(text, _, held)| format!("{text}: {}", if held { "held" } else { "NOT HELD" });
        self.bars(figure)
            .map(verdict)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Each bar of a figure: what it says, the value, whether it is held.
    fn bars<'a>(&'a self, figure: &'a Figure) -> impl Iterator<Item = (String, f64, bool)> + 'a {
        let own = [("", figure.ours)].into_iter();
        let peers = figure
            .peers
            .iter()
            .map(|peer| (peer.name, peer.ratio.median));
        own.chain(peers).filter_map(|(peer, value)| {
            let bar = bar(&self.name, figure.what, peer)?;
            let (sign, limit) = match bar {
                Bar::AtMost(limit) => ("≤", limit),
                Bar::AtLeast(limit) => ("≥", limit),
            };
            let of = if peer.is_empty() {
                figure.unit.to_owned()
            } else {
                format!("× {peer}")
            };
            Some((format!("{sign} {limit} {of}"), value, bar.held(value)))
        })
    }
}

/// The median ratio of a row's figure to a peer, read from a table in Markdown.
pub(crate) fn ratio_in(markdown: &str, row: &str, what: &str, peer: &str) -> Option<f64> {
    markdown.lines().find_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        if cells.next()? != row || cells.next()? != what {
            return None;
        }
        cells.skip(1).find_map(|cell| {
            let (ratio, rest) = cell.split_once(" × ")?;
            (rest.split(' ').next() == Some(peer))
                .then(|| ratio.parse().ok())
                .flatten()
        })
    })
}

/// Three digits that count, no more than a reader needs.
pub(crate) fn digits(value: f64) -> String {
    let places = match value.abs() {
        ..0.1 => 3,
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.places$}")
}
