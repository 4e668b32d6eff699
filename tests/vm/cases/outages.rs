//! The manager dies.

use std::time::Duration;

use anyhow::{Result, ensure};
use ramboot_wire::stage::Stage;

use super::faults::{CHUNK, number};
use crate::case::{Case, folder_size, stored_image};
use crate::console::Console;
use crate::image::{Digests, Image, parse, sum_of};
use crate::lan::Lan;
use crate::machine::Machine;
use crate::manager::Manager;
use crate::{BOOT, wait};

/// Parts of the image that no boot reads whole: programs, and drivers for what a worker has not.
const PARTS: [&str; 4] = [
    "usr/bin",
    "usr/share/perl5",
    "usr/lib/modules/*/kernel/fs",
    "usr/lib/modules/*/kernel/net",
];

/// After the boot: the worker runs what it never ran and reads what it never read, also when no cache holds it.
pub(super) fn after_the_boot(case: &Case) -> Result<()> {
    let image = Image::debian()?;
    let expected = image.digests(case.dir(), &PARTS)?;
    let lan = Lan::new()?;
    let manager = Manager::full(case, &case.store()?)?;
    let mut worker = Machine::bios(1024).boot(case, &lan)?;
    worker.console.login()?;

    manager.kill()?;
    same_files(&mut worker.console, &expected)?;
    worker
        .console
        .run("sync; echo 3 >/proc/sys/vm/drop_caches")?;
    same_files(&mut worker.console, &expected)?;
    let sum = worker.console.run("perl -e 'print 6 * 7'")?;
    ensure!(sum == "42", "perl says 6 * 7 is {sum}");
    Ok(())
}

fn same_files(console: &mut Console, expected: &Digests) -> Result<()> {
    let read = parse(&console.run(&format!("cd /; {}", sum_of(&PARTS)))?)?;
    let differing: Vec<_> = expected
        .iter()
        .filter(|(path, digest)| read.get(*path) != Some(digest))
        .map(|(path, _)| path.as_str())
        .take(5)
        .collect();
    ensure!(
        differing.is_empty() && read.len() == expected.len(),
        "{} files in the worker, {} in the image; the first that differ: {differing:?}",
        read.len(),
        expected.len()
    );
    Ok(())
}

/// During the fetch: what was there stays, the rest comes when the manager is back.
pub(super) fn during_the_fetch(case: &Case) -> Result<()> {
    let size = Image::debian()?.size()?;
    let store = case.store()?;
    let boot_files = folder_size(&stored_image(&store)?.join("boot"))?;
    let lan = Lan::new()?;
    let manager = Manager::full(case, &store)?;
    let worker = Machine::bios(1024).boot(case, &lan)?;

    worker.console.stage(Stage::Chunks, BOOT)?;
    let before = worker.tap.delivered()?;
    wait::until("a third of the image on its way", BOOT, || {
        Ok((worker.tap.delivered()? - before > size / 3).then_some(()))
    })?;
    manager.kill()?;
    let delivered = worker.tap.delivered()?;
    ensure!(
        delivered < size + boot_files,
        "the manager was to die in the middle, but {delivered} bytes had left it: image {size}, boot files {boot_files}"
    );
    wait::outage(Duration::from_secs(10));
    let _manager = Manager::full(case, &store)?;

    let fetch = worker.console.stage(Stage::Fetch, BOOT)?;
    let (bytes, streams) = (number(&fetch, "bytes")?, number(&fetch, "streams")?);
    ensure!(
        (size..=size + CHUNK * streams).contains(&bytes),
        "{bytes} bytes were fetched for an image of {size} by {streams} streams: at most {} are due",
        size + CHUNK * streams
    );
    worker.console.stage(Stage::Handover, BOOT)?;
    Ok(())
}
