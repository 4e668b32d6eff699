//! Symbolic links with targets of 256 bytes and more, which the kernel follows (up to PATH_MAX) and backhand 0.25 refuses.
//!
//! The library is shown the same image with another inode table, in which such a target is a short word instead. Data comes
//! before that table and stays where it is; the tables after it move, and what points at them is corrected. The targets are
//! put back when the tree is read. No number of the image is believed: what does not fit is an error.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::packed::{Packed, Piece, Reader};
use super::{BadImage, Compressor, METADATA_BYTES, SUPERBLOCK_BYTES, Superblock, Tables};

/// From here on backhand refuses a target.
const LONG: usize = 256;
/// The kernel's PATH_MAX, which counts the NUL that a squashfs does not store.
const MAX_TARGET_BYTES: usize = 4095;
/// Begins a word in place of a target. No real one has a NUL.
const MARK: &[u8] = b"\0long ";
/// In a metadata block's length: it is stored as it is.
const IS_PLAIN: u16 = 0x8000;

/// An image with long links, and what they lead to.
pub(super) struct Mended {
    /// The image as the library can read it.
    pub(super) image: Reader,
    pub(super) targets: Targets,
}

/// What long links lead to.
pub(super) struct Targets(Vec<PathBuf>);

impl Targets {
    /// The target that a word stands for.
    pub(super) fn target(&self, word: &Path) -> Option<&Path> {
        let number = word.as_os_str().as_bytes().strip_prefix(MARK)?;
        let number: usize = std::str::from_utf8(number).ok()?.parse().ok()?;
        self.0.get(number).map(PathBuf::as_path)
    }
}

/// `None` if no link is long: then something else is wrong with the image.
///
/// # Errors
/// The inode table is damaged, or cannot be read.
pub(super) fn mended(superblock: &Superblock, image: &Packed) -> Result<Option<Mended>, BadImage> {
    let damaged = || BadImage::Metadata {
        table: "inode table",
        at: superblock.inode_table,
    };
    let (from, to) = (superblock.inode_table, superblock.directory_table);
    let head: &[u8; SUPERBLOCK_BYTES] = &image.reader(from).word(0).ok_or_else(damaged)?;
    let packed = image.copy(from..to).ok_or_else(damaged)?;
    let root = super::u64_at(head, 32);
    let (inodes, root) = unpacked(superblock.compressor, &packed, root).ok_or_else(damaged)?;
    let Some(short) = shortened(&inodes, root, superblock.block_size)? else {
        return Ok(None);
    };
    let table = blocks(&short.inodes);
    let moved = (table.len() as u64).wrapping_sub(to - from);
    let root = block_and_offset(short.root);
    let tables = Tables::read(head, superblock.bytes_used)?;
    let rest = image.copy(to..superblock.bytes_used);
    let rest = rest.and_then(|rest| corrected(head, &tables, &rest, to, moved));
    let pieces = vec![
        Piece::Memory(with_offsets(head, root, moved)),
        Piece::Image(SUPERBLOCK_BYTES as u64..from),
        Piece::Memory(table.into()),
        Piece::Memory(rest.ok_or_else(damaged)?),
    ];
    Ok(Some(Mended {
        image: Reader::of(image, pieces),
        targets: Targets(short.targets),
    }))
}

/// The inode table without its blocks, and where in it the root's inode is.
fn unpacked(compressor: Compressor, mut packed: &[u8], root: u64) -> Option<(Vec<u8>, usize)> {
    let (mut inodes, mut at, mut root_at) = (Vec::new(), 0_u64, None);
    while let Some((length, rest)) = packed.split_first_chunk() {
        let length = u16::from_le_bytes(*length);
        if at == root >> 16 {
            root_at = Some(inodes.len() + usize::try_from(root & 0xffff).ok()?);
        }
        let (block, rest) = rest.split_at_checked(usize::from(length & !IS_PLAIN))?;
        at += 2 + block.len() as u64;
        packed = rest;
        if length & IS_PLAIN != 0 {
            inodes.extend(block);
        } else {
            let limit = METADATA_BYTES;
            let read = match compressor {
                Compressor::Gzip => flate2::read::ZlibDecoder::new(block)
                    .take(limit)
                    .read_to_end(&mut inodes),
                Compressor::Xz => liblzma::read::XzDecoder::new(block)
                    .take(limit)
                    .read_to_end(&mut inodes),
                Compressor::Zstd => zstd::stream::read::Decoder::with_buffer(block)
                    .ok()?
                    .take(limit)
                    .read_to_end(&mut inodes),
            };
            read.ok()?;
        }
    }
    Some((inodes, root_at?))
}

struct Short {
    inodes: Vec<u8>,
    /// Where the root's inode is now.
    root: usize,
    targets: Vec<PathBuf>,
}

/// The same inodes with short links; `None` if they are short.
fn shortened(inodes: &[u8], root: usize, block_size: u32) -> Result<Option<Short>, BadImage> {
    let damaged = || BadImage::Tables("an inode is cut off".to_owned());
    let (mut out, mut targets, mut new_root) = (Vec::new(), Vec::new(), None);
    let mut at = 0;
    while at < inodes.len() {
        if at == root {
            new_root = Some(out.len());
        }
        let inode = inodes.get(at..).unwrap_or_default();
        let length = inode_bytes(inode, block_size).ok_or_else(damaged)?;
        let inode = inode.get(..length).ok_or_else(damaged)?;
        at += length;
        let target = target(inode).filter(|target| target.len() >= LONG);
        let Some(target) = target else {
            out.extend(inode);
            continue;
        };
        if target.len() > MAX_TARGET_BYTES {
            return Err(BadImage::Tables(format!(
                "a symbolic link leads to a path of {} bytes; {MAX_TARGET_BYTES} are the most that a kernel follows",
                target.len()
            )));
        }
        let word = [MARK, targets.len().to_string().as_bytes()].concat();
        let (before, after) = inode.split_at(TARGET_AT);
        out.extend(before.get(..TARGET_AT - 4).unwrap_or_default());
        out.extend(u32::try_from(word.len()).unwrap_or_default().to_le_bytes());
        out.extend(word);
        out.extend(after.get(target.len()..).unwrap_or_default());
        targets.push(PathBuf::from(OsStr::from_bytes(target)));
    }
    let root = new_root.ok_or_else(damaged)?;
    Ok((!targets.is_empty()).then_some(Short {
        inodes: out,
        root,
        targets,
    }))
}

/// Header, link count, length: then comes a link's target.
const TARGET_AT: usize = 24;

/// Where a symbolic link leads.
fn target(inode: &[u8]) -> Option<&[u8]> {
    matches!(u16_at(inode, 0)?, 3 | 10).then_some(())?;
    let length = usize::try_from(u32_at(inode, TARGET_AT - 4)?).ok()?;
    inode.get(TARGET_AT..)?.get(..length)
}

/// How long the inode is that begins here (fs/squashfs/squashfs_fs.h).
fn inode_bytes(inode: &[u8], block_size: u32) -> Option<usize> {
    let word = |at| Some(u64::from(u32_at(inode, at)?));
    let data_blocks = |size: u64, fragment: u64| match fragment == u64::from(u32::MAX) {
        true => size.div_ceil(block_size.into()),
        false => size / u64::from(block_size),
    };
    let bytes = match u16_at(inode, 0)? {
        1 => 32,
        2 => 32 + 4 * data_blocks(word(28)?, word(20)?),
        3 => TARGET_AT as u64 + word(20)?,
        4 | 5 => 24,
        6 | 7 => 20,
        8 => {
            let mut bytes = 40;
            for _ in 0..u16_at(inode, 32)? {
                // Index, start, and the length of a name less one.
                bytes += 12 + 1 + usize::try_from(word(bytes + 8)?).ok()?;
                inode.get(..bytes)?;
            }
            bytes as u64
        }
        9 => {
            let size = word(24)? | word(28)? << 32;
            56 + data_blocks(size, word(44)?).checked_mul(4)?
        }
        10 => TARGET_AT as u64 + word(20)? + 4,
        11 | 12 => 28,
        13 | 14 => 24,
        _ => return None,
    };
    usize::try_from(bytes).ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u32::from_le_bytes)
}

/// [`METADATA_BYTES`], for slices.
const BLOCK: usize = 8192;
const _: () = assert!(BLOCK as u64 == METADATA_BYTES, "one of the two is wrong");

/// In blocks that are stored as they are.
fn blocks(inodes: &[u8]) -> Vec<u8> {
    let mut table = Vec::new();
    for block in inodes.chunks(BLOCK) {
        // At most 8 192, which leaves the highest bit free.
        let length = u16::try_from(block.len()).unwrap_or_default() | IS_PLAIN;
        table.extend(length.to_le_bytes());
        table.extend(block);
    }
    table
}

/// How an inode is named by its place: the block's in the table, and its own in the block.
const fn block_and_offset(at: usize) -> u64 {
    let (block, offset) = (at as u64 / METADATA_BYTES, at as u64 % METADATA_BYTES);
    (block * (2 + METADATA_BYTES)) << 16 | offset
}

/// The superblock of an image whose tables after the inodes have moved.
fn with_offsets(head: &[u8; SUPERBLOCK_BYTES], root: u64, moved: u64) -> Bytes {
    let mut new = *head;
    let mut put = |at: usize, value: u64| {
        if let Some(place) = new.get_mut(at..at + 8) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    };
    put(32, root);
    // Bytes used, ids, attributes, folders, fragments, exports.
    for at in [40, 48, 56, 72, 80, 88] {
        let value = super::u64_at(head, at);
        if value != super::NO_TABLE {
            put(at, value.wrapping_add(moved));
        }
    }
    Bytes::copy_from_slice(&new)
}

/// What comes after the inodes, from `begin` on in the image, with its lists of pointers to blocks corrected.
fn corrected(
    head: &[u8; SUPERBLOCK_BYTES],
    tables: &Tables,
    rest: &[u8],
    begin: u64,
    moved: u64,
) -> Option<Bytes> {
    let mut rest = rest.to_vec();
    let count = |at| u64::from(super::u32_at(head, at));
    for (table, bytes) in [
        (tables.fragment, count(16) * super::FRAGMENT_BYTES),
        (tables.export, count(4) * 8),
        (
            Some(tables.id),
            u64::from(super::u16_at(head, 26)) * super::ID_BYTES,
        ),
    ] {
        let Some(table) = table else { continue };
        let at = usize::try_from(table.checked_sub(begin)?).ok()?;
        let pointers = usize::try_from(bytes.div_ceil(METADATA_BYTES)).ok()?;
        for pointer in rest.get_mut(at..)?.chunks_exact_mut(8).take(pointers) {
            let old = u64::from_le_bytes(*pointer.first_chunk()?);
            pointer.copy_from_slice(&old.wrapping_add(moved).to_le_bytes());
        }
    }
    Some(rest.into())
}

#[cfg(test)]
mod tests;
