//! Waiting for a fact that nobody announces.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often is looked. Short beside anything that is waited for here.
const EVERY: Duration = Duration::from_millis(20);

/// Looks until `fact` gives something, or fails; after `limit` the error names `what`.
pub(crate) fn until<T>(
    what: &str,
    limit: Duration,
    mut fact: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = fact()? {
            return Ok(found);
        }
        if started.elapsed() > limit {
            bail!("waited {limit:?} in vain for {what}");
        }
        thread::sleep(EVERY);
    }
}

/// Lets time pass where the passing of time is what is tried: an outage of this length.
pub(crate) fn outage(length: Duration) {
    thread::sleep(length);
}
