//! The module table inside the initramfs: written when an image is published, read by `/init` at coldplug.
//!
//! A text file, one entry a line, so that a person can look at it:
//!
//! ```text
//! ramboot-modules 1
//! m kernel/drivers/virtio/virtio_ring.ko
//! m kernel/drivers/virtio/virtio_pci.ko 0
//! l 4
//! a pci:v00001AF4d*sv*sd*bc*sc*i* 1
//! ```
//!
//! `m PATH [DEPENDENCY…]` are modules, numbered from 0 in the order they stand; a dependency is the number of an
//! earlier line, so a table cannot hold a loop. `l N` is loaded always. `a PATTERN N` is loaded for a device whose
//! `modalias` matches.

use std::fmt;

/// Where the table stands in the initramfs.
pub const TABLE_PATH: &str = "modules.table";

/// The folder in the initramfs that paths of modules are relative to.
pub const MODULES_DIR: &str = "modules";

const HEADER: &str = "ramboot-modules 1";
const MAX_MODULES: usize = 16_384;
const MAX_ALIASES: usize = 262_144;

/// Which modules there are, what each needs, and which device each is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleTable {
    /// In an order in which every module stands after those it needs.
    pub modules: Vec<Module>,
    /// Numbers of the modules that are loaded on every machine.
    pub always: Vec<usize>,
    /// `modalias` pattern (as `modules.alias` has it) and the number of the module it asks for.
    pub aliases: Vec<(String, usize)>,
}

/// One module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Relative to [`MODULES_DIR`], uncompressed: `kernel/drivers/net/virtio_net.ko`.
    pub path: String,
    /// Numbers of the modules it needs, each smaller than its own.
    pub needs: Vec<usize>,
}

/// Why a text is not a module table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("module table line {line}: {what}")]
pub struct TableError {
    /// 1-based.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

impl ModuleTable {
    /// Reads the text form.
    ///
    /// # Errors
    /// The line that is wrong, and why.
    pub fn parse(text: &str) -> Result<Self, TableError> {
        let mut table = Self::default();
        for (content, line) in text.lines().zip(1..) {
            table
                .line(line, content)
                .map_err(|what| TableError { line, what })?;
        }
        if text.lines().next().is_none() {
            return Err(TableError {
                line: 1,
                what: "empty".to_owned(),
            });
        }
        Ok(table)
    }

    fn line(&mut self, line: usize, content: &str) -> Result<(), String> {
        if line == 1 {
            return if content == HEADER {
                Ok(())
            } else {
                Err(format!("expected {HEADER:?}"))
            };
        }
        let (kind, rest) = content
            .split_once(' ')
            .ok_or_else(|| "expected a kind and a value".to_owned())?;
        match kind {
            "m" => {
                let mut words = rest.split(' ');
                let path = words.next().unwrap_or_default();
                if !is_plain_path(path) {
                    return Err(format!("{path:?} is not a path inside the module folder"));
                }
                let needs = words
                    .map(|word| self.number(word))
                    .collect::<Result<_, _>>()?;
                self.modules.push(Module {
                    path: path.to_owned(),
                    needs,
                });
            }
            "l" => self.always.push(self.number(rest)?),
            "a" => {
                let (pattern, number) = rest
                    .rsplit_once(' ')
                    .ok_or_else(|| "expected a pattern and a number".to_owned())?;
                self.aliases
                    .push((pattern.to_owned(), self.number(number)?));
            }
            kind => return Err(format!("unknown kind {kind:?}")),
        }
        if self.modules.len() > MAX_MODULES || self.aliases.len() > MAX_ALIASES {
            return Err(format!(
                "more than {MAX_MODULES} modules or {MAX_ALIASES} aliases"
            ));
        }
        Ok(())
    }

    fn number(&self, word: &str) -> Result<usize, String> {
        match word.parse::<usize>() {
            Ok(number) if number < self.modules.len() => Ok(number),
            _ => Err(format!("{word:?} is not the number of an earlier module")),
        }
    }

    /// Numbers of the modules that `modalias` (from /sys) asks for, in the order of the table.
    pub fn matching<'a>(&'a self, modalias: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.aliases
            .iter()
            .filter(move |(pattern, _)| matches(pattern.as_bytes(), modalias.as_bytes()))
            .map(|(_, number)| *number)
    }

    /// `wanted` and all that they need, each once, in an order to load them in.
    #[must_use]
    pub fn closure(&self, wanted: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let mut in_set = vec![false; self.modules.len()];
        for number in wanted {
            if let Some(slot) = in_set.get_mut(number) {
                *slot = true;
            }
        }
        // Needs have smaller numbers: one pass downwards reaches them all.
        for number in (0..self.modules.len()).rev() {
            if in_set[number] {
                for &need in &self.modules[number].needs {
                    in_set[need] = true;
                }
            }
        }
        (0..self.modules.len())
            .filter(|&number| in_set[number])
            .collect()
    }
}

impl fmt::Display for ModuleTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        for module in &self.modules {
            write!(f, "m {}", module.path)?;
            module
                .needs
                .iter()
                .try_for_each(|need| write!(f, " {need}"))?;
            writeln!(f)?;
        }
        self.always
            .iter()
            .try_for_each(|number| writeln!(f, "l {number}"))?;
        self.aliases
            .iter()
            .try_for_each(|(pattern, number)| writeln!(f, "a {pattern} {number}"))
    }
}

fn is_plain_path(path: &str) -> bool {
    !path.is_empty()
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
        && path.bytes().all(|b| b.is_ascii_graphic())
}

/// fnmatch(3) without flags, as kmod matches aliases: `*`, `?`, `[…]` with ranges, and no escape but `\`.
/// Bounded: on a mismatch it goes back to the last `*` only.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, t));
            p += 1;
            continue;
        }
        if t == text.len() && p == pattern.len() {
            return true;
        }
        let step = text.get(t).and_then(|&c| one(&pattern[p..], c));
        if let Some(width) = step {
            p += width;
            t += 1;
            continue;
        }
        match star {
            Some((after, from)) if from < text.len() => {
                star = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

/// How many bytes of the pattern match `c`, if they do.
fn one(pattern: &[u8], c: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', rest @ ..] => {
            let end = rest.iter().skip(1).position(|&b| b == b']')? + 1;
            let (set, negated) = match &rest[..end] {
                [b'!' | b'^', set @ ..] => (set, true),
                set => (set, false),
            };
            (in_set(set, c) != negated).then_some(end + 2)
        }
        [b'\\', literal, ..] => (*literal == c).then_some(2),
        [literal, ..] => (*literal == c).then_some(1),
        [] => None,
    }
}

fn in_set(mut set: &[u8], c: u8) -> bool {
    loop {
        match set {
            [low, b'-', high, rest @ ..] => {
                if (*low..=*high).contains(&c) {
                    return true;
                }
                set = rest;
            }
            [single, rest @ ..] => {
                if *single == c {
                    return true;
                }
                set = rest;
            }
            [] => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "ramboot-modules 1\nm kernel/a.ko\nm kernel/b.ko 0\nm kernel/c.ko\nm kernel/d.ko 1 2\nl 2\na pci:v*d0001* 3\na virtio:d00000001v* 1\n";

    #[test]
    fn what_is_written_is_read_back() {
        let table = ModuleTable::parse(TEXT).expect("parses");
        assert_eq!(table.to_string(), TEXT);
        assert_eq!(
            table.modules[3],
            Module {
                path: "kernel/d.ko".to_owned(),
                needs: vec![1, 2]
            }
        );
    }

    #[test]
    fn needs_come_before_what_needs_them() {
        let table = ModuleTable::parse(TEXT).expect("parses");
        assert_eq!(table.closure([3]), [0, 1, 2, 3]);
        assert_eq!(table.closure([1]), [0, 1]);
        assert_eq!(table.closure([99]), [0_usize; 0]);
        assert_eq!(
            table.matching("pci:v00001AF4d0001x").collect::<Vec<_>>(),
            [3]
        );
    }

    #[test]
    fn a_lying_table_is_refused_by_line() {
        for (text, line) in [
            ("", 1),
            ("ramboot-modules 2\n", 1),
            ("ramboot-modules 1\nm\n", 2),
            ("ramboot-modules 1\nm a.ko 0\n", 2),
            ("ramboot-modules 1\nm a.ko\nm b.ko 1\n", 3),
            ("ramboot-modules 1\nm a.ko\nl 1\n", 3),
            ("ramboot-modules 1\nm a.ko\na x\n", 3),
            ("ramboot-modules 1\nm a.ko\nl 18446744073709551616\n", 3),
            ("ramboot-modules 1\nm ../../etc/passwd\n", 2),
            ("ramboot-modules 1\nm /a.ko\n", 2),
            ("ramboot-modules 1\nx y\n", 2),
        ] {
            assert_eq!(
                ModuleTable::parse(text).expect_err(text).line,
                line,
                "{text:?}"
            );
        }
    }

    #[test]
    fn patterns_match_as_fnmatch_does() {
        for (pattern, text, want) in [
            (
                "pci:v00008086d*sv*sd*bc02sc00i*",
                "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00",
                true,
            ),
            (
                "pci:v00008086d*bc02sc00i*",
                "pci:v00008086d1bc01sc00i00",
                false,
            ),
            ("virtio:d00000001v*", "virtio:d00000001v00001AF4", true),
            ("usb:v0BDAp815[0-9]d*", "usb:v0BDAp8153d3000", true),
            ("usb:v0BDAp815[0-9]d*", "usb:v0BDAp815Ad3000", false),
            ("a[!b]c", "axc", true),
            ("a[!b]c", "abc", false),
            ("a[]]c", "a]c", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("a*", "b", false),
            ("a[b", "a[b", false),
            (
                "of:N*T*Cbrcm,bcm2835-usbC*",
                "of:NusbT(null)Cbrcm,bcm2835-usb",
                false,
            ),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                want,
                "{pattern} {text}"
            );
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,200}", pattern in "[a-z*?\\[\\]!-]{0,20}", alias in "[a-z]{0,30}") {
            let _ = ModuleTable::parse(&format!("ramboot-modules 1\n{text}"));
            let _ = matches(pattern.as_bytes(), alias.as_bytes());
        }
    }
}
