//! Which generation a rollback goes to. Pure.

use std::fmt;

use ramboot_wire::ImageId;

use crate::store::Generation;
use crate::store::history::Past;
use crate::store::prefix::Prefix;
use crate::text::time;

/// Images that a refusal lists.
const MAX_LISTED: usize = 8;

/// Why there is nothing to go to; what there is, newest first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// All generations boot the same, or there is one.
    #[error("no generation before {0} boots anything else: there is nothing to go back to")]
    NothingBefore(u64),
    /// Nothing of this digest was published under the name.
    #[error("no generation has an image {0}…; {1}")]
    Unknown(Prefix, Candidates),
    /// More than one image begins so.
    #[error("more than one image begins with {0}: say more digits; {1}")]
    Ambiguous(Prefix, Candidates),
    /// It is what machines boot.
    #[error("generation {0} has this image already: machines boot it")]
    Current(u64),
}

/// Images that a name stood for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates(Vec<(ImageId, u64, u64)>);

impl Candidates {
    /// Each image once, with its newest generation and when that was published.
    fn of<'a>(generations: impl Iterator<Item = &'a Generation>) -> Self {
        let mut found: Vec<(ImageId, u64, u64)> = Vec::new();
        for generation in generations {
            let image = generation.image;
            if found.iter().all(|(known, ..)| *known != image) {
                found.push((image, generation.number, generation.published));
            }
        }
        Self(found)
    }
}

impl fmt::Display for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there are ")?;
        for (i, (image, number, published)) in self.0.iter().take(MAX_LISTED).enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            let (image, when) = (image.short(), time::minute(*published));
            write!(f, "{comma}{image} (generation {number}, {when})")?;
        }
        match self.0.len().saturating_sub(MAX_LISTED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Chooses in the `history` of a name, which is newest first and not empty.
///
/// Without a digest that is the newest generation that boots something else than the current one: since a rollback is a
/// generation, a second one goes back to where the first came from. With a digest it is the newest generation with that
/// image. What is damaged is passed over; where the current one is, whatever is sound is something else.
///
/// # Errors
/// There is none.
pub fn pick<'a>(history: &'a [Past], wanted: Option<&Prefix>) -> Result<&'a Generation, Refusal> {
    let newest = history.first();
    let number = newest.map_or(0, |past| past.number);
    let current = newest.and_then(|past| past.found.as_ref().ok());
    let mut sound = history.iter().filter_map(|past| past.found.as_ref().ok());
    let differs = |generation: &Generation| current.is_none_or(|now| !now.boots_as(generation));
    let Some(prefix) = wanted else {
        let before = sound.find(|generation| differs(generation));
        return before.ok_or(Refusal::NothingBefore(number));
    };
    let all = || Candidates::of(history.iter().filter_map(|past| past.found.as_ref().ok()));
    let mut fitting = sound.filter(|generation| prefix.fits(generation.image));
    let Some(found) = fitting.next() else {
        return Err(Refusal::Unknown(prefix.clone(), all()));
    };
    if fitting.any(|other| other.image != found.image) {
        let fitting = all()
            .0
            .into_iter()
            .filter(|(image, ..)| prefix.fits(*image));
        let fitting = Candidates(fitting.collect());
        return Err(Refusal::Ambiguous(prefix.clone(), fitting));
    }
    if differs(found) {
        Ok(found)
    } else {
        Err(Refusal::Current(number))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::store::BootFile;
    use ramboot_wire::Arch;

    /// A generation of the image whose digest begins with these bytes.
    pub(crate) fn generation(number: u64, image: [u8; 2]) -> Generation {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&image);
        Generation {
            number,
            image: ImageId(id),
            size: 5,
            kernel: BootFile::of("vmlinuz", b"kernel"),
            initrd: BootFile::of("initrd", b"initrd"),
            stub: None,
            kernel_version: "6.1.0".to_owned(),
            arch: Arch::X86_64,
            published: 1_795_495_859 + number,
            note: format!("number {number}"),
            pi: None,
            forced: Vec::new(),
        }
    }

    fn sound(number: u64, image: u8) -> Past {
        let found = Ok(generation(number, [image, image]));
        Past { number, found }
    }

    fn damaged(number: u64) -> Past {
        let found = Err("damaged".to_owned());
        Past { number, found }
    }

    fn prefix(text: &str) -> Prefix {
        text.parse().expect("a prefix")
    }

    #[test]
    fn one_row_per_rule() {
        for (history, wanted, want) in [
            (vec![sound(2, 0xb0), sound(1, 0xa0)], None, Ok(1)),
            (vec![sound(1, 0xa0)], None, Err("no generation before 1")),
            (
                vec![sound(2, 0xa0), sound(1, 0xa0)],
                None,
                Err("nothing to go back to"),
            ),
            // After a rollback, 3 is 1 again: back to 2.
            (
                vec![sound(3, 0xa0), sound(2, 0xb0), sound(1, 0xa0)],
                None,
                Ok(2),
            ),
            (
                vec![sound(9, 0xb0), damaged(8), sound(3, 0xa0)],
                None,
                Ok(3),
            ),
            (
                vec![damaged(9), sound(8, 0xb0), sound(3, 0xa0)],
                None,
                Ok(8),
            ),
            (vec![damaged(9)], None, Err("no generation before 9")),
            (
                vec![sound(3, 0xc0), sound(2, 0xb0), sound(1, 0xa0)],
                Some("a0a0"),
                Ok(1),
            ),
            (
                vec![sound(3, 0xc0), sound(2, 0xa0), sound(1, 0xa0)],
                Some("A0A000"),
                Ok(2),
            ),
            (
                vec![sound(3, 0xc0), sound(2, 0xb0)],
                Some("c0c0"),
                Err("generation 3 has this image already"),
            ),
            (
                vec![sound(3, 0xc0), sound(2, 0xb0), sound(1, 0xc0)],
                Some("dddd"),
                Err(
                    "no generation has an image dddd…; there are c0c000000000 (generation 3, 2026-11-24 04:51), \
                     b0b000000000 (generation 2, 2026-11-24 04:51)",
                ),
            ),
        ] {
            let wanted = wanted.map(prefix);
            let found = pick(&history, wanted.as_ref()).map(|generation| generation.number);
            match (found, want) {
                (Ok(found), want) => assert_eq!(Ok(found), want, "{history:?} {wanted:?}"),
                (Err(error), Err(want)) => assert!(error.to_string().contains(want), "{error}"),
                (Err(error), Ok(want)) => panic!("{error}, not {want}"),
            }
        }
    }

    #[test]
    fn the_same_image_with_another_kernel_is_something_else() {
        let mut older = generation(1, [1, 1]);
        older.kernel = BootFile::of("vmlinuz", b"other");
        let past = |generation: Generation| Past {
            number: generation.number,
            found: Ok(generation),
        };
        let history = [past(generation(2, [1, 1])), past(older)];
        assert_eq!(pick(&history, None).map(|g| g.number), Ok(1));
    }

    #[test]
    fn digits_that_two_images_begin_with_are_too_few() {
        let past = |number, image| Past {
            number,
            found: Ok(generation(number, image)),
        };
        let history = [
            past(3, [9, 9]),
            past(2, [1, 2]),
            past(1, [1, 2]),
            past(0, [1, 2]),
        ];
        assert_eq!(
            pick(&history, Some(&prefix("0102"))).map(|g| g.number),
            Ok(2)
        );
        let mut other = generation(4, [1, 2]);
        other.image.0[31] = 7;
        let mut history = history.to_vec();
        history.push(Past {
            number: 0,
            found: Ok(other),
        });
        let error = pick(&history, Some(&prefix("0102"))).expect_err("two images");
        let said = error.to_string();
        assert!(
            said.starts_with(
                "more than one image begins with 0102: say more digits; there are 0102"
            ),
            "{said}"
        );
        assert!(!said.contains("0909"), "{said}");
    }
}
