//! Files of a squashfs, by path, as the running worker would see them: symbolic links are followed inside the image.
//!
//! Takes an image nobody changes meanwhile. Before the library that reads squashfs is let at the tables, they are walked here:
//! every block must follow the last and every folder must lead on, within [`MAX_METADATA_BLOCKS`], [`MAX_TREE_BYTES`],
//! [`MAX_DEPTH`] and [`MAX_PATH_BYTES`]. The library holds the whole tree in memory, recurses into folders, and adds
//! numbers of the image without asking whether they overflow; a tree that passed the walk gives it no occasion.

use std::collections::{HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use backhand::v4::inode::InodeInner;
use backhand::{BackhandError, FilesystemReader, InnerNode, Node, Squashfs, SquashfsFileReader};

use super::packed::{Packed, Reader};
use super::{BadImage, METADATA_BYTES, SUPERBLOCK_BYTES, Superblock, XZ_OPTIONS_BYTES, long_links};

/// Blocks of 8 KiB in the inode table and in the directory table: about eight million files.
const MAX_METADATA_BLOCKS: u64 = 32_768;
/// What paths and block lists of all files may take in memory.
const MAX_TREE_BYTES: u64 = 1 << 30;
/// The kernel's PATH_MAX.
const MAX_PATH_BYTES: usize = 4096;
const MAX_DEPTH: usize = 256;
/// As the kernel follows them (MAXSYMLINKS).
const MAX_LINKS: usize = 40;
/// What the library keeps for a file beside its path and block list.
const NODE_BYTES: usize = 160;
/// At a time.
const COMPARED_BYTES: usize = 64 * 1024;
const DIRECTORY_HEADER: usize = 12;
const DIRECTORY_ENTRY: usize = 8;

/// A squashfs whose tables were read and found sound.
pub struct Tree {
    superblock: Superblock,
    xz_filters: u32,
    image: Packed,
    reader: FilesystemReader<'static>,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// Without links.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// The lower twelve bits of `st_mode`.
    pub mode: u16,
}

/// What a path can lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A plain file of so many bytes.
    File(u64),
    /// A folder.
    Folder,
    /// A device, a pipe or a socket.
    Special,
}

/// Where a path ended that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Astray {
    /// This is not there.
    Missing(PathBuf),
    /// There were more links than the kernel follows, the last of them here.
    Links(PathBuf),
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tree({} files)", self.reader.root.nodes.len())
    }
}

impl Tree {
    /// Reads all tables of a whole image.
    ///
    /// # Errors
    /// The image is not a sound squashfs, or cannot be read.
    pub fn open(image: Packed) -> Result<Self, BadImage> {
        let tree = Self::of_tables(&image);
        // What cannot be read is not damaged.
        image.readable()?;
        tree
    }

    fn of_tables(image: &Packed) -> Result<Self, BadImage> {
        let head = image
            .len()
            .min((SUPERBLOCK_BYTES + XZ_OPTIONS_BYTES) as u64);
        let head = image.copy(0..head).unwrap_or_default();
        let superblock = Superblock::parse(&head, image.len())?;
        let xz_filters = super::xz_filters(&superblock, &head);
        let used = superblock.bytes_used;
        check_blocks(&superblock, &mut image.reader(used))?;
        let (squashfs, links) = match Squashfs::from_reader(image.reader(used)) {
            Ok(squashfs) => (squashfs, None),
            Err(error) => match long_links::mended(&superblock, image)? {
                None => return Err(damaged(error)),
                Some(mended) => {
                    let squashfs = Squashfs::from_reader(mended.image).map_err(damaged)?;
                    (squashfs, Some(mended.targets))
                }
            },
        };
        check_folders(&squashfs)?;
        let mut reader = squashfs.into_filesystem_reader().map_err(damaged)?;
        for node in &mut reader.root.nodes {
            if let (InnerNode::Symlink(link), Some(links)) = (&mut node.inner, &links)
                && let Some(target) = links.target(&link.link)
            {
                link.link = target.to_owned();
            }
        }
        if !reader.root.nodes.is_sorted() {
            return Err(BadImage::Tables("its paths are not in order".to_owned()));
        }
        Ok(Self {
            superblock,
            xz_filters,
            image: image.clone(),
            reader,
        })
    }

    /// Whether the image could be read wherever something of it was asked for. To be asked after all that, as what cannot be
    /// read looks like what is missing or damaged.
    ///
    /// # Errors
    /// What the system said first, with the file's name.
    pub fn readable(&self) -> Result<(), BadImage> {
        self.image.readable()
    }

    /// What the image says about itself.
    #[must_use]
    pub const fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Filters for machine code that its blocks may be packed with, as xz's options in a squashfs number them.
    #[must_use]
    pub const fn xz_filters(&self) -> u32 {
        self.xz_filters
    }

    /// Where `path` leads when all symbolic links are followed; `None` if it leads nowhere.
    #[must_use]
    pub fn resolve(&self, path: &str) -> Option<PathBuf> {
        self.follow(path).ok()
    }

    /// What `path` leads to when all symbolic links are followed.
    ///
    /// # Errors
    /// It leads nowhere.
    pub fn look(&self, path: &str) -> Result<Spot, Astray> {
        let path = self.follow(path)?;
        let Some(node) = self.node(&path) else {
            return Err(Astray::Missing(path));
        };
        let kind = match &node.inner {
            InnerNode::File(file) => Kind::File(file.file_len() as u64),
            InnerNode::Dir(_) => Kind::Folder,
            _ => Kind::Special,
        };
        Ok(Spot {
            mode: node.header.permissions & 0o7777,
            kind,
            path,
        })
    }

    /// Where the symbolic link at `path` itself leads, as it is written; `None` if there is none.
    #[must_use]
    pub fn link(&self, path: &str) -> Option<&Path> {
        match &self.node(Path::new(path))?.inner {
            InnerNode::Symlink(symlink) => Some(&symlink.link),
            _ => None,
        }
    }

    /// Takes out of `names` those that a file has in any folder of the image.
    pub fn strike_names(&self, names: &mut Vec<String>) {
        for node in &self.reader.root.nodes {
            if names.is_empty() {
                return;
            }
            if !matches!(node.inner, InnerNode::Dir(_)) {
                names.retain(|name| node.fullpath.file_name() != Some(OsStr::new(name)));
            }
        }
    }

    fn follow(&self, path: &str) -> Result<PathBuf, Astray> {
        let mut at = PathBuf::from("/");
        let mut pending: VecDeque<OsString> = parts(Path::new(path)).collect();
        let mut links = 0;
        while let Some(part) = pending.pop_front() {
            if part == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&part);
            let Some(node) = self.node(&next) else {
                return Err(Astray::Missing(next));
            };
            match &node.inner {
                InnerNode::Symlink(symlink) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Astray::Links(next));
                    }
                    if symlink.link.is_absolute() {
                        at = PathBuf::from("/");
                    }
                    for part in parts(&symlink.link).rev() {
                        pending.push_front(part);
                    }
                }
                _ => at = next,
            }
        }
        Ok(at)
    }

    /// Names in the folder that `path` leads to, in order; empty if it leads to none.
    #[must_use]
    pub fn list(&self, path: &str) -> Vec<String> {
        let Some(folder) = self.resolve(path) else {
            return Vec::new();
        };
        let nodes = &self.reader.root.nodes;
        let from = nodes.partition_point(|node| node.fullpath <= folder);
        nodes[from..]
            .iter()
            .take_while(|node| node.fullpath.starts_with(&folder))
            .filter(|node| node.fullpath.parent() == Some(&folder))
            .filter_map(|node| node.fullpath.file_name()?.to_str().map(str::to_owned))
            .collect()
    }

    /// Paths of all but folders in the folder that `path` leads to, at any depth, from there on.
    #[must_use]
    pub fn below(&self, path: &str) -> HashSet<&Path> {
        let Some(folder) = self.resolve(path) else {
            return HashSet::new();
        };
        let nodes = &self.reader.root.nodes;
        let from = nodes.partition_point(|node| node.fullpath <= folder);
        nodes[from..]
            .iter()
            .map_while(|node| Some((node, node.fullpath.strip_prefix(&folder).ok()?)))
            .filter(|(node, _)| !matches!(node.inner, InnerNode::Dir(_)))
            .map(|(_, path)| path)
            .collect()
    }

    /// Bytes of all plain files in the folder that `path` leads to, at any depth, each in pages of `page` bytes.
    #[must_use]
    pub fn bytes_below(&self, path: &str, page: u64) -> u64 {
        let Some(folder) = self.resolve(path) else {
            return 0;
        };
        let nodes = &self.reader.root.nodes;
        let from = nodes.partition_point(|node| node.fullpath <= folder);
        nodes[from..]
            .iter()
            .take_while(|node| node.fullpath.starts_with(&folder))
            .filter_map(|node| match &node.inner {
                InnerNode::File(file) => Some(file.file_len() as u64),
                _ => None,
            })
            .fold(0, |sum: u64, bytes| {
                sum.saturating_add(bytes.checked_next_multiple_of(page).unwrap_or(u64::MAX))
            })
    }

    /// Bytes of the plain file that `path` leads to; `None` if it leads to none.
    #[must_use]
    pub fn size(&self, path: &str) -> Option<u64> {
        self.file(path).map(|file| file.file_len() as u64)
    }

    /// The content of the plain file that `path` leads to; `None` if it leads to none.
    ///
    /// # Errors
    /// The file is larger than `limit`, or its blocks are damaged.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, BadImage> {
        let Some(file) = self.file(path) else {
            return Ok(None);
        };
        let bytes = file.file_len() as u64;
        if bytes > limit {
            return Err(BadImage::Tables(format!(
                "{path} has {bytes} bytes; {limit} are the limit"
            )));
        }
        let damaged = |e: &dyn fmt::Display| BadImage::Tables(format!("{path}: {e}"));
        let content = self.content(file, bytes).map_err(|e| damaged(&e))?;
        if content.len() as u64 == bytes {
            Ok(Some(content))
        } else {
            let found = content.len();
            Err(damaged(&format!(
                "{found} bytes instead of {bytes} can be read"
            )))
        }
    }

    /// The first bytes, at most `limit`, of the plain file that `path` leads to; `None` if it leads to none.
    ///
    /// # Errors
    /// Its blocks are damaged.
    pub fn head(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, BadImage> {
        let head = self.file(path).map(|file| self.content(file, limit));
        let head = head.transpose();
        head.map_err(|e| BadImage::Tables(format!("{path}: {e}")))
    }

    fn content(&self, file: &SquashfsFileReader, limit: u64) -> Result<Vec<u8>, String> {
        let mut content = Vec::new();
        let reader = self.reader.file(file).reader_checked();
        let reader = reader.map_err(|e| e.to_string())?;
        let limit = limit.min(file.file_len() as u64);
        reader
            .take(limit)
            .read_to_end(&mut content)
            .map_err(|e| e.to_string())?;
        Ok(content)
    }

    fn file(&self, path: &str) -> Option<&SquashfsFileReader> {
        match &self.node(&self.resolve(path)?)?.inner {
            InnerNode::File(file) => Some(file),
            _ => None,
        }
    }

    /// Whether the plain file at this very path has the same content in `other`, where it may be packed otherwise. What cannot be
    /// read is not the same. Takes no more memory for a large file than for a small one.
    #[must_use]
    pub fn has_same(&self, path: &Path, other: &Self) -> bool {
        match (self.reading(path), other.reading(path)) {
            (Some((one_len, one)), Some((two_len, two))) => {
                one_len == two_len && is_same(one, two, one_len)
            }
            _ => false,
        }
    }

    /// Bytes of the plain file at this very path, and its content.
    fn reading(&self, path: &Path) -> Option<(u64, impl Read + '_)> {
        let InnerNode::File(file) = &self.node(path)?.inner else {
            return None;
        };
        let reader = self.reader.file(file).reader_checked().ok()?;
        Some((file.file_len() as u64, reader))
    }

    /// Paths and files of all that are plain files.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, &SquashfsFileReader)> {
        let nodes = self.reader.root.nodes.iter();
        nodes.filter_map(|node| match &node.inner {
            InnerNode::File(file) => Some((node.fullpath.as_path(), file)),
            _ => None,
        })
    }

    /// Where in the image the ends of small files with this number are.
    pub(super) fn fragment(&self, number: usize) -> Option<Range<u64>> {
        let fragment = self.reader.fragments.as_ref()?.get(number)?;
        let end = fragment.start.checked_add(fragment.size.size().into())?;
        Some(fragment.start..end)
    }

    pub(super) fn node(&self, path: &Path) -> Option<&Node<SquashfsFileReader>> {
        let nodes = &self.reader.root.nodes;
        let found = nodes.binary_search_by(|node| node.fullpath.as_path().cmp(path));
        found.ok().map(|i| &nodes[i])
    }
}

/// What the library found, in words: its own are empty unless it may also write to the log what it does.
fn damaged(error: BackhandError) -> BadImage {
    BadImage::Tables(match error {
        BackhandError::StdIo(error) => format!("reading a table: {error}"),
        BackhandError::Deku(_) => {
            "an entry is cut off, or has a value that it cannot have".to_owned()
        }
        BackhandError::UnexpectedInode => {
            "an entry is of another kind than its folder says".to_owned()
        }
        BackhandError::InvalidIdTable => {
            "an entry has an owner that is not in the list of owners".to_owned()
        }
        BackhandError::InvalidFilePath | BackhandError::UndefineFileName => {
            "an entry has no name that a file can have".to_owned()
        }
        BackhandError::CorruptedOrInvalidSquashfs => "its parts contradict each other".to_owned(),
        BackhandError::InvalidCompressionOption | BackhandError::UnsupportedCompression(_) => {
            "it is packed with options that cannot be read".to_owned()
        }
        _ => "an entry cannot be read".to_owned(),
    })
}

/// Whether both readers give the same `size` bytes.
fn is_same(mut one: impl Read, mut two: impl Read, size: u64) -> bool {
    let (mut a, mut b) = (vec![0; COMPARED_BYTES], vec![0; COMPARED_BYTES]);
    let mut left = size;
    while left > 0 {
        let now = usize::try_from(left).map_or(COMPARED_BYTES, |left| left.min(COMPARED_BYTES));
        let (a, b) = (&mut a[..now], &mut b[..now]);
        if one.read_exact(a).is_err() || two.read_exact(b).is_err() || a != b {
            return false;
        }
        left -= now as u64;
    }
    true
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

/// The blocks of both big tables follow each other up to where the next table begins.
fn check_blocks(superblock: &Superblock, image: &mut Reader) -> Result<(), BadImage> {
    let Superblock {
        inode_table,
        directory_table,
        after_directories,
        ..
    } = *superblock;
    let table = "inode table";
    let blocks = walk(image, table, inode_table, directory_table)?;
    let room = blocks * METADATA_BYTES / super::SMALLEST_INODE;
    super::count("inodes", superblock.inodes.into(), room)?;

    let table = "directory table";
    let pointer = image.word(after_directories);
    let pointer = pointer.ok_or(BadImage::Metadata {
        table,
        at: after_directories,
    })?;
    walk(image, table, directory_table, u64::from_le_bytes(pointer)).map(drop)
}

fn walk(image: &mut Reader, table: &'static str, start: u64, end: u64) -> Result<u64, BadImage> {
    let mut at = start;
    let mut blocks = 0;
    while at < end {
        let header = image.word(at);
        let length = header.map(|header| u64::from(u16::from_le_bytes(header) & 0x7fff));
        match length {
            Some(length @ 1..=METADATA_BYTES) => at += 2 + length,
            _ => return Err(BadImage::Metadata { table, at }),
        }
        blocks += 1;
        if blocks > MAX_METADATA_BLOCKS {
            return Err(BadImage::TooLarge {
                what: table,
                bytes: blocks * METADATA_BYTES,
                limit: MAX_METADATA_BLOCKS * METADATA_BYTES,
            });
        }
    }
    if at == end {
        Ok(blocks)
    } else {
        Err(BadImage::Metadata { table, at: end })
    }
}

/// A folder still to be looked into.
struct Folder {
    number: u32,
    depth: usize,
    path_bytes: usize,
}

/// Every folder is reached once, and all files together take no more memory than is granted.
fn check_folders(squashfs: &Squashfs<'_>) -> Result<(), BadImage> {
    let damaged = |what: &str| BadImage::Tables(what.to_owned());
    let root = squashfs.root_inode.header.inode_number;
    let mut seen = HashSet::from([root]);
    let mut pending = vec![Folder {
        number: root,
        depth: 0,
        path_bytes: 1,
    }];
    let mut total = 0_u64;
    while let Some(folder) = pending.pop() {
        let inode = if folder.depth == 0 {
            &squashfs.root_inode.inner
        } else {
            let found = squashfs.inodes.get(&folder.number);
            &found
                .ok_or_else(|| damaged("a folder leads nowhere"))?
                .inner
        };
        for entry in entries(listing(squashfs, inode)?) {
            let (number, name) = entry?;
            if matches!(name.as_bytes(), b"" | b"." | b"..") || name.as_bytes().contains(&b'/') {
                return Err(damaged("a file has a name that no file can have"));
            }
            let inode = squashfs.inodes.get(&number);
            let inode = inode.ok_or_else(|| damaged("a folder names a file that is not there"))?;
            let path_bytes = folder.path_bytes + 1 + name.len();
            let blocks = match &inode.inner {
                InodeInner::BasicFile(file) => file.block_sizes.len(),
                InodeInner::ExtendedFile(file) => file.block_sizes.len(),
                InodeInner::BasicDirectory(_) | InodeInner::ExtendedDirectory(_) => {
                    if !seen.insert(number) {
                        return Err(damaged("a folder is inside itself or in two places"));
                    }
                    pending.push(Folder {
                        number,
                        depth: folder.depth + 1,
                        path_bytes,
                    });
                    0
                }
                _ => 0,
            };
            total += (NODE_BYTES + path_bytes + 4 * blocks) as u64;
            if path_bytes > MAX_PATH_BYTES || folder.depth >= MAX_DEPTH {
                return Err(damaged("a path is longer than 4096 bytes or 256 folders"));
            }
            if total > MAX_TREE_BYTES {
                return Err(BadImage::TooLarge {
                    what: "list of files",
                    bytes: total,
                    limit: MAX_TREE_BYTES,
                });
            }
        }
    }
    Ok(())
}

/// The stored entries of one folder.
fn listing<'a>(squashfs: &'a Squashfs<'_>, inode: &InodeInner) -> Result<&'a [u8], BadImage> {
    let (block, offset, stored) = match inode {
        InodeInner::BasicDirectory(dir) => {
            (dir.block_index, dir.block_offset, u32::from(dir.file_size))
        }
        InodeInner::ExtendedDirectory(dir) => (dir.block_index, dir.block_offset, dir.file_size),
        _ => return Err(BadImage::Tables("a folder is not a folder".to_owned())),
    };
    // Three bytes more than are stored, for "." and "..": an empty folder says 3.
    let Some(bytes) = stored.checked_sub(3).filter(|&bytes| bytes > 0) else {
        return Ok(&[]);
    };
    let (starts, content) = &squashfs.dir_blocks;
    starts
        .get(&u64::from(block))
        .and_then(|start| usize::try_from(*start).ok()?.checked_add(offset.into()))
        .and_then(|start| content.get(start..)?.get(..usize::try_from(bytes).ok()?))
        .ok_or_else(|| BadImage::Tables("a folder is outside of its table".to_owned()))
}

/// Inode numbers and names of one folder's entries.
fn entries(mut rest: &[u8]) -> impl Iterator<Item = Result<(u32, &OsStr), BadImage>> {
    let broken = || BadImage::Tables("a folder's entries are cut off".to_owned());
    let (mut left, mut base) = (0_u32, 0_u32);
    std::iter::from_fn(move || {
        if left == 0 {
            if rest.is_empty() {
                return None;
            }
            let Some((header, after)) = rest.split_first_chunk::<DIRECTORY_HEADER>() else {
                rest = &[];
                return Some(Err(broken()));
            };
            left = word(header, 0).saturating_add(1);
            base = word(header, 8);
            rest = after;
        }
        left -= 1;
        let entry = rest
            .split_first_chunk::<DIRECTORY_ENTRY>()
            .and_then(|(head, after)| {
                let delta = i16::from_le_bytes([head[2], head[3]]);
                let length = usize::from(u16::from_le_bytes([head[6], head[7]])) + 1;
                let (name, after) = after.split_at_checked(length)?;
                rest = after;
                // The library adds them as signed numbers.
                let number = base.cast_signed().checked_add(delta.into())?;
                Some((u32::try_from(number).ok()?, OsStr::from_bytes(name)))
            });
        if entry.is_none() {
            (rest, left) = (&[], 0);
        }
        Some(entry.ok_or_else(broken))
    })
}

fn word(bytes: &[u8; DIRECTORY_HEADER], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests;
