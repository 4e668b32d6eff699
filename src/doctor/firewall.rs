//! Whether netfilter's rules let machines' packets in: `nft --json list ruleset` in, findings out. Pure.
//!
//! Each packet a machine sends is walked through the chains that see what comes in. A match nobody here can judge (a set by
//! name, a rate, an iptables extension) may be true or not, so the answer can be "perhaps", and says so. What is in the JSON
//! is not trusted: its depth is bounded, and what has another form is a match that cannot be judged.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use super::finding::{Finding, Topic};

/// Jumps within jumps; the kernel has 16 (NFT_JUMP_STACK_SIZE).
const MAX_JUMPS: usize = 16;
/// Rules that are looked at for one packet: chains that call each other many times over end here.
const MAX_RULES: usize = 100_000;

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

/// The one key of an object.
fn first(expression: &Value) -> Option<(&str, &Value)> {
    let (key, value) = expression.as_object()?.iter().next()?;
    Some((key, value))
}

/// A three-valued truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    Yes,
    No,
    Unknown,
}

/// How a chain was left.
enum End {
    Fate(Fate),
    /// Back to the caller, or to the policy.
    Return,
    /// That, or on with the next rule.
    PerhapsReturn,
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
        let mut walk = Walk {
            ruleset: self,
            probe,
            interface,
            left: MAX_RULES,
        };
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

struct Walk<'a> {
    ruleset: &'a Ruleset,
    probe: Probe,
    interface: &'a str,
    left: usize,
}

impl Walk<'_> {
    fn base(&mut self, chain: &Chain) -> Fate {
        let mut perhaps = None;
        let end = self.chain(chain, &chain.name, 0, &mut perhaps);
        let fate = match end {
            End::Fate(fate) => fate,
            End::Return if chain.policy == "drop" => Fate::Dropped(format!(
                "chain {} has policy drop and no rule that accepts it",
                place(chain, &chain.name)
            )),
            End::Return | End::PerhapsReturn => Fate::Accepted,
        };
        // A drop that cannot be judged counts only if the packet would get through without it, and the other way round.
        match (fate, perhaps) {
            (Fate::Accepted, Some(Fate::Dropped(place))) => Fate::Perhaps(place),
            (Fate::Dropped(place), Some(Fate::Accepted)) => Fate::Perhaps(place),
            (fate, _) => fate,
        }
    }

    /// `perhaps` is what a rule that may match would make of it; the first that differs from the rest counts.
    fn chain(&mut self, base: &Chain, name: &str, depth: usize, perhaps: &mut Option<Fate>) -> End {
        let place_of = (base.family.clone(), base.table.clone(), name.to_owned());
        let ruleset = self.ruleset;
        let rules = ruleset.rules.get(&place_of).map_or(&[][..], Vec::as_slice);
        let mut left_perhaps = false;
        for rule in rules {
            let Some(left) = self.left.checked_sub(1) else {
                return End::Fate(Fate::Perhaps(
                    "there are too many rules to look at".to_owned(),
                ));
            };
            self.left = left;
            match self.rule(base, rule, depth, perhaps) {
                None => {}
                Some(End::PerhapsReturn) => left_perhaps = true,
                Some(End::Fate(fate)) if left_perhaps => {
                    perhaps.get_or_insert(fate);
                    return End::Return;
                }
                Some(end) => return end,
            }
        }
        End::Return
    }

    fn rule(
        &mut self,
        base: &Chain,
        rule: &Rule,
        depth: usize,
        perhaps: &mut Option<Fate>,
    ) -> Option<End> {
        let mut truth = Truth::Yes;
        for expression in &rule.expr {
            let Some((key, value)) = first(expression) else {
                truth = truth.and(Truth::Unknown);
                continue;
            };
            match key {
                "match" => truth = truth.and(self.matches(value)),
                "vmap" => {
                    // A verdict for each value: {"key": …, "data": {"set": [[value, verdict], …]}}
                    let pairs = value.get("data").and_then(|data| data.get("set"));
                    let pairs = pairs
                        .and_then(Value::as_array)
                        .map_or(&[][..], Vec::as_slice);
                    let of = value.get("key").unwrap_or(&Value::Null);
                    for pair in pairs {
                        let (Some(is), Some(verdict)) = (pair.get(0), pair.get(1)) else {
                            continue;
                        };
                        let truth = truth.and(self.is_one_of(of, is));
                        let verdict = first(verdict).map(|verdict| (verdict, truth));
                        let end = verdict.map(|(verdict, truth)| {
                            self.verdict((base, rule, verdict), truth, depth, perhaps)
                        });
                        if let Some(Some(end)) = end {
                            return Some(end);
                        }
                    }
                }
                "accept" | "drop" | "reject" | "return" | "jump" | "goto" => {
                    let end = self.verdict((base, rule, (key, value)), truth, depth, perhaps);
                    if end.is_some() {
                        return end;
                    }
                }
                // They change nothing of where a packet goes.
                "counter" | "log" | "comment" | "notrack" | "mangle" | "ct helper" => {}
                _ => truth = truth.and(Truth::Unknown),
            }
            if truth == Truth::No {
                return None;
            }
        }
        None
    }

    /// A verdict that is reached with this truth.
    fn verdict(
        &mut self,
        (base, rule, (key, value)): (&Chain, &Rule, (&str, &Value)),
        truth: Truth,
        depth: usize,
        perhaps: &mut Option<Fate>,
    ) -> Option<End> {
        let end = match (truth, key) {
            (Truth::No, _) => return None,
            (_, "accept") => End::Fate(Fate::Accepted),
            (_, "drop" | "reject") => {
                let place = place(base, &rule.chain);
                End::Fate(Fate::Dropped(format!("a rule of chain {place} {key}s it")))
            }
            (_, "return") => End::Return,
            _ if depth >= MAX_JUMPS => {
                let text = "its chains jump in a circle".to_owned();
                return Some(End::Fate(Fate::Perhaps(text)));
            }
            _ => {
                let target = value.get("target").and_then(Value::as_str);
                let mut inner = None;
                let end = self.chain(base, target.unwrap_or_default(), depth + 1, &mut inner);
                if let Some(inner) = inner {
                    perhaps.get_or_insert(inner);
                }
                match end {
                    End::Return if key == "jump" => return None,
                    end => end,
                }
            }
        };
        match (end, truth) {
            (end, Truth::Yes) => Some(end),
            (End::Fate(fate), _) => {
                perhaps.get_or_insert(fate);
                None
            }
            (End::Return | End::PerhapsReturn, _) => Some(End::PerhapsReturn),
        }
    }

    /// `{"op": "==", "left": …, "right": …}`
    fn matches(&self, value: &Value) -> Truth {
        let (Some(left), Some(right)) = (value.get("left"), value.get("right")) else {
            return Truth::Unknown;
        };
        let truth = self.is_one_of(left, right);
        match value.get("op").and_then(Value::as_str) {
            Some("==" | "in") | None => truth,
            Some("!=") => truth.not(),
            _ => Truth::Unknown,
        }
    }

    fn is_one_of(&self, left: &Value, right: &Value) -> Truth {
        let field = |kind: &str, name: &str| {
            left.get(kind)
                .and_then(|it| it.get(name))
                .and_then(Value::as_str)
        };
        let protocol = if self.probe.udp { "udp" } else { "tcp" };
        let number = if self.probe.udp { 17 } else { 6 };
        if let Some(key) = field("meta", "key") {
            return match key {
                "iifname" => named(right, self.interface),
                "l4proto" => named(right, protocol).or(numbered(right, number)),
                "nfproto" => named(right, "ipv4"),
                "protocol" => named(right, "ip"),
                _ => Truth::Unknown,
            };
        }
        if let Some(key) = field("ct", "key") {
            let state = if self.probe.established {
                "established"
            } else {
                "new"
            };
            return match key {
                "state" => named(right, state),
                // Nobody translates addresses of packets between neighbours.
                "status" => named(right, "confirmed"),
                _ => Truth::Unknown,
            };
        }
        if left
            .get("fib")
            .and_then(|fib| fib.get("result"))
            .and_then(Value::as_str)
            == Some("type")
        {
            // Of the destination, in all rulesets that were seen. DHCP is broadcast.
            let kind = if self.probe.port == 67 {
                "broadcast"
            } else {
                "local"
            };
            return named(right, kind);
        }
        match (field("payload", "protocol"), field("payload", "field")) {
            (Some("udp" | "tcp"), _) if field("payload", "protocol") != Some(protocol) => Truth::No,
            (Some("udp" | "tcp" | "th"), Some("dport")) => numbered(right, self.probe.port.into()),
            (Some("ip"), Some("protocol")) => named(right, protocol).or(numbered(right, number)),
            (Some("ip6" | "icmp" | "icmpv6" | "arp" | "sctp" | "igmp"), _) => Truth::No,
            _ => Truth::Unknown,
        }
    }
}

impl Truth {
    const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Unknown,
        }
    }

    const fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::No, Self::No) => Self::No,
            _ => Self::Unknown,
        }
    }

    const fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
        }
    }
}

/// Whether a name is the value, or in it: "lo", ["lo", "eth0"], {"set": […]}, "eth*", "@set".
fn named(value: &Value, name: &str) -> Truth {
    let one = |value: &Value| match value {
        Value::String(text) if text.starts_with('@') => Truth::Unknown,
        Value::String(text) => match text.strip_suffix('*') {
            Some(head) if name.starts_with(head) => Truth::Yes,
            _ if text == name => Truth::Yes,
            _ => Truth::No,
        },
        Value::Number(_) => Truth::No,
        _ => Truth::Unknown,
    };
    any(value, one)
}

/// Whether a number is the value, or in it: 67, {"set": [67, {"range": [69, 80]}]}, {"range": […]}, "@set".
fn numbered(value: &Value, number: u64) -> Truth {
    let one = |value: &Value| {
        if let Some(range) = value.get("range").and_then(Value::as_array) {
            let end = |at: usize| range.get(at).and_then(Value::as_u64);
            return match (end(0), end(1)) {
                (Some(first), Some(last)) if (first..=last).contains(&number) => Truth::Yes,
                (Some(_), Some(_)) => Truth::No,
                _ => Truth::Unknown,
            };
        }
        match value {
            Value::Number(n) if n.as_u64() == Some(number) => Truth::Yes,
            Value::Number(_) => Truth::No,
            Value::String(text) if !text.starts_with('@') => Truth::No,
            _ => Truth::Unknown,
        }
    };
    any(value, one)
}

fn any(value: &Value, one: impl Fn(&Value) -> Truth) -> Truth {
    let elements = value
        .as_array()
        .or_else(|| value.get("set").and_then(Value::as_array));
    match elements {
        Some(elements) => elements.iter().map(one).fold(Truth::No, Truth::or),
        None => one(value),
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
