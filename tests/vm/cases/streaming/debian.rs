//! A whole Debian that streams: what its first boot reads is known at the second; whichever network manager it has restarts the
//! link that its root comes over, the cable is out for a minute, and it can be shut down at any moment.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ramboot::formats::squashfs::tree::Tree;
use ramboot::store::Store;
use ramboot_wire::image::CHUNK_BYTES;
use ramboot_wire::profile::Want;
use ramboot_wire::stage::Stage;
use serde_json::Value;

use super::restarts::{KINDS, Kind, restarts};
use super::{FILLER, MINUTE, TROUBLE};
use crate::case::Case;
use crate::console::Console;
use crate::image::{Digests, Image, parse, sum_of};
use crate::lan::{Lan, POOL};
use crate::machine::{Machine, Worker};
use crate::manager::{Manager, RAMBOOT};
use crate::process::run;
use crate::{ANSWER, BOOT, wait};

const MEMORY: u32 = 768;
/// Fast enough for what a boot reads, and so slow that the rest takes minutes.
const MEGABITS: u32 = 5;
/// Fifteen minutes for that rest.
const WAITING: u32 = 1;
/// No boot reads them whole.
const PARTS: [&str; 2] = ["usr/bin", "usr/lib/modules/*/kernel/fs"];
/// A service may take 90 s to stop, and what it needs for that may not be there.
const TO_END: Duration = Duration::from_secs(180);

/// Five boots.
pub(in super::super) fn a_whole_debian(case: &Case) -> Result<()> {
    let image = Image::network_managers()?;
    let parts = image.digests(case.dir(), &PARTS)?;
    let store = case.own_store(&image)?;
    let lan = Lan::new()?;
    let serve = || Manager::serve(case, &store, &config(), &["--dhcp", "full", "--pool", POOL]);
    let manager = serve()?;
    let [_, networkd, network_manager, ifupdown, dhcpcd] = &KINDS;
    records(case, &lan, &store)?;
    survives(case, &lan, networkd, &parts)?;
    ends_by(&REBOOT, restarted(case, &lan, network_manager)?)?;
    let off = restarted(case, &lan, ifupdown)?;
    // It waits for the next one's boot, and the rest of its image must not be there by then.
    off.tap.slow(WAITING)?;
    let mut again = restarted(case, &lan, dhcpcd)?;
    waits_at_its_end(&mut again.console)?;
    // Nobody gives the machines what they have not got for their shutdown.
    manager.kill()?;
    ends_by(&POWEROFF, off)?;
    let took = ends_by(&REBOOT, again)?;
    ensure!(
        WAITED_FOR.contains(&took),
        "a shutdown that waits for a part of the image took {took:?}"
    );
    Ok(())
}

/// From asking until the end, where something that is not there is waited for: ten seconds and what comes before. systemd alone
/// would wait for a minute and a half.
const WAITED_FOR: Range<Duration> = Duration::from_secs(10)..Duration::from_secs(60);

/// Has the last program that systemd runs read what no boot reads (systemd-shutdown(8)).
fn waits_at_its_end(console: &mut Console) -> Result<()> {
    let folder = "/usr/lib/systemd/system-shutdown";
    let script = "for file in /var/lib/dpkg/info/*; do read -r line <$file; done";
    console.run(&format!(
        "mkdir -p {folder}; cd {folder}; echo '#!/bin/sh' >reads; echo '{script}' >>reads; chmod +x reads; sh -n reads; cd /"
    ))?;
    Ok(())
}

/// A verb of systemctl, and QEMU's word for what comes of it.
const REBOOT: (&str, &str) = ("reboot", "guest-reset");
const POWEROFF: (&str, &str) = ("poweroff", "guest-shutdown");

/// One image for all; the kernel command line says which of its managers starts.
fn config() -> String {
    // nosocket: with the first cgroup that has a memory controller, the kernel patches the code of its sockets, in use here.
    // QEMU 7.2's emulated processors hung there for ever in one boot of some hundred.
    let boot = "[boot]\nmode = \"stream\"\ncmdline = \"console=ttyS0 loglevel=4 cgroup.memory=nosocket\"\n";
    let rules = KINDS.iter().enumerate().map(|(number, kind)| {
        format!(
            "[[worker]]\nmac = \"52:54:00:12:34:{number:02x}\"\ncmdline = \"systemd.wants={}\"\n",
            kind.unit
        )
    });
    rules.fold(boot.to_owned(), |text, rule| text + &rule)
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
    ends_are_hot(Path::new(store))?;
    no_trouble(console)
}

/// By what one ends a machine is there before the next one starts, though no boot needs it.
fn ends_are_hot(store: &Path) -> Result<()> {
    let store = Store::open(store)?;
    let id = store.images()?.into_iter().next().context("an image")?;
    let image = store.image(id)?.context("an image")?;
    let size = image.facts.size;
    let known = store.profiles().read(id, size)?.context("a profile")?;
    let profile = known.wants(size);
    let tree = Tree::open(image.sqfs.bytes().into())?;
    for path in ["/usr/lib/systemd/systemd-shutdown", "/usr/bin/systemctl"] {
        let file = tree.laid_at(Path::new(path)).context(path)?;
        for (_, bytes) in file.blocks {
            let mut chunks = bytes.start / CHUNK_BYTES..bytes.end.div_ceil(CHUNK_BYTES);
            let is_hot = |index: u64| {
                let want = usize::try_from(index)
                    .ok()
                    .and_then(|i| profile.wants().get(i));
                matches!(want, Some(Want::Hot(_)))
            };
            ensure!(chunks.all(is_hot), "{path} is not hot");
        }
    }
    Ok(())
}

/// Only what boots read is fetched before the start. The cable is out at once, later the interface restarts, systemd is
/// started anew; then all is read, and the machine is switched off though its image is not all there.
fn survives(case: &Case, lan: &Lan, kind: &Kind, parts: &Digests) -> Result<()> {
    let mut worker = without_a_cable(case, lan, MINUTE)?;
    stands_by_itself(&mut worker.console)?;
    restarts(&mut worker, kind)?;
    let console = &mut worker.console;
    same_files(console, parts)?;
    no_trouble(console)?;
    ends_by(&POWEROFF, worker).map(drop)
}

/// A worker that is up, over a line so slow that most of its image is not there; after its handover it had no cable for so long.
fn without_a_cable(case: &Case, lan: &Lan, time: Duration) -> Result<Worker> {
    let mut worker = Machine::direct(MEMORY).boot(case, lan)?;
    let fetch = worker.console.stage(Stage::Fetch, BOOT)?;
    println!("{fetch}");
    ensure!(
        fetch.fact("gate") == Some("hot") && fetch.fact("resident") != Some("100%"),
        "what boots read is known: {fetch}"
    );
    worker.tap.slow(MEGABITS)?;
    worker.console.stage(Stage::Handover, BOOT)?;
    if !time.is_zero() {
        worker.monitor.set_link(false)?;
        let pulled = Instant::now();
        wait::outage(time.saturating_sub(pulled.elapsed()));
        worker.monitor.set_link(true)?;
    }
    worker.console.login()?;
    Ok(worker)
}

/// What fills the RAM is killed by no lack of memory, waits for no page of its own, and holds nothing of the root that it serves.
fn stands_by_itself(console: &mut Console) -> Result<()> {
    console.run(&format!(
        "cd /proc/$(grep -l ^{FILLER} /proc/[0-9]*/cmdline | cut -d / -f 3)"
    ))?;
    let badness = console.run("cat oom_score_adj")?;
    ensure!(badness == "-1000", "its oom_score_adj is {badness}");
    let mut kilobytes = |key: &str| -> Result<u64> {
        let line = console.run(&format!("grep ^{key}: status"))?;
        let number = line.split_whitespace().nth(1);
        Ok(number.with_context(|| line.clone())?.parse()?)
    };
    let (all, locked) = (kilobytes("VmSize")?, kilobytes("VmLck")?);
    ensure!(
        // The kernel's own few pages in each process (vvar, vdso) are not locked.
        locked + 64 >= all,
        "of its {all} kB of memory {locked} kB are locked"
    );
    let root = console.run("stat -c %d / /usr/bin/env")?;
    let held = console
        .run("for file in exe cwd root fd/* map_files/*; do echo \"$(stat -L -c %d $file) $file $(readlink $file)\"; done")?;
    let of_root = |line: &&str| {
        root.lines()
            .any(|device| line.starts_with(&format!("{device} ")))
    };
    ensure!(
        held.contains(" exe /init") && held.contains("/image (deleted)"),
        "neither its program nor the image is among what it holds: {held}"
    );
    let of_root: Vec<&str> = held.lines().filter(of_root).collect();
    ensure!(of_root.is_empty(), "it holds {of_root:?}");
    console.run("cd /")?;
    Ok(())
}

/// One whose network manager did that as soon as it was up.
fn restarted(case: &Case, lan: &Lan, kind: &Kind) -> Result<Worker> {
    let mut worker = without_a_cable(case, lan, Duration::ZERO)?;
    restarts(&mut worker, kind)?;
    Ok(worker)
}

/// How long that took.
fn ends_by((verb, reason): &(&str, &str), mut worker: Worker) -> Result<Duration> {
    ensure!(is_tethered(&mut worker.console)?, "too late for {verb}");
    worker.console.type_line(&format!("systemctl {verb}"))?;
    let asked = Instant::now();
    let said = worker.reset(TO_END)?;
    let took = asked.elapsed();
    println!("{said} {took:?} after {verb}");
    ensure!(
        said == *reason,
        "the machine ended by {said} instead of by {reason}"
    );
    Ok(took)
}

/// The kernel's log is not on the console any more.
pub(super) fn no_trouble(console: &mut Console) -> Result<()> {
    let said = console.run(&format!(
        "dmesg | grep -e '{}' || true",
        TROUBLE.join("' -e '")
    ))?;
    ensure!(said.is_empty(), "the worker's kernel said {said}");
    super::no_trouble(&console.said)
}

/// Whether the process that fills the RAM is there.
pub(super) fn is_tethered(console: &mut Console) -> Result<bool> {
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
