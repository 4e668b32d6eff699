//! A boot file of the store, open: small enough to be sent by TFTP, and proven before anything of it is sent.
//!
//! There are two ways to its bytes, and neither lets a bad disk or an administrator who shortens the file end the manager.
//! Who copies bytes reads them ([`Stored::read_at`]): an error is a value. Who hands bytes to the kernel ([`Stored::bytes`]
//! and a socket) has them from a mapping, whose windows are read in first: a page that is gone by then is the socket's
//! EFAULT. Touching a mapping's pages from here would be SIGBUS for them, and nothing does.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use rustix::io::{Errno, ReadWriteFlags};

use super::{Mapping, WINDOW_BYTES, files};

/// One open file. Cloning costs a counter.
#[derive(Debug, Clone)]
pub struct Stored(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    path: PathBuf,
    len: u64,
    stamp: Stamp,
    /// mmap(2) refuses an empty file.
    mapping: Option<Mapping>,
    /// The file system can say that a page would have to come from the disk (tmpfs and overlayfs cannot).
    tells: AtomicBool,
}

/// What changes when somebody changes the file, or puts another one in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.stamp == other.0.stamp
    }
}

impl Eq for Stored {}

impl Stored {
    /// Opens a plain file; `None` if there is nothing.
    ///
    /// # Errors
    /// It is something else, or cannot be opened or mapped.
    pub fn open(path: &Path) -> anyhow::Result<Option<Self>> {
        let Some(file) = files::open(path)? else {
            return Ok(None);
        };
        let metadata = file.metadata();
        let metadata = metadata.with_context(|| format!("looking at {}", path.display()))?;
        let len = metadata.len();
        let mapping = (len > 0).then(|| Mapping::of(&file)).transpose();
        let mapping = mapping.with_context(|| format!("mapping {}", path.display()))?;
        Ok(Some(Self(Arc::new(Inner {
            file,
            path: path.to_owned(),
            len,
            stamp: Stamp::of(&metadata),
            mapping,
            tells: AtomicBool::new(true),
        }))))
    }

    /// How many bytes it had when it was opened.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.len
    }

    /// It had none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// Whether what stands at its path is still this file, and nobody has written to it.
    pub(super) fn is_in_place(&self) -> bool {
        std::fs::symlink_metadata(&self.0.path)
            .is_ok_and(|metadata| Stamp::of(&metadata) == self.0.stamp)
    }

    /// The digest of what is in it now; waits for the disk.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn digest(&self) -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        let mut piece = vec![0; HASHED_BYTES];
        let mut at = 0;
        loop {
            let read = self.0.file.read_at(&mut piece, at)?;
            if read == 0 {
                return Ok(hasher.finalize());
            }
            hasher.update(&piece[..read]);
            at += read as u64;
        }
    }

    /// All of it, in memory; waits for the disk.
    ///
    /// # Errors
    /// The disk's, with the file's name; it has more than `limit` bytes.
    pub fn read(&self, limit: u64) -> anyhow::Result<Bytes> {
        let (len, path) = (self.0.len, self.0.path.display());
        ensure!(len <= limit, "{path} has {len} bytes, {limit} are possible");
        let mut bytes = vec![0; usize::try_from(len)?];
        self.read_at(0, &mut bytes)?;
        Ok(bytes.into())
    }

    /// Fills `buffer` with what stands at `offset`; waits for the disk.
    ///
    /// # Errors
    /// The disk's, with the file's name; the file is shorter than it was.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if let Some(mapping) = &self.0.mapping {
            // With what comes next, so that the disk is asked once for many blocks. What is wrong with it is said below.
            let _ = mapping.read_in(window(offset));
        }
        self.0.file.read_exact_at(buffer, offset).map_err(|error| {
            let text = format!("reading {}: {error}", self.0.path.display());
            io::Error::new(error.kind(), text)
        })
    }

    /// Fills `buffer` with what stands at `offset` if it is in memory; false if a disk would have to be waited for, or if it cannot
    /// be read: [`Stored::read_at`] says why.
    #[must_use]
    pub fn read_now(&self, offset: u64, buffer: &mut [u8]) -> bool {
        let inner = &*self.0;
        if inner.tells.load(Ordering::Relaxed) {
            let slices = &mut [io::IoSliceMut::new(buffer)];
            match rustix::io::preadv2(&inner.file, slices, offset, ReadWriteFlags::NOWAIT) {
                Ok(read) => return read == buffer.len(),
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                    inner.tells.store(false, Ordering::Relaxed);
                }
                Err(_) => return false,
            }
        }
        let there = inner.mapping.as_ref();
        there.is_some_and(|mapping| mapping.was_read_in(window(offset)))
            && inner.file.read_exact_at(buffer, offset).is_ok()
    }

    /// All of it, for handing to the kernel and for nothing else: see the module.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.0
            .mapping
            .as_ref()
            .map_or_else(Bytes::new, Mapping::bytes)
    }

    /// What [`Stored::bytes`] are of.
    #[must_use]
    pub fn mapping(&self) -> Option<Mapping> {
        self.0.mapping.clone()
    }
}

fn window(offset: u64) -> usize {
    usize::try_from(offset / WINDOW_BYTES as u64).unwrap_or(usize::MAX - 1)
}

/// At a time.
const HASHED_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(content: &[u8]) -> (tempfile::TempDir, PathBuf, Stored) {
        let folder = tempfile::tempdir().expect("temp folder");
        let path = folder.path().join("file");
        std::fs::write(&path, content).expect("written");
        let stored = Stored::open(&path).expect("opened").expect("there");
        (folder, path, stored)
    }

    #[test]
    fn what_is_read_is_what_is_there() {
        let content: Vec<u8> = (0..3 * WINDOW_BYTES)
            .map(|i| (i / 251).to_le_bytes()[0])
            .collect();
        let (_folder, _, stored) = stored(&content);
        assert_eq!(stored.digest().expect("read"), blake3::hash(&content));
        for offset in [0, 1, WINDOW_BYTES - 700, 2 * WINDOW_BYTES + 5] {
            let mut buffer = [0; 1468];
            stored.read_at(offset as u64, &mut buffer).expect("read");
            assert_eq!(buffer, content[offset..offset + 1468], "{offset}");
            buffer.fill(0);
            assert!(stored.read_now(offset as u64, &mut buffer), "{offset}");
            assert_eq!(buffer, content[offset..offset + 1468], "{offset}");
        }
        let mut buffer = [0; 9];
        for offset in [content.len() as u64 - 8, u64::MAX - 4] {
            assert!(!stored.read_now(offset, &mut buffer));
            stored
                .read_at(offset, &mut buffer)
                .expect_err("past its end");
        }
    }

    /// Whoever reads gets an error with the file's name, before and after the window was read in.
    #[test]
    fn a_file_that_was_shortened_is_an_error() {
        for read_before in [false, true] {
            let (_folder, path, stored) = stored(&vec![7; 2 * WINDOW_BYTES]);
            let mut buffer = [0; 1468];
            let offset = WINDOW_BYTES as u64;
            if read_before {
                stored.read_at(offset, &mut buffer).expect("read");
            }
            assert!(stored.is_in_place());
            let file = std::fs::OpenOptions::new().write(true).open(&path);
            file.and_then(|file| file.set_len(5)).expect("shortened");
            assert!(!stored.is_in_place());
            assert!(!stored.read_now(offset, &mut buffer));
            let error = stored.read_at(offset, &mut buffer).expect_err("gone");
            assert!(error.to_string().contains("reading /"), "{error}");
        }
    }

    #[test]
    fn an_empty_file_is_a_file() {
        let (_folder, _, stored) = stored(b"");
        assert!(stored.is_empty() && stored.bytes().is_empty());
        assert_eq!(stored.digest().expect("read"), blake3::hash(b""));
        stored.read_at(0, &mut []).expect("nothing");
    }
}
