//! Whether the program a worker starts can run: there, executable, for the kernel's machine, and with what loads it.

use ramboot_wire::Arch;
use ramboot_wire::root::INITS;

use super::{Check, Finding, error, fine, warning};
use crate::formats::elf::{Machine, Program};
use crate::formats::squashfs::tree::{Astray, Kind, Spot};

/// Scripts whose interpreter is a script: as deep as the kernel goes (fs/exec.c, exec_binprm).
pub const MAX_DEPTH: usize = 5;

/// A path of the image and what it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// As init is looked for, or as the file before names it.
    pub path: String,
    /// What is there.
    pub spot: Result<Spot, Astray>,
    /// Where the link leads that stands there itself, as it is written.
    pub link: Option<String>,
    /// What it is, if it is a plain file that can be read.
    pub program: Option<Program>,
}

impl Step {
    fn is_executable(&self) -> bool {
        matches!(&self.spot, Ok(Spot { kind: Kind::File(_), mode, .. }) if mode & 0o111 != 0)
    }

    /// The path, and where the link leads if it is one.
    fn named(&self) -> String {
        match (&self.spot, &self.link) {
            (Ok(spot), Some(_)) => format!("{} (a link to {})", self.path, spot.path.display()),
            _ => self.path.clone(),
        }
    }
}

/// What was found of an image's init.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The places where `/init` looks for it, in its order ([`INITS`]).
    pub candidates: Vec<Step>,
    /// What the kernel needs to start the first that is executable, each because of the one before.
    pub then: Vec<Step>,
    /// Libraries that it, or the shell that runs it, is linked with and that are in no folder of the image.
    pub lacks: Vec<String>,
}

impl Facts {
    /// The one that `/init` starts.
    #[must_use]
    pub fn chosen(&self) -> Option<&Step> {
        self.candidates.iter().find(|step| step.is_executable())
    }
}

/// What a worker's start would come to. `arch` is the kernel's, if one was found; `compat` whether it runs 32-bit
/// programs, if that is known.
#[must_use]
pub fn check(facts: &Facts, arch: Option<Arch>, compat: Option<bool>) -> Vec<Finding> {
    let Some(chosen) = facts.chosen() else {
        return vec![error(Check::Init, &absent(facts))];
    };
    let mut findings = Vec::new();
    let mut because = chosen;
    for (step, number) in std::iter::once(chosen).chain(&facts.then).zip(0..) {
        if number > 0
            && let Some(sentence) = missing(step, because)
        {
            findings.push(error(Check::Init, &sentence));
            break;
        }
        if let Some(finding) = wrong(step, arch, compat) {
            findings.push(finding);
        }
        because = step;
    }
    if !facts.lacks.is_empty() {
        let sentence = format!(
            "{} needs {}, which the image has in no folder: install the packages of these libraries",
            chosen.named(),
            super::some_of(&facts.lacks)
        );
        findings.push(error(Check::Init, &sentence));
    }
    if findings.is_empty() {
        let machine = match &chosen.program {
            Some(Program::Elf { machine, .. }) => format!(", for {}", machine.name()),
            Some(Program::Script(by)) => format!(", run by {by}"),
            _ => String::new(),
        };
        findings.push(fine(Check::Init, &format!("{}{machine}", chosen.named())));
    }
    findings
}

/// Why none of the candidates can be started: by the first that is there in any way.
fn absent(facts: &Facts) -> String {
    let there = |step: &&Step| step.spot.is_ok() || step.link.is_some();
    let what = match facts.candidates.iter().find(there) {
        None => {
            return format!(
                "the image has no init: {} are not there; install systemd-sysv or another init",
                INITS.join(", ")
            );
        }
        Some(step) => match &step.spot {
            Ok(Spot {
                kind: Kind::File(_),
                mode,
                ..
            }) => format!(
                "{} is not executable (mode {mode:04o}): chmod 755 it",
                step.named()
            ),
            Ok(_) => format!(
                "{} is no plain file: a program is wanted there",
                step.named()
            ),
            Err(Astray::Missing(_)) => format!(
                "{} is a link to {}, which is not in the image: install what belongs there (systemd-sysv has Debian's)",
                step.path,
                step.link.as_deref().unwrap_or_default()
            ),
            Err(Astray::Links(_)) => {
                format!("{} is a link that leads back to itself", step.path)
            }
        },
    };
    let others: Vec<&str> = INITS
        .into_iter()
        .filter(|path| !what.starts_with(path))
        .collect();
    format!(
        "{what}; there is no executable {} either",
        others.join(" or ")
    )
}

/// What a program needs and the image does not have.
fn missing(step: &Step, because: &Step) -> Option<String> {
    let needs = match &because.program {
        Some(Program::Script(_)) => "is a script for",
        _ => "is loaded by",
    };
    let why = match &step.spot {
        Ok(Spot {
            kind: Kind::File(_),
            mode,
            ..
        }) if mode & 0o111 == 0 => format!("is not executable (mode {mode:04o}): chmod 755 it"),
        Ok(Spot {
            kind: Kind::File(_),
            ..
        }) => return None,
        Ok(_) => "is no plain file in the image".to_owned(),
        Err(Astray::Missing(path)) if step.link.is_some() => format!(
            "is not in the image ({} is missing): install the package it comes with",
            path.display()
        ),
        Err(_) => "is not in the image: install the package it comes with".to_owned(),
    };
    Some(format!(
        "{} {needs} {}, which {why}",
        because.named(),
        step.path
    ))
}

fn wrong(step: &Step, arch: Option<Arch>, compat: Option<bool>) -> Option<Finding> {
    let name = step.named();
    match step.program.as_ref()? {
        Program::Script(by) if !by.starts_with('/') => Some(error(
            Check::Init,
            &format!(
                "{name} is a script for {by}, which is no absolute path: write #!/bin/sh or the like"
            ),
        )),
        Program::Script(_) => None,
        Program::Other(what) => Some(error(
            Check::Init,
            &format!(
                "{name} is {what}: no kernel starts it; put a program for the kernel's machine there"
            ),
        )),
        Program::Elf { machine, .. } => {
            let arch = arch?;
            if *machine == Machine::of(arch) {
                return None;
            }
            let both = format!("{name} is for {}, the kernel for {arch}", machine.name());
            if !machine.is_older_than(arch) {
                return Some(error(
                    Check::Init,
                    &format!("{both}: install the kernel and the system of one architecture"),
                ));
            }
            match compat {
                Some(true) => None,
                Some(false) => Some(error(
                    Check::Init,
                    &format!(
                        "{both} and built without 32-bit programs: take a 64-bit system, or another kernel"
                    ),
                )),
                None => Some(warning(
                    Check::Init,
                    &format!(
                        "{both}: it starts if that was built to run 32-bit programs, which cannot be seen here"
                    ),
                )),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::checks::Severity;
    use std::path::PathBuf;

    fn spot(path: &str, mode: u16) -> Result<Spot, Astray> {
        Ok(Spot {
            path: path.into(),
            kind: Kind::File(9),
            mode,
        })
    }

    fn step(path: &str, spot: Result<Spot, Astray>, program: Option<Program>) -> Step {
        Step {
            path: path.to_owned(),
            link: match &spot {
                Ok(spot) if spot.path.as_os_str() != path => Some("somewhere".to_owned()),
                _ => None,
            },
            spot,
            program,
        }
    }

    fn elf(number: u16, wide: bool) -> Option<Program> {
        Some(Program::Elf {
            machine: Machine { number, wide },
            loader: None,
        })
    }

    fn gone(path: &str) -> Result<Spot, Astray> {
        Err(Astray::Missing(PathBuf::from(path)))
    }

    fn facts(init: Step, then: Vec<Step>) -> Facts {
        let others = [
            step(INITS[1], gone("/lib"), None),
            step(INITS[2], gone("/init"), None),
        ];
        Facts {
            candidates: std::iter::once(init).chain(others).collect(),
            then,
            lacks: Vec::new(),
        }
    }

    fn said(facts: &Facts, compat: Option<bool>) -> (Severity, String) {
        let findings = check(facts, Some(Arch::X86_64), compat);
        assert_eq!(findings.len(), 1, "{findings:?}");
        (findings[0].severity, findings[0].sentence.clone())
    }

    #[test]
    fn a_link_to_systemd_is_fine() {
        let init = step(
            "/sbin/init",
            spot("/usr/lib/systemd/systemd", 0o755),
            elf(62, true),
        );
        let (severity, sentence) = said(&facts(init, Vec::new()), None);
        assert_eq!(severity, Severity::Fine);
        assert_eq!(
            sentence,
            "/sbin/init (a link to /usr/lib/systemd/systemd), for x86_64"
        );
    }

    #[test]
    fn an_init_of_32_bit_depends_on_the_kernel() {
        let init = step("/sbin/init", spot("/sbin/init", 0o755), elf(3, false));
        let facts = facts(init, Vec::new());
        for (compat, want) in [
            (Some(true), Severity::Fine),
            (Some(false), Severity::Error),
            (None, Severity::Warning),
        ] {
            assert_eq!(said(&facts, compat).0, want);
        }
    }

    #[test]
    fn nothing_at_all_is_not_called_a_link() {
        let (severity, sentence) = said(
            &facts(step("/sbin/init", gone("/sbin"), None), Vec::new()),
            None,
        );
        assert_eq!(severity, Severity::Error);
        assert!(
            sentence.starts_with("the image has no init: "),
            "{sentence}"
        );
    }

    #[test]
    fn a_script_needs_its_interpreter_and_that_its_own_loader() {
        let script = Some(Program::Script("/bin/sh".to_owned()));
        let init = step("/sbin/init", spot("/sbin/init", 0o755), script);
        let shell = step("/bin/sh", spot("/bin/dash", 0o755), elf(62, true));
        let loader = step("/lib64/ld.so", gone("/lib64"), None);
        let (severity, sentence) = said(&facts(init, vec![shell, loader]), None);
        assert_eq!(severity, Severity::Error);
        assert_eq!(
            sentence,
            "/bin/sh (a link to /bin/dash) is loaded by /lib64/ld.so, which is not in the image: install the package it comes with"
        );
    }
}
