//! One packet's way through the rules. Pure.

use serde_json::Value;

use super::truth::{Truth, named, numbered};
use super::{Chain, Fate, Probe, Rule, Ruleset, place};

/// Jumps within jumps; the kernel has 16 (NFT_JUMP_STACK_SIZE).
const MAX_JUMPS: usize = 16;
/// Rules that are looked at for one packet: chains that call each other many times over end here.
const MAX_RULES: usize = 100_000;

/// How a chain was left.
enum End {
    Fate(Fate),
    /// Back to the caller, or to the policy.
    Return,
    /// That, or on with the next rule.
    PerhapsReturn,
}

pub(super) struct Walk<'a> {
    ruleset: &'a Ruleset,
    probe: Probe,
    interface: &'a str,
    left: usize,
}

impl<'a> Walk<'a> {
    pub(super) const fn new(ruleset: &'a Ruleset, probe: Probe, interface: &'a str) -> Self {
        Self {
            ruleset,
            probe,
            interface,
            left: MAX_RULES,
        }
    }

    pub(super) fn base(&mut self, chain: &Chain) -> Fate {
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

/// The one key of an object.
fn first(expression: &Value) -> Option<(&str, &Value)> {
    let (key, value) = expression.as_object()?.iter().next()?;
    Some((key, value))
}
