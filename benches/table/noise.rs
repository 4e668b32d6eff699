//! How much of the machine somebody else used meanwhile: the figures of a machine that was not idle are worth nothing.

use std::fs;
use std::thread;

use anyhow::Context as _;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// CPU seconds since the machine started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Noise {
    /// Of all CPUs, idle or not.
    all: f64,
    /// Not idle; what the hypervisor gave to others is somebody's, too.
    busy: f64,
    /// Ours and that of our children which have ended.
    own: f64,
}

impl Noise {
    pub(crate) fn now() -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "));
        let ticks = line.context("no cpu in /proc/stat")?.split_whitespace();
        // user nice system idle iowait irq softirq steal; the guests' are in the first two (proc_stat(5)).
        let ticks = ticks.take(8).map(str::parse::<f64>);
        let ticks = ticks.collect::<Result<Vec<_>, _>>()?;
        let all: f64 = ticks.iter().sum();
        let idle: f64 = ticks.iter().skip(3).take(2).sum();
        let mut own = 0.0;
        for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
            let usage = getrusage(who)?;
            let time = usage.user_time() + usage.system_time();
            own += time.num_microseconds() as f64 / 1e6;
        }
        // USER_HZ is 100 on every architecture this runs on.
        Ok(Self {
            all: all / 100.0,
            busy: (all - idle) / 100.0,
            own,
        })
    }

    /// CPUs that others had since then, on average; all our servers have ended.
    pub(crate) fn cpus_since(self, before: Self) -> anyhow::Result<f64> {
        let cores = thread::available_parallelism()?.get() as f64;
        let others = (self.busy - before.busy) - (self.own - before.own);
        Ok((others / (self.all - before.all) * cores).max(0.0))
    }
}
