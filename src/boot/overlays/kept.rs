//! Archives that were handed out, kept for the boots that are about to fetch them: an overlay that is edited between a boot
//! script and the fetch does not stop that boot. A value; bounded in bytes, the longest unasked goes first.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use ramboot_wire::FilesId;

/// Two of the largest, or ten thousand that hold an identity and no more.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// What an archive costs beside its bytes, about.
const OVERHEAD: usize = 256;

/// Archives by digest.
#[derive(Debug, Default)]
pub struct Kept {
    all: HashMap<FilesId, (u64, Bytes)>,
    /// By when they were asked for last.
    turns: BTreeMap<u64, FilesId>,
    turn: u64,
    bytes: usize,
}

impl Kept {
    /// Keeps an archive, and drops the longest unasked ones where there is no room.
    pub fn put(&mut self, id: FilesId, archive: Bytes) {
        if self.get(id).is_some() {
            return;
        }
        self.bytes += archive.len() + OVERHEAD;
        self.all.insert(id, (self.turn, archive));
        self.turns.insert(self.turn, id);
        self.turn += 1;
        while self.bytes > MAX_BYTES
            && let Some((_, oldest)) = self.turns.pop_first()
        {
            if let Some((_, gone)) = self.all.remove(&oldest) {
                self.bytes -= gone.len() + OVERHEAD;
            }
        }
    }

    /// An archive that is still here.
    pub fn get(&mut self, id: FilesId) -> Option<Bytes> {
        let (turn, archive) = self.all.get_mut(&id)?;
        self.turns.remove(turn);
        *turn = self.turn;
        self.turns.insert(self.turn, id);
        self.turn += 1;
        Some(archive.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(number: u8) -> FilesId {
        FilesId([number; 32])
    }

    #[test]
    fn the_longest_unasked_goes_first() {
        let large = Bytes::from(vec![0; MAX_BYTES / 3]);
        let mut kept = Kept::default();
        kept.put(id(1), large.clone());
        kept.put(id(2), large.clone());
        assert!(kept.get(id(1)).is_some());
        kept.put(id(3), large);
        let here = [1, 2, 3].map(|number| kept.get(id(number)).is_some());
        assert_eq!(here, [true, false, true]);
    }

    proptest! {
        #[test]
        fn bounded_and_consistent(steps in prop::collection::vec((0_u8..12, 0_usize..MAX_BYTES / 2, any::<bool>()), 0..60)) {
            let mut kept = Kept::default();
            let zeros = Bytes::from(vec![0; MAX_BYTES / 2]);
            for (number, len, put) in steps {
                if put {
                    kept.put(id(number), zeros.slice(..len));
                    prop_assert!(kept.get(id(number)).is_some());
                } else {
                    let _ = kept.get(id(number));
                }
                prop_assert!(kept.bytes <= MAX_BYTES);
                prop_assert_eq!(kept.all.len(), kept.turns.len());
                let sum: usize = kept.all.values().map(|(_, archive)| archive.len() + OVERHEAD).sum();
                prop_assert_eq!(sum, kept.bytes);
            }
        }
    }
}
