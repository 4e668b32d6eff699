//! What an image is to Raspberry Pis, as findings.

use super::{Check, Finding, error, fine, some_of, warning};
use crate::publish::pi::Verdict;

/// What was found of an image's files for Raspberry Pis.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// For each board.
    pub verdicts: Vec<Verdict>,
    /// There is `bootcode.bin` or a `start*.elf`: somebody wants Pis to boot it.
    pub firmware: bool,
    /// Files that no Pi can load, and why: a sentence each.
    pub unfit: Vec<String>,
    /// Names beside the firmware's own that it could not ask for.
    pub strange: Vec<String>,
    /// What is not taken over of config.txt.
    pub config: Vec<String>,
}

/// What Pis would make of it. An image without their firmware is not for them, which is no fault.
#[must_use]
pub fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts
        .unfit
        .iter()
        .map(|sentence| error(Check::Pi, sentence))
        .collect();
    if !facts.strange.is_empty() {
        let sentence = format!(
            "left out, since firmware asks for names of letters, digits, '.', '-', '_' and '+' only: {}; rename what you need",
            some_of(&facts.strange)
        );
        findings.push(warning(Check::Pi, &sentence));
    }
    for note in &facts.config {
        findings.push(warning(Check::Pi, note));
    }
    let boots: Vec<&str> = facts
        .verdicts
        .iter()
        .filter(|verdict| verdict.why_not.is_none())
        .map(|verdict| verdict.name)
        .collect();
    let first = facts
        .verdicts
        .iter()
        .find_map(|verdict| Some((verdict.name, verdict.why_not.as_deref()?)));
    match first {
        _ if !boots.is_empty() => {
            let sentence = format!("boots {}", boots.join(", "));
            findings.push(fine(Check::Pi, &sentence));
        }
        Some(_) if facts.firmware => {
            let sentence = format!(
                "the image has Raspberry Pi firmware, and no Raspberry Pi can boot it: {}; add what is missing, or take the \
                 firmware out",
                reasons(&facts.verdicts)
            );
            findings.push(error(Check::Pi, &sentence));
        }
        Some((name, why)) => {
            let sentence = format!("not for Raspberry Pis ({name}: {why})");
            findings.push(fine(Check::Pi, &sentence));
        }
        None => {}
    }
    findings
}

/// Each reason once, with the first board that has it.
fn reasons(verdicts: &[Verdict]) -> String {
    let mut reasons: Vec<(&str, &str)> = Vec::new();
    for verdict in verdicts {
        if let Some(why) = verdict.why_not.as_deref()
            && !reasons.iter().any(|(_, known)| *known == why)
        {
            reasons.push((verdict.name, why));
        }
    }
    let said = reasons.iter().take(3);
    let said: Vec<String> = said.map(|(name, why)| format!("{name}: {why}")).collect();
    said.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::checks::Severity;

    fn verdict(name: &'static str, why_not: Option<&str>) -> Verdict {
        Verdict {
            board: "x",
            name,
            why_not: why_not.map(str::to_owned),
        }
    }

    #[test]
    fn firmware_that_boots_nothing_is_an_error_and_none_is_not() {
        let none = [
            verdict("Pi 3B", Some("no tree")),
            verdict("Pi 4B", Some("no driver")),
        ];
        let one = [verdict("Pi 3B", Some("no tree")), verdict("Pi 4B", None)];
        for (verdicts, firmware, want) in [
            (&none, true, Severity::Error),
            (&none, false, Severity::Fine),
            (&one, true, Severity::Fine),
        ] {
            let facts = Facts {
                verdicts: verdicts.to_vec(),
                firmware,
                ..Facts::default()
            };
            let found = check(&facts);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].severity, want, "{found:?}");
        }
        assert_eq!(check(&Facts::default()), []);
    }
}
