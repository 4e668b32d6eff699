//! From the verified file to a root: loop device, squashfs, and a writable layer over it.
//!
//! Once the overlay stands, it alone holds the parts: the image's file has no name, the loop device is autoclear and
//! the lower mounts are detached, so a later soft-reboot into another image gives the RAM back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use ramboot_wire::root::INITS;
use ramboot_wire::{Overlay, TmpfsFolder};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::root::attributes;
use crate::root::ram;
use crate::root::selinux::{self, Labels, Policy};
use crate::root::sys::{self, LoopReads};
use crate::root::tmpfs;

/// Where all of it happens, inside the initramfs.
pub const WORK: &str = "/ramboot";

/// The folder of one part.
#[must_use]
pub fn part(name: &str) -> PathBuf {
    Path::new(WORK).join(name)
}

/// A root that is mounted.
#[derive(Debug)]
pub struct Mounted {
    /// Its folder.
    pub root: PathBuf,
    /// How many bytes may be written into it.
    pub layer: u64,
    /// Folders that are not on the overlay.
    pub tmpfs: Vec<TmpfsFolder>,
    /// What to tell systemd of the labels in the layer, where SELinux is on.
    pub labels: Option<Labels>,
}

/// Mounts the image under `device` with a writable layer of the size that is `wanted`, and folders on tmpfs: those `named`
/// beside those of the image. `left` is the RAM that nothing else is meant to take, as what is yet to come of the image is.
///
/// # Errors
/// Which step failed, and what usually is the reason.
pub fn mount_root(
    device: &Path,
    left: u64,
    wanted: Option<Overlay>,
    named: &[TmpfsFolder],
) -> anyhow::Result<Mounted> {
    let (lower, upper, root) = (part("lower"), part("layer"), part("root"));
    fs::create_dir_all(&lower).context("making a folder for the image")?;
    mount(device, &lower, "squashfs", MountFlags::RDONLY, None).with_context(|| {
        format!(
            "mounting {} as squashfs (does the kernel have squashfs, with the image's compression?)",
            device.display()
        )
    })?;
    let policy = selinux::load_policy(&lower);
    let folders = tmpfs::choose(&lower, named, left)?;
    let copied: u64 = folders.iter().map(|folder| folder.bytes).sum();
    let layer = ram::layer_bytes(wanted, left.saturating_sub(copied));
    ram::mount_tmpfs(&upper, layer.saturating_add(copied), "0755")?;
    mount_overlay(&lower, &upper, &root, policy.as_ref())?;
    let tmpfs = tmpfs::place(folders, &upper.join("tmpfs"), &root)?;
    let labels = policy.map(|_| Labels::new(&upper.join(UPPER), &lower));
    let labels = labels.transpose().context("opening the writable layer")?;
    let parts = [&lower, &upper, &part("image"), &part("stream")];
    // The last one is there only in a worker that streams.
    for folder in parts.into_iter().filter(|folder| folder.exists()) {
        unmount(folder, UnmountFlags::DETACH)
            .with_context(|| format!("detaching {}", folder.display()))?;
    }
    Ok(Mounted {
        root,
        layer,
        tmpfs,
        labels,
    })
}

/// The program a root is started with: the first that is there and executable, resolved inside that root.
///
/// # Errors
/// None is.
pub fn find_init(root: &Path) -> anyhow::Result<&'static str> {
    let folder = File::open(root).context("opening the new root")?;
    for candidate in INITS {
        let found = openat2(
            &folder,
            candidate,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            // Absolute symbolic links are the rule here (Debian: /sbin/init -> /lib/systemd/systemd).
            ResolveFlags::IN_ROOT,
        );
        let Ok(file) = found else { continue };
        let Ok(stat) = fstat(&file) else { continue };
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && stat.st_mode & 0o111 != 0
        {
            return Ok(candidate);
        }
    }
    bail!("the image has no executable {}", INITS.join(", "))
}

/// Reads the programs by which one has systemd end a machine and by which it does, and gives their bytes; 0 if there are none.
/// No boot reads them, and who wants to reboot may be the one who has nobody left to ask for them.
#[must_use]
pub fn read_enders(root: &Path) -> u64 {
    let Ok(folder) = File::open(root) else {
        return 0;
    };
    let read = |path: &&str| {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let found = openat2(&folder, *path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
        let program = File::from(found.ok()?);
        let is_file = program.metadata().ok()?.is_file();
        is_file.then(|| io::copy(&mut program.take(MAX_ENDER), &mut io::sink()).ok())?
    };
    ENDERS.iter().filter_map(read).sum()
}

/// `reboot` and `poweroff` are links to the second one.
const ENDERS: [&str; 2] = ["/lib/systemd/systemd-shutdown", "/bin/systemctl"];
/// They have less than 2 MB.
const MAX_ENDER: u64 = 4 << 20;

/// Puts the file under a free loop device, which is freed when nothing mounted and nobody holds it any more.
///
/// # Errors
/// There is none, or why it does not take the file.
pub fn attach(image: &File, reads: LoopReads) -> anyhow::Result<(PathBuf, File)> {
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/loop-control")
        .context("opening /dev/loop-control (does the kernel have loop devices?)")?;
    // Nobody else is here to race with; an image's own kernel command line (max_loop) may still occupy some.
    for _ in 0..8 {
        let number = sys::free_loop(&control).context("asking for a free loop device")?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        // Kept open until it is configured: autoclear acts when the last user closes it, and the mount is one.
        let device = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        match sys::configure_loop(&device, image, reads) {
            Ok(()) => {
                return Ok((path, device));
            }
            Err(Errno::BUSY) => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("putting the image under {}", path.display()));
            }
        }
    }
    bail!("every free loop device was taken by somebody else")
}

/// In the folder of the writable layer.
const UPPER: &str = "upper";

fn mount_overlay(
    lower: &Path,
    layer: &Path,
    root: &Path,
    policy: Option<&Policy>,
) -> anyhow::Result<()> {
    for folder in [&layer.join(UPPER), &layer.join("work"), root] {
        fs::create_dir(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    // What the root folder has beside its entries is that of the upper one.
    let upper = layer.join(UPPER);
    let like = fs::metadata(lower).context("looking at the image's root folder")?;
    attributes::copy(lower, &upper, &like, |name| !attributes::is_overlay(name)).context(
        "giving the writable layer the owner, mode and attributes of the image's root folder",
    )?;
    let data = std::ffi::CString::new(format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        layer.join("work").display()
    ))?;
    if policy.is_some_and(|policy| policy.mount_overlay(root, &data)) {
        return Ok(());
    }
    mount("ramboot", root, "overlay", MountFlags::empty(), &*data)
        .context("mounting the overlay (does the kernel have overlayfs?)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn init_is_found_inside_the_root_and_must_be_executable() {
        let root = std::env::temp_dir().join(format!("ramboot-root-{}", std::process::id()));
        fs::create_dir_all(root.join("usr/lib/systemd")).expect("folders");
        fs::create_dir_all(root.join("usr/sbin")).expect("folders");
        symlink("usr/sbin", root.join("sbin")).expect("link");
        symlink("/lib/systemd/systemd", root.join("usr/sbin/init")).expect("link");
        symlink("usr/lib", root.join("lib")).expect("link");
        let none = find_init(&root).expect_err("nothing there").to_string();
        let program = root.join("usr/lib/systemd/systemd");
        fs::write(&program, "").expect("file");
        let not_executable = find_init(&root).is_err();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("mode");
        let found = find_init(&root).ok();
        fs::remove_file(root.join("usr/sbin/init")).expect("remove");
        let second = find_init(&root).ok();
        fs::remove_dir_all(&root).expect("clean up");
        assert_eq!(
            none,
            "the image has no executable /sbin/init, /lib/systemd/systemd, /init"
        );
        assert!(not_executable);
        assert_eq!(found, Some("/sbin/init"));
        assert_eq!(second, Some("/lib/systemd/systemd"));
    }

    #[test]
    fn what_ends_a_machine_is_read_inside_the_root() {
        let root = std::env::temp_dir().join(format!("ramboot-end-{}", std::process::id()));
        fs::create_dir_all(root.join("usr/lib/systemd")).expect("folders");
        let none = read_enders(&root);
        symlink("/usr/lib", root.join("lib")).expect("link");
        let program = root.join("usr/lib/systemd/systemd-shutdown");
        fs::create_dir(&program).expect("folder");
        let folder = read_enders(&root);
        fs::remove_dir(&program).expect("remove");
        fs::write(&program, [7; 3000]).expect("file");
        let one = read_enders(&root);
        fs::create_dir(root.join("bin")).expect("folder");
        fs::write(root.join("bin/systemctl"), [7; 400]).expect("file");
        let both = read_enders(&root);
        fs::remove_dir_all(&root).expect("clean up");
        assert_eq!((none, folder, one, both), (0, 0, 3000, 3400));
    }
}
