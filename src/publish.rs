//! `ramboot publish`: a squashfs becomes something workers can boot, or nothing happens.
//!
//! Takes an image; checks its superblock, reads it once while hashing and copying, reads its tables, finds kernel and
//! modules inside, makes the initramfs, and commits all of it to the store under a name. Every refusal is one sentence; a
//! failure anywhere leaves the store as it was.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the clock once at each end"
)]

mod ingest;
pub mod kernel;
pub mod pi;
mod progress;
mod room;
mod source;
mod stub;

use std::fs::{self, File};
use std::io::{Read, Seek, Write, stdout};
use std::path::Path;
use std::time::{Instant, SystemTime};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use ramboot_wire::ImageId;
use ramboot_wire::image::MAX_IMAGE_BYTES;
use serde::Serialize;

use crate::cli::PublishArgs;
use crate::inits::{self, Arch};
use crate::squashfs::tree::Tree;
use crate::squashfs::{SUPERBLOCK_BYTES, Superblock, grouped};
use crate::store::commit::Staging;
use crate::store::{BootFile, Generation, ImageFacts, Name, PiBoot};
use crate::{initrd, kmod};
use ingest::{Ingested, ingest};
use kernel::{NoKernel, kernel_arch};
use progress::Progress;
use source::Source;
pub use stub::Origin;

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

/// Publishes and says so on stdout.
///
/// # Errors
/// The image is refused, or a file cannot be read or written; the store is as it was.
pub fn run(args: &PublishArgs) -> anyhow::Result<()> {
    let published = publish(args)?;
    let text = if args.json {
        serde_json::to_string(&published).context("writing JSON")? + "\n"
    } else {
        summary(&published, &args.state)
    };
    stdout()
        .write_all(text.as_bytes())
        .context("writing to stdout")
}

/// Publishes without a word on stdout.
///
/// # Errors
/// See [`run`].
pub fn publish(args: &PublishArgs) -> anyhow::Result<Published> {
    let started = Instant::now();
    let name: Name = args.name.parse()?;
    ensure!(
        args.kernel.is_some() || args.modules.is_none(),
        "--modules belongs to --kernel; give both, or none for the kernel in the image"
    );
    let (file, bytes) = open(&args.image)?;
    store(args, &name, file, bytes, started)
        .map_err(|error| room::explain(error, &args.state, bytes, || room::free(&args.state)))
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
    let mut progress = Progress::reading(bytes);
    let staging = Staging::begin(&args.state)?;
    room::check(&args.state, bytes, room::free(&args.state)?)?;
    let mut copy = staging.create_image()?;
    let ingested = ingest(&mut file, &mut copy, |done| progress.at(done))
        .with_context(|| format!("publishing {shown}"))?;
    ensure!(
        ingested.size == bytes,
        "{shown} was changed while it was read: it had {} bytes, then {}",
        grouped(bytes),
        grouped(ingested.size)
    );
    let (made, synced) = std::thread::scope(|scope| {
        // The disk is busy with the image while the processor is with the initramfs.
        let synced = scope.spawn(|| copy.sync_all());
        (boot_files(args, &staging, &mut progress), synced.join())
    });
    let made = made.with_context(|| format!("publishing {shown}"))?;
    // The kernel tells of a failed write once, to whoever syncs first: it must not be lost here.
    let Ok(synced) = synced else {
        bail!("the thread that syncs the image panicked");
    };
    synced.context("writing the image into the store")?;
    progress.step("writing to disk");
    commit(args, name, staging, &ingested, made, started)
}

/// What [`boot_files`] found and made.
struct Made {
    superblock: Superblock,
    version: String,
    arch: Arch,
    kernel: BootFile,
    initrd: BootFile,
    uki: Option<Uki>,
    modules: usize,
    firmware: usize,
    pi: pi::Outcome,
}

/// Opens the image and refuses at once what cannot be one.
fn open(path: &Path) -> anyhow::Result<(File, u64)> {
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

/// Finds the kernel and makes the initramfs, from the image as it was stored.
fn boot_files(
    args: &PublishArgs,
    staging: &Staging,
    progress: &mut Progress,
) -> anyhow::Result<Made> {
    let tree = Tree::open(staging.map_image()?)?;
    let source = match (&args.kernel, &args.modules) {
        (Some(kernel), Some(modules)) => Source::beside(&tree, kernel, modules)?,
        _ => Source::in_image(&tree)?,
    };
    let arch = kernel_arch(&source.kernel).ok_or_else(|| NoKernel::Unknown(source.path.clone()))?;
    let index = source.index()?;
    let plan = kmod::plan(&index, kmod::Policy::All)?;
    let modules = initrd::modules(&plan, &source)?;
    if let Some(of_modules) = modules.arch {
        ensure!(
            of_modules == arch,
            NoKernel::Machines(source.path.clone(), arch, of_modules)
        );
    }
    if !modules.left_out.is_empty() {
        progress.note(&format!(
            "firmware left out of the initramfs, which would become too large: {}",
            modules.left_out.join(" ")
        ));
    }
    let Some(init) = inits::init(arch) else {
        bail!("this ramboot has no /init for {arch}: it was built without the Rust target for it");
    };
    let mut packed = compressed_modules(staging, &modules.archive, "all machines", progress)?;
    let base = initrd::base(init)?;
    let base = initrd::compress(&base, workers()).context("compressing /init")?;
    packed.extend_from_slice(&base);
    let pi = match arch {
        Arch::Aarch64 => pi::boot_files(&tree, &source, &index, &base, staging, progress)?,
        Arch::X86_64 => pi::Outcome::default(),
    };
    let (kernel, packed) = (Bytes::from(source.kernel), Bytes::from(packed));
    let note = &mut |text: &str| progress.note(text);
    let stub = stub::find(&tree, Path::new("/"), arch, &kernel, &packed, note)?;
    let uki = stub.map(|found| {
        Ok::<_, anyhow::Error>(Uki {
            stub: staging.add_boot("stub", &found.bytes)?,
            origin: found.origin,
            size: found.uki_bytes,
        })
    });
    Ok(Made {
        superblock: *tree.superblock(),
        arch,
        kernel: staging.add_boot("vmlinuz", &kernel)?,
        initrd: staging.add_boot("initrd", &packed)?,
        uki: uki.transpose()?,
        version: source.version,
        modules: modules.count,
        firmware: modules.firmware,
        pi,
    })
}

/// Compresses what belongs to the kernel, or finds it in the cache: the next image often has the same kernel.
fn compressed_modules(
    staging: &Staging,
    archive: &[u8],
    machines: &str,
    progress: &mut Progress,
) -> anyhow::Result<Vec<u8>> {
    let mut inputs = blake3::Hasher::new();
    inputs.update(initrd::recipe().as_bytes()).update(archive);
    let entry = staging.cached("modules", &inputs.finalize());
    if let Some(packed) = entry.get() {
        return Ok(packed);
    }
    progress.step(&format!(
        "compressing the modules of a kernel that is new here, for {machines}"
    ));
    let packed = initrd::compress(archive, workers()).context("compressing modules")?;
    if let Err(e) = entry.put(&packed) {
        progress.note(&format!(
            "the compressed modules are not kept for next time: {e}"
        ));
    }
    Ok(packed)
}

fn workers() -> u32 {
    std::thread::available_parallelism()
        .ok()
        .and_then(|n| u32::try_from(n.get()).ok())
        .unwrap_or(1)
}

fn commit(
    args: &PublishArgs,
    name: &Name,
    staging: Staging,
    ingested: &Ingested,
    made: Made,
    started: Instant,
) -> anyhow::Result<Published> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let facts = ImageFacts {
        id: ingested.id,
        size: ingested.size,
        compressor: made.superblock.compressor.to_string(),
        block_size: made.superblock.block_size,
        kernel_version: made.version.clone(),
        arch: made.arch,
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
    };
    let number = staging.commit(&facts, &ingested.chunks, name, &generation)?;
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
        seconds: (started.elapsed().as_secs_f64() * 100.0).round() / 100.0,
    })
}

fn summary(published: &Published, state: &Path) -> String {
    let Published {
        name,
        generation,
        image,
        kernel_version,
        arch,
        modules,
        firmware,
        seconds,
        ..
    } = published;
    let with_firmware = match firmware {
        0 => String::new(),
        n => format!(", {n} firmware files"),
    };
    let serve = if state == Path::new("/var/lib/ramboot") {
        String::new()
    } else {
        format!(" --state {}", state.display())
    };
    format!(
        "published {name}, generation {generation}, in {seconds} s\n  \
         image      {image}\n             {}\n  \
         kernel     {kernel_version} for {arch}, {}\n  \
         initramfs  {}, {modules} modules{with_firmware}\n  \
         UEFI       {}\n\
         {}next: ramboot serve{serve}\n",
        size(published.size),
        size(published.kernel.size),
        size(published.initrd.size),
        uefi(published.uki.as_ref(), *arch),
        pi::lines(&published.boards),
    )
}

/// How UEFI machines will boot what was published.
fn uefi(uki: Option<&Uki>, arch: Arch) -> String {
    let of = match uki.map(|uki| uki.origin) {
        Some(Origin::Image) => "of the image",
        Some(Origin::Host) => "of this machine",
        None => {
            return format!(
                "by iPXE: no systemd-stub for {arch} that makes a UKI of this kernel; apt install systemd-boot-efi in the \
                 image or here, and publish again"
            );
        }
    };
    format!("HTTP Boot: UKI with the stub {of}")
}

fn size(bytes: u64) -> String {
    let tenths = bytes.saturating_add(50_000) / 100_000;
    format!(
        "{}.{} MB ({} bytes)",
        tenths / 10,
        tenths % 10,
        grouped(bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_twice() {
        assert_eq!(size(205_586_432), "205.6 MB (205 586 432 bytes)");
        assert_eq!(size(999), "0.0 MB (999 bytes)");
        assert_eq!(size(49_950_000), "50.0 MB (49 950 000 bytes)");
    }
}
