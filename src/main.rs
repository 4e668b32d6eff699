//! `ramboot`: parse, one match, exit code.

use std::process::ExitCode;

use clap::Parser;
use ramboot::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    println!("{cli:?}");
    ExitCode::SUCCESS
}
