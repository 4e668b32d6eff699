//! The superblock: where the inodes are, and whether this reader knows all that it must to find them.
//!
//! Fields as in `Documentation/filesystems/ext4/super.rst` and `group_descr.rst` of the kernel.

use anyhow::{Context, bail, ensure};

use crate::build::disk::crc::crc32c;
use crate::build::disk::le::{array, le16, le32};

/// Where it is in the file system.
pub(super) const AT: u64 = 1024;
/// How long it is.
pub(super) const LEN: usize = 1024;

/// `s_feature_incompat`: what a reader must know of. Those that need nothing from one who goes by inodes only: `mmp`,
/// `flex_bg`, `ea_inode`, `csum_seed`, `largedir`, `inline_data`, `encrypt`, `casefold`; a file that is encrypted is
/// refused where it is met.
const INCOMPAT_KNOWN: u32 = FILETYPE
    | META_BG
    | EXTENTS
    | BIT64
    | 0x100
    | 0x200
    | 0x400
    | CSUM_SEED
    | LARGEDIR
    | 0x8000
    | 0x1_0000
    | 0x2_0000;
const FILETYPE: u32 = 0x2;
const RECOVER: u32 = 0x4;
const META_BG: u32 = 0x10;
const EXTENTS: u32 = 0x40;
const BIT64: u32 = 0x80;
const CSUM_SEED: u32 = 0x2000;
const LARGEDIR: u32 = 0x4000;
/// `s_feature_ro_compat`: all of them may be read by one who does not know them.
const SPARSE_SUPER: u32 = 0x1;
const METADATA_CSUM: u32 = 0x400;
/// `s_feature_compat`
const SPARSE_SUPER2: u32 = 0x200;

/// What is needed of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Superblock {
    /// 1 KiB to 64 KiB.
    pub(super) block_size: u32,
    /// All of the file system.
    pub(super) blocks: u64,
    /// Highest number of an inode.
    pub(super) inodes: u32,
    /// 128 to a block.
    pub(super) inode_size: u16,
    /// Folders say how long a name is in one byte, and in the next what kind it is.
    pub(super) filetype: bool,
    /// Folders may be larger than 2 GiB.
    pub(super) largedir: bool,
    /// With which all other checksums begin, if there are any.
    pub(super) seed: Option<u32>,
    /// Volume name; empty if there is none.
    pub(super) label: String,
    first_data_block: u32,
    blocks_per_group: u32,
    inodes_per_group: u32,
    descriptor_size: u16,
    first_meta_bg: Option<u32>,
    backups: Backups,
}

/// Which groups begin with a copy of the superblock.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Backups {
    All,
    Sparse,
    Two([u32; 2]),
}

impl Superblock {
    /// Reads it.
    pub(super) fn parse(bytes: &[u8; LEN]) -> anyhow::Result<Self> {
        let word = |at| le32(bytes, at).context("reading the superblock");
        let half = |at| le16(bytes, at).context("reading the superblock");
        ensure!(
            half(0x38)? == 0xef53,
            "it has no ext2, ext3 or ext4 superblock"
        );
        let old = word(0x4c)? == 0;
        let (compat, incompat, ro_compat) = if old {
            (0, 0, 0)
        } else {
            (word(0x5c)?, word(0x60)?, word(0x64)?)
        };
        let uuid: [u8; 16] = array(bytes, 0x68).context("reading the superblock")?;
        let seed = if ro_compat & METADATA_CSUM == 0 {
            None
        } else if incompat & CSUM_SEED != 0 {
            Some(word(0x270)?)
        } else {
            Some(crc32c(!0, &uuid))
        };
        if seed.is_some() {
            let (kept, found) = (word(0x3fc)?, crc32c(!0, &bytes[..0x3fc]));
            ensure!(
                kept == found,
                "its superblock is damaged: the checksum in it is {kept:08x}, that of its bytes {found:08x}"
            );
        }
        let unknown = incompat & !INCOMPAT_KNOWN & !RECOVER;
        ensure!(
            unknown == 0,
            "it has features that are not known here ({unknown:#x} of s_feature_incompat)"
        );
        if incompat & RECOVER != 0 {
            return Err(Unclean.into());
        }
        let name: [u8; 16] = array(bytes, 0x78).context("reading the superblock")?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let high = if incompat & BIT64 == 0 {
            0
        } else {
            word(0x150)?
        };
        let log = word(0x18)?;
        ensure!(log <= 6, "its blocks have 2^{} bytes", u64::from(log) + 10);
        let superblock = Self {
            block_size: 1024 << log,
            blocks: u64::from(high) << 32 | u64::from(word(0x4)?),
            inodes: word(0)?,
            inode_size: if old { 128 } else { half(0x58)? },
            filetype: incompat & FILETYPE != 0,
            largedir: incompat & LARGEDIR != 0,
            seed,
            label: String::from_utf8_lossy(name).into_owned(),
            first_data_block: word(0x14)?,
            blocks_per_group: word(0x20)?,
            inodes_per_group: word(0x28)?,
            descriptor_size: if incompat & BIT64 == 0 {
                32
            } else {
                half(0xfe)?
            },
            first_meta_bg: (incompat & META_BG != 0).then_some(word(0x104)?),
            backups: if compat & SPARSE_SUPER2 != 0 {
                Backups::Two([word(0x24c)?, word(0x250)?])
            } else if ro_compat & SPARSE_SUPER != 0 {
                Backups::Sparse
            } else {
                Backups::All
            },
        };
        superblock.check()?;
        Ok(superblock)
    }

    /// What the kernel refuses to mount as well (`ext4_fill_super`).
    fn check(&self) -> anyhow::Result<()> {
        let (inode, descriptor) = (u32::from(self.inode_size), self.descriptor_size);
        ensure!(
            inode >= 128 && inode <= self.block_size && inode.is_power_of_two(),
            "its inodes have {inode} bytes"
        );
        ensure!(
            (32..=1024).contains(&descriptor) && descriptor.is_power_of_two(),
            "its group descriptors have {descriptor} bytes"
        );
        let (blocks, inodes) = (self.blocks_per_group, self.inodes_per_group);
        if blocks == 0 || inodes == 0 || u64::from(self.first_data_block) >= self.blocks {
            bail!("its groups have {blocks} blocks and {inodes} inodes");
        }
        Ok(())
    }

    /// In bytes; `None` if that is no number.
    pub(super) fn len(&self) -> Option<u64> {
        self.blocks.checked_mul(self.block_size.into())
    }

    /// Whether two byte fields of a descriptor have an upper half.
    fn wide(&self) -> bool {
        self.descriptor_size >= 64
    }

    /// Which group an inode is in, and which of its inodes it is.
    pub(super) fn place(&self, inode: u32) -> Option<(u32, u32)> {
        if inode > self.inodes {
            return None;
        }
        let index = inode.checked_sub(1)?;
        Some((index / self.inodes_per_group, index % self.inodes_per_group))
    }

    /// Byte at which the descriptor of a group begins, and its length (`descriptor_loc` of the kernel).
    pub(super) fn descriptor(&self, group: u32) -> Option<(u64, usize)> {
        let size = u32::from(self.descriptor_size);
        let per_block = self.block_size / size;
        let (nr, index) = (group / per_block, group % per_block);
        let block = match self.first_meta_bg {
            Some(first) if nr >= first => {
                let group = nr * per_block;
                let start = u64::from(group) * u64::from(self.blocks_per_group);
                start + u64::from(self.first_data_block) + u64::from(self.has_backup(group))
            }
            // Behind the superblock, which is in block 1 if blocks have just its size.
            _ => u64::from(nr) + 1 + u64::from(self.block_size == 1024),
        };
        let at = block.checked_mul(self.block_size.into())? + u64::from(index) * u64::from(size);
        Some((at, usize::from(self.descriptor_size)))
    }

    /// The first block of a group's inodes.
    pub(super) fn inode_table(&self, group: u32, descriptor: &[u8]) -> anyhow::Result<u64> {
        let cut = || format!("reading the descriptor of group {group}");
        let low = le32(descriptor, 0x8).with_context(cut)?;
        let high = if self.wide() {
            le32(descriptor, 0x28).with_context(cut)?
        } else {
            0
        };
        if let Some(seed) = self.seed {
            let kept = le16(descriptor, 0x1e).with_context(cut)?;
            let (before, after) = descriptor.split_at_checked(0x1e).with_context(cut)?;
            let crc = crc32c(crc32c(seed, &group.to_le_bytes()), before);
            let found = crc32c(crc32c(crc, &[0; 2]), after.get(2..).unwrap_or_default()) & 0xffff;
            ensure!(
                u32::from(kept) == found,
                "the descriptor of group {group} is damaged: the checksum in it is {kept:04x}, that of its bytes \
                 {found:04x}"
            );
        }
        Ok(u64::from(high) << 32 | u64::from(low))
    }

    /// `ext4_bg_has_super` of the kernel.
    fn has_backup(&self, group: u32) -> bool {
        let power_of = |base: u32| {
            let mut power = base;
            while power < group {
                power = power.saturating_mul(base);
            }
            power == group
        };
        match self.backups {
            _ if group == 0 => true,
            Backups::All => true,
            Backups::Two(groups) => groups.contains(&group),
            Backups::Sparse => group == 1 || [3, 5, 7].into_iter().any(power_of),
        }
    }
}

/// It was not unmounted: what counts is in its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it was not unmounted, and its newest changes are in its journal only")]
pub(crate) struct Unclean;
