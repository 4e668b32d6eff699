//! The text files that depmod writes beside a kernel's modules.

use std::collections::{BTreeMap, BTreeSet};

use super::{KmodError, is_card};

/// Longest of these files is `modules.alias`: 1.3 MB for Debian's amd64 kernel.
pub const MAX_INDEX_BYTES: u64 = 16 * 1024 * 1024;

/// Endings a module's file can have.
const ENDINGS: [&str; 4] = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"];

/// The files as read; all but `dep` may be empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct Texts<'a> {
    /// `modules.dep`
    pub dep: &'a str,
    /// `modules.builtin`
    pub builtin: &'a str,
    /// `modules.softdep`
    pub softdep: &'a str,
    /// `modules.alias`
    pub alias: &'a str,
}

/// What depmod knows of a kernel's modules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// Path of each module and of those it needs.
    pub modules: BTreeMap<String, Vec<String>>,
    /// Names of what is inside the kernel itself.
    pub builtin: BTreeSet<String>,
    /// How many drivers of wired network cards are among those.
    pub cards: usize,
    /// Names and what is to be loaded before them, if it exists: names or aliases.
    pub soft: BTreeMap<String, Vec<String>>,
    /// Pattern and name of the module, in the file's order.
    pub aliases: Vec<(String, String)>,
    by_name: BTreeMap<String, String>,
}

impl Index {
    /// Reads all four files.
    ///
    /// # Errors
    /// The first line that depmod would not have written.
    pub fn parse(texts: &Texts<'_>) -> Result<Self, KmodError> {
        let modules = parse_dep(texts.dep)?;
        let by_name = modules
            .keys()
            .map(|path| (module_name(path), path.clone()))
            .collect();
        let builtin = texts.builtin.lines().map(module_name).collect();
        let cards = texts.builtin.lines().filter(|path| is_card(path));
        Ok(Self {
            modules,
            builtin,
            cards: cards.count(),
            soft: parse_softdep(texts.softdep),
            aliases: parse_alias(texts.alias)?,
            by_name,
        })
    }

    /// Where the module of this name is.
    #[must_use]
    pub fn path_of(&self, name: &str) -> Option<&str> {
        self.by_name.get(&plain(name)).map(String::as_str)
    }

    /// Modules that `path` would have loaded before it.
    pub fn soft_needs<'a>(&'a self, path: &str) -> impl Iterator<Item = &'a str> {
        let wanted = self.soft.get(&module_name(path)).into_iter().flatten();
        wanted.flat_map(|wanted| {
            let by_name = self.path_of(wanted);
            let by_alias = self
                .aliases
                .iter()
                .filter(move |(pattern, _)| by_name.is_none() && plain(pattern) == plain(wanted));
            by_name
                .into_iter()
                .chain(by_alias.filter_map(|(_, module)| self.path_of(module)))
        })
    }
}

/// `kernel/a/b-c.ko.xz` → `b_c`, as the kernel calls it.
#[must_use]
pub fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = ENDINGS.iter().find_map(|ending| file.strip_suffix(ending));
    plain(stem.unwrap_or(file))
}

fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// `kernel/a.ko.xz` → `kernel/a.ko`
#[must_use]
pub fn uncompressed(path: &str) -> &str {
    match path.rfind(".ko.") {
        Some(at) => &path[..at + 3],
        None => path,
    }
}

/// `PATH: [DEPENDENCY…]` a line.
fn parse_dep(text: &str) -> Result<BTreeMap<String, Vec<String>>, KmodError> {
    let bad = |line, what| KmodError::Line {
        file: "modules.dep",
        line,
        what,
    };
    let mut modules = BTreeMap::new();
    for (content, line) in text.lines().zip(1..) {
        let (path, needs) = content.split_once(':').ok_or_else(|| {
            bad(
                line,
                "a module, a colon and its needs are wanted".to_owned(),
            )
        })?;
        let needs: Vec<String> = needs.split_ascii_whitespace().map(str::to_owned).collect();
        for path in needs.iter().map(String::as_str).chain([path]) {
            if !is_module_path(path) {
                let shown: String = path.chars().take(200).collect();
                return Err(bad(line, format!("{shown:?} is no module in this folder")));
            }
        }
        if modules.insert(path.to_owned(), needs).is_some() {
            return Err(bad(line, format!("{path} stands here a second time")));
        }
    }
    for ((path, needs), line) in modules.iter().zip(1..) {
        if let Some(need) = needs.iter().find(|need| !modules.contains_key(*need)) {
            return Err(bad(
                line,
                format!("{path} needs {need}, which is not there"),
            ));
        }
    }
    Ok(modules)
}

/// A path below the folder of the modules, of bytes that the module table can hold.
fn is_module_path(path: &str) -> bool {
    path.len() <= 512
        && ENDINGS.iter().any(|ending| path.ends_with(ending))
        && path.bytes().all(|b| b.is_ascii_graphic())
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// `softdep NAME [pre: NAME…] [post: NAME…]`; what stands before a colon is neither. Hints: a strange line is no error.
fn parse_softdep(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut soft: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some("softdep"), Some(name)) = (words.next(), words.next()) else {
            continue;
        };
        let mut before = false;
        for word in words {
            match word {
                "pre:" => before = true,
                "post:" => before = false,
                word if before => soft.entry(plain(name)).or_default().push(word.to_owned()),
                _ => {}
            }
        }
    }
    soft
}

/// `alias PATTERN NAME` a line; a pattern may hold blanks.
fn parse_alias(text: &str) -> Result<Vec<(String, String)>, KmodError> {
    let mut aliases = Vec::new();
    for (content, line) in text.lines().zip(1..) {
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let words = content
            .strip_prefix("alias ")
            .and_then(|rest| rest.trim_end().rsplit_once(' '))
            .ok_or_else(|| KmodError::Line {
                file: "modules.alias",
                line,
                what: "\"alias\", a pattern and a module are wanted".to_owned(),
            })?;
        aliases.push((words.0.to_owned(), plain(words.1)));
    }
    Ok(aliases)
}
