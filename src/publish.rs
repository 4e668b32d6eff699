//! `ramboot publish`: a squashfs becomes something workers can boot, or nothing happens.
//!
//! Takes an image; checks its superblock, reads it once while hashing and copying, reads its tables, finds kernel and
//! modules inside, asks the [`checks`], makes the initramfs, and commits all of it to the store under a name. What is refused is
//! told at once, a sentence for each fault; a failure anywhere leaves the store as it was.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the clock once at each end"
)]

mod boot;
pub mod checks;
pub mod choose;
mod disk_space;
pub mod embedded_init;
mod examine;
mod ingest;
pub mod initrd;
pub mod kernel;
pub mod modules;
pub mod outcome;
pub mod pi;
pub mod profile_transfer;
mod read_facts;
pub mod request;
mod source;
mod stub;
pub mod summary;

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::time::{Instant, SystemTime};

use anyhow::{Context, bail, ensure};
use ramboot_wire::image::MAX_IMAGE_BYTES;

use crate::formats::squashfs::packed::Packed;
use crate::formats::squashfs::tree::Tree;
use crate::formats::squashfs::{SUPERBLOCK_BYTES, Superblock, grouped};
use crate::host::progress::Progress;
use crate::store::boot_profile::Carried;
use crate::store::commit::Staging;
use crate::store::{Generation, ImageFacts, Name};
use boot::Made;
use checks::{Refused, Report, Severity};
use examine::examine;
use ingest::{Ingested, ingest};
use outcome::Published;
use request::Request;
pub use stub::Origin;

/// What the gate says of an image and how much RAM it needs; nothing is written, and no store is asked for.
///
/// # Errors
/// It is no squashfs, or cannot be read.
pub fn dry_run(request: &Request) -> anyhow::Result<(Report, Option<u64>)> {
    let _: Name = request.name.parse()?;
    let (file, bytes) = open(request)?;
    let shown = || request.image.display().to_string();
    let image = Packed::file(file, &request.image).with_context(shown)?;
    let tree = Tree::open(image).with_context(shown)?;
    let examined = examine(request, &tree, bytes, &mut |_| {});
    // What could not be read is no fault of the image.
    tree.readable().with_context(shown)?;
    let examined = examined?;
    let needs_ram = examined.parts.map(|parts| parts.need.total());
    Ok((examined.report, needs_ram))
}

/// Publishes without a word on stdout.
///
/// # Errors
/// A file cannot be read or written, and the store is as it was; an image that the gate refuses is a [`Refused`].
pub fn publish(request: &Request) -> anyhow::Result<Published> {
    let started = Instant::now();
    let name: Name = request.name.parse()?;
    let (file, bytes) = open(request)?;
    store(request, &name, file, bytes, started).map_err(|error| {
        disk_space::explain(error, &request.state, bytes, || {
            disk_space::free(&request.state)
        })
    })
}

/// Copies the image, makes what it is booted with, and commits both.
fn store(
    request: &Request,
    name: &Name,
    mut file: File,
    bytes: u64,
    started: Instant,
) -> anyhow::Result<Published> {
    let shown = request.image.display().to_string();
    // Before anything that takes long.
    let known = request.profile.as_deref();
    let known = known.map(|from| profile_transfer::find(&request.state, from));
    let known = known.transpose()?;
    let mut progress = Progress::new("reading", bytes);
    let staging = Staging::begin(&request.state)?;
    disk_space::check(&request.state, bytes, disk_space::free(&request.state)?)?;
    let mut copy = staging.create_image()?;
    let ingested = ingest(&mut file, &mut copy, |done| progress.at(done))
        .with_context(|| format!("publishing {shown}"))?;
    ensure!(
        ingested.size == bytes,
        "{shown} was changed while it was read: it had {} bytes, then {}",
        grouped(bytes),
        grouped(ingested.size)
    );
    let (passed, synced) = std::thread::scope(|scope| {
        // The disk is busy with the image while the processor is with the initramfs.
        let synced = scope.spawn(|| copy.sync_all());
        let passed = pass(request, &staging, bytes, known, &mut progress);
        (passed, synced.join())
    });
    let passed = passed.map_err(|error| match error.is::<Refused>() {
        true => error,
        false => error.context(format!("publishing {shown}")),
    })?;
    // The kernel tells of a failed write once, to whoever syncs first: it must not be lost here.
    let Ok(synced) = synced else {
        bail!("the thread that syncs the image panicked");
    };
    synced.context("writing the image into the store")?;
    progress.step("writing to disk");
    commit(request, name, staging, &ingested, passed, started)
}

/// An image that may be published, and its boot files.
struct Passed {
    superblock: Superblock,
    report: Report,
    made: Made,
    carried: Option<Carried>,
}

/// Asks the gate about the image as it was stored, and makes the boot files of one that passes.
fn pass(
    request: &Request,
    staging: &Staging,
    bytes: u64,
    known: Option<profile_transfer::Source>,
    progress: &mut Progress,
) -> anyhow::Result<Passed> {
    let (file, path) = staging.open_image()?;
    let tree = Tree::open(Packed::file(file, &path)?)?;
    let passed = pass_tree(request, staging, &tree, bytes, known, progress);
    // What could not be read is no fault of the image.
    tree.readable()?;
    passed
}

fn pass_tree(
    request: &Request,
    staging: &Staging,
    tree: &Tree,
    bytes: u64,
    known: Option<profile_transfer::Source>,
    progress: &mut Progress,
) -> anyhow::Result<Passed> {
    let mut notes = Vec::new();
    let examined = examine(request, tree, bytes, &mut |text| {
        notes.push(text.to_owned())
    })?;
    let report = examined.report;
    let parts = examined.parts.filter(|_| report.passes(request.force));
    let Some(parts) = parts else {
        let image = request.image.display().to_string();
        bail!(Refused { image, report });
    };
    notes.iter().for_each(|note| progress.note(note));
    Ok(Passed {
        superblock: *tree.superblock(),
        report,
        made: boot::make(parts, staging, progress)?,
        carried: known
            .map(|known| known.carry(tree, bytes, progress))
            .transpose()?,
    })
}

/// Opens the image and refuses at once what cannot be one.
fn open(request: &Request) -> anyhow::Result<(File, u64)> {
    ensure!(
        request.kernel.is_some() || request.modules.is_none(),
        "--modules belongs to --kernel; give both, or none for the kernel in the image"
    );
    let path = &request.image;
    let shown = path.display();
    // Looked at before it is opened: opening a FIFO waits.
    let kind = fs::metadata(path).with_context(|| format!("opening {shown}"))?;
    ensure!(
        kind.is_file(),
        "{shown} is not a plain file; a squashfs is wanted"
    );
    let mut file = File::open(path).with_context(|| format!("opening {shown}"))?;
    let bytes = file
        .metadata()
        .with_context(|| format!("opening {shown}"))?
        .len();
    ensure!(
        bytes <= MAX_IMAGE_BYTES,
        "{shown} has {} bytes; {} are the limit",
        grouped(bytes),
        grouped(MAX_IMAGE_BYTES)
    );
    let mut head = Vec::new();
    Read::by_ref(&mut file)
        .take(SUPERBLOCK_BYTES as u64)
        .read_to_end(&mut head)
        .with_context(|| format!("reading {shown}"))?;
    Superblock::parse(&head, bytes).with_context(|| shown.to_string())?;
    file.rewind().with_context(|| format!("reading {shown}"))?;
    Ok((file, bytes))
}

fn commit(
    request: &Request,
    name: &Name,
    staging: Staging,
    ingested: &Ingested,
    passed: Passed,
    started: Instant,
) -> anyhow::Result<Published> {
    let Passed {
        superblock,
        report,
        made,
        carried,
    } = passed;
    let forced: Vec<String> = report
        .sentences(Severity::Error)
        .map(str::to_owned)
        .collect();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let facts = ImageFacts {
        id: ingested.id,
        size: ingested.size,
        compressor: superblock.compressor.to_string(),
        block_size: superblock.block_size,
        kernel_version: made.version.clone(),
        arch: made.arch,
        forced: forced.clone(),
    };
    let generation = Generation {
        number: 0,
        image: ingested.id,
        size: ingested.size,
        kernel: made.kernel.clone(),
        initrd: made.initrd.clone(),
        stub: made.uki.as_ref().map(|uki| uki.stub.clone()),
        kernel_version: made.version.clone(),
        arch: made.arch,
        // A clock before 1970 is a board without one.
        published: now.map_or(0, |since| since.as_secs()),
        note: request.note.clone(),
        pi: made.pi.boot.clone(),
        forced: forced.clone(),
    };
    let number = staging.commit(&facts, &ingested.chunks, name, &generation)?;
    let carried =
        carried.and_then(|carried| profile_transfer::keep(&request.state, &facts, carried));
    Ok(Published {
        name: name.to_string(),
        generation: number,
        image: ingested.id,
        size: ingested.size,
        kernel_version: made.version,
        arch: made.arch,
        kernel: made.kernel,
        initrd: made.initrd,
        uki: made.uki,
        modules: made.modules,
        firmware: made.firmware,
        pi: made.pi.boot,
        boards: made.pi.verdicts,
        needs_ram: made.need.total(),
        need: made.need,
        min_ram: request.min_ram,
        findings: report,
        forced,
        carried,
        seconds: (started.elapsed().as_secs_f64() * 100.0).round() / 100.0,
    })
}
