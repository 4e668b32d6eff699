//! Lays the worker's files over the image: into the writable layer, through the mounted root, and nowhere else.
//!
//! Every folder is looked up by openat2(2) with RESOLVE_IN_ROOT: links on the way, also absolute ones and `..` in them,
//! mean what they mean to the image's own programs, and there is no way out of the root. The last part of a path is
//! never followed.
//!
//! - A file or link takes the place of what is there, unless that is a folder.
//! - A folder that is there keeps its mode and owner; so does one that a link of the image leads to (`/lib`). One that is
//!   not is made with its own.
//! - What has no folder, in the image or in the archive, is left out: it belongs to a program that the image does not have.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fchmod, fchown, mkdirat, open, openat,
    openat2, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::worker_files::archive::{Entry, Node};

/// What became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Laid {
    /// Files, folders and links that are there now.
    pub laid: usize,
    /// Paths of those that have no folder.
    pub left_out: Vec<String>,
}

/// Which file could not be laid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "laying {0} of the worker files over the image (is the writable layer full? overlay in the manager's config is its size)"
)]
pub struct Unlaid(pub String);

/// Lays `entries` into the root at `root`, in their order.
///
/// # Errors
/// The writable layer is full, or a file would take the place of a folder; the path stands in the text.
pub fn lay(root: &Path, entries: &[Entry]) -> anyhow::Result<Laid> {
    let root = open(
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .context("opening the new root")?;
    let mut done = Laid::default();
    for entry in entries {
        let path = Path::new(&entry.folder).join(&entry.name);
        let shown = path.strip_prefix(".").unwrap_or(&path).display();
        let is_laid = one(&root, &path, entry).with_context(|| Unlaid(format!("/{shown}")))?;
        if is_laid {
            done.laid += 1;
        } else {
            done.left_out.push(format!("/{shown}"));
        }
    }
    Ok(done)
}

/// `false` if there is no folder for it.
fn one(root: &OwnedFd, path: &Path, entry: &Entry) -> anyhow::Result<bool> {
    let folder = match inside(root, Path::new(&entry.folder)) {
        Ok(folder) => folder,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
        Err(error) => return Err(error).context("looking for its folder"),
    };
    let owner = (
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
    );
    let mode = Mode::from_raw_mode(entry.mode);
    let name = entry.name.as_os_str();
    let made = match &entry.node {
        Node::Folder if inside(root, path).is_ok() => return Ok(true),
        Node::Folder => {
            clear(&folder, entry)?;
            mkdirat(&folder, name, Mode::RWXU)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(&folder, name, flags, Mode::empty())?
        }
        Node::File(content) => {
            clear(&folder, entry)?;
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(openat(&folder, name, flags, Mode::RUSR | Mode::WUSR)?);
            file.write_all(content)?;
            file.into()
        }
        Node::Link(target) => {
            clear(&folder, entry)?;
            symlinkat(target.as_os_str(), &folder, name)?;
            chownat(&folder, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
            return Ok(true);
        }
    };
    // First the owner: a change of it takes the set-user-id bit away.
    fchown(&made, owner.0, owner.1)?;
    fchmod(&made, mode)?;
    Ok(true)
}

/// A folder, as the image's programs find it.
fn inside(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    openat2(
        root,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
}

/// Takes away what is in an entry's place.
fn clear(folder: &OwnedFd, entry: &Entry) -> anyhow::Result<()> {
    match unlinkat(folder, entry.name.as_os_str(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        // POSIX says EPERM, Linux EISDIR.
        Err(Errno::ISDIR | Errno::PERM) => bail!("there is a folder of this name"),
        Err(error) => Err(error).context("taking away what is there"),
    }
}

#[cfg(test)]
mod tests;
