//! What ARCHITECTURE.md promises of the sources: floors, and that a byte of an image can be followed in one sitting.
//!
//! Nothing imports from a floor above its own, and no rooms import each other in a circle.
//!
//! A room is a module at the top of a crate, with all that is in its folder. Imports are what the code says, `use crate::room` as well as
//! `crate::room::item` in the middle of a line; comments and unit tests do not count.
#![allow(clippy::disallowed_methods, reason = "reads the project's own source")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of the eight files of "Follow one byte", without their tests.
const MAX_LINES: usize = 1_800;

/// From a room to the rooms that it imports, each with one place where it does.
type Imports = BTreeMap<String, BTreeMap<String, String>>;

/// Folders of sources that have a chart.
const CHARTS: [&str; 2] = ["src", "crates/fetch/src"];

#[test]
fn no_room_imports_from_a_floor_above_or_in_a_circle() {
    let mut wrong = Vec::new();
    for folder in CHARTS {
        let floors = floors(folder);
        let imports = imports_of(&root().join(folder));
        for room in imports.keys().filter(|room| !floors.contains_key(*room)) {
            wrong.push(format!(
                "{folder}: {room} stands on no floor of ARCHITECTURE.md"
            ));
        }
        for room in floors.keys().filter(|room| !imports.contains_key(*room)) {
            wrong.push(format!(
                "{folder}: ARCHITECTURE.md has a room {room}, and there is none"
            ));
        }
        wrong.extend(against(&floors, &imports));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is drawn: a room's floor, the lowest is 0.
fn floors(of: &str) -> BTreeMap<String, usize> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let head = format!("```text floors of {of}\n");
    let (_, rest) = text
        .split_once(&head)
        .unwrap_or_else(|| panic!("no {head:?} in ARCHITECTURE.md"));
    let (chart, _) = rest.split_once("\n```").expect("the end of the chart");
    let mut floors = BTreeMap::new();
    for (floor, line) in chart.lines().rev().enumerate() {
        let rooms = line.split_once(" — ").map_or(line, |(rooms, _)| rooms);
        floors.extend(
            rooms
                .split(", ")
                .map(|room| (room.trim().to_owned(), floor)),
        );
    }
    floors
}

/// A sentence for each import upwards, and for each circle.
fn against(floors: &BTreeMap<String, usize>, imports: &Imports) -> Vec<String> {
    let mut wrong = Vec::new();
    for (from, imported) in imports {
        for (to, place) in imported {
            if let (Some(lower), Some(upper)) = (floors.get(from), floors.get(to))
                && lower < upper
            {
                wrong.push(format!("{place}: {from} is below {to} and imports from it"));
            }
        }
    }
    for from in imports.keys() {
        for (to, place) in &imports[from] {
            // Each circle once, told from its first room by the alphabet.
            let reached = reach(imports, to);
            if reached.contains(from)
                && reached
                    .iter()
                    .all(|room| from <= room || !reach(imports, room).contains(from))
            {
                let back: Vec<_> = reached
                    .into_iter()
                    .filter(|room| imports.get(room).is_some_and(|to| to.contains_key(from)))
                    .collect();
                wrong.push(format!(
                    "{place}: {from} imports from {to}, which comes back to {from} by {}",
                    back.join(", ")
                ));
            }
        }
    }
    wrong
}

/// The rooms that a room imports from, and those that these do.
fn reach(imports: &Imports, from: &str) -> BTreeSet<String> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(room) = next.pop() {
        if reached.insert(room.clone()) {
            next.extend(
                imports
                    .get(&room)
                    .into_iter()
                    .flat_map(|to| to.keys().cloned()),
            );
        }
    }
    reached
}

/// What the code below a `src` folder imports.
fn imports_of(folder: &Path) -> Imports {
    let mut files = Vec::new();
    collect(folder, &mut files);
    let parts = |file: &Path| -> Vec<String> {
        let inside = file
            .strip_prefix(folder)
            .expect("a file of it")
            .with_extension("");
        inside
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect()
    };
    let rooms: BTreeSet<_> = files
        .iter()
        .map(|file| parts(file).swap_remove(0))
        .filter(|room| !["lib", "main"].contains(&room.as_str()))
        .collect();
    let mut imports: Imports = rooms
        .iter()
        .map(|room| (room.clone(), BTreeMap::new()))
        .collect();
    for file in &files {
        let module = parts(file);
        let Some(from) = imports.get_mut(&module[0]) else {
            continue;
        };
        let text = fs::read_to_string(file).expect("a source file");
        let place = file.strip_prefix(root()).unwrap_or(file).display();
        for to in imported(&text, module.len()) {
            if to != module[0] && rooms.contains(&to) {
                from.entry(to).or_insert_with(|| place.to_string());
            }
        }
    }
    imports
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && name != "tests" {
            collect(&path, files);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            files.push(path);
        }
    }
}

/// The names after `crate::`, and after as many `super::` as lead there, in a module that is so deep; comments and unit tests apart.
fn imported(text: &str, depth: usize) -> BTreeSet<String> {
    let mut code = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("mod tests {") {
            break;
        }
        code += line.split("//").next().unwrap_or_default();
        code.push('\n');
    }
    let top = "super::".repeat(depth);
    let mut found = BTreeSet::new();
    for lead in ["crate::", &top] {
        for (at, _) in code.match_indices(lead) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                continue;
            }
            found.extend(names(&code[at + lead.len()..]));
        }
    }
    found
}

/// `a` of `a::b`; `a` and `c` of `{a::{b, d}, c}`.
fn names(path: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![name(path)];
    };
    let (mut depth, mut begin, mut found) = (0_usize, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                found.push(name(&group[begin..at]));
                begin = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

#[test]
fn what_counts_as_an_import() {
    let text = "use crate::store::{Name, Store};\nuse crate::{dhcp::{a, b}, fleet};\nuse super::super::text::size;\nuse super::near;\n\
        // crate::comment\nfn f() { crate::host::log::init(); $crate::x; }\n#[cfg(test)]\nmod tests {\n use crate::verbs;\n}\n";
    let found: Vec<_> = imported(text, 2).into_iter().collect();
    assert_eq!(found, ["dhcp", "fleet", "host", "store", "text"]);
}

#[test]
fn one_import_too_many_is_found() {
    let floors = BTreeMap::from(
        [("cli", 2), ("dhcp", 1), ("fleet", 1), ("store", 0)]
            .map(|(room, floor)| (room.to_owned(), floor)),
    );
    let import = |pairs: &[(&str, &str)]| {
        let mut imports = Imports::new();
        for (from, to) in pairs {
            imports
                .entry((*from).to_owned())
                .or_default()
                .insert((*to).to_owned(), format!("src/{from}.rs"));
        }
        against(&floors, &imports)
    };
    let good = [("cli", "dhcp"), ("dhcp", "store"), ("dhcp", "fleet")];
    assert_eq!(import(&good), [""; 0]);
    assert_eq!(
        import(&[&good[..], &[("store", "cli")]].concat()),
        [
            "src/store.rs: store is below cli and imports from it",
            "src/cli.rs: cli imports from dhcp, which comes back to cli by store"
        ]
    );
    assert_eq!(
        import(&[&good[..], &[("fleet", "dhcp")]].concat()),
        ["src/dhcp.rs: dhcp imports from fleet, which comes back to dhcp by fleet"]
    );
}

/// The chain is the eight files that begin the points of the list, and those that decide are named in it.
#[test]
fn one_byte_can_be_followed_in_one_sitting() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let (_, rest) = text
        .split_once("## Follow one byte\n")
        .expect("its heading");
    let (list, _) = rest.split_once("\n## ").expect("the next heading");
    for name in ["ingest.rs", "schedule.rs", "sources.rs"] {
        assert!(list.contains(name), "{name} decides, and is not named");
    }
    let point = |line: &str| -> Option<String> {
        let (number, rest) = line.split_once(". `")?;
        number.parse::<u8>().ok()?;
        Some(rest.split_once('`')?.0.to_owned())
    };
    let files: Vec<_> = list.lines().filter_map(point).collect();
    assert_eq!(files.len(), 8, "{files:?}");
    let lines = files.iter().map(|file| {
        let source =
            fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        source
            .lines()
            .take_while(|line| *line != "#[cfg(test)]")
            .count()
    });
    let lines: usize = lines.sum();
    println!("{lines} lines");
    assert!(lines < MAX_LINES, "{lines} lines");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
