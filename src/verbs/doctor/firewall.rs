//! Whether netfilter's rules let machines' packets in: `nft --json list ruleset` in, findings out. Pure.
//!
//! A packet "is kept away" if a rule that certainly matches drops it, or if nothing accepts it before a drop policy. It "may be
//! kept away" if one of the matches on the way cannot be judged from here: a set by name, a rate, an iptables extension. The
//! JSON is not trusted: an object of an unknown form is ignored, or is a match that cannot be judged.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::Value;

use super::finding::{Finding, Topic};

/// Expressions that have no influence on where a packet goes.
const PASSIVE: [&str; 6] = [
    "comment",
    "counter",
    "ct helper",
    "log",
    "mangle",
    "notrack",
];
const VERDICTS: [&str; 6] = ["accept", "drop", "goto", "jump", "reject", "return"];

/// All chains and their rules.
#[derive(Debug, Default)]
pub(super) struct Ruleset {
    chains: Vec<Chain>,
    /// By family, table and chain.
    rules: HashMap<(String, String, String), Vec<Rule>>,
}

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
    /// What the packet is for, as findings name it.
    pub(super) what: &'static str,
    /// UDP if true, TCP if false.
    pub(super) udp: bool,
    /// Destination port.
    pub(super) port: u16,
    /// Whether connection tracking knows it as an answer to a packet of the manager.
    pub(super) established: bool,
}

/// Where a packet is dropped.
#[derive(Debug)]
struct Dropped {
    /// False if that depends on a match that cannot be judged.
    certain: bool,
    /// The rule or policy, in words.
    why: String,
}

/// A verdict of a rule that matches the packet.
struct Step<'a> {
    /// False if the rule may match, but that cannot be judged.
    certain: bool,
    chain: &'a str,
    /// One of [`VERDICTS`].
    verdict: &'a str,
    /// The chain of a `jump` or `goto`.
    target: &'a str,
}

impl Ruleset {
    /// Reads nft's JSON.
    ///
    /// # Errors
    /// The text is not JSON, or not a list of nftables' objects.
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

    /// The chains that see packets for this machine, in the kernel's order.
    fn entries(&self) -> impl Iterator<Item = &Chain> {
        self.chains.iter().filter(|chain| {
            chain.r#type == "filter"
                && matches!(chain.hook.as_str(), "prerouting" | "input")
                && matches!(chain.family.as_str(), "ip" | "inet")
        })
    }

    /// The first place that certainly drops the packet, or else the first that may.
    fn dropped(&self, probe: Probe, interface: &str) -> Option<Dropped> {
        let drops = self
            .entries()
            .filter_map(|base| self.dropped_by(base, probe, interface));
        drops.min_by_key(|dropped| !dropped.certain)
    }

    /// Follows a packet through a base chain and the chains it jumps to.
    fn dropped_by(&self, base: &Chain, probe: Probe, interface: &str) -> Option<Dropped> {
        let enter = |name: &str| self.steps(base, name, probe, interface).into_iter();
        // Whether an earlier rule may have accepted the packet.
        let mut maybe_accepted = false;
        // A chain that was left without a verdict gives none the second time either, so circles end.
        let mut entered = HashSet::from([(base.name.as_str(), true)]);
        // The steps left in each chain, and whether the packet is certain to get to them.
        let mut stack = vec![(enter(&base.name), true)];
        while let Some((steps, certain)) = stack.last_mut() {
            let Some(step) = steps.next() else {
                stack.pop();
                continue;
            };
            let reached = *certain && step.certain;
            match step.verdict {
                "accept" if reached => return None,
                "accept" => maybe_accepted = true,
                "drop" | "reject" => {
                    let (place, verdict) = (place(base, step.chain), step.verdict);
                    return Some(Dropped {
                        certain: reached && !maybe_accepted,
                        why: format!("a rule of chain {place} {verdict}s it"),
                    });
                }
                leave => {
                    match (leave, step.certain) {
                        ("jump", _) => {}
                        (_, true) => drop(stack.pop()),
                        (_, false) => *certain = false,
                    }
                    if leave != "return" && entered.insert((step.target, reached)) {
                        stack.push((enter(step.target), reached));
                    }
                }
            }
        }
        (base.policy == "drop").then(|| Dropped {
            certain: !maybe_accepted,
            why: format!(
                "chain {} has policy drop and no rule that accepts it",
                place(base, &base.name)
            ),
        })
    }

    /// The verdicts of a chain's rules, without those whose rule does not match.
    fn steps<'a>(
        &'a self,
        base: &Chain,
        name: &str,
        probe: Probe,
        interface: &str,
    ) -> Vec<Step<'a>> {
        let key = (base.family.clone(), base.table.clone(), name.to_owned());
        let mut steps = Vec::new();
        for rule in self.rules.get(&key).into_iter().flatten() {
            let mut step = |verdict: &'a Value, matches: Option<bool>| {
                if let Some((verdict, value)) = only_member(verdict)
                    && VERDICTS.contains(&verdict)
                    && matches != Some(false)
                {
                    steps.push(Step {
                        certain: matches == Some(true),
                        chain: &rule.chain,
                        verdict,
                        target: text(value, "target"),
                    });
                }
            };
            let mut matches = Some(true);
            for expression in &rule.expr {
                match only_member(expression) {
                    Some(("match", value)) => {
                        let is = judge(&value["left"], &value["right"], probe, interface);
                        let is = match text(value, "op") {
                            "==" | "in" | "" => is,
                            "!=" => is.map(|is| !is),
                            _ => None,
                        };
                        matches = and(matches, is);
                    }
                    // A verdict for each value: {"key": …, "data": {"set": [[value, verdict], …]}}
                    Some(("vmap", value)) => {
                        for pair in value["data"]["set"].as_array().into_iter().flatten() {
                            let is = judge(&value["key"], &pair[0], probe, interface);
                            step(&pair[1], and(matches, is));
                        }
                    }
                    Some((verdict, _)) if VERDICTS.contains(&verdict) => step(expression, matches),
                    Some((passive, _)) if PASSIVE.contains(&passive) => {}
                    _ => matches = and(matches, None),
                }
            }
        }
        steps
    }
}

/// Whether what `left` names of the packet is `right`; `None` if that cannot be judged.
fn judge(left: &Value, right: &Value, probe: Probe, interface: &str) -> Option<bool> {
    let (kind, of) = only_member(left)?;
    let (protocol, number) = if probe.udp { ("udp", 17) } else { ("tcp", 6) };
    let (name, number) = match (kind, text(of, "key"), text(of, "protocol")) {
        ("meta", "iifname", _) => (interface, None),
        ("meta", "l4proto", _) => (protocol, Some(number)),
        ("meta", "nfproto", _) => ("ipv4", None),
        ("meta", "protocol", _) => ("ip", None),
        ("ct", "state", _) if probe.established => ("established", None),
        ("ct", "state", _) => ("new", None),
        // Addresses are not translated between neighbours.
        ("ct", "status", _) => ("confirmed", None),
        // The destination's type in all rulesets that were seen; DHCP is broadcast.
        ("fib", ..) if text(of, "result") == "type" && probe.port == 67 => ("broadcast", None),
        ("fib", ..) if text(of, "result") == "type" => ("local", None),
        ("payload", _, "udp" | "tcp") if text(of, "protocol") != protocol => return Some(false),
        ("payload", _, "udp" | "tcp" | "th") if text(of, "field") == "dport" => {
            ("", Some(probe.port.into()))
        }
        ("payload", _, "ip") if text(of, "field") == "protocol" => (protocol, Some(number)),
        ("payload", _, "ip6" | "icmp" | "icmpv6" | "arp" | "sctp" | "igmp") => return Some(false),
        _ => return None,
    };
    is_one_of(right, name, number)
}

/// Whether a name or its number is the value, or in it: 67, "lo", "eth*", {"range": [69, 80]}, [67, 69], {"set": […]}, "@set".
fn is_one_of(value: &Value, name: &str, number: Option<u64>) -> Option<bool> {
    if let Some(values) = value.as_array().or_else(|| value["set"].as_array()) {
        let not = values.iter().map(|value| is_one_of(value, name, number));
        let not = not.map(|is| is.map(|is| !is)).fold(Some(true), and);
        return not.map(|not| !not);
    }
    match value {
        Value::Number(one) => Some(number.is_some() && one.as_u64() == number),
        Value::String(set) if set.starts_with('@') => None,
        Value::String(one) => Some(
            one == name
                || one
                    .strip_suffix('*')
                    .is_some_and(|head| name.starts_with(head)),
        ),
        _ => {
            let (first, last) = (value["range"][0].as_u64()?, value["range"][1].as_u64()?);
            Some((first..=last).contains(&number?))
        }
    }
}

/// Both, where `None` is unknown.
fn and(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (one, other) => one.and(other),
    }
}

/// Name and value of an object's first member; nft's expressions have one.
fn only_member(object: &Value) -> Option<(&str, &Value)> {
    let (name, value) = object.as_object()?.iter().next()?;
    Some((name, value))
}

/// A member that is text, or an empty one.
fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object[name].as_str().unwrap_or_default()
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
        let Some(Dropped { certain, why }) = ruleset.dropped(*probe, interface) else {
            continue;
        };
        let remedy = remedy(ruleset, probe, interface, &why);
        findings.push(if certain {
            let sentence = format!("{proto} {port} ({what}) is kept away: {why}");
            Finding::bad(Topic::Firewall, "nft", sentence, remedy)
        } else {
            let sentence = format!("{proto} {port} ({what}) may be kept away: {why}; some of its rules cannot be judged from here");
            Finding::warning(Topic::Firewall, "nft", sentence, remedy)
        });
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
