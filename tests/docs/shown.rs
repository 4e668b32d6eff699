//! Whether words of the manual are those that programs say. `…` in them is whatever varies: within a line some text, alone in
//! a line any number of lines. Spaces are counted once.

use std::fs;

use crate::page::{Page, Step};
use crate::project;

/// Whether all of `output` is what `want` shows.
pub(crate) fn is(want: &str, output: &str) -> bool {
    let tidy = |text: &str| -> Vec<String> {
        let lines = text.trim().lines();
        lines
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    };
    lines(&tidy(want), &tidy(output))
}

fn lines(want: &[String], output: &[String]) -> bool {
    match want {
        [] => output.is_empty(),
        [gap, rest @ ..] if gap == "…" => (0..=output.len()).any(|n| lines(rest, &output[n..])),
        [first, rest @ ..] => output
            .split_first()
            .is_some_and(|(line, others)| within(first, line) && lines(rest, others)),
    }
}

fn within(want: &str, line: &str) -> bool {
    match want.split_once('…') {
        None => want == line,
        Some((head, tail)) => line.strip_prefix(head).is_some_and(|rest| {
            let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.any(|at| within(tail, &rest[at..]))
        }),
    }
}

/// What is the same each time.
pub(crate) fn fragments(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.lines().flat_map(|line| line.split('…'));
    parts.map(str::trim).filter(|part| !part.is_empty())
}

/// Quotations that their source does not have.
pub(crate) fn misquoted(page: &Page) -> Vec<String> {
    let mut faults = Vec::new();
    for step in &page.steps {
        let Step::Said { line, file, text } = step else {
            continue;
        };
        let source = plain(&source(file));
        for part in fragments(text) {
            if !source.contains(part) {
                faults.push(format!(
                    "docs/{}:{line}: {file} does not say {part:?}",
                    page.name
                ));
            }
        }
    }
    faults
}

/// A file, or all files of a folder.
fn source(path: &str) -> String {
    let mut text = String::new();
    let mut paths = vec![project(path)];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder");
            paths.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else {
            let one = fs::read_to_string(&path);
            text += &one.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
    text
}

/// A source's strings as they are printed: what ends with a backslash goes on in the next line.
fn plain(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((head, tail)) = rest.split_once("\\\n") {
        text.push_str(head);
        rest = tail.trim_start();
    }
    text.push_str(rest);
    text.replace("\\\"", "\"")
}

#[test]
fn dots_stand_for_what_varies() {
    for (want, output, same) in [
        ("a", "a\n", true),
        ("a", "b", false),
        ("a  b", "a b", true),
        ("a…c", "a b c", true),
        ("a…", "a", true),
        ("a…c", "a b", false),
        ("a\n…\nd", "a\nb\nc\nd", true),
        ("a\n…\nd", "a\nd", true),
        ("…\nd", "a\nd\ne", false),
        ("a", "a\nb", false),
        ("", "", true),
    ] {
        assert_eq!(is(want, output), same, "{want:?} of {output:?}");
    }
    assert_eq!(plain("\"one \\\n    two \\\"x\\\"\""), "\"one two \"x\"\"");
}
