//! A folder of the image with all that is in it, once more: content, owners, modes, extended attributes, times, hard links,
//! devices. The image is read-only and the copy is known to nobody yet, so paths stay what they are.

use std::collections::HashMap;
use std::fs::{self, DirEntry, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use ramboot_wire::root::PAGE;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::root::attributes;

/// Bytes of all plain files below `folder`, in pages, one that has several names each time.
///
/// # Errors
/// A folder cannot be read.
pub fn bytes(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0_u64;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.is_file() {
                bytes = bytes.saturating_add(metadata.len().next_multiple_of(PAGE));
            }
        }
    }
    Ok(bytes)
}

/// Copies what is in `from` into the folder `to`, which is empty, and makes that folder like the other.
///
/// # Errors
/// Something cannot be read, or there is no room.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut copied = Copied::default();
    copied.folders.push(Pair {
        from: from.to_owned(),
        to: to.to_owned(),
        like: fs::metadata(from)?,
    });
    // Grows meanwhile.
    let mut next = 0;
    while let Some(Pair { from, to, .. }) = copied.folders.get(next) {
        let (entries, to) = (fs::read_dir(from)?, to.clone());
        for entry in entries {
            let entry = entry?;
            copied.entry(&entry, to.join(entry.file_name()))?;
        }
        next += 1;
    }
    // Last: what is made in a folder changes its time, and a mode may forbid it.
    for Pair { from, to, like } in copied.folders.iter().rev() {
        attributes::copy(from, to, like, |_| true)?;
        attributes::copy_time(to, like)?;
    }
    Ok(())
}

/// What has been copied so far.
#[derive(Debug, Default)]
struct Copied {
    folders: Vec<Pair>,
    /// Copies of files with several names, by the number of the file.
    linked: HashMap<u64, PathBuf>,
}

#[derive(Debug)]
struct Pair {
    from: PathBuf,
    to: PathBuf,
    like: Metadata,
}

impl Copied {
    fn entry(&mut self, entry: &DirEntry, to: PathBuf) -> io::Result<()> {
        let (from, like) = (entry.path(), entry.metadata()?);
        if like.is_dir() {
            fs::create_dir(&to)?;
            self.folders.push(Pair { from, to, like });
            return Ok(());
        }
        if let Some(first) = self.linked.get(&like.ino()) {
            return fs::hard_link(first, to);
        }
        if like.is_file() {
            io::copy(&mut File::open(&from)?, &mut File::create_new(&to)?)?;
        } else if like.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
        } else {
            mknodat(CWD, &to, special(&like), Mode::RUSR, like.rdev())?;
        }
        attributes::copy(&from, &to, &like, |_| true)?;
        attributes::copy_time(&to, &like)?;
        if like.nlink() > 1 {
            self.linked.insert(like.ino(), to);
        }
        Ok(())
    }
}

fn special(like: &Metadata) -> FileType {
    let kind = like.file_type();
    if kind.is_char_device() {
        FileType::CharacterDevice
    } else if kind.is_block_device() {
        FileType::BlockDevice
    } else if kind.is_fifo() {
        FileType::Fifo
    } else {
        FileType::Socket
    }
}
