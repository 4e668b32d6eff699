//! Which board has which serial number, as they said of themselves in DHCP: TFTP's paths tell the serial number only.
//!
//! Anybody can claim anything there, so it is bounded, and only what is asked under a serial number that somebody named is
//! decided by it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::id::{Identity, Revision};

/// A network of that many boards has more than one manager.
const MAX_BOARDS: usize = 4096;

/// Boards that asked, whoever was answered. Filled by DHCP, read by TFTP.
#[derive(Debug, Default)]
pub struct Seen(Mutex<Boards>);

#[derive(Debug, Default)]
struct Boards {
    /// What each said last, and when: a count, not a time.
    all: BTreeMap<u32, (Revision, u64)>,
    count: u64,
}

impl Seen {
    /// Remembers what a board said, unless that is not enough to tell which one it is.
    pub fn note(&self, identity: &Identity) {
        let (Some(serial), Some(revision)) = (identity.serial, identity.revision) else {
            return;
        };
        let mut boards = self.boards();
        boards.count += 1;
        let now = boards.count;
        if !boards.all.contains_key(&serial)
            && boards.all.len() >= MAX_BOARDS
            && let Some((&oldest, _)) = boards.all.iter().min_by_key(|(_, (_, when))| *when)
        {
            boards.all.remove(&oldest);
        }
        boards.all.insert(serial, (revision, now));
    }

    /// What the board with this serial number said it is.
    #[must_use]
    pub fn revision(&self, serial: u32) -> Option<Revision> {
        self.boards()
            .all
            .get(&serial)
            .map(|(revision, _)| *revision)
    }

    /// Whole after every change.
    fn boards(&self) -> MutexGuard<'_, Boards> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pi::id::Stage;

    #[test]
    fn who_was_not_heard_for_longest_is_forgotten() {
        let said = |serial, revision: Option<u32>| Identity {
            stage: Stage::Eeprom,
            serial,
            revision: revision.map(Revision),
        };
        let seen = Seen::default();
        seen.note(&said(Some(1), Some(0xa0_3111)));
        seen.note(&said(Some(2), None));
        seen.note(&said(None, Some(0xa0_3111)));
        assert_eq!(seen.revision(1), Some(Revision(0xa0_3111)));
        assert_eq!((seen.revision(2), seen.revision(0)), (None, None));
        for serial in 3..=4097 {
            seen.note(&said(Some(serial), Some(0xd0_4170)));
        }
        seen.note(&said(Some(1), Some(0xd0_4170)));
        seen.note(&said(Some(5000), Some(0xd0_4170)));
        assert_eq!(seen.revision(1), Some(Revision(0xd0_4170)));
        assert_eq!(
            (seen.revision(3), seen.boards().all.len()),
            (None, MAX_BOARDS)
        );
    }
}
