//! Which archive a worker was given, and what that was made of: while all of that is the same, it need not be made again.
//! A value.

use std::collections::HashMap;

use ramboot_wire::{FilesId, Worker};

use crate::boot::overlays::read::Stamp;
use crate::config::worker;

/// More boots are not under way at a time; each is some 500 bytes.
const MAX: usize = 4096;

/// All that an archive depends on beside its worker, and the secret, which stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Basis {
    pub(super) rule: Option<worker::Worker>,
    /// The template of host names.
    pub(super) hostname: String,
    /// As the folders lie there: the common one, and those of this worker.
    pub(super) overlays: Vec<(String, Option<Stamp>)>,
}

impl Basis {
    /// Whether any change of it from now on would make another one.
    pub(super) fn is_settled(&self, now: i64) -> bool {
        let mut stamps = self.overlays.iter().map(|(_, stamp)| stamp);
        stamps.all(|stamp| stamp.is_some_and(|stamp| stamp.is_settled(now)))
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) hostname: Option<String>,
    pub(super) id: FilesId,
}

/// Workers that were given something.
#[derive(Debug, Default)]
pub(super) struct Made(HashMap<Worker, (Basis, Outcome)>);

impl Made {
    /// What `worker` was given, if that would be made of the same.
    pub(super) fn get(&self, worker: &Worker, basis: &Basis) -> Option<Outcome> {
        let (of, outcome) = self.0.get(worker)?;
        (of == basis).then(|| outcome.clone())
    }

    pub(super) fn put(&mut self, worker: &Worker, basis: Basis, outcome: Outcome) {
        if self.0.len() >= MAX && !self.0.contains_key(worker) {
            // Whoever comes again has it made once more.
            self.0.clear();
        }
        self.0.insert(worker.clone(), (basis, outcome));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_of_something_else_is_nothing_and_all_is_bounded() {
        let worker = |number: usize| {
            let text = format!(
                "gpu~10.0.0.1:8067~52-54-00-00-{:02x}-{:02x}~~x86_64~",
                number >> 8,
                number & 0xff
            );
            text.parse::<Worker>().expect("a worker")
        };
        let basis = |hostname: &str| Basis {
            rule: None,
            hostname: hostname.to_owned(),
            overlays: Vec::new(),
        };
        let outcome = Outcome {
            hostname: None,
            id: FilesId([7; 32]),
        };
        let mut made = Made::default();
        made.put(&worker(0), basis("a"), outcome.clone());
        assert_eq!(made.get(&worker(0), &basis("a")), Some(outcome.clone()));
        assert_eq!(made.get(&worker(0), &basis("b")), None);
        assert_eq!(made.get(&worker(1), &basis("a")), None);
        for number in 0..2 * MAX {
            made.put(&worker(number), basis("a"), outcome.clone());
            assert!(made.0.len() <= MAX);
        }
    }
}
