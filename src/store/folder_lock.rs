//! A folder beside the store's images that one program at a time changes: `<state>/profiles`, `<state>/eeprom`.
//!
//! What appears there is written under a name that begins with [`UNFINISHED`] and renamed. Who comes next removes what a dead
//! program left of that.

use std::fs::{self, File};
use std::path::Path;

use anyhow::Context;
use rustix::fs::FlockOperation;

use super::staging_dir::{make_root, open_folder, sync};

/// Of a name that is not meant yet, or not any more.
pub(crate) const UNFINISHED: &str = ".new-";

/// Nobody else changes the folder while it lives.
#[derive(Debug)]
#[must_use]
pub(crate) struct Exclusive(#[expect(dead_code, reason = "the lock ends when it is closed")] File);

impl Exclusive {
    /// Makes `folder`, which is in the folder `state`, and waits until nobody else changes it.
    ///
    /// # Errors
    /// It cannot be made, or not be tidied.
    pub(crate) fn of(state: &Path, folder: &Path) -> anyhow::Result<Self> {
        let opening = || format!("opening {} to change it", folder.display());
        make_root(state).with_context(opening)?;
        if !folder.is_dir() {
            open_folder(folder).with_context(opening)?;
            sync(state)?;
        }
        let lock = File::open(folder).with_context(opening)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).with_context(opening)?;
        for entry in fs::read_dir(folder).with_context(opening)? {
            let entry = entry.with_context(opening)?;
            let name = entry.file_name();
            if !name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
                continue;
            }
            let path = entry.path();
            let removed = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.with_context(|| format!("removing the leftover {}", path.display()))?;
        }
        Ok(Self(lock))
    }
}
