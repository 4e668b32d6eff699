//! `ramboot profile`: what boots of an image read of it, in words, as JSON and as a picture.

use std::path::Path;

use anyhow::{Context, bail};
use ramboot_wire::image::chunk_count;
use ramboot_wire::profile::{Profile, Want};
use ramboot_wire::{ImageId, Mac};
use serde::Serialize;

use super::say;
use crate::store::Store;
use crate::store::boot_profile::{Kept, Known, Share, nothing_known, picture};
use crate::store::find::find;
use crate::text::table::{Column, Row, megabytes, render};
use crate::text::time;
use crate::verbs::images::args::ProfileArgs;

/// What is known; with `--json`, as it is printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// As it was asked for.
    pub name: String,
    /// What `b3sum` prints for it.
    pub image: ImageId,
    /// Bytes of the image.
    pub size: u64,
    /// Read before a worker's network was as it stays: a worker that streams waits for these.
    pub hot: Share,
    /// Read later in the boot.
    pub warm: Share,
    /// All that is kept, the newest first.
    pub recordings: Vec<Boot>,
    /// What another image's boots say.
    pub carried: Option<Carried>,
}

/// One boot that was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Boot {
    /// Whose.
    pub mac: Mac,
    /// When it came, in seconds since 1970.
    pub at: u64,
    /// From the mount until the network was as it stays, in milliseconds.
    pub online_ms: Option<u32>,
    /// From the mount until init said that it is up, in milliseconds.
    pub ready_ms: Option<u32>,
    /// How many chunks it read.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What `publish --profile` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Carried {
    /// The other image.
    pub from: ImageId,
    /// When, in seconds since 1970.
    pub at: u64,
    /// Files that boots read and that are the same in both.
    pub files: u64,
    /// What was read of them, in bytes, unpacked.
    pub bytes: u64,
    /// Files that boots read and that are not.
    pub lost: u64,
}

/// Shows what is known of an image on stdout.
///
/// # Errors
/// There is no such image, nothing is known of it, or the picture cannot be written.
pub fn run(args: &ProfileArgs) -> anyhow::Result<()> {
    let store = Store::open(&args.state.path)?;
    let (image, size) = find(&store, &args.name)?;
    let Some(known) = store.profiles().read(image, size)? else {
        bail!(nothing_known(&args.name, image));
    };
    let profile = known.wants(size);
    let shown = Shown::new(&args.name, image, size, &known, &profile);
    if let Some(path) = &args.svg {
        draw(path, &shown, &profile)?;
    }
    say(&shown, args.json, || text(&shown))
}

/// What a worker that streams waits for; `None` if nothing is known of the image.
///
/// # Errors
/// What is known is damaged.
pub(crate) fn hot(store: &Store, image: ImageId, size: u64) -> anyhow::Result<Option<Share>> {
    let known = store.profiles().read(image, size)?;
    Ok(known.map(|known| Share::wanted(&known.wants(size), size, is_hot)))
}

const fn is_hot(want: &Want) -> bool {
    matches!(want, Want::Hot(_))
}

fn draw(path: &Path, shown: &Shown, profile: &Profile) -> anyhow::Result<()> {
    let Shown {
        name,
        image,
        hot,
        size,
        ..
    } = shown;
    let title = format!(
        "{name} (image {}): {} of {} are hot",
        image.short(),
        megabytes(hot.bytes),
        megabytes(*size)
    );
    std::fs::write(path, picture::map(&title, profile))
        .with_context(|| format!("writing {}", path.display()))
}

impl Shown {
    fn new(name: &str, image: ImageId, size: u64, known: &Known, profile: &Profile) -> Self {
        let share = |of: fn(&Want) -> bool| Share::wanted(profile, size, of);
        let carried = known.carried.as_ref().map(|carried| Carried {
            from: carried.from,
            at: carried.at,
            files: carried.files,
            bytes: carried.bytes,
            lost: carried.lost,
        });
        Self {
            name: name.to_owned(),
            image,
            size,
            hot: share(is_hot),
            warm: share(|want| matches!(want, Want::Warm(_))),
            recordings: known
                .recordings
                .iter()
                .rev()
                .map(|kept| Boot::of(kept, size))
                .collect(),
            carried,
        }
    }
}

impl Boot {
    fn of(kept: &Kept, size: u64) -> Self {
        let recording = &kept.recording;
        let read = Share::of(recording.touched.iter().map(|(index, _)| *index), size);
        Self {
            mac: recording.mac,
            at: kept.at,
            online_ms: recording.online_ms,
            ready_ms: recording.ready_ms,
            chunks: read.chunks,
            bytes: read.bytes,
        }
    }
}

fn text(shown: &Shown) -> String {
    let Shown {
        name,
        image,
        size,
        hot,
        warm,
        recordings,
        carried,
    } = shown;
    let mut text = format!(
        "{name}: image {}, {} in {} chunks\n",
        image.short(),
        megabytes(*size),
        chunk_count(*size)
    );
    let share = |word: &str, share: &Share, what: &str| {
        format!(
            "  {word:<9} {}, {} % of the image, {} chunks: {what}\n",
            megabytes(share.bytes),
            share.percent,
            share.chunks
        )
    };
    text += &share(
        "hot",
        hot,
        "read before the network was up; there before the image starts",
    );
    text += &share("warm", warm, "read later in the boot; fetched next");
    if let Some(Carried {
        from,
        at,
        files,
        bytes,
        lost,
    }) = carried
    {
        text += &format!(
            "  {:<9} {files} files, {} of them read, from image {}, {}; {lost} files that were read there are not the same here\n",
            "carried",
            megabytes(*bytes),
            from.short(),
            time::minute(*at)
        );
    }
    if recordings.is_empty() {
        return text + "  recorded  no boot yet: the next worker with mode = \"stream\" is\n";
    }
    text += "\n";
    text + &table(recordings)
}

fn table(recordings: &[Boot]) -> String {
    let column = |head, right| Column { head, right };
    let columns = [
        column("RECORDED BY", false),
        column("WHEN (UTC)", false),
        column("READ", true),
        column("ONLINE", true),
        column("UP", true),
    ];
    let rows: Vec<Row> = recordings.iter().map(row).collect();
    render(&columns, &rows)
}

fn row(boot: &Boot) -> Row {
    let seconds = |ms: Option<u32>| {
        ms.map_or_else(
            || "-".to_owned(),
            |ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        )
    };
    Row::Cells(vec![
        boot.mac.to_string(),
        time::minute(boot.at),
        megabytes(boot.bytes),
        seconds(boot.online_ms),
        seconds(boot.ready_ms),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::boot_profile;
    use crate::store::boot_profile::tests::{IMAGE, recording};
    use ramboot_wire::image::CHUNK_BYTES;

    #[test]
    fn what_is_known_is_said_with_its_share() {
        let size = 4 * CHUNK_BYTES + 1000;
        let mut known = Known::default();
        known.recordings.push(Kept {
            at: 1_764_000_000,
            from: None,
            recording: recording(1, Some(1_250), &[(0, 0), (4, 900), (2, 2_000)]),
        });
        known.carried = Some(boot_profile::Carried {
            from: ImageId([1; 32]),
            at: 1_764_000_000,
            files: 12,
            bytes: 3_400_000,
            lost: 2,
            hot: vec![0],
            warm: vec![],
        });
        let profile = known.wants(size);
        let shown = Shown::new("worker", IMAGE, size, &known, &profile);
        let want = "worker: image 070707070707, 1.0 MB in 5 chunks\n  \
             hot       0.3 MB, 26 % of the image, 2 chunks: read before the network was up; there before the image starts\n  \
             warm      0.3 MB, 25 % of the image, 1 chunks: read later in the boot; fetched next\n  \
             carried   12 files, 3.4 MB of them read, from image 010101010101, 2025-11-24 16:00; 2 files that were read there are not the same here\n\n\
             RECORDED BY        WHEN (UTC)          READ  ONLINE  UP\n\
             02:00:00:00:00:01  2025-11-24 16:00  0.5 MB   1.2 s   -\n";
        assert_eq!(text(&shown), want);
        known.recordings.clear();
        let shown = Shown::new("worker", IMAGE, size, &known, &profile);
        assert!(
            text(&shown)
                .ends_with("recorded  no boot yet: the next worker with mode = \"stream\" is\n")
        );
    }
}
