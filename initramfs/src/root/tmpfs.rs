//! Folders that lie on the writable tmpfs itself and not on the overlay over the image, with what the image has in them:
//! programs that run containers mount overlays of their own there, which the kernel does not do over an overlay.
//!
//! What is copied is bounded by the RAM that there is, and comes on top of the writable layer's size. A folder that does not fit,
//! or that cannot be made, stays on the overlay: that is said, and the worker boots.
//!
//! Content is read from the image and not through the overlay, which would hide what another overlayfs has left in it (devices
//! 0/0, `trusted.overlay.*`): a container's stored layers are whole. In a worker that streams, these reads wait for their chunks
//! as any others do, and a recording has them among what boots read first.

pub mod tree;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ramboot_wire::TmpfsFolder;
use ramboot_wire::root::mib;
use ramboot_wire::tmpfs::{LISTS, MAX_LIST_BYTES, MAX_LISTS, chosen, lines};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat2};
use rustix::io::Errno;
use rustix::mount::mount_bind;

use crate::console;
use crate::root::attributes;
use crate::root::ram::HEADROOM;

/// A folder, and what the image has in it.
#[derive(Debug)]
pub struct Folder {
    path: TmpfsFolder,
    /// `None` if the image does not have it.
    source: Option<OwnedFd>,
    /// Of its files, in pages.
    pub bytes: u64,
}

/// Which folders the image at `lower` has, and which `named` beside them; as many as fit into `room` bytes of RAM.
///
/// # Errors
/// `lower` cannot be opened.
pub fn choose(lower: &Path, named: &[TmpfsFolder], room: u64) -> anyhow::Result<Vec<Folder>> {
    let image = File::open(lower).context("opening the image's root")?;
    let is_there = |path: &str| inside(&image, path, OFlags::PATH).is_ok();
    let named = listed(&image).into_iter().chain(named.iter().cloned());
    let mut left = room.saturating_sub(HEADROOM);
    let mut fit = Vec::new();
    for path in chosen(is_there, named) {
        match measure(&image, &path) {
            Ok(folder) if folder.bytes <= left => {
                left -= folder.bytes;
                fit.push(folder);
            }
            Ok(folder) => stays(
                &path,
                &format!(
                    "the image has {} MiB in it, {} MiB of RAM are left for it: add RAM, or take files out of the image",
                    mib(folder.bytes),
                    left >> 20
                ),
            ),
            Err(error) => stays(&path, &format!("{error:#}")),
        }
    }
    Ok(fit)
}

fn measure(image: &File, path: &TmpfsFolder) -> anyhow::Result<Folder> {
    let source = match inside(image, path.as_str(), OFlags::PATH | OFlags::DIRECTORY) {
        Ok(source) => Some(source),
        Err(Errno::NOENT) => None,
        Err(error) => return Err(error).context("opening it in the image"),
    };
    let bytes = match &source {
        Some(source) => {
            tree::bytes(&by_number(source)).context("adding up the image's files in it")?
        }
        None => 0,
    };
    Ok(Folder {
        path: path.clone(),
        source,
        bytes,
    })
}

/// Makes each folder in `layer`, which is on the tmpfs, and mounts it over its place in `root`. Gives those that are there.
///
/// # Errors
/// `root` cannot be opened, or `layer` takes no folder.
pub fn place(folders: Vec<Folder>, layer: &Path, root: &Path) -> anyhow::Result<Vec<TmpfsFolder>> {
    if folders.is_empty() {
        return Ok(Vec::new());
    }
    let root = File::open(root).context("opening the new root")?;
    fs::create_dir(layer).with_context(|| format!("making {}", layer.display()))?;
    let mut placed = Vec::new();
    for (folder, number) in folders.into_iter().zip(0_u32..) {
        let own = layer.join(number.to_string());
        match place_one(&folder, &own, &root) {
            Ok(()) => {
                console::debug(|| format!("{} is on tmpfs, not on the overlay", folder.path));
                placed.push(folder.path);
            }
            Err(error) => {
                stays(&folder.path, &format!("{error:#}"));
                fs::remove_dir_all(&own).ok();
            }
        }
    }
    Ok(placed)
}

fn place_one(folder: &Folder, own: &Path, root: &File) -> anyhow::Result<()> {
    fs::create_dir(own).context("making a folder on tmpfs")?;
    let place = folder_in(root, folder.path.as_str()).context("making it in the image")?;
    if let Some(source) = &folder.source {
        tree::copy(&by_number(source), own).context("copying what the image has in it")?;
    } else {
        // What was made just now has the label of the folder around it.
        let made = by_number(&place);
        let like = fs::metadata(&made).context("looking at it")?;
        attributes::copy(&made, own, &like, |name| !attributes::is_overlay(name))
            .context("giving it an owner and a mode")?;
    }
    mount_bind(own, by_number(&place)).context("mounting it")
}

/// The folder `path` leads to inside the root. What is not there is made: for those on the way as the rest of an image is, the
/// last as container programs make theirs, since files of containers in it may be set-user-id.
fn folder_in(root: &File, path: &str) -> io::Result<OwnedFd> {
    let mut folder = inside(root, "/", OFlags::PATH | OFlags::DIRECTORY)?;
    let mut at = String::new();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        at.push('/');
        at.push_str(name);
        let open = || inside(root, &at, OFlags::PATH | OFlags::DIRECTORY);
        folder = match open() {
            Ok(folder) => folder,
            Err(Errno::NOENT) => {
                let mode = if at == path { 0o711 } else { 0o755 };
                mkdirat(&folder, name, Mode::from_raw_mode(mode))?;
                open()?
            }
            Err(error) => return Err(error.into()),
        };
    }
    Ok(folder)
}

/// What the image's own lists name.
fn listed(image: &File) -> Vec<TmpfsFolder> {
    let mut folders = Vec::new();
    for name in lists(image) {
        let path = format!("{LISTS}/{name}");
        let Some(text) = read(image, &path) else {
            continue;
        };
        for line in lines(&text) {
            match line {
                Ok(folder) => folders.push(folder),
                Err((line, why)) => console::say(&format!("ramboot: {path}: {line:?}: {why}")),
            }
        }
    }
    folders
}

/// Sorted; what begins with a dot is nobody's list.
fn lists(image: &File) -> Vec<String> {
    let Ok(folder) = inside(image, LISTS, OFlags::RDONLY | OFlags::DIRECTORY) else {
        return Vec::new();
    };
    let Ok(entries) = Dir::read_from(&folder) else {
        return Vec::new();
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort_unstable();
    names.truncate(MAX_LISTS);
    names
}

fn read(image: &File, path: &str) -> Option<String> {
    // Nobody is at the other end of a FIFO.
    let file = inside(image, path, OFlags::RDONLY | OFlags::NONBLOCK).ok()?;
    let kind = FileType::from_raw_mode(fstat(&file).ok()?.st_mode);
    let mut bytes = Vec::new();
    if kind == FileType::RegularFile {
        let mut file = File::from(file).take(MAX_LIST_BYTES);
        file.read_to_end(&mut bytes).ok()?;
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn inside(root: &File, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, Mode::empty(), how)
}

/// A path to what is open, whatever links its own path has.
fn by_number(file: &OwnedFd) -> PathBuf {
    // With a dot the folder itself is meant, and not the link in /proc.
    PathBuf::from(format!("/proc/self/fd/{}/.", file.as_raw_fd()))
}

fn stays(path: &TmpfsFolder, why: &str) {
    console::say(&format!(
        "ramboot: {path} stays on the overlay, where containers may not start: {why}"
    ));
}

#[cfg(test)]
mod tests;
