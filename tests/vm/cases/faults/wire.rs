//! Wires that lose, delay, and are slow: a boot over each, and none of them is taken for a dead manager.

use std::time::Duration;

use anyhow::{Result, ensure};
use ramboot_wire::stage::{Stage, StageLine};

use super::{FULL, MEMORY, Systems, came_up, number, serve};
use crate::BOOT;
use crate::case::Case;
use crate::lan::Lan;
use crate::machine::Machine;

/// What is wrong with one.
struct Wire {
    name: &'static str,
    /// Of a hundred frames, each way.
    lost: u8,
    /// Each way.
    late: Option<Duration>,
    megabits: Option<u32>,
    /// How often the fetch may take the manager for dead.
    retries: u64,
}

const LATE: Option<Duration> = Some(Duration::from_millis(100));

const WIRES: [Wire; 4] = [
    Wire {
        name: "10 Mbit/s",
        lost: 0,
        late: None,
        megabits: Some(10),
        retries: 0,
    },
    Wire {
        name: "100 ms late",
        lost: 0,
        late: LATE,
        megabits: None,
        retries: 0,
    },
    Wire {
        name: "5 % lost",
        lost: 5,
        late: None,
        megabits: None,
        retries: 0,
    },
    Wire {
        name: "all of it",
        lost: 5,
        late: LATE,
        megabits: Some(10),
        retries: 4,
    },
];

/// One boot over each wire.
pub(in super::super) fn bad_wires(case: &Case) -> Result<()> {
    let systems = Systems::of(case)?;
    let lan = Lan::new()?;
    let manager = serve(case, &systems, "short", &FULL)?;
    for wire in WIRES {
        let mut machine = Machine::direct(MEMORY);
        if let Some(by) = wire.late {
            machine = machine.late(by);
        }
        let worker = machine.boot(case, &lan)?;
        lan.lose(wire.lost)?;
        if let Some(megabits) = wire.megabits {
            worker.tap.slow(megabits)?;
        }
        let fetch = came_up(&worker.console, &systems.short, wire.retries)?;
        let retries = number(&fetch, "retries")?;
        ensure!(
            retries <= wire.retries,
            "{}: {retries} requests failed though the manager was there",
            wire.name
        );
        let (chunks, lost) = (worker.console.stage(Stage::Chunks, BOOT)?, lan.lost()?);
        println!(
            "{}: {lost} frames lost, chunk list {} ms",
            wire.name, chunks.ms
        );
        was_bad(&wire, &fetch, &chunks, lost)?;
    }
    manager.terminate()
}

/// The case would prove nothing over a good wire.
fn was_bad(wire: &Wire, fetch: &StageLine, chunks: &StageLine, lost: u64) -> Result<()> {
    ensure!(
        (lost > 0) == (wire.lost > 0),
        "{}: {lost} frames lost",
        wire.name
    );
    if let Some(megabits) = wire.megabits {
        let seen = number(fetch, "mbps")?;
        ensure!(seen <= megabits.into(), "{}: {seen} Mbit/s", wire.name);
    }
    // A handshake, a question and its answer: there and back twice. QEMU lets frames go when an interval ends, so the first
    // waits less if it is sent in the middle of one; each other is the answer to one that was just let go.
    let late = wire.late.unwrap_or_default().as_millis() * 3;
    ensure!(
        u128::from(chunks.ms) >= late,
        "{}: the chunk list came in {} ms instead of {late}",
        wire.name,
        chunks.ms
    );
    Ok(())
}
