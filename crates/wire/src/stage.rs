//! Stage lines and reports: how `/init` says where a boot stands. They are an interface: people read them on the
//! console, tests wait for them, and the manager logs them.
//!
//! ```text
//! ramboot: stage=dhcp ok addr=10.0.0.51 ms=812
//! ramboot: stage=mount failed error="mounting squashfs: EINVAL" ms=3
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::image::ImageId;
use crate::mac::Mac;
use crate::plain;

/// A report's JSON is never longer; the manager refuses a longer body unread.
pub const MAX_REPORT_BYTES: usize = 4096;

/// The parts of a boot, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// /proc, /sys, /dev and the command line.
    Early,
    /// Drivers for the hardware that is there.
    Modules,
    /// A wired link with a carrier.
    Net,
    /// An address.
    Dhcp,
    /// The worker's own files, verified.
    Files,
    /// The chunk list, proven.
    Chunks,
    /// The image, every byte verified.
    Fetch,
    /// Loop device, squashfs, overlay.
    Mount,
    /// The image's own init takes over.
    Handover,
    /// Only of a worker that streams: all of the image is in its RAM, and nobody is needed any more.
    Untethered,
}

impl Stage {
    /// Those that every boot goes through, in order.
    pub const BOOT: [Self; 9] = [
        Self::Early,
        Self::Modules,
        Self::Net,
        Self::Dhcp,
        Self::Files,
        Self::Chunks,
        Self::Fetch,
        Self::Mount,
        Self::Handover,
    ];

    /// As it stands in a stage line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Early => "early",
            Self::Modules => "modules",
            Self::Net => "net",
            Self::Dhcp => "dhcp",
            Self::Files => "files",
            Self::Chunks => "chunks",
            Self::Fetch => "fetch",
            Self::Mount => "mount",
            Self::Handover => "handover",
            Self::Untethered => "untethered",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How one stage ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageLine {
    /// Which one.
    pub stage: Stage,
    /// `None` if all went well, else the chain of causes in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What there is to know, in the order it is printed: `("addr", "10.0.0.51")`.
    #[serde(default)]
    pub facts: Vec<(String, String)>,
    /// Milliseconds the stage took.
    pub ms: u64,
}

impl StageLine {
    /// Reads a line as printed, with or without what the kernel puts before it.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once("ramboot: stage=")?;
        let (name, rest) = rest.split_once(' ')?;
        let stage = Stage::BOOT
            .into_iter()
            .chain([Stage::Untethered])
            .find(|stage| stage.name() == name)?;
        let (outcome, rest) = rest.split_once(' ')?;
        let mut pairs = pairs(rest.trim_end());
        let ms = match pairs.pop() {
            Some((key, value)) if key == "ms" => value.parse().ok()?,
            _ => return None,
        };
        let error = match outcome {
            "ok" => None,
            "failed" if pairs.first().is_some_and(|(key, _)| key == "error") => {
                Some(pairs.remove(0).1)
            }
            _ => return None,
        };
        Some(Self {
            stage,
            error,
            facts: pairs,
            ms,
        })
    }

    /// The value of a fact.
    #[must_use]
    pub fn fact(&self, key: &str) -> Option<&str> {
        self.facts
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for StageLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ramboot: stage={} ", self.stage)?;
        match &self.error {
            None => f.write_str("ok")?,
            Some(error) => write!(f, "failed error={}", quoted(error, true))?,
        }
        for (key, value) in &self.facts {
            write!(f, " {}={}", plain::word(key), quoted(value, false))?;
        }
        write!(f, " ms={}", self.ms)
    }
}

/// One line, whatever is in it: quotes become apostrophes, and nothing is left that is not seen as it is.
fn quoted(value: &str, always: bool) -> String {
    let clean = plain::line(value, MAX_REPORT_BYTES).replace('"', "'");
    if always || clean.is_empty() || clean.contains(' ') {
        format!("\"{clean}\"")
    } else {
        clean
    }
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while let Some((key, after)) = rest.trim_start().split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(' ').unwrap_or((after, "")),
        };
        pairs.push((key.to_owned(), value.to_owned()));
        rest = after;
    }
    pairs
}

/// What `/init` tells the manager, as JSON in a POST to [`crate::paths::REPORT`]. The manager believes none of it:
/// it is logged, nothing is decided by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The NIC the worker boots by.
    pub mac: Mac,
    /// The image it was told to boot.
    pub image: ImageId,
    /// How the stage ended.
    pub line: StageLine,
    /// With the last stage's end, or the one that failed: when everything was done so far. Empty with any other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waterfall: Vec<Bar>,
}

/// When something was done: a stage, or work that went on beside the stages. Bars may overlap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bar {
    /// A stage's name, or another word.
    pub what: String,
    /// Milliseconds since `/init` started.
    pub begin_ms: u64,
    /// Likewise.
    pub end_ms: u64,
}

/// A waterfall in one line: `early 0-29, room 29-340, modules 29-250`. One line whatever is in it.
#[derive(Debug, Clone, Copy)]
pub struct Waterfall<'a>(pub &'a [Bar]);

impl fmt::Display for Waterfall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, bar) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            let what = quoted(&bar.what, false);
            write!(f, "{comma}{what} {}-{}", bar.begin_ms, bar.end_ms)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(error: Option<&str>, facts: &[(&str, &str)]) -> StageLine {
        StageLine {
            stage: Stage::Dhcp,
            error: error.map(str::to_owned),
            facts: facts
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            ms: 812,
        }
    }

    #[test]
    fn the_text_is_an_interface() {
        for (line, want) in [
            (
                line(None, &[("addr", "10.0.0.51")]),
                "ramboot: stage=dhcp ok addr=10.0.0.51 ms=812",
            ),
            (line(None, &[]), "ramboot: stage=dhcp ok ms=812"),
            (
                line(None, &[("link", "a b")]),
                "ramboot: stage=dhcp ok link=\"a b\" ms=812",
            ),
            (
                line(Some("no answer"), &[("link", "eth0")]),
                "ramboot: stage=dhcp failed error=\"no answer\" link=eth0 ms=812",
            ),
        ] {
            assert_eq!(line.to_string(), want);
            assert_eq!(
                StageLine::parse(&format!("[    1.5] {want}\r\n")),
                Some(line)
            );
        }
    }

    #[test]
    fn a_report_is_plain_json() {
        let report = Report {
            mac: Mac([2; 6]),
            image: ImageId([1; 32]),
            line: line(Some("x"), &[("a", "b")]),
            waterfall: Vec::new(),
        };
        let json = serde_json::to_string(&report).expect("json");
        assert_eq!(serde_json::from_str::<Report>(&json).expect("back"), report);
        assert!(!json.contains("waterfall"), "{json}");
        assert!(
            json.contains(r#""line":{"stage":"dhcp","error":"x","facts":[["a","b"]],"ms":812}"#),
            "{json}"
        );
    }

    /// Whoever may post a report chooses its keys, too.
    #[test]
    fn a_key_begins_no_line_and_forges_no_fact() {
        for (key, want) in [
            (
                "x\nramboot: stage=handover ok",
                "x_ramboot:_stage_handover_ok",
            ),
            ("a=1 ms", "a_1_ms"),
            ("\u{202e}\u{1b}[2J", "__[2J"),
            ("", "_"),
        ] {
            let text = line(None, &[(key, "v\u{202e}\u{85}w")]).to_string();
            let want = format!("ramboot: stage=dhcp ok {want}=\"v\u{fffd} w\" ms=812");
            assert_eq!(text, want);
        }
    }

    #[test]
    fn a_waterfall_comes_with_the_last_report() {
        let bar = |what: &str, begin_ms, end_ms| Bar {
            what: what.to_owned(),
            begin_ms,
            end_ms,
        };
        let report = Report {
            mac: Mac([2; 6]),
            image: ImageId([1; 32]),
            line: line(None, &[]),
            waterfall: vec![
                bar("early", 0, 29),
                bar("room", 29, 340),
                bar("a\nb", 30, 31),
            ],
        };
        let json = serde_json::to_string(&report).expect("json");
        assert_eq!(serde_json::from_str::<Report>(&json).expect("back"), report);
        assert!(
            json.contains(r#""waterfall":[{"what":"early","begin_ms":0,"end_ms":29},"#),
            "{json}"
        );
        assert_eq!(
            Waterfall(&report.waterfall).to_string(),
            "early 0-29, room 29-340, \"a b\" 30-31"
        );
        assert_eq!(Waterfall(&[]).to_string(), "");
    }

    proptest! {
        #[test]
        fn one_line_whatever_is_in_it(error in any::<String>(), key in any::<String>(), value in any::<String>()) {
            let text = line(Some(&error), &[(&key, &value)]).to_string();
            prop_assert_eq!(&plain::line(&text, usize::MAX), &text, "nothing in it acts or hides");
            let read = StageLine::parse(&text);
            prop_assert!(read.is_some_and(|read| read.facts.len() == 1 && read.ms == 812), "{}", text);
        }

        #[test]
        fn never_panics(text in "\\PC{0,80}") {
            let _ = StageLine::parse(&format!("ramboot: stage={text}"));
        }
    }
}
