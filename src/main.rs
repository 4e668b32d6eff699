//! `ramboot`: parse, one match, exit code.

use std::process::ExitCode;

use clap::Parser;
use ramboot::cli::{Cli, Command};
use ramboot::host::{log, terminal};
use ramboot::serve;
use ramboot::verbs::{build, doctor, eeprom, images, nodes, publish};
use ramboot_wire::plain;

/// Characters: some errors name many files.
const MAX_ERROR: usize = 8_192;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log::to_stderr(&cli.log);
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
        Command::Eeprom(args) => eeprom::run(args),
        // What is wrong was said on stdout.
        Command::Doctor(args) => match doctor::run(args) {
            Ok(false) => return ExitCode::FAILURE,
            done => done.map(drop),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let line = plain::line(&format!("{error:#}"), MAX_ERROR);
            terminal::tell(&format!("ramboot: {line}\n"));
            ExitCode::FAILURE
        }
    }
}
