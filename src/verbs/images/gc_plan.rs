//! What a garbage collection removes. Pure.
//!
//! Whether an image is being served is not known here: who acts on the plan asks for each.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use ramboot_wire::ImageId;

use crate::store::Name;
use crate::store::history::Past;

/// What is to be removed, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Generations that are old, of names that have such.
    pub generations: Vec<(Name, Vec<u64>)>,
    /// Images that no other generation names.
    pub images: Vec<ImageId>,
    /// Why no image is removed: generations that stay and cannot be read may name any. One sentence each.
    pub doubts: Vec<String>,
}

/// Decides from the histories of all names, newest first, and all images.
///
/// Of each name its `keep` newest sound generations stay, and what is newer than those.
#[must_use]
pub fn plan(names: &[(Name, Vec<Past>)], images: &[ImageId], keep: NonZeroUsize) -> Plan {
    let mut plan = Plan::default();
    let mut named = BTreeSet::new();
    for (name, history) in names {
        let (stays, goes) = history.split_at(stay(history, keep));
        for past in stays {
            match &past.found {
                Ok(generation) => drop(named.insert(generation.image)),
                Err(error) => plan.doubts.push(error.clone()),
            }
        }
        if !goes.is_empty() {
            let numbers = goes.iter().map(|past| past.number).collect();
            plan.generations.push((name.clone(), numbers));
        }
    }
    if plan.doubts.is_empty() {
        let unnamed = images.iter().filter(|image| !named.contains(image));
        plan.images = unnamed.copied().collect();
        plan.images.sort_unstable();
    }
    plan
}

/// How many entries from the newest on hold `keep` sound ones; all, if there are fewer.
fn stay(history: &[Past], keep: NonZeroUsize) -> usize {
    let sound = history
        .iter()
        .enumerate()
        .filter(|(_, past)| past.found.is_ok());
    let last = sound.map(|(at, _)| at + 1).nth(keep.get() - 1);
    last.unwrap_or(history.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::images::rollback_target::tests::generation;
    use proptest::prelude::*;

    fn history(rows: &[(u64, Option<u8>)]) -> Vec<Past> {
        let past = |&(number, image): &(u64, Option<u8>)| Past {
            number,
            found: image
                .map(|image| generation(number, [image, 0]))
                .ok_or_else(|| format!("{number}.json is damaged")),
        };
        rows.iter().map(past).collect()
    }

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn id(image: u8) -> ImageId {
        generation(0, [image, 0]).image
    }

    fn of(keep: usize, names: &[(Name, Vec<Past>)], images: &[u8]) -> Plan {
        let images: Vec<ImageId> = images.iter().map(|&image| id(image)).collect();
        plan(names, &images, NonZeroUsize::new(keep).expect("not 0"))
    }

    #[test]
    fn the_newest_stay_and_the_images_they_name() {
        let names = [
            (
                name("a"),
                history(&[(3, Some(3)), (2, Some(2)), (1, Some(1))]),
            ),
            (name("b"), history(&[(7, Some(2))])),
        ];
        let done = of(1, &names, &[3, 2, 1, 9]);
        assert_eq!(done.generations, [(name("a"), vec![2, 1])]);
        assert_eq!(done.images, [id(1), id(9)], "b names 2");
        assert_eq!(done.doubts, Vec::<String>::new());
        assert_eq!(of(3, &names, &[1, 2, 3]), Plan::default());
        assert_eq!(of(usize::MAX, &names, &[1, 2, 3]), Plan::default());
        assert_eq!(of(1, &[], &[1]).images, [id(1)]);
    }

    #[test]
    fn what_cannot_be_read_may_name_any_image() {
        let names = [(
            name("a"),
            history(&[(4, None), (3, Some(3)), (2, Some(2)), (1, None)]),
        )];
        let done = of(1, &names, &[1, 2, 3]);
        assert_eq!(done.generations, [(name("a"), vec![2, 1])]);
        assert_eq!(
            (done.images, done.doubts),
            (vec![], vec!["4.json is damaged".to_owned()])
        );
        let names = [(name("a"), history(&[(3, Some(3)), (2, None), (1, Some(1))]))];
        assert_eq!(of(1, &names, &[1, 2, 3]).images, [id(1), id(2)]);
        assert_eq!(of(2, &names, &[1, 2, 3]).generations, []);
    }

    proptest! {
        #[test]
        fn what_a_name_stands_for_is_never_removed(
            rows in proptest::collection::vec(proptest::collection::vec(proptest::option::weighted(0.9, 0_u8..8), 1..12), 0..5),
            keep in 1_usize..6,
        ) {
            let names: Vec<_> = rows.iter().enumerate().map(|(i, rows)| {
                let numbered: Vec<_> = (1_u64..).zip(rows.iter().copied()).collect();
                (name(&format!("n{i}")), history(&numbered.into_iter().rev().collect::<Vec<_>>()))
            }).collect();
            let done = of(keep, &names, &[0, 1, 2, 3, 4, 5, 6, 7]);
            for (name, history) in &names {
                let removed = done.generations.iter().find(|(of, _)| of == name);
                let removed: &[u64] = removed.map_or(&[], |(_, numbers)| numbers);
                prop_assert!(!removed.contains(&history[0].number), "the current one");
                let stays = || history.iter().filter(|past| !removed.contains(&past.number));
                for past in stays() {
                    match &past.found {
                        Ok(generation) => prop_assert!(!done.images.contains(&generation.image)),
                        Err(_) => prop_assert!(done.images.is_empty()),
                    }
                }
                let sound = |past: &&Past| past.found.is_ok();
                let all = history.iter().filter(sound).count();
                prop_assert_eq!(stays().filter(sound).count(), all.min(keep));
            }
        }
    }
}
