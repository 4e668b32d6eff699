//! One inode: `Documentation/filesystems/ext4/inodes.rst` of the kernel.

use anyhow::{Context, ensure};

use super::superblock::Superblock;
use crate::build::disk::crc::crc32c;
use crate::build::disk::le::{array, le16, le32};

/// `i_flags`: contents are encrypted.
pub(super) const ENCRYPT: u32 = 0x800;
/// A folder with an index.
pub(super) const INDEX: u32 = 0x1000;
/// `i_block` is the root of an extent tree.
pub(super) const EXTENTS: u32 = 0x8_0000;
/// It is the value of an extended attribute.
pub(super) const EA_INODE: u32 = 0x20_0000;
/// Contents are where `i_block` and the attributes are.
pub(super) const INLINE_DATA: u32 = 0x1000_0000;

/// What is needed of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inode {
    /// Which one.
    pub(crate) number: u32,
    /// `st_mode`
    pub(crate) mode: u16,
    /// Owner.
    pub(crate) uid: u32,
    /// And group.
    pub(crate) gid: u32,
    /// Bytes of content.
    pub(crate) size: u64,
    /// Seconds since 1970.
    pub(crate) mtime: u64,
    /// How many names it has.
    pub(crate) links: u16,
    /// See the constants above.
    pub(super) flags: u32,
    /// Where its contents are, or its target, or which device it is.
    pub(super) block: [u8; 60],
    /// The block of extended attributes; 0 if there is none.
    pub(super) acl_block: u64,
    /// Extended attributes behind its own fields.
    pub(super) tail: Vec<u8>,
    /// With which checksums of its blocks begin, if there are any.
    pub(super) seed: Option<u32>,
}

impl Inode {
    /// Reads it; `bytes` are as many as the superblock says.
    pub(super) fn parse(
        superblock: &Superblock,
        number: u32,
        bytes: &[u8],
    ) -> anyhow::Result<Self> {
        let word = |at| le32(bytes, at).context("the inode is cut short");
        let half = |at| le16(bytes, at).context("the inode is cut short");
        let wide = |low: u32, high: u16| u64::from(high) << 32 | u64::from(low);
        let join = |low: u16, high: u16| u32::from(high) << 16 | u32::from(low);
        // Fields behind the first 128 bytes count from there.
        let extra = if bytes.len() > 128 {
            usize::from(half(0x80)?)
        } else {
            0
        };
        let seed = superblock.seed.map(|seed| {
            let generation: [u8; 4] = array(bytes, 0x64).unwrap_or_default();
            crc32c(crc32c(seed, &number.to_le_bytes()), &generation)
        });
        if let Some(seed) = seed {
            check(seed, bytes, extra)?;
        }
        let mode = half(0)?;
        let large = is_file(mode) || (is_folder(mode) && superblock.largedir);
        let high = if large { word(0x6c)? } else { 0 };
        let epoch = if extra >= 0x8c - 0x80 {
            word(0x88)? & 3
        } else {
            0
        };
        let mtime = i64::from(word(0x10)?.cast_signed()) + (i64::from(epoch) << 32);
        Ok(Self {
            number,
            mode,
            uid: join(half(0x2)?, half(0x78)?),
            gid: join(half(0x18)?, half(0x7a)?),
            size: u64::from(high) << 32 | u64::from(word(0x4)?),
            mtime: u64::try_from(mtime).unwrap_or(0),
            links: half(0x1a)?,
            flags: word(0x20)?,
            block: array(bytes, 0x28).context("the inode is cut short")?,
            acl_block: wide(word(0x68)?, half(0x76)?),
            tail: bytes.get(128 + extra..).unwrap_or_default().to_vec(),
            seed,
        })
    }

    /// Major and minor number, if it is a device (`old_decode_dev` and `new_decode_dev` of the kernel).
    pub(super) fn device(&self) -> Option<(u32, u32)> {
        let (old, new) = (le32(&self.block, 0)?, le32(&self.block, 4)?);
        Some(if old != 0 {
            ((old >> 8) & 0xff, old & 0xff)
        } else {
            ((new >> 8) & 0xfff, (new & 0xff) | ((new >> 12) & 0xf_ff00))
        })
    }

    /// Whether it has this flag.
    pub(super) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// Whether `st_mode` is that of a folder.
pub(crate) fn is_folder(mode: u16) -> bool {
    mode & 0o170_000 == 0o040_000
}

/// Of a plain file.
pub(crate) fn is_file(mode: u16) -> bool {
    mode & 0o170_000 == 0o100_000
}

/// Of a symbolic link.
pub(crate) fn is_link(mode: u16) -> bool {
    mode & 0o170_000 == 0o120_000
}

fn check(seed: u32, bytes: &[u8], extra: usize) -> anyhow::Result<()> {
    // Its upper half is there only if the inode says that it reaches so far.
    let high = extra >= 4;
    let mut zeroed = bytes.to_vec();
    let mut kept = 0;
    for (at, there, shift) in [(0x7c, true, 0), (0x82, high, 16)] {
        if let (true, Some(field)) = (there, zeroed.get_mut(at..at + 2)) {
            kept |= u32::from(le16(field, 0).unwrap_or_default()) << shift;
            field.fill(0);
        }
    }
    let mask = if high { u32::MAX } else { 0xffff };
    let found = crc32c(seed, &zeroed) & mask;
    ensure!(
        kept == found,
        "the inode is damaged: the checksum in it is {kept:08x}, that of its bytes {found:08x}"
    );
    Ok(())
}
