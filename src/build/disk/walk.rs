//! From file systems to entries: each folder in the order of its names, what is in it after it.
//!
//! Depth first and without recursion. Everything is counted, so that no image, however it is made, goes on for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};

use super::ext4::{self, Ext4, Inode, Names};
use super::fat::{self, Fat};
use crate::build::entry::{Entry, Kind, MAX_CONTENT_BYTES as MOST_CONTENT, Meta, Sink};

/// Names in an image; a desktop has half a million.
const MOST_ENTRIES: u64 = 16 << 20;
/// Of one path: `PATH_MAX`.
const MOST_PATH: usize = 4096;
/// Of all paths of files with several names.
const MOST_LINK_BYTES: usize = 256 << 20;

/// Gives entries to the sink, and knows where other file systems come in.
pub(super) struct Out<'a> {
    sink: &'a mut dyn Sink,
    progress: &'a mut dyn FnMut(u64),
    bytes: u64,
    entries: u64,
    /// Where other file systems are folded in: what is below is theirs.
    mounts: BTreeSet<PathBuf>,
    /// These, and the folders above them, as far as they were given.
    given: BTreeSet<PathBuf>,
    /// Sockets, which are made by those who listen on them.
    pub(super) sockets: u64,
    /// What the sink said: nothing of the image is to be blamed.
    pub(super) refused: Option<anyhow::Error>,
}

impl<'a> Out<'a> {
    /// Nothing given yet.
    pub(super) fn new(sink: &'a mut dyn Sink, progress: &'a mut dyn FnMut(u64)) -> Self {
        Self {
            sink,
            progress,
            bytes: 0,
            entries: 0,
            mounts: BTreeSet::new(),
            given: BTreeSet::new(),
            sockets: 0,
            refused: None,
        }
    }

    /// Where other file systems will come.
    pub(super) fn leave(&mut self, mounts: impl Iterator<Item = PathBuf>) {
        self.mounts = mounts.collect();
    }

    /// The folder for a file system, and those above it, unless they are there.
    pub(super) fn mount_point(&mut self, at: &Path) -> anyhow::Result<()> {
        let mut above: Vec<&Path> = at.ancestors().collect();
        above.reverse();
        for path in above {
            if !self.given.contains(path) {
                self.give(path, Kind::Folder, plain(0), &mut io::empty())?;
            }
        }
        Ok(())
    }

    /// Whether what is there is another file system's: below a place where one is folded in.
    pub(super) fn is_hidden(&self, path: &Path) -> bool {
        let mut above = path.ancestors().skip(1);
        above.any(|path| self.mounts.contains(path))
    }

    /// One entry, with its content.
    pub(super) fn give(
        &mut self,
        path: &Path,
        kind: Kind,
        meta: Meta,
        content: &mut dyn Read,
    ) -> anyhow::Result<()> {
        self.entries += 1;
        ensure!(
            self.entries <= MOST_ENTRIES,
            "the image has more than {MOST_ENTRIES} files"
        );
        if let Kind::File { size } = kind {
            let all = self.bytes.checked_add(size);
            ensure!(
                all.is_some_and(|all| all <= MOST_CONTENT),
                "{size} bytes are more than a worker takes, holes counted ({MOST_CONTENT} for all files): remove or \
                 shorten it"
            );
        }
        if self.mounts.iter().any(|mount| mount.starts_with(path)) {
            ensure!(
                kind == Kind::Folder,
                "another partition belongs there, but it is no folder"
            );
            self.given.insert(path.to_owned());
        }
        let path = path.to_owned();
        let entry = Entry { path, kind, meta };
        let mut counted = Counted {
            content,
            bytes: &mut self.bytes,
            progress: &mut *self.progress,
            failed: None,
        };
        let taken = self.sink.entry(&entry, &mut counted);
        // Whatever the sink made of it, this is the cause.
        if let Some(failed) = counted.failed {
            bail!("{failed}");
        }
        taken.map_err(|error| {
            let told = anyhow!("{error:#}");
            self.refused = Some(error);
            told
        })
    }
}

/// What goes to the sink as content.
struct Counted<'a> {
    content: &'a mut dyn Read,
    bytes: &'a mut u64,
    progress: &'a mut dyn FnMut(u64),
    failed: Option<String>,
}

impl Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.content.read(into) {
            Ok(len) => {
                *self.bytes += len as u64;
                (self.progress)(*self.bytes);
                Ok(len)
            }
            Err(error) => {
                self.failed = Some(error.to_string());
                Err(error)
            }
        }
    }
}

/// Of folders that nobody described, and of FAT, which knows neither owners nor permissions: root's, and 0755 for files as
/// well, which is how Linux shows a vfat that is mounted without options.
fn plain(mtime: u64) -> Meta {
    Meta {
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime,
        xattrs: BTreeMap::new(),
    }
}

/// Folders that are being read, the innermost last, and what is left in each.
struct Open<T> {
    folders: Vec<(PathBuf, T)>,
    /// All of them, whole or not: a folder has one name.
    seen: BTreeSet<u32>,
    /// Bytes that may still come: of folders, and with FAT, which has no holes, of files. Not more than the file system has.
    left: u64,
}

impl<T: Iterator> Open<T> {
    fn new(left: u64) -> Self {
        Self {
            folders: Vec::new(),
            seen: BTreeSet::new(),
            left,
        }
    }

    fn enter(&mut self, path: PathBuf, number: u32, bytes: u64, names: T) -> anyhow::Result<()> {
        ensure!(
            self.seen.insert(number),
            "the folder is in another place as well"
        );
        self.spend(bytes)?;
        self.folders.push((path, names));
        Ok(())
    }

    fn spend(&mut self, bytes: u64) -> anyhow::Result<()> {
        let left = self.left.checked_sub(bytes);
        self.left = left.context("what is in its folders is larger than the file system")?;
        Ok(())
    }

    /// The next name, the folder it is in, and whether that is the root.
    fn next(&mut self) -> Option<(PathBuf, T::Item, bool)> {
        loop {
            let top = self.folders.len() == 1;
            let (folder, names) = self.folders.last_mut()?;
            match names.next() {
                Some(item) => return Some((folder.clone(), item, top)),
                None => self.folders.pop(),
            };
        }
    }
}

fn join(folder: &Path, name: &[u8]) -> anyhow::Result<PathBuf> {
    let path = folder.join(OsStr::from_bytes(name));
    let len = path.as_os_str().len();
    ensure!(
        len <= MOST_PATH,
        "a path has {len} bytes, and at most {MOST_PATH} are allowed"
    );
    Ok(path)
}

/// Everything of an ext file system, below `at`; with an empty path the root folder as well.
pub(super) fn ext4(fs: &Ext4, at: &Path, out: &mut Out<'_>) -> anyhow::Result<()> {
    let root = fs.inode(ext4::ROOT)?;
    ensure!(ext4::is_folder(root.mode), "its root is no folder");
    let mut walk = Ext4Walk {
        fs,
        open: Open::new(fs.len()),
        first: BTreeMap::new(),
        link_bytes: 0,
    };
    if at.as_os_str().is_empty() {
        let meta = meta(fs, &root)?;
        out.give(at, Kind::Folder, meta, &mut io::empty())?;
    }
    walk.enter(at.to_owned(), &root)?;
    while let Some((folder, (name, number), top)) = walk.open.next() {
        let path = join(&folder, &name)?;
        // `fsck`'s own: of the file system, not of what is in it.
        if !(top && name == b"lost+found") {
            walk.step(&path, number, out)
                .with_context(|| format!("reading {}", path.display()))?;
        }
    }
    Ok(())
}

struct Ext4Walk<'a> {
    fs: &'a Ext4,
    open: Open<<Names as IntoIterator>::IntoIter>,
    /// Where files with several names were first.
    first: BTreeMap<u32, PathBuf>,
    link_bytes: usize,
}

impl Ext4Walk<'_> {
    fn enter(&mut self, path: PathBuf, inode: &Inode) -> anyhow::Result<()> {
        let names = self.fs.names(inode)?;
        self.open
            .enter(path, inode.number, inode.size, names.into_iter())
    }

    fn step(&mut self, path: &Path, number: u32, out: &mut Out<'_>) -> anyhow::Result<()> {
        let inode = self.fs.inode(number)?;
        let none = &mut io::empty();
        if ext4::is_file(inode.mode) {
            return self.file(path, &inode, out);
        }
        let kind = match inode.mode & 0o170_000 {
            0o040_000 => Kind::Folder,
            0o010_000 => Kind::Fifo,
            0o140_000 => {
                out.sockets += 1;
                return Ok(());
            }
            kind @ (0o020_000 | 0o060_000) => {
                let (major, minor) = Ext4::device(&inode)?;
                let block = kind == 0o060_000;
                Kind::Device {
                    block,
                    major,
                    minor,
                }
            }
            _ if ext4::is_link(inode.mode) => {
                let target = self.fs.target(&inode)?;
                let target = OsStr::from_bytes(&target).into();
                Kind::Symlink { target }
            }
            kind => bail!("it is of kind {kind:o}, which there is not"),
        };
        let is_folder = kind == Kind::Folder;
        out.give(path, kind, meta(self.fs, &inode)?, none)?;
        if is_folder && !out.mounts.contains(path) {
            self.enter(path.to_owned(), &inode)?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, inode: &Inode, out: &mut Out<'_>) -> anyhow::Result<()> {
        let meta = meta(self.fs, inode)?;
        if let Some(to) = self.first.get(&inode.number) {
            let to = to.clone();
            return out.give(path, Kind::Hardlink { to }, meta, &mut io::empty());
        }
        if inode.links > 1 {
            self.link_bytes += path.as_os_str().len();
            ensure!(
                self.link_bytes <= MOST_LINK_BYTES,
                "the paths of files with several names have more than {MOST_LINK_BYTES} bytes"
            );
            self.first.insert(inode.number, path.to_owned());
        }
        let mut content = self.fs.content(inode)?;
        let kind = Kind::File { size: inode.size };
        out.give(path, kind, meta, &mut content)
    }
}

fn meta(fs: &Ext4, inode: &Inode) -> anyhow::Result<Meta> {
    Ok(Meta {
        mode: u32::from(inode.mode & 0o7777),
        uid: inode.uid,
        gid: inode.gid,
        mtime: inode.mtime,
        xattrs: fs.xattrs(inode)?,
    })
}

/// Everything of a FAT file system, below `at`.
pub(super) fn fat(fs: &Fat, at: &Path, out: &mut Out<'_>) -> anyhow::Result<()> {
    let mut open = Open::new(fs.len());
    let (names, bytes) = fs.root()?;
    open.enter(at.to_owned(), 0, bytes, sorted(names)?)?;
    while let Some((folder, entry, _)) = open.next() {
        let path = join(&folder, entry.name.as_bytes())?;
        fat_step(fs, path.clone(), &entry, &mut open, out)
            .with_context(|| format!("reading {}", path.display()))?;
    }
    Ok(())
}

type FatEntries = std::vec::IntoIter<fat::Entry>;

fn fat_step(
    fs: &Fat,
    path: PathBuf,
    entry: &fat::Entry,
    open: &mut Open<FatEntries>,
    out: &mut Out<'_>,
) -> anyhow::Result<()> {
    let meta = plain(entry.mtime);
    if !entry.is_folder {
        let size = u64::from(entry.size);
        open.spend(size)?;
        return out.give(&path, Kind::File { size }, meta, &mut fs.content(entry));
    }
    out.give(&path, Kind::Folder, meta, &mut io::empty())?;
    if !out.mounts.contains(&path) {
        let (names, bytes) = fs.folder(entry.cluster)?;
        open.enter(path, entry.cluster, bytes, sorted(names)?)?;
    }
    Ok(())
}

fn sorted(mut entries: Vec<fat::Entry>) -> anyhow::Result<FatEntries> {
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    let mut names = entries.iter().map(|entry| &entry.name);
    let mut last = names.next();
    for name in names {
        ensure!(last != Some(name), "the folder has the name {name:?} twice");
        last = Some(name);
    }
    Ok(entries.into_iter())
}
