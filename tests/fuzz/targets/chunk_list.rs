//! A chunk list and a chunk, as any server may send them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ramboot_wire::{ChunkList, ImageId};

fuzz_target!(|input: (u64, u64, Vec<u8>)| {
    let (size, index, bytes) = input;
    let id = ImageId(bytes.first_chunk().copied().unwrap_or([0; 32]));
    if let Ok(list) = ChunkList::prove(id, size % (1 << 30), &bytes) {
        let _ = list.verify(index, &bytes);
    }
});
