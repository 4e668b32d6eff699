//! Names in a folder: `Documentation/filesystems/ext4/directory.rst` of the kernel.
//!
//! Read in a line, whether there is an index or not: to older kernels its blocks look like empty ones, and so they do here.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, bail, ensure};

use super::Ext4;
use super::inode::{INDEX, INLINE_DATA, Inode};
use super::xattr::inline;
use crate::build::disk::crc::crc32c;
use crate::build::disk::le::{le16, le32};

/// Two million names; what is larger is not a root file system.
pub(super) const MOST_BYTES: u64 = 64 << 20;

/// Names, sorted, and their inodes.
pub(crate) type Names = BTreeMap<Vec<u8>, u32>;

impl Ext4 {
    /// All names but `.` and `..`.
    pub(crate) fn names(&self, inode: &Inode) -> anyhow::Result<Names> {
        ensure!(
            inode.size <= MOST_BYTES,
            "the folder has {} bytes, and at most {MOST_BYTES} are allowed",
            inode.size
        );
        if inode.has(INLINE_DATA) {
            return inline_names(inode, self.superblock.filetype);
        }
        let len = self.superblock.block_size as usize;
        let mut content = self.content(inode)?;
        let mut block = vec![0; len];
        let mut names = Names::new();
        for _ in 0..inode.size / u64::from(self.superblock.block_size) {
            content.read_exact(&mut block)?;
            if let Some(seed) = inode.seed {
                check(seed, inode.has(INDEX), &block)?;
            }
            parse(&block, self.superblock.filetype, &mut names)?;
        }
        Ok(names)
    }
}

/// In the inode stand the folder above, in four bytes, and entries; more of them, if they are too many, in an attribute.
fn inline_names(inode: &Inode, filetype: bool) -> anyhow::Result<Names> {
    let (begin, rest) = inline(inode)?;
    let mut names = Names::new();
    parse(begin.get(4..).unwrap_or_default(), filetype, &mut names)?;
    parse(rest, filetype, &mut names)?;
    Ok(names)
}

/// The last twelve bytes look like an entry without a name, of a kind that there is not.
const TAIL: usize = 12;

fn check(seed: u32, index: bool, block: &[u8]) -> anyhow::Result<()> {
    let (entries, tail) = block
        .split_at_checked(block.len().saturating_sub(TAIL))
        .context("the folder is cut short")?;
    let is_tail = le32(tail, 0) == Some(0) && le32(tail, 4) == Some(0xde00_000c);
    if !is_tail && index {
        return Ok(());
    }
    let (kept, found) = (le32(tail, 8).unwrap_or_default(), crc32c(seed, entries));
    ensure!(
        is_tail && kept == found,
        "the folder is damaged: the checksum in it is {kept:08x}, that of its bytes {found:08x}"
    );
    Ok(())
}

/// Adds the names of one block.
fn parse(block: &[u8], filetype: bool, names: &mut Names) -> anyhow::Result<()> {
    let mut rest = block;
    while !rest.is_empty() {
        let cut = "the folder is damaged: an entry is cut short";
        let inode = le32(rest, 0).context(cut)?;
        // 64 KiB do not fit into the field.
        let len = match le16(rest, 4).context(cut)? {
            0 | 0xffff if block.len() == 0x1_0000 => block.len(),
            len => usize::from(len),
        };
        let name_len = usize::from(le16(rest, 6).context(cut)?);
        let name_len = if filetype { name_len & 0xff } else { name_len };
        // Of an entry that is none, the name's length says nothing: in a checksum's, without filetype, it is 0xde00.
        let name_len = if inode == 0 { 0 } else { name_len };
        ensure!(
            len >= 8 && len.is_multiple_of(4) && len >= 8 + name_len,
            "the folder is damaged: an entry of {len} bytes with a name of {name_len}"
        );
        let (entry, after) = rest.split_at_checked(len).context(cut)?;
        rest = after;
        let name = entry.get(8..8 + name_len).context(cut)?;
        if inode == 0 || name == b"." || name == b".." {
            continue;
        }
        if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
            bail!(
                "the folder has the name {:?}",
                String::from_utf8_lossy(name)
            );
        }
        if names.insert(name.to_vec(), inode).is_some() {
            bail!(
                "the folder has the name {:?} twice",
                String::from_utf8_lossy(name)
            );
        }
    }
    Ok(())
}
