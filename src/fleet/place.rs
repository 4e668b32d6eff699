//! Where a machine is, and by whose word: what the machine did itself outweighs what a URL says of it. Pure.

use std::net::Ipv4Addr;
use std::time::Duration;

/// How it is known that a machine has an address; the later ones outweigh the earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// A URL with its hardware address was fetched from there, which anybody can do.
    Url,
    /// A report or a heartbeat came from there.
    Said,
    /// DHCP gave it, or the kernel's neighbour table (ARP) has it.
    Seen,
}

/// An address that a machine is believed to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub(super) address: Ipv4Addr,
    pub(super) word: Word,
    /// When it was last heard of there.
    pub(super) at: Duration,
}

impl Place {
    /// Whether a machine that was last known to be here may be at `address` now. DHCP and ARP are always right; others
    /// may move it if their word weighs more, or nothing has come from here for two minutes.
    #[must_use]
    pub fn allows(&self, address: Ipv4Addr, word: Word, now: Duration) -> bool {
        let quiet = now.saturating_sub(self.at) > MOVED;
        address == self.address || word == Word::Seen || word > self.word || quiet
    }

    /// Whether the address of a machine that is here may be another machine's, by this word.
    #[must_use]
    pub fn gives_way(&self, address: Ipv4Addr, word: Word, now: Duration) -> bool {
        let quiet = now.saturating_sub(self.at) > MOVED;
        address != self.address || word >= self.word || quiet
    }

    /// The place of a machine that was at `before`, and is at `address`.
    #[must_use]
    pub fn next(before: Option<Self>, address: Ipv4Addr, word: Word, now: Duration) -> Self {
        let known = before.filter(|before| before.address == address);
        Self {
            address,
            word: known.map_or(word, |known| known.word.max(word)),
            at: now,
        }
    }
}

/// After so long a silence a machine may have another address.
const MOVED: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_per_word() {
        use Word::{Said, Seen, Url};
        let [here, there] = [1, 2].map(|last| Ipv4Addr::new(10, 0, 0, last));
        for (known, word, soon) in [
            (Url, Url, false),
            (Url, Said, true),
            (Url, Seen, true),
            (Said, Url, false),
            (Said, Said, false),
            (Said, Seen, true),
            (Seen, Url, false),
            (Seen, Said, false),
            (Seen, Seen, true),
        ] {
            let place = Place::next(None, here, known, Duration::ZERO);
            let at = |seconds| place.allows(there, word, Duration::from_secs(seconds));
            assert_eq!(at(120), soon, "{word:?} against {known:?}");
            assert!(at(121), "after a silence");
            assert!(place.allows(here, word, Duration::ZERO));
            let stays = Place::next(Some(place), here, word, Duration::ZERO);
            assert_eq!(
                stays.word,
                known.max(word),
                "a weak word takes nothing away"
            );
            assert_eq!(
                Place::next(Some(place), there, word, Duration::ZERO).word,
                word
            );
        }
    }
}
