//! What a cpio archive is made of, before [`ramboot_wire::cpio`] writes it.
//!
//! The same entries give the same bytes: sorted by path, no time, root's unless said otherwise, inodes counted from 1.

use std::collections::BTreeMap;

pub use ramboot_wire::cpio::CpioError;
use ramboot_wire::cpio::{self, Meta};
use ramboot_wire::root::PAGE;

const MODE_FOLDER: u32 = cpio::FOLDER | 0o755;
const MODE_FILE: u32 = cpio::FILE | 0o644;
const MODE_PROGRAM: u32 = cpio::FILE | 0o755;
const MODE_CONSOLE: u32 = cpio::DEVICE | 0o600;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Folder,
    File {
        content: Vec<u8>,
        mode: u32,
    },
    /// A character device: major and minor number.
    Device(u32, u32),
    /// Whatever `mode` says, with an owner.
    Owned {
        mode: u32,
        owner: Owner,
        content: Vec<u8>,
    },
}

/// Numbers of a user and a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// Entries by path, without the leading slash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Archive(BTreeMap<String, Entry>);

impl Archive {
    /// Adds a folder, and those above it.
    pub fn folder(&mut self, path: &str) {
        self.parents(path);
        self.0.entry(path.to_owned()).or_insert(Entry::Folder);
    }

    /// Adds a file and the folders above it.
    pub fn file(&mut self, path: &str, content: Vec<u8>) {
        self.parents(path);
        let mode = MODE_FILE;
        self.0
            .insert(path.to_owned(), Entry::File { content, mode });
    }

    /// Adds a file that can be executed, and the folders above it.
    pub fn program(&mut self, path: &str, content: Vec<u8>) {
        self.parents(path);
        let mode = MODE_PROGRAM;
        self.0
            .insert(path.to_owned(), Entry::File { content, mode });
    }

    /// Adds a character device and the folders above it.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.parents(path);
        self.0.insert(path.to_owned(), Entry::Device(major, minor));
    }

    /// Adds what has this `mode` (type and permissions as in `st_mode`) and owner, and no folder above it. A link's content is
    /// its target.
    pub fn owned(&mut self, path: &str, mode: u32, owner: Owner, content: Vec<u8>) {
        let entry = Entry::Owned {
            mode,
            owner,
            content,
        };
        self.0.insert(path.to_owned(), entry);
    }

    fn parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            self.0.entry(path[..at].to_owned()).or_insert(Entry::Folder);
        }
    }

    /// The archive's bytes. A folder stands before what is in it: its path is a prefix.
    ///
    /// # Errors
    /// A path or file is too large for the format.
    pub fn bytes(&self) -> Result<Vec<u8>, CpioError> {
        let mut out = Vec::with_capacity(self.size());
        for ((path, entry), inode) in self.0.iter().zip(1_u32..) {
            let of = |mode| Meta {
                inode,
                mode,
                ..Meta::default()
            };
            let (meta, content): (Meta, &[u8]) = match entry {
                Entry::Folder => (of(MODE_FOLDER), &[]),
                Entry::File { content, mode } => (of(*mode), content),
                Entry::Device(major, minor) => {
                    let device = (*major, *minor);
                    let meta = of(MODE_CONSOLE);
                    (Meta { device, ..meta }, &[])
                }
                Entry::Owned {
                    mode,
                    owner: Owner { uid, gid },
                    content,
                } => {
                    let (uid, gid) = (*uid, *gid);
                    let meta = of(*mode);
                    (Meta { uid, gid, ..meta }, content)
                }
            };
            cpio::append(&mut out, path, meta, content)?;
        }
        cpio::finish(&mut out);
        Ok(out)
    }

    /// Bytes of the pages that its files take in RAM when it is unpacked.
    #[must_use]
    pub fn held(&self) -> u64 {
        let entry = |entry: &Entry| match entry {
            Entry::File { content, .. } | Entry::Owned { content, .. } => {
                (content.len() as u64).next_multiple_of(PAGE)
            }
            Entry::Folder | Entry::Device(..) => 0,
        };
        self.0.values().map(entry).sum()
    }

    fn size(&self) -> usize {
        let entry = |(path, entry): (&String, &Entry)| match entry {
            Entry::File { content, .. } | Entry::Owned { content, .. } => {
                120 + path.len() + content.len()
            }
            Entry::Folder | Entry::Device(..) => 120 + path.len(),
        };
        self.0.iter().map(entry).sum::<usize>() + 128
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_byte_by_byte() {
        let mut archive = Archive::default();
        archive.program("init", b"hello".to_vec());
        let bytes = archive.bytes().expect("fits");
        let want = "07070100000001000081ed000000000000000000000001000000000000000500000000000000000000000000000000000000050000000\
                    0init\0\0hello\0\0\0\
                    07070100000000000000000000000000000000000000010000000000000000000000000000000000000000000000000000000b0000000\
                    0TRAILER!!!\0\0\0\0";
        assert_eq!(String::from_utf8_lossy(&bytes), want);
    }

    #[test]
    fn the_order_of_adding_does_not_matter() {
        let mut a = Archive::default();
        a.file("modules/kernel/a.ko", vec![1; 5]);
        a.device("dev/console", 5, 1);
        a.folder("proc");
        let mut b = Archive::default();
        b.folder("proc");
        b.folder("modules");
        b.device("dev/console", 5, 1);
        b.file("modules/kernel/a.ko", vec![1; 5]);
        let bytes = a.bytes().expect("fits");
        assert_eq!(bytes, b.bytes().expect("fits"));
        assert_eq!(bytes.len() % 4, 0);
        let at = |name: &str| {
            let text = String::from_utf8_lossy(&bytes);
            text.find(&format!("{name}\0")).expect("there")
        };
        assert!(at("modules") < at("modules/kernel"));
        assert!(at("modules/kernel") < at("modules/kernel/a.ko"));
    }

    #[test]
    fn an_owner_and_a_link() {
        let mut archive = Archive::default();
        let owner = Owner {
            uid: 10,
            gid: 0x1234,
        };
        archive.owned("a", 0o120_777, owner, b"/b".to_vec());
        let bytes = archive.bytes().expect("fits");
        let want = "0707010000000100\
                    00a1ff0000000a000012340000000100000000000000020000000000000000000000000000000000000002\
                    00000000a\0/b\0\0";
        assert!(
            bytes.starts_with(want.as_bytes()),
            "{}",
            String::from_utf8_lossy(&bytes)
        );
    }

    #[test]
    fn a_path_the_kernel_would_not_read_is_refused() {
        let mut archive = Archive::default();
        archive.file(&"a".repeat(4096), Vec::new());
        assert_eq!(archive.bytes(), Err(CpioError::Name(4096)));
    }
}
