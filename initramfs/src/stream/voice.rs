//! What the process that streams says: in the kernel's log, since the consoles belong to the image, and to the manager.

use std::fs::File;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use ramboot_wire::heartbeat::{FILLING_SECONDS, Filling};
use ramboot_wire::paths::Resource;
use ramboot_wire::{BootArgs, Mac, Recording, Report, Stage, StageLine};

use crate::clock;
use crate::console::{self, Event};
use crate::fetch::Pace;
use crate::heartbeat;
use crate::http::Connection;
use crate::journal::fact;
use crate::report::Reporter;

/// To whom it speaks, and what was said last.
#[derive(Debug)]
pub struct Voice {
    args: BootArgs,
    mac: Mac,
    reporter: Option<Reporter>,
    /// When waiting was said last.
    waited: Mutex<Option<Instant>>,
}

impl Voice {
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
            Event::Progress(_) => {}
            Event::Wait(_) => {
                let now = clock::now();
                let mut waited = self.waited.lock().unwrap_or_else(PoisonError::into_inner);
                if waited.is_none_or(|at| now.duration_since(at) >= AGAIN) {
                    *waited = Some(now);
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
    let mut before: Option<u64> = None;
    loop {
        let (resident, blocked) = state();
        let moved = before.map_or(0, |before| resident.saturating_sub(before));
        before = Some(resident);
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
        clock::sleep(every);
    }
}

/// Between two lines about the same trouble.
const AGAIN: Duration = Duration::from_secs(30);
const LINGER: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 5;
const GAP: Duration = Duration::from_secs(5);
