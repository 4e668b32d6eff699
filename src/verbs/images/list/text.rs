//! `ramboot images` in words. Pure.

use super::{Line, Listed, Listing, Unnamed};
use crate::text::table::{Column, Row, megabytes, render};
use crate::text::time;

/// The listing for a person, at `now` (seconds since 1970): what is current, or `all` generations.
pub(super) fn text(listing: &Listing, all: bool, now: u64, state: &str) -> String {
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
            hot,
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
                hot.map(|hot| format!("{} %", hot.percent))
                    .unwrap_or_default(),
                kernel_version.clone(),
                arch.to_string(),
                boards.join(","),
                time::minute(*published),
                time::age(*published, now),
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

const COLUMNS: [Column; 12] = [
    Column::left(" "),
    Column::left("NAME"),
    Column::right("GEN"),
    Column::left("IMAGE"),
    Column::right("SIZE"),
    Column::right("HOT"),
    Column::left("KERNEL"),
    Column::left("ARCH"),
    Column::left("BOARDS"),
    Column::left("PUBLISHED (UTC)"),
    Column::right("AGE"),
    Column::left("NOTE"),
];

#[cfg(test)]
mod tests {
    use ramboot_wire::{Arch, ImageId};

    use super::*;
    use crate::store::boot_profile::Share;

    const NOW: u64 = 1_795_506_659;

    fn sound(generation: u64, current: bool, image: u8, boards: &[&str], note: &str) -> Line {
        Line::Sound {
            generation,
            current,
            image: ImageId([image; 32]),
            size: 139_123_456,
            hot: None,
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
    fn what_is_known_of_a_boot_is_a_column_if_anything_is() {
        let mut listing = two();
        if let Line::Sound { hot, .. } = &mut listing.names[1].generations[0] {
            *hot = Some(Share::of(0..100, 139_123_456));
        }
        let want = "   NAME    GEN  IMAGE             SIZE   HOT  KERNEL    ARCH     BOARDS  PUBLISHED (UTC)   AGE  NOTE\n\
                    *  pi        3  3f3f3f3f3f3f  139.1 MB        6.1.0-56  aarch64  3b,4b   2026-11-24 04:50  3 h  new\n\
                    *  worker   12  777777777777  139.1 MB  19 %  6.1.0-56  aarch64          2026-11-24 04:50  3 h\n";
        let said = text(&listing, false, NOW, "/s");
        assert!(said.starts_with(want), "{said}");
        let json = serde_json::to_value(&listing).expect("written");
        assert_eq!(json["names"][0]["generations"][0].get("hot"), None);
        let hot = &json["names"][1]["generations"][0]["hot"];
        assert_eq!(
            (hot["chunks"].as_u64(), hot["percent"].as_u64()),
            (Some(100), Some(19))
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
