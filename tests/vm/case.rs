//! What every case has: a folder for its logs, the worker's image, and a store with this image published.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

use crate::image::Image;
use crate::manager::publish;

/// One run of one case.
#[derive(Debug)]
pub(crate) struct Case {
    dir: PathBuf,
}

/// Where cases keep things: target/vm.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/vm")
}

impl Case {
    /// A case with an empty folder, target/vm/`name`.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let dir = folder().join(name);
        empty(&dir)?;
        Ok(Self { dir })
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A log in its folder; what an earlier process of this case wrote there stays.
    pub(crate) fn file(&self, name: &str) -> Result<File> {
        let path = self.dir.join(name);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.with_context(|| format!("opening {}", path.display()))
    }

    /// No program of ours wrote of a panic into any of its logs, be it a manager that answered the next request or `/init`.
    pub(crate) fn nobody_panicked(&self) -> Result<()> {
        let mut folders = vec![self.dir.clone()];
        while let Some(folder) = folders.pop() {
            for entry in
                fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?
            {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|kind| kind == "log") {
                    let log = fs::read(&path)?;
                    let log = String::from_utf8_lossy(&log);
                    let line = log.lines().find(|line| line.contains("panicked at "));
                    ensure!(line.is_none(), "{}: {line:?}", path.display());
                }
            }
        }
        Ok(())
    }

    /// A store with the worker's image in it, published once for all cases of this run: for reading only.
    pub(crate) fn store(&self) -> Result<PathBuf> {
        static STORE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        published(&STORE, "store", Image::debian)
    }

    /// The same with the image for arm64. Asked for before the case has its own network: the image may have to be built.
    pub(crate) fn arm64_store(&self) -> Result<PathBuf> {
        static STORE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        published(&STORE, "store-arm64", Image::raspberry_pi)
    }

    /// A store without images in target/vm/`name`.store. What an earlier run compressed is still there, as it is on any
    /// manager that has published before.
    pub(crate) fn fresh_store_with_old_cache(&self) -> Result<PathBuf> {
        let store = self.dir.with_extension("store");
        for part in ["images", "names", "tmp"] {
            empty(&store.join(part))?;
        }
        Ok(store)
    }

    /// A store of this case alone, with `image` in it.
    pub(crate) fn own_store(&self, image: &Image) -> Result<PathBuf> {
        let store = self.dir.join("store");
        fs::create_dir(&store)?;
        publish(&image.path, &store)?;
        Ok(store)
    }
}

fn published(
    store: &OnceLock<Result<PathBuf, String>>,
    name: &str,
    image: fn() -> Result<Image>,
) -> Result<PathBuf> {
    let publish_anew = || {
        let store = folder().join(name);
        empty(&store)?;
        publish(&image()?.path, &store)?;
        Ok::<_, anyhow::Error>(store)
    };
    let store = store.get_or_init(|| publish_anew().map_err(|e| format!("{e:#}")));
    store.clone().map_err(anyhow::Error::msg)
}

/// The folder of the one image in a store.
pub(crate) fn stored_image(store: &Path) -> Result<PathBuf> {
    let images = store.join("images");
    let entries: Vec<_> = fs::read_dir(&images)
        .with_context(|| format!("reading {}", images.display()))?
        .collect::<Result<_, _>>()?;
    ensure!(
        entries.len() == 1,
        "{} images in {} instead of 1",
        entries.len(),
        images.display()
    );
    Ok(entries[0].path())
}

/// Bytes of all files directly in a folder.
pub(crate) fn folder_size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

fn empty(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("emptying {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))
}
