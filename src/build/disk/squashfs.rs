//! A squashfs in a partition: taken out into a file, and read as one that is a source of its own.

use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context, ensure};

use super::le::le64;
use super::walk::Out;
use super::window::Window;
use crate::build::entry::{Entry, Sink};
use crate::build::layers::{Layer, Layers, Stored};

/// Everything in it.
pub(super) fn give(
    window: &Window,
    folder: Option<&Path>,
    out: &mut Out<'_>,
) -> anyhow::Result<()> {
    let superblock: [u8; 96] = window.array(0).context("reading its superblock")?;
    // A partition is larger; what else is in it may be a worker's own changes (OpenWrt).
    let used = le64(&superblock, 40).unwrap_or_default();
    let there = window.len();
    ensure!(
        used <= there,
        "it has {used} bytes, and {there} are there: copy or download the image again"
    );
    let file = match folder {
        Some(folder) => tempfile::NamedTempFile::new_in(folder),
        None => tempfile::NamedTempFile::new(),
    };
    let mut file = file.context("writing a temporary file")?;
    copy(window, used, file.as_file_mut()).context("writing a temporary file")?;
    let layer = Layer {
        name: "its squashfs".to_owned(),
        stored: Stored::Squashfs(file.path().to_owned()),
        promise: None,
    };
    Layers::new(vec![layer], false)?
        .whole()?
        .read(&mut Through(out))
}

fn copy(window: &Window, bytes: u64, into: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < bytes {
        let most = usize::try_from(bytes - at).unwrap_or(usize::MAX);
        let len = buffer.len().min(most);
        let part = &mut buffer[..len];
        window.read(at, part)?;
        into.write_all(part)?;
        at += len as u64;
    }
    into.flush()
}

/// What other partitions bring is not given twice.
struct Through<'a, 'b>(&'a mut Out<'b>);

impl Sink for Through<'_, '_> {
    fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> anyhow::Result<()> {
        if self.0.is_hidden(&entry.path) {
            return Ok(());
        }
        let Entry { path, kind, meta } = entry;
        self.0.give(path, kind.clone(), meta.clone(), content)
    }
}
