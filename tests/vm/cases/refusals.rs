//! What must not boot does not boot, and the console says why.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ramboot_wire::stage::Stage;

use crate::BOOT;
use crate::case::{Case, folder_size, stored_image};
use crate::image::Image;
use crate::lan::{Lan, MANAGER};
use crate::machine::Machine;
use crate::manager::Manager;

const CHUNK: u64 = 256 * 1024;

/// One byte of the image changes after it was published: the chunk is named each time it is refused, nothing is mounted.
pub(super) fn flipped_byte(case: &Case) -> Result<()> {
    let image = Image::debian()?;
    let size = image.size()?;
    let (bad, chunks) = (17, size.div_ceil(CHUNK));
    let store = case.own_store(&image)?;
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

/// An image larger than the RAM is refused with both numbers before a byte of it is fetched.
pub(super) fn larger_than_ram(case: &Case) -> Result<()> {
    const MEMORY: u32 = 256;
    let image = Image::debian()?.padded(case.dir(), 160 << 20)?;
    let size = image.size()?;
    ensure!(
        size > u64::from(MEMORY) << 20,
        "an image of {size} bytes fits"
    );
    let store = case.own_store(&image)?;
    let stored = stored_image(&store)?;
    let others = folder_size(&stored.join("boot"))? + fs::metadata(stored.join("chunks"))?.len();

    let lan = Lan::new()?;
    let _manager = Manager::full(case, &store)?;
    let worker = Machine::bios(MEMORY).boot(case, &lan)?;
    let text = format!("image of {size} bytes does not fit: needs ");
    let line = worker.console.expect(&text, BOOT)?.text;
    let (needs, available) = (mib_after(&line, "needs ")?, mib_after(&line, "), ")?);
    ensure!(
        needs > size >> 20 && available < u64::from(MEMORY),
        "needs {needs} MiB for {size} bytes, {available} MiB available of {MEMORY}: {line}"
    );
    // Headers and the firmware's own questions are less than this.
    let delivered = worker.tap.delivered()?;
    ensure!(
        delivered < others + others / 5 + (1 << 20),
        "{delivered} bytes went to the worker, though kernel, initramfs and chunk list are only {others}"
    );
    Ok(())
}

/// The number before " MiB" and after `mark`.
fn mib_after(line: &str, mark: &str) -> Result<u64> {
    line.split_once(mark)
        .and_then(|(_, rest)| rest.split_once(" MiB"))
        .and_then(|(number, _)| number.parse().ok())
        .with_context(|| format!("no number of MiB after {mark:?} in {line:?}"))
}
