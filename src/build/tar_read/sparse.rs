//! Files with holes: where data lies, and what is zero.
//!
//! Four forms, all of GNU tar (its manual, "Storing Sparse Files"): the old one with the map in the header's block and those
//! after it, pax 0.0 and 0.1 with the map in the extended header, pax 1.0 with the map in front of the content.

use std::io::{self, Read};

use tar::{GnuExtSparseHeader, Header};

use super::pax::number;

/// Pieces of a file: 16 MB of them.
const MAX_PIECES: usize = 1 << 20;

const BLOCK: usize = 512;

/// Where the data of a file lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sparse {
    /// Offset and length, ascending, not overlapping.
    pieces: Vec<(u64, u64)>,
    size: u64,
    at: u64,
    next: usize,
}

impl Sparse {
    /// `None` if pieces overlap, are out of order, or go beyond the size.
    pub(super) fn new(pieces: Vec<(u64, u64)>, size: Option<u64>) -> Option<Self> {
        let size = size?;
        let mut end = 0;
        for (offset, length) in &pieces {
            if *offset < end {
                return None;
            }
            end = offset.checked_add(*length)?;
        }
        (end <= size && pieces.len() <= MAX_PIECES).then_some(Self {
            pieces,
            size,
            at: 0,
            next: 0,
        })
    }

    /// Bytes of the file, holes and all.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that the archive holds of it.
    pub(super) fn stored(&self) -> u64 {
        self.pieces.iter().map(|(_, length)| length).sum()
    }

    /// Whether what comes is a hole, and how many bytes of at most `wanted` are of one kind.
    pub(super) fn step(&mut self, wanted: usize) -> (bool, usize) {
        while let Some((offset, length)) = self.pieces.get(self.next) {
            // A piece may be empty: GNU tar ends a map so.
            if self.at < *offset {
                return (true, shorter(wanted, offset - self.at));
            }
            if self.at < offset + length {
                return (false, shorter(wanted, offset + length - self.at));
            }
            self.next += 1;
        }
        (true, wanted)
    }

    /// So many bytes are given out.
    pub(super) fn advance(&mut self, bytes: u64) {
        self.at += bytes;
    }
}

fn shorter(wanted: usize, most: u64) -> usize {
    usize::try_from(most).map_or(wanted, |most| most.min(wanted))
}

/// The old form: four pieces in the header, twenty-one in each block that follows.
pub(super) fn old_gnu(header: &Header, inner: &mut impl Read) -> io::Result<Option<Sparse>> {
    let Some(gnu) = header.as_gnu() else {
        return Ok(None);
    };
    let mut pieces = Vec::new();
    let mut read = |described: &[tar::GnuSparseHeader]| {
        for piece in described.iter().filter(|piece| !piece.is_empty()) {
            pieces.push((piece.offset().ok()?, piece.length().ok()?));
        }
        (pieces.len() <= MAX_PIECES).then_some(())
    };
    let mut fine = read(&gnu.sparse);
    let mut more = gnu.is_extended();
    while more && fine.is_some() {
        let mut block = GnuExtSparseHeader::new();
        inner.read_exact(block.as_mut_bytes())?;
        fine = read(block.sparse());
        more = block.is_extended();
    }
    let size = gnu.real_size().ok();
    Ok(fine.and_then(|()| Sparse::new(pieces, size)))
}

/// Form 1.0: numbers, each on a line, then zeros up to the end of the block. Also says how many bytes that took.
pub(super) fn in_content(
    content: &mut impl Read,
    size: Option<u64>,
) -> io::Result<(Option<Sparse>, u64)> {
    let mut lines = Lines {
        content,
        block: [0; BLOCK],
        at: BLOCK,
        read: 0,
    };
    let Some(count) = lines.number()?.filter(|count| *count <= MAX_PIECES as u64) else {
        return Ok((None, lines.read));
    };
    let mut pieces = Vec::new();
    for _ in 0..count {
        let (Some(offset), Some(length)) = (lines.number()?, lines.number()?) else {
            return Ok((None, lines.read));
        };
        pieces.push((offset, length));
    }
    Ok((Sparse::new(pieces, size), lines.read))
}

struct Lines<'a, R> {
    content: &'a mut R,
    block: [u8; BLOCK],
    at: usize,
    read: u64,
}

impl<R: Read> Lines<'_, R> {
    fn number(&mut self) -> io::Result<Option<u64>> {
        let mut digits = Vec::new();
        loop {
            if self.at == BLOCK {
                self.content.read_exact(&mut self.block)?;
                self.read += BLOCK as u64;
                self.at = 0;
            }
            let byte = self.block.get(self.at).copied();
            self.at += 1;
            match byte {
                Some(b'\n') => return Ok(number(&digits).filter(|_| !digits.is_empty())),
                // No number below 2^64 has more.
                Some(byte) if digits.len() < 20 => digits.push(byte),
                _ => return Ok(None),
            }
        }
    }
}
