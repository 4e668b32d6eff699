//! Compressed bytes become plain ones: gzip, xz and zstd, told by their first bytes and never by a file's name.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use flate2::bufread::GzDecoder;

/// zstd's window: 128 MiB is what its command line program takes without `--long`. xz -9 needs half of that.
const ZSTD_WINDOW_LOG: u32 = 27;
const XZ_MEMORY_BYTES: u64 = 256 << 20;

/// Frames without content in front of a zstd file; pzstd writes one.
const MAX_SKIPPABLE: u32 = 1024;

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

    /// How it is packed. A zstd file may begin with frames that a decoder skips (RFC 8878 §3.1.2), as pzstd writes them; lz4
    /// has the same, so what comes behind them decides.
    pub(super) fn packing(&self) -> io::Result<Option<Packing>> {
        let mut part = self.clone();
        for skipped in 0..MAX_SKIPPABLE {
            let mut begin = [0; 8];
            let got = fill(&mut part.clone(), &mut begin)?;
            if let Some(length) = skippable(begin) {
                let length = (u64::from(length) + 8).min(part.length);
                part.at += length;
                part.length -= length;
                continue;
            }
            let packing = Packing::of(begin.get(..got).unwrap_or_default());
            return Ok(packing.filter(|packing| skipped == 0 || *packing == Packing::Zstd));
        }
        Ok(None)
    }

    /// Its content, unpacked if it is packed.
    pub(super) fn unpacked(&self) -> io::Result<Box<dyn Read>> {
        let packing = self.packing()?;
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
        Some(Packing::Gzip) => Box::new(BufReader::with_capacity(1 << 17, Members::new(bytes))),
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

/// The length of a frame that is to be skipped, if this is one.
fn skippable(begin: [u8; 8]) -> Option<u32> {
    let [magic, b, c, d, length @ ..] = begin;
    let is_one = magic & 0xf0 == 0x50 && [b, c, d] == [0x2a, 0x4d, 0x18];
    is_one.then(|| u32::from_le_bytes(length))
}

/// Gzip members after each other (RFC 1952 §2.2), and the zeros with which tapes and `dd` fill up their last block, as gzip
/// itself takes them.
struct Members<R> {
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    fn new(bytes: R) -> Self {
        Self {
            member: Some(GzDecoder::new(bytes)),
        }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let got = member.read(buffer)?;
            if got > 0 || buffer.is_empty() {
                return Ok(got);
            }
            let Some(mut rest) = self.member.take().map(GzDecoder::into_inner) else {
                break;
            };
            if skip_zeros(&mut rest)? {
                self.member = Some(GzDecoder::new(rest));
            }
        }
        Ok(0)
    }
}

/// Whether anything comes after them.
fn skip_zeros(bytes: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let there = bytes.fill_buf()?;
        if there.is_empty() {
            return Ok(false);
        }
        let zeros = there.iter().take_while(|byte| **byte == 0).count();
        if zeros == 0 {
            return Ok(true);
        }
        bytes.consume(zeros);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn part(bytes: &[u8]) -> Part {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        Part::whole(file).expect("its length")
    }

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        part(bytes).unpacked()?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    fn frame(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).expect("short").to_le_bytes();
        [&[0x50 | number, 0x2a, 0x4d, 0x18], &length[..], content].concat()
    }

    /// RFC 8878 §3.1.2: sixteen magic numbers, any length, and none at all.
    #[test]
    fn frames_to_skip_do_not_hide_that_it_is_zstd() {
        let packed = zstd::encode_all(&b"content"[..], 1).expect("packed");
        for frames in [
            frame(0, b"1234"),
            frame(15, b""),
            [frame(3, &[9; 70_000]), frame(4, b"x")].concat(),
        ] {
            let both = [&frames[..], &packed].concat();
            assert_eq!(part(&both).packing().expect("read"), Some(Packing::Zstd));
            assert_eq!(unpacked(&both).expect("unpacked"), b"content");
            // Also in between and at the end, where seekable files have their table.
            let more = [&both[..], &frames, &packed, &frames].concat();
            assert_eq!(unpacked(&more).expect("unpacked"), b"contentcontent");
            // lz4's.
            let lz4 = [&frames[..], b"\x04\x22\x4d\x18"].concat();
            assert_eq!(part(&lz4).packing().expect("read"), None);
            assert_eq!(part(&frames).packing().expect("read"), None);
        }
        let cut_off = &frame(0, &[1; 100])[..50];
        assert_eq!(part(cut_off).packing().expect("read"), None);
        let endless = frame(0, b"").repeat(MAX_SKIPPABLE as usize + 1);
        assert_eq!(part(&endless).packing().expect("read"), None);
    }

    #[test]
    fn zeros_after_gzip_are_nothing_and_anything_else_is_damage() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"content").expect("packed");
        let packed = encoder.finish().expect("packed");
        let filled = [&packed[..], &packed, &[0; 10_000]].concat();
        assert_eq!(unpacked(&filled).expect("unpacked"), b"contentcontent");
        unpacked(&[&packed[..], b"\0x"].concat()).expect_err("damage");
        unpacked(&filled[..2 * packed.len() - 1]).expect_err("cut off");
    }
}
