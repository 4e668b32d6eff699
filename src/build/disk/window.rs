//! A range of an image file, and nothing outside of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

/// A partition, or the whole image.
#[derive(Debug, Clone)]
pub(super) struct Window {
    file: Rc<File>,
    start: u64,
    len: u64,
}

impl Window {
    /// The whole image.
    pub(super) fn whole(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self {
            file: Rc::new(file),
            start: 0,
            len,
        })
    }

    /// `None` if it is not all there.
    pub(super) fn part(&self, start: u64, len: u64) -> Option<Self> {
        let end = start.checked_add(len)?;
        (end <= self.len).then(|| Self {
            file: Rc::clone(&self.file),
            start: self.start + start,
            len,
        })
    }

    /// Where it begins in the image.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// In bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `into` from byte `at` on.
    ///
    /// # Errors
    /// Not all of it is there, or the file cannot be read.
    pub(super) fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let end = at.checked_add(into.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            let wanted = into.len();
            let len = self.len;
            return Err(io::Error::other(format!(
                "{wanted} bytes at byte {at} are past its end at byte {len}"
            )));
        }
        self.file.read_exact_at(into, self.start + at)
    }

    /// A few bytes.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn array<const N: usize>(&self, at: u64) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read(at, &mut bytes)?;
        Ok(bytes)
    }

    /// Some bytes; `len` is bounded by the caller.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn bytes(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.read(at, &mut bytes)?;
        Ok(bytes)
    }
}
