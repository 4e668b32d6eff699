//! The shell behind [`crate::status::route`]: fleet, store and counters become what people and programs look at.
//!
//! Whatever is made is kept for a second, so that many who look at once cost no more than one. All of it may take long and reads
//! the store, so it is called on threads that serve nobody.
#![expect(clippy::disallowed_methods, reason = "shell: reads the clocks")]

mod kept;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use bytes::Bytes;
use tokio::sync::watch;

use crate::boot::current::Current;
use crate::control::Served;
use crate::fleet::rows::Catalogue;
use crate::fleet::snapshot::{self, ImageRow, Manager, Snapshot, Standing, WorkerRow};
use crate::http::answer::Content;
use crate::status::metrics::{self, Metrics, Sources};
use crate::status::page;
use crate::status::route::View;
use crate::store::{Generation, Name};
use crate::{http, tftp};
use kept::Kept;

/// What all views are made of.
#[derive(Debug)]
pub struct Viewer {
    live: Arc<Current>,
    metrics: Arc<Metrics>,
    http: Arc<http::serve::Counters>,
    tftp: Arc<tftp::Counters>,
    served: watch::Receiver<Vec<Served>>,
    traffic: Mutex<Traffic>,
    start: Instant,
    kept: Mutex<Kept<Arc<Shot>>>,
}

/// One snapshot, and what was made of it so far: each once, however many ask.
#[derive(Debug)]
struct Shot {
    snapshot: Snapshot,
    /// The JSON of all workers, and of those in each state.
    json: [OnceLock<Bytes>; Standing::ALL.len() + 1],
    page: OnceLock<Bytes>,
}

/// What leaves, of late.
#[derive(Debug)]
struct Traffic {
    at: Instant,
    bytes: u64,
    per_s: u64,
}

impl Viewer {
    /// Over what is decided now and the servers count.
    #[must_use]
    pub fn new(
        live: Arc<Current>,
        metrics: Arc<Metrics>,
        http: Arc<http::serve::Counters>,
        tftp: Arc<tftp::Counters>,
        served: watch::Receiver<Vec<Served>>,
    ) -> Self {
        Self {
            live,
            metrics,
            http,
            tftp,
            served,
            traffic: Mutex::new(Traffic {
                at: Instant::now(),
                bytes: 0,
                per_s: 0,
            }),
            start: Instant::now(),
            kept: Mutex::default(),
        }
    }

    /// A second has gone by.
    pub fn tick(&self) {
        let bytes = self.sent();
        let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        let ms = traffic.at.elapsed().as_millis().max(1);
        let new = u128::from(bytes.saturating_sub(traffic.bytes)) * 1000 / ms;
        *traffic = Traffic {
            at: Instant::now(),
            bytes,
            per_s: u64::try_from(new).unwrap_or(u64::MAX),
        };
        drop(traffic);
        crate::host::log::tick();
        self.live.now().fleet.tick();
    }

    /// What `view` shows now.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn show(&self, view: View) -> anyhow::Result<Content> {
        let mut etag = None;
        let (media_type, bytes) = match view {
            View::Page => ("text/html; charset=utf-8", self.shot()?.page()?),
            View::File(file) => {
                etag = Some(file.digest());
                (file.media_type, Bytes::from_static(file.text.as_bytes()))
            }
            View::Nodes(state) => ("application/json", self.shot()?.json(state)?),
            View::Metrics => (metrics::MEDIA_TYPE, self.metrics()?.into()),
            View::Health => {
                self.catalogue().context("reading the store")?;
                self.all_served()?;
                ("text/plain; charset=utf-8", Bytes::from_static(b"ok\n"))
            }
            // Its body has no end; the server has it.
            View::Events => ("text/event-stream", Bytes::new()),
        };
        Ok(Content {
            bytes: bytes.into(),
            etag,
            media_type,
            mapping: None,
            part: None,
        })
    }

    /// Machines are answered on all interfaces that are served.
    fn all_served(&self) -> anyhow::Result<()> {
        let served = self.served.borrow();
        let troubles = served.iter().filter_map(|one| one.trouble.as_deref());
        let troubles = troubles.collect::<Vec<_>>().join("\n");
        anyhow::ensure!(troubles.is_empty(), troubles);
        Ok(())
    }

    /// All that is known, a second old or so.
    fn shot(&self) -> anyhow::Result<Arc<Shot>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(
            || self.start.elapsed(),
            || {
                Ok(Arc::new(Shot {
                    snapshot: self.look()?,
                    json: Default::default(),
                    page: OnceLock::new(),
                }))
            },
        )
    }

    fn look(&self) -> anyhow::Result<Snapshot> {
        let catalogue = self.catalogue()?;
        let fleet = Arc::clone(&self.live.now().fleet);
        let workers = fleet.rows(&catalogue);
        let (refused, unlisted) = {
            let fleet = fleet.lock();
            (fleet.refused(), fleet.unlisted())
        };
        let images = catalogue
            .current
            .iter()
            .map(|(name, generation)| self.image(name, generation, &workers))
            .collect();
        let traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Snapshot {
            version: snapshot::VERSION,
            manager: Manager {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                up_s: self.live.now().fleet.up().as_secs(),
                bytes_per_s: traffic.per_s,
                bytes: self.sent(),
                refused,
                unlisted,
                interfaces: self.served.borrow().clone(),
            },
            images,
            workers,
        })
    }

    fn image(&self, name: &Name, generation: &Generation, workers: &[WorkerRow]) -> ImageRow {
        let before = self.live.now().store.before(name, 1).ok().flatten();
        let previous = before
            .map(|before| before.image)
            .filter(|id| *id != generation.image);
        let running = |id| {
            let run = workers.iter().filter(|row| row.runs());
            run.filter(|row| row.image.as_ref().is_some_and(|image| image.id == id))
                .count()
        };
        ImageRow {
            name: name.to_string(),
            id: generation.image,
            size: generation.size,
            kernel: generation.kernel_version.clone(),
            arch: generation.arch,
            published_s: now().saturating_sub(generation.published),
            note: generation.note.clone(),
            previous,
            running: running(generation.image),
            running_previous: previous.map_or(0, running),
        }
    }

    /// What every name stands for now.
    fn catalogue(&self) -> anyhow::Result<Catalogue> {
        let planner = self.live.now();
        let store = &planner.store;
        let mut current = Vec::new();
        for name in store.names()? {
            if let Some(generation) = store.current(&name)? {
                current.push((name, generation));
            }
        }
        Ok(Catalogue {
            config: Arc::clone(&planner.config),
            current,
        })
    }

    fn metrics(&self) -> anyhow::Result<Vec<u8>> {
        let shot = self.shot()?;
        let snapshot = &shot.snapshot;
        self.metrics.text(&Sources {
            http: &self.http,
            tftp: &self.tftp,
            refused: snapshot.manager.refused,
            workers: &snapshot.workers,
            images: snapshot.images.len(),
            up_s: self.live.now().fleet.up().as_secs(),
        })
    }

    fn sent(&self) -> u64 {
        let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        of(&self.http.sent).saturating_add(of(&self.tftp.bytes))
    }
}

impl Shot {
    fn json(&self, state: Option<Standing>) -> anyhow::Result<Bytes> {
        let place = Standing::ALL.iter().position(|at| Some(*at) == state);
        let made = &self.json[place.map_or(0, |place| place + 1)];
        once(made, || {
            serde_json::to_string(&self.snapshot.only(state)).context("writing JSON")
        })
    }

    fn page(&self) -> anyhow::Result<Bytes> {
        once(&self.page, || page::html(&self.snapshot, now()))
    }
}

fn once(
    made: &OnceLock<Bytes>,
    make: impl FnOnce() -> anyhow::Result<String>,
) -> anyhow::Result<Bytes> {
    if let Some(bytes) = made.get() {
        return Ok(bytes.clone());
    }
    let mut text = make()?;
    text.shrink_to_fit();
    let bytes = Bytes::from(text);
    Ok(made.get_or_init(|| bytes).clone())
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
