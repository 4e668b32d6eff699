//! How names, generations and images leave the store: each by one rename or unlink, so that a reader finds it whole or
//! not at all, and in an order that never leaves a generation without its image.
//!
//! All of it under the lock that [`super::commit`] takes for its renames: no image is removed between the moment a
//! publisher finds it there and the one it names it. The files themselves are removed when others may go on already; who
//! has them open keeps them (a mapping of an unlinked file stays valid).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use ramboot_wire::ImageId;

use super::staging_dir::{Alone, Scratch, bytes_below, rename_new, sync};
use super::{IMAGE, Name, Store, cache, serving_lock};

/// What became of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is gone; so many bytes it had with its boot files.
    Removed(u64),
    /// It stays: a manager serves it.
    Served,
    /// It stays: whether a manager serves it cannot be found out, and why.
    Unknown(String),
}

/// The right to remove. Nobody publishes, rolls back or removes while it lives.
#[derive(Debug)]
pub struct Retiring {
    scratch: Scratch,
    alone: Alone,
}

impl Retiring {
    /// Removes what dead programs left in the store at `root`, and waits until nobody else is at it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn begin(root: &Path) -> anyhow::Result<Self> {
        let scratch = Scratch::begin(root)?;
        let alone = scratch.alone()?;
        Ok(Self { scratch, alone })
    }

    /// Bytes that dead programs had left.
    #[must_use]
    pub fn cleared(&self) -> u64 {
        self.scratch.cleared
    }

    fn names(&self) -> PathBuf {
        self.scratch.root().join("names")
    }

    /// Takes a name away with all its generations.
    ///
    /// # Errors
    /// It cannot be renamed, and is as it was; or the error says that it is gone and the disk did not confirm it.
    pub fn name(&self, name: &Name) -> anyhow::Result<()> {
        let from = self.names().join(&name.0);
        let to = self.scratch.path().join("name");
        rename_new(&from, &to).with_context(|| format!("renaming {}", from.display()))?;
        sync(&self.names()).with_context(|| {
            format!(
                "machines find {name} no more, but the disk did not confirm it: after a power failure it may be back"
            )
        })
    }

    /// Removes these generations of a name, the oldest first.
    ///
    /// # Errors
    /// One cannot be removed; those after it stay.
    pub fn generations(&self, name: &Name, numbers: &[u64]) -> anyhow::Result<()> {
        let folder = self.names().join(&name.0);
        let mut numbers = numbers.to_vec();
        numbers.sort_unstable();
        for number in &numbers {
            let path = folder.join(format!("{number}.json"));
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        // Before any image goes: after a power failure no generation may be back without its image.
        if numbers.is_empty() {
            Ok(())
        } else {
            sync(&folder)
        }
    }

    /// Removes an image, which no generation may name, unless somebody serves it.
    ///
    /// # Errors
    /// It cannot be renamed, and is as it was.
    pub fn image(&self, id: ImageId) -> anyhow::Result<Fate> {
        let folder = self.scratch.root().join("images").join(id.to_string());
        let _taken = match serving_lock::take(&folder.join(IMAGE)) {
            Ok(Some(taken)) => taken,
            Ok(None) => return Ok(Fate::Served),
            Err(error) => return Ok(Fate::Unknown(format!("{error:#}"))),
        };
        let bytes = bytes_below(&folder);
        let to = self.scratch.path().join(id.to_string());
        rename_new(&folder, &to).with_context(|| format!("renaming {}", folder.display()))?;
        Ok(Fate::Removed(bytes))
    }

    /// Removes what is no entry of the cache; how many bytes that were.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn cache(&self) -> anyhow::Result<u64> {
        cache::sweep(self.scratch.root())
    }

    /// Waits for the disk, lets others go on, and removes the files.
    ///
    /// # Errors
    /// The disk's, or a file cannot be removed: the next program that changes the store removes it.
    pub fn finish(self) -> anyhow::Result<()> {
        let Self { scratch, alone } = self;
        sync(&scratch.root().join("images"))?;
        drop(alone);
        scratch.remove()
    }
}

/// What [`Retiring::image`] would do, without doing it.
#[must_use]
pub fn fate(store: &Store, id: ImageId) -> Fate {
    match serving_lock::take(&store.folder_of_image(id).join(IMAGE)) {
        Ok(Some(_)) => Fate::Removed(store.bytes(id)),
        Ok(None) => Fate::Served,
        Err(error) => Fate::Unknown(format!("{error:#}")),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any moment will do")]
mod tests {
    use std::time::Instant;

    use super::super::tests::{name, publish, state};
    use super::*;
    use crate::store::commit;
    use crate::store::serving_lock::LINGER;

    fn open(root: &Path) -> Store {
        Store::open(root).expect("opens")
    }

    fn remove(root: &Path, id: ImageId) -> Fate {
        let retiring = Retiring::begin(root).expect("begun");
        let fate = retiring.image(id).expect("no error");
        retiring.finish().expect("finished");
        fate
    }

    fn is_clear(root: &Path) -> bool {
        fs::read_dir(root.join("tmp")).expect("there").count() == 0
    }

    #[test]
    fn an_image_is_removed_unless_somebody_serves_it() {
        let state = state();
        let root = state.path();
        let id = publish(root, b"image", b"initrd").expect("published").image;
        let managers = [open(root).serving(), open(root).serving()];
        for manager in &managers {
            assert!(manager.image(id).expect("sound").is_some());
        }
        let [one, two] = managers;
        let start = Instant::now();
        for manager in [&one, &two] {
            manager.tick(start);
        }
        assert_eq!(remove(root, id), Fate::Served);
        one.tick(start + LINGER);
        assert_eq!(fate(&open(root), id), Fate::Served, "the second one has it");
        let lent = two.image(id).expect("sound").expect("there").sqfs.bytes();
        two.tick(start + LINGER);
        two.tick(start + 3 * LINGER);
        assert_eq!(remove(root, id), Fate::Served, "an answer is running");
        drop(lent);
        two.tick(start + 4 * LINGER);
        let bytes = open(root).bytes(id);
        assert!(bytes > 5, "{bytes}");
        assert_eq!(fate(&open(root), id), Fate::Removed(bytes));
        assert_eq!(remove(root, id), Fate::Removed(bytes));
        assert!(one.image(id).expect("no error").is_none());
        assert!(is_clear(root));
    }

    #[test]
    fn who_only_looks_marks_nothing() {
        let state = state();
        let id = publish(state.path(), b"image", b"initrd")
            .expect("published")
            .image;
        let store = open(state.path());
        let image = store.image(id).expect("sound").expect("there");
        assert!(matches!(remove(state.path(), id), Fate::Removed(_)));
        assert_eq!(image.sqfs.bytes(), "image", "who has it keeps it");
    }

    #[test]
    fn the_room_of_what_is_gone_is_given_back_without_anybody_asking() {
        let state = state();
        let root = state.path();
        let id = publish(root, b"image", b"initrd").expect("published").image;
        let store = open(root);
        let image = store.image(id).expect("sound").expect("there");
        let weak = std::sync::Arc::downgrade(&image);
        drop(image);
        store.tick(Instant::now());
        assert!(weak.upgrade().is_some());
        remove(root, id);
        store.tick(Instant::now());
        assert!(weak.upgrade().is_none());
    }

    #[test]
    fn a_damaged_image_is_removed_like_any_other_and_a_strange_one_stays() {
        let state = state();
        let root = state.path();
        let id = publish(root, b"image", b"initrd").expect("published").image;
        let folder = root.join("images").join(id.to_string());
        let path = folder.join(IMAGE);
        fs::remove_file(&path).expect("removed");
        std::os::unix::fs::symlink("/dev/null", &path).expect("linked");
        let Fate::Unknown(why) = remove(root, id) else {
            panic!("locked through a link");
        };
        assert!(why.contains("is a symbolic link"), "{why}");
        fs::remove_file(&path).expect("removed");
        assert!(matches!(remove(root, id), Fate::Removed(_)));
        assert!(!folder.exists());
    }

    #[test]
    fn a_name_goes_at_once_and_may_come_again() {
        let state = state();
        let root = state.path();
        for image in [b"one", b"two"] {
            publish(root, image, b"initrd").expect("published");
        }
        let retiring = Retiring::begin(root).expect("begun");
        retiring.name(&name()).expect("renamed");
        assert_eq!(open(root).names().expect("read"), []);
        assert_eq!(open(root).current(&name()).expect("read"), None);
        retiring.finish().expect("finished");
        assert!(is_clear(root));
        let again = publish(root, b"one", b"initrd").expect("published");
        assert_eq!(again.number, 1);
    }

    /// Two publishers and a collector, of two images in turn: each is removed and published again and again, and what the
    /// name stands for is there whenever somebody looks.
    #[test]
    fn publishing_and_removing_go_together() {
        let state = state();
        let root = state.path();
        std::thread::scope(|scope| {
            let publishers = [0, 1].map(|i: u8| {
                scope.spawn(move || {
                    for round in 0..20_u8 {
                        let image = [(round + i) % 2; 9];
                        publish(root, &image, b"initrd").expect("published");
                    }
                })
            });
            let store = open(root);
            while !publishers
                .iter()
                .all(std::thread::ScopedJoinHandle::is_finished)
            {
                let retiring = Retiring::begin(root).expect("begun");
                let current = store.current(&name()).expect("sound");
                let stays = current.map(|generation| generation.image);
                let history = store.history(&name()).expect("read");
                let old: Vec<u64> = history.iter().skip(1).map(|past| past.number).collect();
                retiring.generations(&name(), &old).expect("removed");
                for image in store.images().expect("read") {
                    if Some(image) != stays {
                        retiring.image(image).expect("removed");
                    }
                }
                retiring.finish().expect("finished");
                if let Some(generation) = store.current(&name()).expect("sound") {
                    // Whoever removes it in between has published another one.
                    let image = store.image(generation.image).expect("sound");
                    assert!(
                        image.is_some()
                            || store.current(&name()).expect("sound") != Some(generation)
                    );
                }
            }
        });
        let store = open(root);
        let generation = store.current(&name()).expect("sound").expect("there");
        let image = store
            .image(generation.image)
            .expect("sound")
            .expect("there");
        assert!(
            image
                .boot(&generation.initrd.name)
                .expect("sound")
                .is_some()
        );
        assert!(is_clear(root));
    }

    #[test]
    fn a_generation_comes_again_if_nothing_else_came_meanwhile() {
        let state = state();
        let root = state.path();
        let first = publish(root, b"one", b"initrd").expect("published");
        publish(root, b"two", b"initrd").expect("published");
        let number = commit::again(root, &name(), 2, &first).expect("written");
        assert_eq!(number, 3);
        let current = open(root).current(&name()).expect("sound").expect("there");
        assert!(current.boots_as(&first));
        let late = commit::again(root, &name(), 2, &first).expect_err("3 is there");
        assert!(
            late.to_string()
                .contains("was at generation 2 and now is at 3"),
            "{late}"
        );
        remove(root, first.image);
        let gone = commit::again(root, &name(), 3, &first).expect_err("no image");
        assert!(gone.to_string().contains("was removed meanwhile"), "{gone}");
        assert!(is_clear(root));
    }

    #[test]
    fn the_dead_leave_bytes_that_are_counted() {
        let state = state();
        let root = state.path();
        publish(root, b"image", b"initrd").expect("published");
        let dead = root.join("tmp/dead/image");
        fs::create_dir_all(&dead).expect("made");
        fs::write(dead.join(IMAGE), "half").expect("written");
        let retiring = Retiring::begin(root).expect("begun");
        assert_eq!(retiring.cleared(), 4);
        retiring.finish().expect("finished");
        assert!(is_clear(root));
    }
}
