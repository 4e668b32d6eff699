//! The bytes of a file, as they come from the disk, or from the inode itself (`inline_data`); holes are zeros.

use std::io::{self, Read};

use anyhow::{Context, ensure};

use super::Ext4;
use super::inode::{ENCRYPT, INLINE_DATA, Inode};
use super::map::{Map, Run};
use super::xattr::inline;

/// Reads one file from its start to its end.
#[derive(Debug)]
pub(crate) struct Content<'a> {
    fs: &'a Ext4,
    from: From,
    /// Bytes of the file that were not given.
    left: u64,
}

#[derive(Debug)]
enum From {
    /// The inode, and how many bytes of it were given.
    Inode(Vec<u8>, usize),
    /// Blocks, and how many bytes of the run were given.
    Blocks { map: Map, run: Run, given: u64 },
}

impl Ext4 {
    /// Opens an inode that has content.
    pub(crate) fn content(&self, inode: &Inode) -> anyhow::Result<Content<'_>> {
        ensure!(!inode.has(ENCRYPT), "it is encrypted (fscrypt)");
        let from = if inode.has(INLINE_DATA) {
            let (begin, rest) = inline(inode)?;
            let bytes = [begin, rest].concat();
            ensure!(
                inode.size <= bytes.len() as u64,
                "it has {} bytes in its inode (inline_data), and {} are there",
                inode.size,
                bytes.len()
            );
            From::Inode(bytes, 0)
        } else {
            From::Blocks {
                map: Map::new(inode)?,
                run: Run {
                    disk: None,
                    blocks: 0,
                },
                given: 0,
            }
        };
        Ok(Content {
            fs: self,
            from,
            left: inode.size,
        })
    }

    /// All of it, if it has no more bytes than are sensible for what it is.
    pub(super) fn whole(&self, inode: &Inode, most: u64) -> anyhow::Result<Vec<u8>> {
        let size = inode.size;
        ensure!(
            size <= most,
            "it has {size} bytes, and at most {most} are allowed"
        );
        let mut bytes = Vec::new();
        self.content(inode)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Bytes from here to where the disk must be asked for another place.
fn run_left(fs: &Ext4, map: &mut Map, run: &mut Run, given: &mut u64) -> anyhow::Result<u64> {
    let block = u64::from(fs.superblock.block_size);
    let of = |run: Run| run.blocks.checked_mul(block).context("a run is too long");
    if of(*run)? == *given {
        *run = map.next(fs)?;
        *given = 0;
    }
    Ok(of(*run)? - *given)
}

impl Read for Content<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() || self.left == 0 {
            return Ok(0);
        }
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX);
        let wanted = wanted.min(into.len());
        let len = match &mut self.from {
            From::Inode(bytes, given) => {
                let rest = bytes.get(*given..).unwrap_or_default();
                let len = rest.len().min(wanted);
                into[..len].copy_from_slice(&rest[..len]);
                *given += len;
                len
            }
            From::Blocks { map, run, given } => {
                let most = run_left(self.fs, map, run, given)
                    .map_err(|error| io::Error::other(format!("{error:#}")))?;
                let len = usize::try_from(most).unwrap_or(usize::MAX).min(wanted);
                let into = &mut into[..len];
                match run.disk {
                    Some(block) => {
                        let at = block * u64::from(self.fs.superblock.block_size) + *given;
                        self.fs.window.read(at, into)?;
                    }
                    None => into.fill(0),
                }
                *given += len as u64;
                len
            }
        };
        self.left -= len as u64;
        Ok(len)
    }
}
