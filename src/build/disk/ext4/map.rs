//! Which blocks hold a file: an extent tree, or the indirect blocks of ext2 and ext3.
//!
//! Goes forward only, and holds one path of the tree. Extents must ascend, and no node but the root may be empty: then no
//! tree, whoever made it, takes more steps than it has nodes.

use anyhow::{Context, ensure};

use super::Ext4;
use super::inode::{EXTENTS, Inode};
use crate::build::disk::crc::crc32c;
use crate::build::disk::le::{le16, le32};

/// Blocks that follow each other in the file, and on the disk as well unless they are a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The first of them on the disk; `None` for zeros.
    pub(super) disk: Option<u64>,
    /// How many; never 0.
    pub(super) blocks: u64,
}

/// Steps through a file from its start.
#[derive(Debug)]
pub(super) enum Map {
    Tree(Tree),
    Indirect(Indirect),
}

impl Map {
    /// Of an inode whose `i_block` holds one.
    pub(super) fn new(inode: &Inode) -> anyhow::Result<Self> {
        Ok(if inode.has(EXTENTS) {
            Self::Tree(Tree::new(inode)?)
        } else {
            Self::Indirect(Indirect::new(inode))
        })
    }

    /// What comes next in the file.
    pub(super) fn next(&mut self, fs: &Ext4) -> anyhow::Result<Run> {
        match self {
            Self::Tree(tree) => tree.next(fs),
            Self::Indirect(indirect) => indirect.next(fs),
        }
    }
}

/// `Documentation/filesystems/ext4/ifork.rst`, "Extent Tree".
#[derive(Debug)]
pub(super) struct Tree {
    path: Vec<Node>,
    seed: Option<u32>,
    /// Block of the file that comes next.
    at: u64,
    /// Found already, behind a hole: its first block in the file, and what it is.
    ahead: Option<(u64, Run)>,
}

#[derive(Debug)]
struct Node {
    bytes: Vec<u8>,
    depth: u16,
    entries: u16,
    /// The next to look at, from 0.
    next: u16,
}

/// Of the header and of each entry.
const ENTRY: usize = 12;
/// Longer extents have no content yet (`EXT_INIT_MAX_LEN`).
const INIT_MAX: u16 = 1 << 15;
/// No file has more blocks than its numbers can say.
const END: u64 = 1 << 32;

impl Tree {
    fn new(inode: &Inode) -> anyhow::Result<Self> {
        let root = Node::parse(inode.block.to_vec())?;
        ensure!(root.depth <= 5, "its extent tree is {} deep", root.depth);
        Ok(Self {
            path: vec![root],
            seed: inode.seed,
            at: 0,
            ahead: None,
        })
    }

    fn next(&mut self, fs: &Ext4) -> anyhow::Result<Run> {
        let (first, run) = match self.ahead.take() {
            Some(ahead) => ahead,
            None => self.extent(fs)?.unwrap_or((
                END,
                Run {
                    disk: None,
                    blocks: END,
                },
            )),
        };
        if first > self.at {
            let hole = first - self.at;
            self.at = first;
            self.ahead = Some((first, run));
            return Ok(Run {
                disk: None,
                blocks: hole,
            });
        }
        ensure!(
            first == self.at,
            "its extents do not ascend: block {first} comes after block {}",
            self.at
        );
        self.at += run.blocks;
        Ok(run)
    }

    /// The next leaf entry.
    fn extent(&mut self, fs: &Ext4) -> anyhow::Result<Option<(u64, Run)>> {
        while let Some(node) = self.path.last_mut() {
            if node.next == node.entries {
                self.path.pop();
                continue;
            }
            node.next += 1;
            let at = usize::from(node.next) * ENTRY;
            let entry = node.bytes.get(at..).context("an extent is cut short")?;
            let word = |at| le32(entry, at).context("an extent is cut short");
            let half = |at| le16(entry, at).context("an extent is cut short");
            let join = |high: u16, low: u32| u64::from(high) << 32 | u64::from(low);
            if node.depth > 0 {
                let child = fs.child(join(half(8)?, word(4)?), node.depth - 1, self.seed)?;
                self.path.push(child);
                continue;
            }
            let (len, start) = (half(4)?, join(half(6)?, word(8)?));
            let (disk, blocks) = if len > INIT_MAX {
                (None, len - INIT_MAX)
            } else {
                (Some(start), len)
            };
            ensure!(blocks > 0, "an extent of its tree is empty");
            fs.check(start, u64::from(blocks))?;
            let blocks = u64::from(blocks);
            return Ok(Some((u64::from(word(0)?), Run { disk, blocks })));
        }
        Ok(None)
    }
}

impl Node {
    fn parse(bytes: Vec<u8>) -> anyhow::Result<Self> {
        let half = |at| le16(&bytes, at).context("a node of its extent tree is cut short");
        let (magic, entries, depth) = (half(0)?, half(2)?, half(6)?);
        ensure!(
            magic == 0xf30a && (usize::from(entries) + 1) * ENTRY <= bytes.len(),
            "a node of its extent tree is damaged: {entries} entries, magic number {magic:04x}"
        );
        Ok(Self {
            depth,
            entries,
            next: 0,
            bytes,
        })
    }
}

impl Ext4 {
    /// A node of an extent tree below the root.
    fn child(&self, block: u64, depth: u16, seed: Option<u32>) -> anyhow::Result<Node> {
        let bytes = self.block(block)?;
        if let Some(seed) = seed {
            let max = le16(&bytes, 4).unwrap_or_default();
            let (node, rest) = bytes
                .split_at_checked((usize::from(max) + 1) * ENTRY)
                .context("a node of its extent tree is too long")?;
            let kept = le32(rest, 0).context("a node of its extent tree is too long")?;
            let found = crc32c(seed, node);
            ensure!(
                kept == found,
                "block {block} of its extent tree is damaged: the checksum in it is {kept:08x}, that of its bytes \
                 {found:08x}"
            );
        }
        let node = Node::parse(bytes)?;
        ensure!(
            node.depth == depth && node.entries > 0,
            "block {block} of its extent tree is damaged: depth {} where {depth} is due, {} entries",
            node.depth,
            node.entries
        );
        Ok(node)
    }
}

/// `Documentation/filesystems/ext4/ifork.rst`, "Direct/Indirect Block Addressing".
#[derive(Debug)]
pub(super) struct Indirect {
    block: [u8; 60],
    at: u64,
    /// The block of numbers read last on each level, and which it is.
    read: [(u64, Vec<u8>); 3],
}

/// How far is looked ahead for blocks that follow each other.
const MOST: u64 = 256;

impl Indirect {
    fn new(inode: &Inode) -> Self {
        Self {
            block: inode.block,
            at: 0,
            read: Default::default(),
        }
    }

    fn next(&mut self, fs: &Ext4) -> anyhow::Result<Run> {
        let first = self.find(fs, self.at)?;
        let mut blocks = 1;
        while blocks < MOST && self.find(fs, self.at + blocks)? == first.map(|disk| disk + blocks) {
            blocks += 1;
        }
        self.at += blocks;
        let disk = first;
        if let Some(disk) = disk {
            fs.check(disk, blocks)?;
        }
        Ok(Run { disk, blocks })
    }

    /// Where on the disk a block of the file is. What is past the end of the highest level is a hole.
    fn find(&mut self, fs: &Ext4, block: u64) -> anyhow::Result<Option<u64>> {
        let per = u64::from(fs.superblock.block_size / 4);
        let (mut index, mut slot, mut level, mut span) = (block, 12_u64, 0_u32, 12_u64);
        while index >= span {
            index -= span;
            level += 1;
            if level > 3 {
                return Ok(None);
            }
            span = per.pow(level);
            slot = 11 + u64::from(level);
        }
        if level == 0 {
            slot = index;
        }
        let mut disk = number(&self.block, slot)?;
        for level in (0..level).rev() {
            if disk == 0 {
                return Ok(None);
            }
            let read = self
                .read
                .get_mut(level as usize)
                .context("its indirect blocks are too deep")?;
            if read.0 != disk {
                *read = (disk, fs.block(disk)?);
            }
            disk = number(&read.1, index / per.pow(level) % per)?;
        }
        Ok((disk != 0).then_some(disk))
    }
}

fn number(bytes: &[u8], index: u64) -> anyhow::Result<u64> {
    let at = usize::try_from(index * 4).context("its indirect blocks are too long")?;
    le32(bytes, at)
        .map(u64::from)
        .context("its indirect blocks are cut short")
}
