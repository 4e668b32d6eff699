//! `ramboot rollback`: an old generation once more, as the newest one.
//!
//! Image and boot files are read and compared with their digests before machines are sent to them, and the image is marked
//! as in use meanwhile, so that no garbage collection takes it.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the clock once at each end"
)]

use std::time::{Instant, SystemTime};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use ramboot_wire::ImageId;
use serde::Serialize;

use super::rollback_target::pick;
use crate::store::{Generation, Image, Name, Store, commit, find};
use crate::text::table::megabytes;
use crate::text::time;
use crate::verbs::images::args::RollbackArgs;

/// What was done; with `--json`, as it is printed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RolledBack {
    /// Whose generation it is.
    pub name: String,
    /// Its number.
    pub generation: u64,
    /// The generation that it is again.
    pub same_as: u64,
    /// What machines booted before; `None` if that generation is damaged.
    pub from: Option<Side>,
    /// What they boot now.
    pub to: Side,
    /// How long it took.
    pub seconds: f64,
}

/// One side of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// The generation's number.
    pub generation: u64,
    /// What `b3sum` prints for its image.
    pub image: ImageId,
    /// Bytes of the image.
    pub size: u64,
    /// As `uname -r` prints it.
    pub kernel_version: String,
    /// Seconds since 1970.
    pub published: u64,
}

impl Side {
    fn of(generation: &Generation) -> Self {
        Self {
            generation: generation.number,
            image: generation.image,
            size: generation.size,
            kernel_version: generation.kernel_version.clone(),
            published: generation.published,
        }
    }

    fn line(&self) -> String {
        format!(
            "{}  {}, kernel {}, generation {} of {} UTC",
            self.image.short(),
            megabytes(self.size),
            self.kernel_version,
            self.generation,
            time::minute(self.published)
        )
    }
}

/// Rolls back and says so on stdout.
///
/// # Errors
/// There is nothing to go to, or it is not what it was published as; the store is as it was.
pub fn run(args: &RollbackArgs) -> anyhow::Result<()> {
    let done = rollback(args)?;
    super::say(&done, args.json, || text(&done))
}

fn rollback(args: &RollbackArgs) -> anyhow::Result<RolledBack> {
    let started = Instant::now();
    let name: Name = args.name.parse()?;
    let store = Store::open(&args.state.path)?.serving();
    let history = find::history(&store, &name)?;
    let target =
        pick(&history, args.digest.as_ref()).with_context(|| format!("rolling back {name}"))?;
    check(&store, target)
        .with_context(|| format!("rolling back {name} to generation {}", target.number))?;
    let newest = &history[0];
    let number = commit::again(&args.state.path, &name, newest.number, &anew(target, now()))?;
    Ok(RolledBack {
        name: name.to_string(),
        generation: number,
        same_as: target.number,
        from: newest.found.as_ref().ok().map(Side::of),
        to: Side::of(target),
        seconds: (started.elapsed().as_secs_f64() * 100.0).round() / 100.0,
    })
}

/// The generation that is `target` again.
fn anew(target: &Generation, now: u64) -> Generation {
    let note = format!("rollback to generation {}", target.number);
    // The note of a note of a note would not fit one day.
    let note = match target.note.as_str() {
        "" => note,
        old if old.starts_with("rollback to generation ") => note,
        old => format!("{note}: {old}"),
    };
    Generation {
        published: now,
        note,
        ..target.clone()
    }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// Everything that the generation names is there and has its digest.
fn check(store: &Store, target: &Generation) -> anyhow::Result<()> {
    let image = store.image(target.image)?;
    let image =
        image.with_context(|| format!("image {} is gone: publish it again", target.image))?;
    for file in target.boot_files() {
        image.boot(&file.name)?.with_context(|| {
            let (name, id) = (&file.name, target.image);
            format!("{name} of image {id} is gone: publish the image again")
        })?;
    }
    verify(&image)
}

/// Shows a bar on a terminal: a disk reads some hundred megabytes a second.
fn verify(image: &Image) -> anyhow::Result<()> {
    let bar = ProgressBar::new(image.facts.size);
    let style = ProgressStyle::with_template("verifying {bar:30} {percent:>3} %  {bytes_per_sec}");
    let bar = match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    };
    let verified = image.verify(|bytes| bar.inc(bytes));
    bar.finish_and_clear();
    verified
}

fn text(done: &RolledBack) -> String {
    let RolledBack {
        name,
        generation,
        same_as,
        from,
        to,
        seconds,
    } = done;
    let from = from
        .as_ref()
        .map_or_else(|| "a damaged generation".to_owned(), Side::line);
    format!(
        "{name} is at generation {generation}, which is generation {same_as} again; verified in {seconds} s\n  \
         from  {from}\n  \
         to    {}\n\
         machines boot it at their next start; running ones go on with what they have\n",
        to.line()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::images::rollback_target::tests::generation;

    #[test]
    fn the_note_says_where_it_came_from() {
        let note = |note: &str| {
            let mut target = generation(2, [1, 1]);
            note.clone_into(&mut target.note);
            let made = anew(&target, 99);
            assert!(made.boots_as(&target));
            assert_eq!(made.published, 99);
            made.note
        };
        assert_eq!(note(""), "rollback to generation 2");
        assert_eq!(note("with nano"), "rollback to generation 2: with nano");
        assert_eq!(
            note("rollback to generation 1: x"),
            "rollback to generation 2"
        );
    }
}
