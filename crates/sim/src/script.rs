//! Which files are asked for: what a script can do. Their order is in `order`.
//!
//! A script runs from its start each time an answer came, over all answers so far, until it wants another. So it reads
//! like the firmware's own program, and there is nothing to remember but the answers.

mod order;

use std::collections::BTreeMap;
use std::slice;
use std::sync::Arc;

use crate::config_txt::{Config, Flaws, Line, lines};
use crate::dhcp::Stage;
use crate::outcome::{Failure, File, Violation};
use crate::params::{Model, Params};
use crate::tftp::Purpose;

/// What came of one question.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Found,
    File(Arc<File>),
    Absent,
}

/// What a script wants.
#[derive(Debug)]
pub(crate) enum Next {
    /// A file.
    Ask(Ask),
    /// bootcode.bin is there and runs.
    Bootcode,
    /// The kernel runs.
    Start(Box<Loaded>),
    /// It ends here.
    Fail(Failure),
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) path: String,
    pub(crate) purpose: Purpose,
    /// start.elf and start4.elf go on where ROM and EEPROM give up.
    pub(crate) lenient: bool,
}

/// What is in memory.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) files: BTreeMap<String, Arc<File>>,
    pub(crate) absent: Vec<String>,
    pub(crate) kernel: String,
    pub(crate) initramfs: Vec<String>,
    pub(crate) device_tree: String,
    pub(crate) overlays: Vec<String>,
    pub(crate) cmdline: String,
    pub(crate) violations: Vec<Violation>,
}

/// `include`s in one config.txt.
const MAX_INCLUDES: u32 = 16;

type Step<T> = Result<T, Box<Next>>;

/// What this stage does after these answers.
pub(crate) fn next(params: &Params, stage: Stage, answers: &[Answer]) -> Next {
    let mut run = Run {
        params,
        answers: answers.iter(),
        prefix: String::new(),
        lenient: false,
        loaded: Loaded::default(),
    };
    let end = match (stage, params.model) {
        (Stage::Rom, _) => run.rom(),
        (Stage::Bootcode, _) => run.bootcode(),
        (Stage::Eeprom, Model::Ee5) => run.five(),
        (Stage::Eeprom, _) => run.four(),
    };
    match end {
        Ok(()) => Next::Start(Box::new(run.loaded)),
        Err(next) => *next,
    }
}

struct Run<'a> {
    params: &'a Params,
    answers: slice::Iter<'a, Answer>,
    prefix: String,
    lenient: bool,
    loaded: Loaded,
}

impl Run<'_> {
    fn at(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Below `os_prefix`.
    fn os(&self, config: &Config, name: &str) -> String {
        let os_prefix = config.get("os_prefix").unwrap_or_default();
        format!("{}{os_prefix}{name}", self.prefix)
    }

    fn ask(&mut self, path: String, purpose: Purpose) -> Step<Option<Option<Arc<File>>>> {
        match self.answers.next() {
            None => {
                let lenient = self.lenient;
                Err(Box::new(Next::Ask(Ask {
                    path,
                    purpose,
                    lenient,
                })))
            }
            Some(Answer::Absent) => {
                self.loaded.absent.push(path);
                Ok(None)
            }
            Some(Answer::Found) => Ok(Some(None)),
            Some(Answer::File(file)) => {
                self.loaded.files.insert(path, Arc::clone(file));
                Ok(Some(Some(Arc::clone(file))))
            }
        }
    }

    /// Whether it is there. Firmware that does not end transfers early reads it.
    fn probe(&mut self, path: String) -> Step<bool> {
        let purpose = if self.params.quirks.early_terminate {
            Purpose::Probe
        } else {
            Purpose::Read
        };
        Ok(self.ask(path, purpose)?.is_some())
    }

    fn read(&mut self, path: String) -> Step<Option<Arc<File>>> {
        Ok(self.ask(path, Purpose::Read)?.flatten())
    }

    /// Probed, then read.
    fn twice(&mut self, path: String) -> Step<Option<Arc<File>>> {
        if self.params.quirks.early_terminate && !self.probe(path.clone())? {
            return Ok(None);
        }
        self.read(path)
    }

    fn required(&mut self, path: String, why: &'static str) -> Step<Arc<File>> {
        match self.read(path.clone())? {
            Some(file) => Ok(file),
            None => fail(Failure::Missing { path, why }),
        }
    }

    /// Reads config.txt in a manner, and what it includes: the EEPROM's own pass knows no `include`.
    fn config(
        &mut self,
        name: &str,
        with_includes: bool,
        how: fn(&mut Self, String) -> Step<Option<Arc<File>>>,
    ) -> Step<Config> {
        let path = self.at(name);
        if how(self, path.clone())?.is_none() {
            let why = "it says what to load";
            return fail(Failure::Missing { path, why });
        }
        self.parse(&path, with_includes)
    }

    fn parse(&mut self, path: &str, with_includes: bool) -> Step<Config> {
        let mut config = Config::default();
        let mut included = 0;
        // What is still to read, nearest last.
        let mut rest = self.text(path)?;
        while let Some(line) = rest.pop() {
            let Line::Include(name) = config.line(&line, self.params) else {
                continue;
            };
            if !with_includes {
                continue;
            }
            included += 1;
            if included > MAX_INCLUDES {
                let (path, why) = (path.to_owned(), "more than 16 includes");
                return fail(Failure::BadText { path, why });
            }
            let path = self.at(&name);
            if self.twice(path.clone())?.is_some() {
                rest.extend(self.text(&path)?);
            } else {
                self.violation(Violation::NamedButMissing { path });
            }
        }
        Ok(config)
    }

    /// The lines of a file that was read, last first.
    fn text(&mut self, path: &str) -> Step<Vec<String>> {
        let file = self.loaded.files.get(path);
        let Some(bytes) = file.and_then(|file| file.bytes.clone()) else {
            let (path, why) = (path.to_owned(), "too long");
            return fail(Failure::BadText { path, why });
        };
        let (
            lines,
            Flaws {
                not_ascii,
                long_line,
            },
        ) = lines(&bytes);
        let path = path.to_owned();
        if not_ascii {
            self.violation(Violation::TextNotAscii { path: path.clone() });
        }
        if long_line {
            self.violation(Violation::LineTooLong { path });
        }
        Ok(lines.into_iter().rev().map(str::to_owned).collect())
    }

    fn initramfs(&mut self, config: &Config, kernel: Option<&str>) -> Step<()> {
        let mut names = config.initramfs.clone();
        let named = !names.is_empty();
        if !named && config.is("auto_initramfs", "1") {
            let stem = kernel.and_then(|name| name.strip_prefix("kernel"));
            let suffix = stem.map(|stem| stem.strip_suffix(".img").unwrap_or(stem));
            names = vec![format!("initramfs{}", suffix.unwrap_or_default())];
        }
        for name in names {
            let path = self.os(config, &name);
            if self.read(path.clone())?.is_some() {
                self.loaded.initramfs.push(path);
            } else if named {
                // The firmware boots on without, and the kernel has no root.
                self.violation(Violation::NamedButMissing { path });
            }
        }
        Ok(())
    }

    fn device_tree(&mut self, config: &Config, name: &str) -> Step<()> {
        let path = self.os(config, name);
        let Some(_) = self.twice(path.clone())? else {
            let why = "the kernel finds no device without";
            return fail(Failure::Missing { path, why });
        };
        self.loaded.device_tree = path;
        Ok(())
    }

    fn overlays(
        &mut self,
        config: &Config,
        how: fn(&mut Self, String) -> Step<Option<Arc<File>>>,
    ) -> Step<()> {
        let mut folder = self.at("overlays/");
        // Only a folder with a README is taken for one of overlays.
        if config.get("os_prefix").is_some() {
            let own = self.os(config, "overlays/");
            if self.probe(format!("{own}README"))? {
                folder = own;
            }
        }
        for name in config.overlays() {
            let path = format!("{folder}{name}.dtbo");
            if how(self, path.clone())?.is_some() {
                self.loaded.overlays.push(path);
            } else {
                self.violation(Violation::NamedButMissing { path });
            }
        }
        Ok(())
    }

    fn cmdline(&mut self, config: &Config, name: &str, file: Option<Arc<File>>) -> Step<()> {
        let path = self.os(config, name);
        let Some(file) = file else {
            let why = "the kernel's command line";
            return fail(Failure::Missing { path, why });
        };
        let Some(bytes) = &file.bytes else {
            let why = "too long";
            return fail(Failure::BadText { path, why });
        };
        if !bytes.is_ascii() {
            self.violation(Violation::TextNotAscii { path });
        }
        let end = bytes.iter().position(|byte| !byte.is_ascii());
        let text = String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned();
        self.loaded.cmdline = text.lines().next().unwrap_or_default().to_owned();
        Ok(())
    }

    /// The first kernel that is there.
    fn first_kernel(&mut self, config: &Config, names: &[String]) -> Step<String> {
        for name in names {
            let path = self.os(config, name);
            if self.probe(path.clone())? {
                return Ok(path);
            }
        }
        if config.get("kernel").is_some() {
            let path = self.os(config, &names.concat());
            self.violation(Violation::NamedButMissing { path });
        }
        let path = self.os(config, &names.join(" | "));
        let why = "the kernel";
        fail(Failure::Missing { path, why })
    }

    fn violation(&mut self, violation: Violation) {
        // config.txt is read several times.
        if !self.loaded.violations.contains(&violation) {
            self.loaded.violations.push(violation);
        }
    }
}

fn fail<T>(failure: Failure) -> Step<T> {
    Err(Box::new(Next::Fail(failure)))
}

#[cfg(test)]
mod tests;
