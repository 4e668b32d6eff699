//! What must be known of a source before its first byte is packed.

use std::io::Read;

use super::entry::{Entry, Kind, Meta, Sink};

/// A sink that reads no content: given a whole source, it knows what the packer is told at its start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    /// The root folder, if the source says anything of it.
    pub root: Option<Meta>,
    /// The newest time.
    pub newest: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// What the image will not have, one sentence each.
    pub left_out: Vec<String>,
}

impl Sink for Outline {
    fn entry(&mut self, entry: &Entry, _content: &mut dyn Read) -> anyhow::Result<()> {
        if entry.path.as_os_str().is_empty() {
            self.root = Some(entry.meta.clone());
        }
        if !matches!(entry.kind, Kind::Hardlink { .. }) {
            self.newest = self.newest.max(entry.meta.mtime);
        }
        if let Kind::File { size } = entry.kind {
            self.bytes = self.bytes.saturating_add(size);
        }
        Ok(())
    }
}
