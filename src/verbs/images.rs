//! What becomes of images once they are published: `ramboot images`, `profile`, `rollback`,
//! `unpublish` and `gc`.
//!
//! [`rollback_target`], [`gc_plan`], [`crate::text::table`] and [`crate::text::time`] decide and word, values in and values out; the others read the store, call
//! them, and change it through [`crate::store::commit`] and [`crate::store::remove`].

pub mod args;
pub mod gc;
pub mod gc_plan;
pub mod list;
pub mod profile;
pub mod rollback;
pub mod rollback_target;
pub mod unpublish;

use anyhow::{Context, bail, ensure};
use ramboot_wire::ImageId;
use serde::Serialize;

use self::rollback_target::Prefix;
use crate::host::terminal;
use crate::store::history::Past;
use crate::store::{Name, Store};

/// All generations of a name, newest first.
///
/// # Errors
/// Nothing is published under it; the sentence says what is.
fn history(store: &Store, name: &Name) -> anyhow::Result<Vec<Past>> {
    let history = store.history(name)?;
    if !history.is_empty() {
        return Ok(history);
    }
    let names: Vec<String> = store.names()?.iter().map(Name::to_string).collect();
    let root = store.root().display();
    if names.is_empty() {
        bail!("nothing is published in {root}, not as {name} and not as anything else");
    }
    bail!(
        "nothing is published as {name} in {root}, only: {}",
        names.join(", ")
    )
}

/// The image that a name stands for now, or whose digest begins so; and its bytes.
///
/// # Errors
/// There is none, or more than one.
pub(crate) fn find(store: &Store, text: &str) -> anyhow::Result<(ImageId, u64)> {
    if let Ok(name) = text.parse::<Name>()
        && let Some(generation) = store.current(&name)?
    {
        return Ok((generation.image, generation.size));
    }
    let Ok(prefix) = text.parse::<Prefix>() else {
        // The sentence says which names there are.
        history(store, &text.parse()?)?;
        bail!("{text} has no generation");
    };
    let mut images = store.images()?;
    images.retain(|image| prefix.fits(*image));
    ensure!(
        images.len() <= 1,
        "more than one image begins with {prefix}: say more digits"
    );
    let image = images.first().with_context(|| {
        format!(
            "nothing is published as {text} in {}, and no image there has a digest that begins so",
            store.root().display()
        )
    })?;
    let opened = store.image(*image)?;
    let opened = opened.with_context(|| format!("image {image} was removed meanwhile"))?;
    Ok((*image, opened.facts.size))
}

/// Prints a result for a program, or for a person.
pub(crate) fn say(
    result: &impl Serialize,
    json: bool,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    if json {
        terminal::print_json(result)
    } else {
        terminal::print(&text())
    }
}
