//! A folder of one's own in the store, `<state>/tmp/<random>`, and the lock under which names and images change.
//!
//! A folder's lock tells a program that works in it from a dead one, whose folder the next one removes: to be killed costs
//! room for a while and nothing else. What is to appear is written here and renamed into its place; what is to vanish is
//! renamed to here and removed: whatever moment the power fails at, a reader finds it whole, or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rustix::fs::{CWD, FlockOperation, RenameFlags};
use rustix::io::Errno;
use tempfile::TempDir;

/// Dropped, it and all in it is removed.
#[derive(Debug)]
pub(super) struct Scratch {
    root: PathBuf,
    folder: TempDir,
    /// Bytes that dead programs had left.
    pub(super) cleared: u64,
    /// Held open: the lock is what tells a running program from a dead one.
    _lock: File,
}

/// Nobody else changes what names and images there are while this lives.
#[derive(Debug)]
#[must_use]
pub(super) struct Alone(#[expect(dead_code, reason = "the lock ends when it is closed")] File);

impl Scratch {
    /// Makes the store if there is none, removes what the dead left, and begins.
    ///
    /// # Errors
    /// The store cannot be written.
    pub(super) fn begin(root: &Path) -> anyhow::Result<Self> {
        let tmp = root.join("tmp");
        make_root(root).with_context(|| format!("making the folder {}", root.display()))?;
        fs::create_dir_all(&tmp).with_context(|| format!("making the folder {}", tmp.display()))?;
        // While this is held, no folder exists that its owner has not locked yet.
        let _alone = lock(&tmp)?;
        let cleared = clear_leftovers(&tmp)?;
        let making = || format!("making a folder in {}", tmp.display());
        let folder = TempDir::new_in(&tmp).with_context(making)?;
        let lock = File::open(folder.path()).with_context(making)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("locking {}", folder.path().display()))?;
        let scratch = Self {
            root: root.to_owned(),
            folder,
            cleared,
            _lock: lock,
        };
        for part in ["images", "names"] {
            scratch.make_folder(&root.join(part))?;
        }
        sync(root)?;
        Ok(scratch)
    }

    /// The store's folder.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of one's own.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until nobody else is at it: programs hold this for a few renames, never while they copy or remove.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn alone(&self) -> anyhow::Result<Alone> {
        lock(&self.root.join("tmp"))
    }

    /// Removes it and says so if that fails; dropping it would not.
    ///
    /// # Errors
    /// A file cannot be removed; the next program that changes the store does.
    pub(super) fn remove(self) -> anyhow::Result<()> {
        let path = self.path().to_owned();
        let removing = || {
            format!(
                "removing {}: the next publish or gc does it",
                path.display()
            )
        };
        self.folder.close().with_context(removing)
    }

    /// Makes a folder that is not there yet, with its permissions from the first moment on.
    ///
    /// Who is killed between mkdir(2) and chmod(2) under a strict umask would leave a folder that `serve` cannot look
    /// into, and no later one would know that it was not meant so.
    pub(super) fn make_folder(&self, path: &Path) -> anyhow::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let making = || format!("making the folder {}", path.display());
        let new = self.path().join("folder");
        open_folder(&new).with_context(making)?;
        match rename_new(&new, path) {
            Ok(()) => Ok(()),
            // Another program was faster.
            Err(Errno::EXIST) => fs::remove_dir(&new).with_context(making),
            Err(e) => Err(e).with_context(making),
        }
    }
}

fn lock(tmp: &Path) -> anyhow::Result<Alone> {
    let all = File::open(tmp).with_context(|| format!("opening {}", tmp.display()))?;
    rustix::fs::flock(&all, FlockOperation::LockExclusive)
        .with_context(|| format!("locking {}", tmp.display()))?;
    Ok(Alone(all))
}

/// Removes what no running program has locked; how many bytes that were.
fn clear_leftovers(tmp: &Path) -> anyhow::Result<u64> {
    let mut cleared = 0;
    for name in super::files::list(tmp)? {
        let path = tmp.join(name);
        let running = File::open(&path).is_ok_and(|folder| {
            rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_err()
        });
        if running {
            continue;
        }
        let bytes = bytes_below(&path);
        let is_dir = fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir());
        let removed = if is_dir {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        match removed {
            Ok(()) => cleared += bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => {
                return Err(e).with_context(|| format!("removing the leftover {}", path.display()));
            }
        }
    }
    Ok(cleared)
}

/// Bytes of a file, or of all files in a folder; as much of it as can be seen.
pub(super) fn bytes_below(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return 0;
    };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| bytes_below(&entry.path())).sum()
}

/// Renames unless there is something already, also where the file system has no such rename (NFS, 9p).
pub(super) fn rename_new(from: &Path, to: &Path) -> Result<(), Errno> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) if from.is_dir() => {
            // rename(2) of a folder fails by itself if there is one with files in it.
            match rustix::fs::rename(from, to) {
                Err(Errno::NOTEMPTY) => Err(Errno::EXIST),
                other => other,
            }
        }
        Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::link(from, to),
        other => other,
    }
}

/// Makes the folder of the store if it is not there yet; who made it before chose its permissions.
pub(crate) fn make_root(root: &Path) -> anyhow::Result<()> {
    if root.is_dir() {
        return Ok(());
    }
    if let Some(above) = root.parent() {
        fs::create_dir_all(above)?;
    }
    open_folder(root)?;
    match root.parent() {
        Some(above) if above != Path::new("") => sync(above),
        _ => sync(Path::new(".")),
    }
}

/// Makes a folder for everybody to look into whatever the umask: `serve` may run as another user.
pub(super) fn open_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        // Two first publishers at once.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        made => made?,
    }
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o444);
    let file = options.open(path)?;
    file.set_permissions(Permissions::from_mode(0o444))?;
    Ok(file)
}

/// Writes a new file and waits until it is on the disk.
pub(super) fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let all = || {
        let mut file = create(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    all().with_context(|| format!("writing {}", path.display()))
}

/// Waits until a file's content, or a folder's names, are on the disk.
pub(super) fn sync(path: &Path) -> anyhow::Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .with_context(|| format!("syncing {}", path.display()))
}

pub(super) fn json(value: &impl serde::Serialize) -> anyhow::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value).context("writing JSON")?;
    text.push(b'\n');
    ensure!(
        text.len() as u64 <= super::MAX_JSON_BYTES,
        "the note is too long: {} bytes of JSON, {} are possible",
        text.len(),
        super::MAX_JSON_BYTES
    );
    Ok(text)
}
