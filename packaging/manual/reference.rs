//! docs/configuration.md: every key of the config file, every variable of the environment.

use std::fmt::Write as _;

use clap::Command;

use crate::sample::{Need, Section};

/// A variable that some commands read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    /// The flag it stands for.
    pub(crate) flag: String,
    pub(crate) help: String,
    /// Of those that read it.
    pub(crate) commands: Vec<String>,
}

/// The whole page.
pub(crate) fn markdown(sections: &[Section], command: &Command) -> String {
    let mut page = INTRODUCTION.to_owned();
    for section in sections {
        let _ = write!(page, "\n## {}\n", section.head());
        if !section.text.is_empty() {
            let _ = write!(page, "\n{}\n", escaped(&section.text));
        }
        for key in &section.keys {
            let (name, kind, value) = (&key.name, key.kind, &key.value);
            let value = match key.need {
                Need::Required => format!("required, for example `{value}`"),
                Need::Default => format!("default `{value}`"),
                Need::Optional => format!("for example `{value}`"),
            };
            let _ = write!(page, "\n### {} {name}\n\n*{kind}*, {value}\n", section.name);
            if !key.text.is_empty() {
                let _ = write!(page, "\n{}\n", escaped(&key.text));
            }
        }
    }
    page.push_str(ENVIRONMENT);
    for variable in variables(command) {
        let _ = writeln!(
            page,
            "| `{}` | `{}` | {} | {} |",
            variable.name,
            variable.flag,
            variable.commands.join(", "),
            escaped(&variable.help)
        );
    }
    page.push_str(SYSTEMD);
    page
}

/// What of the environment is read, and by whom.
pub(crate) fn variables(command: &Command) -> Vec<Variable> {
    let mut found: Vec<Variable> = Vec::new();
    let arguments = command.get_arguments();
    let everywhere = arguments.map(|arg| ("all".to_owned(), arg));
    let each = everything(command)
        .into_iter()
        .flat_map(|(words, command)| {
            let arguments = command.get_arguments().filter(|arg| !arg.is_global_set());
            arguments.map(move |arg| (words.clone(), arg))
        });
    for (command, arg) in everywhere.chain(each) {
        let Some(name) = arg.get_env() else { continue };
        let name = name.to_string_lossy().into_owned();
        if let Some(variable) = found.iter_mut().find(|one| one.name == name) {
            variable.commands.push(command);
            continue;
        }
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let default = arg.get_default_values().first();
        let default = default.map(|value| format!(" Default: {}.", value.to_string_lossy()));
        // The program's help goes without full stops.
        let help = help + ".";
        found.push(Variable {
            name,
            flag: format!("--{}", arg.get_long().unwrap_or_default()),
            help: help + &default.unwrap_or_default(),
            commands: vec![command],
        });
    }
    found
}

/// All commands below this one with what is typed for them, each before its own; none that is hidden, and not clap's `help`.
pub(crate) fn everything(command: &Command) -> Vec<(String, &Command)> {
    let mut found = Vec::new();
    for one in command.get_subcommands() {
        let name = one.get_name();
        if one.is_hide_set() || name == "help" {
            continue;
        }
        found.push((name.to_owned(), one));
        let below = everything(one).into_iter();
        found.extend(below.map(|(words, below)| (format!("{name} {words}"), below)));
    }
    found
}

/// What would mean something to Markdown.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        if matches!(char, '*' | '<' | '|' | '\\') {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Made by `make manual` of packaging/ramboot.toml and the program's flags; a test fails when it is not what these say. -->

`ramboot serve --config FILE` reads a TOML file; the systemd unit names `/etc/ramboot.toml`. Every key is optional unless it is
called required, and a flag of `ramboot serve` wins over its key. An unknown key, a value twice and a value that cannot work are
refused with line and column before anything is served. `packaging/ramboot.toml` has all of this as one file to edit.
";

const ENVIRONMENT: &str = "
## Environment

A flag wins over its variable.

| variable | flag | read by | meaning |
|---|---|---|---|
";

const SYSTEMD: &str = "
The systemd unit sets `RAMBOOT_STATE=/var/lib/ramboot` and reads `/etc/default/ramboot`, where lines such as `RAMBOOT_LOG=debug`
can stand; `systemctl restart ramboot` after a change there.
";
