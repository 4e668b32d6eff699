//! What the process that streams says: in the kernel's log, since the consoles belong to the image, and to the manager.

use std::fs::File;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ramboot_fetch::engine::Pace;
use ramboot_fetch::event::Event;
use ramboot_fetch::http::{Connection, HttpError};
use ramboot_wire::heartbeat::{FILLING_SECONDS, Filling};
use ramboot_wire::paths::Resource;
use ramboot_wire::{BootArgs, Mac, Recording, Report, Stage, StageLine};

use crate::agent::heartbeat;
use crate::clock;
use crate::console;
use crate::console::journal::fact;
use crate::console::report::Reporter;

/// To whom it speaks, and what was said last.
#[derive(Debug)]
pub struct Uplink {
    args: BootArgs,
    mac: Mac,
    reporter: Option<Reporter>,
    waited: Mutex<Waited>,
}

/// What was said of waiting.
#[derive(Debug, Default)]
struct Waited {
    /// When, last.
    said: Option<Instant>,
    /// Something came since then.
    is_over: bool,
}

impl Waited {
    /// Whether to say it now: what is new is said soon, what goes on now and then.
    fn is_news(&mut self, now: Instant) -> bool {
        let gap = if self.is_over { SOON } else { AGAIN };
        let is_news = self.said.is_none_or(|at| now.duration_since(at) >= gap);
        if is_news {
            *self = Self {
                said: Some(now),
                is_over: false,
            };
        }
        is_news
    }
}

impl Uplink {
    /// For the worker of `args`.
    #[must_use]
    pub fn new(args: BootArgs, mac: Mac) -> Self {
        Self {
            reporter: Reporter::start(args.bases.clone()),
            args,
            mac,
            waited: Mutex::default(),
        }
    }

    /// Something happens while the image comes.
    pub fn event(&self, event: &Event) {
        match event {
            Event::Progress(_) => self.waited().is_over = true,
            Event::Wait(_) => {
                if self.waited().is_news(clock::now()) {
                    console::log(&format!("ramboot: {event}"));
                }
            }
            Event::Bad(bad) => {
                console::log(&format!("ramboot: {event}"));
                self.report(&StageLine {
                    stage: Stage::Untethered,
                    error: Some(bad.to_string()),
                    facts: vec![fact("again", "yes")],
                    ms: 0,
                });
            }
        }
    }

    fn waited(&self) -> MutexGuard<'_, Waited> {
        self.waited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last word.
    pub fn untethered(&self, line: &StageLine) {
        console::log(&line.to_string());
        self.report(line);
        if let Some(reporter) = &self.reporter {
            reporter.linger_for(LINGER);
        }
    }

    fn report(&self, line: &StageLine) {
        if let Some(reporter) = &self.reporter {
            reporter.send(&Report {
                mac: self.mac,
                image: self.args.image,
                line: line.clone(),
                waterfall: Vec::new(),
            });
        }
    }

    /// Tells the manager what was read. It is a hint for others: whoever is away does not get it.
    pub fn tell(&self, recording: &Recording) {
        let Ok(json) = serde_json::to_vec(recording) else {
            return;
        };
        let path = Resource::Profile(self.args.image).path();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                clock::sleep(GAP);
            }
            for base in &self.args.bases {
                let posted = Connection::open(base, Pace::WORKER.patience)
                    .and_then(|mut connection| connection.post(&path, &json));
                match posted {
                    Ok(()) => return,
                    // Taken from another, or not believed: asking again changes nothing. 403 is a manager that was
                    // restarted and has not heard of this worker yet.
                    Err(HttpError::Status { status, .. }) if REFUSED.contains(&status) => return,
                    Err(error) => console::log(&format!(
                        "ramboot: telling {base} what was read of the image: {:#}",
                        anyhow::Error::from(error)
                    )),
                }
            }
        }
    }
}

/// Says every two seconds how far the image is; for ever. `state` gives bytes that are there, and how long a program waits.
pub fn beat(
    orders: &heartbeat::Orders,
    meminfo: &File,
    size: u64,
    state: impl Fn() -> (u64, Option<Duration>),
) {
    let every = Duration::from_secs(FILLING_SECONDS);
    let (mut before, _) = state();
    loop {
        // First, so that the first one has a speed, too.
        clock::sleep(every);
        let (resident, blocked) = state();
        let moved = resident.saturating_sub(before);
        before = resident;
        let blocked_ms = blocked.map_or(0, |time| time.as_millis());
        let beat = orders.beat(
            meminfo,
            Some(Filling {
                resident,
                size,
                per_second: moved / FILLING_SECONDS,
                blocked_ms: u64::try_from(blocked_ms).unwrap_or(u64::MAX),
            }),
        );
        // All of them: any may be the one that somebody looks at, and none is waited for.
        for to in &orders.to {
            heartbeat::send(&beat, *to).ok();
        }
    }
}

/// Between two lines about the same trouble.
const AGAIN: Duration = Duration::from_secs(30);
/// Between two lines about troubles with something good between them.
const SOON: Duration = Duration::from_secs(5);
const LINGER: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 5;
/// A recording that is wrong, one too many, or of an image that is not there.
const REFUSED: [u16; 5] = [400, 404, 413, 422, 429];
const GAP: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_trouble_is_said_soon_and_an_old_one_now_and_then() {
        let (mut waited, start) = (Waited::default(), clock::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(waited.is_news(at(0)));
        assert!(!waited.is_news(at(29)) && waited.is_news(at(30)));
        waited.is_over = true;
        assert!(!waited.is_news(at(34)) && waited.is_news(at(35)));
        assert!(!waited.is_news(at(64)));
    }
}
