//! Whether netfilter's rules let machines' packets in: `nft --json list ruleset` in, findings out. Pure.
//!
//! Each packet a machine sends is walked through the chains that see what comes in. A match nobody here can judge (a set by
//! name, a rate, an iptables extension) may be true or not, so the answer can be "perhaps", and says so. What is in the JSON
//! is not trusted: its depth is bounded, and what has another form is a match that cannot be judged.

mod truth;
mod walk;

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use self::walk::Walk;
use super::finding::{Finding, Topic};

/// All chains and their rules.
#[derive(Debug, Default)]
pub(super) struct Ruleset {
    chains: Vec<Chain>,
    rules: HashMap<Place, Vec<Rule>>,
}

/// Family, table, chain.
type Place = (String, String, String);

#[derive(Debug, Deserialize)]
struct Listing {
    nftables: Vec<Value>,
}

#[derive(Debug, Clone, Deserialize)]
struct Chain {
    family: String,
    table: String,
    name: String,
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    hook: String,
    #[serde(default)]
    prio: i64,
    #[serde(default)]
    policy: String,
}

#[derive(Debug, Deserialize)]
struct Rule {
    family: String,
    table: String,
    chain: String,
    #[serde(default)]
    expr: Vec<Value>,
}

/// A packet of a machine to the manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe {
    /// For the sentence.
    pub(super) what: &'static str,
    /// Or TCP.
    pub(super) udp: bool,
    /// Where it goes to.
    pub(super) port: u16,
    /// It answers one of ours: connection tracking knows it.
    pub(super) established: bool,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Accepted,
    /// Where, in words.
    Dropped(String),
    /// May be dropped there.
    Perhaps(String),
}

impl Ruleset {
    /// Reads nft's JSON.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn parse(json: &str) -> Result<Self, serde_json::Error> {
        let listing: Listing = serde_json::from_str(json)?;
        let mut ruleset = Self::default();
        for mut object in listing.nftables {
            if let Some(chain) = object.get_mut("chain") {
                ruleset
                    .chains
                    .extend(serde_json::from_value::<Chain>(chain.take()));
            } else if let Some(rule) = object.get_mut("rule")
                && let Ok(rule) = serde_json::from_value::<Rule>(rule.take())
            {
                let place = (rule.family.clone(), rule.table.clone(), rule.chain.clone());
                ruleset.rules.entry(place).or_default().push(rule);
            }
        }
        ruleset.chains.sort_by_key(|chain| chain.prio);
        Ok(ruleset)
    }

    /// Chains that see packets for this machine, in their order.
    fn entries(&self) -> impl Iterator<Item = &Chain> {
        self.chains.iter().filter(|chain| {
            chain.r#type == "filter"
                && matches!(chain.hook.as_str(), "prerouting" | "input")
                && matches!(chain.family.as_str(), "ip" | "inet")
        })
    }

    fn fate(&self, probe: Probe, interface: &str) -> Fate {
        let mut walk = Walk::new(self, probe, interface);
        let mut perhaps = None;
        for chain in self.entries() {
            match walk.base(chain) {
                Fate::Accepted => {}
                Fate::Perhaps(place) => perhaps = perhaps.or(Some(place)),
                dropped => return perhaps.map_or(dropped, Fate::Perhaps),
            }
        }
        perhaps.map_or(Fate::Accepted, Fate::Perhaps)
    }
}

fn place(base: &Chain, name: &str) -> String {
    format!("{} {} {name}", base.family, base.table)
}

/// What the rules make of each packet that machines send.
#[must_use]
pub(super) fn findings(ruleset: &Ruleset, probes: &[Probe], interface: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for probe in probes {
        let proto = if probe.udp { "UDP" } else { "TCP" };
        let (what, port) = (probe.what, probe.port);
        match ruleset.fate(*probe, interface) {
            Fate::Accepted => {}
            Fate::Dropped(why) => findings.push(Finding::bad(
                Topic::Firewall,
                "nft",
                format!("{proto} {port} ({what}) is kept away: {why}"),
                remedy(ruleset, probe, interface, &why),
            )),
            Fate::Perhaps(why) => findings.push(Finding::warning(
                Topic::Firewall,
                "nft",
                format!("{proto} {port} ({what}) may be kept away: {why}; some of its rules cannot be judged from here"),
                remedy(ruleset, probe, interface, &why),
            )),
        }
    }
    if findings.is_empty() {
        let chains = ruleset.entries().count();
        findings.push(Finding::good(
            Topic::Firewall,
            "nft",
            match chains {
                0 => "nftables has no chain that looks at what comes in".to_owned(),
                1 => "the one chain of nftables that looks at what comes in lets machines' packets through".to_owned(),
                n => format!("the {n} chains of nftables that look at what comes in let machines' packets through"),
            },
        ));
    }
    findings
}

/// In the words of whatever made the rules.
fn remedy(ruleset: &Ruleset, probe: &Probe, interface: &str, why: &str) -> String {
    let proto = if probe.udp { "udp" } else { "tcp" };
    let port = probe.port;
    if why.contains(" firewalld ") {
        return format!(
            "firewall-cmd --permanent --zone=$(firewall-cmd --get-zone-of-interface={interface}) --add-port={port}/{proto} && firewall-cmd --reload"
        );
    }
    if ruleset
        .chains
        .iter()
        .any(|chain| chain.name.starts_with("ufw-"))
    {
        return format!("ufw allow in on {interface} proto {proto} to any port {port}");
    }
    let base = ruleset
        .entries()
        .find(|chain| why.contains(&place(chain, &chain.name)));
    let base = base.or_else(|| ruleset.entries().find(|chain| chain.hook == "input"));
    let chain = base.map_or_else(
        || "inet filter input".to_owned(),
        |chain| place(chain, &chain.name),
    );
    format!(
        "nft insert rule {chain} iifname \"{interface}\" {proto} dport {port} accept (and the same where the rules are kept)"
    )
}

#[cfg(test)]
mod tests;
