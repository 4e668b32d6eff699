//! The chunk list: asked of the bases in turn until one gives the list that folds to the image's id.

use std::time::Instant;

use anyhow::bail;
use ramboot_wire::image::ChunkListError;
use ramboot_wire::paths::Resource;
use ramboot_wire::{Base, ChunkList, ImageId};

use crate::clock;
use crate::console::Event;
use crate::fetch::{Pace, waiting};
use crate::http::{Connection, HttpError};
use crate::sources::{Choice, Sources};

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
                let turn = sources.begin(index);
                last = Some(index);
                let Some(base) = sources.all().get(index).map(|source| source.base.clone()) else {
                    continue;
                };
                match ask(id, size, &base, pace) {
                    Ok((list, bytes)) => {
                        sources.received(turn, bytes);
                        sources.good(turn);
                        return Ok(list);
                    }
                    Err(error) => {
                        let lied = matches!(error, AskError::List(_));
                        let why = format!("{:#}", anyhow::Error::new(error));
                        if lied {
                            tell(Event::Bad(format!("{base}: {why}")));
                        }
                        sources.failed(turn, lied, why, clock::now(), clock::chance());
                    }
                }
                continue;
            }
            Choice::Wait(until) => until.map_or(pace.tell, |at| at.saturating_duration_since(now)),
        };
        if told.is_none_or(|at| now.duration_since(at) >= pace.tell) {
            told = Some(now);
            let mut event = waiting(sources, since, now, None);
            event.what = format!("the chunk list from {}", event.what);
            tell(Event::Wait(event));
        }
        clock::sleep(wait.min(pace.tell));
    }
}

/// Why a base gave no list.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    List(#[from] ChunkListError),
}

fn ask(id: ImageId, size: u64, base: &Base, pace: Pace) -> Result<(ChunkList, u64), AskError> {
    let len = ChunkList::encoded_len(size);
    let mut connection = Connection::open(base, pace.patience)?;
    connection.get(&Resource::Chunks(id).path(), len)?;
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    connection.read_exact(&mut bytes)?;
    Ok((ChunkList::prove(id, size, &bytes)?, len))
}
