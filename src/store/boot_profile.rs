//! What boots of an image read of it: recordings that workers sent, and what was carried over from another image.
//!
//! Pure. [`Known`] is what is kept of an image; it takes a [`Recording`] or says in a sentence why not, and becomes the
//! [`Profile`] that workers are served: a chunk is hot if any boot that is kept read it before its network was as it stays. All of
//! it is a hint, and anybody on the network may have made it up, so it is bounded, and never decides what a worker ends up with.

pub mod picture;

use std::collections::HashMap;
use std::net::Ipv4Addr;

use ramboot_wire::Mac;
use ramboot_wire::image::{CHUNK_BYTES, ImageId, chunk_count};
use ramboot_wire::profile::{BadRecording, PLACES, Profile, Recording, Want};
use serde::{Deserialize, Serialize};

/// All that is kept of how one image boots. Fields this `ramboot` does not know are passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The oldest first, at most [`MAX_KEPT`], one of each machine and of each address.
    #[serde(default)]
    pub recordings: Vec<Kept>,
    /// What `publish --profile` found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<Carried>,
}

/// A recording, and when it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Seconds since 1970.
    pub at: u64,
    /// The address it came from; not known of those that an older `ramboot` kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Ipv4Addr>,
    /// As the worker sent it.
    pub recording: Recording,
}

/// What boots of another image say of this one, by the files that are the same in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The other image.
    pub from: ImageId,
    /// Seconds since 1970.
    pub at: u64,
    /// Files that boots of the other image read, and that are the same here.
    pub files: u64,
    /// What was read of them, in bytes, unpacked.
    pub bytes: u64,
    /// Files that boots of the other image read, and that are others here, or not here at all.
    pub lost: u64,
    /// Chunks of this image, the first to be read first.
    pub hot: Vec<u64>,
    /// Likewise, read later in the boot.
    pub warm: Vec<u64>,
}

/// Why a recording is not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It contradicts itself, or the image.
    #[error("{0}")]
    Bad(#[from] BadRecording),
    /// It was sent to another image's path.
    #[error("it is of image {0}, and was sent to {1}")]
    OtherImage(ImageId, ImageId),
    /// No boot reads so much.
    #[error(
        "{read} of {all} chunks were read: a boot reads at most {MAX_PERCENT} % of an image of this size"
    )]
    TooMuch {
        /// Chunks.
        read: u64,
        /// Of the image.
        all: u64,
    },
    /// No boot reads so little.
    #[error("{read} of {all} chunks were read: a boot reads at least {MIN_CHUNKS}")]
    TooLittle {
        /// Chunks.
        read: u64,
        /// Of the image.
        all: u64,
    },
    /// In a file: nobody keeps so many.
    #[error("{0} recordings; {MAX_KEPT} are kept at most")]
    TooMany(usize),
    /// It sent one just now.
    #[error("a recording of {0} was taken less than {MIN_SECONDS} s ago")]
    TooSoon(Mac),
}

impl Known {
    /// Whether nothing is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.recordings.is_empty() && self.carried.is_none()
    }

    /// Takes a recording of `image`, which has `size` bytes, that came from an address at `now` (seconds since 1970): instead of
    /// the last one of that machine or that address, and of the oldest where there are too many.
    ///
    /// # Errors
    /// It cannot be, or is not believed.
    pub fn add(
        &mut self,
        from: Ipv4Addr,
        recording: Recording,
        image: ImageId,
        size: u64,
        now: u64,
    ) -> Result<(), Refused> {
        plausible(&recording, image, size)?;
        let mac = recording.mac;
        let is_its = |kept: &Kept| kept.recording.mac == mac || kept.from == Some(from);
        // A clock that was set back makes nobody wait.
        let is_new = |kept: &Kept| {
            now.checked_sub(kept.at)
                .is_some_and(|age| age < MIN_SECONDS)
        };
        let mut its = self.recordings.iter().filter(|kept| is_its(kept));
        if let Some(kept) = its.find(|kept| is_new(kept)) {
            return Err(Refused::TooSoon(kept.recording.mac));
        }
        self.recordings.retain(|kept| !is_its(kept));
        self.recordings.push(Kept {
            at: now,
            from: Some(from),
            recording,
        });
        let over = self.recordings.len().saturating_sub(MAX_KEPT);
        self.recordings.drain(..over);
        Ok(())
    }

    /// Checks what was read back from a file.
    ///
    /// # Errors
    /// It is not what was written there.
    pub fn check(&self, image: ImageId, size: u64) -> Result<(), Refused> {
        if self.recordings.len() > MAX_KEPT {
            return Err(Refused::TooMany(self.recordings.len()));
        }
        for kept in &self.recordings {
            plausible(&kept.recording, image, size)?;
        }
        let count = chunk_count(size);
        let carried = self
            .carried
            .iter()
            .flat_map(|c| c.hot.iter().chain(&c.warm));
        match carried.copied().find(|&index| index >= count) {
            Some(index) => Err(BadRecording::NoSuchChunk { index, count }.into()),
            None => Ok(()),
        }
    }

    /// How each chunk is wanted.
    #[must_use]
    pub fn wants(&self, size: u64) -> Profile {
        let mut touched = Touched::default();
        for Kept { recording, .. } in &self.recordings {
            let until = online(recording);
            for (rank, &(index, ms)) in recording.touched.iter().enumerate() {
                touched.add(index, ms <= until, rank);
            }
        }
        if let Some(carried) = &self.carried {
            for (rank, &index) in carried.hot.iter().enumerate() {
                touched.add(index, true, rank);
            }
            for (rank, &index) in carried.warm.iter().enumerate() {
                touched.add(index, false, carried.hot.len() + rank);
            }
        }
        touched.profile(size)
    }
}

/// Until when what was read counts as hot.
fn online(recording: &Recording) -> u32 {
    let until = recording.online_ms.or(recording.ready_ms);
    until.unwrap_or(u32::MAX)
}

fn plausible(recording: &Recording, image: ImageId, size: u64) -> Result<(), Refused> {
    if recording.image != image {
        return Err(Refused::OtherImage(recording.image, image));
    }
    recording.check(size)?;
    let (read, all) = (recording.touched.len() as u64, chunk_count(size));
    if size <= SMALL_BYTES {
        return Ok(());
    }
    if read * 100 > all * MAX_PERCENT {
        return Err(Refused::TooMuch { read, all });
    }
    if read < MIN_CHUNKS {
        return Err(Refused::TooLittle { read, all });
    }
    Ok(())
}

/// Chunks by number: whether hot, and the earliest place at which any boot read it.
#[derive(Default)]
struct Touched(HashMap<u64, (bool, usize)>);

impl Touched {
    fn add(&mut self, index: u64, hot: bool, rank: usize) {
        let known = self.0.entry(index).or_insert((hot, rank));
        *known = (known.0 || hot, known.1.min(rank));
    }

    fn profile(&self, size: u64) -> Profile {
        let count = usize::try_from(chunk_count(size)).unwrap_or(usize::MAX);
        let mut wants = vec![Want::Cold; count];
        for hot in [true, false] {
            let of = self.0.iter().filter(|(_, (is_hot, _))| *is_hot == hot);
            let mut order: Vec<(usize, u64)> = of.map(|(&i, &(_, rank))| (rank, i)).collect();
            order.sort_unstable();
            for (number, (_, index)) in order.iter().enumerate() {
                let place = place(number, order.len());
                let slot = usize::try_from(*index).ok().and_then(|i| wants.get_mut(i));
                if let Some(slot) = slot {
                    *slot = if hot {
                        Want::Hot(place)
                    } else {
                        Want::Warm(place)
                    };
                }
            }
        }
        Profile::new(wants)
    }
}

/// Spreads so many over the places that there are.
fn place(number: usize, of: usize) -> u8 {
    let place = number * usize::from(PLACES) / of.max(1);
    u8::try_from(place).unwrap_or(PLACES - 1)
}

/// Boots of several machines differ; more than a few tell nothing new.
pub const MAX_KEPT: usize = 8;
/// Of an image of more than [`SMALL_BYTES`]: a boot that reads more is none, or streaming it is of no use.
const MAX_PERCENT: u64 = 60;
/// Likewise: init alone, with the libraries it needs, has more.
const MIN_CHUNKS: u64 = 4;
/// A small image is mostly what boots.
const SMALL_BYTES: u64 = 256 * CHUNK_BYTES;
/// Between two recordings of a machine: no boot is shorter.
const MIN_SECONDS: u64 = 60;

/// A part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Of 256 KiB; the image's last one may be shorter.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of the image, rounded up.
    pub percent: u64,
}

impl Share {
    /// The chunks of an image of `size` bytes that are wanted as `of` says.
    #[must_use]
    pub fn wanted(profile: &Profile, size: u64, of: fn(&Want) -> bool) -> Self {
        let wants = profile.wants().iter().zip(0_u64..);
        Self::of(
            wants.filter(|(want, _)| of(want)).map(|(_, index)| index),
            size,
        )
    }

    /// These chunks of an image of `size` bytes.
    #[must_use]
    pub fn of(chunks: impl Iterator<Item = u64>, size: u64) -> Self {
        let (mut count, mut bytes) = (0, 0);
        for index in chunks {
            count += 1;
            bytes += size.saturating_sub(index * CHUNK_BYTES).min(CHUNK_BYTES);
        }
        let percent = (bytes * 100).div_ceil(size.max(1));
        Self {
            chunks: count,
            bytes,
            percent,
        }
    }
}

/// That no boot of an image is known, and what to do about it.
pub(crate) fn nothing_known(name: &str, image: ImageId) -> String {
    format!(
        "nothing is known yet of how {name} (image {}) boots: boot one worker of it with mode = \"stream\", in [boot] or in a \
         [[worker]] rule; what it reads comes in when it is up, or a minute after the start",
        image.short()
    )
}

#[cfg(test)]
pub(crate) mod tests;
