//! `ramboot unpublish`: a name is gone, all at once; its images stay until somebody collects them.

use std::collections::BTreeSet;

use ramboot_wire::ImageId;
use serde::Serialize;

use super::list::{Unnamed, look};
use crate::store::remove::Retiring;
use crate::store::{Name, Store, find};
use crate::text::table::megabytes;
use crate::verbs::images::args::UnpublishArgs;

/// What was done; with `--json`, as it is printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unpublished {
    /// The name that is gone.
    pub name: String,
    /// How many generations it had.
    pub generations: usize,
    /// Its images that no other name needs: `ramboot gc` removes them.
    pub unnamed: Vec<Unnamed>,
    /// Names that are left.
    pub names: Vec<String>,
}

/// Takes the name away and says so on stdout.
///
/// # Errors
/// Nothing is published under it, or the store cannot be written.
pub fn run(args: &UnpublishArgs) -> anyhow::Result<()> {
    let done = unpublish(args)?;
    super::say(&done, args.json, || text(&done))
}

fn unpublish(args: &UnpublishArgs) -> anyhow::Result<Unpublished> {
    let name: Name = args.name.parse()?;
    let store = Store::open(&args.state.path)?;
    // Before anything is made in a folder that is no store.
    find::history(&store, &name)?;
    let retiring = Retiring::begin(&args.state.path)?;
    let history = find::history(&store, &name)?;
    retiring.name(&name)?;
    retiring.finish()?;
    let found = history.iter().filter_map(|past| past.found.as_ref().ok());
    let had: BTreeSet<ImageId> = found.map(|generation| generation.image).collect();
    let left = look(&store)?;
    Ok(Unpublished {
        name: name.to_string(),
        generations: history.len(),
        unnamed: left
            .unnamed
            .into_iter()
            .filter(|unnamed| had.contains(&unnamed.image))
            .collect(),
        names: left.names.into_iter().map(|listed| listed.name).collect(),
    })
}

fn text(done: &Unpublished) -> String {
    let Unpublished {
        name,
        generations,
        unnamed,
        names,
    } = done;
    let plural = if *generations == 1 { "" } else { "s" };
    let mut text = format!(
        "{name} is gone, with {generations} generation{plural}: machines find it no more\n"
    );
    for Unnamed { image, bytes } in unnamed {
        text += &format!(
            "  image {} stays until \"ramboot gc\": {}\n",
            image.short(),
            megabytes(*bytes)
        );
    }
    if names.is_empty() {
        text += "warning: nothing is published now: machines that start wait until something is\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_name_is_a_warning() {
        let mut done = Unpublished {
            name: "worker".to_owned(),
            generations: 2,
            unnamed: vec![Unnamed {
                image: ImageId([7; 32]),
                bytes: 5_000_000,
            }],
            names: vec!["other".to_owned()],
        };
        let want = "worker is gone, with 2 generations: machines find it no more\n  \
                    image 070707070707 stays until \"ramboot gc\": 5.0 MB\n";
        assert_eq!(text(&done), want);
        done.names.clear();
        done.generations = 1;
        assert_eq!(
            text(&done),
            want.replace("2 generations", "1 generation")
                + "warning: nothing is published now: machines that start wait until something is\n"
        );
    }
}
