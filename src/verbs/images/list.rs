//! `ramboot images`: what is published, what of it machines boot now, and what nobody names any more.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the clock, to say how long ago"
)]

mod text;

use std::collections::BTreeSet;
use std::time::SystemTime;

use ramboot_wire::{Arch, ImageId};
use serde::Serialize;
use tracing::warn;

use self::text::text;
use super::profile::hot;
use crate::store::boot_profile::Share;
use crate::store::history::Past;
use crate::store::{Generation, Name, Store, find};
use crate::verbs::images::args::ImagesArgs;

/// All that is in a store; with `--json`, as it is printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// In order.
    pub names: Vec<Listed>,
    /// Images that no generation names.
    pub unnamed: Vec<Unnamed>,
}

/// One name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// What `--name` said at the publish.
    pub name: String,
    /// Newest first; machines boot the first.
    pub generations: Vec<Line>,
}

/// One generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Line {
    /// It can be read.
    Sound {
        /// Its number.
        generation: u64,
        /// Machines boot it.
        current: bool,
        /// What `b3sum` prints for the image.
        image: ImageId,
        /// Bytes of the image.
        size: u64,
        /// What a worker that streams it waits for; nothing if nobody has booted it so yet.
        #[serde(skip_serializing_if = "Option::is_none")]
        hot: Option<Share>,
        /// As `uname -r` prints it.
        kernel_version: String,
        /// Machines that can boot it.
        arch: Arch,
        /// Raspberry Pis that can, by their ids in [`crate::pi::board`].
        boards: Vec<String>,
        /// Seconds since 1970.
        published: u64,
        /// What the publisher wanted to remember.
        note: String,
        /// What was wrong with it, if it was published by `--force`.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        forced: Vec<String>,
        /// Why it cannot be booted: its image is gone or damaged.
        #[serde(skip_serializing_if = "Option::is_none")]
        damaged: Option<String>,
    },
    /// It cannot.
    Damaged {
        /// Its number.
        generation: u64,
        /// Machines should boot it, and cannot.
        current: bool,
        /// Why.
        damaged: String,
    },
}

/// An image without a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unnamed {
    /// What `b3sum` prints for it.
    pub image: ImageId,
    /// Of the image and its boot files.
    pub bytes: u64,
}

/// Prints what is in the store.
///
/// # Errors
/// The store cannot be read, or nothing is published under the name that was asked for.
pub fn run(args: &ImagesArgs) -> anyhow::Result<()> {
    let store = Store::open(&args.state.path)?;
    let mut listing = look(&store)?;
    if let Some(name) = &args.name {
        let name: Name = name.parse()?;
        find::history(&store, &name)?;
        listing
            .names
            .retain(|listed| listed.name == name.to_string());
        listing.unnamed.clear();
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let all = args.all || args.name.is_some();
    super::say(&listing, args.json, || {
        text(&listing, all, now, &store.root().display().to_string())
    })
}

/// Reads all of a store but the images' content.
///
/// # Errors
/// A folder of the store cannot be read. Files that are damaged are part of the listing.
pub fn look(store: &Store) -> anyhow::Result<Listing> {
    let mut named = BTreeSet::new();
    let mut names = Vec::new();
    for name in store.names()? {
        let history = store.history(&name)?;
        let generations = history.into_iter().enumerate().map(|(at, past)| {
            named.extend(past.found.as_ref().map(|generation| generation.image));
            line(store, past, at == 0)
        });
        let generations = generations.collect();
        let name = name.to_string();
        names.push(Listed { name, generations });
    }
    let images = store.images()?.into_iter();
    let mut unnamed: Vec<Unnamed> = images
        .filter(|image| !named.contains(image))
        .map(|image| Unnamed {
            bytes: store.bytes(image),
            image,
        })
        .collect();
    unnamed.sort_unstable_by_key(|unnamed| unnamed.image);
    Ok(Listing { names, unnamed })
}

fn line(store: &Store, past: Past, current: bool) -> Line {
    let Past { number, found } = past;
    match found {
        Ok(Generation {
            image,
            size,
            kernel_version,
            arch,
            published,
            note,
            pi,
            forced,
            ..
        }) => Line::Sound {
            generation: number,
            current,
            image,
            size,
            hot: hot(store, image, size).unwrap_or_else(|error| {
                warn!(image = image.short(), "a profile is not shown: {error:#}");
                None
            }),
            kernel_version,
            arch,
            boards: pi.map(|pi| pi.boards).unwrap_or_default(),
            published,
            note,
            forced,
            damaged: store.facts(image).err().map(|error| format!("{error:#}")),
        },
        Err(damaged) => Line::Damaged {
            generation: number,
            current,
            damaged,
        },
    }
}
