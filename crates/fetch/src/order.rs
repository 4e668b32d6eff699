//! In which order a fetch wants the chunks of an image, and which of them must be there before the image starts. Pure.
//!
//! In full mode it is the order of the file. A worker that streams wants first what its gate waits for, then what boots read
//! (the manager's profile says so), then the rest. Whatever a profile says, every chunk is wanted once: it is a hint.

use std::ops::Range;

use ramboot_wire::profile::{Profile, Want};
use ramboot_wire::{CHUNK_BYTES, Gate};
use serde::{Deserialize, Serialize};

/// How urgent a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// The gate waits for it.
    Gate,
    /// Boots read it later.
    Warm,
    /// No boot that was recorded read it.
    Rest,
}

/// What there is to fetch, and in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Each chunk that is wanted, once; the first is wanted first.
    queue: Vec<u64>,
    /// Of each chunk of the image.
    tiers: Vec<Tier>,
    /// Neighbours of one tier that one request asks for at most.
    max_run: u64,
    /// The manager should know what is urgent (RFC 9218).
    ranked: bool,
}

impl Order {
    /// All of an image of `count` chunks, as in the file.
    #[must_use]
    pub fn file(count: u64) -> Self {
        Self {
            queue: (0..count).collect(),
            tiers: vec![Tier::Gate; len(count)],
            max_run: MAX_RUN,
            ranked: false,
        }
    }

    /// For a worker that streams: what `gate` waits for comes first, `profile` orders the rest. `tables`: the chunks that the
    /// file system's tables lie in.
    #[must_use]
    pub fn stream(count: u64, gate: Waits, profile: Option<&Profile>, tables: &Range<u64>) -> Self {
        let last = count.saturating_sub(1);
        let want = |index: u64| {
            let wants = profile.map_or(&[][..], Profile::wants);
            let found = usize::try_from(index).ok().and_then(|i| wants.get(i));
            found.copied().unwrap_or(Want::Cold)
        };
        let is_table = |index: u64| index == 0 || index == last || tables.contains(&index);
        let tier = |index: u64| {
            let in_gate = match gate {
                Waits::All => true,
                Waits::Hot => index == 0 || index == last || matches!(want(index), Want::Hot(_)),
                Waits::Tables => is_table(index),
                Waits::Nothing => false,
            };
            match want(index) {
                _ if in_gate => Tier::Gate,
                Want::Hot(_) | Want::Warm(_) => Tier::Warm,
                Want::Cold if profile.is_none() && is_table(index) => Tier::Warm,
                Want::Cold => Tier::Rest,
            }
        };
        let tiers: Vec<Tier> = (0..count).map(tier).collect();
        let mut keyed: Vec<_> = (0..count)
            .zip(&tiers)
            .map(|(index, tier)| match tier {
                // All of it must come, so neighbours come together.
                Tier::Gate => (*tier, !is_table(index), Want::Cold, index),
                Tier::Warm | Tier::Rest => (*tier, false, want(index), index),
            })
            .collect();
        keyed.sort_unstable();
        Self {
            queue: keyed.into_iter().map(|(.., index)| index).collect(),
            tiers,
            max_run: match gate {
                Waits::All => MAX_RUN,
                _ => SHORT_RUN,
            },
            ranked: gate != Waits::All,
        }
    }

    /// Only these of it.
    #[must_use]
    pub fn only(mut self, keep: impl Fn(u64) -> bool) -> Self {
        self.queue.retain(|index| keep(*index));
        self
    }

    /// Only what the gate waits for.
    #[must_use]
    pub fn gate(self) -> Self {
        let tiers = self.tiers.clone();
        self.only(|index| tier(&tiers, index) == Some(Tier::Gate))
    }

    /// What is wanted, in this order.
    #[must_use]
    pub fn queue(&self) -> &[u64] {
        &self.queue
    }

    /// Chunks of the image.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.tiers.len() as u64
    }

    /// Neighbours that one request asks for at most.
    #[must_use]
    pub const fn max_run(&self) -> u64 {
        self.max_run
    }

    /// How urgent a chunk is; `None` if the image has no such chunk.
    #[must_use]
    pub fn tier(&self, index: u64) -> Option<Tier> {
        tier(&self.tiers, index)
    }

    /// The urgency (RFC 9218 §4.1) to ask for a chunk with.
    #[must_use]
    pub fn urgency(&self, index: u64, is_demanded: bool) -> Option<u8> {
        let is_urgent = is_demanded || self.tier(index) == Some(Tier::Gate);
        self.ranked
            .then_some(if is_urgent { URGENT } else { BACKGROUND })
    }
}

fn tier(tiers: &[Tier], index: u64) -> Option<Tier> {
    tiers.get(usize::try_from(index).ok()?).copied()
}

/// What must be there before the image's init starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Waits {
    /// Everything.
    All,
    /// What the profile calls hot.
    Hot,
    /// The file system's tables.
    Tables,
    /// Nothing.
    Nothing,
}

impl Waits {
    /// What was ordered, and what is known.
    #[must_use]
    pub const fn of(gate: Gate, has_profile: bool) -> Self {
        match (gate, has_profile) {
            (Gate::Hot, true) => Self::Hot,
            (Gate::Hot, false) => Self::All,
            (Gate::Tables, _) => Self::Tables,
            (Gate::None, _) => Self::Nothing,
        }
    }

    /// As a stage line says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Hot => "hot",
            Self::Tables => "tables",
            Self::Nothing => "none",
        }
    }
}

/// The chunks that hold the tables of the squashfs whose first bytes are `head`: from the inode table to the end. Empty if
/// that cannot be said: then nothing is known to be urgent.
///
/// The superblock is 96 bytes, little-endian: magic at 0, `bytes_used` at 40, `inode_table_start` at 64
/// (linux/fs/squashfs/squashfs_fs.h).
#[must_use]
pub fn tables(head: &[u8], size: u64) -> Range<u64> {
    let word = |at: usize| {
        let bytes = head.get(at..at + 8)?.try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    let found = || {
        let (used, inodes) = (word(40)?, word(64)?);
        (head.starts_with(b"hsqs") && inodes < used && used <= size)
            .then(|| inodes / CHUNK_BYTES..used.div_ceil(CHUNK_BYTES))
    };
    found().unwrap_or(0..0)
}

fn len(count: u64) -> usize {
    usize::try_from(count).unwrap_or(0)
}

/// 16 × 256 KiB = 4 MiB a request: long enough that the pause between two requests does not show at 10 Gb/s, short
/// enough that four streams share a small image evenly.
pub const MAX_RUN: u64 = 16;
/// Of a worker that runs: what a program waits for comes behind at most one such run on each connection.
const SHORT_RUN: u64 = 4;
/// What a worker cannot start or go on without. RFC 9218's default is 3; 0 is more urgent.
pub const URGENT: u8 = 1;
/// What is only fetched to be there.
pub const BACKGROUND: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_gate_is_first_and_the_rest_is_as_boots_read_it() {
        let profile = Profile::new(vec![
            Want::Cold,
            Want::Warm(9),
            Want::Hot(5),
            Want::Warm(2),
            Want::Hot(0),
            Want::Cold,
            Want::Cold,
        ]);
        for (gate, want, in_gate) in [
            (Waits::Hot, [0, 6, 2, 4, 3, 1, 5], 4),
            (Waits::Tables, [0, 5, 6, 4, 2, 3, 1], 3),
            (Waits::Nothing, [4, 2, 3, 1, 0, 5, 6], 0),
            (Waits::All, [0, 5, 6, 1, 2, 3, 4], 7),
        ] {
            let order = Order::stream(7, gate, Some(&profile), &(5..7));
            assert_eq!(order.queue(), want, "{gate:?}");
            assert_eq!(order.gate().queue(), &want[..in_gate], "{gate:?}");
        }
    }

    #[test]
    fn without_a_profile_tables_come_first() {
        let order = Order::stream(6, Waits::of(Gate::Hot, false), None, &(4..6));
        assert_eq!(order.queue(), [0, 4, 5, 1, 2, 3]);
        assert_eq!(order.clone().gate(), order);
        assert_eq!(order.urgency(3, false), None, "it is an ordinary fetch");
        let order = Order::stream(6, Waits::of(Gate::None, false), None, &(4..6));
        assert_eq!(order.queue(), [0, 4, 5, 1, 2, 3]);
        assert_eq!(order.urgency(3, false), Some(BACKGROUND));
        assert_eq!(order.urgency(3, true), Some(URGENT));
    }

    #[test]
    fn where_the_tables_are() {
        let mut head = vec![0; 96];
        head[..4].copy_from_slice(b"hsqs");
        head[40..48].copy_from_slice(&(5 * CHUNK_BYTES + 1).to_le_bytes());
        head[64..72].copy_from_slice(&(4 * CHUNK_BYTES - 1).to_le_bytes());
        let size = 6 * CHUNK_BYTES;
        assert_eq!(tables(&head, size), 3..6);
        assert_eq!(tables(&head, 5 * CHUNK_BYTES), 0..0, "beyond the end");
        assert_eq!(tables(&head[..71], size), 0..0, "cut off");
        head[0] = b'x';
        assert_eq!(tables(&head, size), 0..0, "another file system");
    }

    proptest! {
        /// A profile is a hint: whatever it says, every chunk is wanted once.
        #[test]
        fn every_chunk_is_wanted_once(bytes in prop::collection::vec(any::<u8>(), 1..80), gate in 0_usize..4, at in 0_u64..90) {
            let count = bytes.len() as u64;
            let gate = [Waits::All, Waits::Hot, Waits::Tables, Waits::Nothing][gate];
            let profile = Profile::parse(count * CHUNK_BYTES, &bytes);
            let order = Order::stream(count, gate, profile.as_ref(), &(at..at + 3));
            let mut sorted = order.queue().to_vec();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..count).collect::<Vec<_>>());
        }
    }
}
