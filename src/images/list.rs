//! `ramboot images`: what is published, what of it machines boot now, and what nobody names any more.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the clock, to say how long ago"
)]

use std::collections::BTreeSet;
use std::time::SystemTime;

use ramboot_wire::ImageId;
use serde::Serialize;

use super::table::{Column, Row, megabytes, render};
use super::when;
use crate::cli::ImagesArgs;
use crate::inits::Arch;
use crate::store::history::Past;
use crate::store::{Generation, Name, Store};

/// All that is in a store; with `--json`, as it is printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// In order.
    pub names: Vec<Listed>,
    /// Images that no generation names.
    pub unnamed: Vec<Unnamed>,
}

/// One name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// What `--name` said at the publish.
    pub name: String,
    /// Newest first; machines boot the first.
    pub generations: Vec<Line>,
}

/// One generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Line {
    /// It can be read.
    Sound {
        /// Its number.
        generation: u64,
        /// Machines boot it.
        current: bool,
        /// What `b3sum` prints for the image.
        image: ImageId,
        /// Bytes of the image.
        size: u64,
        /// As `uname -r` prints it.
        kernel_version: String,
        /// Machines that can boot it.
        arch: Arch,
        /// Raspberry Pis that can, by their ids in [`crate::pi::board`].
        boards: Vec<String>,
        /// Seconds since 1970.
        published: u64,
        /// What the publisher wanted to remember.
        note: String,
        /// What was wrong with it, if it was published by `--force`.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        forced: Vec<String>,
        /// Why it cannot be booted: its image is gone or damaged.
        #[serde(skip_serializing_if = "Option::is_none")]
        damaged: Option<String>,
    },
    /// It cannot.
    Damaged {
        /// Its number.
        generation: u64,
        /// Machines should boot it, and cannot.
        current: bool,
        /// Why.
        damaged: String,
    },
}

/// An image without a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unnamed {
    /// What `b3sum` prints for it.
    pub image: ImageId,
    /// Of the image and its boot files.
    pub bytes: u64,
}

/// Prints what is in the store.
///
/// # Errors
/// The store cannot be read, or nothing is published under the name that was asked for.
pub fn run(args: &ImagesArgs) -> anyhow::Result<()> {
    let store = Store::open(&args.state.path)?;
    let mut listing = look(&store)?;
    if let Some(name) = &args.name {
        let name: Name = name.parse()?;
        super::history(&store, &name)?;
        listing
            .names
            .retain(|listed| listed.name == name.to_string());
        listing.unnamed.clear();
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let all = args.all || args.name.is_some();
    super::say(&listing, args.json, || {
        text(&listing, all, now, &store.root().display().to_string())
    })
}

/// Reads all of a store but the images' content.
///
/// # Errors
/// A folder of the store cannot be read. Files that are damaged are part of the listing.
pub fn look(store: &Store) -> anyhow::Result<Listing> {
    let mut named = BTreeSet::new();
    let mut names = Vec::new();
    for name in store.names()? {
        let history = store.history(&name)?;
        let generations = history.into_iter().enumerate().map(|(at, past)| {
            named.extend(past.found.as_ref().map(|generation| generation.image));
            line(store, past, at == 0)
        });
        let generations = generations.collect();
        let name = name.to_string();
        names.push(Listed { name, generations });
    }
    let images = store.images()?.into_iter();
    let mut unnamed: Vec<Unnamed> = images
        .filter(|image| !named.contains(image))
        .map(|image| Unnamed {
            bytes: store.bytes(image),
            image,
        })
        .collect();
    unnamed.sort_unstable_by_key(|unnamed| unnamed.image);
    Ok(Listing { names, unnamed })
}

fn line(store: &Store, past: Past, current: bool) -> Line {
    let Past { number, found } = past;
    match found {
        Ok(Generation {
            image,
            size,
            kernel_version,
            arch,
            published,
            note,
            pi,
            forced,
            ..
        }) => Line::Sound {
            generation: number,
            current,
            image,
            size,
            kernel_version,
            arch,
            boards: pi.map(|pi| pi.boards).unwrap_or_default(),
            published,
            note,
            forced,
            damaged: store.facts(image).err().map(|error| format!("{error:#}")),
        },
        Err(damaged) => Line::Damaged {
            generation: number,
            current,
            damaged,
        },
    }
}

/// The listing for a person, at `now` (seconds since 1970): what is current, or `all` generations.
fn text(listing: &Listing, all: bool, now: u64, state: &str) -> String {
    let Listing { names, unnamed } = listing;
    if names.is_empty() && unnamed.is_empty() {
        return format!("nothing is published in {state}: ramboot publish IMAGE\n");
    }
    let mut text = String::new();
    let shown = |listed: &Listed| if all { listed.generations.len() } else { 1 };
    let mut rows = Vec::new();
    for listed in names {
        let lines = listed.generations.iter().take(shown(listed));
        for line in lines {
            row(&listed.name, line, now, &mut rows);
        }
    }
    if rows.is_empty() {
        text += &format!(
            "nothing is published in {state}, machines find no image: ramboot publish IMAGE\n"
        );
    } else {
        text += &render(&COLUMNS, &rows);
    }
    let earlier: usize = names
        .iter()
        .map(|listed| listed.generations.len() - shown(listed))
        .sum();
    if earlier > 0 {
        text += &format!("earlier generations: {earlier}; --all shows them\n");
    }
    for Unnamed { image, bytes } in unnamed {
        let (image, size) = (image.short(), megabytes(*bytes));
        text += &format!("unnamed: image {image}, {size}\n");
    }
    if !unnamed.is_empty() {
        let bytes = unnamed.iter().map(|unnamed| unnamed.bytes).sum();
        text += &format!(
            "no name needs {}: ramboot gc removes them\n",
            megabytes(bytes)
        );
    }
    text
}

fn row(name: &str, line: &Line, now: u64, rows: &mut Vec<Row>) {
    let first = |generation: u64, current: bool| {
        let (star, name) = if current { ("*", name) } else { ("", "") };
        vec![star.to_owned(), name.to_owned(), generation.to_string()]
    };
    match line {
        Line::Sound {
            generation,
            current,
            image,
            size,
            kernel_version,
            arch,
            boards,
            published,
            note,
            forced,
            damaged,
        } => {
            let mut cells = first(*generation, *current);
            cells.extend([
                image.short(),
                megabytes(*size),
                kernel_version.clone(),
                arch.to_string(),
                boards.join(","),
                when::minute(*published),
                when::age(*published, now),
                note.clone(),
            ]);
            rows.push(Row::Cells(cells));
            let under = || vec![String::new(); 3];
            for sentence in forced {
                rows.push(Row::Sentence(under(), format!("forced: {sentence}")));
            }
            if let Some(damaged) = damaged {
                rows.push(Row::Sentence(
                    under(),
                    format!("cannot be booted: {damaged}"),
                ));
            }
        }
        Line::Damaged {
            generation,
            current,
            damaged,
        } => {
            let cells = first(*generation, *current);
            rows.push(Row::Sentence(cells, format!("damaged: {damaged}")));
        }
    }
}

const COLUMNS: [Column; 11] = [
    left(" "),
    left("NAME"),
    right("GEN"),
    left("IMAGE"),
    right("SIZE"),
    left("KERNEL"),
    left("ARCH"),
    left("BOARDS"),
    left("PUBLISHED (UTC)"),
    right("AGE"),
    left("NOTE"),
];

const fn left(head: &'static str) -> Column {
    Column { head, right: false }
}

const fn right(head: &'static str) -> Column {
    Column { head, right: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_506_659;

    fn sound(generation: u64, current: bool, image: u8, boards: &[&str], note: &str) -> Line {
        Line::Sound {
            generation,
            current,
            image: ImageId([image; 32]),
            size: 139_123_456,
            kernel_version: "6.1.0-56".to_owned(),
            arch: Arch::Aarch64,
            boards: boards.iter().map(|&board| board.to_owned()).collect(),
            published: NOW - 3 * 3600,
            note: note.to_owned(),
            forced: Vec::new(),
            damaged: None,
        }
    }

    fn two() -> Listing {
        let broken = Line::Damaged {
            generation: 2,
            current: false,
            damaged: "reading names/pi/2.json: EOF".to_owned(),
        };
        let mut gone = sound(1, false, 0x1d, &[], "");
        if let Line::Sound { damaged, .. } = &mut gone {
            *damaged = Some("image.json is missing".to_owned());
        }
        let listed = |name: &str, generations| Listed {
            name: name.to_owned(),
            generations,
        };
        Listing {
            names: vec![
                listed(
                    "pi",
                    vec![sound(3, true, 0x3f, &["3b", "4b"], "new"), broken, gone],
                ),
                listed("worker", vec![sound(12, true, 0x77, &[], "")]),
            ],
            unnamed: vec![Unnamed {
                image: ImageId([9; 32]),
                bytes: 149_000_000,
            }],
        }
    }

    #[test]
    fn the_current_ones_and_how_to_see_more() {
        let want = "   NAME    GEN  IMAGE             SIZE  KERNEL    ARCH     BOARDS  PUBLISHED (UTC)   AGE  NOTE\n\
                    *  pi        3  3f3f3f3f3f3f  139.1 MB  6.1.0-56  aarch64  3b,4b   2026-11-24 04:50  3 h  new\n\
                    *  worker   12  777777777777  139.1 MB  6.1.0-56  aarch64          2026-11-24 04:50  3 h\n\
                    earlier generations: 2; --all shows them\n\
                    unnamed: image 090909090909, 149.0 MB\n\
                    no name needs 149.0 MB: ramboot gc removes them\n";
        assert_eq!(text(&two(), false, NOW, "/s"), want);
    }

    #[test]
    fn all_of_them_with_what_is_wrong() {
        let said = text(&two(), true, NOW, "/s");
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(
            lines[2],
            "             2  damaged: reading names/pi/2.json: EOF"
        );
        assert_eq!(
            lines[3],
            "             1  1d1d1d1d1d1d  139.1 MB  6.1.0-56  aarch64          2026-11-24 04:50  3 h"
        );
        assert_eq!(
            lines[4],
            "                cannot be booted: image.json is missing"
        );
        assert!(!said.contains("earlier generations"), "{said}");
    }

    #[test]
    fn what_was_forced_is_not_forgotten() {
        let mut line = sound(1, true, 7, &[], "");
        if let Line::Sound { forced, .. } = &mut line {
            forced.push("/sbin/init is empty".to_owned());
        }
        let json = serde_json::to_value(&line).expect("written");
        assert_eq!(json["forced"][0], "/sbin/init is empty");
        let listing = Listing {
            names: vec![Listed {
                name: "pi".to_owned(),
                generations: vec![line],
            }],
            unnamed: Vec::new(),
        };
        let said = text(&listing, false, NOW, "/s");
        assert!(
            said.ends_with("\n              forced: /sbin/init is empty\n"),
            "{said}"
        );
    }

    #[test]
    fn an_empty_store_says_what_to_do() {
        let mut listing = two();
        listing.names.clear();
        let said = text(&listing, false, NOW, "/s");
        assert!(
            said.starts_with("nothing is published in /s, machines find no image: ramboot publish"),
            "{said}"
        );
        listing.unnamed.clear();
        assert_eq!(
            text(&listing, false, NOW, "/s"),
            "nothing is published in /s: ramboot publish IMAGE\n"
        );
    }
}
