//! What is known of how images boot, kept in `<state>/profiles/<image>.json`. A shell around [`crate::store::boot_profile`].
//!
//! `serve` writes there what workers recorded, and `publish`, which mostly runs as root, what it carried over: the folder
//! belongs to whom the state folder belongs to, and files are replaced by rename, so each can replace what the other wrote. What
//! cannot be read back is named in the log and counts as nothing: it is a hint.

use std::collections::HashMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};
use bytes::Bytes;
use ramboot_wire::ImageId;
use ramboot_wire::profile::Recording;
use tracing::warn;

use super::files;
use super::folder_lock::{Exclusive, UNFINISHED};
use super::staging_dir::sync;
use crate::store::boot_profile::{Carried, Known, Refused};

/// The profiles of a store.
#[derive(Debug)]
pub struct Profiles {
    state: PathBuf,
    folder: PathBuf,
    /// As they are served, with what tells that the file is still the same.
    served: Mutex<HashMap<ImageId, (Stamp, Option<Bytes>)>>,
}

/// One state of a file: a rename brings another inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp(u64, u64, i64, i64);

impl Profiles {
    /// Those of the store at `state`, which need not be there.
    #[must_use]
    pub fn of(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
            folder: state.join(FOLDER),
            served: Mutex::default(),
        }
    }

    /// What is known of an image of `size` bytes; `None` if that is nothing.
    ///
    /// # Errors
    /// There is a file, and it is damaged or cannot be read; the text names it.
    pub fn read(&self, image: ImageId, size: u64) -> anyhow::Result<Option<Known>> {
        let path = self.path(image);
        let Some(file) = files::open(&path)? else {
            return Ok(None);
        };
        let known = parse(file, image, size)
            .with_context(|| format!("{} is damaged: remove it", path.display()))?;
        Ok(Some(known).filter(|known| !known.is_empty()))
    }

    /// The profile of an image of `size` bytes as workers are served it; `None` if nothing is known.
    ///
    /// A damaged file is named in the log, once, and is nothing.
    #[must_use]
    pub fn encoded(&self, image: ImageId, size: u64) -> Option<Bytes> {
        let stamp = stamp(&self.path(image))?;
        // Held while the file is read: of a thousand workers that ask at once, one reads it.
        let mut served = self.served();
        if let Some((of, bytes)) = served.get(&image)
            && *of == stamp
        {
            return bytes.clone();
        }
        let known = self.read(image, size).unwrap_or_else(|error| {
            warn!(image = image.short(), "a profile is not served: {error:#}");
            None
        });
        let bytes = known.map(|known| Bytes::from(known.wants(size).encode()));
        if served.len() >= MAX_SERVED {
            served.clear();
        }
        served.insert(image, (stamp, bytes.clone()));
        bytes
    }

    /// Keeps a recording of an image of `size` bytes that came from an address at `now` (seconds since 1970).
    ///
    /// # Errors
    /// The folder cannot be written; inside, why the recording is not kept.
    pub fn add(
        &self,
        image: ImageId,
        size: u64,
        (from, recording): (Ipv4Addr, Recording),
        now: u64,
    ) -> anyhow::Result<Result<(), Refused>> {
        self.change(image, size, |known| {
            known.add(from, recording, image, size, now)
        })
    }

    /// Keeps what another image's boots say of this one, which has `size` bytes.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn carry(&self, image: ImageId, size: u64, carried: Carried) -> anyhow::Result<()> {
        let kept = self.change(image, size, |known| {
            known.carried = Some(carried);
            known.check(image, size)
        })?;
        kept.context("the profile that was carried over")
    }

    /// Removes the profiles of images that are not among `images`, which are asked for after the profiles: one that is published
    /// meanwhile is there before its profile.
    ///
    /// # Errors
    /// The folder cannot be read or written, or what `images` says.
    pub fn sweep(
        &self,
        images: impl FnOnce() -> anyhow::Result<Vec<ImageId>>,
    ) -> anyhow::Result<()> {
        if !fs::exists(&self.folder)
            .with_context(|| format!("looking at {}", self.folder.display()))?
        {
            return Ok(());
        }
        let _alone = self.alone()?;
        let names = files::list(&self.folder)?;
        let images = images()?;
        for name in names {
            let id = name.strip_suffix(ENDING).and_then(|id| id.parse().ok());
            // What is not ours is left alone.
            let Some(id) = id else { continue };
            if !images.contains(&id) {
                let path = self.folder.join(name);
                fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            }
        }
        Ok(())
    }

    fn change(
        &self,
        image: ImageId,
        size: u64,
        change: impl FnOnce(&mut Known) -> Result<(), Refused>,
    ) -> anyhow::Result<Result<(), Refused>> {
        let _alone = self.alone()?;
        let known = self.read(image, size).unwrap_or_else(|error| {
            warn!(image = image.short(), "a profile is begun anew: {error:#}");
            None
        });
        let mut known = known.unwrap_or_default();
        if let Err(refused) = change(&mut known) {
            return Ok(Err(refused));
        }
        let path = self.path(image);
        self.write(&path, &known)
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(Ok(()))
    }

    fn write(&self, path: &Path, known: &Known) -> anyhow::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(&self.folder)?;
        file.write_all(&serde_json::to_vec(known)?)?;
        file.as_file()
            .set_permissions(Permissions::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        sync(&self.folder)
    }

    fn alone(&self) -> anyhow::Result<Exclusive> {
        let alone = Exclusive::of(&self.state, &self.folder)?;
        give_to_owner_of(&self.state, &self.folder)
            .with_context(|| format!("giving {} to its user", self.folder.display()))?;
        Ok(alone)
    }

    fn path(&self, image: ImageId) -> PathBuf {
        self.folder.join(format!("{image}{ENDING}"))
    }

    fn served(&self) -> std::sync::MutexGuard<'_, HashMap<ImageId, (Stamp, Option<Bytes>)>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(file: File, image: ImageId, size: u64) -> anyhow::Result<Known> {
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut text)?;
    ensure!(
        text.len() as u64 <= MAX_BYTES,
        "it has more than {MAX_BYTES} bytes"
    );
    let known: Known = serde_json::from_slice(&text)?;
    known.check(image, size)?;
    Ok(known)
}

/// What root makes in the folder of the manager's own user must be that user's to replace.
fn give_to_owner_of(state: &Path, folder: &Path) -> io::Result<()> {
    let (state, own) = (fs::metadata(state)?, fs::metadata(folder)?);
    if !rustix::process::geteuid().is_root() || state.uid() == own.uid() {
        return Ok(());
    }
    chown(folder, Some(state.uid()), Some(state.gid()))
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::symlink_metadata(path).ok()?;
    Some(Stamp(
        found.dev(),
        found.ino(),
        found.mtime(),
        found.mtime_nsec(),
    ))
}

const FOLDER: &str = "profiles";
const ENDING: &str = ".json";
/// Eight recordings of the longest, and what is carried over for an image of 64 GiB.
const MAX_BYTES: u64 = 8 << 20;
/// Each is at most 256 KiB; more images than that are hardly booted at a time.
const MAX_SERVED: usize = 64;

#[cfg(test)]
mod tests {
    use ramboot_wire::image::CHUNK_BYTES;

    use super::*;
    use crate::store::boot_profile::tests::{IMAGE, recording};

    const SIZE: u64 = 4 * CHUNK_BYTES;

    fn profiles() -> (tempfile::TempDir, Profiles) {
        let state = tempfile::tempdir().expect("a folder");
        let profiles = Profiles::of(state.path());
        (state, profiles)
    }

    fn add(profiles: &Profiles, last: u8) -> Result<(), Refused> {
        let recording = recording(last, Some(5), &[(0, 0), (2, 9)]);
        let from = Ipv4Addr::new(10, 0, 0, last);
        profiles
            .add(IMAGE, SIZE, (from, recording), 1000)
            .expect("written")
    }

    #[test]
    fn what_is_kept_is_served_and_what_changes_is_seen() {
        let (state, profiles) = profiles();
        assert_eq!(profiles.encoded(IMAGE, SIZE), None);
        add(&profiles, 1).expect("taken");
        let bytes = profiles.encoded(IMAGE, SIZE).expect("there");
        assert_eq!(bytes[..], [0x81, 0, 1, 0]);
        assert_eq!(
            add(&profiles, 1),
            Err(Refused::TooSoon(recording(1, None, &[]).mac))
        );
        let other = Profiles::of(state.path());
        let late = recording(2, None, &[(1, 0)]);
        other
            .add(IMAGE, SIZE, (Ipv4Addr::new(10, 0, 0, 2), late), 9)
            .expect("written")
            .expect("taken");
        let bytes = profiles.encoded(IMAGE, SIZE).expect("there");
        assert!(bytes[1] > 0x80, "{bytes:?}");
        let known = profiles.read(IMAGE, SIZE).expect("sound").expect("there");
        assert_eq!(known.recordings.len(), 2);
    }

    #[test]
    fn a_damaged_file_is_nothing_and_is_replaced() {
        let (_state, profiles) = profiles();
        add(&profiles, 1).expect("taken");
        let path = profiles.path(IMAGE);
        let good = fs::read_to_string(&path).expect("text");
        for bad in [
            String::new(),
            "[".repeat(100_000),
            good.replace("[2,9]", "[4,9]"),
            good.replace("[2,9]", "[2,-9]"),
            format!("{good}{}", " ".repeat(8 << 20)),
        ] {
            fs::write(&path, &bad).expect("written");
            assert_eq!(profiles.encoded(IMAGE, SIZE), None, "{bad:.60}");
            let error = format!("{:#}", profiles.read(IMAGE, SIZE).expect_err("damaged"));
            assert!(error.contains(".json is damaged: remove it: "), "{error}");
        }
        fs::remove_file(&path).expect("removed");
        std::os::unix::fs::symlink("/dev/zero", &path).expect("linked");
        assert_eq!(profiles.encoded(IMAGE, SIZE), None);
        add(&profiles, 1).expect("taken");
        assert_eq!(fs::read_to_string(&path).expect("text"), good);
    }

    #[test]
    fn leftovers_and_profiles_of_images_that_are_gone_are_removed() {
        let (state, profiles) = profiles();
        profiles.sweep(|| Ok(vec![])).expect("there is nothing");
        assert!(!state.path().join(FOLDER).exists());
        add(&profiles, 1).expect("taken");
        let folder = state.path().join(FOLDER);
        for other in [".new-x", "README"] {
            fs::write(folder.join(other), "x").expect("written");
        }
        profiles.sweep(|| Ok(vec![IMAGE])).expect("swept");
        let names = || {
            let mut names = files::list(&folder).expect("read");
            names.sort();
            names
        };
        assert_eq!(names(), [format!("{IMAGE}.json"), "README".to_owned()]);
        profiles.sweep(|| Ok(vec![])).expect("swept");
        assert_eq!(names(), ["README"]);
        assert_eq!(profiles.encoded(IMAGE, SIZE), None);
    }

    #[test]
    fn everybody_may_read_and_the_owner_of_the_state_may_replace() {
        let (state, profiles) = profiles();
        add(&profiles, 1).expect("taken");
        let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o777;
        assert_eq!(mode(&profiles.path(IMAGE)), 0o644);
        assert_eq!(mode(&state.path().join(FOLDER)), 0o755);
        let uid = |path: &Path| fs::metadata(path).expect("there").uid();
        if rustix::process::geteuid().is_root() {
            chown(state.path(), Some(64_321), Some(64_321)).expect("root");
            add(&profiles, 2).expect("taken");
        }
        assert_eq!(uid(&state.path().join(FOLDER)), uid(state.path()));
    }
}
