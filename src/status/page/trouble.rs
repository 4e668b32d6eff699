//! Which machines are in trouble, and what helps them: each remedy is said once. Pure.

use serde::Serialize;

use super::model::{MAX_NAME, MAX_SENTENCE};
use crate::fleet::snapshot::{Standing, WorkerRow};
use crate::text::words::{Piece, machines, pieces, shown, span};

/// Machines that one remedy helps.
#[derive(Debug, Serialize)]
pub(super) struct Group {
    machines: Vec<Case>,
    more: Option<String>,
    remedy: Vec<Piece>,
}

#[derive(Debug, Serialize)]
struct Case {
    id: String,
    name: String,
    doing: String,
    sentence: Vec<Piece>,
    ago: Option<String>,
}

/// What a person does about a machine: something, wait, nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Trouble,
    Booting,
    Up,
}

/// Something that went wrong and is tried again counts until the machine has come further.
pub(super) fn class_of(row: &WorkerRow) -> Class {
    let mut problem = row.problem.iter();
    match row.state {
        Standing::Failed | Standing::Silent => Class::Trouble,
        Standing::Up => Class::Up,
        _ if problem.any(|problem| problem.since_s <= row.since_s) => Class::Trouble,
        Standing::Asking | Standing::Loading | Standing::Booting => Class::Booting,
    }
}

/// One for each remedy, in the order of `rows`.
pub(super) fn groups<'a>(rows: impl Iterator<Item = &'a &'a WorkerRow>) -> Vec<Group> {
    let mut by_remedy: Vec<(&str, Vec<&WorkerRow>)> = Vec::new();
    for row in rows {
        let remedy = remedy(row);
        match by_remedy.iter().position(|(known, _)| *known == remedy) {
            Some(known) => by_remedy[known].1.push(row),
            None if by_remedy.len() < MAX_GROUPS => by_remedy.push((remedy, vec![row])),
            None => {}
        }
    }
    let group = |(remedy, rows): (&str, Vec<&WorkerRow>)| {
        let more = rows.len().saturating_sub(MAX_CASES);
        Group {
            machines: rows.into_iter().take(MAX_CASES).map(case).collect(),
            more: (more > 0).then(|| machines(more)),
            remedy: pieces(&shown(remedy, MAX_SENTENCE)),
        }
    };
    by_remedy.into_iter().map(group).collect()
}

/// What helps; empty of a machine that needs no help.
pub(super) fn remedy(row: &WorkerRow) -> &str {
    let problem = row.problem.as_ref();
    problem.map_or("", |problem| &problem.remedy)
}

fn case(row: &WorkerRow) -> Case {
    Case {
        id: id(row),
        name: name(row),
        doing: shown(&row.sentence, MAX_SENTENCE),
        sentence: problem(row).unwrap_or_default(),
        ago: row.problem.as_ref().map(|problem| span(problem.since_s)),
    }
}

/// What is wrong, or was, unless that is all that the machine does.
pub(super) fn problem(row: &WorkerRow) -> Option<Vec<Piece>> {
    let mut problem = row.problem.iter();
    let problem = problem.find(|problem| problem.sentence != row.sentence)?;
    Some(pieces(&shown(&problem.sentence, MAX_SENTENCE)))
}

/// What a row is called in the document.
pub(super) fn id(row: &WorkerRow) -> String {
    row.mac.hyphenated()
}

/// What a person calls it: its MAC, if it has no name.
pub(super) fn name(row: &WorkerRow) -> String {
    let name = row.name.as_deref().filter(|name| !name.trim().is_empty());
    name.map_or_else(|| row.mac.to_string(), |name| shown(name, MAX_NAME))
}

/// There are fewer remedies.
const MAX_GROUPS: usize = 24;
/// Each stands in the table, too.
const MAX_CASES: usize = 12;
