//! What a boot reads of an image: recorded by a worker that streams it, merged by the manager, a hint for the next worker.
//!
//! A hint can never break a boot: chunks are proven by their digests whatever order they come in, and all of them come.

use serde::{Deserialize, Serialize};

use crate::image::{ImageId, chunk_count};
use crate::mac::Mac;

/// Chunks that a worker tells of at most: 4 GiB of first touches.
pub const MAX_TOUCHED: usize = 16_384;

/// A recording's JSON is never longer; the manager refuses a longer body unread.
pub const MAX_RECORDING_BYTES: usize = 512 * 1024;

/// A recording ends when the worker is up, at the latest after this time.
pub const RECORD_MS: u32 = 60_000;

/// What one worker read of an image while it booted, as JSON in a POST to the image's profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    /// The NIC the worker booted by.
    pub mac: Mac,
    /// What it read.
    pub image: ImageId,
    /// When its network was as it stays, in milliseconds since the mount: what was read before then must be there before the
    /// image's init starts. `None` if that is not known: then everything in it must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online_ms: Option<u32>,
    /// When its init said that it is up. `None` if it did not in [`RECORD_MS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_ms: Option<u32>,
    /// Each chunk that was read, once, by time: its number and the milliseconds since the mount.
    pub touched: Vec<(u64, u32)>,
}

/// Why a recording is not of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRecording {
    /// Nothing was read, or too much.
    #[error("{0} chunks, 1 to {MAX_TOUCHED} are possible")]
    Count(usize),
    /// The image has no such chunk.
    #[error("chunk {index}: the image has {count}")]
    NoSuchChunk {
        /// 0-based.
        index: u64,
        /// Chunks in the image.
        count: u64,
    },
    /// A chunk has one first time.
    #[error("chunk {0} stands twice")]
    Twice(u64),
    /// Later than a recording ends, or earlier than the one before it.
    #[error("chunk {index} after {ms} ms: not in order, or later than {RECORD_MS} ms")]
    Time {
        /// 0-based.
        index: u64,
        /// What stands there.
        ms: u32,
    },
}

impl Recording {
    /// Checks what can be checked by itself against an image of `size` bytes.
    ///
    /// # Errors
    /// See [`BadRecording`].
    pub fn check(&self, size: u64) -> Result<(), BadRecording> {
        let count = chunk_count(size);
        if self.touched.is_empty() || self.touched.len() > MAX_TOUCHED {
            return Err(BadRecording::Count(self.touched.len()));
        }
        let mut seen = std::collections::HashSet::with_capacity(self.touched.len());
        let mut before = 0;
        for &(index, ms) in &self.touched {
            if index >= count {
                return Err(BadRecording::NoSuchChunk { index, count });
            }
            if !seen.insert(index) {
                return Err(BadRecording::Twice(index));
            }
            if ms < before || ms > RECORD_MS {
                return Err(BadRecording::Time { index, ms });
            }
            before = ms;
        }
        Ok(())
    }
}

/// How one chunk is wanted: a byte of the profile that a worker is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// Read before the network was as it stays: there before the image's init starts. 0 is the first of all.
    Hot(u8),
    /// Read later in the boot; likewise in order.
    Warm(u8),
    /// Not read by any boot that was recorded.
    Cold,
}

/// Places in the order of first touches that a byte can tell apart.
pub const PLACES: u8 = 127;

impl Want {
    const fn byte(self) -> u8 {
        match self {
            Self::Hot(place) => 0x80 | (min(place, PLACES - 1) + 1),
            Self::Warm(place) => min(place, PLACES - 1) + 1,
            Self::Cold => 0,
        }
    }

    const fn of(byte: u8) -> Self {
        match (byte & 0x80, byte & 0x7f) {
            (_, 0) => Self::Cold,
            (0, place) => Self::Warm(place - 1),
            (_, place) => Self::Hot(place - 1),
        }
    }
}

const fn min(a: u8, b: u8) -> u8 {
    if a < b { a } else { b }
}

/// An image's profile as a worker is served it: one byte for each chunk, so its length is known before it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile(Vec<Want>);

impl Profile {
    /// Bytes that the profile of an image of `size` bytes has.
    #[must_use]
    pub const fn encoded_len(size: u64) -> u64 {
        chunk_count(size)
    }

    /// One for each chunk, in the image's order.
    #[must_use]
    pub const fn new(wants: Vec<Want>) -> Self {
        Self(wants)
    }

    /// Reads one. Any bytes of the right number are a profile.
    #[must_use]
    pub fn parse(size: u64, bytes: &[u8]) -> Option<Self> {
        let fits = bytes.len() as u64 == Self::encoded_len(size);
        fits.then(|| Self(bytes.iter().map(|byte| Want::of(*byte)).collect()))
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.0.iter().map(|want| want.byte()).collect()
    }

    /// One for each chunk.
    #[must_use]
    pub fn wants(&self) -> &[Want] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::CHUNK_BYTES;
    use proptest::prelude::*;

    fn recording(touched: &[(u64, u32)]) -> Recording {
        Recording {
            mac: Mac([2; 6]),
            image: ImageId([7; 32]),
            online_ms: Some(900),
            ready_ms: None,
            touched: touched.to_vec(),
        }
    }

    #[test]
    fn the_text_is_an_interface() {
        let want = format!(
            r#"{{"mac":"02:02:02:02:02:02","image":"{}","online_ms":900,"touched":[[0,0],[7,12]]}}"#,
            ImageId([7; 32])
        );
        let recording = recording(&[(0, 0), (7, 12)]);
        assert_eq!(serde_json::to_string(&recording).expect("json"), want);
        assert_eq!(
            serde_json::from_str::<Recording>(&want).expect("parses"),
            recording
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let size = 8 * CHUNK_BYTES;
        assert_eq!(recording(&[(0, 0), (7, 12)]).check(size), Ok(()));
        for (touched, want) in [
            (&[][..], BadRecording::Count(0)),
            (&[(8, 0)], BadRecording::NoSuchChunk { index: 8, count: 8 }),
            (&[(3, 0), (3, 1)], BadRecording::Twice(3)),
            (&[(3, 2), (4, 1)], BadRecording::Time { index: 4, ms: 1 }),
            (
                &[(3, 60_001)],
                BadRecording::Time {
                    index: 3,
                    ms: 60_001,
                },
            ),
        ] {
            assert_eq!(recording(touched).check(size), Err(want));
        }
    }

    #[test]
    fn the_longest_recording_fits() {
        let longest = u64::MAX;
        let text = serde_json::to_string(&[(longest, RECORD_MS)]).expect("json");
        // Chunk numbers have six digits at most: an image has at most 64 GiB.
        let entry = text.len() - 2 + 1 - (longest.to_string().len() - 6);
        assert!(entry * MAX_TOUCHED + 300 <= MAX_RECORDING_BYTES, "{entry}");
    }

    #[test]
    fn wants_are_in_the_order_they_are_wanted() {
        let mut wants = vec![
            Want::Cold,
            Want::Warm(3),
            Want::Hot(9),
            Want::Warm(0),
            Want::Hot(0),
        ];
        wants.sort();
        assert_eq!(
            wants,
            [
                Want::Hot(0),
                Want::Hot(9),
                Want::Warm(0),
                Want::Warm(3),
                Want::Cold
            ]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_profile_and_come_back(bytes in proptest::collection::vec(any::<u8>(), 1..50)) {
            let size = bytes.len() as u64 * CHUNK_BYTES;
            let profile = Profile::parse(size, &bytes).expect("fits");
            prop_assert_eq!(Profile::parse(size, &profile.encode()), Some(profile));
            prop_assert_eq!(Profile::parse(size + 1, &bytes), None);
        }
    }
}
