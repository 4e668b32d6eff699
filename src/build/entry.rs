//! What every source of a root file system is turned into: entries, each with its content, in the order they are packed.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

/// Bytes of all files of a source, holes counted: what is in RAM in the end is not larger. Keeps a hole of 16 TiB from being
/// packed for hours.
pub const MAX_CONTENT_BYTES: u64 = 256 << 30;

/// One file, folder or other thing of a root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Below the root, without a leading slash, `.` or `..`; empty for the root itself.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// All else the source says of it.
    pub meta: Meta,
}

/// What kind of thing an [`Entry`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A plain file; its content goes with the entry.
    File {
        /// Bytes of content.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// As it stands in the link, never resolved.
        target: PathBuf,
    },
    /// Another name of a file that came before.
    Hardlink {
        /// As [`Entry::path`].
        to: PathBuf,
    },
    /// A device node.
    Device {
        /// A block device, not a character device.
        block: bool,
        /// `major(3)`
        major: u32,
        /// `minor(3)`
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// Owner, permissions, time and extended attributes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// The twelve permission bits of `st_mode`.
    pub mode: u32,
    /// Owner's user id.
    pub uid: u32,
    /// Owner's group id.
    pub gid: u32,
    /// Seconds since 1970; what is older becomes 0.
    pub mtime: u64,
    /// By full name, such as `security.capability`, as the kernel gives them.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Where entries go.
pub trait Sink {
    /// Takes one entry; `content` has exactly the file's bytes, and none for what is not a [`Kind::File`].
    ///
    /// A folder comes before what is in it, and a file before its other names.
    ///
    /// # Errors
    /// It cannot be taken: nothing more may be given.
    fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> anyhow::Result<()>;
}
