//! Compressed bytes become plain ones: gzip, xz and zstd, told by their first bytes and never by a file's name.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

/// zstd's window: 128 MiB is what its command line program takes without `--long`. xz -9 needs half of that.
const ZSTD_WINDOW_LOG: u32 = 27;
const XZ_MEMORY_BYTES: u64 = 256 << 20;

/// Zeros of this length become a hole of a file.
const HOLE_BYTES: usize = 1 << 16;

/// How bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// RFC 1952.
    Gzip,
    /// The .xz format.
    Xz,
    /// RFC 8878.
    Zstd,
}

impl Packing {
    /// By what the bytes begin with; `None`: as they are.
    #[must_use]
    pub fn of(begin: &[u8]) -> Option<Self> {
        let packings = [
            (&b"\x1f\x8b"[..], Self::Gzip),
            (b"\xfd7zXZ\0", Self::Xz),
            (b"\x28\xb5\x2f\xfd", Self::Zstd),
        ];
        let found = packings.iter().find(|(magic, _)| begin.starts_with(magic));
        found.map(|(_, packing)| *packing)
    }

    /// As a file's name ends.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        }
    }
}

/// Part of a file, read without moving anybody's place in it.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) file: Arc<File>,
    pub(super) at: u64,
    pub(super) length: u64,
}

impl Part {
    /// All of a file.
    pub(super) fn whole(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self {
            file: Arc::new(file),
            at: 0,
            length,
        })
    }

    /// Its first bytes: at most 64 KiB, fewer if it is shorter.
    pub(super) fn begin(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.clone().take(1 << 16).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Its content, unpacked if it is packed.
    pub(super) fn unpacked(&self) -> io::Result<Box<dyn Read>> {
        let packing = Packing::of(&self.begin()?);
        let bytes = BufReader::with_capacity(1 << 17, self.clone());
        decoder(packing, bytes)
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.length).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(most);
        let buffer = buffer.get_mut(..wanted).unwrap_or_default();
        let got = self.file.read_at(buffer, self.at)?;
        self.at += got as u64;
        self.length -= got as u64;
        Ok(got)
    }
}

/// Gzip members, xz streams and zstd frames may follow each other, as their programs take them.
fn decoder(packing: Option<Packing>, bytes: impl BufRead + 'static) -> io::Result<Box<dyn Read>> {
    Ok(match packing {
        None => Box::new(bytes),
        Some(Packing::Gzip) => Box::new(BufReader::with_capacity(
            1 << 17,
            flate2::bufread::MultiGzDecoder::new(bytes),
        )),
        Some(Packing::Xz) => {
            let stream = liblzma::stream::Stream::new_stream_decoder(
                XZ_MEMORY_BYTES,
                liblzma::stream::CONCATENATED,
            )
            .map_err(io::Error::other)?;
            let decoder = liblzma::bufread::XzDecoder::new_stream(bytes, stream);
            Box::new(BufReader::with_capacity(1 << 17, decoder))
        }
        Some(Packing::Zstd) => {
            let mut decoder = zstd::Decoder::with_buffer(bytes)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(BufReader::with_capacity(1 << 17, decoder))
        }
    })
}

/// Unpacks into a file without a name in `folder`, with holes for zeros.
///
/// # Errors
/// The bytes are damaged, or there is no room.
pub(super) fn to_file(from: &mut dyn Read, folder: &Path) -> anyhow::Result<File> {
    let writing = || format!("writing a temporary file in {}", folder.display());
    let mut file = tempfile::tempfile_in(folder).with_context(writing)?;
    let mut block = vec![0; HOLE_BYTES];
    let mut length = 0;
    loop {
        let got = fill(from, &mut block)?;
        let part = block.get(..got).unwrap_or_default();
        if part.is_empty() {
            break;
        }
        length += got as u64;
        if part.iter().all(|byte| *byte == 0) {
            file.seek(SeekFrom::Start(length)).with_context(writing)?;
        } else {
            file.write_all(part).with_context(writing)?;
        }
    }
    file.set_len(length).with_context(writing)?;
    Ok(file)
}

fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = buffer.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match from.read(rest)? {
            0 => break,
            more => got += more,
        }
    }
    Ok(got)
}
