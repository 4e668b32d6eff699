//! What a running manager makes of another config: which of it counts at once, which not before a restart, and how that is
//! said.

use std::collections::HashMap;
use std::fmt::Display;

use super::Config;
use super::worker::Worker;

/// A config to go on with, and what is other in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What was wanted, with the running values where a socket would have to be opened or closed.
    pub config: Config,
    /// What counts from now on, each as a few words.
    pub now: Vec<String>,
    /// What was wanted and counts at the next restart, each as a few words.
    pub later: Vec<String>,
}

impl Change {
    /// From the config that runs to the one that is wanted.
    #[must_use]
    pub fn new(running: &Config, wanted: Config) -> Self {
        let mut config = wanted;
        let mut later = Vec::new();
        if config.http_port != running.http_port {
            later.push(told(
                "port of [http]",
                &running.http_port,
                &config.http_port,
            ));
            config.http_port = running.http_port;
        }
        if config.dhcp.mode != running.dhcp.mode {
            // Sockets, and the question whether another server is there. A pool without its mode would be neither of the two.
            let what = "mode of [dhcp] (and all of [dhcp] and [[network]])";
            let (old, new) = (running.dhcp.mode, config.dhcp.mode);
            later.push(told(what, &old.word(), &new.word()));
            config.dhcp = running.dhcp.clone();
            config.networks = running.networks.clone();
        }
        let now = changes(running, &config);
        Self { config, now, later }
    }
}

/// What differs, in the order of the file.
fn changes(old: &Config, new: &Config) -> Vec<String> {
    let values = |config: &Config| {
        let dhcp = &config.dhcp;
        let boot = &config.boot;
        [
            (
                "pool of [dhcp]",
                or_none(
                    dhcp.pool
                        .map(|pool| format!("{}-{}", pool.first, pool.last)),
                ),
            ),
            ("lease of [dhcp]", format!("{} s", dhcp.lease)),
            ("router of [dhcp]", or_none(dhcp.router)),
            ("dns of [dhcp]", list(&dhcp.dns)),
            (
                "image of [boot]",
                boot.image
                    .clone()
                    .unwrap_or_else(|| "what is published".to_owned()),
            ),
            ("cmdline of [boot]", format!("{:?}", boot.cmdline)),
            (
                "overlay of [boot]",
                boot.overlay
                    .map_or_else(|| "the default".to_owned(), |overlay| overlay.to_string()),
            ),
            ("tmpfs of [boot]", list(&boot.tmpfs)),
            (
                "deadline of [boot]",
                or_none(boot.deadline.map(|s| format!("{s} s"))),
            ),
            ("debug of [boot]", boot.debug.to_string()),
            ("pi_prefix of [boot]", format!("{:?}", boot.pi_prefix)),
            ("bases of [boot]", list(&boot.bases)),
            ("overlays of [boot]", list(&boot.overlays)),
            ("mode of [boot]", boot.mode.name().to_owned()),
            ("gate of [boot]", boot.gate.to_string()),
            ("hostname of [identity]", format!("{:?}", config.hostname)),
        ]
    };
    let mut changes: Vec<String> = values(old)
        .into_iter()
        .zip(values(new))
        .filter(|((_, old), (_, new))| old != new)
        .map(|((what, old), (_, new))| told(what, &old, &new))
        .collect();
    if old.networks != new.networks {
        changes.push(told(
            "number of [[network]] tables, or what stands in them,",
            &old.networks.len(),
            &new.networks.len(),
        ));
    }
    changes.extend(rules(&old.workers, &new.workers));
    changes
}

/// "2 rules more, 1 rule fewer, 3 rules changed", as far as there are such.
fn rules(old: &[Worker], new: &[Worker]) -> Option<String> {
    if old == new {
        return None;
    }
    let by_machine = |rules: &'_ [Worker]| -> HashMap<String, Worker> {
        let key = |rule: &Worker| (rule.which.to_string(), rule.clone());
        rules.iter().map(key).collect()
    };
    let (before, after) = (by_machine(old), by_machine(new));
    let more = after.keys().filter(|key| !before.contains_key(*key));
    let fewer = before.keys().filter(|key| !after.contains_key(*key));
    let changed = after
        .iter()
        .filter(|(key, rule)| before.get(*key).is_some_and(|before| before != *rule));
    let counts = [
        (more.count(), "more"),
        (fewer.count(), "fewer"),
        (changed.count(), "changed"),
    ];
    let words: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, how)| {
            format!(
                "{count} {} {how}",
                if count == 1 { "rule" } else { "rules" }
            )
        })
        .collect();
    Some(if words.is_empty() {
        "rules in another order".to_owned()
    } else {
        words.join(", ")
    })
}

fn told(what: &str, old: &impl Display, new: &impl Display) -> String {
    format!("{what} is now {new} (was {old})")
}

fn or_none(value: Option<impl Display>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

fn list(values: &[impl Display]) -> String {
    let words: Vec<String> = values.iter().map(ToString::to_string).collect();
    or_none((!words.is_empty()).then(|| words.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text).expect("a config")
    }

    const RULE: &str = "[[worker]]\nmac = \"52:54:00:12:34:56\"\n";

    #[test]
    fn one_row_per_change() {
        let full = "[dhcp]\nmode = \"full\"\npool = \"10.0.0.5-10.0.0.9\"\n";
        for (old, new, now, later) in [
            ("", "", &[][..], &[][..]),
            (
                "",
                "[boot]\nimage = \"new\"\n",
                &["image of [boot] is now new (was what is published)"],
                &[],
            ),
            (
                "[boot]\ndeadline = 600\n",
                "[boot]\ncmdline = \"quiet\"\n",
                &[
                    "cmdline of [boot] is now \"quiet\" (was \"\")",
                    "deadline of [boot] is now none (was 600 s)",
                ],
                &[],
            ),
            (
                "",
                "[boot]\nmode = \"stream\"\ngate = \"tables\"\n",
                &[
                    "mode of [boot] is now stream (was full)",
                    "gate of [boot] is now tables (was hot)",
                ],
                &[],
            ),
            (
                "",
                &format!("{RULE}image = \"a\"\n[[worker]]\nserial = \"00000001\"\nimage = \"a\""),
                &["2 rules more"],
                &[],
            ),
            (
                &format!("{RULE}image = \"a\""),
                &format!("{RULE}image = \"b\""),
                &["1 rule changed"],
                &[],
            ),
            (
                "",
                "[http]\nport = 80\n",
                &[],
                &["port of [http] is now 80 (was 8067)"],
            ),
            (
                "",
                full,
                &[],
                &["mode of [dhcp] (and all of [dhcp] and [[network]]) is now full (was proxy)"],
            ),
            (
                full,
                &full.replace("0.9", "0.20"),
                &["pool of [dhcp] is now 10.0.0.5-10.0.0.20 (was 10.0.0.5-10.0.0.9)"],
                &[],
            ),
        ] {
            let change = Change::new(&config(old), config(new));
            assert_eq!(
                (&change.now[..], &change.later[..]),
                (
                    &now.iter().map(|s| s.to_string()).collect::<Vec<_>>()[..],
                    &later.iter().map(|s| s.to_string()).collect::<Vec<_>>()[..]
                ),
                "{old} -> {new}"
            );
            // What waits for a restart is as it was.
            assert_eq!(change.config.http_port, 8067);
            assert_eq!(change.config.dhcp.mode, config(old).dhcp.mode);
        }
    }

    #[test]
    fn rules_in_another_order_are_a_change() {
        let other = "[[worker]]\nserial = \"00000001\"\nimage = \"a\"\n";
        let (one, two) = (
            format!("{RULE}image = \"b\"\n{other}"),
            format!("{other}{RULE}image = \"b\"\n"),
        );
        let change = Change::new(&config(&one), config(&two));
        assert_eq!(change.now, ["rules in another order"]);
    }
}
