//! Things go wrong while a worker boots: it comes up, says meanwhile what it waits for, and fetches little twice.

mod deadline;
mod firmware;
mod outage;
mod sources;
mod system;
mod wire;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ramboot_wire::stage::{Stage, StageLine};

use crate::BOOT;
use crate::case::Case;
use crate::console::Console;
use crate::lan::POOL;
use crate::manager::Manager;
use crate::transcript::Transcript;
use system::{System, Systems};

pub(super) use deadline::{in_1970, passes};
pub(super) use firmware::outlives_the_manager;
pub(super) use outage::{at_every_stage, of_the_cable};
pub(super) use sources::{publish_during_the_fetch, second_manager};
pub(super) use wire::bad_wires;

/// Memory of a worker, MiB.
const MEMORY: u32 = 512;
/// What one request may have under way when its connection dies.
pub(super) const CHUNK: u64 = 256 * 1024;
/// At this speed the long image takes ten seconds, so that its middle can be hit.
const MEGABITS: u32 = 40;

/// Serves the image `name` of the systems' store, `how` as a user would say it.
fn serve(case: &Case, systems: &Systems, name: &str, how: &[&str]) -> Result<Manager> {
    let config = format!("[boot]\nimage = \"{name}\"\ncmdline = \"console=ttyS0 loglevel=4\"\n");
    Manager::serve(case, &systems.store, &config, how)
}

const FULL: [&str; 4] = ["--dhcp", "full", "--pool", POOL];
const PROXY: [&str; 2] = ["--dhcp", "proxy"];

/// The worker runs from RAM what was published. Its fetch was interrupted so many times, and no more than what was under way
/// then came twice; what was there stayed there.
fn came_up(console: &Console, system: &System, interruptions: u64) -> Result<StageLine> {
    let fetch = console.stage(Stage::Fetch, BOOT)?;
    let (bytes, streams) = (number(&fetch, "bytes")?, number(&fetch, "streams")?);
    let most = system.size + CHUNK * streams * interruptions;
    ensure!(
        (system.size..=most).contains(&bytes),
        "{bytes} bytes were fetched for an image of {} with {interruptions} interruptions: at most {most} are due",
        system.size
    );
    console.stage(Stage::Handover, BOOT)?;
    console.expect("worker: / is overlay", BOOT)?;
    let noise = format!("worker: noise is {}", system.noise);
    console.expect("worker: this is all", BOOT)?;
    console.expect(&noise, Duration::ZERO)?;
    let here = megabytes_here(&console.said)?;
    ensure!(
        here.is_sorted(),
        "megabytes that were there are gone: {here:?}"
    );
    println!("{fetch}; image {} bytes", system.size);
    Ok(fetch)
}

/// All that was ever said to be here, in order: `45 % (62 of 139 MB)`.
fn megabytes_here(said: &Transcript) -> Result<Vec<u64>> {
    said.wait("what was said", Duration::ZERO, |heard| {
        let lines = heard.lines.iter().filter_map(|line| {
            let (_, rest) = line.text.split_once(" % (")?;
            rest.split_once(" of ")?.0.parse().ok()
        });
        Some(Ok(lines.collect()))
    })
}

/// A number in a stage line.
pub(super) fn number(line: &StageLine, key: &str) -> Result<u64> {
    let value = line.fact(key);
    let value = value.with_context(|| format!("no {key} in {line}"))?;
    value
        .parse()
        .with_context(|| format!("reading {key} in {line}"))
}
