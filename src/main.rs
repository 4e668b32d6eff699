//! `ramboot`: parse, one match, exit code.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use ramboot::cli::{Cli, Command};
use ramboot::serve;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(&cli.log);
    let result = match &cli.command {
        Command::Publish(_) => Err(anyhow::anyhow!("not yet")),
        Command::Serve(args) => serve::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ramboot: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr(filter: &EnvFilter) {
    let terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(terminal);
    let filter = filter.clone();
    // The journal has its own clock; a terminal or a file has none.
    if rustix::process::getppid().is_some_and(rustix::process::Pid::is_init) && !terminal {
        log.without_time().with_env_filter(filter).init();
    } else {
        log.with_env_filter(filter).init();
    }
}
