//! Of three managers one lies and one dies: a program that waits for a chunk gets the right one, and never learns of either.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ramboot_wire::Arch;
use ramboot_wire::stage::Stage;

use super::system::System;
use super::{CHUNK, TABLES, boot_from, is_all_there, number, serve, untethered};
use crate::case::{Case, stored_image};
use crate::lan::{Lan, MANAGER};
use crate::manager::RAMBOOT;
use crate::process::{Process, run};
use crate::transcript::Transcript;
use crate::{BOOT, wait};

const LIAR: &str = "192.168.77.3";
const SECOND: &str = "192.168.77.4";
const MEBIBYTES: u64 = 24;
/// Six seconds for all of it.
const MEGABITS: u32 = 32;

/// The liar is asked first, and tells the truth until the image's init starts.
pub(in super::super) fn sources_lie_and_die(case: &Case) -> Result<()> {
    let system = System::of(case, Arch::X86_64, MEBIBYTES, None)?;
    let lies = lying_store(case, &system)?;
    let lan = Lan::new()?;
    let first = serve(case, &system.store)?;
    let (_liar, _) = another(case, &lan, "liar", LIAR, &lies)?;
    let (_second, _) = another(case, &lan, "mgr", SECOND, &system.store)?;
    let all = |cmdline: &str| {
        let first = format!("http://{MANAGER}:8067");
        let url = |bases: &str| format!("ramboot.url={bases}");
        let bases = format!("http://{LIAR}:8067,{first},http://{SECOND}:8067");
        let cmdline = cmdline.replace(&url(&first), &url(&bases));
        format!("{cmdline} {TABLES}")
    };
    let mut worker = boot_from(case, &lan, Arch::X86_64, 1, all)?;
    worker.tap.slow(MEGABITS)?;
    let said = worker.console.said.clone();
    let fetch = worker.console.stage(Stage::Fetch, BOOT)?;
    ensure!(
        number(&fetch, "bad")? == 0,
        "a lie before the gate: {fetch}"
    );

    // The first page of the image's init is a lie.
    said.expect("worker: shell", BOOT)?;

    let half = worker.tap.delivered()?;
    first.kill()?;
    wait::until("what the second manager has", BOOT, || {
        Ok((worker.tap.delivered()? - half > system.size / 20).then_some(()))
    })?;
    let line = untethered(&worker.console, &system, system.size)?;
    ensure!(number(&line, "bad")? > 0, "a lie was not counted: {line}");
    let kernel = worker
        .console
        .run("dd if=/dev/kmsg iflag=nonblock bs=8k 2>/dev/null || true")?;
    let lie = format!("http://{LIAR}:8067: chunk ");
    let named = kernel.lines().find(|line| line.contains(&lie));
    let named = named.with_context(|| format!("no lie in the kernel's log: {kernel}"))?;
    let count = format!(" of {}", system.size.div_ceil(CHUNK));
    for word in [count.as_str(), "digest", "does not match"] {
        ensure!(named.contains(word), "no {word:?} in {named:?}");
    }
    ensure!(
        !said.has("waiting for http://"),
        "it waited, though a manager was there all the time"
    );
    is_all_there(&mut worker.console, &system)
}

/// The same store with a wrong byte in each chunk of the image but its tables.
fn lying_store(case: &Case, system: &System) -> Result<PathBuf> {
    let to = case.dir().join("lies");
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a path in UTF-8");
    run("cp", &["-a", &text(&system.store)?, &text(&to)?])?;
    let path = stored_image(&to)?.join("image.sqfs");
    fs::set_permissions(&path, Permissions::from_mode(0o644))?;
    let image = OpenOptions::new().read(true).write(true).open(&path)?;
    let count = system.size.div_ceil(CHUNK);
    for chunk in 1..count.saturating_sub(2) {
        let at = chunk * CHUNK + 4321;
        let mut byte = [0];
        image.read_exact_at(&mut byte, at)?;
        image.write_all_at(&[byte[0] ^ 0x10], at)?;
    }
    Ok(to)
}

/// `ramboot serve` in a namespace of its own, which answers no DHCP.
fn another(
    case: &Case,
    lan: &Lan,
    name: &str,
    address: &str,
    store: &Path,
) -> Result<(Process, Transcript)> {
    let serve = format!(
        "exec '{RAMBOOT}' serve --state '{}' --interface {name}1 --dhcp off",
        store.display()
    );
    let mut process = lan.station(case, name, &format!("{address}/24"), &serve)?;
    let log = case.file(&format!("{name}.log"))?;
    let log = Transcript::follow(name, process.stderr()?, Some(log));
    log.expect("serving on", BOOT)?;
    Ok((process, log))
}
