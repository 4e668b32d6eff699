//! SELinux's labels on the writable layer, for images that have a policy and kernels that were told to use SELinux.
//!
//! The layer lies on a tmpfs, and when a policy is loaded the kernel gives each file that is on a tmpfs by then the label
//! `tmpfs_t`, whatever label it had (fs_use_trans; `security/selinux/hooks.c`, inode_doinit_with_dentry); files that overlayfs
//! copies up before that lose theirs at once. So the policy of the image is loaded here, before the layer is made: from then on the
//! kernel itself keeps the label of what is changed, and gives what is new that of its folder. systemd loads the policy again.
//!
//! Programs of the worker use files of the image by file descriptors that overlayfs has opened with the rights of whoever mounted it,
//! and the kernel asks whether a program may use such a one (`fd { use }`, when a library's pages become read-only). A policy
//! lets services use those of init and not of the kernel, so it is a process in init's domain that mounts the overlay.
//!
//! What /init has written is left to systemd in a list, to be given the labels of the policy's file_contexts before anything
//! starts (`/run/systemd/relabel-extra.d`, since systemd 245).

use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};
use ramboot_wire::root::INITS;
use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags, ResolveFlags, getxattr, openat2};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::console;
use crate::root::attributes::MAX_BYTES;

/// The layer and the image under it, open.
#[derive(Debug)]
pub struct Labels {
    upper: File,
    lower: File,
}

/// A policy is in force.
#[derive(Debug)]
pub struct Policy {
    /// The label of a process that the image's init becomes; `None` if the policy does not say.
    init: Option<OsString>,
}

/// Loads the policy of the image at `lower`. `None` if there is nothing to do, or if it cannot be, which is said: the worker
/// boots without, and what is in its writable layer has no labels.
#[must_use]
pub fn load_policy(lower: &Path) -> Option<Policy> {
    // The kernel makes it when SELinux is on (`security=selinux`, `lsm=…,selinux`).
    if !Path::new(SELINUXFS).is_dir() {
        return None;
    }
    let loaded = File::open(lower)
        .context("opening the image's root")
        .and_then(|image| load(&image));
    match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            console::say(&format!(
                "ramboot: loading the image's SELinux policy: {error:#}; what is written has no labels until it is relabelled"
            ));
            None
        }
    }
}

fn load(image: &File) -> anyhow::Result<Option<Policy>> {
    let config = match read(image, CONFIG, MAX_CONFIG_BYTES) {
        Ok(config) => config,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error).context(format!("reading /{CONFIG}")),
    };
    let Some(policy) = policy_name(&String::from_utf8_lossy(&config)).map(str::to_owned) else {
        return Ok(None);
    };
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    match mount("selinuxfs", SELINUXFS, "selinuxfs", flags, None) {
        Ok(()) | Err(Errno::BUSY) => {}
        Err(error) => return Err(error).context("mounting selinuxfs"),
    }
    let done = load_from(image, &policy).map(|()| init_label(image));
    // systemd mounts it itself.
    unmount(SELINUXFS, UnmountFlags::DETACH).ok();
    Ok(Some(Policy {
        init: done?
            .inspect_err(|error| {
                console::say(&format!(
                    "ramboot: asking SELinux for the label of init: {error:#}"
                ));
            })
            .ok(),
    }))
}

/// The kernel's answer to what the first process becomes when it starts the image's init.
fn init_label(image: &File) -> anyhow::Result<OsString> {
    let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let open = |path: &&str| openat2(image, *path, flags, Mode::empty(), how).ok();
    let program = INITS
        .iter()
        .find_map(open)
        .context("the image has no init")?;
    let mut label = Vec::with_capacity(MAX_BYTES);
    let path = format!("/proc/self/fd/{}", program.as_raw_fd());
    getxattr(&path, "security.selinux", spare_capacity(&mut label)).context("the label of init")?;
    let own = fs::read("/proc/self/attr/current").context("the label of this process")?;
    let class = fs::read_to_string(Path::new(SELINUXFS).join("class/process/index"))
        .context("the number of the class of processes")?;
    let question = [text(&own), text(&label), class.trim().as_bytes()].join(&b' ');
    let path = Path::new(SELINUXFS).join("create");
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    file.write_all(&question).context("asking")?;
    let mut answer = vec![0; MAX_LABEL_BYTES];
    let len = file.read(&mut answer).context("hearing the answer")?;
    answer.truncate(len);
    Ok(OsString::from_vec(text(&answer).to_vec()))
}

/// Labels may end in a zero byte.
fn text(label: &[u8]) -> &[u8] {
    label.split(|byte| *byte == 0).next().unwrap_or_default()
}

impl Policy {
    /// Mounts an overlay with init's rights. `false` if it was not done, which is said.
    #[must_use]
    pub fn mount_overlay(&self, root: &Path, data: &CString) -> bool {
        let Some(label) = &self.init else {
            return false;
        };
        // Only a process of one thread may take another label.
        let child = Command::new("/proc/self/exe")
            .arg0(NAME)
            .args([label, root.as_os_str(), OsStr::from_bytes(data.as_bytes())])
            .env_clear()
            .stdin(Stdio::null())
            .output();
        let why = match child {
            Ok(child) if child.status.success() => return true,
            Ok(child) => String::from_utf8_lossy(&child.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        console::say(&format!(
            "ramboot: mounting the overlay with the rights of init ({}): {why}; SELinux may deny programs their libraries",
            label.display()
        ));
        false
    }
}

/// Whether this process is to be the one that mounts: label, where, and with which layers.
#[must_use]
pub fn called(args: &[OsString]) -> Option<[OsString; 3]> {
    let (name, rest) = args.split_first()?;
    (name == NAME).then(|| rest.to_vec().try_into().ok())?
}

/// Takes the label and mounts. What went wrong is said on standard error.
#[must_use]
pub fn run([label, root, data]: &[OsString; 3]) -> ExitCode {
    let mount = || {
        let mut current = OpenOptions::new()
            .write(true)
            .open("/proc/self/attr/current")?;
        current.write_all(label.as_bytes())?;
        let data = CString::new(data.as_bytes())?;
        mount("ramboot", root, "overlay", MountFlags::empty(), &*data).map_err(io::Error::from)
    };
    match mount() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn load_from(image: &File, policy: &str) -> anyhow::Result<()> {
    let version = fs::read_to_string(Path::new(SELINUXFS).join("policyvers"))
        .context("asking for the kernel's version of policies")?;
    let newest: u32 = version
        .trim()
        .parse()
        .context("the kernel's version of policies")?;
    for version in (1..=newest.min(MAX_VERSION)).rev() {
        let path = format!("etc/selinux/{policy}/policy/policy.{version}");
        match read(image, &path, MAX_POLICY_BYTES) {
            Ok(bytes) => {
                let load = Path::new(SELINUXFS).join("load");
                let mut file = OpenOptions::new().write(true).open(load)?;
                // The kernel takes it in one piece or not at all.
                let written = file
                    .write(&bytes)
                    .with_context(|| format!("loading /{path}"))?;
                if written != bytes.len() {
                    bail!(
                        "the kernel took {written} of {} bytes of /{path}",
                        bytes.len()
                    );
                }
                return Ok(());
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error).context(format!("reading /{path}")),
        }
    }
    bail!("there is no /etc/selinux/{policy}/policy/policy.N up to the kernel's version {newest}")
}

/// SELINUXTYPE of selinux_config(5), if the image wants a policy.
fn policy_name(config: &str) -> Option<&str> {
    let value = |key: &str| {
        let mut lines = config.lines().map(str::trim);
        lines.find_map(|line| Some(line.strip_prefix(key)?.strip_prefix('=')?.trim()))
    };
    if !matches!(value("SELINUX"), Some("enforcing" | "permissive")) {
        return None;
    }
    let name = value("SELINUXTYPE").unwrap_or("targeted");
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (name.bytes().all(plain) && !matches!(name, "" | "." | "..")).then_some(name)
}

impl Labels {
    /// Of a layer that will be out of reach by path.
    ///
    /// # Errors
    /// A folder cannot be opened.
    pub fn new(upper: &Path, lower: &Path) -> io::Result<Self> {
        Ok(Self {
            upper: File::open(upper)?,
            lower: File::open(lower)?,
        })
    }

    /// Leaves the list of what is in the layer below `run`, which becomes the worker's /run.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn leave(&self, run: &Path) -> io::Result<()> {
        let mut list = String::new();
        for path in written(&by_number(&self.upper), &by_number(&self.lower))? {
            // One path a line, and no way to quote.
            if let Some(path) = path.to_str().filter(|path| !path.contains('\n')) {
                list.push('/');
                list.push_str(path);
                list.push('\n');
            }
        }
        let folder = run.join("systemd/relabel-extra.d");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("ramboot.relabel"), list)
    }
}

/// What was written, relative to the root: files, and folders that the image does not have. Folders of the image keep its label,
/// and systemd would go through all that is in them.
fn written(upper: &Path, lower: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(upper.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let is_of_image = || fs::symlink_metadata(lower.join(&path)).is_ok_and(|m| m.is_dir());
            if entry.file_type()?.is_dir() && is_of_image() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn by_number(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/.", file.as_raw_fd()))
}

fn read(image: &File, path: &str, limit: u64) -> rustix::io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file: OwnedFd = openat2(image, path, flags, Mode::empty(), how)?;
    let mut bytes = Vec::new();
    let read = File::from(file).take(limit).read_to_end(&mut bytes);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(bytes)
}

/// How the process that mounts is called in a list of processes.
pub const NAME: &str = "ramboot-mount";
/// A page, as the kernel has it.
const MAX_LABEL_BYTES: usize = 4096;
const SELINUXFS: &str = "/sys/fs/selinux";
const CONFIG: &str = "etc/selinux/config";
const MAX_CONFIG_BYTES: u64 = 64 * 1024;
/// What the kernel takes (`security/selinux/selinuxfs.c`, sel_write_load).
const MAX_POLICY_BYTES: u64 = 64 << 20;
/// The kernel has 33 today.
const MAX_VERSION: u32 = 99;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_wanted_or_not() {
        for (config, want) in [
            ("SELINUX=enforcing\nSELINUXTYPE=default\n", Some("default")),
            (
                "# SELINUX=disabled\n SELINUX=permissive \nSELINUXTYPE=mls ",
                Some("mls"),
            ),
            ("SELINUX=enforcing\n", Some("targeted")),
            ("SELINUX=disabled\nSELINUXTYPE=default\n", None),
            ("SELINUXTYPE=default\n", None),
            ("SELINUX=enforcing\nSELINUXTYPE=../../x\n", None),
            ("SELINUX=enforcing\nSELINUXTYPE=..\n", None),
            ("", None),
        ] {
            assert_eq!(policy_name(config), want, "{config:?}");
        }
    }

    #[test]
    fn the_process_that_mounts_is_called_with_three_words() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let called = |args: &[&str]| called(&words(args)).map(|args| args.to_vec());
        assert_eq!(
            called(&[NAME, "u:r:init_t:s0", "/root", "lowerdir=/x"]),
            Some(words(&["u:r:init_t:s0", "/root", "lowerdir=/x"]))
        );
        assert_eq!(called(&[NAME, "u:r:init_t:s0", "/root"]), None);
        assert_eq!(called(&["/init", "a", "b", "c"]), None);
        assert_eq!(called(&[]), None);
        assert_eq!(
            [text(b"a:b\0"), text(b"a:b"), text(b"")],
            [&b"a:b"[..], b"a:b", b""]
        );
    }

    #[test]
    fn systemd_gets_a_list_of_what_was_written() {
        let root = std::env::temp_dir().join(format!("ramboot-labels-{}", std::process::id()));
        let (upper, lower, run) = (root.join("upper"), root.join("lower"), root.join("run"));
        for folder in [
            "upper/etc/ssh",
            "upper/root/.ssh",
            "lower/etc/ssh",
            "lower/root",
            "run",
        ] {
            fs::create_dir_all(root.join(folder)).expect("folder");
        }
        for file in [
            "etc/hostname",
            "etc/ssh/ssh_host_ed25519_key",
            "root/.ssh/authorized_keys",
            "etc/a\nb",
        ] {
            fs::write(upper.join(file), "").expect("file");
        }
        let labels = Labels::new(&upper, &lower).expect("opens");
        let left = labels.leave(&run);
        let list = fs::read_to_string(run.join("systemd/relabel-extra.d/ramboot.relabel"));
        fs::remove_dir_all(&root).expect("clean up");
        left.expect("writes");
        assert_eq!(
            list.expect("written"),
            "/etc/hostname\n/etc/ssh/ssh_host_ed25519_key\n/root/.ssh\n"
        );
    }
}
