//! The folder of offers: which board may take which image. A shell.
//!
//! ```text
//! <state>/eeprom/<serial>/{pieeprom.sig, pieeprom.upd}
//! ```
//!
//! An offer appears by the rename of its folder, whole or not at all, also where there was another one; its files are never
//! modified. One program at a time changes the folder; what a dead one left in it is removed by the next.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use bytes::Bytes;
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::chip::Chip;
use super::image::Image;
use super::sig::Sig;
use crate::store::{Exclusive, Stored, UNFINISHED, plain_file};

const FOLDER: &str = "eeprom";
const SIG: &str = "pieeprom.sig";
const IMAGE: &str = "pieeprom.upd";
/// Ours has some 80 bytes.
const MAX_SIG_BYTES: u64 = 4096;

/// What boards are offered.
#[derive(Debug, Clone)]
pub struct Offers {
    state: PathBuf,
    folder: PathBuf,
}

/// What one board is offered.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Which boards the image is for.
    pub chip: Chip,
    /// Its digest, and since when.
    pub sig: Sig,
    /// `pieeprom.upd`.
    pub image: Stored,
}

impl Offer {
    /// All of the image, in memory.
    ///
    /// # Errors
    /// The disk's, with the file's name.
    pub fn read(&self) -> anyhow::Result<Bytes> {
        self.image.read(self.chip.bytes() as u64)
    }
}

impl Offers {
    /// Those in the folder `state`, which need not be there.
    #[must_use]
    pub fn of(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
            folder: state.join(FOLDER),
        }
    }

    /// What the board `serial` is offered. Without an offer that is one system call.
    ///
    /// # Errors
    /// There is one, and it cannot be read; the text names the file.
    pub fn get(&self, serial: u32) -> anyhow::Result<Option<Offer>> {
        let folder = self.folder.join(name(serial));
        let path = folder.join(SIG);
        let Some(file) = plain_file(&path)? else {
            return Ok(None);
        };
        let mut text = String::new();
        file.take(MAX_SIG_BYTES)
            .read_to_string(&mut text)
            .with_context(|| format!("reading {}", path.display()))?;
        let sig = text
            .parse()
            .with_context(|| format!("{} is damaged: offer it again", path.display()))?;
        let path = folder.join(IMAGE);
        let image = Stored::open(&path)?.with_context(|| format!("{} is gone", path.display()))?;
        let chip = Chip::ALL
            .into_iter()
            .find(|chip| chip.bytes() as u64 == image.len());
        let chip = chip.with_context(|| {
            format!(
                "{} has {} bytes, which no image has: offer it again",
                path.display(),
                image.len()
            )
        })?;
        Ok(Some(Offer { chip, sig, image }))
    }

    /// All, by serial number.
    ///
    /// # Errors
    /// The folder cannot be read. An offer that cannot be is part of the list.
    pub fn list(&self) -> anyhow::Result<BTreeMap<u32, anyhow::Result<Offer>>> {
        let mut all = BTreeMap::new();
        let entries = match fs::read_dir(&self.folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(all),
            entries => entries.with_context(|| format!("reading {}", self.folder.display()))?,
        };
        for entry in entries {
            let entry = entry.with_context(|| format!("reading {}", self.folder.display()))?;
            let found = entry.file_name();
            let serial = found
                .to_str()
                .and_then(|text| u32::from_str_radix(text, 16).ok());
            let Some(serial) = serial.filter(|serial| *found == *name(*serial)) else {
                continue;
            };
            if let Some(offer) = self.get(serial).transpose() {
                all.insert(serial, offer);
            }
        }
        Ok(all)
    }

    /// Offers `image` to the board `serial` from `now` on (seconds since 1970), instead of what it was offered before.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn put(&self, serial: u32, image: &Image, now: u64) -> anyhow::Result<Sig> {
        let _alone = self.alone()?;
        let before = self.get(serial).ok().flatten();
        // A bootloader takes what is later: also if the clock was set back, or two offers come within a second.
        let time = before.map_or(now, |before| now.max(before.sig.time.saturating_add(1)));
        let sig = Sig::of(image.bytes(), time);
        let writing = || {
            format!(
                "writing the offer to {serial:08x} in {}",
                self.folder.display()
            )
        };
        self.write(serial, &sig, image).with_context(writing)?;
        Ok(sig)
    }

    /// Takes an offer back; false if there was none.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn withdraw(&self, serial: u32) -> anyhow::Result<bool> {
        let path = self.folder.join(name(serial));
        // Nothing is made in a folder that is no store.
        if !fs::exists(&path).with_context(|| format!("looking at {}", path.display()))? {
            return Ok(false);
        }
        let _alone = self.alone()?;
        let removing = || format!("removing {}", path.display());
        let gone = self.unfinished().with_context(removing)?;
        match fs::rename(&path, gone.path().join("offer")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            renamed => renamed.with_context(removing)?,
        }
        sync(&self.folder).with_context(removing)?;
        gone.close().with_context(removing)?;
        Ok(true)
    }

    fn write(&self, serial: u32, sig: &Sig, image: &Image) -> anyhow::Result<()> {
        let new = self.unfinished()?;
        for (name, content) in [(IMAGE, image.bytes()), (SIG, sig.to_string().as_bytes())] {
            let mut file = File::create_new(new.path().join(name))?;
            file.write_all(content)?;
            // `serve` may run as another user; nobody modifies it, so it can be mapped.
            file.set_permissions(Permissions::from_mode(0o444))?;
            file.sync_all()?;
        }
        fs::set_permissions(new.path(), Permissions::from_mode(0o755))?;
        sync(new.path())?;
        let path = self.folder.join(name(serial));
        match rustix::fs::renameat_with(CWD, new.path(), CWD, &path, RenameFlags::EXCHANGE) {
            // What was there is in the folder of ours now, which is removed.
            Ok(()) => {}
            // A file system that cannot exchange (NFS, 9p): for a moment there is no offer, which no board minds.
            Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS) => {
                if fs::exists(&path)? {
                    fs::rename(&path, self.unfinished()?.path().join("offer"))?;
                }
                // A `TempDir` that has lost its folder has nothing to remove.
                fs::rename(new.path(), &path)?;
            }
            Err(e) => return Err(e.into()),
        }
        sync(&self.folder)
    }

    fn unfinished(&self) -> io::Result<tempfile::TempDir> {
        tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(&self.folder)
    }

    fn alone(&self) -> anyhow::Result<Exclusive> {
        Exclusive::of(&self.state, &self.folder)
    }
}

/// As bootloaders write it in front of what they ask for.
fn name(serial: u32) -> String {
    format!("{serial:08x}")
}

/// Waits until a folder's names are on the disk.
fn sync(folder: &Path) -> anyhow::Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("syncing {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pi::eeprom::image::tests::usual;

    const SERIAL: u32 = 0x0b15_4510;

    fn image(chip: Chip, settings: &[u8]) -> Image {
        Image::parse(usual(chip, settings)).expect("an image")
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> = entries
            .map(|entry| name(entry).into_string().expect("text"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_offer_replaces_another_and_is_taken_back() {
        let state = tempfile::tempdir().expect("a folder");
        let state = state.path().join("state");
        let offers = Offers::of(&state);
        assert!(offers.get(SERIAL).expect("reads").is_none());
        assert!(offers.list().expect("lists").is_empty());
        assert!(!offers.withdraw(SERIAL).expect("no offer"));
        assert!(!state.exists(), "looking makes nothing");

        let (old, new) = (
            image(Chip::Bcm2711, b"BOOT_ORDER=0xf1\n"),
            image(Chip::Bcm2712, b"BOOT_ORDER=0xf2\n"),
        );
        let first = offers.put(SERIAL, &old, 1_700_000_000).expect("offered");
        assert_eq!(first, Sig::of(old.bytes(), 1_700_000_000));
        // The clock was set back: the bootloader must see that this one is newer.
        let second = offers.put(SERIAL, &new, 5).expect("offered");
        assert_eq!(second, Sig::of(new.bytes(), 1_700_000_001));
        offers.put(7, &old, 9).expect("offered");

        let offer = offers.get(SERIAL).expect("reads").expect("offered");
        assert_eq!((offer.chip, &offer.sig), (Chip::Bcm2712, &second));
        assert_eq!(offer.read().expect("reads"), new.bytes());
        let folder = state.join("eeprom");
        assert_eq!(names(&folder), ["00000007", "0b154510"]);
        assert_eq!(
            names(&folder.join("0b154510")),
            ["pieeprom.sig", "pieeprom.upd"]
        );
        let text = fs::read_to_string(folder.join("0b154510/pieeprom.sig")).expect("text");
        assert_eq!(text, second.to_string());
        for (path, mode) in [
            ("", 0o755),
            ("pieeprom.sig", 0o444),
            ("pieeprom.upd", 0o444),
        ] {
            let metadata = fs::metadata(folder.join("0b154510").join(path)).expect(path);
            assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{path}");
        }

        assert!(offers.withdraw(SERIAL).expect("withdrawn"));
        assert!(!offers.withdraw(SERIAL).expect("gone"));
        let left: Vec<u32> = offers.list().expect("lists").into_keys().collect();
        assert_eq!(
            (left, names(&folder)),
            (vec![7], vec!["00000007".to_owned()])
        );
        // Whoever is fetching it goes on.
        assert_eq!(offer.read().expect("reads"), new.bytes());
    }

    #[test]
    fn what_the_dead_left_is_removed_and_what_is_damaged_is_named() {
        let state = tempfile::tempdir().expect("a folder");
        let folder = state.path().join("eeprom");
        for part in [".new-dead", "00000001", "00000002", "0000000A", "notes"] {
            fs::create_dir_all(folder.join(part)).expect("made");
        }
        fs::write(folder.join(".new-dead/pieeprom.upd"), "half").expect("written");
        fs::write(folder.join("00000001/pieeprom.sig"), "nothing").expect("written");
        let sig = Sig::of(b"", 1).to_string();
        fs::write(folder.join("00000002/pieeprom.sig"), &sig).expect("written");
        fs::write(folder.join("00000002/pieeprom.upd"), "short").expect("written");
        let offers = Offers::of(state.path());
        let said = |serial: u32| {
            let all = offers.list().expect("lists");
            let offer = all.get(&serial).expect("listed");
            let error = offer.as_ref().expect_err("damaged");
            format!("{error:#}").replace(&state.path().display().to_string(), "")
        };
        assert_eq!(
            said(1),
            "/eeprom/00000001/pieeprom.sig is damaged: offer it again: it is not 64 hexadecimal digits and a line \"ts: SECONDS\""
        );
        assert_eq!(
            said(2),
            "/eeprom/00000002/pieeprom.upd has 5 bytes, which no image has: offer it again"
        );
        let good = image(Chip::Bcm2711, b"BOOT_ORDER=0xf2\n");
        offers.put(1, &good, 5).expect("offered");
        assert_eq!(
            names(&folder),
            ["00000001", "00000002", "0000000A", "notes"]
        );
        let link = folder.join("00000003");
        fs::create_dir(&link).expect("made");
        std::os::unix::fs::symlink("/etc/hostname", link.join("pieeprom.sig")).expect("linked");
        let error = offers.get(3).expect_err("a link").to_string();
        assert!(error.contains("is a symbolic link"), "{error}");
    }
}
