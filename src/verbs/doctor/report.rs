//! All findings as a person reads them, and as a script does. Pure.

use std::fmt::Write as _;

use serde::Serialize;

use super::finding::{Finding, Verdict};

/// All that was found, in the order it is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    /// The worst of all.
    pub(super) verdict: Verdict,
    /// One for each thing that was looked at, and for each step of a boot.
    pub(super) findings: Vec<Finding>,
}

impl Report {
    /// Of findings in any order; those of one topic stay in theirs.
    #[must_use]
    pub(super) fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.topic);
        let verdict = findings.iter().map(|finding| finding.verdict).max();
        Self {
            verdict: verdict.unwrap_or(Verdict::Good),
            findings,
        }
    }

    /// Nothing keeps machines from booting.
    #[must_use]
    pub(super) fn is_well(&self) -> bool {
        self.verdict < Verdict::Bad
    }

    /// Lines by topic, what to do below what is wrong, and one line for all.
    #[must_use]
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut topic = None;
        for finding in &self.findings {
            if topic != Some(finding.topic) {
                if topic.is_some() {
                    text.push('\n');
                }
                let _ = writeln!(text, "{}", finding.topic.title());
                topic = Some(finding.topic);
            }
            let head = format!("  {}  ", finding.verdict.mark());
            wrap(&mut text, &head, "        ", &finding.sentence);
            if let Some(remedy) = &finding.remedy {
                wrap(&mut text, "        > ", "          ", remedy);
            }
        }
        let _ = writeln!(text, "\n{}", self.sum());
        text
    }

    fn sum(&self) -> String {
        let count = |verdict| {
            self.findings
                .iter()
                .filter(|finding| finding.verdict == verdict)
                .count()
        };
        let of = |count: usize, what: &str| match count {
            0 => None,
            1 => Some(format!("1 {what}")),
            count => Some(format!("{count} {what}s")),
        };
        let counts = [
            of(count(Verdict::Bad), "problem"),
            of(count(Verdict::Warning), "warning"),
        ];
        let words: Vec<String> = counts.into_iter().flatten().collect();
        match (self.is_well(), words.is_empty()) {
            (true, true) => "All is well: switch a machine on.".to_owned(),
            (true, false) => format!(
                "{}, and nothing that keeps all machines from booting.",
                words.join(", ")
            ),
            (false, _) => format!(
                "{}: what is BAD keeps machines from booting, what to do stands below it (>).",
                words.join(", ")
            ),
        }
    }
}

/// Words in lines of a terminal's width; a word that is longer has a line of its own.
fn wrap(text: &mut String, head: &str, indent: &str, sentence: &str) {
    let mut line = head.to_owned();
    let mut empty = true;
    for word in sentence.split(' ') {
        let length = line.chars().count() + 1 + word.chars().count();
        if !empty && length > WIDTH {
            let _ = writeln!(text, "{}", line.trim_end());
            indent.clone_into(&mut line);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

const WIDTH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::doctor::finding::Topic;

    #[test]
    fn what_to_do_stands_below_what_is_wrong() {
        let long = "word ".repeat(30);
        let report = Report::new(vec![
            Finding::bad(
                Topic::Ports,
                "udp-69",
                "UDP 69 is taken by a (pid 7)",
                "stop a",
            ),
            Finding::good(Topic::Manager, "runs", "it runs"),
            Finding::note(Topic::Ports, "udp-67", long.trim()),
        ]);
        let words = |n: usize| vec!["word"; n].join(" ");
        assert_eq!(
            report.text(),
            format!(
                "Manager\n  ok    it runs\n\nPorts\n  BAD   UDP 69 is taken by a (pid 7)\n        > stop a\n  note  {}\n        {}\n\n\
                 1 problem: what is BAD keeps machines from booting, what to do stands below it (>).\n",
                words(18),
                words(12)
            )
        );
        assert!(!report.is_well());
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!(json["verdict"], "bad");
        assert_eq!(json["findings"][1]["remedy"], "stop a");
    }

    #[test]
    fn one_line_for_all() {
        let sum = |findings| Report::new(findings).sum();
        assert_eq!(sum(vec![]), "All is well: switch a machine on.");
        let warning = Finding::warning(Topic::Dhcp, "x", "a", "b");
        assert_eq!(
            sum(vec![warning.clone(), warning]),
            "2 warnings, and nothing that keeps all machines from booting."
        );
    }
}
