//! What is checked of an image before anything of it becomes visible: a broken one must not reach a fleet.
//!
//! Each check takes facts that were read from the image and gives [`Finding`]s; nothing here reads. A [`Report`] has them all:
//! what is wrong is said at once and not one thing a publish. A finding is one sentence that names the thing, both values
//! and the remedy. Names in it come out of the image: what would make a terminal do things is taken out, and long ones are
//! cut.

pub mod compressor;
pub mod config;
pub mod init;
pub mod kernel;
pub mod memory;
pub mod modules;
pub mod pi;
pub mod system;

use std::fmt;

use ramboot_wire::plain;
use serde::Serialize;

/// Longest sentence; image.json and a generation, which have them all, can be 64 KiB.
const MAX_SENTENCE: usize = 700;
/// More of one image are no help.
const MAX_FINDINGS: usize = 48;

/// What a finding means for the publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing can be made of it that a machine would boot: `--force` changes nothing.
    Fatal,
    /// A worker would not come up. `--force` publishes it.
    Error,
    /// A worker comes up; something else may go wrong.
    Warning,
    /// As it should be.
    Fine,
}

/// Which check found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// The program a worker starts.
    Init,
    /// The kernel's file.
    Kernel,
    /// Its modules.
    Modules,
    /// What the kernel was built with.
    Config,
    /// How the image is packed.
    Compressor,
    /// Network cards.
    Network,
    /// Raspberry Pis.
    Pi,
    /// The EFI stub.
    Uefi,
    /// RAM.
    Memory,
    /// The root file system.
    Root,
    /// What only one machine may have.
    Identity,
}

impl Check {
    const fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Kernel => "kernel",
            Self::Modules => "modules",
            Self::Config => "config",
            Self::Compressor => "compressor",
            Self::Network => "network",
            Self::Pi => "pi",
            Self::Uefi => "uefi",
            Self::Memory => "memory",
            Self::Root => "root",
            Self::Identity => "identity",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it means.
    pub severity: Severity,
    /// Who found it.
    pub check: Check,
    /// What was found, and the remedy.
    pub sentence: String,
}

impl Finding {
    /// A finding with the sentence made fit to be printed.
    #[must_use]
    pub fn new(severity: Severity, check: Check, sentence: &str) -> Self {
        Self {
            severity,
            check,
            sentence: plain::line(sentence, MAX_SENTENCE),
        }
    }
}

/// Shorthands, so that checks read as what they say.
pub(super) fn fatal(check: Check, sentence: &str) -> Finding {
    Finding::new(Severity::Fatal, check, sentence)
}
pub(super) fn error(check: Check, sentence: &str) -> Finding {
    Finding::new(Severity::Error, check, sentence)
}
pub(super) fn warning(check: Check, sentence: &str) -> Finding {
    Finding::new(Severity::Warning, check, sentence)
}
pub(super) fn fine(check: Check, sentence: &str) -> Finding {
    Finding::new(Severity::Fine, check, sentence)
}

/// All findings of one image, the worst first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Report {
    findings: Vec<Finding>,
}

impl Report {
    /// Puts them in order; those of one severity stay as they were found.
    #[must_use]
    pub fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.severity);
        findings.truncate(MAX_FINDINGS);
        Self { findings }
    }

    /// The findings.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Sentences of one severity.
    pub fn sentences(&self, severity: Severity) -> impl Iterator<Item = &str> {
        let of = self.findings.iter();
        let of = of.filter(move |finding| finding.severity == severity);
        of.map(|finding| finding.sentence.as_str())
    }

    /// How many errors, fatal ones among them.
    #[must_use]
    pub fn errors(&self) -> usize {
        let stops = |finding: &&Finding| finding.severity <= Severity::Error;
        self.findings.iter().filter(stops).count()
    }

    /// Whether nothing can be published of it, `--force` or not.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.sentences(Severity::Fatal).next().is_some()
    }

    /// Whether it is published.
    #[must_use]
    pub fn passes(&self, force: bool) -> bool {
        self.errors() == 0 || (force && !self.is_fatal())
    }

    /// "2 errors, 1 warning", or "no errors".
    #[must_use]
    pub fn count(&self) -> String {
        let warnings = self.sentences(Severity::Warning).count();
        let many = |n: usize, one: &str| match n {
            1 => format!("1 {one}"),
            n => format!("{n} {one}s"),
        };
        match (self.errors(), warnings) {
            (0, 0) => "no errors, no warnings".to_owned(),
            (0, warnings) => format!("no errors, {}", many(warnings, "warning")),
            (errors, 0) => many(errors, "error"),
            (errors, warnings) => {
                format!("{}, {}", many(errors, "error"), many(warnings, "warning"))
            }
        }
    }

    /// A line for each finding down to `least`, aligned, in lines of at most `width` columns.
    #[must_use]
    pub fn text(&self, least: Severity, width: usize) -> String {
        let shown = self.findings.iter().filter(|f| f.severity <= least);
        let mut text = String::new();
        for finding in shown {
            let word = match finding.severity {
                Severity::Fatal | Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Fine => "fine",
            };
            let head = format!("  {word:<8} {:<11}", finding.check.name());
            let room = width.saturating_sub(head.len()).max(30);
            for (line, number) in wrap(&finding.sentence, room).iter().zip(0..) {
                let before = if number == 0 { head.as_str() } else { "" };
                text += &format!("{before:22}{line}\n");
            }
        }
        text
    }
}

/// Words in lines of so many columns; a word that is longer has a line of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut();
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// An image that is not published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// As it was named.
    pub image: String,
    /// Why.
    pub report: Report,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { image, report } = self;
        let (fatal, errors) = (Severity::Fatal, Severity::Error);
        let sentences = report.sentences(fatal).chain(report.sentences(errors));
        let sentences: Vec<&str> = sentences.collect();
        write!(f, "{image} is not published: {}", sentences.join("; "))
    }
}

impl std::error::Error for Refused {}

/// A few of many names, for a sentence.
pub(super) fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(findings: &[(Severity, &str)]) -> Report {
        let finding =
            |&(severity, text): &(Severity, &str)| Finding::new(severity, Check::Init, text);
        Report::new(findings.iter().map(finding).collect())
    }

    #[test]
    fn errors_stop_warnings_do_not_and_force_is_not_for_all() {
        use Severity::{Error, Fatal, Fine, Warning};
        for (severities, plain, forced, count) in [
            (&[][..], true, true, "no errors, no warnings"),
            (&[Fine], true, true, "no errors, no warnings"),
            (&[Warning, Fine], true, true, "no errors, 1 warning"),
            (&[Error], false, true, "1 error"),
            (
                &[Warning, Error, Error, Warning],
                false,
                true,
                "2 errors, 2 warnings",
            ),
            (&[Error, Fatal], false, false, "2 errors"),
        ] {
            let findings: Vec<_> = severities.iter().map(|&s| (s, "x")).collect();
            let report = report(&findings);
            assert_eq!(
                (
                    report.passes(false),
                    report.passes(true),
                    report.count().as_str()
                ),
                (plain, forced, count),
                "{severities:?}"
            );
        }
    }

    #[test]
    fn the_worst_comes_first_and_lines_are_aligned() {
        let long = "a word and another one that is long enough for two lines of this width";
        let report = report(&[
            (Severity::Fine, "good"),
            (Severity::Error, long),
            (Severity::Warning, "hm"),
        ]);
        let want = "  error    init       a word and another one that is long\n\
                    \x20                     enough for two lines of this width\n\
                    \x20 warning  init       hm\n\
                    \x20 fine     init       good\n";
        assert_eq!(report.text(Severity::Fine, 60), want);
        assert_eq!(report.text(Severity::Warning, 999).lines().count(), 2);
    }

    #[test]
    fn text_of_a_stranger_is_one_line_of_bounded_length() {
        let finding = Finding::new(
            Severity::Error,
            Check::Root,
            &format!("\x1b[2J\n{}", "x".repeat(9000)),
        );
        assert_eq!(finding.sentence.chars().count(), MAX_SENTENCE);
        assert!(finding.sentence.starts_with(" [2J x"));
    }
}
