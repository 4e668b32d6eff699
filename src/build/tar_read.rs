//! Reads tar: bytes in, entries out, content as a stream. POSIX pax, GNU and the old forms, sparse files in all four ways GNU
//! tar writes them, extended attributes as `SCHILY.xattr.*`.
//!
//! An archive is untrusted: what it says of itself is held against limits before room is made for it, and names are given out
//! as they stand; [`super::merge`] judges them. The `tar` crate reads header blocks; its iterator is not used, for it makes
//! as much room for a long name as the header asks for, and splits binary attributes at line ends.

mod fields;
mod pax;
mod sparse;

use std::collections::BTreeMap;
use std::io::{self, Read};

use tar::{EntryType, Header};

use super::entry::{Kind, Meta};
use pax::Extensions;
use sparse::Sparse;

/// Bytes of a long name or of an extended header: names are at most 4096, attributes at most 64 KiB each.
const MAX_EXTENSION_BYTES: u64 = 1 << 20;

const BLOCK: usize = 512;

/// One entry as the archive has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// As it stands there: nothing is known of it.
    pub name: Vec<u8>,
    /// What it is; targets and link names as they stand there.
    pub kind: Kind,
    /// Owner, permissions, time, attributes.
    pub meta: Meta,
}

/// The archive cannot be read on from here.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// A header that is none.
    #[error("byte {0} is not the beginning of a tar entry: the archive is damaged, or no tar")]
    NoHeader(u64),
    /// It ends in the middle.
    #[error("it ends after {0} bytes, in the middle of an entry: it is cut off")]
    CutOff(u64),
    /// A number that is none, or a size that does not fit.
    #[error("{name:?} has no valid {field}")]
    Field {
        /// The entry's name.
        name: String,
        /// The header's field.
        field: &'static str,
    },
    /// Room that would be needed for what describes an entry.
    #[error("an extended header of {0} bytes; at most {MAX_EXTENSION_BYTES} are taken")]
    Extension(u64),
    /// An extended header that is none.
    #[error("an extended header before byte {0} is damaged")]
    Pax(u64),
    /// A map of a sparse file that contradicts itself.
    #[error("{0:?} has no valid map of its holes")]
    Sparse(String),
    /// A kind of entry that no file system has.
    #[error("{name:?} is an entry of type {kind:?}, which is not known")]
    Kind {
        /// The entry's name.
        name: String,
        /// Its type flag.
        kind: char,
    },
    /// The bytes cannot be had.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads one archive from front to back.
#[derive(Debug)]
pub struct Reader<R> {
    inner: Counted<R>,
    /// Of the entry's stored bytes, what nobody read yet, and what fills the last block.
    stored: u64,
    padding: u64,
    sparse: Option<Sparse>,
    /// Bytes of content still to come.
    content: u64,
    ended: bool,
    /// Records that say something which is not kept, and of how many entries.
    unknown: BTreeMap<Vec<u8>, u64>,
}

/// Kinds of records that are counted.
const MAX_UNKNOWN: usize = 32;

impl<R: Read> Reader<R> {
    /// Begins at the first header.
    pub fn new(inner: R) -> Self {
        let inner = Counted { inner, at: 0 };
        Self {
            inner,
            stored: 0,
            padding: 0,
            sparse: None,
            content: 0,
            ended: false,
            unknown: BTreeMap::new(),
        }
    }

    /// The next entry, or `None` at the end.
    ///
    /// # Errors
    /// See [`TarError`].
    pub fn next_item(&mut self) -> Result<Option<Item>, TarError> {
        self.skip_content()?;
        let mut said = Extensions::default();
        loop {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = fields::unsigned(header.as_bytes(), fields::SIZE).unwrap_or(u64::MAX);
            match header.entry_type().as_byte() {
                // X is Sun's, and the same.
                b'x' | b'X' => {
                    let bytes = self.extension(size)?;
                    said.read_pax(&bytes).ok_or(TarError::Pax(self.inner.at))?;
                }
                // For the archive as a whole: git's commit, a comment. Nothing that is needed.
                b'g' => {
                    self.extension(size)?;
                }
                b'L' => said.name = Some(until_nul(&self.extension(size)?)),
                b'K' => said.link = Some(until_nul(&self.extension(size)?)),
                // A volume's label.
                b'V' => said = Extensions::default(),
                _ => return self.item(&header, said).map(Some),
            }
        }
    }

    /// The content of the entry that [`Self::next_item`] gave last.
    pub fn content(&mut self) -> Content<'_, R> {
        Content(self)
    }

    /// Where the next byte comes from: after [`Self::next_item`], where a plain file's content begins.
    pub fn position(&self) -> u64 {
        self.inner.at
    }

    /// Whether the archive said that it is at its end; without that, it may be cut off between two entries.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Whether the last entry's content is stored as it is.
    pub fn is_plain(&self) -> bool {
        self.sparse.is_none()
    }

    /// Keys of records that say something of an entry which is not kept, such as an ACL, and of how many entries.
    pub fn unknown(&self) -> &BTreeMap<Vec<u8>, u64> {
        &self.unknown
    }

    /// What the archive is read from.
    pub fn into_inner(self) -> R {
        self.inner.inner
    }

    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let at = self.inner.at;
        let mut block = [0; BLOCK];
        let got = self.inner.fill(&mut block)?;
        if got == 0 {
            return Ok(None);
        }
        if got < BLOCK {
            return Err(TarError::CutOff(self.inner.at));
        }
        if block.iter().all(|byte| *byte == 0) {
            self.ended = true;
            return Ok(None);
        }
        if fields::is_header(&block) {
            Ok(Some(Header::from_byte_slice(&block).clone()))
        } else {
            Err(TarError::NoHeader(at))
        }
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > MAX_EXTENSION_BYTES {
            return Err(TarError::Extension(size));
        }
        let mut bytes = Vec::new();
        self.inner.by_ref().take(size).read_to_end(&mut bytes)?;
        self.skip(padding(size))?;
        if bytes.len() as u64 == size {
            Ok(bytes)
        } else {
            Err(TarError::CutOff(self.inner.at))
        }
    }

    fn item(&mut self, header: &Header, mut said: Extensions) -> Result<Item, TarError> {
        self.count(&said);
        let block = header.as_bytes();
        let name = said.sparse_name.as_ref().or(said.name.as_ref());
        let name = name.map_or_else(|| header.path_bytes().into_owned(), Clone::clone);
        let shown = || shown(&name);
        let field = |field| TarError::Field {
            name: shown(),
            field,
        };
        let mut stored = match said.size {
            Some(size) => size,
            None => fields::unsigned(block, fields::SIZE).ok_or_else(|| field("size"))?,
        };
        // Some archivers give a hard link the size of its file, without content (GNU tar's list.c says the same).
        if header.entry_type() == EntryType::Link {
            stored = 0;
        }
        self.stored = stored;
        self.padding = padding(stored);
        self.sparse = None;
        let link = || {
            let long = said.link.clone();
            let link = long.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
            link.unwrap_or_default()
        };
        let kind = match header.entry_type() {
            EntryType::Directory => Kind::Folder,
            // GNU tar's --incremental: a folder, with the names in it as its content.
            kind if kind.as_byte() == b'D' => Kind::Folder,
            // Before POSIX, a folder was a file whose name ends with a slash.
            EntryType::Regular if name.ends_with(b"/") => Kind::Folder,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let sparse = self.sparse_map(header, &said, &name)?;
                let size = sparse.as_ref().map_or(stored, Sparse::size);
                self.sparse = sparse;
                Kind::File { size }
            }
            EntryType::Symlink => Kind::Symlink {
                target: super::names::path(&link()),
            },
            EntryType::Link => Kind::Hardlink {
                to: super::names::path(&link()),
            },
            kind @ (EntryType::Char | EntryType::Block) => Kind::Device {
                block: kind == EntryType::Block,
                major: device(header, fields::MAJOR).ok_or_else(|| field("device number"))?,
                minor: device(header, fields::MINOR).ok_or_else(|| field("device number"))?,
            },
            EntryType::Fifo => Kind::Fifo,
            other => {
                return Err(TarError::Kind {
                    name: shown(),
                    kind: char::from(other.as_byte()),
                });
            }
        };
        self.content = match kind {
            Kind::File { size } => size,
            _ => 0,
        };
        let number = |said: Option<u32>, own, what| {
            said.or_else(|| fields::unsigned(block, own))
                .ok_or_else(|| field(what))
        };
        let mode = fields::number(block, fields::MODE).map(|mode| mode & 0o7777);
        let mtime = fields::number(block, fields::MTIME).unwrap_or(0).max(0);
        let meta = Meta {
            mode: mode
                .and_then(|mode| u32::try_from(mode).ok())
                .ok_or_else(|| field("mode"))?,
            uid: number(said.uid, fields::UID, "user id")?,
            gid: number(said.gid, fields::GID, "group id")?,
            mtime: said
                .mtime
                .unwrap_or_else(|| u64::try_from(mtime).unwrap_or(u64::MAX)),
            xattrs: said.take_xattrs(),
        };
        Ok(Item { name, kind, meta })
    }

    fn sparse_map(
        &mut self,
        header: &Header,
        said: &Extensions,
        name: &[u8],
    ) -> Result<Option<Sparse>, TarError> {
        let map = if header.entry_type() == EntryType::GNUSparse {
            sparse::old_gnu(header, &mut self.inner)?
        } else if said.sparse_major == Some(1) {
            let mut stored = self.inner.by_ref().take(self.stored);
            let (map, read) = sparse::in_content(&mut stored, said.sparse_size)?;
            self.stored = self.stored.saturating_sub(read);
            map
        } else if let Some(map) = &said.sparse_map {
            Sparse::new(map.clone(), said.sparse_size)
        } else {
            return Ok(None);
        };
        let fits = map.filter(|map| map.stored() == self.stored);
        fits.map(Some).ok_or_else(|| TarError::Sparse(shown(name)))
    }

    fn count(&mut self, said: &Extensions) {
        for key in said.not_kept() {
            if self.unknown.len() < MAX_UNKNOWN || self.unknown.contains_key(key) {
                *self.unknown.entry(key.to_vec()).or_default() += 1;
            }
        }
    }

    /// What fills the last block may be missing at the end of an archive: some programs stop where the content does.
    fn skip_content(&mut self) -> Result<(), TarError> {
        let (left, padding) = (self.stored, self.padding);
        (self.stored, self.padding, self.content) = (0, 0, 0);
        self.skip(left)?;
        io::copy(&mut self.inner.by_ref().take(padding), &mut io::sink())?;
        Ok(())
    }

    fn skip(&mut self, bytes: u64) -> Result<(), TarError> {
        let skipped = io::copy(&mut self.inner.by_ref().take(bytes), &mut io::sink())?;
        if skipped == bytes {
            Ok(())
        } else {
            Err(TarError::CutOff(self.inner.at))
        }
    }
}

/// Content of one entry, holes filled with zeros.
#[derive(Debug)]
pub struct Content<'a, R>(&'a mut Reader<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let reader = &mut *self.0;
        let most = usize::try_from(reader.content).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(most);
        let Some(buffer) = buffer.get_mut(..wanted).filter(|part| !part.is_empty()) else {
            return Ok(0);
        };
        let (hole, length) = match &mut reader.sparse {
            None => (false, wanted),
            Some(sparse) => sparse.step(wanted),
        };
        let buffer = buffer.get_mut(..length).unwrap_or_default();
        let got = if hole {
            buffer.fill(0);
            buffer.len()
        } else {
            let got = reader.inner.read(buffer)?;
            if got == 0 {
                let cut = TarError::CutOff(reader.inner.at);
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, cut));
            }
            reader.stored = reader.stored.saturating_sub(got as u64);
            got
        };
        if let Some(sparse) = &mut reader.sparse {
            sparse.advance(got as u64);
        }
        reader.content -= got as u64;
        Ok(got)
    }
}

#[derive(Debug)]
struct Counted<R> {
    inner: R,
    at: u64,
}

impl<R: Read> Counted<R> {
    /// As many bytes as there are.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut got = 0;
        while let Some(rest) = buffer.get_mut(got..).filter(|rest| !rest.is_empty()) {
            match self.read(rest) {
                Ok(0) => break,
                Ok(more) => got += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(got)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.at += got as u64;
        Ok(got)
    }
}

/// Whether these bytes begin a tar archive; of an empty archive they are all zero.
#[must_use]
pub fn is_tar(bytes: &[u8]) -> bool {
    let Some(block) = bytes.first_chunk::<BLOCK>() else {
        return false;
    };
    fields::is_header(block)
}

fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

/// The oldest form of a header has no such fields.
fn device(header: &Header, field: std::ops::Range<usize>) -> Option<u32> {
    match header.as_ustar().is_some() || header.as_gnu().is_some() {
        true => fields::unsigned(header.as_bytes(), field),
        false => Some(0),
    }
}

fn until_nul(bytes: &[u8]) -> Vec<u8> {
    bytes
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default()
        .to_vec()
}

/// A name for a message: not longer than a line.
pub(super) fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    if text.chars().count() > 120 {
        text.chars().take(120).chain(['…']).collect()
    } else {
        text.into_owned()
    }
}

#[cfg(test)]
mod tests;
