//! The initramfs: `/init`, the modules it may need, and the table that says when.
//!
//! Two cpio archives, each one zstd frame, one after the other as the kernel allows: first modules, table and firmware,
//! which change with the kernel only and take seconds to compress, so that they are worth keeping; then `/init`
//! and empty folders, which change with `ramboot`. The same input gives the same bytes on every machine: zstd cuts its input
//! into jobs of [`JOB_BYTES`] however many cores there are.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use crate::formats::cpio::Archive;
use anyhow::{Context, bail, ensure};
use ramboot_wire::modules::{MODULES_DIR, TABLE_PATH};
use ramboot_wire::{Arch, ModuleTable};
use rayon::prelude::*;

use crate::publish::modules::{Plan, elf};

/// Initramfs of Debian 12's arm64 kernel (41 MB of modules): 10.1 MB in 16, 9.8 in 17, 9.5 in 18 and 19, in 10, 14, 18 and 23 s of
/// one core.
const LEVEL: i32 = 17;
/// A job searches no further back than its own and the last job's end.
const JOB_BYTES: u32 = 16 * 1024 * 1024;

/// Firmware of wired network cards is 10 to 900 KB each; some switch chips' has tens of megabytes.
const MAX_FIRMWARE_BYTES: u64 = 4 * 1024 * 1024;

/// What is read from a kernel's folder and from /lib/firmware, wherever they are.
pub trait Files: Sync {
    /// The file at `path` inside `/lib/modules/VERSION`.
    ///
    /// # Errors
    /// It is there, and cannot be read.
    fn module(&self, path: &str) -> anyhow::Result<Option<Vec<u8>>>;

    /// Bytes of the file at `path` inside `/lib/firmware`, if there is one.
    fn firmware_size(&self, path: &str) -> Option<u64>;

    /// The file at `path` inside `/lib/firmware`.
    ///
    /// # Errors
    /// It is there, and cannot be read.
    fn firmware(&self, path: &str) -> anyhow::Result<Option<Vec<u8>>>;
}

/// The part of an initramfs that belongs to a kernel, not compressed yet.
#[derive(Debug)]
pub struct Modules {
    /// The cpio archive.
    pub archive: Vec<u8>,
    /// What the modules are for; `None` if there are none.
    pub arch: Option<Arch>,
    /// How many modules.
    pub count: usize,
    /// How many firmware files.
    pub firmware: usize,
    /// The modules by what kernel they say they are for.
    pub magics: BTreeMap<String, Vec<String>>,
    /// Bytes of the pages that its files take once the kernel has unpacked them.
    pub held: u64,
    /// Firmware that is in the image but would have made the initramfs too large.
    pub left_out: Vec<String>,
}

/// Reads all modules of a plan and the firmware they name.
///
/// # Errors
/// A module cannot be read or unpacked, or is for another machine than the others.
pub fn modules(plan: &Plan, files: &impl Files) -> anyhow::Result<Modules> {
    let contents = plan
        .files
        .par_iter()
        .map(|path| {
            let packed = files.module(path)?;
            let packed =
                packed.with_context(|| format!("modules.dep names {path}, which is not there"))?;
            unpacked(path, packed)
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let arch = common_arch(&plan.files, &contents)?;
    let wanted: BTreeSet<String> = contents
        .par_iter()
        .flat_map_iter(|c| elf::firmware(c))
        .collect();
    let (firmware, left_out) = firmware(&wanted, files)?;
    let mut magics: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, content) in plan.files.iter().zip(&contents) {
        if let Some(magic) = elf::vermagic(content) {
            magics
                .entry(magic.to_owned())
                .or_default()
                .push(path.clone());
        }
    }

    let mut archive = Archive::default();
    archive.file(TABLE_PATH, table_text(&plan.table)?.into_bytes());
    archive.folder(MODULES_DIR);
    let count = contents.len();
    for (module, content) in plan.table.modules.iter().zip(contents) {
        archive.file(&format!("{MODULES_DIR}/{}", module.path), content);
    }
    let firmware_count = firmware.len();
    for (path, content) in firmware {
        archive.file(&format!("lib/firmware/{path}"), content);
    }
    Ok(Modules {
        held: archive.held(),
        archive: archive.bytes()?,
        magics,
        arch,
        count,
        firmware: firmware_count,
        left_out,
    })
}

/// A module as the kernel links it, whatever the ending of its name says.
///
/// # Errors
/// It is packed and cannot be unpacked.
pub fn unpacked(path: &str, packed: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    crate::formats::unpack::module(path, packed).with_context(|| format!("unpacking {path}"))
}

/// The table as `/init` will read it: better refused here than there.
fn table_text(table: &ModuleTable) -> anyhow::Result<String> {
    let text = table.to_string();
    let read = ModuleTable::parse(&text).context("checking the module table")?;
    ensure!(
        read == *table,
        "a module or alias does not fit the module table"
    );
    Ok(text)
}

fn common_arch(paths: &[String], contents: &[Vec<u8>]) -> anyhow::Result<Option<Arch>> {
    let mut common: Option<(Arch, &str)> = None;
    for (path, content) in paths.iter().zip(contents) {
        let Some(arch) = elf::machine(content) else {
            bail!("{path} is no kernel module for x86_64 or aarch64");
        };
        match common {
            None => common = Some((arch, path)),
            Some((first, of)) => ensure!(
                first == arch,
                "{path} is for {arch}, but {of} is for {first}"
            ),
        }
    }
    Ok(common.map(|(arch, _)| arch))
}

type Found = BTreeMap<String, Vec<u8>>;

/// Firmware that is there, the smallest first until the limit: so the most cards work.
fn firmware(wanted: &BTreeSet<String>, files: &impl Files) -> anyhow::Result<(Found, Vec<String>)> {
    let mut there = Vec::new();
    for name in wanted {
        // The kernel looks for these endings by itself (CONFIG_FW_LOADER_COMPRESS).
        let paths = ["", ".zst", ".xz"].map(|ending| format!("{name}{ending}"));
        let found = paths
            .into_iter()
            .find_map(|path| files.firmware_size(&path).map(|size| (size, path)));
        there.extend(found);
    }
    there.sort();
    let (mut taken, mut left_out, mut total) = (Found::new(), Vec::new(), 0_u64);
    for (size, path) in there {
        total = total.saturating_add(size);
        if total > MAX_FIRMWARE_BYTES {
            left_out.push(path);
        } else if let Some(content) = files.firmware(&path)? {
            taken.insert(path, content);
        }
    }
    Ok((taken, left_out))
}

/// The part of an initramfs that belongs to this `ramboot`.
///
/// # Errors
/// `/init` has 4 GiB.
pub fn base(init: &[u8]) -> Result<Vec<u8>, crate::formats::cpio::CpioError> {
    let mut archive = Archive::default();
    for folder in ["dev", "newroot", "proc", "run", "sys"] {
        archive.folder(folder);
    }
    // The kernel opens it as stdin, stdout and stderr of /init before anything is mounted.
    archive.device("dev/console", 5, 1);
    // Rust's std opens it in place of a closed one of the three, before main, and aborts if it is not there.
    archive.device("dev/null", 1, 3);
    archive.program("init", init.to_vec());
    archive.bytes()
}

/// One zstd frame.
///
/// # Errors
/// Out of memory.
pub fn compress(archive: &[u8], workers: u32) -> io::Result<Vec<u8>> {
    let mut packer = zstd::stream::write::Encoder::new(Vec::new(), LEVEL)?;
    // Even with one core: without a worker zstd would not cut into jobs, and the bytes would differ.
    packer.multithread(workers.max(1))?;
    packer.set_parameter(zstd::zstd_safe::CParameter::JobSize(JOB_BYTES))?;
    packer.include_checksum(true)?;
    packer.set_pledged_src_size(Some(archive.len() as u64))?;
    packer.write_all(archive)?;
    packer.finish()
}

/// What a digest of the inputs must include beside the archive itself for [`compress`]'s result to be kept.
#[must_use]
pub fn recipe() -> String {
    format!(
        "zstd {} level {LEVEL} job {JOB_BYTES}",
        zstd::zstd_safe::version_number()
    )
}

#[cfg(test)]
mod tests;
