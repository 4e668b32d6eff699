//! How an image gets into the store: all of it, or nothing.
//!
//! A publisher fills a folder of its own ([`Scratch`]). When all is on the disk, and while nobody else changes the store,
//! the folder's `image` is renamed to `images/<id>`, then the generation's file to the next number under the name. A file
//! or folder is on the disk before it is renamed, and the folder it went to before anything names it: whatever moment the
//! power fails at, a reader finds the old generation or the new one, whole. (`tests/crash/` ends a publisher at each of
//! its steps.)

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use ramboot_wire::ImageId;
use rustix::io::Errno;

use super::cache::Entry;
use super::staging_dir::{Scratch, create, json, open_folder, rename_new, sync, write};
use super::{BOOT, BootFile, CHUNKS, FACTS, Generation, IMAGE, Image, ImageFacts, Name};

/// An image being published. Dropped without a commit it leaves nothing behind.
#[derive(Debug)]
pub struct Staging {
    scratch: Scratch,
}

impl Staging {
    /// Makes the store if there is none, removes what dead publishers left, and begins.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn begin(root: &Path) -> anyhow::Result<Self> {
        let scratch = Scratch::begin(root)?;
        let staging = Self { scratch };
        for part in [staging.image(), staging.image().join(BOOT)] {
            let making = || format!("making the folder {}", part.display());
            open_folder(&part).with_context(making)?;
        }
        Ok(staging)
    }

    /// The cache's entry of what `kind` makes from `inputs`.
    #[must_use]
    pub fn cached(&self, kind: &str, inputs: &blake3::Hash) -> Entry {
        Entry::new(self.scratch.root(), self.scratch.path(), kind, inputs)
    }

    fn image(&self) -> PathBuf {
        self.scratch.path().join("image")
    }

    /// The file to write the image into.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create_image(&self) -> anyhow::Result<File> {
        let path = self.image().join(IMAGE);
        create(&path).with_context(|| format!("making {}", path.display()))
    }

    /// The image as written, for reading, and its name for errors. Nothing may be written to it afterwards.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open_image(&self) -> anyhow::Result<(File, PathBuf)> {
        let path = self.image().join(IMAGE);
        let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        Ok((file, path))
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
        let written = self.scratch.path().join("generation.json");
        write(&written, &json(generation)?)?;
        let names = self.scratch.root().join("names");
        let folder = names.join(name.to_string());
        // From here on no other program can take the image for one that nobody names, nor the folder of the name away.
        let _alone = self.scratch.alone()?;
        self.scratch.make_folder(&folder)?;
        sync(&names)?;
        self.place_image(facts.id)?;
        place_generation(&written, &folder, name)
    }

    fn place_image(&self, id: ImageId) -> anyhow::Result<()> {
        let images = self.scratch.root().join("images");
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

/// Writes `generation`, whose image is in the store, as the newest of `name`, and says which number it got.
///
/// `newest` is the number that the name's newest generation had when this was decided.
///
/// # Errors
/// Something was published under the name since, or the image was removed; or nothing can be written. Nothing is changed
/// then, unless the error says so.
pub fn again(
    root: &Path,
    name: &Name,
    newest: u64,
    generation: &Generation,
) -> anyhow::Result<u64> {
    let scratch = Scratch::begin(root)?;
    let written = scratch.path().join("generation.json");
    write(&written, &json(generation)?)?;
    let folder = root.join("names").join(name.to_string());
    let _alone = scratch.alone()?;
    let now = super::newest(&folder)?;
    ensure!(
        now == Some(newest),
        "{name} was at generation {newest} and now is at {}: somebody else changed it; look at \"ramboot images {name}\" \
         and say it again",
        now.map_or_else(|| "none".to_owned(), |now| now.to_string())
    );
    let image = root.join("images").join(generation.image.to_string());
    ensure!(
        super::files::identity(&image)?.is_some(),
        "image {} was removed meanwhile; publish it again",
        generation.image
    );
    place_generation(&written, &folder, name)
}

/// Gives the generation in the file `written` the next number in the folder of its name.
fn place_generation(written: &Path, folder: &Path, name: &Name) -> anyhow::Result<u64> {
    let number = super::newest(folder)?.unwrap_or(0).checked_add(1);
    let number = number.with_context(|| format!("{} is full", folder.display()))?;
    let to = folder.join(format!("{number}.json"));
    rename_new(written, &to).with_context(|| format!("renaming to {}", to.display()))?;
    sync(folder).with_context(|| {
        format!(
            "generation {number} of {name} is there and machines boot it, but the disk did not confirm it: after a power \
             failure it may be gone; publish again"
        )
    })?;
    Ok(number)
}
