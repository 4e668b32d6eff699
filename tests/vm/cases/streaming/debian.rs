//! A whole Debian that streams: what its first boot reads is known at the second; its own network manager restarts the link
//! that its root comes over, the cable is out for a minute, and it can be shut down at any moment.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ramboot_wire::stage::Stage;
use serde_json::Value;

use super::{FILLER, MINUTE, TROUBLE};
use crate::case::Case;
use crate::console::Console;
use crate::image::{Digests, Image, parse, sum_of};
use crate::lan::{Lan, POOL};
use crate::machine::{Machine, Worker};
use crate::manager::{Manager, RAMBOOT};
use crate::process::run;
use crate::{ANSWER, BOOT, wait};

const CONFIG: &str = "[boot]\nmode = \"stream\"\n\
    cmdline = \"console=ttyS0 loglevel=4 systemd.wants=systemd-networkd.service\"\n";
const MEMORY: u32 = 768;
/// Fast enough for what a boot reads, and so slow that the rest takes minutes.
const MEGABITS: u32 = 10;
/// No boot reads them whole.
const PARTS: [&str; 2] = ["usr/bin", "usr/lib/modules/*/kernel/fs"];
/// A service may take 90 s to stop, and what it needs for that may not be there.
const TO_REBOOT: Duration = Duration::from_secs(180);

/// Three boots.
pub(in super::super) fn a_whole_debian(case: &Case) -> Result<()> {
    let image = Image::network_managers()?;
    let parts = image.digests(case.dir(), &PARTS)?;
    let store = case.own_store(&image)?;
    let lan = Lan::new()?;
    let serve = || Manager::serve(case, &store, CONFIG, &["--dhcp", "full", "--pool", POOL]);
    let manager = serve()?;
    records(case, &lan, &store)?;
    survives(case, &lan, &parts)?;
    reboots_alone(case, &lan, manager)
}

/// Nothing is known of the image: it is fetched whole, and what is read is told.
fn records(case: &Case, lan: &Lan, store: &Path) -> Result<()> {
    let mut worker = Machine::direct(MEMORY).boot(case, lan)?;
    let console = &mut worker.console;
    let fetch = console.stage(Stage::Fetch, BOOT)?;
    ensure!(
        fetch.fact("gate") == Some("all") && fetch.fact("resident") == Some("100%"),
        "all of an image is fetched of which nothing is known: {fetch}"
    );
    console.expect(
        "ramboot: nothing is known of this image yet",
        Duration::ZERO,
    )?;
    console.login()?;
    // The console is quiet by now.
    let line = console.run_within(
        "until dmesg | grep stage=untethered; do sleep 0.2; done",
        BOOT,
    )?;
    println!("{line}");
    ensure!(
        line.contains("ramboot: stage=untethered ok bytes=0 ") && !is_tethered(console)?,
        "an image that was there before the start: {line}"
    );
    let store = store.to_str().context("a path in UTF-8")?;
    let profile = wait::until("a profile", ANSWER, || {
        let asked = run(RAMBOOT, &["profile", "default", "--state", store, "--json"]);
        Ok(asked.ok().map(|text| serde_json::from_str::<Value>(&text)))
    })??;
    println!("{profile}");
    let hot = profile["hot"]["percent"].as_u64().context("hot chunks")?;
    ensure!(
        (1..60).contains(&hot) && profile["recordings"][0]["ready_ms"].is_u64(),
        "a boot reads a part of its image until systemd says that it is up: {profile}"
    );
    no_trouble(console)
}

/// Only what boots read is fetched before the start. The cable is out at once, later the interface restarts, systemd is
/// started anew; then all is read, and the machine reboots though its image is not all there.
fn survives(case: &Case, lan: &Lan, parts: &Digests) -> Result<()> {
    let mut worker = Machine::direct(MEMORY).boot(case, lan)?;
    let fetch = worker.console.stage(Stage::Fetch, BOOT)?;
    println!("{fetch}");
    ensure!(
        fetch.fact("gate") == Some("hot") && fetch.fact("resident") != Some("100%"),
        "what boots read is known: {fetch}"
    );
    worker.tap.slow(MEGABITS)?;
    worker.console.stage(Stage::Handover, BOOT)?;
    worker.monitor.set_link(false)?;
    let pulled = Instant::now();
    wait::outage(MINUTE.saturating_sub(pulled.elapsed()));
    worker.monitor.set_link(true)?;
    worker.console.login()?;

    let console = &mut worker.console;
    let link = console.run("cd /sys/class/net; echo e*")?;
    let address = console.run(&format!("ip -4 -oneline address show dev {link}"))?;
    for restart in [
        "networkctl reconfigure LINK",
        "ip link set LINK down; ip link set LINK up",
        "systemctl restart systemd-networkd",
        "systemctl daemon-reexec",
        "systemctl isolate multi-user.target",
    ] {
        console.run(&restart.replace("LINK", &link))?;
        ensure!(is_tethered(console)?, "too late for {restart:?}");
    }
    same_files(console, parts)?;
    let now = console.run(&format!("ip -4 -oneline address show dev {link}"))?;
    ensure!(address == now, "its address was {address} and is {now}");
    no_trouble(console)?;
    ensure!(is_tethered(console)?, "too late for a reboot");
    ends_by_reset(worker)
}

/// Nobody gives the machine what it has not got for its shutdown.
fn reboots_alone(case: &Case, lan: &Lan, manager: Manager) -> Result<()> {
    let mut worker = Machine::direct(MEMORY).boot(case, lan)?;
    worker.console.stage(Stage::Fetch, BOOT)?;
    worker.tap.slow(MEGABITS)?;
    worker.console.login()?;
    ensure!(is_tethered(&mut worker.console)?, "too late for a reboot");
    manager.kill()?;
    ends_by_reset(worker)
}

fn ends_by_reset(mut worker: Worker) -> Result<()> {
    worker.console.type_line("systemctl reboot")?;
    let asked = Instant::now();
    let reason = worker.reset(TO_REBOOT)?;
    println!("reset {:?} after it was asked for", asked.elapsed());
    ensure!(
        reason == "guest-reset",
        "the machine ended by {reason} instead of by a reset"
    );
    Ok(())
}

/// The kernel's log is not on the console any more.
fn no_trouble(console: &mut Console) -> Result<()> {
    let said = console.run(&format!(
        "dmesg | grep -e '{}' || true",
        TROUBLE.join("' -e '")
    ))?;
    ensure!(said.is_empty(), "the worker's kernel said {said}");
    super::no_trouble(&console.said)
}

/// Whether the process that fills the RAM is there.
fn is_tethered(console: &mut Console) -> Result<bool> {
    let ours = console
        .run("cd /proc; grep -l ramboot [0-9]*/cmdline | xargs -I{} cat {} | tr '\\0' ' '")?;
    Ok(ours.contains(FILLER))
}

fn same_files(console: &mut Console, expected: &Digests) -> Result<()> {
    let read = parse(&console.run_within(&format!("cd /; {}", sum_of(&PARTS)), BOOT)?)?;
    let mut differing = expected
        .iter()
        .filter(|(path, digest)| read.get(*path) != Some(digest));
    ensure!(
        differing.next().is_none() && read.len() == expected.len(),
        "{} files in the worker, {} in the image",
        read.len(),
        expected.len()
    );
    Ok(())
}
