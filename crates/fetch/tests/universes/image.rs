//! What is published: images of any size, as beginnings of one pool of bytes, so that ten thousand cost little.

use std::sync::LazyLock;

use ramboot_wire::image::{CHUNK_LEN, chaining_value, fold};
use ramboot_wire::{ChunkList, ImageId};

use crate::chance::Chance;

/// The largest image. Below sixteen chunks four streams ask for one chunk at a time; this one makes runs of several.
pub(crate) const MAX_CHUNKS: usize = 40;

#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) size: usize,
    pub(crate) list: Vec<u8>,
    pub(crate) id: ImageId,
}

impl Image {
    /// The first `size` bytes of the pool.
    pub(crate) fn new(size: usize) -> Self {
        let bytes = &POOL.bytes[..size];
        if size <= CHUNK_LEN {
            let id = ImageId(*blake3::hash(bytes).as_bytes());
            return Self {
                size,
                list: Vec::new(),
                id,
            };
        }
        let full = size / CHUNK_LEN;
        let mut values = POOL.values[..full].to_vec();
        if !size.is_multiple_of(CHUNK_LEN) {
            values.push(chaining_value(full as u64, &bytes[full * CHUNK_LEN..]));
        }
        let id = fold(&values).expect("several chunks");
        let list = values.concat();
        Self { size, list, id }
    }

    pub(crate) fn bytes(&self) -> &'static [u8] {
        &POOL.bytes[..self.size]
    }

    pub(crate) fn chunks(&self) -> ChunkList {
        ChunkList::prove(self.id, self.size as u64, &self.list).expect("proves")
    }
}

struct Pool {
    bytes: Vec<u8>,
    /// Chaining values of the full chunks.
    values: Vec<[u8; 32]>,
}

static POOL: LazyLock<Pool> = LazyLock::new(|| {
    let mut chance = Chance::new(1);
    let words = MAX_CHUNKS * CHUNK_LEN / 8;
    let bytes: Vec<u8> = (0..words)
        .flat_map(|_| chance.next().to_le_bytes())
        .collect();
    let values = bytes
        .chunks(CHUNK_LEN)
        .zip(0..)
        .map(|(chunk, index)| chaining_value(index, chunk))
        .collect();
    Pool { bytes, values }
});
