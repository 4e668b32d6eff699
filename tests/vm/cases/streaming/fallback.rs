//! Where streaming is not possible, all of the image is fetched first; and who waits for too long starts anew, if he was told to.

use std::time::Duration;

use anyhow::{Result, ensure};
use ramboot_wire::Arch;
use ramboot_wire::stage::Stage;

use super::system::System;
use super::{TABLES, boot, is_all_there, serve};
use crate::BOOT;
use crate::case::Case;
use crate::lan::Lan;

/// Seconds.
const DEADLINE: u64 = 20;

/// A kernel without FUSE says so and boots as in full mode; a root that is waited for past the deadline ends in a reset.
pub(in super::super) fn falls_back_and_gives_up(case: &Case) -> Result<()> {
    let system = System::of(case, Arch::X86_64, 12, None)?;
    let lan = Lan::new()?;
    let manager = serve(case, &system.store)?;
    let without = format!("{TABLES} initcall_blacklist=fuse_init");
    let mut worker = boot(case, &lan, Arch::X86_64, 1, &without)?;
    let console = &mut worker.console;
    let fetch = console.stage(Stage::Fetch, BOOT)?;
    ensure!(
        fetch.fact("resident").is_none() && fetch.fact("gate").is_none(),
        "this is no full mode: {fetch}"
    );
    let why = console.expect("ramboot: streaming is not possible (", Duration::ZERO)?;
    println!("{}", why.text);
    console.expect("worker: shell", BOOT)?;
    ensure!(
        !console.said.has("stage=untethered"),
        "it was never tethered"
    );
    is_all_there(console, &system)?;
    drop(worker);

    let with_deadline = format!("{TABLES} ramboot.deadline={DEADLINE}");
    let mut hurried = boot(case, &lan, Arch::X86_64, 2, &with_deadline)?;
    hurried.tap.slow(2)?;
    let handover = hurried.console.stage(Stage::Handover, BOOT)?;
    manager.kill()?;
    println!("{handover}");
    let last = hurried.console.expect("(ramboot.deadline)", BOOT)?;
    println!("{}", last.text);
    let reason = hurried.reset(BOOT)?;
    ensure!(
        reason == "guest-reset",
        "the machine ended by {reason} instead of by a reset"
    );
    Ok(())
}
