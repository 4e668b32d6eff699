//! Programs that end with the bench, and what they have cost so far.

use std::fs;
use std::path::Path;
use std::process::{Child, ChildStdin, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// Terminated and waited for when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> anyhow::Result<Self> {
        let name = format!("{command:?}");
        let child = command
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self { child, name })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input, if it was piped; once.
    pub(crate) fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits until all its children have ended.
    pub(crate) fn wait_for_children(&mut self) -> anyhow::Result<()> {
        let pid = self.pid();
        self.wait_for("its children to end", || Ok(children(pid)?.is_empty()))
    }

    /// Waits until `fact` is true; the process must not end before.
    pub(crate) fn wait_for(
        &mut self,
        what: &str,
        mut fact: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let begin = Instant::now();
        while !fact()? {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("{} ended: {status}", self.name);
            }
            ensure!(
                begin.elapsed() < Duration::from_secs(10),
                "waited 10 s for {what}"
            );
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// CPU seconds of the process and of the children that it has now; threads that have ended count.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let mut seconds = 0.0;
        for pid in self.family()? {
            let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid.cast_signed()))?;
            seconds += Duration::from(clock_gettime(clock)?).as_secs_f64();
        }
        Ok(seconds)
    }

    /// Megabytes (10⁶) of RAM that are nobody else's: no mapping of a file.
    pub(crate) fn rss(&self) -> anyhow::Result<f64> {
        let mut sum = 0.0;
        for pid in self.family()? {
            sum += megabytes(pid, "RssAnon:")?.context("no RssAnon in /proc/PID/status")?;
        }
        Ok(sum)
    }

    /// Megabytes (10⁶) that a process had in RAM at most, mapped files included; `None` when it is over.
    pub(crate) fn peak(pid: u32) -> anyhow::Result<Option<f64>> {
        megabytes(pid, "VmHWM:")
    }

    /// The process and its children, as nginx has them.
    fn family(&self) -> anyhow::Result<Vec<u32>> {
        let mut pids = children(self.pid())?;
        pids.push(self.pid());
        Ok(pids)
    }
}

fn children(pid: u32) -> anyhow::Result<Vec<u32>> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let pids = children
        .split_whitespace()
        .map(|pid| pid.parse().context("reading children"));
    pids.collect()
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGTERM, so that nginx's master takes its workers along. It may have ended by itself.
        let _ = kill(Pid::from_raw(self.pid().cast_signed()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// A field of /proc/PID/status; a zombie has none.
fn megabytes(pid: u32, field: &str) -> anyhow::Result<Option<f64>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.map(|line| line.trim().trim_end_matches(" kB").parse::<f64>());
    Ok(kib.transpose()?.map(|kib| kib * 1024.0 / 1e6))
}

/// CPU seconds of this process, the clients' among them.
pub(crate) fn own_cpu_seconds() -> anyhow::Result<f64> {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
    Ok(Duration::from(time).as_secs_f64())
}

/// A program of the system, wherever it is: `/usr/sbin` is not in every PATH.
pub(crate) fn program(name: &str) -> anyhow::Result<String> {
    ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin"]
        .iter()
        .map(|folder| format!("{folder}/{name}"))
        .find(|path| Path::new(path).exists())
        .with_context(|| format!("{name} is missing: run tests/setup.sh"))
}
