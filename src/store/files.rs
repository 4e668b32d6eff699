//! Reading the store's files with distrust: plain files only, of bounded size, never through a symbolic link.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use serde::de::DeserializeOwned;

use crate::host::blocking;

/// What tells one folder from another of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

/// Which folder is at `path`, if any.
pub(super) fn identity(path: &Path) -> anyhow::Result<Option<Identity>> {
    blocking::here_is_waited();
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(Some(Identity(metadata.dev(), metadata.ino()))),
        Ok(_) => bail!("{} is not a folder", path.display()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("looking at {}", path.display())),
    }
}

/// Names in a folder, in no order; none if it is not there.
pub(super) fn list(folder: &Path) -> anyhow::Result<Vec<String>> {
    blocking::here_is_waited();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).with_context(|| format!("reading {}", folder.display())),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry
            .with_context(|| format!("reading {}", folder.display()))?
            .file_name();
        match name.into_string() {
            Ok(name) => names.push(name),
            Err(name) => bail!("{} does not belong here", folder.join(name).display()),
        }
    }
    Ok(names)
}

/// Opens a plain file; `None` if there is nothing.
pub(crate) fn open(path: &Path) -> anyhow::Result<Option<File>> {
    blocking::here_is_waited();
    // NONBLOCK: a FIFO would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => bail!("{} is a symbolic link; the store has none", path.display()),
        Err(e) => return Err(e).with_context(|| format!("opening {}", path.display())),
    };
    let metadata = file
        .metadata()
        .with_context(|| format!("looking at {}", path.display()))?;
    ensure!(metadata.is_file(), "{} is not a plain file", path.display());
    Ok(Some(file))
}

/// Reads all of a small file, whose name is `path`.
pub(super) fn read(file: File, path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("reading {}", path.display()))?;
    ensure!(
        bytes.len() as u64 <= limit,
        "{} has more than {limit} bytes",
        path.display()
    );
    Ok(bytes)
}

/// Reads a small file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path, limit: u64) -> anyhow::Result<T> {
    let file = open(path)?.with_context(|| format!("{} is missing", path.display()))?;
    let text = read(file, path, limit)?;
    serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))
}
