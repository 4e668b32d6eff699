//! `ramboot gc`: room for new images, from what no machine can come to need.
//!
//! Acts on [`super::gc_plan`] under the store's lock; an image of the plan that a manager serves stays until the next time.

use std::num::NonZeroUsize;

use ramboot_wire::ImageId;
use serde::Serialize;

use super::gc_plan::plan;
use crate::store::Store;
use crate::store::remove::{Fate, Retiring, fate};
use crate::text::table::megabytes;
use crate::verbs::images::args::GcArgs;

/// What was done, or with `--dry-run` would be; with `--json`, as it is printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Nothing was changed.
    pub dry_run: bool,
    /// Old generations, by name.
    pub generations: Vec<Removed>,
    /// Images that are gone.
    pub images: Vec<Gone>,
    /// Images that nobody names and that stay nevertheless.
    pub kept: Vec<Kept>,
    /// Why no image is removed: one sentence for each generation that cannot be read.
    pub doubts: Vec<String>,
    /// Bytes of images, of what dead programs left, and of what did not belong to the cache.
    pub freed: u64,
    /// Images that are still there.
    pub left: usize,
    /// And their bytes.
    pub left_bytes: u64,
}

/// Generations of a name that are gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Whose.
    pub name: String,
    /// Their numbers, newest first.
    pub generations: Vec<u64>,
}

/// An image that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gone {
    /// What `b3sum` printed for it.
    pub image: ImageId,
    /// With its boot files.
    pub bytes: u64,
}

/// An image that stays though no name needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// What `b3sum` prints for it.
    pub image: ImageId,
    /// With its boot files.
    pub bytes: u64,
    /// A clause.
    pub why: String,
}

/// Collects and says so on stdout.
///
/// # Errors
/// The store cannot be read or written; what is gone by then is gone, and the rest as it was.
pub fn run(args: &GcArgs) -> anyhow::Result<()> {
    let store = Store::open(&args.state.path)?;
    // Not so much as a folder is made where there is no store.
    let there = args.state.path.try_exists().unwrap_or(true);
    let done = if args.dry_run || !there {
        let mut done = look(&store, args.keep)?;
        done.dry_run = args.dry_run;
        done
    } else {
        collect(&store, args.keep)?
    };
    super::say(&done, args.json, || text(&done))
}

/// What would be removed.
fn look(store: &Store, keep: NonZeroUsize) -> anyhow::Result<Collected> {
    let images = store.images()?;
    let plan = plan(&histories(store)?, &images, keep);
    let mut done = Collected::new(&plan.generations, plan.doubts);
    for &image in &plan.images {
        done.add(store, image, fate(store, image));
    }
    done.left = images.len() - done.images.len();
    let all: u64 = images.iter().map(|image| store.bytes(*image)).sum();
    done.left_bytes = all.saturating_sub(done.freed);
    Ok(done)
}

fn collect(store: &Store, keep: NonZeroUsize) -> anyhow::Result<Collected> {
    let retiring = Retiring::begin(store.root())?;
    let plan = plan(&histories(store)?, &store.images()?, keep);
    let mut done = Collected::new(&plan.generations, plan.doubts);
    for (name, numbers) in &plan.generations {
        retiring.generations(name, numbers)?;
    }
    for &image in &plan.images {
        done.add(store, image, retiring.image(image)?);
    }
    done.freed += retiring.cleared() + retiring.cache()?;
    retiring.finish()?;
    let left = store.images()?;
    store.profiles().sweep(|| store.images())?;
    done.left = left.len();
    done.left_bytes = left.iter().map(|image| store.bytes(*image)).sum();
    Ok(done)
}

type Histories = Vec<(crate::store::Name, Vec<crate::store::history::Past>)>;

fn histories(store: &Store) -> anyhow::Result<Histories> {
    let names = store.names()?.into_iter();
    let with_history = names.map(|name| Ok((name.clone(), store.history(&name)?)));
    with_history.collect()
}

impl Collected {
    fn new(generations: &[(crate::store::Name, Vec<u64>)], doubts: Vec<String>) -> Self {
        let removed = |(name, numbers): &(crate::store::Name, Vec<u64>)| Removed {
            name: name.to_string(),
            generations: numbers.clone(),
        };
        Self {
            dry_run: false,
            generations: generations.iter().map(removed).collect(),
            images: Vec::new(),
            kept: Vec::new(),
            doubts,
            freed: 0,
            left: 0,
            left_bytes: 0,
        }
    }

    fn add(&mut self, store: &Store, image: ImageId, fate: Fate) {
        let why = match fate {
            Fate::Removed(bytes) => {
                self.freed += bytes;
                return self.images.push(Gone { image, bytes });
            }
            Fate::Served => {
                "a manager serves it, and keeps it for ten minutes after the last request"
                    .to_owned()
            }
            Fate::Unknown(error) => format!("whether a manager serves it is not known: {error}"),
        };
        let bytes = store.bytes(image);
        self.kept.push(Kept { image, bytes, why });
    }
}

fn text(done: &Collected) -> String {
    let Collected {
        dry_run,
        generations,
        images,
        kept,
        doubts,
        freed,
        left,
        left_bytes,
    } = done;
    let (removes, frees) = if *dry_run {
        ("would remove", "would free")
    } else {
        ("removed", "freed")
    };
    let mut text = String::new();
    for Removed { name, generations } in generations {
        let plural = if generations.len() == 1 { "" } else { "s" };
        let numbers: Vec<String> = generations.iter().map(u64::to_string).collect();
        text += &format!(
            "{removes} generation{plural} {} of {name}\n",
            numbers.join(", ")
        );
    }
    for Gone { image, bytes } in images {
        text += &format!("{removes} image {}, {}\n", image.short(), megabytes(*bytes));
    }
    for Kept { image, bytes, why } in kept {
        text += &format!(
            "kept image {}, {}: {why}\n",
            image.short(),
            megabytes(*bytes)
        );
    }
    for doubt in doubts {
        text += &format!(
            "no image is removed, for a generation cannot be read and may name any: {doubt}; publish, roll back or \
             unpublish that name\n"
        );
    }
    let plural = if *left == 1 { "" } else { "s" };
    let stays = if *left == 1 { "stays" } else { "stay" };
    text + &format!(
        "{frees} {}; {left} image{plural} of {} {stays}\n",
        megabytes(*freed),
        megabytes(*left_bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_goes_or_stays_is_named() {
        let image = |byte: u8| ImageId([byte; 32]);
        let mut done = Collected {
            dry_run: false,
            generations: vec![Removed {
                name: "worker".to_owned(),
                generations: vec![2, 1],
            }],
            images: vec![Gone {
                image: image(1),
                bytes: 139_100_000,
            }],
            kept: vec![Kept {
                image: image(2),
                bytes: 50_000_000,
                why: "a manager serves it".to_owned(),
            }],
            doubts: vec![],
            freed: 139_100_000,
            left: 2,
            left_bytes: 300_000_000,
        };
        let want = "removed generations 2, 1 of worker\n\
                    removed image 010101010101, 139.1 MB\n\
                    kept image 020202020202, 50.0 MB: a manager serves it\n\
                    freed 139.1 MB; 2 images of 300.0 MB stay\n";
        assert_eq!(text(&done), want);
        done.dry_run = true;
        let want = want
            .replace("removed", "would remove")
            .replace("freed", "would free");
        assert_eq!(text(&done), want);
        done.doubts.push("names/a/3.json is damaged".to_owned());
        done.left = 1;
        let said = text(&done);
        assert!(
            said.contains("cannot be read and may name any: names/a/3.json is damaged; publish,"),
            "{said}"
        );
        assert!(said.ends_with("1 image of 300.0 MB stays\n"), "{said}");
    }
}
