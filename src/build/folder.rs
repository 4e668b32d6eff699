//! A folder as a source: everything below it, in the order of names.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, empty};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::io::Errno;

use super::entry::{Entry, Kind, Meta, Sink};
use super::outline::Outline;

/// Other names of a file that has several, by device and inode.
type Known = BTreeMap<(u64, u64), PathBuf>;

/// What the kernel shows of itself (`linux/magic.h`): mounted in a chroot it would be packed as files that never end.
const KERNEL_OWN: [(u64, &str); 9] = [
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x6367_7270, "cgroup2"),
    (0x1cd1, "devpts"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x7363_6673, "securityfs"),
    (0xcafe_4a11, "bpf"),
    (0xde5e_81e4, "efivarfs"),
];

/// Looks at everything once, without reading a file.
///
/// # Errors
/// A folder cannot be read; the sentence names it.
pub(super) fn outline(root: &Path) -> anyhow::Result<Outline> {
    let mut outline = Outline::default();
    let mut left_out = Vec::new();
    walk(root, &mut outline, &mut |path, what| {
        left_out.push(format!("/{}: {what}", path.display()));
    })?;
    outline.left_out = left_out;
    Ok(outline)
}

/// Gives all of it to a sink.
///
/// # Errors
/// A file cannot be read; the sentence names it.
pub(super) fn read(root: &Path, sink: &mut dyn Sink) -> anyhow::Result<()> {
    walk(root, sink, &mut |_, _| {})
}

fn walk(
    root: &Path,
    sink: &mut dyn Sink,
    left_out: &mut dyn FnMut(&Path, &str),
) -> anyhow::Result<()> {
    let mut room = Room::new();
    let about = fs::metadata(root).with_context(|| format!("reading {}", root.display()))?;
    let entry = Entry {
        path: PathBuf::new(),
        kind: Kind::Folder,
        meta: room.meta(root, &about)?,
    };
    sink.entry(&entry, &mut empty())?;
    let mut walk = Walk {
        root,
        known: Known::new(),
        room,
        sink,
        left_out,
    };
    walk.folder(Path::new(""), about.dev())
}

struct Walk<'a> {
    root: &'a Path,
    known: Known,
    room: Room,
    sink: &'a mut dyn Sink,
    left_out: &'a mut dyn FnMut(&Path, &str),
}

impl Walk<'_> {
    fn folder(&mut self, inside: &Path, device: u64) -> anyhow::Result<()> {
        let full = self.root.join(inside);
        let reading = || format!("reading the folder {}", full.display());
        let names = fs::read_dir(&full).with_context(reading)?;
        let names = names.map(|found| found.map(|found| found.file_name()));
        let mut names: Vec<_> = names.collect::<io::Result<_>>().with_context(reading)?;
        names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        for name in names {
            let path = inside.join(name);
            let full = self.root.join(&path);
            let reading = || format!("reading {}", full.display());
            let about = fs::symlink_metadata(&full).with_context(reading)?;
            let Some(kind) = self.kind(&path, &full, &about)? else {
                (self.left_out)(
                    &path,
                    "a socket, which only the program that made it can use",
                );
                continue;
            };
            let meta = self.room.meta(&full, &about)?;
            let entry = Entry { path, kind, meta };
            self.give(&entry, &full)?;
            if entry.kind != Kind::Folder {
                continue;
            }
            match kernels_own(&full, about.dev() != device).with_context(reading)? {
                Some(what) => {
                    let what = format!("what is in it, for it is the running kernel's {what}");
                    (self.left_out)(&entry.path, &what);
                }
                None => self.folder(&entry.path, about.dev())?,
            }
        }
        Ok(())
    }

    fn give(&mut self, entry: &Entry, full: &Path) -> anyhow::Result<()> {
        match entry.kind {
            Kind::File { size } => {
                let mut content = Opened {
                    path: full,
                    file: None,
                    left: size,
                };
                self.sink.entry(entry, &mut content)
            }
            _ => self.sink.entry(entry, &mut empty()),
        }
    }

    fn kind(&mut self, path: &Path, full: &Path, about: &Metadata) -> anyhow::Result<Option<Kind>> {
        let kind = about.file_type();
        if kind.is_dir() {
            return Ok(Some(Kind::Folder));
        }
        if kind.is_socket() {
            return Ok(None);
        }
        if about.nlink() > 1 {
            let inode = (about.dev(), about.ino());
            if let Some(to) = self.known.get(&inode) {
                return Ok(Some(Kind::Hardlink { to: to.clone() }));
            }
            self.known.insert(inode, path.to_owned());
        }
        let number = about.rdev();
        Ok(Some(if kind.is_symlink() {
            let target = fs::read_link(full).with_context(|| format!("reading {}", full.display()));
            Kind::Symlink { target: target? }
        } else if kind.is_fifo() {
            Kind::Fifo
        } else if kind.is_block_device() || kind.is_char_device() {
            Kind::Device {
                block: kind.is_block_device(),
                major: rustix::fs::major(number),
                minor: rustix::fs::minor(number),
            }
        } else if kind.is_file() {
            Kind::File { size: about.len() }
        } else {
            bail!("{} is of a kind that is not known", full.display())
        }))
    }
}

/// Opened when somebody reads it, and no longer than it was.
struct Opened<'a> {
    path: &'a Path,
    file: Option<File>,
    left: u64,
}

impl Read for Opened<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::open(self.path)?),
        };
        let got = file.take(self.left).read(buffer)?;
        self.left -= got as u64;
        Ok(got)
    }
}

/// Room for names and for one value of extended attributes: the kernel's XATTR_LIST_MAX and XATTR_SIZE_MAX.
struct Room {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Room {
    fn new() -> Self {
        Self {
            names: vec![0; 1 << 16],
            value: vec![0; 1 << 16],
        }
    }

    fn meta(&mut self, full: &Path, about: &Metadata) -> anyhow::Result<Meta> {
        let xattrs = self.xattrs(full);
        let reading = || format!("reading extended attributes of {}", full.display());
        Ok(Meta {
            mode: about.mode() & 0o7777,
            uid: about.uid(),
            gid: about.gid(),
            mtime: u64::try_from(about.mtime()).unwrap_or(0),
            xattrs: xattrs.with_context(reading)?,
        })
    }

    fn xattrs(&mut self, full: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let length = match rustix::fs::llistxattr(full, &mut self.names[..]) {
            Ok(0) | Err(Errno::NOTSUP) => return Ok(BTreeMap::new()),
            other => other?,
        };
        let names = self.names.get(..length).unwrap_or_default();
        let mut xattrs = BTreeMap::new();
        for name in names.split(|byte| *byte == 0) {
            if name.is_empty() {
                continue;
            }
            let length = rustix::fs::lgetxattr(full, OsStr::from_bytes(name), &mut self.value[..])?;
            let value = self.value.get(..length).unwrap_or_default();
            xattrs.insert(name.to_vec(), value.to_vec());
        }
        Ok(xattrs)
    }
}

/// Which of the kernel's own file systems is mounted there.
fn kernels_own(full: &Path, other_device: bool) -> io::Result<Option<&'static str>> {
    if !other_device {
        return Ok(None);
    }
    let magic = rustix::fs::statfs(full)?.f_type;
    let known = |(number, _): &&(u64, &str)| i128::from(magic) & 0xffff_ffff == i128::from(*number);
    Ok(KERNEL_OWN.iter().find(known).map(|(_, name)| *name))
}
