//! `ramboot-swarm`: a boot storm in this network namespace.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgAction, Parser};
use ramboot_swarm::{Hot, Plan, run, svg};

/// Many simulated machines boot from the manager that answers DHCP on an interface of this network namespace.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 80, help_expected = true)]
struct Args {
    /// How many machines.
    #[arg(long, short = 'n', default_value_t = 100)]
    machines: u32,
    /// The interface that leads to the manager; it needs a route to it and no address.
    #[arg(long, short = 'i')]
    interface: String,
    /// Chance: the same number, the same storm.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// All are switched on within so many milliseconds.
    #[arg(long, default_value_t = 1000, value_name = "MS")]
    within: u64,
    /// A machine's own work between two stages, in milliseconds.
    #[arg(long, default_value_t = 500, value_name = "MS")]
    think: u64,
    /// Connections of one machine for the image.
    #[arg(long, default_value_t = 4)]
    streams: u32,
    /// One chunk of so many is verified, the others are thrown away.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    sample: u64,
    /// Bytes of a connection's receive buffer; 0 leaves it to the kernel.
    #[arg(long, default_value_t = 262_144, value_name = "BYTES")]
    receive_buffer: u32,
    /// Say "Prefer: wait", as /init does: on or off.
    #[arg(long, default_value = "on", action = ArgAction::Set, value_parser = on_or_off)]
    prefer_wait: bool,
    /// Stream: fetch what is hot first, run, fetch the rest. What is hot, if the manager knows no profile: a profile's
    /// file, or a share of the image as 17%, scattered.
    #[arg(long, value_name = "FILE|N%", value_parser = hot)]
    hot: Option<Hot>,
    /// Chunks that each machine is blocked on while it runs and fetches the rest.
    #[arg(long, default_value_t = 4)]
    demands: u32,
    /// A machine that has not booted after so many seconds has failed.
    #[arg(long, default_value_t = 600, value_name = "S")]
    deadline: u64,
    /// Draw who did what when.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print numbers as JSON.
    #[arg(long)]
    json: bool,
}

fn on_or_off(text: &str) -> Result<bool, &'static str> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("on or off"),
    }
}

fn hot(text: &str) -> anyhow::Result<Hot> {
    if let Some(number) = text.strip_suffix('%') {
        let percent = number.parse().ok().filter(|percent| *percent <= 100);
        return percent.map(Hot::Percent).context("0% to 100% are possible");
    }
    let bytes = std::fs::read(text).with_context(|| format!("reading {text}"))?;
    Ok(Hot::Profile(bytes))
}

fn main() -> ExitCode {
    match storm(Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ramboot-swarm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all booted.
fn storm(args: Args) -> anyhow::Result<bool> {
    let storm = run(Plan {
        machines: args.machines,
        interface: args.interface,
        seed: args.seed,
        within: Duration::from_millis(args.within),
        think: Duration::from_millis(args.think),
        streams: args.streams,
        sample: args.sample,
        receive_buffer: Some(args.receive_buffer).filter(|bytes| *bytes > 0),
        prefer_wait: args.prefer_wait,
        deadline: Duration::from_secs(args.deadline),
        hot: args.hot,
        demands: args.demands,
        ..Plan::default()
    })?;
    let summary = storm.summary();
    if let Some(path) = args.svg {
        let title = format!("{} machines boot", args.machines);
        std::fs::write(&path, svg::timeline(&title, &storm.logs))
            .with_context(|| format!("writing {}", path.display()))?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        print!("{summary}");
    }
    Ok(summary.booted == summary.machines)
}
