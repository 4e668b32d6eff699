//! The root folder with all that it has. mksquashfs, up to 4.7 at least, ignores a tar's entry for the root: mode and owner can be
//! given as options, extended attributes cannot. So where there are some, everything is packed below one folder, which has
//! them, and here that folder becomes the image's root: one number in the superblock. The root that mksquashfs made has no
//! name then, and takes less than a hundred bytes.
//!
//! Structures as in `Documentation/filesystems/squashfs.rst` and `fs/squashfs/squashfs_fs.h` of the kernel.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use anyhow::{Context, ensure};

/// What the one folder is called.
pub(super) const NAME: &str = "r";

/// In the superblock: the root's inode, the tables of inodes and of folders.
const ROOT_INODE: u64 = 32;
const INODE_TABLE: u64 = 64;
const DIRECTORY_TABLE: u64 = 72;
/// Bytes of a block of metadata, unpacked.
const BLOCK: usize = 8192;
/// Of a folder with few names, and of one with many or with attributes.
const DIR: u16 = 1;
const LDIR: u16 = 8;

/// Makes the folder [`NAME`], all that the image's root holds, its root.
pub(super) fn lift(image: &File) -> anyhow::Result<()> {
    let (inodes, folders) = (number(image, INODE_TABLE)?, number(image, DIRECTORY_TABLE)?);
    let root = metadata(image, inodes, number(image, ROOT_INODE)?)?;
    let (block, offset) = match le16(&root, 0)? {
        DIR => (le32(&root, 16)?, le16(&root, 26)?),
        LDIR => (le32(&root, 24)?, le16(&root, 34)?),
        kind => anyhow::bail!("its root is of kind {kind}"),
    };
    let listing = metadata(image, folders, u64::from(block) << 16 | u64::from(offset))?;
    let (others, block) = (le32(&listing, 0)?, le32(&listing, 4)?);
    let (offset, length) = (le16(&listing, 12)?, le16(&listing, 18)?);
    let name = listing.get(20..).unwrap_or_default();
    ensure!(
        others == 0 && length == 0 && name.starts_with(NAME.as_bytes()),
        "its root holds more than was packed"
    );
    let inode = u64::from(block) << 16 | u64::from(offset);
    image
        .write_all_at(&inode.to_le_bytes(), ROOT_INODE)
        .context("writing its superblock")
}

/// At least 64 bytes, if there are so many, from a place in a table on: a block's, and one in the block.
fn metadata(image: &File, table: u64, place: u64) -> anyhow::Result<Vec<u8>> {
    let offset = usize::try_from(place & 0xffff).unwrap_or(usize::MAX);
    let mut at = table + (place >> 16);
    let mut bytes = Vec::new();
    // What begins near the end of a block goes on in the next.
    for _ in 0..2 {
        let mut head = [0; 2];
        image.read_exact_at(&mut head, at)?;
        let head = u16::from_le_bytes(head);
        let mut stored = vec![0; usize::from(head & 0x7fff)];
        image.read_exact_at(&mut stored, at + 2)?;
        at += 2 + stored.len() as u64;
        if head & 0x8000 == 0 {
            stored = zstd::bulk::decompress(&stored, BLOCK).context("unpacking its tables")?;
        }
        bytes.extend(stored);
        if bytes.len() >= offset.saturating_add(64) {
            break;
        }
        if bytes.len() % BLOCK != 0 {
            break;
        }
    }
    bytes.drain(..offset.min(bytes.len()));
    Ok(bytes)
}

fn number(image: &File, at: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    image.read_exact_at(&mut bytes, at)?;
    Ok(u64::from_le_bytes(bytes))
}

fn le16(bytes: &[u8], at: usize) -> anyhow::Result<u16> {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes
        .map(|bytes| u16::from_le_bytes(*bytes))
        .context("its tables are cut short")
}

fn le32(bytes: &[u8], at: usize) -> anyhow::Result<u32> {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes
        .map(|bytes| u32::from_le_bytes(*bytes))
        .context("its tables are cut short")
}
