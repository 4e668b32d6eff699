//! What must be known of a source before its first byte is packed.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use super::entry::{Entry, Kind, MAX_CONTENT_BYTES, Meta, Sink};
use super::names;

/// A sink that reads no content: given a whole source, it knows what the packer is told at its start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    /// The root folder, if the source says anything of it.
    pub root: Option<Meta>,
    /// The newest time.
    pub newest: u64,
    /// Bytes of all files, holes counted.
    pub bytes: u64,
    /// The largest file, and its bytes.
    pub largest: Option<(String, u64)>,
    /// What the image will not have, one sentence each.
    pub left_out: Vec<String>,
    /// What is at its top.
    pub top: Top,
}

impl Outline {
    /// Counts a file.
    pub fn file(&mut self, path: &Path, size: u64) {
        self.bytes = self.bytes.saturating_add(size);
        if self.largest.as_ref().is_none_or(|(_, most)| size > *most) {
            self.largest = Some((path.display().to_string(), size));
        }
    }
}

impl Outline {
    /// Whether a worker has room for it. What is in the image has holes where files have, but whoever reads a file reads zeros.
    ///
    /// # Errors
    /// It has not.
    pub fn check_size(&self) -> Result<(), TooLarge> {
        let bytes = self.bytes;
        match &self.largest {
            Some((largest, size)) if bytes > MAX_CONTENT_BYTES => Err(TooLarge {
                bytes,
                largest: largest.clone(),
                size: *size,
            }),
            _ => Ok(()),
        }
    }
}

/// More than a worker takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "its files have {bytes} bytes, holes counted, and an image takes at most {MAX_CONTENT_BYTES}. The largest is /{largest} \
     with {size} bytes: remove it, or empty it with `truncate --size 0`"
)]
pub struct TooLarge {
    bytes: u64,
    largest: String,
    size: u64,
}

impl Sink for Outline {
    fn entry(&mut self, entry: &Entry, _content: &mut dyn Read) -> anyhow::Result<()> {
        if entry.path.as_os_str().is_empty() {
            self.root = Some(entry.meta.clone());
        }
        self.top.see(&entry.path);
        if !matches!(entry.kind, Kind::Hardlink { .. }) {
            self.newest = self.newest.max(entry.meta.mtime);
        }
        if let Kind::File { size } = entry.kind {
            self.file(&entry.path, size);
        }
        Ok(())
    }
}

/// Names that a root file system has at its top, one of them at least; the last two are those of Nix and Guix.
const OF_A_ROOT: [&[u8]; 6] = [b"bin", b"init", b"sbin", b"usr", b"nix", b"gnu"];
/// All distributions have it, even one whose programs are elsewhere.
const OS_RELEASE: &str = "etc/os-release";
/// Names that are said of what is no root.
const MOST_NAMES: usize = 6;

/// The first names of a source, in their order, and whether they are those of a root file system.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Top {
    names: BTreeSet<Vec<u8>>,
    is_root: bool,
}

impl Top {
    /// Sees an entry pass.
    pub fn see(&mut self, path: &Path) {
        let bytes = names::bytes(path);
        let first = bytes.split(|byte| *byte == b'/').next();
        let Some(first) = first.filter(|first| !first.is_empty()) else {
            return;
        };
        self.is_root |= OF_A_ROOT.contains(&first) || path == Path::new(OS_RELEASE);
        if !self.names.contains(first) {
            self.names.insert(first.to_vec());
            if self.names.len() > MOST_NAMES + 1 {
                self.names.pop_last();
            }
        }
    }

    /// Why this is no root file system.
    ///
    /// # Errors
    /// It has nothing that one must have.
    pub fn check(&self) -> Result<(), NoRoot> {
        if self.is_root {
            return Ok(());
        }
        let shown = |name: &Vec<u8>| String::from_utf8_lossy(name).escape_debug().to_string();
        let names: Vec<String> = self.names.iter().take(MOST_NAMES).map(shown).collect();
        let more = if self.names.len() > MOST_NAMES {
            " and more"
        } else {
            ""
        };
        let is_appliance = self.names.iter().any(|name| name.ends_with(b".ovf"));
        Err(match &names[..] {
            [] => NoRoot::Empty,
            _ if is_appliance => NoRoot::Appliance,
            [only] => NoRoot::Below(only.clone()),
            _ => NoRoot::Other(format!("{}{more}", names.join(", "))),
        })
    }
}

/// A source that no machine can start from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRoot {
    /// Nothing in it.
    #[error("it is empty, so it is not a root file system")]
    Empty,
    /// One name only.
    #[error(
        "it is not a root file system: it has no init, /usr, /bin or /sbin, only {0}. If the root is in there, build from that \
         folder; a tar of it is made by `tar --xattrs -C {0} -cf root.tar .`"
    )]
    Below(String),
    /// An appliance for a hypervisor: a description, and disks.
    #[error(
        "it is an OVA (a disk for a hypervisor): unpack it with `tar -xf`, and make a plain disk image of the disk in it with \
         `qemu-img convert -O raw DISK.vmdk disk.img`"
    )]
    Appliance,
    /// Something else.
    #[error(
        "it is not a root file system: it has no init, /usr, /bin or /sbin. At its top are: {0}. Give the folder that holds /usr \
         and /etc, or a tar of it"
    )]
    Other(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(paths: &[&str]) -> Result<(), NoRoot> {
        let mut top = Top::default();
        paths.iter().for_each(|path| top.see(Path::new(path)));
        top.check()
    }

    #[test]
    fn a_root_file_system_has_programs_or_says_which_system_it_is() {
        for paths in [
            &["etc/os-release"][..],
            &["usr/bin/sh"],
            &["bin"],
            &["sbin/init"],
            &["init"],
            &["nix/store/x"],
            &["README", "manifest.json", "usr"],
        ] {
            assert_eq!(check(paths), Ok(()), "{paths:?}");
        }
        for (paths, want) in [
            (&[""][..], "it is empty"),
            (&["etc/passwd", "etc/os-release.bak"], "only etc."),
            (
                &["rootfs/usr/bin"],
                "`tar --xattrs -C rootfs -cf root.tar .`",
            ),
            (&["b/usr", "a/bin"], "At its top are: a, b."),
            (
                &["8", "7", "6", "5", "4", "3", "2", "1"],
                "1, 2, 3, 4, 5, 6 and more.",
            ),
            (&["x.ovf", "x.vmdk"], "it is an OVA"),
            (&["\u{1b}[2J", "b"], "\\u{1b}[2J, b"),
        ] {
            let refused = check(paths).expect_err("no root").to_string();
            assert!(refused.contains(want), "{refused}");
        }
    }
}
