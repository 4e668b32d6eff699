//! An image as it is read: bytes in memory, or an open file.
//!
//! A file is read and never mapped: a disk that fails, or somebody who shortens the file, is an error here and would be the end
//! of the process (SIGBUS) where a mapping is touched. The library in between forgets what the system said, so the first
//! failure is kept ([`Packed::readable`]).

use std::fs::File;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::{BadImage, grouped};

/// Read from a file at a time where less is asked for: tables are read in pieces of 2 bytes to 8 KiB, one after the other.
const WINDOW_BYTES: usize = 256 * 1024;

/// A whole image. Cloning costs a counter.
#[derive(Debug, Clone)]
pub struct Packed(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    content: Content,
    /// The first failure to read it, with the file's name.
    failure: OnceLock<String>,
}

#[derive(Debug)]
enum Content {
    Memory(Bytes),
    File {
        file: File,
        path: PathBuf,
        /// When it was opened.
        len: u64,
    },
}

impl From<Bytes> for Packed {
    fn from(bytes: Bytes) -> Self {
        Self::of(Content::Memory(bytes))
    }
}

impl From<Vec<u8>> for Packed {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl Packed {
    fn of(content: Content) -> Self {
        Self(Arc::new(Inner {
            content,
            failure: OnceLock::new(),
        }))
    }

    /// An open file, whose name for errors is `path`.
    ///
    /// # Errors
    /// The system does not tell how long it is.
    pub fn file(file: File, path: &Path) -> io::Result<Self> {
        let (len, path) = (file.metadata()?.len(), path.to_owned());
        Ok(Self::of(Content::File { file, path, len }))
    }

    /// How many bytes.
    pub(super) fn len(&self) -> u64 {
        match &self.0.content {
            Content::Memory(bytes) => bytes.len() as u64,
            Content::File { len, .. } => *len,
        }
    }

    /// Whether all that was asked for could be read.
    ///
    /// # Errors
    /// What the system said first, with the file's name.
    pub(super) fn readable(&self) -> Result<(), BadImage> {
        let failure = self.0.failure.get();
        failure.map_or(Ok(()), |text| Err(BadImage::Unreadable(text.clone())))
    }

    /// A copy of what lies in `range`; `None` if that is not inside, or cannot be read.
    pub(super) fn copy(&self, range: Range<u64>) -> Option<Bytes> {
        (range.start <= range.end && range.end <= self.len()).then_some(())?;
        if let Content::Memory(bytes) = &self.0.content {
            return Some(bytes.slice(index(range.start)..index(range.end)));
        }
        let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
        let mut reader = Reader::of(self, vec![Piece::Image(range)]);
        reader.read_exact(&mut bytes).ok()?;
        Some(bytes.into())
    }

    /// The first `end` bytes.
    pub(super) fn reader(&self, end: u64) -> Reader {
        Reader::of(self, vec![Piece::Image(0..end.min(self.len()))])
    }

    /// Reads what stands at `at`: one byte or more.
    fn read_some(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let (file, path, len) = match &self.0.content {
            Content::Memory(bytes) => {
                return bytes.get(index(at)..).unwrap_or_default().read(into);
            }
            Content::File { file, path, len } => (file, path.display(), *len),
        };
        let (kind, text) = match file.read_at(into, at) {
            Ok(0) if !into.is_empty() => {
                let (at, len) = (grouped(at), grouped(len));
                let text = format!("it ends at byte {at}, and had {len} bytes when it was opened");
                (io::ErrorKind::UnexpectedEof, text)
            }
            Ok(read) => return Ok(read),
            Err(error) => (error.kind(), error.to_string()),
        };
        let text = format!("reading {path}: {text}");
        // A call that a signal interrupted is made again.
        if kind != io::ErrorKind::Interrupted {
            let _ = self.0.failure.set(text.clone());
        }
        Err(io::Error::new(kind, text))
    }
}

/// Where offsets are inside of something in memory.
fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// A part of what a [`Reader`] gives.
#[derive(Debug)]
pub(super) enum Piece {
    Memory(Bytes),
    /// Bytes of the image.
    Image(Range<u64>),
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Image(range) => range.end - range.start,
        }
    }
}

/// Pieces one after the other, read as one file.
#[derive(Debug)]
pub(super) struct Reader {
    image: Packed,
    pieces: Vec<Piece>,
    at: u64,
    /// What was read of the file last, and where it stands there.
    window: Vec<u8>,
    window_at: u64,
}

impl Reader {
    /// Those of `image` lie inside of it.
    pub(super) fn of(image: &Packed, pieces: Vec<Piece>) -> Self {
        Self {
            image: image.clone(),
            pieces,
            at: 0,
            window: Vec::new(),
            window_at: 0,
        }
    }

    fn len(&self) -> u64 {
        self.pieces.iter().map(Piece::len).sum()
    }

    /// `N` bytes at `at`; `None` if that is not inside, or cannot be read.
    pub(super) fn word<const N: usize>(&mut self, at: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.at = at;
        self.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    /// The piece that is read next, and where in it; `None` at the end.
    fn piece(&self) -> Option<(&Piece, u64)> {
        let mut at = self.at;
        for piece in &self.pieces {
            match at.checked_sub(piece.len()) {
                Some(after) => at = after,
                None => return Some((piece, at)),
            }
        }
        None
    }

    /// Which bytes of the file are read next, if the window has none of them.
    fn missing(&self) -> Option<Range<u64>> {
        let Some((Piece::Image(range), at)) = self.piece() else {
            return None;
        };
        let next = range.start + at..range.end;
        let window = self.window_at..self.window_at + self.window.len() as u64;
        let is_file = matches!(self.image.0.content, Content::File { .. });
        (is_file && !window.contains(&next.start)).then_some(next)
    }
}

impl BufRead for Reader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Some(next) = self.missing() {
            let len = index(next.end - next.start).min(WINDOW_BYTES);
            // Empty while it is not known what is in it.
            let mut window = std::mem::take(&mut self.window);
            window.resize(len, 0);
            let read = self.image.read_some(next.start, &mut window)?;
            window.truncate(read);
            (self.window, self.window_at) = (window, next.start);
        }
        let Some((piece, at)) = self.piece() else {
            return Ok(&[]);
        };
        let range = match piece {
            Piece::Memory(bytes) => return Ok(bytes.get(index(at)..).unwrap_or_default()),
            Piece::Image(range) => range.start + at..range.end,
        };
        let (bytes, first) = match &self.image.0.content {
            Content::Memory(bytes) => (&**bytes, 0),
            Content::File { .. } => (&*self.window, self.window_at),
        };
        let end = index(range.end - first).min(bytes.len());
        Ok(bytes
            .get(index(range.start - first)..end)
            .unwrap_or_default())
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes as u64;
    }
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = match self.missing() {
            // Blocks of data: without a copy in between.
            Some(next) if into.len() >= WINDOW_BYTES => {
                let len = index(next.end - next.start).min(into.len());
                self.image.read_some(next.start, &mut into[..len])?
            }
            _ => self.fill_buf()?.read(into)?,
        };
        self.consume(read);
        Ok(read)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = to.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests;
