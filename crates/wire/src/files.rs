//! Worker files: one small archive for one worker, which `/init` lays into the writable layer over the image.
//!
//! The kernel command line carries its digest, so it is verified like the image. The manager keeps nothing: what it must know
//! to make the same bytes again, after a restart or on another manager, travels in the URL ([`Worker`]).

use std::fmt;
use std::net::SocketAddrV4;
use std::str::FromStr;

use crate::client::{Arch, Uuid};
use crate::mac::Mac;
use crate::paths::is_boot_name;

/// An archive above this is refused by both sides: it lies in RAM beside the image while that is fetched.
pub const MAX_FILES_BYTES: u64 = 16 * 1024 * 1024;

/// Files, folders and links in one archive.
pub const MAX_ENTRIES: usize = 4096;

/// BLAKE3 of an archive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilesId(pub [u8; 32]);

/// The text is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a digest of worker files: 64 hexadecimal digits")]
pub struct BadFilesId(String);

/// What the manager knew of a machine, and where that machine reached it, when it handed out boot files: all that the
/// machine's files depend on beside the manager's own folder, config and secret.
///
/// As text `gpu~10.0.0.1:8067~52-54-00-12-34-56~~x86_64~4c4c4544-0042-4810-8056-b4c04f395332`: image, manager, MAC, serial
/// number, architecture, UUID; what is not known is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Worker {
    /// Name of the image it boots.
    pub image: String,
    /// The manager as it is reached by this machine.
    pub manager: SocketAddrV4,
    /// Of the NIC it boots from.
    pub mac: Option<Mac>,
    /// The low 32 bits of a Raspberry Pi's serial number.
    pub serial: Option<u32>,
    /// What its processor runs.
    pub arch: Option<Arch>,
    /// Of the product.
    pub uuid: Option<Uuid>,
}

/// The text is no [`Worker`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not IMAGE~MANAGER~MAC~SERIAL~ARCH~UUID")]
pub struct BadWorker(String);

/// What `/init` is told of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The only thing that is trusted.
    pub id: FilesId,
    /// Bytes of the archive.
    pub size: u64,
    /// Whose they are, as it stands in their URL.
    pub worker: Worker,
}

/// The text says nothing of worker files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFiles {
    /// Not three words.
    #[error("DIGEST:BYTES:WORKER is wanted")]
    Form,
    /// The first word.
    #[error(transparent)]
    Id(#[from] BadFilesId),
    /// The second word.
    #[error("1 to {MAX_FILES_BYTES} bytes are possible")]
    Size,
    /// The third word.
    #[error(transparent)]
    Worker(#[from] BadWorker),
}

impl FilesId {
    /// Of these bytes.
    #[must_use]
    pub fn of(archive: &[u8]) -> Self {
        Self(*blake3::hash(archive).as_bytes())
    }
}

impl fmt::Display for FilesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from(self.0).to_hex())
    }
}

impl fmt::Debug for FilesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for FilesId {
    type Err = BadFilesId;

    fn from_str(text: &str) -> Result<Self, BadFilesId> {
        let bad = || BadFilesId(text.chars().take(80).collect());
        // One spelling only: it is part of a path.
        if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(bad());
        }
        let hash = blake3::Hash::from_hex(text).map_err(|_| bad())?;
        Ok(Self(*hash.as_bytes()))
    }
}

impl fmt::Display for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{}~", self.image, self.manager)?;
        if let Some(mac) = self.mac {
            f.write_str(&mac.hyphenated())?;
        }
        f.write_str("~")?;
        if let Some(serial) = self.serial {
            write!(f, "{serial:08x}")?;
        }
        f.write_str("~")?;
        if let Some(arch) = self.arch {
            write!(f, "{arch}")?;
        }
        f.write_str("~")?;
        match self.uuid {
            Some(uuid) => write!(f, "{uuid}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Worker {
    type Err = BadWorker;

    fn from_str(text: &str) -> Result<Self, BadWorker> {
        let worker = Self::read(text).filter(|worker| worker.to_string() == text);
        worker.ok_or_else(|| BadWorker(text.chars().take(80).collect()))
    }
}

impl Worker {
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split('~');
        let image = words.next().filter(|name| is_boot_name(name))?.to_owned();
        let manager = words.next()?.parse().ok()?;
        let mac = known(words.next()?, |mac| mac.parse().ok())?;
        let serial = known(words.next()?, |serial| u32::from_str_radix(serial, 16).ok())?;
        let arch = known(words.next()?, |arch| arch.parse().ok())?;
        let uuid = known(words.next()?, |uuid| uuid.parse().ok())?;
        words.next().is_none().then_some(Self {
            image,
            manager,
            mac,
            serial,
            arch,
            uuid,
        })
    }
}

/// `None` if it is not what it should be, `Some(None)` if it is not known.
fn known<T>(word: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    if word.is_empty() {
        Some(None)
    } else {
        read(word).map(Some)
    }
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.id, self.size, self.worker)
    }
}

impl FromStr for Files {
    type Err = BadFiles;

    fn from_str(text: &str) -> Result<Self, BadFiles> {
        let mut words = text.splitn(3, ':');
        let (Some(id), Some(size), Some(worker)) = (words.next(), words.next(), words.next())
        else {
            return Err(BadFiles::Form);
        };
        let Ok(size @ 1..=MAX_FILES_BYTES) = size.parse() else {
            return Err(BadFiles::Size);
        };
        Ok(Self {
            id: id.parse()?,
            size,
            worker: worker.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn full() -> Worker {
        Worker {
            image: "gpu-1.2".to_owned(),
            manager: "10.0.0.1:8067".parse().expect("an address"),
            mac: Some(Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56])),
            serial: Some(0xbeef),
            arch: Some(Arch::X86_64),
            uuid: Some(Uuid([7; 16])),
        }
    }

    #[test]
    fn the_text_is_an_interface() {
        let uuid = "07070707-0707-0707-0707-070707070707";
        let bare = Worker {
            mac: None,
            serial: None,
            arch: None,
            uuid: None,
            ..full()
        };
        let files = Files {
            id: FilesId([0xab; 32]),
            size: 1234,
            worker: full(),
        };
        assert_eq!(bare.to_string(), "gpu-1.2~10.0.0.1:8067~~~~");
        let whole = format!("gpu-1.2~10.0.0.1:8067~52-54-00-12-34-56~0000beef~x86_64~{uuid}");
        assert_eq!(full().to_string(), whole);
        assert_eq!(whole.parse(), Ok(full()));
        assert_eq!(bare.to_string().parse(), Ok(bare));
        let text = files.to_string();
        assert_eq!(text, format!("{}:1234:{whole}", "ab".repeat(32)));
        assert_eq!(text.parse(), Ok(files));
    }

    #[test]
    fn one_spelling_only() {
        let id = "ab".repeat(32);
        for text in [
            "",
            "gpu",
            "gpu~10.0.0.1:8067~~~",
            "gpu~10.0.0.1:8067~~~~~",
            "../x~10.0.0.1:8067~~~~",
            "gpu~10.0.0.1~~~~",
            "gpu~manager:8067~~~~",
            "gpu~10.0.0.1:8067~52:54:00:12:34:56~~~",
            "gpu~10.0.0.1:8067~~beef~~",
            "gpu~10.0.0.1:8067~~+000beef~~",
            "gpu~10.0.0.1:8067~~~mips~",
            "gpu~10.0.0.1:08067~~~~",
        ] {
            assert!(text.parse::<Worker>().is_err(), "{text}");
            assert!(format!("{id}:5:{text}").parse::<Files>().is_err(), "{text}");
        }
        for (text, want) in [
            ("x", BadFiles::Form),
            (":5:gpu~10.0.0.1:1~~~~", BadFilesId(String::new()).into()),
            (&*format!("{id}:0:gpu~10.0.0.1:1~~~~"), BadFiles::Size),
            (&format!("{id}:16777217:gpu~10.0.0.1:1~~~~"), BadFiles::Size),
        ] {
            assert_eq!(text.parse::<Files>(), Err(want), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[0-9a-f:~.x_-]{0,120}|\\PC{0,60}") {
            let _ = (text.parse::<Worker>(), text.parse::<Files>(), text.parse::<FilesId>());
        }
    }
}
