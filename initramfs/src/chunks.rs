//! The chunk list: fetched from the bases in turn until one gives the list that folds to the image's id.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use ramboot_wire::paths::Resource;
use ramboot_wire::{Base, ChunkList, ImageId};

use crate::backoff::Backoff;
use crate::clock;
use crate::console::{Event, Wait};
use crate::fetch::Pace;
use crate::http::Connection;

/// Asks for ever; says after every round of bases what it waits for.
///
/// # Errors
/// There is no base. A server can never cause one.
pub fn fetch_list(
    id: ImageId,
    size: u64,
    bases: &[Base],
    pace: Pace,
    tell: &(dyn Fn(Event) + Sync),
) -> anyhow::Result<(ChunkList, u64)> {
    if ChunkList::encoded_len(size) == 0 {
        return Ok((ChunkList::prove(id, size, &[])?, 0));
    }
    let since = clock::now();
    let mut backoff = Backoff::new(pace.retry, pace.retry_cap);
    let mut retries = 0;
    loop {
        let mut last = anyhow!("no base on the kernel command line");
        for base in bases {
            match ask(id, size, base, pace) {
                Ok(list) => return Ok((list, retries)),
                Err(error) => last = error.context(base.to_string()),
            }
            retries += 1;
        }
        if bases.is_empty() {
            return Err(last);
        }
        let wait = backoff
            .next(clock::chance())
            .max(Duration::from_millis(100));
        tell(Event::Wait(Wait {
            what: "the chunk list".to_owned(),
            since: clock::now().duration_since(since),
            why: Some(format!("{last:#}")),
            next: format!("next try in {:.1} s", wait.as_secs_f64()),
            here: None,
        }));
        clock::sleep(wait);
    }
}

fn ask(id: ImageId, size: u64, base: &Base, pace: Pace) -> anyhow::Result<ChunkList> {
    let len = ChunkList::encoded_len(size);
    let mut connection = Connection::open(base, pace.patience)?;
    connection.get(&Resource::Chunks(id).path(), len)?;
    let mut bytes = vec![0; usize::try_from(len)?];
    connection
        .read_exact(&mut bytes)
        .context("reading the chunk list")?;
    Ok(ChunkList::prove(id, size, &bytes)?)
}
