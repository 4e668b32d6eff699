//! Images by digest, and names that point at them.
//!
//! ```text
//! <state>/images/<id>/{image.sqfs, chunks, image.json, boot/…}
//! <state>/names/<name>/<generation>.json     the greatest number wins; a rollback is a new generation
//! <state>/profiles/<id>.json                what boots of an image read: a hint, the one thing that is replaced
//! <state>/tmp/…                              being published or removed; <state>/cache/… can be made anew
//! ```
//!
//! Reading takes nothing for granted: a symbolic link, a file of another length, a name that does not belong, a boot file
//! whose bytes are not those of its name are errors that name the file. Nothing is ever modified (see [`commit`]); what is
//! removed is gone at once, and what is being served is not (see [`remove`]).

pub mod boot_profile;
pub mod cache;
pub mod commit;
mod files;
pub mod find;
mod folder_lock;
pub mod history;
mod image;
mod map;
mod open_file;
pub mod prefix;
pub mod profiles;
pub mod remove;
pub mod rope;
pub mod serving_lock;
mod staging_dir;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ramboot_wire::{Arch, ImageId};
use serde::{Deserialize, Serialize};
use tracing::warn;

pub(crate) use files::open as plain_file;
pub(crate) use folder_lock::{Exclusive, UNFINISHED};
pub use image::Image;
pub use map::{Mapping, WINDOW_BYTES};
pub use open_file::Stored;
use profiles::Profiles;
use serving_lock::Mark;
pub(crate) use staging_dir::make_root;

const IMAGE: &str = "image.sqfs";
const CHUNKS: &str = "chunks";
const FACTS: &str = "image.json";
const BOOT: &str = "boot";

/// A generation and an image's facts are a few hundred bytes; a note may be longer.
const MAX_JSON_BYTES: u64 = 64 * 1024;
const MAX_NAME_BYTES: usize = 63;
/// Digits of its digest that a boot file's name ends with.
const DIGEST_DIGITS: usize = 16;

/// The name workers get an image by: one plain path component.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// The text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a name: up to {MAX_NAME_BYTES} of a-z, 0-9, '.', '_' and '-', and the first of a-z or 0-9"
)]
pub struct BadName(String);

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let inner = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        let first = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        if text.len() <= MAX_NAME_BYTES
            && text.bytes().next().is_some_and(first)
            && text.bytes().all(inner)
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadName(text.chars().take(80).collect()))
        }
    }
}

impl Name {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A kernel, an initramfs or an EFI stub in an image's `boot` folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFile {
    /// `vmlinuz-`, `initrd-` or `stub-` and the first digits of its BLAKE3.
    pub name: String,
    /// Bytes.
    pub size: u64,
}

impl BootFile {
    /// The name and size that `content` has in a store.
    #[must_use]
    pub fn of(kind: &str, content: &[u8]) -> Self {
        let digest = blake3::hash(content).to_hex();
        Self {
            name: format!("{kind}-{}", &digest[..DIGEST_DIGITS]),
            size: content.len() as u64,
        }
    }
}

/// What a Raspberry Pi boots, which is not what other machines of its architecture do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PiBoot {
    /// Firmware, device trees and overlays: see [`crate::pi::files`].
    pub files: BootFile,
    /// Under gzip: TFTP takes its time, and firmware unpacks it.
    pub kernel: BootFile,
    /// With the few modules that these boards need.
    pub initrd: BootFile,
    /// There are Linux's device trees only, none by Raspberry Pi's names.
    #[serde(default)]
    pub upstream: bool,
    /// Lines of the image's own config.txt.
    #[serde(default)]
    pub config: Vec<String>,
    /// Boards that can boot it, by their ids in [`crate::pi::board`]; a newer `publish` may know more.
    #[serde(default)]
    pub boards: Vec<String>,
}

/// One publication under a name. Fields this `ramboot` does not know are passed over: an older `serve` goes on serving
/// what a newer `publish` wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// The name of its file; not in the file.
    #[serde(skip)]
    pub number: u64,
    /// What to boot.
    pub image: ImageId,
    /// Bytes of the image.
    pub size: u64,
    /// The kernel to boot it with.
    pub kernel: BootFile,
    /// The initramfs that belongs to the kernel.
    pub initrd: BootFile,
    /// What makes an EFI program of both; `None` where none was found at the publish.
    #[serde(default)]
    pub stub: Option<BootFile>,
    /// As `uname -r` prints it.
    pub kernel_version: String,
    /// Machines that can boot it.
    pub arch: Arch,
    /// Seconds since 1970.
    pub published: u64,
    /// What the publisher wanted to remember.
    #[serde(default)]
    pub note: String,
    /// For Raspberry Pis, if any of them can boot it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pi: Option<PiBoot>,
    /// What was wrong with it, if it was published by `--force`: a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forced: Vec<String>,
}

impl Generation {
    /// All files of the image's `boot` folder that it names.
    pub fn boot_files(&self) -> impl Iterator<Item = &BootFile> {
        let pi = self.pi.iter();
        let pi = pi.flat_map(|pi| [&pi.files, &pi.kernel, &pi.initrd]);
        pi.chain([&self.kernel, &self.initrd]).chain(&self.stub)
    }

    /// Whether machines boot the same by both: number, time, note and what was forced may differ.
    #[must_use]
    pub fn boots_as(&self, other: &Self) -> bool {
        let like_other = Self {
            number: other.number,
            published: other.published,
            note: other.note.clone(),
            forced: other.forced.clone(),
            ..self.clone()
        };
        like_other == *other
    }
}

/// What is true of an image whoever publishes it. Unknown fields are passed over, as in a [`Generation`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// BLAKE3 of `image.sqfs`.
    pub id: ImageId,
    /// Bytes of `image.sqfs`.
    pub size: u64,
    /// `gzip`, `xz` or `zstd`.
    pub compressor: String,
    /// Bytes of a data block.
    pub block_size: u32,
    /// Of the kernel in the image, or of the one first published with it.
    pub kernel_version: String,
    /// Of that kernel.
    pub arch: Arch,
    /// What was wrong when it was first published, if that was by `--force`. Each generation has its own: the same image may
    /// be published again with another kernel, and this file is never changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forced: Vec<String>,
}

/// A store that others may be publishing into.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    opened: Mutex<HashMap<ImageId, Opened>>,
    /// Images that are asked for are marked.
    serving: bool,
    profiles: Profiles,
}

/// An image that somebody asked for.
#[derive(Debug)]
struct Opened {
    /// Of its folder.
    identity: files::Identity,
    image: Arc<Image>,
    mark: Mark,
    /// When its folder was last looked at.
    looked: Instant,
}

impl Store {
    /// Opens the store at `root`, which may be empty or not be there yet: then it has no names.
    ///
    /// # Errors
    /// There is something else at `root`, or it cannot be looked at.
    pub fn open(root: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let root = root.into();
        match std::fs::metadata(&root) {
            Ok(metadata) if !metadata.is_dir() => {
                bail!("{} is not a folder; images are kept in one", root.display())
            }
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("opening the store {}", root.display()))
            }
            _ => Ok(Self {
                profiles: Profiles::of(&root),
                root,
                opened: Mutex::default(),
                serving: false,
            }),
        }
    }

    /// Where the store is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What is known of how its images boot.
    #[must_use]
    pub const fn profiles(&self) -> &Profiles {
        &self.profiles
    }

    /// All names something was published under, in order.
    ///
    /// What is not a name there (an editor's backup, a folder of somebody else) is passed over: it must not keep machines
    /// from booting.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn names(&self) -> anyhow::Result<Vec<Name>> {
        let folder = self.root.join("names");
        let mut names = Vec::new();
        for name in files::list(&folder)? {
            if let Ok(name) = name.parse::<Name>()
                && newest(&folder.join(&name.0))?.is_some()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// What `name` stands for at this moment; `None` if nothing was published under it.
    ///
    /// # Errors
    /// The generation's file is damaged.
    pub fn current(&self, name: &Name) -> anyhow::Result<Option<Generation>> {
        self.before(name, 0)
    }

    /// What `name` stood for `back` publications ago; `None` if there were not that many, or they were removed.
    ///
    /// # Errors
    /// The generation's file is damaged.
    pub fn before(&self, name: &Name, back: usize) -> anyhow::Result<Option<Generation>> {
        let folder = self.folder_of(name);
        let mut numbers = generations(&folder)?;
        numbers.sort_unstable();
        let number = numbers.iter().rev().nth(back);
        number
            .map(|&number| history::read(&folder, number))
            .transpose()
    }

    /// An image, opened once and kept while its folder is there; `None` if there is no such image.
    ///
    /// # Errors
    /// The image's files contradict each other.
    pub fn image(&self, id: ImageId) -> anyhow::Result<Option<Arc<Image>>> {
        let folder = self.folder_of_image(id);
        let there = files::identity(&folder)?;
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(there) = there else {
            opened.remove(&id);
            return Ok(None);
        };
        if let Some(known) = opened.get_mut(&id)
            && known.identity == there
        {
            self.mark(&mut known.mark, &folder);
            known.looked = now();
            return Ok(Some(Arc::clone(&known.image)));
        }
        // The mark comes first: what is marked stays while it is opened.
        let mut mark = Mark::default();
        self.mark(&mut mark, &folder);
        let image = match Image::open(folder.clone(), id) {
            Err(_) if files::identity(&folder)?.is_none() => return Ok(None),
            image => Arc::new(image?),
        };
        let known = Opened {
            identity: there,
            image: Arc::clone(&image),
            mark,
            looked: now(),
        };
        opened.insert(id, known);
        Ok(Some(image))
    }

    /// An image whose folder was there a moment ago, without a look at the disk: for threads that may not wait for one. `None`
    /// says nothing; [`Store::image`] does.
    pub fn at_hand(&self, id: ImageId) -> Option<Arc<Image>> {
        self.fresh(id, now())
    }

    fn fresh(&self, id: ImageId, now: Instant) -> Option<Arc<Image>> {
        // Whoever has it locked may be waiting for the disk.
        let mut opened = self.opened.try_lock().ok()?;
        let known = opened.get_mut(&id)?;
        let is_fresh = now.saturating_duration_since(known.looked) < FRESH;
        let is_marked = !self.serving || known.mark.is_on();
        (is_fresh && is_marked).then(|| Arc::clone(&known.image))
    }

    /// From now on images that are asked for are marked as being served: see [`serving_lock`].
    #[must_use]
    pub fn serving(mut self) -> Self {
        self.serving = true;
        self
    }

    fn mark(&self, mark: &mut Mark, folder: &Path) {
        if self.serving
            && let Err(error) = mark.asked(&folder.join(IMAGE))
        {
            warn!("ramboot gc cannot see that an image is being served: {error:#}");
        }
    }

    /// To be called every [`serving_lock::TICK`] by who serves: forgets images that are gone, whose room on the disk comes free
    /// only then, and takes marks from those that nobody wants any more.
    pub fn tick(&self, now: Instant) {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|id, known| {
            known.mark.tick(known.image.sqfs.is_lent(), now);
            let there = files::identity(&self.folder_of_image(*id));
            there.is_ok_and(|there| there == Some(known.identity))
        });
    }

    fn folder_of(&self, name: &Name) -> PathBuf {
        self.root.join("names").join(&name.0)
    }

    fn folder_of_image(&self, id: ImageId) -> PathBuf {
        self.root.join("images").join(id.to_string())
    }
}

/// What is marked as being served is not removed (`marks`), and what was mapped stays whole.
const FRESH: Duration = Duration::from_secs(1);

#[expect(clippy::disallowed_methods, reason = "shell: remembers when it looked")]
fn now() -> Instant {
    Instant::now()
}

/// The greatest generation in the folder of a name.
fn newest(folder: &Path) -> anyhow::Result<Option<u64>> {
    Ok(generations(folder)?.into_iter().max())
}

/// Generations in the folder of a name, in no order. Other files are passed over, as in [`Store::names`].
fn generations(folder: &Path) -> anyhow::Result<Vec<u64>> {
    let files = match files::list(folder) {
        // A plain file among the names.
        Err(_) if !folder.is_dir() => return Ok(Vec::new()),
        files => files?,
    };
    let number = |file: &String| {
        let number: u64 = file.strip_suffix(".json")?.parse().ok()?;
        // One spelling: "+1" and "01" parse, too.
        (format!("{number}.json") == *file).then_some(number)
    };
    Ok(files.iter().filter_map(number).collect())
}

#[cfg(test)]
mod tests;
