//! Where an image comes from changes while it is fetched.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ramboot_wire::stage::Stage;

use super::outage::until_fetched;
use super::{FULL, MEGABITS, MEMORY, Systems, came_up, number, serve};
use crate::BOOT;
use crate::case::Case;
use crate::lan::{Lan, MANAGER};
use crate::machine::Machine;
use crate::manager::RAMBOOT;
use crate::process::Process;
use crate::transcript::Transcript;

/// Its address.
const SECOND: &str = "192.168.77.3";
/// How soon the worker must have gone on from it: without a pause that anybody would see.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Two managers have the image, and the one that is fetched from dies: the other one is asked at once, for the rest.
pub(in super::super) fn second_manager(case: &Case) -> Result<()> {
    let systems = Systems::of(case)?;
    let system = &systems.long;
    let lan = Lan::new()?;
    let first = serve(case, &systems, "long", &FULL)?;
    let (_second, log) = second(case, &lan, &systems)?;
    let both = |cmdline: &str| {
        let first = format!("ramboot.url=http://{MANAGER}:8067");
        cmdline.replace(&first, &format!("{first},http://{SECOND}:8067"))
    };
    let worker = Machine::direct(MEMORY).changing(both).boot(case, &lan)?;
    worker.tap.slow(MEGABITS)?;
    worker.console.stage(Stage::Chunks, BOOT)?;
    let before = worker.tap.delivered()?;
    until_fetched(&worker, before, system.size / 2)?;
    first.kill()?;

    let died = Instant::now();
    let (half, more) = (worker.tap.delivered()?, system.size / 20);
    until_fetched(&worker, half, more)?;
    let pause = died.elapsed();
    ensure!(
        pause < AT_ONCE,
        "{pause:?} until {more} bytes more were there"
    );
    println!("{more} bytes from the second manager {pause:?} after the first one's death");
    let fetch = came_up(&worker.console, system, 1)?;
    let retries = number(&fetch, "retries")?;
    ensure!(
        retries <= 2 * number(&fetch, "streams")?,
        "{retries} retries, though the other manager was there all the time"
    );
    let said = &worker.console.said;
    said.expect(
        &format!("trouble with http://{MANAGER}:8067: "),
        Duration::ZERO,
    )?;
    ensure!(
        !said.has("waiting for http://"),
        "it waited, though a manager was there all the time"
    );
    log.expect("stage=handover ok", BOOT).map(drop)
}

/// `ramboot serve` in a namespace of its own, which answers no DHCP.
fn second(case: &Case, lan: &Lan, systems: &Systems) -> Result<(Process, Transcript)> {
    let store = systems.store.display();
    let serve = format!("exec '{RAMBOOT}' serve --state '{store}' --interface mgr1 --dhcp off");
    let mut process = lan.station(case, "mgr", &format!("{SECOND}/24"), &serve)?;
    let log = Transcript::follow(
        "second manager",
        process.stderr()?,
        Some(case.file("second.log")?),
    );
    log.expect("serving on", BOOT)?;
    Ok((process, log))
}

/// Another image is published under the same name while a worker fetches the old one: it gets the old one to its end, and the
/// next worker the new one.
pub(in super::super) fn publish_during_the_fetch(case: &Case) -> Result<()> {
    const NAME: &str = "changing";
    let systems = Systems::of(case)?;
    let (old, new) = (&systems.long, &systems.other);
    old.publish(NAME, &systems.store)?;
    let lan = Lan::new()?;
    let manager = serve(case, &systems, NAME, &FULL)?;
    let worker = Machine::direct(MEMORY).boot(case, &lan)?;
    worker.tap.slow(MEGABITS)?;
    worker.console.stage(Stage::Chunks, BOOT)?;
    let before = worker.tap.delivered()?;
    until_fetched(&worker, before, old.size / 10)?;
    // However long a publish takes on a busy machine, it ends before the fetch.
    worker.tap.slow(MEGABITS / 8)?;
    new.publish(NAME, &systems.store)?;
    worker.tap.slow(MEGABITS)?;
    let fetched = worker.tap.delivered()? - before;
    ensure!(
        fetched < old.size,
        "the publish was to be done in the middle, but {fetched} bytes of {} had left",
        old.size
    );
    came_up(&worker.console, old, 0)?;
    drop(worker);
    let next = Machine::direct(MEMORY).boot(case, &lan)?;
    came_up(&next.console, new, 0)?;
    manager.terminate()
}
