//! The chunk list: asked of the bases in turn until one gives the list that folds to the image's id.

use std::time::Instant;

use anyhow::bail;
use ramboot_wire::image::ChunkListError;
use ramboot_wire::paths::Resource;
use ramboot_wire::{Base, ChunkList, ImageId};

use crate::clock;
use crate::console::{Bad, Event, Lie, What};
use crate::fault::Why;
use crate::fetch::{Pace, waiting};
use crate::http::{Connection, HttpError};
use crate::sources::{Choice, Last, Later, Sources};

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
    if ChunkList::encoded_len(size) == 0 {
        return Ok(ChunkList::prove(id, size, &[])?);
    }
    if sources.all().is_empty() {
        bail!("no base on the kernel command line");
    }
    let since = clock::now();
    let (mut last, mut told) = (None, None::<Instant>);
    loop {
        let now = clock::now();
        let wait = match sources.choose(last, now) {
            Choice::Ask(index) => {
                let turn = sources.begin(index, now);
                last = Some(Last {
                    index,
                    served: false,
                });
                let Some(base) = sources.all().get(index).map(|source| source.base.clone()) else {
                    continue;
                };
                match ask(id, size, &base, pace) {
                    Ok((list, bytes)) => {
                        sources.received(turn, bytes);
                        sources.good(turn);
                        return Ok(list);
                    }
                    Err(failed) => {
                        let why = match failed {
                            Failed::Http(HttpError::Busy { after, place, .. }) => {
                                sources.busy(turn, Later { after, place }, clock::now());
                                continue;
                            }
                            Failed::Http(error) => Why::of(error),
                            Failed::Lied(error) => {
                                tell(Event::Bad(Bad {
                                    from: base.to_string(),
                                    what: Lie::List(error.clone()),
                                }));
                                Why::of(error)
                            }
                        };
                        sources.failed(turn, why, clock::now(), clock::chance());
                    }
                }
                continue;
            }
            Choice::Wait(until) => until.map_or(pace.tell, |at| at.saturating_duration_since(now)),
        };
        if told.is_none_or(|at| now.duration_since(at) >= pace.tell) {
            told = Some(now);
            tell(Event::Wait(waiting(What::ChunkList, sources, since, now)));
        }
        clock::sleep(wait.min(pace.tell));
    }
}

/// Why a base gave no list.
enum Failed {
    /// None came.
    Http(HttpError),
    /// It is not this image's.
    Lied(ChunkListError),
}

fn ask(id: ImageId, size: u64, base: &Base, pace: Pace) -> Result<(ChunkList, u64), Failed> {
    let len = ChunkList::encoded_len(size);
    let fetch = || {
        let mut connection = Connection::open(base, pace.patience)?;
        connection.get(&Resource::Chunks(id).path(), len)?;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        connection.read_exact(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = fetch().map_err(Failed::Http)?;
    let list = ChunkList::prove(id, size, &bytes).map_err(Failed::Lied)?;
    Ok((list, len))
}
