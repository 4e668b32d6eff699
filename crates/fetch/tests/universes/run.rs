//! One universe, from its servers' start to the last of its threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ramboot_fetch::chunk_list::fetch_list;
use ramboot_fetch::engine::{Counts, Pace, fetch};
use ramboot_fetch::event::Event;
use ramboot_fetch::http::Patience;
use ramboot_fetch::sources::Sources;
use ramboot_wire::Base;
use ramboot_wire::image::CHUNK_LEN;

use crate::fault::Fault;
use crate::image::Image;
use crate::predict::{Outcome, judge, predict};
use crate::server::{Done, PATIENT, Server};
use crate::universe::{End, Script, Universe};

/// What the test heard of a worker.
#[derive(Default)]
struct Ear {
    heard: Mutex<Heard>,
    changed: Condvar,
}

#[derive(Default)]
struct Heard {
    events: Vec<Event>,
    ended: Option<Result<Counts, String>>,
}

/// Runs it and gives the faults that were met; `Err` is where it differs from what is predicted.
pub(crate) fn run(universe: &Universe) -> Result<Vec<Fault>, String> {
    let image = Arc::new(Image::new(universe.size));
    let honest = Script {
        faults: Vec::new(),
        end: End::Honest,
    };
    let bait = Server::start(&image, &honest, "");
    let servers: Vec<Server> = universe
        .servers
        .iter()
        .map(|script| Server::start(&image, script, &bait.base()))
        .collect();
    let bases: Vec<String> = servers.iter().map(Server::base).collect();
    let ear = Arc::new(Ear::default());
    let worker = worker(universe, &image, &bases, &ear);
    let counts = match predict(universe) {
        Outcome::Boots => ear.ended(),
        Outcome::Waits { reasons } => ear
            .waits(&bases, &reasons, universe.size as u64, &servers)
            .and_then(|()| {
                servers[heal(universe)].heal();
                ear.ended()
            }),
    };
    // A worker that hangs is left behind: the test ends anyway.
    let fetched = match counts {
        Ok(_) => worker.join().map_err(|_| "the worker panicked")?,
        Err(_) => Vec::new(),
    };
    let asked = bait.stop().asked;
    let done: Vec<Done> = servers.into_iter().map(Server::stop).collect();
    let counts = counts?;
    if asked > 0 {
        return Err("a redirect was followed".to_owned());
    }
    if fetched != image.bytes() {
        return Err("what is there is not the image".to_owned());
    }
    judge(universe, &done, counts)?;
    let met = done.into_iter().flat_map(|done| done.met);
    Ok(met.map(|(fault, _)| fault).collect())
}

/// Which server gets well.
fn heal(universe: &Universe) -> usize {
    let count = universe.servers.len() as u64;
    usize::try_from(universe.seed % count).expect("a few")
}

fn worker(
    universe: &Universe,
    image: &Arc<Image>,
    bases: &[String],
    ear: &Arc<Ear>,
) -> thread::JoinHandle<Vec<u8>> {
    let bases: Vec<Base> = bases
        .iter()
        .map(|base| base.parse().expect("a base"))
        .collect();
    let pace = pace(universe);
    let (image, ear) = (Arc::clone(image), Arc::clone(ear));
    let (with_list, size) = (universe.with_list, universe.size as u64);
    thread::spawn(move || {
        let tell = |event| ear.hear(|heard| heard.events.push(event));
        let mut fetched = vec![0; image.size];
        let work = || -> anyhow::Result<Counts> {
            let mut sources = Sources::new(&bases, pace.retry, pace.retry_cap);
            let list = if with_list {
                fetch_list(image.id, size, &mut sources, pace, &tell)?
            } else {
                image.chunks()
            };
            let of_list = Counts::of(&sources);
            fetch(&list, &mut sources, &mut fetched, pace, &tell)?;
            let counts = Counts::of(&sources) - of_list;
            let retries = counts.retries + of_list.retries;
            Ok(Counts { retries, ..counts })
        };
        let ended = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(ended) => ended.map_err(|error| format!("the fetch ended: {error:#}")),
            Err(_) => Err("the fetch panicked".to_owned()),
        };
        ear.hear(|heard| heard.ended = Some(ended));
        fetched
    })
}

fn pace(universe: &Universe) -> Pace {
    let patience = if universe.is_slow() {
        PATIENT
    } else {
        // Nothing stalls here; were it to look so, it would be the machine.
        Patience {
            connect: DEADLINE,
            stall: DEADLINE,
            piece: DEADLINE,
        }
    };
    Pace {
        patience,
        retry: Duration::from_millis(1),
        retry_cap: Duration::from_millis(8),
        tell: Duration::from_millis(5),
    }
}

impl Ear {
    fn hear(&self, what: impl FnOnce(&mut Heard)) {
        what(&mut self.heard.lock().expect("lock"));
        self.changed.notify_all();
    }

    /// Waits until `what` gives something.
    fn until<T>(&self, mut what: impl FnMut(&Heard) -> Option<T>) -> Result<T, String> {
        let until = Instant::now() + DEADLINE;
        let mut heard = self.heard.lock().expect("lock");
        loop {
            if let Some(found) = what(&heard) {
                return Ok(found);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let from = heard.events.len().saturating_sub(5);
                return Err(format!(
                    "nothing in {DEADLINE:?}; the last of {} events: {:#?}",
                    heard.events.len(),
                    &heard.events[from..]
                ));
            }
            heard = self.changed.wait_timeout(heard, left).expect("lock").0;
        }
    }

    fn ended(&self) -> Result<Counts, String> {
        self.until(|heard| heard.ended.clone())?
    }

    /// It says twice what it waits for, and neither ends nor takes for done what nobody sent.
    fn waits(
        &self,
        bases: &[String],
        reasons: &[Vec<String>],
        size: u64,
        servers: &[Server],
    ) -> Result<(), String> {
        let says = |event: &&Event| {
            let text = event.to_string();
            !matches!(event, Event::Progress(_))
                && bases.iter().zip(reasons).any(|(base, reasons)| {
                    text.contains(base) && reasons.iter().any(|reason| text.contains(reason))
                })
        };
        let here = self.until(|heard| {
            if let Some(ended) = &heard.ended {
                return Some(Err(format!("it did not wait: {ended:?}")));
            }
            heard.events.iter().filter(says).nth(1)?;
            let here = heard.events.iter().map(|event| match event {
                Event::Progress(progress) => progress.done,
                Event::Wait(wait) => wait.here.map_or(0, |(done, _)| done),
                Event::Bad(_) => 0,
            });
            Some(Ok(here.max().unwrap_or(0)))
        })??;
        let chunk = CHUNK_LEN as u64;
        let good: std::collections::BTreeSet<usize> = servers
            .iter()
            .flat_map(|server| server.done().good)
            .collect();
        let sent: u64 = good
            .into_iter()
            .map(|index| chunk.min(size - index as u64 * chunk))
            .sum();
        if here > sent {
            return Err(format!(
                "{here} bytes are said to be here, {sent} were sent"
            ));
        }
        Ok(())
    }
}

/// A universe that takes longer hangs. The slowest need some seconds.
const DEADLINE: Duration = Duration::from_secs(40);
