//! config.txt, as far as it decides which files are asked for.
//!
//! The firmware reads ASCII, and no further than the first byte that is not; of a line it reads 98 bytes.

use crate::params::{Model, Params};

/// Bytes of a line.
const MAX_LINE: usize = 98;

/// What was said, for this Pi.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Config {
    settings: Vec<(String, String)>,
    /// Names behind `initramfs`, in order.
    pub(crate) initramfs: Vec<String>,
    filters: Filters,
}

/// A line that is more than a setting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// All is said.
    Done,
    /// Another file comes here.
    Include(String),
}

/// Filters of one kind replace each other, those of different kinds must all hold, `[all]` ends them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Filters {
    model: bool,
    serial: bool,
    other: bool,
}

impl Default for Filters {
    fn default() -> Self {
        Self {
            model: true,
            serial: true,
            other: true,
        }
    }
}

/// The lines of a file, as the firmware gets them; and whether it gets all.
pub(crate) fn lines(text: &[u8]) -> (Vec<&str>, Flaws) {
    let end = text.iter().position(|byte| !byte.is_ascii());
    let ascii = &text[..end.unwrap_or(text.len())];
    // Always: it is ASCII.
    let ascii = str::from_utf8(ascii).unwrap_or_default();
    let flaws = Flaws {
        not_ascii: end.is_some(),
        long_line: ascii.lines().any(|line| line.len() > MAX_LINE),
    };
    let cut = |line| str::get(line, ..MAX_LINE).unwrap_or(line);
    (ascii.lines().map(cut).collect(), flaws)
}

/// What is lost of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flaws {
    pub(crate) not_ascii: bool,
    pub(crate) long_line: bool,
}

impl Config {
    /// One line more.
    pub(crate) fn line(&mut self, line: &str, params: &Params) -> Line {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Line::Done;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            self.filters.apply(name, params);
            return Line::Done;
        }
        let Filters {
            model,
            serial,
            other,
        } = self.filters;
        if !(model && serial && other) {
            return Line::Done;
        }
        if let Some(name) = line.strip_prefix("include ") {
            return Line::Include(name.trim().to_owned());
        }
        if let Some(rest) = line.strip_prefix("initramfs ") {
            // "initramfs name[,name…] followkernel" or an address.
            let names = rest.split_ascii_whitespace().next().unwrap_or_default();
            self.initramfs = names.split(',').map(str::to_owned).collect();
            return Line::Done;
        }
        if let Some((key, value)) = line.split_once('=') {
            let setting = (key.trim().to_owned(), value.trim().to_owned());
            self.settings.push(setting);
        }
        Line::Done
    }

    /// The last value of a key; empty is none.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let found = self.settings.iter().rev().find(|(k, _)| k == key);
        found.map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// Whether a key's last value is this.
    pub(crate) fn is(&self, key: &str, value: &str) -> bool {
        self.get(key) == Some(value)
    }

    /// Names of overlays, in order.
    pub(crate) fn overlays(&self) -> impl Iterator<Item = &str> {
        let all = self.settings.iter().filter(|(key, _)| key == "dtoverlay");
        let names = all.filter_map(|(_, value)| value.split([',', ':']).next());
        names.filter(|name| !name.is_empty())
    }
}

impl Filters {
    fn apply(&mut self, name: &str, params: &Params) {
        let name = name.trim().to_ascii_lowercase();
        if name == "all" {
            *self = Self::default();
        } else if let Some(hex) = name.strip_prefix("0x") {
            self.serial = u32::from_str_radix(hex, 16) == Ok(params.serial);
        } else if let Some(matches) = model(&name, params) {
            self.model = matches;
        } else {
            // A display, an EDID, a GPIO: nothing that is there.
            self.other = false;
        }
    }
}

/// Whether a filter names the board; `None`: it is about something else.
fn model(name: &str, params: &Params) -> Option<bool> {
    let kind = params.board();
    let expected: &[u32] = match name {
        "none" => &[],
        "pi0" | "pi0w" | "pi02" | "pi1" | "pi2" => &[],
        "pi3" => return Some(!matches!(params.model, Model::Ee4 | Model::Ee5)),
        "pi3+" => &[0x0d, 0x0e],
        "pi4" => return Some(params.model == Model::Ee4),
        "pi400" => &[0x13],
        "cm4" => &[0x14],
        "cm4s" => &[0x15],
        "pi5" => return Some(params.model == Model::Ee5),
        "pi500" => &[0x19],
        "cm5" => &[0x18],
        _ => return None,
    };
    Some(expected.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Date;

    fn read(text: &str, params: &Params) -> Config {
        let mut config = Config::default();
        let (lines, _) = lines(text.as_bytes());
        for line in lines {
            assert_eq!(config.line(line, params), Line::Done, "{line}");
        }
        config
    }

    #[test]
    fn filters_choose() {
        let text = "kernel=any\n[pi3]\nkernel=three\n[pi4]\nkernel=four\n[pi5]\nkernel=five\n\
                    [0x5b400001]\nkernel=mine\n[all]\narm_64bit=1\n[none]\narm_64bit=0\n[HDMI:1]\n[all]\nx=1";
        for (params, kernel) in [
            (Params::pi3b(1), "three"),
            (Params::pi3b_plus(1), "three"),
            (Params::pi4(1, Date(2023, 1, 11)), "four"),
            (Params::pi5(1, Date(2026, 1, 1)), "five"),
        ] {
            let config = read(text, &params);
            assert_eq!(config.get("kernel"), Some(kernel), "{:?}", params.model);
            assert!(config.is("arm_64bit", "1") && config.is("x", "1"));
        }
        // Kinds of filters add up.
        let mine = Params::pi4(1, Date(2023, 1, 11));
        assert_eq!(mine.serial, 0x5b40_0001);
        let text = "[pi4]\n[0x5b400001]\nkernel=mine\n[pi5]\nkernel=not";
        assert_eq!(read(text, &mine).get("kernel"), Some("mine"));
        let other = Params::pi4(2, Date(2023, 1, 11));
        assert_eq!(read(text, &other).get("kernel"), None);
    }

    #[test]
    fn lists_keep_their_order() {
        let text =
            "dtoverlay=a,x=1\n#dtoverlay=no\ndtoverlay=\ndtoverlay=b\ninitramfs i,j followkernel\n";
        let config = read(text, &Params::pi3b(1));
        assert_eq!(config.overlays().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(config.initramfs, ["i", "j"]);
    }

    #[test]
    fn the_firmware_reads_ascii_and_98_bytes_of_a_line() {
        let long = format!("cmdline={}\n", "x".repeat(100));
        let (cut, flaws) = lines(long.as_bytes());
        assert_eq!((cut[0].len(), flaws.long_line), (98, true));
        let (lines, flaws) = lines("kernel=a\n# Übung\nkernel=b".as_bytes());
        assert_eq!(lines, ["kernel=a", "# "]);
        assert!(flaws.not_ascii);
    }
}
