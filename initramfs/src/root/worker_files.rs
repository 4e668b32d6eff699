//! The worker's own files: one small archive, fetched and verified before the image, laid over the image before its init
//! starts.
//!
//! Before the image: that it cannot be had is said at once and not after minutes, and once the last byte of the image is
//! here, the worker needs nobody. Nothing of it is looked at before its digest was found to be that of the kernel command
//! line, and nothing is laid in before all of it was read.

pub mod archive;

use ramboot_fetch::engine::Pace;
use ramboot_fetch::event::{Event, Lie, What};
use ramboot_fetch::small_file::{Wanted, fetch_whole};
use ramboot_fetch::sources::Sources;
use ramboot_wire::paths::Resource;
use ramboot_wire::{Files, FilesId};

use archive::Entry;

/// Asks for ever, as for the chunk list.
///
/// # Errors
/// There is no base; or what the manager has made cannot be read, which is its own fault: the bytes are those it promised.
pub fn fetch_files(
    files: &Files,
    sources: &mut Sources,
    pace: Pace,
    tell: &(dyn Fn(Event) + Sync),
) -> anyhow::Result<Vec<Entry>> {
    let wanted = Wanted {
        path: Resource::Files(files.worker.clone(), files.id).path(),
        len: files.size,
        what: What::Files,
    };
    let archive = fetch_whole(&wanted, sources, pace, tell, |bytes| {
        let (found, wanted) = (FilesId::of(&bytes), files.id);
        if found == wanted {
            Ok(bytes)
        } else {
            Err(Lie::Files { found, wanted })
        }
    })?;
    Ok(archive::parse(&archive)?)
}
