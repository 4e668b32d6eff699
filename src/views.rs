//! The shell behind [`crate::http::view`]: fleet, store and counters become what people and programs look at.
//!
//! Whatever is made is kept for a second, so that many who look at once cost no more than one.
#![expect(clippy::disallowed_methods, reason = "shell: reads the clocks")]

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use bytes::Bytes;
use tokio::sync::watch;

use crate::boot::live::Live;
use crate::control::Served;
use crate::fleet::rows::Catalogue;
use crate::fleet::snapshot::{self, ImageRow, Manager, Snapshot, WorkerRow};
use crate::http::answer::Content;
use crate::http::view::View;
use crate::metrics::{self, Sources};
use crate::store::{Generation, Name};
use crate::{http, page, tftp};

/// What all views are made of.
#[derive(Debug)]
pub struct Viewer {
    live: Arc<Live>,
    http: Arc<http::serve::Counters>,
    tftp: Arc<tftp::Counters>,
    served: watch::Receiver<Vec<Served>>,
    traffic: Mutex<Traffic>,
    kept: Mutex<Option<(Instant, Arc<Snapshot>)>>,
    page: Mutex<Option<(Arc<Snapshot>, Bytes)>>,
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
        live: Arc<Live>,
        http: Arc<http::serve::Counters>,
        tftp: Arc<tftp::Counters>,
        served: watch::Receiver<Vec<Served>>,
    ) -> Self {
        Self {
            live,
            http,
            tftp,
            served,
            traffic: Mutex::new(Traffic {
                at: Instant::now(),
                bytes: 0,
                per_s: 0,
            }),
            kept: Mutex::default(),
            page: Mutex::default(),
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
        self.live.now().fleet.tick();
    }

    /// What `view` shows now.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn show(&self, view: View) -> anyhow::Result<Content> {
        let mut etag = None;
        let (media_type, bytes) = match view {
            View::Page => ("text/html; charset=utf-8", self.page()?),
            View::File(file) => {
                etag = Some(file.digest());
                (file.media_type, Bytes::from_static(file.text.as_bytes()))
            }
            View::Nodes => {
                let json = serde_json::to_vec(&*self.snapshot()?).context("writing JSON")?;
                ("application/json", json.into())
            }
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

    /// All that is known, at most a second old.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn snapshot(&self) -> anyhow::Result<Arc<Snapshot>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, snapshot)) = &*kept
            && at.elapsed() < KEPT
        {
            return Ok(Arc::clone(snapshot));
        }
        let snapshot = Arc::new(self.look()?);
        *kept = Some((Instant::now(), Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    /// Made once of each snapshot.
    fn page(&self) -> anyhow::Result<Bytes> {
        let snapshot = self.snapshot()?;
        let mut kept = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, page)) = &*kept
            && Arc::ptr_eq(of, &snapshot)
        {
            return Ok(page.clone());
        }
        let page = Bytes::from(page::html(&snapshot, now())?);
        *kept = Some((snapshot, page.clone()));
        Ok(page)
    }

    fn look(&self) -> anyhow::Result<Snapshot> {
        let catalogue = self.catalogue()?;
        let workers = self.live.now().fleet.rows(&catalogue);
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
                refused: self.live.now().fleet.lock().refused(),
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
        let desk = self.live.now();
        let store = &desk.store;
        let mut current = Vec::new();
        for name in store.names()? {
            if let Some(generation) = store.current(&name)? {
                current.push((name, generation));
            }
        }
        Ok(Catalogue {
            config: Arc::clone(&desk.config),
            current,
        })
    }

    fn metrics(&self) -> anyhow::Result<Vec<u8>> {
        let snapshot = self.snapshot()?;
        self.live.now().fleet.metrics().text(&Sources {
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

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

const KEPT: Duration = Duration::from_millis(900);
