//! Verbs, flags, config keys and links of the manual and of README.md: do they exist?

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use ramboot::cli::Cli;

use crate::page::{Page, Step};
use crate::{project, shown};

/// A page, and where it is in the project.
pub(crate) struct Text {
    path: PathBuf,
    text: String,
}

/// README.md and all pages of docs/.
pub(crate) fn pages() -> Vec<Text> {
    let docs = fs::read_dir(project("docs")).expect("docs/");
    let mut paths: Vec<PathBuf> = docs
        .map(|entry| Path::new("docs").join(entry.expect("an entry").file_name()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .chain([PathBuf::from("README.md")])
        .collect();
    paths.sort();
    let read = |path: PathBuf| Text {
        text: fs::read_to_string(project("").join(&path)).expect("text"),
        path,
    };
    paths.into_iter().map(read).collect()
}

/// Whether a test of that name is in tests/`place`: a file, or `vm` with all that is below it.
pub(crate) fn in_tests(place: &str, test: &str) -> Result<(), String> {
    let mut texts = Vec::new();
    let mut paths = vec![project("tests").join(place)];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).map_err(|error| format!("{place}: {error}"))?;
            paths.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else {
            texts.push(fs::read_to_string(&path).map_err(|error| format!("{place}: {error}"))?);
        }
    }
    let there = texts.iter().any(|text| text.contains(test));
    if there {
        Ok(())
    } else {
        Err(format!("tests/{place} has no {test}"))
    }
}

/// Whether a command is one of these pages; where one names more of a file's name, that is the same command.
pub(crate) fn in_a_vm<const N: usize>(
    pages: &[Page],
    names: [&'static str; N],
) -> impl Fn(&str) -> bool {
    let there = pages
        .iter()
        .filter(|page| names.contains(&page.name.as_str()));
    let steps = there.flat_map(|page| &page.steps);
    let commands: Vec<String> = steps
        .filter_map(|step| match step {
            Step::Commands { lines, .. } => Some(lines.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    move |line| {
        let line = line.replace('*', "…");
        commands.iter().any(|command| shown::is(&line, command))
    }
}

/// Commands, flags and config keys that do not exist.
pub(crate) fn unknown(page: &Text) -> Vec<String> {
    let mut root = Cli::command();
    root.build();
    let keys = keys();
    let mut faults = Vec::new();
    for code in codes(&page.text) {
        let told = match code.strip_prefix("ramboot ") {
            Some(_) => command(&root, &code),
            None if code.starts_with("--") => flag(&root, &code),
            None => key(&keys, &code),
        };
        if let Err(error) = told {
            faults.push(format!("{}: {error}", page.path.display()));
        }
    }
    faults
}

/// What stands in code: each command line from `ramboot` on, and each piece between backticks.
fn codes(text: &str) -> Vec<String> {
    let mut codes = Vec::new();
    let mut fence: Option<&str> = None;
    for line in text.lines() {
        if let Some(kind) = line.trim_start().strip_prefix("```") {
            fence = fence.is_none().then_some(kind);
            continue;
        }
        match fence {
            Some("sh") => codes.extend(commands(line)),
            Some(_) => {}
            None if line.starts_with("    ") => codes.extend(commands(line)),
            None => {
                for piece in line.split('`').skip(1).step_by(2) {
                    if piece.contains("ramboot ") {
                        codes.extend(commands(piece));
                    } else {
                        codes.push(piece.to_owned());
                    }
                }
            }
        }
    }
    codes
}

/// The calls of ramboot in a line of a shell.
fn commands(line: &str) -> Vec<String> {
    let line = line.split(" #").next().unwrap_or_default();
    let parts = line.split(['|', ';', '&']);
    let calls = parts.filter_map(|part| {
        let part = part.trim().trim_start_matches("sudo ");
        part.starts_with("ramboot ").then(|| part.to_owned())
    });
    calls.collect()
}

fn command(root: &Command, call: &str) -> Result<(), String> {
    let mut at = root;
    for word in call.split_whitespace().skip(1) {
        if let Some(long) = word.strip_prefix("--") {
            let long = long.split('=').next().unwrap_or_default();
            if !has_flag(at, long) {
                return Err(format!("`{call}`: {} has no --{long}", at.get_name()));
            }
        } else if let Some(next) = at.find_subcommand(word) {
            at = next;
        } else if at.has_subcommands() {
            let placeholder = word.chars().all(|c| c.is_ascii_uppercase());
            if placeholder {
                return Ok(());
            }
            return Err(format!("`{call}`: there is no {word}"));
        }
    }
    Ok(())
}

fn flag(root: &Command, text: &str) -> Result<(), String> {
    let words = text.split_whitespace().next().unwrap_or_default();
    let long = words.trim_start_matches("--");
    let long = long.split('=').next().unwrap_or_default();
    let verbs = root.get_subcommands();
    let all = verbs.flat_map(|verb| verb.get_subcommands().chain([verb]));
    let known = all.chain([root]).any(|verb| has_flag(verb, long));
    known
        .then_some(())
        .ok_or_else(|| format!("no command has `--{long}`"))
}

fn has_flag(command: &Command, long: &str) -> bool {
    long == "help"
        || long == "version"
        || command
            .get_arguments()
            .any(|arg| arg.get_long() == Some(long))
}

/// Tables and keys of packaging/ramboot.toml, which a test of its own holds against the program.
fn keys() -> BTreeMap<String, BTreeSet<String>> {
    let sample = fs::read_to_string(project("packaging/ramboot.toml")).expect("the sample");
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut table = String::new();
    for line in sample.lines() {
        let line = line.trim_start_matches('#');
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']).to_owned();
            keys.entry(table.clone()).or_default();
        } else if let Some((key, _)) = line.split_once(" = ")
            && !key.contains(' ')
        {
            let known = keys.get_mut(&table).expect("a table before its keys");
            known.insert(key.to_owned());
        }
    }
    keys
}

/// `[boot] bases`, `[[worker]]`, `overlays = ["lab"]`.
fn key(keys: &BTreeMap<String, BTreeSet<String>>, code: &str) -> Result<(), String> {
    let word = |c: char| c.is_ascii_lowercase() || c == '_';
    let unknown = || format!("packaging/ramboot.toml does not know `{code}`");
    if let Some(rest) = code.strip_prefix('[') {
        let table = rest.trim_start_matches('[').split(']').next();
        let Some(table) = table.filter(|table| table.chars().all(word)) else {
            return Ok(());
        };
        let known = keys.get(table).ok_or_else(unknown)?;
        let key = rest.rsplit("] ").next().filter(|_| rest.contains("] "));
        let key = key.and_then(|key| key.split(" =").next());
        if key.is_some_and(|key| key.chars().all(word) && !known.contains(key)) {
            return Err(unknown());
        }
        return Ok(());
    }
    match code.split_once(" = ") {
        Some((key, _)) if key.chars().all(word) => keys
            .values()
            .any(|known| known.contains(key))
            .then_some(())
            .ok_or_else(unknown),
        _ => Ok(()),
    }
}

/// Links to files or headings that are not there.
pub(crate) fn dead_links(page: &Text) -> Vec<String> {
    let folder = page.path.parent().unwrap_or_else(|| Path::new(""));
    let mut faults = Vec::new();
    for (at, _) in page.text.match_indices("](") {
        let rest = &page.text[at + 2..];
        let link = rest.split([')', '\n']).next().unwrap_or_default();
        if link.contains("://") {
            continue;
        }
        let (file, heading) = link.split_once('#').unwrap_or((link, ""));
        let path = if file.is_empty() {
            page.path.clone()
        } else {
            folder.join(file)
        };
        let fault = if project("").join(&path).exists() {
            let text = || fs::read_to_string(project("").join(&path)).unwrap_or_default();
            let there = heading.is_empty() || anchors(&text()).contains(heading);
            (!there).then(|| format!("no heading {heading} in {}", path.display()))
        } else {
            Some(format!("{} is not there", path.display()))
        };
        faults.extend(fault.map(|fault| format!("{}: {link}: {fault}", page.path.display())));
    }
    faults
}

/// As GitHub makes them of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn what_does_not_exist_is_named() {
    let text = "`ramboot nodes --wach` and `--froce`, `[boot] imgae`, `overlay_s = 1`, `[boots]`\n\n    sudo ramboot pubish x\n";
    let page = Text {
        path: "docs/x.md".into(),
        text: text.to_owned(),
    };
    assert_eq!(
        unknown(&page),
        [
            "docs/x.md: `ramboot nodes --wach`: nodes has no --wach",
            "docs/x.md: no command has `--froce`",
            "docs/x.md: packaging/ramboot.toml does not know `[boot] imgae`",
            "docs/x.md: packaging/ramboot.toml does not know `overlay_s = 1`",
            "docs/x.md: packaging/ramboot.toml does not know `[boots]`",
            "docs/x.md: `ramboot pubish x`: there is no pubish",
        ]
    );
    let well = "`ramboot eeprom steps --model 4b`, `[[worker]]`, `[boot] bases`, `--min-ram 1G`, `address = \"10.0.0.9\"`";
    let page = Text {
        path: "docs/x.md".into(),
        text: well.to_owned(),
    };
    assert_eq!(unknown(&page), [""; 0]);
    let links = Text {
        path: "docs/x.md".into(),
        text: "[a](nowhere.md) [b](../README.md#limits) [c](../README.md#no-such) [d](http://x/y)"
            .to_owned(),
    };
    assert_eq!(
        dead_links(&links),
        [
            "docs/x.md: nowhere.md: docs/nowhere.md is not there",
            "docs/x.md: ../README.md#no-such: no heading no-such in docs/../README.md",
        ]
    );
}
