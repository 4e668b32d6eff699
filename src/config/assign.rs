//! Which machine boots which image: the first rule that fits, else the default, else the only image there is that
//! it can run. Pure.
//!
//! Where the answer is not clear, there is none, but a sentence that says what to do: a machine that boots something
//! else than its owner meant is worse than one that waits.

use ramboot_wire::Arch;

use crate::config::Config;
use crate::config::worker::Machine;
use crate::store::Name;

/// The name an image has if `publish` was given none.
pub const DEFAULT_NAME: &str = "default";

/// Names an error lists; the rest is counted.
const MAX_LISTED: usize = 8;

/// What one machine boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Name of the image, one of those that are published.
    pub image: Name,
    /// Kernel parameters beside ramboot's own.
    pub cmdline: String,
}

/// Why a machine has nothing to boot, and what would change that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unassigned {
    /// The store is empty.
    #[error("no image is published: run \"ramboot publish IMAGE\" on the manager")]
    NothingPublished,
    /// A rule names an image that is not there.
    #[error("{rule} says image \"{image}\", but published are only {}: publish it or change the config", list(.published))]
    NotPublished {
        /// Whose rule.
        rule: String,
        /// What it names.
        image: String,
        /// What there is.
        published: Vec<Name>,
    },
    /// A rule names an image the machine cannot run.
    #[error(
        "{rule} says image \"{image}\", which is for {is}, but the machine is {machine}: name another image in a [[worker]] rule with arch = \"{machine}\""
    )]
    OtherArch {
        /// Whose rule.
        rule: String,
        /// What it names.
        image: String,
        /// What the image is for.
        is: Arch,
        /// What the machine is.
        machine: Arch,
    },
    /// Images for other architectures only.
    #[error("no image for {machine} is published, only {}: publish one", list(.published))]
    NoneFor {
        /// What the machine is.
        machine: Arch,
        /// What there is.
        published: Vec<Name>,
    },
    /// Several images and nothing that chooses.
    #[error("published are {}, and nothing says which one to boot: set image in [boot] or [[worker]] of the config, or publish one as \"{DEFAULT_NAME}\"", list(.published))]
    Several {
        /// What there is.
        published: Vec<Name>,
    },
}

/// A name and the machines its image is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The name.
    pub name: Name,
    /// What the image's kernel runs on.
    pub arch: Arch,
}

/// Chooses for one machine among what is `published`.
///
/// Where nothing names an image, those for other architectures do not count: so a Raspberry Pi and a PC each get theirs
/// without a rule.
///
/// # Errors
/// Nothing fits, or more than one would.
pub fn assign(
    config: &Config,
    published: &[Published],
    asker: &Machine,
) -> Result<Assignment, Unassigned> {
    if published.is_empty() {
        return Err(Unassigned::NothingPublished);
    }
    let rule = config.rule(asker);
    let own = rule.and_then(|rule| Some((rule, rule.image.as_ref()?)));
    let image = match (own, &config.boot.image) {
        (Some((rule, image)), _) => named(
            image,
            &format!("[[worker]] {}", rule.which),
            published,
            asker,
        )?,
        (None, Some(image)) => named(image, "[boot]", published, asker)?,
        (None, None) => unnamed(published, asker)?,
    };
    let own_cmdline = rule.and_then(|rule| rule.cmdline.as_deref());
    let words = [Some(config.boot.cmdline.as_str()), own_cmdline];
    let words: Vec<&str> = words
        .into_iter()
        .flatten()
        .filter(|text| !text.is_empty())
        .collect();
    Ok(Assignment {
        image: image.clone(),
        // The kernel lets the last one win, so a machine's own words come last.
        cmdline: words.join(" "),
    })
}

fn named<'a>(
    image: &str,
    rule: &str,
    published: &'a [Published],
    asker: &Machine,
) -> Result<&'a Name, Unassigned> {
    let of = |published: &&Published| published.name.as_str() == image;
    let found = published.iter().find(of);
    match (found, asker.arch) {
        (None, _) => Err(Unassigned::NotPublished {
            rule: rule.to_owned(),
            image: image.to_owned(),
            published: names(published),
        }),
        (Some(found), Some(machine)) if found.arch != machine => Err(Unassigned::OtherArch {
            rule: rule.to_owned(),
            image: image.to_owned(),
            is: found.arch,
            machine,
        }),
        (Some(found), _) => Ok(&found.name),
    }
}

fn unnamed<'a>(published: &'a [Published], asker: &Machine) -> Result<&'a Name, Unassigned> {
    let fits = |published: &&Published| asker.arch.is_none_or(|arch| arch == published.arch);
    let fitting: Vec<&Published> = published.iter().filter(fits).collect();
    match (fitting.as_slice(), asker.arch) {
        ([only], _) => Ok(&only.name),
        ([], Some(machine)) => Err(Unassigned::NoneFor {
            machine,
            published: names(published),
        }),
        (several, _) => several
            .iter()
            .find(|published| published.name.as_str() == DEFAULT_NAME)
            .map(|published| &published.name)
            .ok_or_else(|| Unassigned::Several {
                published: several
                    .iter()
                    .map(|published| published.name.clone())
                    .collect(),
            }),
    }
}

fn names(published: &[Published]) -> Vec<Name> {
    let name = |published: &Published| published.name.clone();
    published.iter().map(name).collect()
}

fn list(names: &[Name]) -> String {
    let mut text = names
        .iter()
        .take(MAX_LISTED)
        .map(Name::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > MAX_LISTED {
        text.push_str(&format!(" and {} more", names.len() - MAX_LISTED));
    }
    text
}

#[cfg(test)]
mod tests {
    use ramboot_wire::Mac;

    use super::*;

    const KNOWN: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    const OTHER: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x57]);

    /// Names that begin with "pi" are for a Raspberry Pi.
    fn published(names: &[&str]) -> Vec<Published> {
        let published = |name: &&str| Published {
            name: name.parse().expect("a name"),
            arch: if name.starts_with("pi") {
                Arch::Aarch64
            } else {
                Arch::X86_64
            },
        };
        names.iter().map(published).collect()
    }

    fn pc(mac: Mac) -> Machine {
        Machine {
            mac: Some(mac),
            arch: Some(Arch::X86_64),
            ..Machine::default()
        }
    }

    #[test]
    fn one_row_per_rule() {
        let rule = "[[worker]]\nmac = \"52:54:00:12:34:56\"\nimage = \"gpu\"";
        let boot = "[boot]\nimage = \"worker\"";
        let both = format!("{boot}\n{rule}");
        for (config, names, mac, want) in [
            (both.as_str(), &["gpu", "worker"][..], KNOWN, Ok("gpu")),
            (&both, &["gpu", "worker"], OTHER, Ok("worker")),
            (rule, &["gpu", "default"], OTHER, Ok("default")),
            (rule, &["gpu"], OTHER, Ok("gpu")),
            ("", &["only"], OTHER, Ok("only")),
            ("", &["default", "other"], OTHER, Ok("default")),
            (
                "",
                &[],
                OTHER,
                Err("no image is published: run \"ramboot publish IMAGE\" on the manager"),
            ),
            (
                &both,
                &[],
                KNOWN,
                Err("no image is published: run \"ramboot publish IMAGE\" on the manager"),
            ),
            (
                &both,
                &["worker"],
                KNOWN,
                Err(
                    "[[worker]] 52:54:00:12:34:56 says image \"gpu\", but published are only worker: publish it or change the config",
                ),
            ),
            (
                boot,
                &["a", "b"],
                OTHER,
                Err(
                    "[boot] says image \"worker\", but published are only a, b: publish it or change the config",
                ),
            ),
            (
                "",
                &["a", "b"],
                OTHER,
                Err(
                    "published are a, b, and nothing says which one to boot: set image in [boot] or [[worker]] of the config, or publish one as \"default\"",
                ),
            ),
        ] {
            let config = Config::parse(config).expect("a config");
            let found = assign(&config, &published(names), &pc(mac))
                .map(|assignment| assignment.image.to_string())
                .map_err(|e| e.to_string());
            assert_eq!(found, want.map(str::to_owned).map_err(str::to_owned));
        }
    }

    #[test]
    fn a_machines_own_words_come_last() {
        let config = Config::parse(
            "[boot]\ncmdline = \"quiet a=1\"\n[[worker]]\nmac = \"52:54:00:12:34:56\"\ncmdline = \"a=2\"",
        )
        .expect("a config");
        let names = published(&["default"]);
        let known = assign(&config, &names, &pc(KNOWN)).expect("assigned");
        assert_eq!(known.cmdline, "quiet a=1 a=2");
        let other = assign(&config, &names, &pc(OTHER)).expect("assigned");
        assert_eq!(other.cmdline, "quiet a=1");
    }

    #[test]
    fn a_long_list_is_cut() {
        let many: Vec<String> = (0..100).map(|i| format!("image-{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let error = assign(&Config::default(), &published(&many), &pc(KNOWN))
            .expect_err("several")
            .to_string();
        assert!(
            error.contains("image-7 and 92 more, and nothing"),
            "{error}"
        );
    }

    #[test]
    fn machines_of_two_kinds_need_no_rule() {
        let pi = Machine {
            serial: Some(0x5b15_4510),
            arch: Some(Arch::Aarch64),
            ..Machine::default()
        };
        let rule = "[boot]\nimage = \"worker\"\n[[worker]]\nserial = \"5b154510\"\nimage = \"pi-two\"\nhostname = \"pi\"";
        for (config, names, asker, want) in [
            ("", &["pi", "worker"][..], &pi, Ok("pi")),
            ("", &["pi", "worker"], &pc(OTHER), Ok("worker")),
            ("", &["default", "pi"], &pi, Ok("pi")),
            (
                "",
                &["worker"],
                &pi,
                Err("no image for aarch64 is published, only worker: publish one"),
            ),
            (
                "",
                &["pi", "pi-two", "worker"],
                &pi,
                Err(
                    "published are pi, pi-two, and nothing says which one to boot: set image in [boot] or [[worker]] of the config, or publish one as \"default\"",
                ),
            ),
            (rule, &["pi", "pi-two", "worker"], &pi, Ok("pi-two")),
            (
                "[boot]\nimage = \"worker\"",
                &["pi", "worker"],
                &pi,
                Err(
                    "[boot] says image \"worker\", which is for x86_64, but the machine is aarch64: name another image in a [[worker]] rule with arch = \"aarch64\"",
                ),
            ),
            (
                "",
                &["pi", "worker"],
                &Machine::default(),
                Err(
                    "published are pi, worker, and nothing says which one to boot: set image in [boot] or [[worker]] of the config, or publish one as \"default\"",
                ),
            ),
        ] {
            let config = Config::parse(config).expect("a config");
            let found = assign(&config, &published(names), asker)
                .map(|assignment| assignment.image.to_string());
            assert_eq!(
                found.map_err(|e| e.to_string()),
                want.map(str::to_owned).map_err(str::to_owned)
            );
        }
    }
}
