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
pub mod pi;
pub mod profile_transfer;
mod read_facts;
mod source;
mod stub;
mod summary;

use std::fs::{self, File};
use std::io::{IsTerminal, Read, Seek, stderr, stdout};
use std::path::Path;
use std::time::{Instant, SystemTime};

use anyhow::{Context, bail, ensure};
use ramboot_wire::image::MAX_IMAGE_BYTES;
use ramboot_wire::{Arch, ImageId};
use serde::Serialize;

use crate::cli::PublishArgs;
use crate::host::progress::Progress;
use crate::host::terminal;
use crate::squashfs::tree::Tree;
use crate::squashfs::{SUPERBLOCK_BYTES, Superblock, grouped};
use crate::store::boot_profile::Carried;
use crate::store::commit::Staging;
use crate::store::{BootFile, Generation, ImageFacts, Name, PiBoot};
use boot::Made;
use checks::{Finding, Refused, Report, Severity};
use examine::examine;
use ingest::{Ingested, ingest};
pub use stub::Origin;
use summary::{size, summary};

/// Columns of a report on a terminal; in a file or pipe a sentence stays on one line.
const WIDTH: usize = 100;

/// What was published; with `--json`, as it is printed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Published {
    /// Under which name.
    pub name: String,
    /// As which of its generations.
    pub generation: u64,
    /// What `b3sum` prints for the image.
    pub image: ImageId,
    /// Bytes of the image.
    pub size: u64,
    /// As `uname -r` prints it.
    pub kernel_version: String,
    /// Machines that can boot it.
    pub arch: Arch,
    /// In the image's boot folder.
    pub kernel: BootFile,
    /// In the image's boot folder.
    pub initrd: BootFile,
    /// With what UEFI machines boot by HTTP alone; `None` if there is no stub.
    pub uki: Option<Uki>,
    /// How many modules are in the initramfs.
    pub modules: usize,
    /// How many firmware files are in the initramfs.
    pub firmware: usize,
    /// What Raspberry Pis boot of it; `None` if no board can.
    pub pi: Option<PiBoot>,
    /// Which boards can boot it, and why not the others; empty for an image that is not for Raspberry Pis at all.
    pub boards: Vec<pi::Verdict>,
    /// RAM of the smallest machine that boots it, in bytes.
    pub needs_ram: u64,
    /// All that the gate found.
    pub findings: Report,
    /// Sentences of the errors that `--force` passed over.
    pub forced: Vec<String>,
    /// What `--profile` took over from another image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carried: Option<profile_transfer::Summary>,
    /// How long it took.
    pub seconds: f64,
}

/// The unified kernel image that is made for each machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Uki {
    /// In the image's boot folder.
    pub stub: BootFile,
    /// Where the stub was found.
    pub origin: Origin,
    /// Of the whole EFI program, with the longest command line.
    pub size: u64,
}

/// What an image would come to, or came to that is not published; with `--json`, as it is printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Examination {
    /// As it was named.
    pub image: String,
    /// Whether it would be published: without errors, or by `--force`.
    pub publishable: bool,
    /// RAM of the smallest machine that boots it, in bytes; `None` if that is not known.
    pub needs_ram: Option<u64>,
    /// All that the gate found, the worst first.
    pub findings: Vec<Finding>,
}

impl Examination {
    fn of(image: &Path, report: &Report, needs_ram: Option<u64>, force: bool) -> Self {
        Self {
            image: image.display().to_string(),
            publishable: report.passes(force),
            needs_ram,
            findings: report.findings().to_vec(),
        }
    }
}

/// Publishes and says so on stdout; or says there what would be published.
///
/// # Errors
/// The image is refused, or a file cannot be read or written; the store is as it was.
pub fn run(args: &PublishArgs) -> anyhow::Result<()> {
    if args.dry_run {
        return run_dry(args);
    }
    match publish(args) {
        Ok(published) if args.json => terminal::print_json(&published),
        Ok(published) => terminal::print(&summary(&published, &args.state)),
        Err(error) => match error.downcast_ref::<Refused>() {
            Some(refused) => refuse(args, refused),
            None => Err(error),
        },
    }
}

fn run_dry(args: &PublishArgs) -> anyhow::Result<()> {
    let (report, needs_ram) = dry_run(args)?;
    let image = args.image.display();
    let publishable = report.passes(args.force);
    if args.json {
        let examination = Examination::of(&args.image, &report, needs_ram, args.force);
        terminal::print_json(&examination)?;
    } else {
        let text = report.text(Severity::Fine, width(stdout().is_terminal()));
        let would = if publishable { "would" } else { "would not" };
        terminal::print(&format!(
            "{image} {would} be published: {}\n{text}",
            report.count()
        ))?;
    }
    ensure!(
        publishable,
        "{image} would not be published: {}",
        report.count()
    );
    Ok(())
}

/// Says all that is wrong, and then, as any error is said, that nothing was published.
fn refuse(args: &PublishArgs, refused: &Refused) -> anyhow::Result<()> {
    let Refused { image, report } = refused;
    if args.json {
        terminal::print_json(&Examination::of(&args.image, report, None, args.force))?;
    } else {
        let text = report.text(Severity::Warning, width(stderr().is_terminal()));
        terminal::tell(&text);
    }
    let remedy = if report.is_fatal() {
        "nothing was changed"
    } else {
        "nothing was changed; --force publishes it all the same"
    };
    bail!("{image} is not published: {}; {remedy}", report.count())
}

const fn width(terminal: bool) -> usize {
    if terminal { WIDTH } else { usize::MAX }
}

/// What the gate says of an image and how much RAM it needs; nothing is written, and no store is asked for.
///
/// # Errors
/// It is no squashfs, or cannot be read.
pub fn dry_run(args: &PublishArgs) -> anyhow::Result<(Report, Option<u64>)> {
    let _: Name = args.name.parse()?;
    let (file, bytes) = open(args)?;
    // Who makes the file shorter meanwhile ends this program, and nothing but this program.
    let image = crate::store::map(&file);
    let image = image.with_context(|| format!("mapping {}", args.image.display()))?;
    let tree = Tree::open(image).with_context(|| args.image.display().to_string())?;
    let examined = examine(args, &tree, bytes, &mut |_| {})?;
    let needs_ram = examined.parts.map(|parts| parts.need.total());
    Ok((examined.report, needs_ram))
}

/// Publishes without a word on stdout.
///
/// # Errors
/// See [`run`]; an image that the gate refuses is a [`Refused`].
pub fn publish(args: &PublishArgs) -> anyhow::Result<Published> {
    let started = Instant::now();
    let name: Name = args.name.parse()?;
    let (file, bytes) = open(args)?;
    store(args, &name, file, bytes, started).map_err(|error| {
        disk_space::explain(error, &args.state, bytes, || disk_space::free(&args.state))
    })
}

/// Copies the image, makes what it is booted with, and commits both.
fn store(
    args: &PublishArgs,
    name: &Name,
    mut file: File,
    bytes: u64,
    started: Instant,
) -> anyhow::Result<Published> {
    let shown = args.image.display().to_string();
    // Before anything that takes long.
    let known = args.profile.as_deref();
    let known = known.map(|from| profile_transfer::find(&args.state, from));
    let known = known.transpose()?;
    let mut progress = Progress::new("reading", bytes);
    let staging = Staging::begin(&args.state)?;
    disk_space::check(&args.state, bytes, disk_space::free(&args.state)?)?;
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
        let passed = pass(args, &staging, bytes, known, &mut progress);
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
    commit(args, name, staging, &ingested, passed, started)
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
    args: &PublishArgs,
    staging: &Staging,
    bytes: u64,
    known: Option<profile_transfer::Source>,
    progress: &mut Progress,
) -> anyhow::Result<Passed> {
    let tree = Tree::open(staging.map_image()?)?;
    let mut notes = Vec::new();
    let examined = examine(args, &tree, bytes, &mut |text| notes.push(text.to_owned()))?;
    let report = examined.report;
    let parts = examined.parts.filter(|_| report.passes(args.force));
    let Some(parts) = parts else {
        let image = args.image.display().to_string();
        bail!(Refused { image, report });
    };
    notes.iter().for_each(|note| progress.note(note));
    Ok(Passed {
        superblock: *tree.superblock(),
        report,
        made: boot::make(parts, staging, progress)?,
        carried: known
            .map(|known| known.carry(&tree, bytes, progress))
            .transpose()?,
    })
}

/// Opens the image and refuses at once what cannot be one.
fn open(args: &PublishArgs) -> anyhow::Result<(File, u64)> {
    ensure!(
        args.kernel.is_some() || args.modules.is_none(),
        "--modules belongs to --kernel; give both, or none for the kernel in the image"
    );
    let path = &args.image;
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
    args: &PublishArgs,
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
        note: args.note.clone(),
        pi: made.pi.boot.clone(),
        forced: forced.clone(),
    };
    let number = staging.commit(&facts, &ingested.chunks, name, &generation)?;
    let carried = carried.and_then(|carried| profile_transfer::keep(&args.state, &facts, carried));
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
        findings: report,
        forced,
        carried,
        seconds: (started.elapsed().as_secs_f64() * 100.0).round() / 100.0,
    })
}
