//! Time: a deadline that passes, and a clock that is wrong.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{FULL, MEMORY, Systems, came_up, serve};
use crate::BOOT;
use crate::case::Case;
use crate::lan::Lan;
use crate::machine::Machine;

/// Of one worker, in seconds.
const DEADLINE: u64 = 20;

/// Two workers whose manager is gone: the one with a deadline says that it reboots and does; the other waits on past that
/// time, says so, and boots when the manager is back.
pub(in super::super) fn passes(case: &Case) -> Result<()> {
    let systems = Systems::of(case)?;
    let lan = Lan::new()?;
    let manager = serve(case, &systems, "short", &FULL)?;
    let patient = Machine::direct(MEMORY).boot(case, &lan)?;
    let with_deadline = |cmdline: &str| format!("{cmdline} ramboot.deadline={DEADLINE}");
    let mut hurried = Machine::direct(MEMORY)
        .changing(with_deadline)
        .boot(case, &lan)?;
    manager.kill()?;

    let early = hurried.console.expect("stage=early ok", BOOT)?.at;
    let sentence = format!("no handover after {DEADLINE} s (ramboot.deadline); rebooting now");
    let last = hurried.console.expect(&sentence, BOOT)?.at;
    // The kernel's clock and the host's are not the same.
    let waited = last - early;
    ensure!(
        waited.as_secs() >= DEADLINE - 2,
        "it gave up after {waited:?}"
    );
    let reason = hurried.reset(BOOT)?;
    ensure!(
        reason == "guest-reset",
        "the machine ended by {reason} instead of by a reset"
    );
    drop(hurried);

    let said = &patient.console.said;
    let since = said.wait("a long wait", BOOT, |heard| {
        heard.lines.iter().find_map(|line| {
            let (_, rest) = line.text.split_once("waiting for a DHCP server")?;
            let seconds: u64 = rest
                .split_once(" since ")?
                .1
                .split(' ')
                .next()?
                .parse()
                .ok()?;
            (seconds > DEADLINE).then_some(Ok(seconds))
        })
    })?;
    println!("one reset after {waited:?}; the other still waited after {since} s");
    let manager = serve(case, &systems, "short", &FULL)?;
    came_up(&patient.console, &systems.short, 0)?;
    manager.terminate()
}

/// A board without a battery for its clock. Nothing of a boot depends on the date, and nothing says anything by it.
pub(in super::super) fn in_1970(case: &Case) -> Result<()> {
    let systems = Systems::of(case)?;
    let lan = Lan::new()?;
    let manager = serve(case, &systems, "short", &FULL)?;
    let worker = Machine::direct(MEMORY)
        .clock("1970-01-01T00:00:00")
        .boot(case, &lan)?;
    came_up(&worker.console, &systems.short, 0)?;
    let after = |mark: &str| -> Result<String> {
        let line = worker.console.expect(mark, Duration::ZERO)?.text;
        let (_, rest) = line.split_once(mark).context("what comes after")?;
        Ok(rest.to_owned())
    };
    let clock: u64 = after("worker: the clock says ")?.parse()?;
    ensure!(clock < 86_400, "the worker's clock says {clock}");
    let record: Value = serde_json::from_str(&after("worker: boot.json is ")?)?;
    let lines = record["lines"].as_array().context("lines in boot.json")?;
    ensure!(!lines.is_empty(), "no line in {record}");
    for line in lines {
        let ms = line["ms"]
            .as_u64()
            .with_context(|| format!("ms in {line}"))?;
        ensure!(ms < 600_000, "{ms} ms in {line}");
    }
    manager.terminate()
}
