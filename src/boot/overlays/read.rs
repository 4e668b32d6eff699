//! Reads one overlay's folder. A shell: nothing is followed out of it, and no more is read than a worker would take.
//!
//! What belongs to the user that runs `serve` belongs to root on the worker: under the systemd unit that user is made up
//! at each start, and its number means nothing elsewhere.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use ramboot_wire::files::{MAX_ENTRIES, MAX_FILES_BYTES};
use rustix::fs::{CWD, Mode, OFlags};

use super::{Entry, Node, Tree};
use crate::formats::cpio::Owner;
use crate::host::blocking;
use crate::text::template::MAX_TEXT_BYTES;

const TEMPLATE: &str = ".j2";
/// Folders in folders.
const MAX_DEPTH: usize = 64;
/// A file of this name would end the archive.
const TRAILER: &str = "TRAILER!!!";

/// What lies in `folder`; `None` if there is no such folder.
///
/// # Errors
/// Something in it is neither file nor folder nor symbolic link, cannot be read, or there is more than a worker takes;
/// the path stands in the text.
pub fn tree(folder: &Path) -> anyhow::Result<Option<Tree>> {
    blocking::here_is_waited();
    match fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => bail!("{} is not a folder", folder.display()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(|| format!("looking at {}", folder.display())),
    }
    let mut reader = Reader {
        tree: Tree::default(),
        bytes: 0,
        own: rustix::process::geteuid().as_raw(),
    };
    reader.folder(folder, "", 0)?;
    Ok(Some(reader.tree))
}

/// What a folder is known again by: each path in it with what the kernel says of it but for its content, whose every change
/// is in `st_ctime`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    digest: [u8; 32],
    /// The newest change, in seconds since 1970.
    newest: i64,
}

impl Stamp {
    /// Whether a change from now on would be seen. The kernel's clock for files stands still for some milliseconds: what was
    /// changed just now may be changed again at the same time.
    #[must_use]
    pub const fn is_settled(self, now: i64) -> bool {
        now.saturating_sub(self.newest) >= SETTLED
    }
}

/// Seconds; some file systems keep every other one.
const SETTLED: i64 = 3;

/// Looks at all that lies in `folder` and reads nothing; `None` if it is none that can be read, or there is too much in it:
/// [`tree`] says so.
#[must_use]
pub fn stamp(folder: &Path) -> Option<Stamp> {
    blocking::here_is_waited();
    let mut hasher = blake3::Hasher::new();
    let (mut newest, mut entries) = (i64::MIN, 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(path) = folders.pop() {
        let looked = match path == folder {
            true => fs::metadata(&path),
            false => fs::symlink_metadata(&path),
        };
        let metadata = match looked {
            // That it is not there yet is something that can change, too.
            Err(e) if e.kind() == io::ErrorKind::NotFound && path == folder => continue,
            metadata => metadata.ok()?,
        };
        entries += 1;
        newest = newest.max(metadata.ctime());
        let name = path.as_os_str().as_bytes();
        let numbers = [
            name.len() as u64,
            metadata.dev(),
            metadata.ino(),
            metadata.size(),
            metadata.mode().into(),
            metadata.uid().into(),
            metadata.gid().into(),
            metadata.mtime().cast_unsigned(),
            metadata.mtime_nsec().cast_unsigned(),
            metadata.ctime().cast_unsigned(),
            metadata.ctime_nsec().cast_unsigned(),
        ];
        for number in numbers {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(name);
        if metadata.is_dir() {
            let inside = fs::read_dir(&path).ok()?;
            let paths = inside.map(|entry| entry.map(|entry| entry.path()));
            let mut paths = paths.collect::<Result<Vec<_>, _>>().ok()?;
            paths.sort();
            folders.extend(paths);
        }
        if entries + folders.len() > MAX_ENTRIES + 1 {
            return None;
        }
    }
    Some(Stamp {
        digest: hasher.finalize().into(),
        newest,
    })
}

struct Reader {
    tree: Tree,
    bytes: u64,
    /// Who runs this.
    own: u32,
}

impl Reader {
    fn folder(&mut self, folder: &Path, inside: &str, depth: usize) -> anyhow::Result<()> {
        ensure!(
            depth < MAX_DEPTH,
            "{} lies deeper than {MAX_DEPTH} folders",
            folder.display()
        );
        let reading = || format!("reading {}", folder.display());
        for entry in fs::read_dir(folder).with_context(reading)? {
            let path = entry.with_context(reading)?.path();
            let shown = path.display();
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.with_context(|| format!("{shown}: its name is not UTF-8"))?;
            let metadata =
                fs::symlink_metadata(&path).with_context(|| format!("looking at {shown}"))?;
            let (name, node) = self.node(&path, name, &metadata)?;
            let at = if inside.is_empty() {
                name.to_owned()
            } else {
                format!("{inside}/{name}")
            };
            ensure!(at != TRAILER, "{shown}: no file can have this name there");
            let is_folder = node == Node::Folder;
            let entry = Entry {
                mode: metadata.mode() & 0o7777,
                owner: self.owner(&metadata),
                node,
            };
            ensure!(
                !self.tree.0.contains_key(&at),
                "{shown}: with and without {TEMPLATE} it is the same file, keep one of the two"
            );
            self.tree.insert(at.clone(), entry);
            ensure!(
                self.tree.len() <= MAX_ENTRIES,
                "{shown}: more than {MAX_ENTRIES} files, folders and links; put into the image what all workers need"
            );
            if is_folder {
                self.folder(&path, &at, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Its name on the worker, and what it is.
    fn node<'a>(
        &mut self,
        path: &Path,
        name: &'a str,
        metadata: &Metadata,
    ) -> anyhow::Result<(&'a str, Node)> {
        let shown = path.display();
        let kind = metadata.file_type();
        if kind.is_dir() {
            return Ok((name, Node::Folder));
        }
        if kind.is_symlink() {
            let target = fs::read_link(path).with_context(|| format!("reading {shown}"))?;
            let target = target.to_str().map(str::to_owned);
            let target = target.with_context(|| format!("{shown}: its target is not UTF-8"))?;
            return Ok((name, Node::Link(target)));
        }
        ensure!(
            kind.is_file(),
            "{shown} is neither file nor folder nor symbolic link: a worker takes no other"
        );
        let content = self.content(path)?;
        match name.strip_suffix(TEMPLATE) {
            None => Ok((name, Node::File(content))),
            Some("") => bail!("{shown}: without {TEMPLATE} it has no name"),
            Some(name) => {
                ensure!(
                    content.len() <= MAX_TEXT_BYTES,
                    "{shown} has {} bytes; a template has at most {MAX_TEXT_BYTES}",
                    content.len()
                );
                let source = String::from_utf8(content)
                    .with_context(|| format!("{shown} is no text, so it is no template"))?;
                let origin = shown.to_string();
                Ok((name, Node::Template { origin, source }))
            }
        }
    }

    fn content(&mut self, path: &Path) -> anyhow::Result<Vec<u8>> {
        let reading = || {
            format!(
                "reading {} (the user that runs ramboot serve must be able to)",
                path.display()
            )
        };
        // It may have become something else since it was looked at: a link out of here, a pipe without a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, path, flags, Mode::empty()).with_context(reading)?;
        let mut content = Vec::new();
        let room = MAX_FILES_BYTES.saturating_sub(self.bytes);
        File::from(file)
            .take(room + 1)
            .read_to_end(&mut content)
            .with_context(reading)?;
        self.bytes += content.len() as u64;
        ensure!(
            self.bytes <= MAX_FILES_BYTES,
            "{}: with it there are more than {MAX_FILES_BYTES} bytes; put into the image what all workers need",
            path.display()
        );
        Ok(content)
    }

    fn owner(&self, metadata: &Metadata) -> Owner {
        if self.own != 0 && metadata.uid() == self.own {
            return Owner::default();
        }
        Owner {
            uid: metadata.uid(),
            gid: metadata.gid(),
        }
    }
}
