//! What is in a store, for people: all generations of a name, and all images, damaged ones among them.

use std::path::Path;

use anyhow::ensure;
use ramboot_wire::ImageId;
use ramboot_wire::paths::is_boot_name;

use super::image::read_facts;
use super::staging_dir::bytes_below;
use super::{Generation, ImageFacts, MAX_JSON_BYTES, Name, Store, files, generations};

/// A generation as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The name of its file.
    pub number: u64,
    /// Its content, or why there is none: one sentence that names the file.
    pub found: Result<Generation, String>,
}

impl Store {
    /// All that was published under `name` and is still there, newest first; empty if nothing is.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn history(&self, name: &Name) -> anyhow::Result<Vec<Past>> {
        let folder = self.folder_of(name);
        let mut numbers = generations(&folder)?;
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        let past = |number| Past {
            number,
            found: read(&folder, number).map_err(|error| format!("{error:#}")),
        };
        Ok(numbers.into_iter().map(past).collect())
    }

    /// All images, named or not, in no order.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn images(&self) -> anyhow::Result<Vec<ImageId>> {
        let names = files::list(&self.root.join("images"))?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// What is known of an image without opening it.
    ///
    /// # Errors
    /// It is not there, or is damaged.
    pub fn facts(&self, id: ImageId) -> anyhow::Result<ImageFacts> {
        read_facts(&self.folder_of_image(id), id)
    }

    /// Bytes of an image with its boot files; 0 if it is not there.
    #[must_use]
    pub fn bytes(&self, id: ImageId) -> u64 {
        bytes_below(&self.folder_of_image(id))
    }
}

/// Generation `number` in the folder of a name.
pub(super) fn read(folder: &Path, number: u64) -> anyhow::Result<Generation> {
    let path = folder.join(format!("{number}.json"));
    let mut generation: Generation = files::read_json(&path, MAX_JSON_BYTES)?;
    generation.number = number;
    for file in generation.boot_files() {
        ensure!(
            is_boot_name(&file.name),
            "{}: {:?} is not the name of a boot file",
            path.display(),
            file.name
        );
    }
    Ok(generation)
}
