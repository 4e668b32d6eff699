use std::collections::{BTreeMap, BTreeSet};

use ramboot::config::Config;

use super::*;
use crate::sample::{Need, Section};

fn sections() -> Vec<Section> {
    sample::parse(SAMPLE).expect("the sample is a sample")
}

/// Names of what a table takes, as the refusal of a key that nobody knows lists them.
fn known(head: &str) -> BTreeSet<String> {
    let text = format!("{head}\nnobody_knows_this = 1\n");
    let error = Config::parse(&text).expect_err("unknown");
    let (_, expected) = error.problem.split_once("expected").expect("a list");
    let words = expected.split('`').skip(1).step_by(2);
    words.map(str::to_owned).collect()
}

#[test]
fn the_reference_in_docs_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let there = fs::read_to_string(path).expect("docs/configuration.md: make manual");
    let made = reference::markdown(&sections(), &Cli::command());
    assert!(there == made, "docs/configuration.md is old: make manual");
}

#[test]
fn every_key_that_the_code_knows_is_in_the_sample_and_explained() {
    let sections = sections();
    let heads: BTreeSet<_> = sections.iter().map(|one| one.name.clone()).collect();
    assert_eq!(heads, known(""));
    for section in &sections {
        let names: BTreeSet<_> = section.keys.iter().map(|key| key.name.clone()).collect();
        assert_eq!(names, known(&section.head()), "{}", section.head());
        for key in &section.keys {
            assert!(!key.text.is_empty(), "{} {}", section.name, key.name);
        }
    }
}

#[test]
fn what_is_called_default_or_required_is_so() {
    let sections = sections();
    let of = |need| {
        let keys = sections.iter().flat_map(|section| {
            let keys = section.keys.iter().filter(move |key| key.need == need);
            keys.map(|key| format!("{} {}", section.name, key.name))
        });
        keys.collect::<BTreeSet<_>>()
    };
    let required = ["network address", "network pool"].map(str::to_owned);
    assert_eq!(of(Need::Required), required.into());
    for name in ["dhcp mode", "dhcp lease", "http port", "identity hostname"] {
        assert!(of(Need::Default).contains(name), "{name}");
    }
    for name in ["dhcp pool", "boot deadline", "worker mac"] {
        assert!(of(Need::Optional).contains(name), "{name}");
    }
}

#[test]
fn every_command_has_a_page_with_all_its_flags() {
    let pages = pages::all(&Cli::command(), &sections(), "2026-01-31").expect("made");
    let pages: BTreeMap<_, _> = pages.into_iter().collect();
    let mut command = Cli::command();
    command.build();
    let mut names = vec!["ramboot.1".to_owned(), "ramboot.toml.5".to_owned()];
    for (_, one) in reference::everything(&command) {
        let name = format!("{}.1", one.get_display_name().expect("built"));
        let page = String::from_utf8_lossy(&pages[&name]).into_owned();
        for arg in one.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let Some(flag) = arg.get_long() else { continue };
            let flag = format!("\\-\\-{}\\fR", flag.replace('-', "\\-"));
            assert!(page.contains(&flag), "{name}: {flag}");
        }
        names.push(name);
    }
    names.sort();
    assert_eq!(pages.into_keys().collect::<Vec<_>>(), names);
}

#[test]
fn a_sample_that_leaves_a_question_is_refused() {
    for (text, want) in [
        ("#a = 1\n", "a key before any table"),
        ("[dhcp]\nmode\n", "line 2 is no key"),
        (
            "[dhcp]\n#lease = 1\n# More.\n\n",
            "line 4: the comment above belongs to no key",
        ),
        (
            "[dhcp]\n#lease = 1.5\n",
            "line 2: lease: nobody told what to call",
        ),
    ] {
        let error = format!("{:#}", sample::parse(text).expect_err(text));
        assert!(error.contains(want), "{text}: {error}");
    }
}

#[test]
fn a_day_is_written_as_man_pages_want_it() {
    assert_eq!(date(None).expect("a date"), "1970-01-01");
    assert_eq!(date(Some("1767225600")).expect("a date"), "2026-01-01");
    date(Some("soon")).expect_err("no number");
}

#[test]
fn the_package_has_one_version_and_one_maintainer() {
    let text = changelog(Some("1767225600")).expect("made");
    let want = format!(
        "ramboot ({}-1) unstable; urgency=medium\n\n  * What changed, the log of the source says.\n\n \
         -- The ramboot authors <ramboot@localhost>  Thu, 01 Jan 2026 00:00:00 +0000\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(text, want);
    let cargo = include_str!("../../Cargo.toml");
    assert!(cargo.contains(&format!("\nmaintainer = \"{MAINTAINER}\"\n")));
}
