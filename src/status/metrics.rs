//! What is counted, for Prometheus: its text format, version 0.0.4, at `/metrics`.
//!
//! Names and labels are an interface: the dashboard and the alert rules in packaging/ read them. No label has a value that
//! somebody on the network could choose.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use ramboot_wire::Stage;

use crate::fleet::snapshot::{Standing, WorkerRow};
use crate::fleet::worker::News;
use crate::{http, tftp};

/// Media type of [`Metrics::text`].
pub const MEDIA_TYPE: &str = prometheus::TEXT_FORMAT;

/// All of it.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    boots: IntCounterVec,
    boot_seconds: Histogram,
    untethered_seconds: Histogram,
    stage_seconds: HistogramVec,
    dhcp: IntCounterVec,
    mirrors: Mirrors,
}

/// What is counted elsewhere, and copied when somebody asks.
#[derive(Debug)]
struct Mirrors {
    sent: IntCounterVec,
    requests: IntCounterVec,
    transfers: IntCounterVec,
    refused: IntCounter,
    connections: IntGauge,
    workers: IntGaugeVec,
    tethered: IntGauge,
    outdated: IntGauge,
    images: IntGauge,
    uptime: IntGauge,
}

/// What is copied.
#[derive(Debug)]
pub struct Sources<'a> {
    /// HTTP's counters.
    pub http: &'a http::serve::Counters,
    /// TFTP's counters.
    pub tftp: &'a tftp::Counters,
    /// Reports that were not believed.
    pub refused: u64,
    /// The machines.
    pub workers: &'a [WorkerRow],
    /// Names that are published.
    pub images: usize,
    /// Seconds that the manager runs.
    pub up_s: u64,
}

impl Metrics {
    /// All at zero.
    ///
    /// # Errors
    /// Two have one name: a fault of this file.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new_custom(Some("ramboot".to_owned()), None)?;
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let made = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(made.clone()))?;
            prometheus::Result::Ok(made)
        };
        let gauge = |name: &str, help: &str| {
            let made = IntGauge::new(name, help)?;
            registry.register(Box::new(made.clone()))?;
            prometheus::Result::Ok(made)
        };
        let boots = counters(
            "boots_total",
            "Boots that ended: up (the image's init runs) or failed, and in which stage.",
            &["outcome", "stage"],
        )?;
        // At zero from the start: Prometheus sees no rise in what was not there before.
        boots.with_label_values(&["up", Stage::Handover.name()]);
        for stage in Stage::BOOT {
            boots.with_label_values(&["failed", stage.name()]);
        }
        let dhcp = counters(
            "dhcp_decisions_total",
            "DHCP packets by what became of them (answered, ignored, malformed) and why.",
            &["decision", "reason"],
        )?;
        let boot_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "boot_seconds",
                "From the firmware's first question to the image's init.",
            )
            .buckets(BOOT_BUCKETS.to_vec()),
        )?;
        registry.register(Box::new(boot_seconds.clone()))?;
        let untethered_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "untethered_seconds",
                "From the mount of an image that was not all there until it was, and the machine needed nobody.",
            )
            .buckets(BOOT_BUCKETS.to_vec()),
        )?;
        registry.register(Box::new(untethered_seconds.clone()))?;
        let stage_seconds = HistogramVec::new(
            HistogramOpts::new("stage_seconds", "How long the stages of /init took.")
                .buckets(STAGE_BUCKETS.to_vec()),
            &["stage"],
        )?;
        registry.register(Box::new(stage_seconds.clone()))?;
        let refused = IntCounter::new(
            "reports_refused_total",
            "Reports and heartbeats that were not believed: too many, or from another address.",
        )?;
        registry.register(Box::new(refused.clone()))?;
        let workers = IntGaugeVec::new(
            Opts::new("workers", "Machines that are known, by where they stand."),
            &["state"],
        )?;
        registry.register(Box::new(workers.clone()))?;
        let build = IntGaugeVec::new(Opts::new("build_info", "Always 1."), &["version"])?;
        registry.register(Box::new(build.clone()))?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let mirrors = Mirrors {
            sent: counters(
                "sent_bytes_total",
                "Bytes of files that left, by protocol.",
                &["protocol"],
            )?,
            requests: counters(
                "http_requests_total",
                "HTTP requests: answered (2xx, 304) or refused (4xx, 5xx).",
                &["outcome"],
            )?,
            transfers: counters(
                "tftp_transfers_total",
                "TFTP requests by how they ended.",
                &["outcome"],
            )?,
            refused,
            connections: gauge("http_connections", "HTTP connections that are open.")?,
            workers,
            tethered: gauge(
                "workers_tethered",
                "Machines that run, and need a manager until all of their image is in their RAM.",
            )?,
            outdated: gauge(
                "workers_outdated",
                "Machines that would boot another image than they run if they were switched off and on.",
            )?,
            images: gauge("images", "Names that are published.")?,
            uptime: gauge("uptime_seconds", "Since the manager started.")?,
        };
        Ok(Self {
            registry,
            boots,
            boot_seconds,
            untethered_seconds,
            stage_seconds,
            dhcp,
            mirrors,
        })
    }

    /// A boot went on, or ended.
    pub fn boot(&self, news: News) {
        match news {
            News::Stage(stage, ms) => self.stage(stage.name(), ms),
            News::Up(stage_ms, boot_ms) => {
                self.stage("handover", stage_ms);
                self.boots.with_label_values(&["up", "handover"]).inc();
                if let Some(ms) = boot_ms {
                    self.boot_seconds.observe(seconds(ms));
                }
            }
            News::Failed(stage) => {
                self.boots
                    .with_label_values(&["failed", stage.name()])
                    .inc();
            }
            News::Untethered(ms) => self.untethered_seconds.observe(seconds(ms)),
        }
    }

    fn stage(&self, stage: &str, ms: u64) {
        self.stage_seconds
            .with_label_values(&[stage])
            .observe(seconds(ms));
    }

    /// A DHCP packet was decided about.
    pub fn dhcp(&self, decision: &'static str, reason: &'static str) {
        self.dhcp.with_label_values(&[decision, reason]).inc();
    }

    /// The text that Prometheus reads.
    ///
    /// # Errors
    /// A metric has no value: a fault of this file.
    pub fn text(&self, sources: &Sources<'_>) -> anyhow::Result<Vec<u8>> {
        self.mirrors.copy(sources);
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

impl Mirrors {
    fn copy(&self, sources: &Sources<'_>) {
        let Sources { http, tftp, .. } = sources;
        for (counters, label, value) in [
            (&self.sent, "http", &http.sent),
            (&self.sent, "tftp", &tftp.bytes),
            (&self.requests, "answered", &http.answered),
            (&self.requests, "refused", &http.refused),
            (&self.transfers, "sent", &tftp.served),
            (&self.transfers, "probed", &tftp.probed),
            (&self.transfers, "missing", &tftp.missing),
            (&self.transfers, "refused", &tftp.refused),
            (&self.transfers, "failed", &tftp.failed),
        ] {
            raise(&counters.with_label_values(&[label]), of(value));
        }
        raise(&self.refused, sources.refused);
        self.connections.set(signed(of(&http.connections)));
        for state in Standing::ALL {
            let count = sources.workers.iter().filter(|row| row.state == state);
            self.workers
                .with_label_values(&[state.name()])
                .set(signed(count.count() as u64));
        }
        let tethered = sources.workers.iter().filter(|row| row.is_tethered());
        self.tethered.set(signed(tethered.count() as u64));
        let outdated = sources.workers.iter().filter(|row| row.would_change);
        self.outdated.set(signed(outdated.count() as u64));
        self.images.set(signed(sources.images as u64));
        self.uptime.set(signed(sources.up_s));
    }
}

/// Two who ask at once may both see the old value: it never goes back.
fn raise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

fn of(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}

/// From a PC on a fast network to a rack that waits for its turn.
const BOOT_BUCKETS: [f64; 9] = [5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// A stage takes milliseconds, or waits.
const STAGE_BUCKETS: [f64; 10] = [0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];
