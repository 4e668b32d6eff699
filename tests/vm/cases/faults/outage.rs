//! The manager dies, or the cable is pulled, while a worker boots.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ramboot_wire::stage::Stage;

use super::{FULL, MEGABITS, MEMORY, PROXY, came_up, serve};
use crate::case::Case;
use crate::lan::{Lan, MANAGER};
use crate::machine::{Machine, Worker};
use crate::transcript::Line;
use crate::{ANSWER, BOOT, wait};

/// One boot in which the manager is not there when `/init` asks for an address, and when it asks for its own files; dies at
/// 10, 50 and 90 % of the image; and dies for good before the image is mounted.
pub(in super::super) fn at_every_stage(case: &Case) -> Result<()> {
    let systems = super::Systems::of(case)?;
    let system = &systems.long;
    let lan = Lan::new()?;
    let manager = serve(case, &systems, "long", &FULL)?;
    let worker = Machine::direct(MEMORY).boot(case, &lan)?;
    manager.kill()?;
    worker.tap.slow(MEGABITS)?;
    let said = &worker.console.said;
    said.expect("waiting for a DHCP server", BOOT)?;
    // An address without a manager: only another server can give one.
    let _neighbour = lan.dhcp_server(case)?;
    worker.console.stage(Stage::Dhcp, BOOT)?;
    said.expect("waiting for this machine's own files since", BOOT)?;

    let mut manager = serve(case, &systems, "long", &PROXY)?;
    worker.console.stage(Stage::Chunks, BOOT)?;
    let before = worker.tap.delivered()?;
    for (outages, percent) in [(1, 10), (2, 50), (3, 90)] {
        until_fetched(&worker, before, system.size * percent / 100)?;
        manager.kill()?;
        waits(&worker, &format!("http://{MANAGER}:8067"), outages)?;
        let fetched = worker.tap.delivered()? - before;
        ensure!(
            fetched < system.size * (percent + 9) / 100,
            "the manager was to die at {percent} %, but {fetched} bytes of {} had left it",
            system.size
        );
        manager = serve(case, &systems, "long", &PROXY)?;
    }
    worker.console.stage(Stage::Fetch, BOOT)?;
    manager.kill()?;
    came_up(&worker.console, system, 3).map(drop)
}

/// Nobody's fault: the cable is out for 20 s in the middle of the image, twice as long as a connection may be silent.
pub(in super::super) fn of_the_cable(case: &Case) -> Result<()> {
    let systems = super::Systems::of(case)?;
    let system = &systems.long;
    let lan = Lan::new()?;
    let manager = serve(case, &systems, "long", &FULL)?;
    let mut worker = Machine::direct(MEMORY).boot(case, &lan)?;
    worker.tap.slow(MEGABITS)?;
    worker.console.stage(Stage::Chunks, BOOT)?;
    let before = worker.tap.delivered()?;
    until_fetched(&worker, before, system.size / 2)?;
    worker.monitor.set_link(false)?;
    wait::outage(Duration::from_secs(20));
    let silent = waits(&worker, "a carrier on eth0 (cable, switch)", 1)?;
    ensure!(silent >= 10, "silent for {silent} s, it says, after 20 s");
    worker.monitor.set_link(true)?;
    came_up(&worker.console, system, 1)?;
    manager.terminate()
}

/// Waits until so many bytes went to the worker since `before`.
pub(super) fn until_fetched(worker: &Worker, before: u64, bytes: u64) -> Result<()> {
    wait::until(&format!("{bytes} bytes on their way"), BOOT, || {
        Ok((worker.tap.delivered()? - before >= bytes).then_some(()))
    })
}

/// Waits until the console has said in the last of so many outages that it waits for `what`, since when, what comes next,
/// and what is here; gives the seconds. Where a fetch stands ends an outage.
fn waits(worker: &Worker, what: &str, outages: usize) -> Result<u64> {
    let start = format!("waiting for {what} since ");
    let line = worker.console.said.wait("an outage", ANSWER, |heard| {
        let of_fetch =
            |line: &&Line| line.text.contains(&start) || line.text.starts_with("ramboot: fetch ");
        let lines: Vec<&Line> = heard.lines.iter().filter(of_fetch).collect();
        let mut groups = lines.split(|line| !line.text.contains(&start));
        groups
            .by_ref()
            .filter(|group| !group.is_empty())
            .nth(outages - 1)
            .and_then(|group| group.last().copied().cloned())
            .map(Ok)
    })?;
    // A cable needs no reason.
    let reason = if what.starts_with("http") {
        " s ("
    } else {
        " s; "
    };
    for word in [reason, "; ", " % (", " are here"] {
        ensure!(line.text.contains(word), "no {word:?} in {:?}", line.text);
    }
    let (_, since) = line.text.split_once(&start).context("since when")?;
    println!("outage {outages}: since {since}");
    let seconds = since.split(' ').next().context("a number")?;
    seconds
        .parse()
        .with_context(|| format!("reading {seconds:?}"))
}
