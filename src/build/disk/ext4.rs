//! Reads ext2, ext3 and ext4, whoever made them: damage and malice give an error, never a panic, a loop or memory without
//! bound.
//!
//! A reader of its own, because what `ramboot build` must keep is what `ext4-view` 1.0 does not give: the numbers of inodes
//! (hard links), extended attributes (file capabilities) and those of devices. All of them stand on inodes, folders and
//! extents, so that little would be left for the library; and it takes memory for whatever number a superblock or a link
//! gives.

mod content;
mod folder;
mod inode;
mod map;
mod superblock;
mod xattr;

use std::cell::Cell;

use anyhow::{Context, ensure};

pub(super) use folder::Names;
pub(super) use inode::{Inode, is_file, is_folder, is_link};
use superblock::Superblock;
pub(super) use superblock::Unclean;

use super::window::Window;

/// Inode of the root folder.
pub(super) const ROOT: u32 = 2;

/// A file system.
#[derive(Debug)]
pub(super) struct Ext4 {
    window: Window,
    superblock: Superblock,
    /// The group whose inodes were looked for last, and where they are.
    table: Cell<Option<(u32, u64)>>,
}

impl Ext4 {
    /// Whether there is one, however damaged.
    pub(super) fn is_there(window: &Window) -> bool {
        window
            .array(superblock::AT + 0x38)
            .is_ok_and(|magic: [u8; 2]| magic == [0x53, 0xef])
    }

    /// Reads its superblock.
    ///
    /// # Errors
    /// [`Unclean`], or it cannot be read at all.
    pub(super) fn open(window: Window) -> anyhow::Result<Self> {
        let bytes = window
            .array(superblock::AT)
            .context("reading its superblock")?;
        let superblock = Superblock::parse(&bytes)?;
        let len = superblock.len();
        let there = window.len();
        ensure!(
            len.is_some_and(|len| len <= there),
            "it has {} blocks of {} bytes, and {there} bytes are there: copy or download the image again",
            superblock.blocks,
            superblock.block_size
        );
        Ok(Self {
            window,
            superblock,
            table: Cell::new(None),
        })
    }

    /// Volume name.
    pub(super) fn label(&self) -> &str {
        &self.superblock.label
    }

    /// In bytes.
    pub(super) fn len(&self) -> u64 {
        self.superblock.len().unwrap_or(0)
    }

    /// Reads an inode.
    pub(super) fn inode(&self, number: u32) -> anyhow::Result<Inode> {
        let read = || format!("reading inode {number}");
        self.find(number)
            .and_then(|bytes| Inode::parse(&self.superblock, number, &bytes))
            .with_context(read)
    }

    fn find(&self, number: u32) -> anyhow::Result<Vec<u8>> {
        let sb = &self.superblock;
        let (group, index) = sb.place(number).context("there is no such inode")?;
        let table = match self.table.get() {
            Some((last, table)) if last == group => table,
            _ => {
                let (at, len) = sb.descriptor(group).context("its group is too far away")?;
                let table = sb.inode_table(group, &self.window.bytes(at, len)?)?;
                self.table.set(Some((group, table)));
                table
            }
        };
        let size = u64::from(sb.inode_size);
        let start = table.checked_mul(sb.block_size.into());
        let at = start.and_then(|start| start.checked_add(u64::from(index) * size));
        let at = at.context("its group is too far away")?;
        Ok(self.window.bytes(at, usize::from(sb.inode_size))?)
    }

    /// What a symbolic link points at.
    pub(super) fn target(&self, inode: &Inode) -> anyhow::Result<Vec<u8>> {
        let inside = usize::try_from(inode.size)
            .ok()
            .and_then(|len| inode.block.get(..len));
        let target = match inside {
            Some(target) if target.len() < inode.block.len() && !inode.has(inode::EXTENTS) => {
                target.to_vec()
            }
            _ => self.whole(inode, MOST_TARGET)?,
        };
        ensure!(
            !target.is_empty() && !target.contains(&0),
            "the link points at {:?}",
            String::from_utf8_lossy(&target)
        );
        Ok(target)
    }

    /// Major and minor number of a device.
    pub(super) fn device(inode: &Inode) -> anyhow::Result<(u32, u32)> {
        inode.device().context("the inode is cut short")
    }

    fn block(&self, number: u64) -> anyhow::Result<Vec<u8>> {
        self.check(number, 1)?;
        let size = self.superblock.block_size;
        let at = number * u64::from(size);
        Ok(self.window.bytes(at, size as usize)?)
    }

    /// Whether there are such blocks; the first is never one of a file.
    fn check(&self, first: u64, blocks: u64) -> anyhow::Result<()> {
        let all = self.superblock.blocks;
        let end = first.checked_add(blocks);
        ensure!(
            first > 0 && end.is_some_and(|end| end <= all),
            "blocks {first} and {blocks} on are wanted, and the file system has {all}"
        );
        Ok(())
    }
}

/// `PATH_MAX` of the kernel.
const MOST_TARGET: u64 = 4096;
