//! `ramboot`: parse, one match, exit code.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::process::ExitCode;

use clap::Parser;
use ramboot::cli::{Cli, Command};
use ramboot::{build, doctor, eeprom, images, nodes, publish, serve};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(&cli.log);
    std::panic::set_hook(Box::new(panicked));
    let result = match &cli.command {
        Command::Build(args) => build::run(args),
        Command::Publish(args) => publish::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Nodes(args) => nodes::run(args),
        Command::Images(args) => images::list::run(args),
        Command::Profile(args) => images::profile::run(args),
        Command::Rollback(args) => images::rollback::run(args),
        Command::Unpublish(args) => images::unpublish::run(args),
        Command::Gc(args) => images::gc::run(args),
        Command::Eeprom(args) => eeprom::verbs::run(args),
        // What is wrong was said on stdout.
        Command::Doctor(args) => match doctor::run(args) {
            Ok(false) => return ExitCode::FAILURE,
            done => done.map(drop),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // At once, so that no other line gets between; and a log on a disk that is full is no reason to panic.
            let line = format!("ramboot: {error:#}\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr(filter: &EnvFilter) {
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
}

/// A fault of ours ends one connection or one packet's work, not the manager: it must be as loud in the log as what ends it.
fn panicked(info: &PanicHookInfo<'_>) {
    let what = info.to_string().replace('\n', " ");
    // With RUST_BACKTRACE=1.
    let trace = Backtrace::capture();
    match trace.status() {
        BacktraceStatus::Captured => {
            tracing::error!("a fault of ramboot itself, please report it: {what}\n{trace}");
        }
        _ => tracing::error!("a fault of ramboot itself, please report it: {what}"),
    }
}
