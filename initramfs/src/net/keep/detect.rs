//! Looks at the image: which managers are there, which of them start, what they were told. And writes what [`super::plan`]
//! and [`super::resolve`] decided. Reads known paths only, a bounded number of bounded regular files, and no link leads out of the root.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat2, readlinkat};

use super::names::names;
use super::place::place;
use super::resolve::Listener;
use super::{HandoverFile, Manager, Plan, Present, TextFile, Uplink, plan, rename};
use crate::console;
use crate::net::lease::Lease;
use crate::net::links::Link;
use crate::root::handover::{has_folder, write_inside};
use crate::root::worker_files::archive::Entry;

mod services;

/// What this boot knows, and the image's programs do not.
#[derive(Debug, Clone, Copy)]
pub struct News<'a> {
    /// The link that carried the boot.
    pub link: &'a Link,
    /// What DHCP said.
    pub lease: &'a Lease,
    /// The worker's name, if the command line gave one.
    pub hostname: Option<&'a str>,
    /// The worker's own files, which lie over the image already.
    pub files: &'a [Entry],
}

/// Who was told, as `networkd,dhcpcd` or `none`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// To keep the address.
    pub keeps: String,
    /// Whom to ask for names and the time.
    pub names: String,
}

/// Tells the programs of the image in `root`, under the kernel `release`, what they cannot know.
///
/// Whom it left alone and what went wrong is said on the console: a worker boots without it, too.
#[must_use]
pub fn keep(root: &Path, news: &News<'_>, release: &str) -> Told {
    let root = match File::open(root) {
        Ok(root) => root,
        Err(error) => {
            console::say(&format!(
                "ramboot: looking at the image's network managers: {error}"
            ));
            return Told::new(&[], &[]);
        }
    };
    let uplink = Uplink {
        names: names(&place(news.link)),
        mac: news.link.mac,
    };
    if UDEV.iter().any(|path| is_file(&root, path))
        && let Some(file) = rename::rule(&uplink, release)
        && let Err(error) = write(&root, Path::new("/run"), &file)
    {
        console::say(&format!("ramboot: telling udev not to rename: {error:#}"));
    }
    let cmdline = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let present = present(&root, &cmdline);
    let Plan { files, left } = plan(&present, &uplink, news.lease);
    for (manager, why) in left {
        console::say(&format!(
            "ramboot: {manager} is not told to keep the address: {why}"
        ));
    }
    let mut told = Vec::new();
    for (manager, file) in files {
        match write(&root, Path::new("/run"), &file) {
            Ok(()) => told.push(manager),
            Err(error) => console::say(&format!(
                "ramboot: telling {manager} to keep the address: {error:#}"
            )),
        }
    }
    // Without /etc there is nobody who would read it.
    if !has_folder(&root, "etc").unwrap_or(false) {
        return Told::new(&told, &[]);
    }
    let starts: Vec<Manager> = present.iter().map(|present| present.manager).collect();
    let place = (&root, Path::new("/run"));
    let names = services::inform(place, &cmdline, news, (&starts, &told));
    Told::new(&told, &names)
}

impl Told {
    fn new(keeps: &[Manager], names: &[Listener]) -> Self {
        Self {
            keeps: listed(keeps),
            names: listed(names),
        }
    }
}

fn listed(who: &[impl ToString]) -> String {
    if who.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<String> = who.iter().map(ToString::to_string).collect();
    names.join(",")
}

/// Where systemd's udev is.
const UDEV: [&str; 4] = [
    "usr/lib/systemd/systemd-udevd",
    "lib/systemd/systemd-udevd",
    "usr/bin/udevadm",
    "bin/udevadm",
];
/// Of one file; the rest of a longer one is not read.
pub const MAX_FILE_BYTES: u64 = 64 * 1024;
/// Of one folder, in the order of their names.
const MAX_FILES: usize = 256;

/// Where a manager is, and what tells it what to do.
struct Traces {
    /// Any of these.
    programs: &'static [&'static str],
    /// What systemd starts it by.
    unit: &'static str,
    /// Files, and folders of files (these end with a slash), in the order of precedence.
    files: &'static [&'static str],
}

fn traces(manager: Manager) -> Traces {
    match manager {
        Manager::Networkd => Traces {
            programs: &[
                "usr/lib/systemd/systemd-networkd",
                "lib/systemd/systemd-networkd",
            ],
            unit: "systemd-networkd.service",
            files: &[
                "etc/systemd/network/",
                "usr/local/lib/systemd/network/",
                "usr/lib/systemd/network/",
                "lib/systemd/network/",
                "etc/netplan/",
                "usr/lib/netplan/",
            ],
        },
        Manager::NetworkManager => Traces {
            programs: &["usr/sbin/NetworkManager", "usr/bin/NetworkManager"],
            unit: "NetworkManager.service",
            files: &[
                "etc/NetworkManager/system-connections/",
                "usr/lib/NetworkManager/system-connections/",
            ],
        },
        Manager::Ifupdown => Traces {
            programs: &["usr/sbin/ifup", "sbin/ifup"],
            unit: "networking.service",
            files: &["etc/network/interfaces", "etc/network/interfaces.d/"],
        },
        Manager::Dhcpcd => Traces {
            programs: &["usr/sbin/dhcpcd", "sbin/dhcpcd", "usr/bin/dhcpcd"],
            unit: "dhcpcd.service",
            files: &["etc/dhcpcd.conf"],
        },
    }
}

/// The managers of the image that will start, given the kernel's command line.
#[must_use]
pub fn present(root: &File, cmdline: &str) -> Vec<Present> {
    let there = |manager: &Manager| {
        let Traces { programs, unit, .. } = traces(*manager);
        programs.iter().any(|path| is_file(root, path))
            && starts(unit, is_enabled(root, unit), cmdline)
    };
    let present = Manager::ALL.into_iter().filter(there);
    present
        .map(|manager| Present {
            manager,
            files: files(root, traces(manager).files),
        })
        .collect()
}

/// Whether systemd starts a unit: what the image says, unless the command line says other (man
/// systemd-debug-generator(8)).
fn starts(unit: &str, enabled: bool, cmdline: &str) -> bool {
    let words = || cmdline.split_ascii_whitespace();
    let says = |key: &str| words().any(|word| word.strip_prefix(key) == Some(unit));
    (enabled || says("systemd.wants=")) && !says("systemd.mask=")
}

/// By a link in a folder of wants, as `systemctl enable` makes them. Without systemd nobody knows: then it is.
fn is_enabled(root: &File, unit: &str) -> bool {
    const SYSTEMD: [&str; 2] = ["usr/lib/systemd/systemd", "lib/systemd/systemd"];
    if !SYSTEMD.iter().any(|path| is_file(root, path)) {
        return true;
    }
    let own = "etc/systemd/system";
    if is_masked(root, &format!("{own}/{unit}")) {
        return false;
    }
    [own, "usr/lib/systemd/system", "lib/systemd/system"]
        .iter()
        .any(|folder| {
            names_in(root, folder)
                .iter()
                .filter(|name| name.ends_with(".wants"))
                .any(|wants| {
                    names_in(root, &format!("{folder}/{wants}"))
                        .iter()
                        .any(|n| n == unit)
                })
        })
}

/// A unit that is a link to /dev/null.
fn is_masked(root: &File, path: &str) -> bool {
    let Some((folder, name)) = path.rsplit_once('/') else {
        return false;
    };
    // Only the last part is read as a link; the way there stays inside the root.
    open(root, folder, OFlags::DIRECTORY)
        .and_then(|folder| readlinkat(folder, name, Vec::new()))
        .is_ok_and(|target| target.as_bytes() == b"/dev/null")
}

fn files(root: &File, places: &[&str]) -> Vec<TextFile> {
    let mut found = Vec::new();
    for place in places {
        match place.strip_suffix('/') {
            None => found.extend(read(root, place)),
            Some(folder) => found.extend(
                names_in(root, folder)
                    .iter()
                    .filter_map(|name| read(root, &format!("{folder}/{name}"))),
            ),
        }
    }
    found
}

/// Sorted; what begins with a dot is nobody's configuration.
fn names_in(root: &File, folder: &str) -> Vec<String> {
    let Ok(folder) = open(root, folder, OFlags::DIRECTORY) else {
        return Vec::new();
    };
    let Ok(entries) = Dir::read_from(&folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort_unstable();
    names.truncate(MAX_FILES);
    names
}

/// One file; that of a link to /dev/null, which hides another of its name, is empty.
fn read(root: &File, path: &str) -> Option<TextFile> {
    let mut bytes = Vec::new();
    // One byte more tells a file that is too long.
    if let Some(file) = open_file(root, path) {
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).ok()?;
    } else if !is_masked(root, path) {
        return None;
    }
    let max = usize::try_from(MAX_FILE_BYTES).unwrap_or(usize::MAX);
    let whole = bytes.len() <= max && std::str::from_utf8(&bytes).is_ok();
    bytes.truncate(max);
    Some(TextFile {
        path: format!("/{path}"),
        text: String::from_utf8_lossy(&bytes).into_owned(),
        whole,
    })
}

fn is_file(root: &File, path: &str) -> bool {
    open_file(root, path).is_some()
}

fn open_file(root: &File, path: &str) -> Option<File> {
    // Nobody is at the other end of a FIFO.
    let file = open(root, path, OFlags::NONBLOCK).ok()?;
    let kind = FileType::from_raw_mode(fstat(&file).ok()?.st_mode);
    (kind == FileType::RegularFile).then(|| file.into())
}

fn open(root: &File, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | flags;
    openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
}

/// Writes one file: below `run`, the tmpfs that moves into the image, or below `root`.
///
/// # Errors
/// It cannot be made; the path stands in the chain.
pub fn write(root: &File, run: &Path, file: &HandoverFile) -> anyhow::Result<()> {
    if let Some(path) = file.path.strip_prefix("/run/") {
        let path = run.join(path);
        return make(&path, file.mode)
            .and_then(|mut made| made.write_all(file.content.as_bytes()))
            .with_context(|| format!("writing {}", file.path));
    }
    write_inside(root, &file.path, &file.content)
}

fn make(path: &Path, mode: u32) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
}

#[cfg(test)]
mod tests;
