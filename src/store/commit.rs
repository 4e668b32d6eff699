//! How an image gets into the store: all of it, or nothing.
//!
//! A publisher fills a folder of its own, `<state>/tmp/<random>`, and holds a lock on it. When all is on the disk the
//! folder's `image` is renamed to `images/<id>`, then the generation's file is renamed to the next number under the name,
//! which fails if another publisher has it: that one won, and the next number is tried. A file or folder is on the disk
//! before it is renamed, and the folder it went to before anything names it: whatever moment the power fails at, a
//! reader finds the old generation or the new one, whole. (`tests/crash/` ends a publisher at each of its steps.)
//!
//! Folders in `tmp` whose lock nobody holds belong to publishers that died; the next one removes them.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use ramboot_wire::ImageId;
use rustix::fs::{CWD, FlockOperation, RenameFlags};
use rustix::io::Errno;
use tempfile::TempDir;

use super::cache::Entry;
use super::{BOOT, BootFile, CHUNKS, FACTS, Generation, IMAGE, Image, ImageFacts, Name};

/// Each lost race means that another publisher finished: nobody loses this often.
const MAX_RACES: u64 = 1000;

/// An image being published. Dropped without a commit it leaves nothing behind.
#[derive(Debug)]
pub struct Staging {
    root: PathBuf,
    folder: TempDir,
    /// Held open: the lock is what tells a running publisher from a dead one.
    _lock: File,
}

impl Staging {
    /// Makes the store if there is none, removes what dead publishers left, and begins.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn begin(root: &Path) -> anyhow::Result<Self> {
        let tmp = root.join("tmp");
        make_root(root).with_context(|| format!("making the folder {}", root.display()))?;
        fs::create_dir_all(&tmp).with_context(|| format!("making the folder {}", tmp.display()))?;
        // While this is held, no folder exists that its publisher has not locked yet.
        let all = File::open(&tmp).with_context(|| format!("opening {}", tmp.display()))?;
        rustix::fs::flock(&all, FlockOperation::LockExclusive)
            .with_context(|| format!("locking {}", tmp.display()))?;
        clear_leftovers(&tmp)?;
        let making = || format!("making a folder in {}", tmp.display());
        let folder = TempDir::new_in(&tmp).with_context(making)?;
        let lock = File::open(folder.path()).with_context(making)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("locking {}", folder.path().display()))?;
        let staging = Self {
            root: root.to_owned(),
            folder,
            _lock: lock,
        };
        for part in ["images", "names"] {
            staging.make_folder(&root.join(part))?;
        }
        sync(root)?;
        for part in [staging.image(), staging.image().join(BOOT)] {
            open_folder(&part).with_context(making)?;
        }
        Ok(staging)
    }

    /// The cache's entry of what `kind` makes from `inputs`.
    #[must_use]
    pub fn cached(&self, kind: &str, inputs: &blake3::Hash) -> Entry {
        Entry::new(&self.root, self.scratch(), kind, inputs)
    }

    fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a folder that is not there yet, with its permissions from the first moment on.
    ///
    /// Who is killed between mkdir(2) and chmod(2) under a strict umask would leave a folder that `serve` cannot look
    /// into, and no later publisher would know that it was not meant so.
    fn make_folder(&self, path: &Path) -> anyhow::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let making = || format!("making the folder {}", path.display());
        let new = self.scratch().join("folder");
        open_folder(&new).with_context(making)?;
        match rename_new(&new, path) {
            Ok(()) => Ok(()),
            // Another publisher was faster.
            Err(Errno::EXIST) => fs::remove_dir(&new).with_context(making),
            Err(e) => Err(e).with_context(making),
        }
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// The file to write the image into.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create_image(&self) -> anyhow::Result<File> {
        let path = self.image().join(IMAGE);
        create(&path).with_context(|| format!("making {}", path.display()))
    }

    /// The image as written. Nothing may be written to it afterwards.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn map_image(&self) -> anyhow::Result<Bytes> {
        let path = self.image().join(IMAGE);
        let map = || super::map(&File::open(&path)?);
        map().with_context(|| format!("mapping {}", path.display()))
    }

    /// Adds a kernel, an initramfs or the like, once.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add_boot(&self, kind: &str, content: &[u8]) -> anyhow::Result<BootFile> {
        let file = BootFile::of(kind, content);
        let path = self.image().join(BOOT).join(&file.name);
        // A kernel that is under gzip already is a Raspberry Pi's kernel, too. The name says that it is the same.
        if !path.exists() {
            write(&path, content)?;
        }
        Ok(file)
    }

    /// Makes the image visible under its id and then `generation` under `name`, and says which number it got.
    ///
    /// # Errors
    /// Nothing is visible under `name` then, unless the error says so; the image may be.
    pub fn commit(
        self,
        facts: &ImageFacts,
        chunks: &[u8],
        name: &Name,
        generation: &Generation,
    ) -> anyhow::Result<u64> {
        let image = self.image();
        write(&image.join(CHUNKS), chunks)?;
        write(&image.join(FACTS), &json(facts)?)?;
        for path in [image.join(IMAGE), image.join(BOOT), image] {
            sync(&path)?;
        }
        // What may find the disk full comes first: an image that no generation names would stay.
        let written = self.scratch().join("generation.json");
        write(&written, &json(generation)?)?;
        let names = self.root.join("names");
        let folder = names.join(name.to_string());
        self.make_folder(&folder)?;
        sync(&names)?;
        self.place_image(facts.id)?;
        place_generation(&written, &folder, name)
    }

    fn place_image(&self, id: ImageId) -> anyhow::Result<()> {
        let images = self.root.join("images");
        let target = images.join(id.to_string());
        let renaming = || format!("renaming to {}", target.display());
        match rename_new(&self.image(), &target) {
            Ok(()) => {}
            Err(Errno::EXIST) => self.add_to_existing(&target, id)?,
            Err(e) => return Err(e).with_context(renaming),
        }
        sync(&images)
    }

    /// The same image was published before. Its boot files are named by content: what is there stays as it is.
    fn add_to_existing(&self, target: &Path, id: ImageId) -> anyhow::Result<()> {
        let existing = Image::open(target.to_owned(), id)?;
        let boot = self.image().join(BOOT);
        for file in super::files::list(&boot)? {
            if existing.boot(&file)?.is_some() {
                continue;
            }
            let to = target.join(BOOT).join(&file);
            match rename_new(&boot.join(&file), &to) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e).with_context(|| format!("renaming to {}", to.display())),
            }
        }
        sync(&target.join(BOOT))
    }
}

/// Gives the generation in the file `written` the next number in the folder of its name.
fn place_generation(written: &Path, folder: &Path, name: &Name) -> anyhow::Result<u64> {
    for _ in 0..MAX_RACES {
        let number = super::newest(folder)?.unwrap_or(0).checked_add(1);
        let number = number.with_context(|| format!("{} is full", folder.display()))?;
        let to = folder.join(format!("{number}.json"));
        match rename_new(written, &to) {
            Ok(()) => {
                sync(folder).with_context(|| {
                    format!(
                        "generation {number} of {name} is there and machines boot it, but the disk did not confirm it: \
                         after a power failure it may be gone; publish again"
                    )
                })?;
                return Ok(number);
            }
            Err(Errno::EXIST) => {}
            Err(e) => return Err(e).with_context(|| format!("renaming to {}", to.display())),
        }
    }
    bail!("{MAX_RACES} other publications came first under {name}")
}

fn clear_leftovers(tmp: &Path) -> anyhow::Result<()> {
    for name in super::files::list(tmp)? {
        let path = tmp.join(name);
        let running = File::open(&path).is_ok_and(|folder| {
            rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_err()
        });
        if !running {
            let is_dir = fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir());
            let removed = if is_dir {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            match removed {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(e)
                        .with_context(|| format!("removing the leftover {}", path.display()));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Renames unless there is something already, also where the file system has no such rename (NFS, 9p).
fn rename_new(from: &Path, to: &Path) -> Result<(), Errno> {
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
fn make_root(root: &Path) -> anyhow::Result<()> {
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
fn open_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        // Two first publishers at once.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        made => made?,
    }
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o444);
    let file = options.open(path)?;
    file.set_permissions(Permissions::from_mode(0o444))?;
    Ok(file)
}

/// Writes a new file and waits until it is on the disk.
fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let all = || {
        let mut file = create(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    all().with_context(|| format!("writing {}", path.display()))
}

/// Waits until a file's content, or a folder's names, are on the disk.
fn sync(path: &Path) -> anyhow::Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .with_context(|| format!("syncing {}", path.display()))
}

fn json(value: &impl serde::Serialize) -> anyhow::Result<Vec<u8>> {
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
