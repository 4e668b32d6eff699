//! An image's name is the BLAKE3 of its bytes, and any 256 KiB of it can be checked alone.
//!
//! The chunk list holds the BLAKE3 chaining value of each chunk, in order. Folded as BLAKE3's tree folds them
//! (left-balanced, BLAKE3 paper §2.1) they give the [`ImageId`], so the list proves itself and needs no signature
//! of its own. BLAKE3, because a Raspberry Pi 4 has no SHA instructions.

use std::fmt;
use std::str::FromStr;

use blake3::hazmat::{self, HasherExt, Mode};
use serde::{Deserialize, Serialize};

/// Bytes in every chunk but the last. A power of two times BLAKE3's 1 KiB, so that each chunk is one subtree.
pub const CHUNK_BYTES: u64 = CHUNK_LEN as u64;

/// [`CHUNK_BYTES`] as a length in memory.
pub const CHUNK_LEN: usize = 256 * 1024;

/// Images above this are refused: the chunk list (8 MiB at this size) must fit beside the image in a worker's RAM.
pub const MAX_IMAGE_BYTES: u64 = 64 * 1024 * 1024 * 1024;

const CV_BYTES: usize = 32;

/// BLAKE3 of a whole image file: what `b3sum image.sqfs` prints.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageId(pub [u8; 32]);

/// The text is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an image id: 64 hexadecimal digits, as b3sum prints")]
pub struct BadImageId(String);

impl ImageId {
    /// The first 12 digits: enough for a person to tell images apart, never used to look one up.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string().chars().take(12).collect()
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from(self.0).to_hex())
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ImageId {
    type Err = BadImageId;

    fn from_str(text: &str) -> Result<Self, BadImageId> {
        let bad = || BadImageId(text.chars().take(80).collect());
        // One spelling only: the id is a path, and caches compare paths by byte.
        if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(bad());
        }
        let hash = blake3::Hash::from_hex(text).map_err(|_| bad())?;
        Ok(Self(*hash.as_bytes()))
    }
}

impl TryFrom<String> for ImageId {
    type Error = BadImageId;

    fn try_from(text: String) -> Result<Self, BadImageId> {
        text.parse()
    }
}

impl From<ImageId> for String {
    fn from(id: ImageId) -> Self {
        id.to_string()
    }
}

/// How many chunks an image of `size` bytes has; an empty image has none.
#[must_use]
pub const fn chunk_count(size: u64) -> u64 {
    size.div_ceil(CHUNK_BYTES)
}

/// The chaining value of chunk `index` (0-based) in an image of more than one chunk.
#[must_use]
pub fn chaining_value(index: u64, chunk: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(index * CHUNK_BYTES);
    hasher.update(chunk);
    hasher.finalize_non_root()
}

/// Folds the chaining values of all chunks of an image of more than one chunk into its id.
///
/// # Errors
/// Fewer than two values: a single chunk's chaining value is not the root, its hash is.
pub fn fold(values: &[[u8; 32]]) -> Result<ImageId, ChunkListError> {
    if values.len() < 2 {
        return Err(ChunkListError::TooFew(values.len()));
    }
    let (left, right) = halves(values);
    let root = hazmat::merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash);
    Ok(ImageId(*root.as_bytes()))
}

fn subtree(values: &[[u8; 32]]) -> [u8; 32] {
    match values {
        [one] => *one,
        several => {
            let (left, right) = halves(several);
            hazmat::merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

/// BLAKE3's left subtree is the largest power of two of chunks that leaves something to the right.
fn halves(values: &[[u8; 32]]) -> (&[[u8; 32]], &[[u8; 32]]) {
    values.split_at(values.len().next_power_of_two() / 2)
}

/// The proven chaining values of one image: the only way to get one is that it folds to the id.
#[derive(Clone, PartialEq, Eq)]
pub struct ChunkList {
    id: ImageId,
    size: u64,
    values: Vec<[u8; 32]>,
}

/// Why bytes are not the chunk list of this image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkListError {
    /// The image is empty or larger than [`MAX_IMAGE_BYTES`].
    #[error("an image of {size} bytes is not possible: 1 to {MAX_IMAGE_BYTES} bytes are")]
    ImageSize {
        /// What was claimed.
        size: u64,
    },
    /// The list's length does not match the image's.
    #[error("chunk list of {found} bytes, but an image of {size} bytes has one of {expected}")]
    Length {
        /// Bytes of the image.
        size: u64,
        /// Bytes the list must have.
        expected: u64,
        /// Bytes it has.
        found: u64,
    },
    /// The list folds to another image.
    #[error("chunk list belongs to image {found}, expected {expected}")]
    Id {
        /// The image asked for.
        expected: ImageId,
        /// What the list folds to.
        found: ImageId,
    },
    /// [`fold`] was given fewer than two values.
    #[error("{0} chaining values do not make a tree")]
    TooFew(usize),
}

/// Why bytes are not this chunk of this image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadChunk {
    /// The image has no such chunk.
    #[error("no chunk {index}: the image has {count}")]
    NoSuchChunk {
        /// 0-based.
        index: u64,
        /// Chunks in the image.
        count: u64,
    },
    /// The chunk is too short or too long.
    #[error("chunk {index} of {count}: {found} bytes, expected {expected}")]
    Length {
        /// 0-based.
        index: u64,
        /// Chunks in the image.
        count: u64,
        /// Bytes the chunk must have.
        expected: u64,
        /// Bytes there were.
        found: u64,
    },
    /// The bytes are not those that were published.
    #[error("chunk {index} of {count}: digest {found} does not match {expected}")]
    Digest {
        /// 0-based.
        index: u64,
        /// Chunks in the image.
        count: u64,
        /// First 12 digits of the digest in the list.
        expected: String,
        /// First 12 digits of what the bytes hash to.
        found: String,
    },
}

impl ChunkList {
    /// Bytes that the chunk list of an image of `size` bytes has: none for an image of one chunk.
    #[must_use]
    pub const fn encoded_len(size: u64) -> u64 {
        if size <= CHUNK_BYTES {
            0
        } else {
            chunk_count(size) * CV_BYTES as u64
        }
    }

    /// Takes what a server says the chunk list is and proves it.
    ///
    /// # Errors
    /// Anything but the one list that folds to `id`.
    pub fn prove(id: ImageId, size: u64, bytes: &[u8]) -> Result<Self, ChunkListError> {
        if size == 0 || size > MAX_IMAGE_BYTES {
            return Err(ChunkListError::ImageSize { size });
        }
        let (expected, found) = (Self::encoded_len(size), bytes.len() as u64);
        if expected != found {
            return Err(ChunkListError::Length {
                size,
                expected,
                found,
            });
        }
        if expected == 0 {
            return Ok(Self {
                id,
                size,
                values: Vec::new(),
            });
        }
        let (values, _) = bytes.as_chunks::<CV_BYTES>();
        let found = fold(values)?;
        if found != id {
            return Err(ChunkListError::Id {
                expected: id,
                found,
            });
        }
        Ok(Self {
            id,
            size,
            values: values.to_vec(),
        })
    }

    /// The bytes that [`prove`](Self::prove) takes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.values.concat()
    }

    /// The image this list belongs to.
    #[must_use]
    pub const fn id(&self) -> ImageId {
        self.id
    }

    /// Bytes of the image.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Chunks in the image: at least one.
    #[must_use]
    pub const fn count(&self) -> u64 {
        chunk_count(self.size)
    }

    /// Bytes of chunk `index`; zero if there is no such chunk.
    #[must_use]
    pub fn chunk_len(&self, index: u64) -> u64 {
        self.size
            .saturating_sub(index.saturating_mul(CHUNK_BYTES))
            .min(CHUNK_BYTES)
    }

    /// Checks one chunk, alone and in any order.
    ///
    /// # Errors
    /// The bytes are not those of chunk `index`.
    pub fn verify(&self, index: u64, chunk: &[u8]) -> Result<(), BadChunk> {
        let count = self.count();
        if index >= count {
            return Err(BadChunk::NoSuchChunk { index, count });
        }
        let (expected, found) = (self.chunk_len(index), chunk.len() as u64);
        if expected != found {
            return Err(BadChunk::Length {
                index,
                count,
                expected,
                found,
            });
        }
        let (expected, found) = match usize::try_from(index).ok().and_then(|i| self.values.get(i)) {
            Some(value) => (*value, chaining_value(index, chunk)),
            None => (self.id.0, *blake3::hash(chunk).as_bytes()),
        };
        if expected == found {
            Ok(())
        } else {
            Err(BadChunk::Digest {
                index,
                count,
                expected: ImageId(expected).short(),
                found: ImageId(found).short(),
            })
        }
    }
}

impl fmt::Debug for ChunkList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ChunkList({}, {} bytes, {} chunks)",
            self.id.short(),
            self.size,
            self.count()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(size: u64) -> Vec<u8> {
        (0..size)
            .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0])
            .collect()
    }

    fn list_of(image: &[u8]) -> Vec<u8> {
        if image.len() as u64 <= CHUNK_BYTES {
            return Vec::new();
        }
        image
            .chunks(CHUNK_LEN)
            .zip(0..)
            .flat_map(|(chunk, i)| chaining_value(i, chunk))
            .collect()
    }

    #[test]
    fn the_list_folds_to_what_b3sum_prints() {
        for size in [
            1,
            1023,
            CHUNK_BYTES - 1,
            CHUNK_BYTES,
            CHUNK_BYTES + 1,
            2 * CHUNK_BYTES,
            3 * CHUNK_BYTES + 7,
            9 * CHUNK_BYTES - 1,
        ] {
            let image = image(size);
            let id = ImageId(*blake3::hash(&image).as_bytes());
            let list = ChunkList::prove(id, size, &list_of(&image)).expect("proves");
            for (chunk, i) in image.chunks(CHUNK_LEN).zip(0..) {
                assert_eq!(list.verify(i, chunk), Ok(()), "size {size} chunk {i}");
            }
        }
    }

    #[test]
    fn a_lying_list_is_refused() {
        let image = image(3 * CHUNK_BYTES);
        let id = ImageId(*blake3::hash(&image).as_bytes());
        let size = image.len() as u64;
        let good = list_of(&image);
        for cut in [0, 1, 31, 32, 95] {
            assert!(
                matches!(
                    ChunkList::prove(id, size, &good[..cut]),
                    Err(ChunkListError::Length { .. })
                ),
                "{cut}"
            );
        }
        let long = [good.clone(), vec![0; 32]].concat();
        assert!(matches!(
            ChunkList::prove(id, size, &long),
            Err(ChunkListError::Length { .. })
        ));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(
                matches!(
                    ChunkList::prove(id, size, &bad),
                    Err(ChunkListError::Id { .. })
                ),
                "bit {bit}"
            );
        }
        for size in [0, MAX_IMAGE_BYTES + 1, u64::MAX] {
            assert!(matches!(
                ChunkList::prove(id, size, &good),
                Err(ChunkListError::ImageSize { .. })
            ));
        }
    }

    #[test]
    fn a_wrong_chunk_is_refused() {
        let image = image(2 * CHUNK_BYTES + 5);
        let id = ImageId(*blake3::hash(&image).as_bytes());
        let list = ChunkList::prove(id, image.len() as u64, &list_of(&image)).expect("proves");
        let first = &image[..CHUNK_LEN];
        assert!(
            matches!(
                list.verify(1, first),
                Err(BadChunk::Digest { index: 1, .. })
            ),
            "right bytes, wrong place"
        );
        assert!(matches!(
            list.verify(0, &first[1..]),
            Err(BadChunk::Length { .. })
        ));
        assert!(matches!(
            list.verify(2, first),
            Err(BadChunk::Length { expected: 5, .. })
        ));
        assert!(matches!(
            list.verify(3, &[]),
            Err(BadChunk::NoSuchChunk { count: 3, .. })
        ));
        assert!(matches!(
            list.verify(u64::MAX, first),
            Err(BadChunk::NoSuchChunk { .. })
        ));
        let mut flipped = first.to_vec();
        flipped[77] ^= 4;
        let error = list.verify(0, &flipped).expect_err("one bit").to_string();
        assert!(error.starts_with("chunk 0 of 3: digest "), "{error}");
    }

    #[test]
    fn a_single_chunk_is_checked_against_the_id_itself() {
        let image = image(1000);
        let id = ImageId(*blake3::hash(&image).as_bytes());
        let list = ChunkList::prove(id, 1000, &[]).expect("empty list");
        assert_eq!(list.verify(0, &image), Ok(()));
        assert!(list.verify(0, &[0; 1000]).is_err());
    }

    #[test]
    fn one_spelling_of_an_id() {
        let id = ImageId([0xab; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in [
            String::new(),
            "ab".repeat(31),
            "AB".repeat(32),
            "ab".repeat(33),
            "é".repeat(32),
            "xy".repeat(32),
        ] {
            assert!(text.parse::<ImageId>().is_err(), "{text}");
        }
    }
}
