//! Which machine boots which image: a rule by MAC, else the default, else the only image there is. Pure.
//!
//! Where the answer is not clear, there is none, but a sentence that says what to do: a machine that boots something
//! else than its owner meant is worse than one that waits.

use ramboot_wire::Mac;

use crate::config::Config;

/// The name an image has if `publish` was given none.
pub const DEFAULT_NAME: &str = "default";

/// Names an error lists; the rest is counted.
const MAX_LISTED: usize = 8;

/// What one machine boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Name of the image, one of those that are published.
    pub image: String,
    /// The machine's host name, if a rule gives one.
    pub hostname: Option<String>,
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
        published: Vec<String>,
    },
    /// Several images and nothing that chooses.
    #[error("published are {}, and nothing says which one to boot: set image in [boot] or [[machine]] of the config, or publish one as \"{DEFAULT_NAME}\"", list(.published))]
    Several {
        /// What there is.
        published: Vec<String>,
    },
}

/// Chooses for one machine among the names that are `published`.
///
/// # Errors
/// Nothing fits, or more than one would.
pub fn assign(config: &Config, published: &[String], mac: Mac) -> Result<Assignment, Unassigned> {
    let machine = config.machine(mac);
    let own = machine.and_then(|machine| machine.image.as_ref());
    let image = match (own, &config.boot.image) {
        (Some(image), _) => named(image, &format!("[[machine]] {mac}"), published)?,
        (None, Some(image)) => named(image, "[boot]", published)?,
        (None, None) => unnamed(published)?,
    };
    let own_cmdline = machine.and_then(|machine| machine.cmdline.as_deref());
    let words = [Some(config.boot.cmdline.as_str()), own_cmdline];
    let words: Vec<&str> = words
        .into_iter()
        .flatten()
        .filter(|text| !text.is_empty())
        .collect();
    Ok(Assignment {
        image: image.to_owned(),
        hostname: machine.and_then(|machine| machine.hostname.clone()),
        // The kernel lets the last one win, so a machine's own words come last.
        cmdline: words.join(" "),
    })
}

fn named<'a>(image: &'a str, rule: &str, published: &[String]) -> Result<&'a str, Unassigned> {
    if published.is_empty() {
        Err(Unassigned::NothingPublished)
    } else if published.iter().any(|name| name == image) {
        Ok(image)
    } else {
        Err(Unassigned::NotPublished {
            rule: rule.to_owned(),
            image: image.to_owned(),
            published: published.to_vec(),
        })
    }
}

fn unnamed(published: &[String]) -> Result<&str, Unassigned> {
    match published {
        [] => Err(Unassigned::NothingPublished),
        [only] => Ok(only),
        several => several
            .iter()
            .find(|name| *name == DEFAULT_NAME)
            .map(String::as_str)
            .ok_or_else(|| Unassigned::Several {
                published: several.to_vec(),
            }),
    }
}

fn list(names: &[String]) -> String {
    let mut text = names
        .iter()
        .take(MAX_LISTED)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > MAX_LISTED {
        text.push_str(&format!(" and {} more", names.len() - MAX_LISTED));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    const OTHER: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x57]);

    fn published(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn one_row_per_rule() {
        let rule = "[[machine]]\nmac = \"52:54:00:12:34:56\"\nimage = \"gpu\"";
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
                    "[[machine]] 52:54:00:12:34:56 says image \"gpu\", but published are only worker: publish it or change the config",
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
                    "published are a, b, and nothing says which one to boot: set image in [boot] or [[machine]] of the config, or publish one as \"default\"",
                ),
            ),
        ] {
            let config = Config::parse(config).expect("a config");
            let found = assign(&config, &published(names), mac)
                .map(|assignment| assignment.image)
                .map_err(|e| e.to_string());
            assert_eq!(found, want.map(str::to_owned).map_err(str::to_owned));
        }
    }

    #[test]
    fn a_machines_own_words_come_last() {
        let config = Config::parse(
            "[boot]\ncmdline = \"quiet a=1\"\n[[machine]]\nmac = \"52:54:00:12:34:56\"\nhostname = \"n1\"\ncmdline = \"a=2\"",
        )
        .expect("a config");
        let names = published(&["default"]);
        let known = assign(&config, &names, KNOWN).expect("assigned");
        assert_eq!(known.cmdline, "quiet a=1 a=2");
        assert_eq!(known.hostname.as_deref(), Some("n1"));
        let other = assign(&config, &names, OTHER).expect("assigned");
        assert_eq!(
            (other.cmdline.as_str(), other.hostname),
            ("quiet a=1", None)
        );
    }

    #[test]
    fn a_long_list_is_cut() {
        let many: Vec<String> = (0..100).map(|i| format!("image-{i}")).collect();
        let error = assign(&Config::default(), &many, KNOWN)
            .expect_err("several")
            .to_string();
        assert!(
            error.contains("image-7 and 92 more, and nothing"),
            "{error}"
        );
    }
}
