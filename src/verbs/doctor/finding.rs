//! What a check comes to: a verdict, a sentence, and what to do about it. Pure.
//!
//! Names of files, processes and servers come from outside: what would make a terminal do things is taken out of a sentence,
//! and long ones are cut.

use ramboot_wire::plain;
use serde::Serialize;

/// Longest sentence.
const MAX_SENTENCE: usize = 700;

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Good,
    /// Worth knowing; nobody has to do anything.
    Note,
    /// Some machine may not boot.
    Warning,
    /// Machines do not boot.
    Bad,
}

impl Verdict {
    /// At the head of a line.
    #[must_use]
    pub(super) const fn mark(self) -> &'static str {
        match self {
            Self::Good => "ok  ",
            Self::Note => "note",
            Self::Warning => "WARN",
            Self::Bad => "BAD ",
        }
    }
}

/// What it is about, in the order it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Topic {
    /// The manager that runs, or not.
    Manager,
    /// Interface and cable.
    Network,
    /// Ports that are listened on.
    Ports,
    /// Other DHCP servers.
    Dhcp,
    /// What may keep packets away.
    Firewall,
    /// iPXE's files.
    Firmware,
    /// Images and names.
    Images,
    /// A simulated Raspberry Pi.
    Pi,
    /// A simulated PC.
    Pc,
}

impl Topic {
    /// Over its lines.
    #[must_use]
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Manager => "Manager",
            Self::Network => "Network",
            Self::Ports => "Ports",
            Self::Dhcp => "DHCP on the network",
            Self::Firewall => "Firewall",
            Self::Firmware => "Files for firmware",
            Self::Images => "Images",
            Self::Pi => "A Raspberry Pi 4 that is switched on now (simulated)",
            Self::Pc => "A PC with UEFI that is switched on now (simulated)",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What it is about.
    pub(super) topic: Topic,
    /// Which check, for scripts.
    pub(super) check: &'static str,
    /// How it is.
    pub(super) verdict: Verdict,
    /// What was found.
    pub(super) sentence: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Finding {
    /// As it should be.
    #[must_use]
    pub(super) fn good(topic: Topic, check: &'static str, sentence: impl AsRef<str>) -> Self {
        Self::new(topic, check, Verdict::Good, sentence.as_ref(), None)
    }

    /// Worth knowing.
    #[must_use]
    pub(super) fn note(topic: Topic, check: &'static str, sentence: impl AsRef<str>) -> Self {
        Self::new(topic, check, Verdict::Note, sentence.as_ref(), None)
    }

    /// Some machine may not boot.
    #[must_use]
    pub(super) fn warning(
        topic: Topic,
        check: &'static str,
        sentence: impl AsRef<str>,
        remedy: impl AsRef<str>,
    ) -> Self {
        let remedy = Some(remedy.as_ref());
        Self::new(topic, check, Verdict::Warning, sentence.as_ref(), remedy)
    }

    /// Machines do not boot.
    #[must_use]
    pub(super) fn bad(
        topic: Topic,
        check: &'static str,
        sentence: impl AsRef<str>,
        remedy: impl AsRef<str>,
    ) -> Self {
        let remedy = Some(remedy.as_ref());
        Self::new(topic, check, Verdict::Bad, sentence.as_ref(), remedy)
    }

    /// The same with something to do.
    #[must_use]
    pub(super) fn with_remedy(self, remedy: impl AsRef<str>) -> Self {
        Self {
            remedy: Some(safe(remedy.as_ref())),
            ..self
        }
    }

    fn new(
        topic: Topic,
        check: &'static str,
        verdict: Verdict,
        sentence: &str,
        remedy: Option<&str>,
    ) -> Self {
        Self {
            topic,
            check,
            verdict,
            sentence: safe(sentence),
            remedy: remedy.map(safe),
        }
    }
}

/// What a terminal shows and does not act on.
fn safe(text: &str) -> String {
    plain::line(text, MAX_SENTENCE)
}

/// Bytes as people say them.
#[must_use]
pub(super) fn size(bytes: u64) -> String {
    // No unit has more than three digits before the point.
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{} KB", bytes.div_ceil(1_000)),
        1_000_000..10_000_000 => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_outside_do_nothing_to_a_terminal() {
        let long = "x".repeat(10_000);
        let found = Finding::bad(Topic::Ports, "x", format!("\x1b[2J{long}"), "a\nb");
        assert!(found.sentence.starts_with(" [2Jxxx"));
        assert_eq!(found.sentence.chars().count(), MAX_SENTENCE);
        assert_eq!(found.remedy.as_deref(), Some("a b"));
    }

    #[test]
    fn sizes() {
        for (bytes, want) in [
            (0, "0 bytes"),
            (312, "312 bytes"),
            (262_144, "263 KB"),
            (9_650_000, "9.6 MB"),
            (139_000_000, "139 MB"),
        ] {
            assert_eq!(size(bytes), want);
        }
    }
}
