//! `publish --profile`: what boots of one image say of another, by files that have the same path and the same content in both.
//!
//! A chunk of 256 KiB holds parts of several files, and which of them a boot wanted is not known: a block of a file counts as
//! read if all chunks it lies in were. So a little more becomes hot with each image, until a boot of the new one is recorded.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use ramboot_wire::image::{CHUNK_BYTES, ImageId, chunk_count};
use ramboot_wire::profile::{Profile, Want};
use serde::Serialize;
use tracing::warn;

use crate::formats::squashfs::layout::Laid;
use crate::formats::squashfs::packed::Packed;
use crate::formats::squashfs::tree::Tree;
use crate::host::progress::Progress;
use crate::store::boot_profile::{Carried, Share, nothing_known};
use crate::store::find;
use crate::store::profiles::Profiles;
use crate::store::{Image, ImageFacts, Store};

/// An image of the store whose boots are known.
#[derive(Debug)]
pub(super) struct Source {
    id: ImageId,
    image: Arc<Image>,
    profile: Profile,
}

/// What was taken over; with `--json`, as it is printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// From which image.
    pub from: ImageId,
    /// Files that its boots read and that are the same in both.
    pub files: u64,
    /// What was read of them, in bytes, unpacked.
    pub bytes: u64,
    /// Files that its boots read and that are not.
    pub lost: u64,
    /// Of the new image: there before a worker starts it.
    pub hot: Share,
}

/// The image that `from` names, in the store at `state`, and what is known of it.
///
/// # Errors
/// There is none, or nothing is known of it.
pub(super) fn find(state: &Path, from: &str) -> anyhow::Result<Source> {
    let looking = || format!("looking for the profile of {from}");
    let store = Store::open(state)?;
    let (id, size) = find::find(&store, from).with_context(looking)?;
    let known = store.profiles().read(id, size).with_context(looking)?;
    let known = known.with_context(|| nothing_known(from, id))?;
    let image = store.image(id).with_context(looking)?;
    Ok(Source {
        id,
        image: image.with_context(|| format!("image {id} was removed meanwhile"))?,
        profile: known.wants(size),
    })
}

impl Source {
    /// What it says of `new`, an image of `size` bytes.
    ///
    /// # Errors
    /// The old image is damaged, or cannot be read.
    pub(super) fn carry(
        self,
        new: &Tree,
        size: u64,
        progress: &mut Progress,
    ) -> anyhow::Result<Carried> {
        progress.step("comparing files");
        let reading = || format!("reading image {}", self.id);
        let (file, path) = self.image.file().with_context(reading)?;
        let packed = Packed::file(file, &path).with_context(reading)?;
        let tree = Tree::open(packed).with_context(reading)?;
        #[expect(clippy::disallowed_methods, reason = "shell: says when it was")]
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        let from = From {
            image: self.id,
            tree: &tree,
            profile: &self.profile,
        };
        let carried = carry(from, new, size, now);
        // A file that cannot be read is not another one.
        tree.readable().with_context(reading)?;
        Ok(carried)
    }
}

/// Keeps what was carried over to an image that is published already: a disk that is full now must not make that a failure. `None` for the image itself.
pub(super) fn keep(state: &Path, facts: &ImageFacts, carried: Carried) -> Option<Summary> {
    // Published again: what is known of it is there already.
    if carried.from == facts.id {
        return None;
    }
    let summary = Summary {
        from: carried.from,
        files: carried.files,
        bytes: carried.bytes,
        lost: carried.lost,
        hot: Share::of(carried.hot.iter().copied(), facts.size),
    };
    if let Err(error) = Profiles::of(state).carry(facts.id, facts.size, carried) {
        warn!("the image is published, but its profile is not kept: {error:#}");
    }
    Some(summary)
}

/// An image whose boots were recorded.
#[derive(Debug, Clone, Copy)]
pub struct From<'a> {
    /// Its id.
    pub image: ImageId,
    /// Its files.
    pub tree: &'a Tree,
    /// What its boots read.
    pub profile: &'a Profile,
}

/// Carries what is known over to `new`, an image of `size` bytes, at `now` (seconds since 1970). Tables of the new image are hot:
/// nothing can be found without them.
#[must_use]
pub fn carry(from: From<'_>, new: &Tree, size: u64, now: u64) -> Carried {
    let mut carried = Carried {
        from: from.image,
        at: now,
        files: 0,
        bytes: 0,
        lost: 0,
        hot: Vec::new(),
        warm: Vec::new(),
    };
    let mut wants = Wants::new(size);
    wants.lower(0..1, Want::Hot(0));
    let tables = new.superblock().inode_table..new.superblock().bytes_used;
    wants.lower(tables, Want::Hot(0));
    for old in from.tree.laid() {
        let read = read(&old, from.profile);
        if read.is_empty() {
            continue;
        }
        match new
            .laid_at(old.path)
            .filter(|_| new.has_same(old.path, from.tree))
        {
            Some(laid) => {
                carried.files += 1;
                carried.bytes += read
                    .iter()
                    .map(|(part, _)| part.end - part.start)
                    .sum::<u64>();
                wants.file(&laid, &read);
            }
            None => carried.lost += 1,
        }
    }
    (carried.hot, carried.warm) = wants.in_order();
    carried
}

/// Parts of a file's content that boots read, and how they were wanted.
fn read(file: &Laid<'_>, profile: &Profile) -> Vec<(Range<u64>, Want)> {
    let want = |packed: &Range<u64>| {
        let chunks = chunks(packed).map(|index| {
            let index = usize::try_from(index).ok();
            let want = index.and_then(|index| profile.wants().get(index));
            want.copied().unwrap_or(Want::Cold)
        });
        // The last of them that a boot came to.
        chunks.max().unwrap_or(Want::Cold)
    };
    let blocks = file.blocks.iter();
    let wanted = blocks.map(|(content, packed)| (content.clone(), want(packed)));
    wanted.filter(|(_, want)| *want != Want::Cold).collect()
}

/// Numbers of the chunks that these bytes of an image lie in.
fn chunks(bytes: &Range<u64>) -> Range<u64> {
    bytes.start / CHUNK_BYTES..bytes.end.div_ceil(CHUNK_BYTES)
}

/// How each chunk of the new image is wanted.
struct Wants(Vec<Want>);

impl Wants {
    fn new(size: u64) -> Self {
        let count = usize::try_from(chunk_count(size)).unwrap_or(usize::MAX);
        Self(vec![Want::Cold; count])
    }

    fn lower(&mut self, bytes: Range<u64>, want: Want) {
        for index in chunks(&bytes) {
            let slot = usize::try_from(index).ok().and_then(|i| self.0.get_mut(i));
            if let Some(slot) = slot {
                *slot = want.min(*slot);
            }
        }
    }

    fn file(&mut self, new: &Laid<'_>, read: &[(Range<u64>, Want)]) {
        for (content, packed) in &new.blocks {
            let from = read.partition_point(|(part, _)| part.end <= content.start);
            let parts = read.get(from..).unwrap_or_default().iter();
            let parts = parts.take_while(|(part, _)| part.start < content.end);
            if let Some(want) = parts.map(|(_, want)| *want).min() {
                self.lower(packed.clone(), want);
            }
        }
    }

    /// Hot ones and warm ones, each in the order they are wanted.
    fn in_order(&self) -> (Vec<u64>, Vec<u64>) {
        let mut order: Vec<(Want, u64)> = self.0.iter().copied().zip(0..).collect();
        order.sort_unstable();
        let of = |hot: bool| {
            let all = order.iter().filter(move |(want, _)| match want {
                Want::Hot(_) => hot,
                Want::Warm(_) => !hot,
                Want::Cold => false,
            });
            all.map(|(_, index)| *index).collect()
        };
        (of(true), of(false))
    }
}

#[cfg(test)]
mod tests;
