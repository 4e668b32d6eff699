//! The manual: every command in docs/ is run, in a network and a root folder of its own, and what is quoted is what programs say.
//!
//! A block of commands says in a comment before it how it is tested; one that does not say so fails. What can be run in no
//! test stands in a short list with its reason. Links lead somewhere, verbs, flags and config keys exist.
#![allow(
    clippy::disallowed_methods,
    reason = "tests start programs and wait for them"
)]

#[path = "docs/page.rs"]
mod page;
#[path = "docs/sandbox.rs"]
mod sandbox;
#[path = "docs/shown.rs"]
mod shown;
#[path = "small_image/mod.rs"]
mod small_image;
#[path = "docs/words.rs"]
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use page::{Mark, Page, Step};

/// Why a command is run in no test.
const NOT_RUN: [(&str, &str); 2] = [
    (
        "on another machine",
        "it is another machine of the network that types it",
    ),
    (
        "until somebody ends it",
        "it shows packets of machines that are not there",
    ),
];

/// Pages whose commands a case of tests/vm takes from them, all of them. A command of another page that needs a whole machine
/// is one that stands there, too.
const IN_A_VM: [(&str, &str); 1] = [("quick-start-office.md", "deb_to_first_boot")];

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// All pages of docs/.
fn pages() -> Vec<Page> {
    let mut names: Vec<String> = fs::read_dir(project("docs"))
        .expect("docs/")
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.into_string().expect("a plain name"))
        .filter(|name| name.ends_with(".md"))
        .collect();
    names.sort();
    let read = |name: String| {
        let text = fs::read_to_string(project("docs").join(&name)).expect("text");
        let vm = IN_A_VM.iter().find(|(page, _)| *page == name);
        let usual = vm.map(|(_, case)| Mark::Vm((*case).to_owned()));
        Page::parse(&name, &text, usual.as_ref()).unwrap_or_else(|error| panic!("{error}"))
    };
    names.into_iter().map(read).collect()
}

#[test]
fn every_command_of_the_manual_is_run() {
    let pages = pages();
    let in_a_vm = words::in_a_vm(&pages, IN_A_VM.map(|(page, _)| page));
    let (mut here, mut elsewhere, mut nowhere) = (0, 0, 0);
    for step in pages.iter().flat_map(|page| &page.steps) {
        let Step::Commands { mark, lines, .. } = step else {
            continue;
        };
        match mark {
            Mark::Run { .. } => here += lines.len(),
            Mark::Vm(case) => {
                words::in_tests("vm", case).unwrap_or_else(|error| panic!("{error}"));
                let not = lines.iter().find(|line| !in_a_vm(line));
                assert!(not.is_none(), "{IN_A_VM:?} has no {not:?}");
                elsewhere += lines.len();
            }
            Mark::Elsewhere { file, test } => {
                words::in_tests(file, test).unwrap_or_else(|error| panic!("{error}"));
                elsewhere += lines.len();
            }
            Mark::Not(reason) => {
                assert!(
                    NOT_RUN.iter().any(|(known, _)| known == reason),
                    "{reason:?} is no reason; these are: {NOT_RUN:?}"
                );
                nowhere += lines.len();
            }
        }
    }
    let faults: Vec<String> = std::thread::scope(|scope| {
        let runs = |page| scope.spawn(move || sandbox::run(page));
        let runs: Vec<_> = pages.iter().map(runs).collect();
        let ends = runs.into_iter().map(|run| run.join().expect("no panic"));
        ends.filter_map(Result::err).collect()
    });
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
    println!(
        "docs: {here} commands run here, {elsewhere} in other tests, {nowhere} in none: {NOT_RUN:?}"
    );
    assert!(here > 10 * nowhere, "too little of the manual is tested");
}

#[test]
fn what_goes_wrong_is_named() {
    for (text, want) in [
        (
            "<!-- test: run -->\n```sh\necho x\nfalse\n```\n",
            "docs/x.md:2: false: exit code 1 instead of 0\nx\n",
        ),
        (
            "<!-- test: run, exit 1 -->\n```sh\nramboot images\n```\n",
            "docs/x.md:2: ramboot images: exit code 0 instead of 1",
        ),
        (
            "<!-- test: run -->\n```sh\necho x\n```\n\n<!-- shows -->\n```text\ny\n```\n",
            "docs/x.md:7: shown is\ny\n\nand printed was\nx\n",
        ),
        (
            "<!-- test: run -->\n```sh\nramboot serve --interface eth1\n```\n",
            "no manager",
        ),
        (
            "<!-- test: run -->\n```sh\nsudo systemctl start ramboot\n```\n\n<!-- shows: log -->\n```text\nserving on eth1\n```\n",
            "docs/x.md:7: the manager does not log: serving on eth1",
        ),
    ] {
        let page = Page::parse("x.md", text, None).expect("a page");
        let error = sandbox::run(&page).expect_err(text);
        assert!(error.contains(want), "{text}\n{error}");
    }
}

#[test]
fn what_is_quoted_is_what_the_source_says() {
    let faults: Vec<String> = pages().iter().flat_map(shown::misquoted).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn configs_in_the_manual_are_configs() {
    for page in pages() {
        for (line, text) in &page.configs {
            ramboot::config::Config::parse(text)
                .unwrap_or_else(|error| panic!("docs/{}:{line}: {error}", page.name));
        }
    }
}

#[test]
fn verbs_flags_and_keys_exist() {
    let faults: Vec<String> = words::pages().iter().flat_map(words::unknown).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn links_lead_somewhere() {
    let faults: Vec<String> = words::pages().iter().flat_map(words::dead_links).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Two lists would come to disagree.
#[test]
fn limits_are_listed_once() {
    let (list, other) = ("README.md", "ARCHITECTURE.md");
    let read = |name: &str| fs::read_to_string(project(name)).expect("text");
    let (readme, architecture) = (read(list), read(other));
    let headings = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with('#'));
        lines.map(str::to_lowercase).collect()
    };
    let about = |heading: &String| {
        let words = [
            "limit",
            "cannot",
            "not supported",
            "unsupported",
            "known issue",
        ];
        words.iter().any(|word| heading.contains(word))
    };
    let mut of_readme = headings(&readme);
    of_readme.retain(about);
    assert_eq!(of_readme, ["## limits"], "{list}");
    assert!(
        architecture.contains("[Limits in README.md](README.md#limits)"),
        "{other} leads to the list"
    );
    let own: Vec<String> = headings(&architecture).into_iter().filter(about).collect();
    assert_eq!(own, [""; 0], "{other}");

    // Words of each point, however the lines break.
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, points) = readme.split_once("\n## Limits\n").expect("a heading");
    let points = points.split("\n\n").find(|part| part.contains("- "));
    let points = format!("\n{}", points.expect("a list").trim_start());
    let points: Vec<String> = points.split("\n- ").skip(1).map(words).collect();
    assert!(points.len() > 9, "{points:?}");
    let architecture = words(&architecture);
    for point in points {
        let begin: Vec<&str> = point.split(' ').take(6).collect();
        let begin = begin.join(" ");
        assert!(
            !architecture.contains(&begin),
            "{other} says it, too: {point}"
        );
    }
}
