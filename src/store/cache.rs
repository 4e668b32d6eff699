//! What takes long to make and can be made again: `<state>/cache/<kind>-<digest of what it was made from>`.
//!
//! Each file begins with the BLAKE3 of the rest, so that a damaged one is made anew instead of being booted. Safe to
//! delete at any time.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;

const DIGEST_BYTES: usize = 32;
/// Kernels that are in use at a time, with some to spare; a kernel for Raspberry Pis has three.
const KEPT: usize = 16;

/// One entry of a store's cache.
#[derive(Debug)]
pub struct Entry {
    folder: PathBuf,
    /// Of the same file system, and cleared if the writer dies.
    scratch: PathBuf,
    name: String,
}

impl Entry {
    /// The entry of what `kind` makes from `inputs` in the store at `root`.
    pub(super) fn new(root: &Path, scratch: &Path, kind: &str, inputs: &blake3::Hash) -> Self {
        Self {
            scratch: scratch.to_owned(),
            folder: root.join("cache"),
            name: format!("{kind}-{}", inputs.to_hex()),
        }
    }

    /// What was stored, if it was and is undamaged.
    #[must_use]
    pub fn get(&self) -> Option<Vec<u8>> {
        let mut content = fs::read(self.folder.join(&self.name)).ok()?;
        let digest: [u8; DIGEST_BYTES] = *content.first_chunk()?;
        content.drain(..DIGEST_BYTES);
        (blake3::hash(&content) == digest).then_some(content)
    }

    /// Stores `content`, and forgets the oldest entries.
    ///
    /// # Errors
    /// It cannot be written; nothing is lost but time.
    pub fn put(&self, content: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.scratch)?;
        file.write_all(blake3::hash(content).as_bytes())?;
        file.write_all(content)?;
        file.persist(self.folder.join(&self.name))?;
        self.prune()
    }

    fn prune(&self) -> io::Result<()> {
        let mut entries = fs::read_dir(&self.folder)?
            .filter_map(Result::ok)
            .map(|entry| {
                let written = entry.metadata().and_then(|m| m.modified());
                (written.unwrap_or(SystemTime::UNIX_EPOCH), entry.path())
            })
            .collect::<Vec<_>>();
        entries.sort();
        for (_, path) in entries.iter().rev().skip(KEPT) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// Removes what is no entry (of an older `ramboot`, of somebody else); how many bytes that were.
pub(super) fn sweep(root: &Path) -> anyhow::Result<u64> {
    let folder = root.join("cache");
    let mut removed = 0;
    for name in super::files::list(&folder)? {
        let path = folder.join(&name);
        let metadata = fs::symlink_metadata(&path);
        let Some(metadata) = metadata.ok().filter(|m| !is_entry(&name) && !m.is_dir()) else {
            continue;
        };
        fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        removed += metadata.len();
    }
    Ok(removed)
}

fn is_entry(name: &str) -> bool {
    let digest = name.rsplit_once('-').map(|(_, digest)| digest);
    digest.is_some_and(|digest| blake3::Hash::from_hex(digest).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_entry_is_no_entry() {
        let root = tempfile::tempdir().expect("temp folder");
        let entry = Entry::new(
            root.path(),
            root.path(),
            "modules",
            &blake3::hash(b"inputs"),
        );
        assert_eq!(entry.get(), None);
        entry.put(b"content").expect("stored");
        assert_eq!(entry.get().as_deref(), Some(&b"content"[..]));
        let path = entry.folder.join(&entry.name);
        let whole = fs::read(&path).expect("there");
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).expect("cut");
            assert_eq!(entry.get(), None, "{cut}");
        }
    }

    #[test]
    fn what_is_no_entry_is_swept() {
        let root = tempfile::tempdir().expect("temp folder");
        let path = root.path();
        assert_eq!(sweep(path).expect("nothing"), 0);
        let entry = Entry::new(path, path, "modules", &blake3::hash(b"inputs"));
        entry.put(b"content").expect("stored");
        for (name, content) in [(".tmpA1", "half"), ("modules-abc", "x"), ("notes", "")] {
            fs::write(path.join("cache").join(name), content).expect("written");
        }
        assert_eq!(sweep(path).expect("swept"), 5);
        assert_eq!(sweep(path).expect("swept"), 0);
        assert_eq!(entry.get().as_deref(), Some(&b"content"[..]));
    }

    #[test]
    fn the_cache_does_not_grow_for_ever() {
        let root = tempfile::tempdir().expect("temp folder");
        for i in 0..KEPT + 5 {
            let entry = Entry::new(
                root.path(),
                root.path(),
                "modules",
                &blake3::hash(&i.to_le_bytes()),
            );
            entry.put(b"content").expect("stored");
            assert!(entry.get().is_some());
        }
        let left = fs::read_dir(root.path().join("cache")).expect("there");
        assert_eq!(left.count(), KEPT);
    }
}
