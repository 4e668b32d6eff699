//! What is logged goes to stderr, and a panic is logged: one line of level ERROR, as loud as what ends the manager.
//!
//! Each event is one line, whatever is in it ([`mod@line`]), and nobody can make the manager write as many as they like
//! ([`budget`]).
#![expect(clippy::disallowed_methods, reason = "shell: owns the log's clock")]

mod budget;
mod line;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal, Write as _};
use std::panic::PanicHookInfo;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use tracing::{Subscriber, error, warn};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Format, Full};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::util::SubscriberInitExt as _;

use line::{Fields, Ration, Rationed};

/// Logs to stderr what `filter` lets through, from now on; once in a process.
pub fn to_stderr(filter: &EnvFilter) {
    let terminal = std::io::stderr().is_terminal();
    let (filter, ration) = (filter.clone(), Arc::clone(&RATION));
    let format = tracing_subscriber::fmt::format();
    let out = (std::io::stderr, terminal);
    // A child of PID 1 that has no terminal writes to the journal, which has its own clock.
    if !terminal && rustix::process::getppid().is_some_and(rustix::process::Pid::is_init) {
        lines(format.without_time(), out, filter, ration).init();
    } else {
        lines(format, out, filter, ration).init();
    }
    std::panic::set_hook(Box::new(panicked));
}

/// A second has gone by: tells how much was left out.
pub fn tick() {
    for out in RATION.due() {
        let (lines, seconds, text) = (out.lines, out.seconds, &out.text);
        match &out.source {
            Some(source) => warn!(
                "{lines} more lines like this from {source} in the last {seconds} s were not logged: {text}"
            ),
            None => warn!(
                "{lines} more lines like this from many sources in the last {seconds} s were not logged: {text}"
            ),
        }
    }
}

fn lines<T, W>(
    format: Format<Full, T>,
    (writer, terminal): (W, bool),
    filter: EnvFilter,
    ration: Arc<Ration>,
) -> impl Subscriber + Send + Sync
where
    T: FormatTime + Send + Sync + 'static,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_writer(writer)
        .with_ansi(terminal)
        .event_format(Rationed(format.with_target(false), ration))
        .fmt_fields(Fields)
        .with_env_filter(filter)
        .finish()
}

/// tokio ends the task and goes on: of an HTTP connection, nobody but its other side would notice.
fn panicked(info: &PanicHookInfo<'_>) {
    error!("a fault of ramboot itself, please report it: {info}");
    let trace = Backtrace::capture();
    // With RUST_BACKTRACE=1.
    if trace.status() == BacktraceStatus::Captured {
        let _ = std::io::stderr().write_all(format!("{trace}\n").as_bytes());
    }
}

static RATION: LazyLock<Arc<Ration>> = LazyLock::new(|| Ration::new(now));

fn now() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

#[cfg(test)]
mod tests;
