use proptest::prelude::{any as arbitrary, prop, proptest};

use super::*;
use crate::verbs::doctor::finding::Verdict;

const PROBES: [Probe; 5] = [
    udp("DHCP", 67),
    udp("the boot server of PXE", 4011),
    udp("TFTP", 69),
    Probe {
        established: true,
        ..udp("TFTP's transfers", 49_152)
    },
    Probe {
        udp: false,
        ..udp("HTTP", 8067)
    },
];

const fn udp(what: &'static str, port: u16) -> Probe {
    Probe {
        what,
        udp: true,
        port,
        established: false,
    }
}

/// As `nft --json list ruleset` printed it (1.0.6), without handles.
fn recorded(name: &str) -> Ruleset {
    let json = match name {
        "firewalld" => include_str!("firewalld.json"),
        "ufw" => include_str!("ufw.json"),
        "docker" => include_str!("docker.json"),
        "workstation" => include_str!("workstation.json"),
        other => other,
    };
    Ruleset::parse(json).expect("nft's JSON")
}

/// Port and verdict of what is not fine, with the chain that is blamed.
fn trouble(ruleset: &str) -> Vec<(u16, Verdict, String)> {
    let found = findings(&recorded(ruleset), &PROBES, "lan0");
    let wrong = found
        .iter()
        .filter(|finding| finding.verdict > Verdict::Good);
    wrong
        .map(|finding| {
            let sentence = &finding.sentence;
            let port = sentence
                .split(' ')
                .nth(1)
                .and_then(|word| word.parse().ok());
            let (_, chain) = sentence.split_once("chain ").expect("a chain");
            let words: Vec<&str> = chain.split(' ').take(3).collect();
            (port.expect("a port"), finding.verdict, words.join(" "))
        })
        .collect()
}

#[test]
fn recorded_rulesets() {
    let bad = |port, chain: &str| (port, Verdict::Bad, chain.to_owned());
    let perhaps = |port, chain: &str| (port, Verdict::Warning, chain.to_owned());
    assert_eq!(
        trouble("firewalld"),
        [67, 4011, 69].map(|port| bad(port, "inet firewalld filter_INPUT"))
    );
    assert_eq!(
        trouble("ufw"),
        [
            bad(67, "ip filter INPUT"),
            bad(4011, "ip filter INPUT"),
            bad(8067, "ip filter INPUT"),
        ]
    );
    assert_eq!(trouble("docker"), []);
    assert_eq!(trouble("workstation"), [perhaps(69, "inet filter input")]);
    assert_eq!(trouble(r#"{"nftables": []}"#), []);
}

#[test]
fn the_remedy_is_in_the_words_of_who_made_the_rules() {
    let remedy = |name: &str| {
        let found = findings(&recorded(name), &PROBES[..1], "lan0");
        found[0].remedy.clone().unwrap_or_default()
    };
    assert!(remedy("firewalld").starts_with("firewall-cmd --permanent "));
    assert_eq!(
        remedy("ufw"),
        "ufw allow in on lan0 proto udp to any port 67"
    );
    let own = r#"{"nftables":[{"chain":{"family":"inet","table":"t","name":"c","type":"filter","hook":"input","prio":0,"policy":"drop"}}]}"#;
    assert!(
        remedy(own).starts_with("nft insert rule inet t c iifname \"lan0\" udp dport 67 accept")
    );
}

/// One rule in a chain that accepts, or drops, what is left.
fn one_rule(policy: &str, expressions: &str) -> &'static str {
    let json = format!(
        r#"{{"nftables":[{{"chain":{{"family":"ip","table":"t","name":"c","type":"filter","hook":"input","prio":0,"policy":"{policy}"}}}},
        {{"chain":{{"family":"ip","table":"t","name":"other"}}}},
        {{"rule":{{"family":"ip","table":"t","chain":"other","expr":[{{"jump":{{"target":"other"}}}},{{"drop":null}}]}}}},
        {{"rule":{{"family":"ip","table":"t","chain":"c","expr":[{expressions}]}}}}]}}"#
    );
    let ruleset = Ruleset::parse(&json).expect("JSON");
    match ruleset.dropped(PROBES[0], "lan0") {
        None => "accepted",
        Some(dropped) if dropped.certain => "dropped",
        Some(_) => "perhaps",
    }
}

#[test]
fn one_row_per_expression() {
    let is = |left: &str, op: &str, right: &str| {
        format!(r#"{{"match":{{"op":"{op}","left":{left},"right":{right}}}}},{{"drop":null}}"#)
    };
    let meta = |key: &str| format!(r#"{{"meta":{{"key":"{key}"}}}}"#);
    let field = |protocol: &str, name: &str| {
        format!(r#"{{"payload":{{"protocol":"{protocol}","field":"{name}"}}}}"#)
    };
    for (rule, want) in [
        (r#"{"drop":null}"#.to_owned(), "dropped"),
        (r#"{"reject":{"type":"icmp"}}"#.to_owned(), "dropped"),
        (
            r#"{"counter":{"packets":0}},{"drop":null}"#.to_owned(),
            "dropped",
        ),
        (r#"{"xt":null},{"drop":null}"#.to_owned(), "perhaps"),
        (
            r#"{"limit":{"rate":3}},{"drop":null}"#.to_owned(),
            "perhaps",
        ),
        (is(&meta("iifname"), "==", "\"lan0\""), "dropped"),
        (is(&meta("iifname"), "==", "\"eth0\""), "accepted"),
        (is(&meta("iifname"), "!=", "\"eth0\""), "dropped"),
        (is(&meta("iifname"), "==", "\"lan*\""), "dropped"),
        (
            is(&meta("l4proto"), "==", r#"{"set":["tcp","udp"]}"#),
            "dropped",
        ),
        (is(&meta("l4proto"), "==", "\"tcp\""), "accepted"),
        (is(&meta("mark"), "==", "7"), "perhaps"),
        (is(&field("udp", "dport"), "==", "67"), "dropped"),
        (
            is(&field("th", "dport"), "==", r#"{"range":[60,70]}"#),
            "dropped",
        ),
        (
            is(
                &field("udp", "dport"),
                "==",
                r#"{"set":[1,{"range":[80,90]}]}"#,
            ),
            "accepted",
        ),
        (is(&field("udp", "dport"), "==", "\"@ports\""), "perhaps"),
        (is(&field("tcp", "dport"), "==", "67"), "accepted"),
        (is(&field("ip", "saddr"), "==", "\"10.0.0.1\""), "perhaps"),
        (is(&field("ip", "protocol"), "==", "\"udp\""), "dropped"),
        (
            is(r#"{"ct":{"key":"state"}}"#, "in", r#"["invalid"]"#),
            "accepted",
        ),
        (
            is(r#"{"ct":{"key":"state"}}"#, "in", r#"["new","untracked"]"#),
            "dropped",
        ),
        (is("7", "==", "7"), "perhaps"),
        (r#"{"match":7},{"drop":null}"#.to_owned(), "perhaps"),
        (r#"7,{"drop":null}"#.to_owned(), "perhaps"),
        (r#"{"return":null}"#.to_owned(), "accepted"),
        (
            is(
                r#"{"fib":{"result":"type","flags":["daddr"]}}"#,
                "==",
                "\"broadcast\"",
            ),
            "dropped",
        ),
        (
            is(
                r#"{"fib":{"result":"oif","flags":["daddr"]}}"#,
                "==",
                "\"lan0\"",
            ),
            "perhaps",
        ),
        (
            r#"{"xt":null},{"return":null},{"drop":null}"#.to_owned(),
            "perhaps",
        ),
        (r#"{"jump":{"target":"absent"}}"#.to_owned(), "accepted"),
        (r#"{"jump":{"target":"other"}}"#.to_owned(), "dropped"),
    ] {
        assert_eq!(one_rule("accept", &rule), want, "{rule}");
    }
    assert_eq!(one_rule("drop", ""), "dropped");
    assert_eq!(one_rule("drop", r#"{"accept":null}"#), "accepted");
    for may_accept in [
        r#"{"xt":null},{"accept":null}"#,
        // Accepted or not, the rest of a chain that may have been left is no answer.
        r#"{"xt":null},{"return":null}]}},{"rule":{"family":"ip","table":"t","chain":"c","expr":[{"accept":null}"#,
    ] {
        assert_eq!(one_rule("drop", may_accept), "perhaps", "{may_accept}");
    }
}

#[test]
fn chains_are_followed() {
    let rule = |chain: &str, expressions: &str| {
        format!(
            r#"{{"rule":{{"family":"ip","table":"t","chain":"{chain}","expr":[{expressions}]}}}}"#
        )
    };
    let follow = |rules: &[String]| {
        one_rule(
            "drop",
            &format!(
                r#"{{"jump":{{"target":"one"}}}}]}}}},{},{{"rule":{{"family":"ip","table":"t","chain":"c","expr":["#,
                rules.join(",")
            ),
        )
    };
    let accept = r#"{"accept":null}"#;
    // Back from a chain, on with the caller's next rule.
    assert_eq!(
        follow(&[
            rule("one", r#"{"return":null}"#),
            rule("one", r#"{"drop":null}"#),
            rule("c", accept)
        ]),
        "accepted"
    );
    // Gone to a chain, back to the caller's caller.
    assert_eq!(
        follow(&[
            rule("one", r#"{"goto":{"target":"two"}}"#),
            rule("one", accept)
        ]),
        "dropped"
    );
    // What may be jumped to may accept; if it is jumped to for certain later, it does.
    let maybe = r#"{"xt":null},{"jump":{"target":"two"}}"#;
    let certain = r#"{"jump":{"target":"two"}}"#;
    assert_eq!(
        follow(&[rule("one", maybe), rule("two", accept)]),
        "perhaps"
    );
    assert_eq!(
        follow(&[
            rule("one", maybe),
            rule("one", certain),
            rule("two", accept)
        ]),
        "accepted"
    );
    // One verdict for each value.
    let vmap = r#"{"vmap":{"key":{"ct":{"key":"state"}},"data":{"set":[["invalid",{"drop":null}],["new",{"jump":{"target":"two"}}]]}}}"#;
    assert_eq!(
        follow(&[rule("one", vmap), rule("two", accept)]),
        "accepted"
    );
    // A circle ends.
    assert_eq!(
        follow(&[
            rule("one", certain),
            rule("two", r#"{"jump":{"target":"one"}}"#)
        ]),
        "dropped"
    );
}

proptest! {
    #[test]
    fn any_text_is_survived(text in "[\\[\\]{}\":a-z0-9, ]{0,200}") {
        let _ = Ruleset::parse(&text);
    }

    /// A recorded ruleset in which something was replaced by something else.
    #[test]
    fn changed_rulesets_are_survived(at in arbitrary::<prop::sample::Index>(), with in "[a-z0-9\"{}\\[\\]]{1,3}") {
        let json = include_str!("ufw.json");
        let at = at.index(json.len());
        let text = format!("{}{with}{}", &json[..at], json.get(at + with.len()..).unwrap_or_default());
        if let Ok(ruleset) = Ruleset::parse(&text) {
            let _ = findings(&ruleset, &PROBES, "lan0");
        }
    }
}
