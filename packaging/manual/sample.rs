//! Reads the sample config: every key with its section, its value and the comment over it.
//!
//! The sample is the one text that says what keys mean. Which keys there are, which of them are required and which of
//! its values are defaults is asked of the code that reads config files, so that neither can be wrong here.

use anyhow::{Context as _, Result, bail, ensure};
use ramboot::config::Config;
use toml::Value;

/// A table of the file.
#[derive(Debug)]
pub(crate) struct Section {
    /// Without brackets.
    pub(crate) name: String,
    /// `[[name]]`: may stand there several times.
    pub(crate) many: bool,
    /// What it is about.
    pub(crate) text: String,
    /// Its keys, as they stand there.
    pub(crate) keys: Vec<Key>,
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    /// As it stands there, in TOML.
    pub(crate) value: String,
    /// What it may be: "text", "number" and so on.
    pub(crate) kind: &'static str,
    pub(crate) need: Need,
    /// What it means.
    pub(crate) text: String,
}

/// What happens without the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// The file is refused.
    Required,
    /// The same as with the sample's value.
    Default,
    /// What the text says; the sample's value is an example.
    Optional,
}

impl Section {
    /// With its brackets.
    pub(crate) fn head(&self) -> String {
        let name = &self.name;
        if self.many {
            format!("[[{name}]]")
        } else {
            format!("[{name}]")
        }
    }
}

/// Takes the sample apart.
pub(crate) fn parse(sample: &str) -> Result<Vec<Section>> {
    let mut sections: Vec<Section> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for (line, number) in sample.lines().zip(1..) {
        if let Some(text) = line.strip_prefix("# ") {
            comment.push(text);
        } else if line.is_empty() {
            // What stands alone before the first table is about the file; after a head, about the table.
            let text = std::mem::take(&mut comment).join(" ");
            if let (Some(section), false) = (sections.last_mut(), text.is_empty()) {
                ensure!(
                    section.keys.is_empty(),
                    "line {number}: the comment above belongs to no key: let none be empty lines between the two"
                );
                section.text = text;
            }
        } else {
            let line = line.trim_start_matches('#');
            let text = std::mem::take(&mut comment).join(" ");
            if let Some(name) = line.strip_prefix('[') {
                sections.push(Section {
                    name: name.trim_matches(['[', ']']).to_owned(),
                    many: name.starts_with('['),
                    text,
                    keys: Vec::new(),
                });
                continue;
            }
            let section = sections.last_mut().context("a key before any table")?;
            let (name, value) = line
                .split_once(" = ")
                .with_context(|| format!("line {number} is no key: {line:?}"))?;
            section.keys.push(Key {
                name: name.to_owned(),
                value: value.to_owned(),
                kind: kind(value).with_context(|| format!("line {number}: {name}"))?,
                need: Need::Optional,
                text,
            });
        }
    }
    for section in &mut sections {
        let needs: Vec<_> = section.keys.iter().map(|key| need(section, key)).collect();
        for (key, need) in section.keys.iter_mut().zip(needs) {
            key.need = need;
        }
    }
    Ok(sections)
}

fn kind(value: &str) -> Result<&'static str> {
    let table: toml::Table = toml::from_str(&format!("value = {value}"))?;
    Ok(match table.get("value") {
        Some(Value::String(_)) => "text",
        Some(Value::Integer(_)) => "number",
        Some(Value::Boolean(_)) => "true or false",
        Some(Value::Array(all)) if all.iter().all(Value::is_str) => "list of texts",
        other => bail!("nobody told what to call {other:?}"),
    })
}

/// Asks the code.
fn need(section: &Section, key: &Key) -> Need {
    let file = |keys: &mut dyn Iterator<Item = &Key>| {
        let lines: Vec<_> = keys
            .map(|key| format!("{} = {}", key.name, key.value))
            .collect();
        Config::parse(&format!("{}\n{}\n", section.head(), lines.join("\n")))
    };
    let without = file(&mut section.keys.iter().filter(|one| one.name != key.name));
    let missing = format!("missing field `{}`", key.name);
    if without.is_err_and(|error| error.problem.contains(&missing)) {
        Need::Required
    } else if file(&mut std::iter::once(key)) == Ok(Config::default()) {
        Need::Default
    } else {
        Need::Optional
    }
}
