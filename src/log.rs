//! What is logged goes to stderr, and a panic is logged: one line of level ERROR, as loud as what ends the manager.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::panic::PanicHookInfo;

use tracing::error;
use tracing_subscriber::EnvFilter;

/// Logs to stderr what `filter` lets through, from now on; once in a process.
pub fn to_stderr(filter: &EnvFilter) {
    let terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(terminal)
        .with_env_filter(filter.clone());
    // A child of PID 1 that has no terminal writes to the journal, which has its own clock.
    if !terminal && rustix::process::getppid().is_some_and(rustix::process::Pid::is_init) {
        log.without_time().init();
    } else {
        log.init();
    }
    std::panic::set_hook(Box::new(panicked));
}

/// tokio ends the task and goes on: of an HTTP connection, nobody but its other side would notice.
fn panicked(info: &PanicHookInfo<'_>) {
    let what = info.to_string().replace('\n', " ");
    let trace = Backtrace::capture();
    let trace = match trace.status() {
        // With RUST_BACKTRACE=1.
        BacktraceStatus::Captured => format!("\n{trace}"),
        _ => String::new(),
    };
    error!("a fault of ramboot itself, please report it: {what}{trace}");
}
