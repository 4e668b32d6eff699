//! The chunk list: asked of the bases in turn until one gives the list that folds to the image's id.

use ramboot_wire::paths::Resource;
use ramboot_wire::{ChunkList, ImageId};

use crate::engine::Pace;
use crate::event::{Event, Lie, What};
use crate::small_file::{Wanted, fetch_whole};
use crate::sources::Sources;

/// Asks for ever; a base that sends another list has lied, and is used last from then on.
///
/// # Errors
/// There is no base. A server can never cause one.
pub fn fetch_list(
    id: ImageId,
    size: u64,
    sources: &mut Sources,
    pace: Pace,
    tell: &(dyn Fn(Event) + Sync),
) -> anyhow::Result<ChunkList> {
    let len = ChunkList::encoded_len(size);
    if len == 0 {
        return Ok(ChunkList::prove(id, size, &[])?);
    }
    let wanted = Wanted {
        path: Resource::Chunks(id).path(),
        len,
        what: What::ChunkList,
    };
    fetch_whole(&wanted, sources, pace, tell, |bytes| {
        ChunkList::prove(id, size, &bytes).map_err(Lie::List)
    })
}
