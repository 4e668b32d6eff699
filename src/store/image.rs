//! One image of the store: opened once, its chunk list proven, its boot files compared with their names.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};
use bytes::Bytes;
use ramboot_wire::image::{CHUNK_BYTES, CHUNK_LEN};
use ramboot_wire::paths::is_boot_name;
use ramboot_wire::{ChunkList, ImageId};
use rayon::prelude::*;

use super::{
    BOOT, CHUNKS, DIGEST_DIGITS, FACTS, IMAGE, ImageFacts, MAX_JSON_BYTES, Mapping, Stored, files,
};

/// Read at a time to prove an image: enough for all cores, as when it is published.
const RUN_BYTES: u64 = 16 * CHUNK_BYTES;

/// One image and its boot files.
#[derive(Debug)]
pub struct Image {
    /// What `image.json` says.
    pub facts: ImageFacts,
    /// The image, for handing to the kernel and for nothing else: touching a page that cannot be read is SIGBUS.
    pub sqfs: Mapping,
    /// The chunk list, proven to belong to the image's id.
    pub chunks: Bytes,
    folder: PathBuf,
    file: File,
    boot: Mutex<HashMap<String, Stored>>,
}

impl Image {
    pub(super) fn open(folder: PathBuf, id: ImageId) -> anyhow::Result<Self> {
        let facts = read_facts(&folder, id)?;
        let open = |name: &str| {
            let path = folder.join(name);
            let file =
                files::open(&path)?.with_context(|| format!("{} is missing", path.display()))?;
            Ok::<_, anyhow::Error>((file, path))
        };
        let (file, path) = open(IMAGE)?;
        let len = file
            .metadata()
            .with_context(|| format!("looking at {}", path.display()))?
            .len();
        ensure!(
            len == facts.size,
            "{} has {len} bytes, {FACTS} says {}; remove the folder and publish the image again",
            path.display(),
            facts.size
        );
        let sqfs = Mapping::of(&file).with_context(|| format!("mapping {}", path.display()))?;
        let (listed, path) = open(CHUNKS)?;
        // In memory: it is read here, and a mapping's pages must not be (a disk that fails is a signal there).
        let chunks = files::read(
            listed,
            &path,
            ChunkList::encoded_len(facts.size).max(MAX_JSON_BYTES),
        )?;
        let chunks = Bytes::from(chunks);
        ChunkList::prove(id, facts.size, &chunks)
            .with_context(|| format!("reading {}", folder.join(CHUNKS).display()))?;
        Ok(Self {
            facts,
            sqfs,
            chunks,
            folder,
            file,
            boot: Mutex::default(),
        })
    }

    /// Reads all of it and compares it with its digest; tells `progress` how many bytes are done.
    ///
    /// # Errors
    /// The first chunk that is another one than was published, or the disk's.
    pub fn verify(&self, mut progress: impl FnMut(u64)) -> anyhow::Result<()> {
        let path = self.folder.join(IMAGE);
        let damaged = || {
            let path = path.display();
            format!("{path} is damaged; remove its folder and publish the image again")
        };
        let list = ChunkList::prove(self.facts.id, self.facts.size, &self.chunks)?;
        let prove = |first: u64, run: &[u8]| {
            let chunks = run.par_chunks(CHUNK_LEN).enumerate();
            chunks.try_for_each(|(i, chunk)| list.verify(first + i as u64, chunk))
        };
        let read = |from: u64, mut run: Vec<u8>| {
            let len = (self.facts.size - from).min(RUN_BYTES);
            run.resize(usize::try_from(len)?, 0);
            let read = self.file.read_exact_at(&mut run, from);
            read.with_context(|| format!("reading {}", path.display()))?;
            anyhow::Ok(run)
        };
        let (mut at, mut run, mut spare) = (0, read(0, Vec::new())?, Vec::new());
        while !run.is_empty() {
            let end = at + run.len() as u64;
            // The disk is busy with the next run while the processors are with this one.
            let (proven, next) = rayon::join(|| prove(at / CHUNK_BYTES, &run), || read(end, spare));
            proven.with_context(damaged)?;
            progress(run.len() as u64);
            spare = std::mem::replace(&mut run, next?);
            at = end;
        }
        Ok(())
    }

    /// The image for reading, and its name for errors.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn file(&self) -> anyhow::Result<(File, PathBuf)> {
        let path = self.folder.join(IMAGE);
        let file = self.file.try_clone();
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        Ok((file, path))
    }

    /// A file of the `boot` folder; `None` if there is none of this name. Reads all of it when it is first asked for, and again
    /// when somebody has changed it.
    ///
    /// # Errors
    /// Its bytes are not those it was named after, or cannot be read.
    pub fn boot(&self, name: &str) -> anyhow::Result<Option<Stored>> {
        if !is_boot_name(name) {
            return Ok(None);
        }
        // Held while it is read: a rack that is switched on reads it once.
        let mut boot = self.boot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = boot.get(name).filter(|file| file.is_in_place()) {
            return Ok(Some(file.clone()));
        }
        let path = self.folder.join(BOOT).join(name);
        let found = Stored::open(&path)?;
        let checked = found
            .map(|file| check_boot_file(&path, name, &file).map(|()| file))
            .transpose();
        match &checked {
            Ok(Some(file)) => boot.insert(name.to_owned(), file.clone()),
            _ => boot.remove(name),
        };
        checked
    }
}

/// What the `image.json` in the folder of image `id` says.
pub(super) fn read_facts(folder: &Path, id: ImageId) -> anyhow::Result<ImageFacts> {
    let path = folder.join(FACTS);
    let facts: ImageFacts = files::read_json(&path, MAX_JSON_BYTES)?;
    ensure!(
        facts.id == id,
        "{} is of image {}, not of the one its folder is named after",
        path.display(),
        facts.id
    );
    Ok(facts)
}

/// Verify, then serve: a boot file is small enough to be read whole when it is first asked for.
fn check_boot_file(path: &Path, name: &str, file: &Stored) -> anyhow::Result<()> {
    let found = file.digest().with_context(|| {
        let path = path.display();
        format!("reading {path} (if the disk is sound, remove it and publish the image again)")
    })?;
    let found = found.to_hex();
    let named = name.rsplit_once('-').map_or(name, |(_, digits)| digits);
    ensure!(
        named == &found[..DIGEST_DIGITS],
        "{} is damaged: its digest begins with {}; remove it and publish the image again",
        path.display(),
        &found[..DIGEST_DIGITS]
    );
    Ok(())
}
