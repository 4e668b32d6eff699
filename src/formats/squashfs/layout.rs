//! Where in an image each file's content lies, block by block.

use std::ops::Range;
use std::path::Path;

use backhand::{InnerNode, SquashfsFileReader};

use super::tree::Tree;

/// One plain file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Laid<'a> {
    /// Absolute.
    pub path: &'a Path,
    /// Bytes of its content.
    pub size: u64,
    /// Its content in order: bytes of the content, and the bytes of the image they are packed in. The end of a small file may be
    /// in a block with the ends of others.
    pub blocks: Vec<(Range<u64>, Range<u64>)>,
}

impl Tree {
    /// All plain files, by path.
    pub fn laid(&self) -> impl Iterator<Item = Laid<'_>> {
        self.files().map(|(path, file)| self.lay(path, file))
    }

    /// The plain file at this very path; no link is followed.
    #[must_use]
    pub fn laid_at(&self, path: &Path) -> Option<Laid<'_>> {
        let node = self.node(path)?;
        match &node.inner {
            InnerNode::File(file) => Some(self.lay(&node.fullpath, file)),
            _ => None,
        }
    }

    fn lay<'a>(&self, path: &'a Path, file: &SquashfsFileReader) -> Laid<'a> {
        let size = file.file_len() as u64;
        let block = u64::from(self.superblock().block_size);
        let (mut from, mut at) = (0, file.blocks_start());
        let mut blocks = Vec::with_capacity(file.block_sizes().len() + 1);
        for packed in file.block_sizes() {
            let (content_end, end) = (
                (from + block).min(size),
                at.saturating_add(packed.size().into()),
            );
            // Blocks of zeros are not stored at all.
            if end > at {
                blocks.push((from..content_end, at..end));
            }
            (from, at) = (content_end, end);
        }
        if file.frag_index() != NO_FRAGMENT
            && from < size
            && let Some(fragment) = self.fragment(file.frag_index())
        {
            blocks.push((from..size, fragment));
        }
        Laid { path, size, blocks }
    }
}

/// The number of a fragment, of a file that has none.
const NO_FRAGMENT: usize = 0xffff_ffff;
