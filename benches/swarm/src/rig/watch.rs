//! What a process holds, from /proc, while others work it hard.

use std::fs;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;

/// One moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// RssAnon + RssShmem, in bytes: what is its own. RssFile is the page cache, which the kernel takes back.
    pub own: u64,
    /// RssFile, in bytes: what it has mapped of images and of itself.
    pub mapped: u64,
    /// Threads.
    pub threads: u64,
    /// File descriptors.
    pub descriptors: u64,
    /// Bytes that left its interface, with Ethernet's headers.
    pub sent: u64,
    /// Bytes that TCP holds, in all namespaces: what is sent and not acknowledged, and what is received and not read.
    pub tcp: u64,
}

/// The highest values of some time.
#[derive(Debug, Clone, Default)]
pub struct Peaks {
    /// All samples, 100 ms apart.
    pub samples: Vec<Sample>,
}

impl Peaks {
    /// The highest of one value.
    #[must_use]
    pub fn most(&self, what: fn(&Sample) -> u64) -> u64 {
        self.samples.iter().map(what).max().unwrap_or(0)
    }

    /// Bytes a second that left the interface between two moments; `None` if there are no samples of that time.
    #[must_use]
    pub fn rate(&self, from: Instant, to: Instant) -> Option<f64> {
        let within = || {
            self.samples
                .iter()
                .filter(|sample| from <= sample.at && sample.at <= to)
        };
        let (first, last) = (within().next()?, within().next_back()?);
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        (seconds > 0.0).then(|| (last.sent - first.sent) as f64 / seconds)
    }
}

/// A watch that runs.
#[derive(Debug)]
pub(super) struct Watch {
    thread: JoinHandle<anyhow::Result<Peaks>>,
    _stop: Sender<()>,
}

impl Watch {
    pub(super) fn start(pid: u32, interface: &'static str) -> Self {
        let (stop, stopped) = channel::<()>();
        let thread = thread::spawn(move || {
            let mut peaks = Peaks::default();
            loop {
                peaks.samples.push(sample(pid, interface)?);
                if stopped.recv_timeout(EACH) == Err(RecvTimeoutError::Disconnected) {
                    return Ok(peaks);
                }
            }
        });
        Self {
            thread,
            _stop: stop,
        }
    }

    pub(super) fn end(self) -> anyhow::Result<Peaks> {
        let Self { thread, _stop } = self;
        drop(_stop);
        let peaks = thread.join();
        peaks.map_err(|_| anyhow::anyhow!("the watch panicked"))?
    }
}

const EACH: Duration = Duration::from_millis(100);

pub(super) fn sample(pid: u32, interface: &str) -> anyhow::Result<Sample> {
    let read = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        fs::read_to_string(&path).with_context(|| format!("reading {path}"))
    };
    let status = read("status")?;
    let of = |name: &str| field(&status, name).with_context(|| format!("no {name} in {status}"));
    let network = read("net/dev")?;
    // Eight columns of receiving, then sending, which begins with bytes.
    let sent = network
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))
        .and_then(|line| line.split_ascii_whitespace().nth(8)?.parse().ok());
    let sockets = read("net/sockstat")?;
    // TCP: inuse 2 orphan 0 tw 0 alloc 4 mem 1
    let pages = sockets.lines().find_map(|line| line.strip_prefix("TCP:"));
    let pages = pages.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    let tcp = pages.map(|pages| pages * rustix::param::page_size() as u64);
    Ok(Sample {
        at: Instant::now(),
        own: 1024 * (of("RssAnon:")? + of("RssShmem:")?),
        mapped: 1024 * of("RssFile:")?,
        threads: of("Threads:")?,
        descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64,
        sent: sent.with_context(|| format!("no {interface} in {network}"))?,
        tcp: tcp.with_context(|| format!("no TCP memory in {sockets}"))?,
    })
}

fn field(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

/// CPU time of a process and its threads, in seconds: schedstat's first number is in nanoseconds.
pub(super) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_of_this_process() {
        let sample = sample(std::process::id(), "lo").expect("Linux");
        assert!(
            sample.own > 100_000 && sample.threads >= 1 && sample.descriptors >= 3,
            "{sample:?}"
        );
    }

    #[test]
    fn a_rate_is_between_two_moments() {
        let now = Instant::now();
        let at = |ms, sent| Sample {
            at: now + Duration::from_millis(ms),
            own: 0,
            mapped: 0,
            threads: 0,
            descriptors: sent / 10,
            sent,
            tcp: 0,
        };
        let samples = vec![at(0, 0), at(100, 50), at(300, 150), at(400, 150)];
        let peaks = Peaks { samples };
        let later = |ms| now + Duration::from_millis(ms);
        assert_eq!(peaks.rate(later(50), later(350)), Some(500.0));
        assert_eq!(peaks.rate(later(310), later(350)), None);
        assert_eq!(peaks.most(|sample| sample.descriptors), 15);
    }
}
