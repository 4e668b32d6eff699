//! The one manager there is dies again and again, and in the end for good.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ramboot_wire::Arch;
use ramboot_wire::stage::Stage;
use serde_json::Value;

use super::system::{NOISES, System};
use super::{
    CHUNK, FILLER, MINUTE, Settled, TABLES, boot, is_all_there, no_trouble, serve, untethered,
};
use crate::case::Case;
use crate::lan::{Lan, MANAGER};
use crate::machine::Worker;
use crate::manager::{Manager, RAMBOOT};
use crate::process::run;
use crate::{ANSWER, BOOT, wait};

/// Of noise: 40 s at [`MEGABITS`], and so much that four chunks, which come together by four streams, are 1 % of it.
const MEBIBYTES: u64 = 96;
const MEGABITS: u32 = 20;
/// At this speed there is time to do something between one chunk and the next.
const SLOW: u32 = 1;

/// One boot with a manager that dies before the gate, right after the handover for a minute, at 50 and at 99 %. In between
/// nobody is told of an error, and who waited goes on; the last two managers say how far the worker is. When all of it is there
/// the manager dies for good, the cable is pulled, and the worker is what one is that was booted in full mode.
pub(in super::super) fn manager_dies_at_any_time(case: &Case) -> Result<()> {
    let system = System::of(case, Arch::X86_64, MEBIBYTES, None)?;
    let lan = Lan::new()?;
    let serve = || serve(case, &system.store);
    let manager = serve()?;
    let mut full = boot(case, &lan, Arch::X86_64, 1, "")?;
    full.console.expect("worker: shell", BOOT)?;
    let as_full = Settled::of(&mut full.console)?;
    drop(full);

    let mut worker = boot(case, &lan, Arch::X86_64, 2, TABLES)?;
    worker.tap.slow(SLOW)?;
    worker.console.stage(Stage::Chunks, BOOT)?;
    let before = worker.tap.delivered()?;
    dies(&worker, manager)?;
    ensure!(
        !worker.console.said.has("stage=fetch ok"),
        "the manager was to die before the gate"
    );
    let manager = serve()?;
    let manager = a_minute_after_the_handover(&worker, manager, serve)?;
    let manager = half_of_it(&mut worker, &system, before, manager, serve)?;
    let manager = almost_all_of_it(&mut worker, manager, serve)?;
    // Three times a manager died after the start, with four streams and one for demand under way.
    let twice = 3 * 5 * 8 * CHUNK;
    untethered(&worker.console, &system, twice)?;

    manager.kill()?;
    worker.monitor.set_link(false)?;
    let settled = Settled::of(&mut worker.console)?;
    ensure!(
        settled == as_full,
        "it was streamed: {settled:#?}\nin full mode: {as_full:#?}"
    );
    println!("{:?}; in full mode {:?}", settled.memory, as_full.memory);
    is_all_there(&mut worker.console, &system)
}

/// The root is mounted, and none of its programs has been read yet.
fn a_minute_after_the_handover(
    worker: &Worker,
    manager: Manager,
    again: impl Fn() -> Result<Manager>,
) -> Result<Manager> {
    let console = &worker.console;
    console.stage(Stage::Handover, BOOT)?;
    let died = Instant::now();
    dies(worker, manager)?;
    wait::outage(MINUTE.saturating_sub(died.elapsed()));
    ensure!(
        !console.said.has("worker: shell"),
        "the manager was to die before the worker had read its shell"
    );
    no_trouble(&console.said)?;
    let manager = again()?;
    worker.tap.slow(MEGABITS)?;
    console.expect("worker: shell", BOOT)?;
    Ok(manager)
}

/// A program that runs wants what is not there.
fn half_of_it(
    worker: &mut Worker,
    system: &System,
    before: u64,
    manager: Manager,
    again: impl Fn() -> Result<Manager>,
) -> Result<Manager> {
    // All that the next command needs, but the file.
    worker.console.run("sha256sum /noise/00")?;
    let ours = worker.console.run(super::OURS)?;
    ensure!(ours.contains(FILLER), "none of {ours:?} is {FILLER}");
    until_delivered(worker, before, system.size / 2)?;
    let last = NOISES - 1;
    worker.console.type_line(&format!(
        "echo \"worker: read $(sha256sum /noise/{last})\" &"
    ))?;
    dies(worker, manager)?;
    // With its digest: what is typed stands on the console, too.
    let read = format!("worker: read {}", system.last_noise);
    ensure!(
        !worker.console.said.has(&read),
        "the last noise was there at half of the image"
    );
    let manager = again()?;
    worker.console.expect(&read, BOOT)?;
    Ok(manager)
}

/// The last chunks are missing.
fn almost_all_of_it(
    worker: &mut Worker,
    manager: Manager,
    again: impl Fn() -> Result<Manager>,
) -> Result<Manager> {
    // The worker says every two seconds how far it is: it must not come to its end meanwhile.
    for (thousandths, megabits) in [(0, MEGABITS), (900, 4 * SLOW), (970, SLOW)] {
        let here = until_resident(thousandths)?;
        worker.tap.slow(megabits)?;
        println!("{here} thousandths: {megabits} Mbit/s");
    }
    let here = until_resident(988)?;
    dies(worker, manager)?;
    println!("the manager died at {here} thousandths");
    ensure!(
        !worker.console.said.has("stage=untethered"),
        "the manager was to die at {here} thousandths, but all was there"
    );
    let manager = again()?;
    worker.tap.slow(MEGABITS)?;
    Ok(manager)
}

/// Waits until the manager shows that the worker has this much of its image, in thousandths; how much it is then.
fn until_resident(thousandths: u64) -> Result<u64> {
    let here = wait::until("the image to be there", BOOT, || {
        let all: Value = serde_json::from_str(&run(RAMBOOT, &["nodes", "--json"])?)?;
        let workers = all["workers"].as_array().context("workers")?;
        let here = workers.iter().filter_map(|worker| {
            let filling = &worker["filling"];
            Some(filling["resident"].as_u64()? * 1000 / filling["size"].as_u64()?.max(1))
        });
        Ok(here.max().filter(|here| *here >= thousandths))
    })?;
    let table = run(RAMBOOT, &["nodes"])?;
    ensure!(
        table
            .lines()
            .any(|line| line.contains(" running, ") && line.contains(" % resident")),
        "no machine that has a part of its image: {table}"
    );
    Ok(here)
}

fn until_delivered(worker: &Worker, before: u64, bytes: u64) -> Result<()> {
    wait::until(&format!("{bytes} bytes on their way"), BOOT, || {
        Ok((worker.tap.delivered()? - before >= bytes).then_some(()))
    })
}

/// The manager dies; the worker says that it waits for it.
fn dies(worker: &Worker, manager: Manager) -> Result<()> {
    let text = format!("waiting for http://{MANAGER}:8067");
    let said = &worker.console.said;
    let before = said
        .texts()
        .iter()
        .filter(|line| line.contains(&text))
        .count();
    manager.kill()?;
    let line = said.expect_times(before + 1, &text, ANSWER)?;
    println!("{}", line.text);
    Ok(())
}
