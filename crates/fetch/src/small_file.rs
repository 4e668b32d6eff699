//! Something small, whole: asked of the bases in turn until one gives what it has to be.

use std::time::Instant;

use anyhow::bail;
use ramboot_wire::Base;

use crate::clock;
use crate::engine::{Pace, waiting};
use crate::event::{Bad, Event, Lie, What};
use crate::fault::Why;
use crate::http::{Connection, HttpError};
use crate::sources::{Choice, Last, Later, Sources};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where it is at each base.
    pub path: String,
    /// How many bytes it has.
    pub len: u64,
    /// How it is called while it is waited for.
    pub what: fn(String) -> What,
}

/// Asks for ever. `prove` makes of the bytes what they are to be; a base whose bytes are refused has lied, and is used last
/// from then on.
///
/// # Errors
/// There is no base. A server can never cause one.
pub fn fetch_whole<T>(
    wanted: &Wanted,
    sources: &mut Sources,
    pace: Pace,
    tell: &(dyn Fn(Event) + Sync),
    prove: impl Fn(Vec<u8>) -> Result<T, Lie>,
) -> anyhow::Result<T> {
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
                let why = match ask(wanted, &base, pace) {
                    Ok(bytes) => {
                        sources.received(turn, wanted.len);
                        match prove(bytes) {
                            Ok(proven) => {
                                sources.good(turn);
                                return Ok(proven);
                            }
                            Err(what) => {
                                tell(Event::Bad(Bad {
                                    from: base.to_string(),
                                    what: what.clone(),
                                }));
                                Why::of(&what)
                            }
                        }
                    }
                    Err(HttpError::Busy { after, place, .. }) => {
                        sources.busy(turn, Later { after, place }, clock::now());
                        continue;
                    }
                    Err(error) => Why::of(&error),
                };
                sources.failed(turn, why, clock::now(), clock::chance());
                continue;
            }
            Choice::Wait(until) => until.map_or(pace.tell, |at| at.saturating_duration_since(now)),
        };
        if told.is_none_or(|at| now.duration_since(at) >= pace.tell) {
            told = Some(now);
            tell(Event::Wait(waiting(wanted.what, sources, since, now)));
        }
        clock::sleep(wait.min(pace.tell));
    }
}

fn ask(wanted: &Wanted, base: &Base, pace: Pace) -> Result<Vec<u8>, HttpError> {
    let mut connection = Connection::open(base, pace.patience)?;
    connection.get(&wanted.path, wanted.len)?;
    let mut bytes = vec![0; usize::try_from(wanted.len).unwrap_or(0)];
    connection.read_exact(&mut bytes)?;
    Ok(bytes)
}
