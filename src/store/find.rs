//! What a person's word for an image means: a name, or the first digits of a digest.

use anyhow::{Context as _, bail, ensure};
use ramboot_wire::ImageId;

use super::history::Past;
use super::prefix::Prefix;
use super::{Name, Store};

/// All generations of a name, newest first.
///
/// # Errors
/// Nothing is published under it; the sentence says what is.
pub fn history(store: &Store, name: &Name) -> anyhow::Result<Vec<Past>> {
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
pub fn find(store: &Store, text: &str) -> anyhow::Result<(ImageId, u64)> {
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
