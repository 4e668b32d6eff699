//! What is known of each machine becomes a row of the [`super::snapshot`]: its state, a sentence, what it would boot next, and
//! one waterfall of firmware, Linux and `/init`. Pure.

use std::sync::Arc;
use std::time::Duration;

use ramboot_wire::stage::Bar;
use ramboot_wire::{ImageId, Stage};

use super::event::Part;
use super::problem;
use super::snapshot::{Fetch, ImageUse, Standing, Trouble, WorkerRow};
use super::streaming::{self, Look};
use super::worker::{State, Worker};
use crate::config::Config;
use crate::config::assign::{self, Published};
use crate::config::worker::Machine;
use crate::pi::id::Identity;
use crate::store::{Generation, Name};

/// What is published, and for whom, when a snapshot is made.
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// Which machine gets which image.
    pub config: Arc<Config>,
    /// What each name stands for now.
    pub current: Vec<(Name, Generation)>,
}

impl Catalogue {
    /// A name that stands for this image now, and its bytes.
    fn named(&self, id: ImageId) -> Option<(String, u64)> {
        let (name, generation) = self.current.iter().find(|(_, at)| at.image == id)?;
        Some((name.to_string(), generation.size))
    }

    /// What a machine boots next, by the rules that count when it asks.
    fn next(&self, published: &[Published], asker: &Machine) -> Option<ImageUse> {
        let name = assign::assign(&self.config, published, asker).ok()?.image;
        let mut current = self.current.iter();
        let (_, generation) = current.find(|(at, _)| *at == name)?;
        Some(ImageUse {
            id: generation.image,
            name: Some(name.to_string()),
        })
    }

    fn published(&self) -> Vec<Published> {
        let published = |(name, generation): &(Name, Generation)| Published {
            name: name.clone(),
            arch: generation.arch,
        };
        self.current.iter().map(published).collect()
    }
}

/// Makes rows of machines, as many at a time as one likes.
#[derive(Debug)]
pub struct Rows<'a> {
    catalogue: &'a Catalogue,
    published: Vec<Published>,
    rows: Vec<WorkerRow>,
}

impl<'a> Rows<'a> {
    /// None yet.
    #[must_use]
    pub fn of(catalogue: &'a Catalogue) -> Self {
        Self {
            catalogue,
            published: catalogue.published(),
            rows: Vec::new(),
        }
    }

    /// Adds these machines, as they are at `now`.
    pub fn add(&mut self, workers: &[Worker], now: Duration) {
        let (catalogue, published) = (self.catalogue, &self.published);
        self.rows.extend(workers.iter().map(|worker| {
            let next = catalogue.next(published, &asker(worker));
            let named = worker.image.and_then(|id| catalogue.named(id));
            row(worker, named, next, now)
        }));
    }

    /// All of them, by name, then by MAC.
    #[must_use]
    pub fn sorted(mut self) -> Vec<WorkerRow> {
        self.rows.sort_by(|a, b| {
            let key = |row: &'_ WorkerRow| (row.name.is_none(), row.mac.0);
            let names = a.name.cmp(&b.name);
            match (&a.name, &b.name) {
                (Some(_), Some(_)) => names.then_with(|| a.mac.0.cmp(&b.mac.0)),
                _ => key(a).cmp(&key(b)),
            }
        });
        self.rows
    }
}

fn row(
    worker: &Worker,
    named: Option<(String, u64)>,
    next: Option<ImageUse>,
    now: Duration,
) -> WorkerRow {
    let ago = |at: Duration| now.saturating_sub(at).as_secs();
    let vitals = worker.vitals.as_ref();
    let size = named.as_ref().map(|(_, size)| *size);
    let alive = vitals.map(|vitals| vitals.at);
    let look = worker.boot.holding.look(alive, size, now);
    let filling = match look {
        Look::Part(filling) if worker.state == State::Up => Some(filling),
        _ => None,
    };
    let silence = problem::of_silence(worker, filling.as_ref(), now);
    let wait = filling.and_then(|filling| problem::of_wait(worker, &filling, now));
    let state = standing(worker, silence.is_some(), wait.is_some());
    let fetch = (worker.state == State::Booting(Stage::Fetch)).then_some(Fetch {
        bytes: worker.boot.fetched,
        size,
        bytes_per_s: worker.boot.rate,
    });
    let image = worker.image.map(|id| ImageUse {
        id,
        name: named.map(|(name, _)| name),
    });
    let sentence = match &silence {
        Some(silence) if state == Standing::Silent => silence.sentence.to_string(),
        _ => sentence(worker, fetch, look),
    };
    let problem = silence.or(wait).or_else(|| worker.problem.clone());
    WorkerRow {
        mac: worker.mac,
        name: worker.hostname.as_deref().map(str::to_owned),
        address: worker.address(),
        model: model(worker),
        serial: worker
            .pi
            .and_then(|pi| pi.serial)
            .map(|s| format!("{s:08x}")),
        uuid: worker.uuid.map(|uuid| uuid.to_string()),
        arch: worker.arch,
        memory: worker.memory.or_else(|| memory(worker.pi)),
        would_change: image
            .as_ref()
            .zip(next.as_ref())
            .is_some_and(|(a, b)| a.id != b.id),
        image,
        next,
        state,
        stage: match worker.state {
            State::Booting(stage) | State::Failed(stage) => Some(stage.name().to_owned()),
            _ => None,
        },
        sentence,
        since_s: ago(worker.since),
        up_s: (worker.state == State::Up).then(|| up(worker, now)),
        boot_ms: worker.boot.took_ms,
        available: vitals.map(|vitals| vitals.available),
        load_percent: vitals.map(|vitals| vitals.load_percent),
        seen_s: ago(worker.seen),
        boot: bars(worker),
        fetch,
        filling,
        problem: problem.map(|problem| Trouble {
            sentence: problem.sentence.to_string(),
            remedy: problem.remedy.to_owned(),
            since_s: ago(problem.at),
        }),
    }
}

fn standing(worker: &Worker, stalled: bool, waits: bool) -> Standing {
    match worker.state {
        State::Up if stalled => Standing::Silent,
        State::Up if waits => Standing::Failed,
        _ if stalled => Standing::Failed,
        State::Failed(_) => Standing::Failed,
        State::Asking(_) if worker.problem.is_some() => Standing::Failed,
        State::Asking(_) => Standing::Asking,
        State::Loading(_) if worker.problem.is_some() => Standing::Failed,
        State::Loading(_) | State::Starting => Standing::Loading,
        State::Booting(_) => Standing::Booting,
        State::Up => Standing::Up,
    }
}

fn up(worker: &Worker, now: Duration) -> u64 {
    match worker.vitals {
        Some(vitals) => vitals
            .up_s
            .saturating_add(now.saturating_sub(vitals.at).as_secs()),
        None => now.saturating_sub(worker.since).as_secs(),
    }
}

fn sentence(worker: &Worker, fetch: Option<Fetch>, look: Look) -> String {
    match (worker.state, fetch) {
        (State::Asking(_), _) => "asks for an address".to_owned(),
        (State::Loading(Part::Loader), _) => "loads its boot loader".to_owned(),
        (State::Loading(Part::Kernel), _) => "loads the kernel".to_owned(),
        (State::Loading(Part::Initramfs), _) => "loads the initramfs".to_owned(),
        (State::Loading(Part::Uki), _) => "loads kernel and initramfs".to_owned(),
        (State::Starting, _) => "starts Linux".to_owned(),
        (State::Booting(_), Some(fetch)) => {
            let (done, rate) = (fetch.bytes / 1_000_000, fetch.bytes_per_s / 1_000_000);
            match fetch.size {
                Some(size) => {
                    let (done, size) = (done.min(size / 1_000_000), size / 1_000_000);
                    format!("fetches the image: {done} of {size} MB, {rate} MB/s")
                }
                None => format!("fetches the image: {done} MB, {rate} MB/s"),
            }
        }
        (State::Booting(stage), None) => match stage {
            Stage::Early | Stage::Modules => "loads drivers",
            Stage::Net => "waits for a cable",
            Stage::Dhcp => "asks for an address",
            Stage::Files => "fetches its own files",
            Stage::Chunks => "fetches the chunk list",
            Stage::Fetch => "fetches the image",
            Stage::Mount => "mounts the image",
            Stage::Handover => "hands over to the image's init",
            Stage::Untethered => "has all of its image",
        }
        .to_owned(),
        (State::Failed(stage), _) => format!("stopped in the stage {stage}"),
        (State::Up, _) => match look {
            Look::Whole => "up".to_owned(),
            Look::Unknown(percent) => {
                format!("up; of its image {percent} % was there when last heard")
            }
            Look::Part(filling) => streaming::sentence(&filling),
        },
    }
}

fn model(worker: &Worker) -> String {
    // The serial number has a field of its own.
    let text = match worker.pi {
        Some(pi) => Identity { serial: None, ..pi }.to_string(),
        None => worker.model.to_string(),
    };
    if text.is_empty() {
        "unknown".to_owned()
    } else {
        text
    }
}

fn memory(pi: Option<Identity>) -> Option<u64> {
    Some(u64::from(pi?.revision?.memory()) << 20)
}

fn asker(worker: &Worker) -> Machine {
    Machine {
        mac: Some(worker.mac),
        serial: worker.pi.and_then(|pi| pi.serial),
        uuid: worker.uuid,
        arch: worker.arch,
    }
}

/// One waterfall of what the firmware did, Linux's start between, and what `/init` did.
fn bars(worker: &Worker) -> Vec<Bar> {
    let boot = &worker.boot;
    let mut bars = boot.firmware.clone();
    let offset = match (boot.began, boot.init_began) {
        (Some(began), Some(init)) => {
            u64::try_from(init.saturating_sub(began).as_millis()).unwrap_or(0)
        }
        _ => 0,
    };
    if let Some(last) = bars
        .last()
        .map(|bar| bar.end_ms)
        .filter(|end| offset > *end)
    {
        bars.push(Bar {
            what: "linux".to_owned(),
            begin_ms: last,
            end_ms: offset,
        });
    }
    bars.extend(boot.init.iter().map(|bar| Bar {
        what: bar.what.clone(),
        begin_ms: bar.begin_ms.saturating_add(offset),
        end_ms: bar.end_ms.saturating_add(offset),
    }));
    bars
}
