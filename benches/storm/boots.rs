//! Machines that do what they should, very many at once.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use ramboot_swarm::rig::{Lan, Manager, Peaks, Sizes, fill};
use ramboot_swarm::summary::Summary;
use ramboot_swarm::{Hot, Plan, Storm, run, svg};

use crate::Scale;
use crate::checks::{Bar, Checks};

const MB: usize = 1_000_000;
/// What one answer may take to begin, in seconds.
const FIRST_ANSWER: f64 = 2.0;

/// One storm and what to try it on.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) machines: u32,
    pub(crate) image: usize,
    pub(crate) megabits: Option<u32>,
    pub(crate) prefer_wait: bool,
    /// All are switched on at once and do nothing but fetch.
    pub(crate) rush: bool,
    /// Connections of each machine for its image.
    pub(crate) streams: u32,
    /// Percent of the image that a machine needs to run; `None`: it streams nothing.
    pub(crate) hot: Option<u8>,
}

/// As many as `/init` has.
pub(crate) const STREAMS: u32 = 4;

impl Case {
    pub(crate) fn sizes(&self) -> Sizes {
        // Debian's kernel and an initramfs with a few modules.
        Sizes {
            image: self.image,
            kernel: 8 * MB,
            initrd: 8 * MB,
        }
    }

    fn plan(&self, lan: &Lan) -> Plan {
        let ordinary = Plan::default();
        Plan {
            machines: self.machines,
            interface: lan.interface(),
            prefer_wait: self.prefer_wait,
            streams: self.streams,
            hot: self.hot.map(Hot::Percent),
            deadline: Duration::from_secs(1800),
            within: if self.rush {
                Duration::ZERO
            } else {
                ordinary.within
            },
            think: if self.rush {
                Duration::ZERO
            } else {
                ordinary.think
            },
            ..ordinary
        }
    }

    /// Prints it and draws it.
    pub(crate) fn run(&self) -> anyhow::Result<Found> {
        let state = tempfile::tempdir()?;
        fill(state.path(), self.sizes())?;
        let lan = Lan::new()?;
        if let Some(megabits) = self.megabits {
            lan.shape(megabits)?;
        }
        let program = Path::new(env!("CARGO_BIN_EXE_ramboot"));
        let mut manager = Manager::start(&lan, program, state.path(), &[])?;
        let found = self.again(&lan, &mut manager)?;
        for line in manager.said().iter().take(10) {
            println!("{line}");
        }
        Ok(found)
    }

    /// The same with what is there.
    pub(crate) fn again(&self, lan: &Lan, manager: &mut Manager) -> anyhow::Result<Found> {
        let plan = self.plan(lan);
        manager.watch()?;
        let (storm, lost) = lan.watched(|| lan.client(move || run(plan)).join())?;
        let storm = storm.map_err(|_| anyhow::anyhow!("the swarm panicked"))??;
        let (peaks, cpu) = manager.seen()?;
        let summary = storm.summary();
        let megabytes = self.image / MB;
        println!(
            "\n== {}: {} machines × {megabytes} MB{}{}, Prefer: wait {}\n{summary}manager: {cpu:.2} s CPU; kernel: {lost}",
            self.name,
            self.machines,
            self.megabits
                .map_or_else(String::new, |rate| format!(", {rate} Mbit/s")),
            self.hot
                .map_or_else(String::new, |hot| format!(", {hot} % of it hot")),
            if self.prefer_wait { "on" } else { "off" },
        );
        self.draw(&storm)?;
        Ok(Found {
            storm,
            summary,
            peaks,
            cpu,
        })
    }

    fn draw(&self, storm: &Storm) -> anyhow::Result<()> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/storm");
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}.svg", self.name));
        let title = format!(
            "{}: {} machines, {} MB each",
            self.name,
            self.machines,
            self.image / MB
        );
        fs::write(&path, svg::timeline(&title, &storm.logs))
            .with_context(|| format!("writing {}", path.display()))
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Found {
    storm: Storm,
    pub(crate) summary: Summary,
    peaks: Peaks,
    cpu: f64,
}

impl Found {
    /// What holds in every storm.
    pub(crate) fn check(&self, name: &'static str, checks: &mut Checks) {
        let failed = (self.summary.machines - self.summary.booted) as f64;
        let most = |what| self.peaks.most(what) as f64;
        let longest = self.summary.longest_wait();
        let gb = (self.summary.image_bytes + self.summary.boot_bytes) as f64 / 1e9;
        checks.bar(name, "machines that failed", failed, "", Bar::AtMost(0.0));
        checks.bar(
            name,
            "longest wait for a first answer",
            longest,
            "s",
            Bar::AtMost(FIRST_ANSWER),
        );
        let own = most(|sample| sample.own) / (1 << 20) as f64;
        checks.bar(
            name,
            "manager's RSS beside the mapping",
            own,
            "MiB",
            Bar::AtMost(64.0),
        );
        // Four connections of a machine, and what the manager has by itself or by TFTP transfers.
        let bound = 4.0 * self.summary.machines as f64 + 256.0;
        checks.bar(
            name,
            "manager's file descriptors",
            most(|sample| sample.descriptors),
            "",
            Bar::AtMost(bound),
        );
        checks.figure(name, "manager's threads", most(|sample| sample.threads), "");
        checks.figure(
            name,
            "manager's mapping in RAM",
            most(|sample| sample.mapped) / (1 << 20) as f64,
            "MiB",
        );
        let tcp = most(|sample| sample.tcp) / (1 << 20) as f64;
        checks.figure(name, "TCP's memory, both ends", tcp, "MiB");
        checks.figure(name, "manager's CPU a GB", self.cpu / gb, "s");
        checks.figure(name, "images", self.summary.image_rate() / 1e9, "GB/s");
        checks.figure(name, "the swarm's own delay", self.summary.own_delay, "s");
        let fair = self.summary.slowest_to_mean().unwrap_or(f64::NAN);
        checks.figure(name, "slowest / mean", fair, "");
    }

    /// What left the manager's port while images were fetched, of what it can carry. The kernel hands veth up to 64 KiB
    /// with one header, and the token bucket counts all of them: 1 448 bytes of payload in each 1 514.
    fn link_used(&self, megabits: u32) -> f64 {
        let spans = self.storm.logs.iter().flat_map(|log| &log.spans);
        let fetching = spans.filter(|span| span.stage.is_fetching());
        let from = fetching
            .clone()
            .map(|span| span.from)
            .min()
            .unwrap_or_default();
        let to = fetching.map(|span| span.to).max().unwrap_or_default();
        let began = self.storm.began;
        let rate = self.peaks.rate(began + from, began + to);
        rate.unwrap_or(f64::NAN) * 8.0 / (f64::from(megabits) * 1e6 * 1448.0 / 1514.0)
    }

    fn mean_and_max(&self) -> (f64, f64) {
        let boot = self.summary.boot;
        boot.map_or((f64::NAN, f64::NAN), |boot| (boot.mean, boot.max))
    }
}

/// All at once, as fast as the machine is.
pub(crate) fn storm(scale: Scale, checks: &mut Checks) -> anyhow::Result<()> {
    let case = Case {
        name: "storm",
        machines: scale.machines(1000, 100),
        image: scale.image(200, 20),
        megabits: None,
        prefer_wait: true,
        rush: false,
        streams: STREAMS,
        hot: None,
    };
    case.run()?.check(case.name, checks);
    Ok(())
}

/// A link that is the bottleneck: it is used, and shared fairly. All fetch at once, as clients do that do not wait for
/// their turn. TCP shares a link by connection: while some machines have four for their image and others still one for
/// their kernel, the first get more. So what the manager does is seen with one connection each, as curl and dracut have.
pub(crate) fn gigabit(scale: Scale, checks: &mut Checks) -> anyhow::Result<()> {
    let megabits = 1000;
    let case = |name, streams| Case {
        name,
        machines: scale.machines(100, 20),
        image: scale.image(50, 20),
        megabits: Some(megabits),
        prefer_wait: false,
        rush: false,
        streams,
        hot: None,
    };
    let four = case("gigabit", STREAMS).run()?;
    four.check("gigabit", checks);
    let used = four.link_used(megabits);
    checks.bar("gigabit", "of the link used", used, "", Bar::AtLeast(0.95));
    let one = case("gigabit-single", 1).run()?;
    let fair = one.summary.slowest_to_mean().unwrap_or(f64::NAN);
    checks.bar(
        "gigabit",
        "slowest / mean, one connection each",
        fair,
        "",
        Bar::AtMost(1.2),
    );
    Ok(())
}

/// One after the other, or all at once: what a machine waits until it has its image.
pub(crate) fn order(scale: Scale, checks: &mut Checks) -> anyhow::Result<()> {
    let case = |name, prefer_wait| Case {
        name,
        machines: scale.machines(100, 20),
        image: scale.image(50, 20),
        megabits: Some(1000),
        prefer_wait,
        rush: false,
        streams: STREAMS,
        hot: None,
    };
    let at_once = case("order-at-once", false).run()?;
    let in_turn = case("order-in-turn", true).run()?;
    at_once.check("at-once", checks);
    in_turn.check("in-turn", checks);
    let ((mean, max), (turn_mean, turn_max)) = (at_once.mean_and_max(), in_turn.mean_and_max());
    checks.figure("order", "mean time to boot, at once", mean, "s");
    checks.figure("order", "mean time to boot, in turn", turn_mean, "s");
    checks.figure("order", "longest time to boot, at once", max, "s");
    checks.figure("order", "longest time to boot, in turn", turn_max, "s");
    checks.figure("order", "mean, in turn / at once", turn_mean / mean, "");
    Ok(())
}
