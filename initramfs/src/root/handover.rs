//! The step from the initramfs into the image: mounts move over, the initramfs gives its RAM back, the image's init
//! becomes PID 1.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use ramboot_wire::root::MOUNT_POINTS;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, fstatfs, open, openat, openat2, statat,
    unlinkat,
};
use rustix::io::Errno;
use rustix::mount::mount_move;
use rustix::process::{chdir, chroot};

/// Names the machine, if the command line does. An image without `/etc` has no program that would read it, and gets no file.
///
/// # Errors
/// The writable layer refused.
pub fn settle(root: &Path, hostname: Option<&str>) -> anyhow::Result<()> {
    let Some(name) = hostname else {
        return Ok(());
    };
    rustix::system::sethostname(name.as_bytes()).context("setting the host name")?;
    write_name(root, name)
}

fn write_name(root: &Path, name: &str) -> anyhow::Result<()> {
    let folder = File::open(root).context("opening the new root")?;
    if has_folder(&folder, "etc")? {
        write_inside(&folder, "/etc/hostname", &format!("{name}\n"))?;
    }
    Ok(())
}

/// Moves the mounts, empties the initramfs and makes `root` the root.
///
/// # Errors
/// Which step failed. After the first one, only a reboot helps.
pub fn switch(root: &Path) -> anyhow::Result<()> {
    for folder in MOUNT_POINTS {
        let to = root.join(folder.trim_start_matches('/'));
        fs::create_dir_all(&to).with_context(|| format!("making {folder} in the image"))?;
        mount_move(folder, &to).with_context(|| format!("moving {folder} into the image"))?;
    }
    let old = open("/", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .context("opening the initramfs")?;
    let magic = fstatfs(&old).context("looking at the initramfs")?.f_type;
    if ![RAMFS_MAGIC, TMPFS_MAGIC]
        .iter()
        .any(|known| i128::from(magic) == i128::from(*known))
    {
        bail!(
            "the root is no initramfs (file system {magic:x}): nothing is deleted, nothing is started"
        );
    }
    empty(old.as_fd(), 0);
    chdir(root).context("entering the new root")?;
    mount_move(".", "/").context("moving the new root to /")?;
    chroot(".").context("changing the root")?;
    chdir("/").context("entering the new root")
}

/// Starts the image's init. Returns only if that failed.
///
/// The program gets the arguments the kernel passed on (`single`, `3`), the environment the kernel gives a first
/// process and nothing else; signals are as they were at our own start: std unblocks all and resets SIGPIPE, and a
/// handler does not outlive exec.
///
/// `notify` is where it says that it is up (sd_notify(3)), if anybody listens.
pub fn exec(init: &str, args: &[OsString], notify: Option<&str>) -> io::Error {
    Command::new(init)
        .args(args)
        .env_clear()
        .envs([
            ("HOME", "/"),
            ("TERM", "linux"),
            (
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ),
        ])
        .envs(notify.map(|to| ("NOTIFY_SOCKET", to)))
        .exec()
}

/// Deletes everything below `folder` that lies on the same file system. Best effort: what stays costs RAM, no more.
fn empty(folder: impl AsFd, depth: usize) {
    let Ok(device) = rustix::fs::fstat(&folder).map(|stat| stat.st_dev) else {
        return;
    };
    let Ok(entries) = Dir::read_from(&folder) else {
        return;
    };
    // Read to the end first: deleting while reading may skip entries.
    let names: Vec<_> = entries
        .flatten()
        .map(|e| e.file_name().to_owned())
        .collect();
    for name in &names {
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(stat) = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        if stat.st_dev != device {
            continue;
        }
        let mut how = AtFlags::empty();
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            how = AtFlags::REMOVEDIR;
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if depth < MAX_DEPTH
                && let Ok(inner) = openat(&folder, name, flags, Mode::empty())
            {
                empty(inner, depth + 1);
            }
        }
        unlinkat(&folder, name, how).ok();
    }
}

/// Whether `path` leads to a folder, links followed as the image's own programs would.
pub(crate) fn has_folder(root: &File, path: &str) -> anyhow::Result<bool> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("looking for /{path} in the image")),
    }
}

/// Writes a file of the image, in place of what is there. Symbolic links are followed as the image's own programs would,
/// never out of it.
///
/// # Errors
/// It cannot be made; the path stands in the chain.
pub(crate) fn write_inside(root: &File, path: &str, text: &str) -> anyhow::Result<()> {
    let file: OwnedFd = openat2(
        root,
        path,
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o644),
        ResolveFlags::IN_ROOT,
    )
    .with_context(|| format!("opening {path} in the image"))?;
    File::from(file)
        .write_all(text.as_bytes())
        .with_context(|| format!("writing {path} in the image"))
}

const RAMFS_MAGIC: u32 = 0x8584_58f6;
const TMPFS_MAGIC: u32 = 0x0102_1994;
/// Of folders in an initramfs; deeper ones stay. Bounds the stack.
const MAX_DEPTH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("ramboot-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("folder");
        path
    }

    #[test]
    fn an_image_without_etc_gets_no_name() {
        let root = folder("bare");
        write_name(&root, "worker").expect("nothing to do");
        let bare = fs::read_dir(&root).expect("there").count();
        fs::create_dir(root.join("etc")).expect("folder");
        write_name(&root, "worker").expect("writes");
        let hostname = fs::read_to_string(root.join("etc/hostname"));
        fs::remove_dir_all(&root).expect("clean up");
        assert_eq!(bare, 0);
        assert_eq!(hostname.expect("written"), "worker\n");
    }

    #[test]
    fn writing_follows_links_inside_the_root_only() {
        let root = folder("inside");
        fs::create_dir(root.join("etc")).expect("folder");
        symlink("/etc/real", root.join("etc/hostname")).expect("link");
        symlink("../../../../../../etc/out", root.join("etc/up")).expect("link");
        let handle = File::open(&root).expect("open");
        write_inside(&handle, "/etc/hostname", "a\n").expect("writes");
        write_inside(&handle, "/etc/up", "b\n").expect("writes");
        let inside = ["real", "out"].map(|name| root.join("etc").join(name).is_file());
        fs::remove_dir_all(&root).expect("clean up");
        assert_eq!(inside, [true, true]);
    }

    #[test]
    fn emptying_deletes_links_and_not_what_they_lead_to() {
        let (outside, root) = (folder("outside"), folder("empty"));
        fs::write(outside.join("keep"), "").expect("file");
        fs::create_dir_all(root.join("a/b/c")).expect("folders");
        fs::write(root.join("a/b/file"), "").expect("file");
        symlink(&outside, root.join("a/link")).expect("link");
        empty(File::open(&root).expect("open"), 0);
        let left = fs::read_dir(&root).expect("there").count();
        let kept = outside.join("keep").is_file();
        fs::remove_dir_all(&root).expect("clean up");
        fs::remove_dir_all(&outside).expect("clean up");
        assert_eq!((left, kept), (0, true));
    }
}
