//! The bytes of a file, as they come from the disk; holes are zeros.

use std::io::{self, Read};

use anyhow::{Context, ensure};

use super::Ext4;
use super::inode::{ENCRYPT, INLINE_DATA, Inode};
use super::map::{Map, Run};

/// Reads one file from its start to its end.
#[derive(Debug)]
pub(crate) struct Content<'a> {
    fs: &'a Ext4,
    map: Map,
    run: Run,
    /// Bytes of `run` that were given.
    given: u64,
    /// Bytes of the file that were not.
    left: u64,
}

impl Ext4 {
    /// Opens an inode that has blocks.
    pub(crate) fn content(&self, inode: &Inode) -> anyhow::Result<Content<'_>> {
        ensure!(!inode.has(ENCRYPT), "it is encrypted (fscrypt)");
        ensure!(
            !inode.has(INLINE_DATA),
            "its content is in the inode itself (inline_data), which is not known here"
        );
        Ok(Content {
            fs: self,
            map: Map::new(inode)?,
            run: Run {
                disk: None,
                blocks: 0,
            },
            given: 0,
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

impl Content<'_> {
    /// Bytes from here to where the disk must be asked for another place.
    fn run_left(&mut self) -> anyhow::Result<u64> {
        let block = u64::from(self.fs.superblock.block_size);
        let of = |run: Run| run.blocks.checked_mul(block).context("a run is too long");
        if of(self.run)? == self.given {
            self.run = self.map.next(self.fs)?;
            self.given = 0;
        }
        Ok(of(self.run)? - self.given)
    }
}

impl Read for Content<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() || self.left == 0 {
            return Ok(0);
        }
        let most = self
            .run_left()
            .map_err(|error| io::Error::other(format!("{error:#}")))?;
        let most = usize::try_from(most.min(self.left)).unwrap_or(usize::MAX);
        let len = most.min(into.len());
        let into = &mut into[..len];
        match self.run.disk {
            Some(block) => {
                let at = block * u64::from(self.fs.superblock.block_size) + self.given;
                self.fs.window.read(at, into)?;
            }
            None => into.fill(0),
        }
        self.given += len as u64;
        self.left -= len as u64;
        Ok(len)
    }
}
