//! `ramboot build`: any root file system becomes an image that can be published.
//!
//! Takes a folder, a tar, a container image, a disk image or a squashfs ([`source`]); all become one stream of entries
//! ([`entry`]), which passes the rules of what harms a machine whose root is in RAM ([`rules`]) and is packed by mksquashfs ([`pack`]). The same source
//! makes the same bytes. The image gets its name when it is complete; a failure anywhere leaves nothing behind.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the clock once at each end"
)]

pub mod disk;
pub mod entry;
mod folder;
mod foreign;
pub mod iso;
mod layers;
mod lookup;
mod mend;
pub mod merge;
pub mod names;
mod oci;
pub mod outline;
mod pack;
pub mod report;
pub mod rules;
mod source;
pub mod tar_read;
pub mod tar_write;
pub mod unpack;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, ensure};
use serde::Serialize;
use tempfile::NamedTempFile;

use crate::host::progress::Progress;
use entry::Meta;
use mend::Mend;
use pack::Packer;
use rules::Finding;
use source::{Source, Wish};

/// What was built; with `--json`, as it is printed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Built {
    /// Where it is.
    pub image: PathBuf,
    /// What kind of source it was made of.
    pub source: String,
    /// Of a container image, as OCI calls it: `amd64`, `arm64`.
    pub arch: Option<String>,
    /// Bytes of the image.
    pub size: u64,
    /// Bytes of all files in it.
    pub content: u64,
    /// Folders, files and all else.
    pub entries: u64,
    /// What the source has and the image has not, one sentence each.
    pub left_out: Vec<String>,
    /// What else is to be known, one sentence each.
    pub notes: Vec<String>,
    /// What would stop or spoil a machine whose root is in RAM.
    pub findings: Vec<Finding>,
    /// How long it took.
    pub seconds: f64,
}

/// What is to be built of what.
#[derive(Debug, Clone)]
pub struct Request {
    /// The root file system in any of its forms, or "-" for a pipe.
    pub source: PathBuf,
    /// The image to write.
    pub output: PathBuf,
    /// Switch off what would stop or spoil a machine whose root is in RAM.
    pub fix: bool,
    /// Of a container image for several machines, which; `None` for this machine's.
    pub arch: Option<String>,
    /// Of a disk image with several Linux partitions, the number of the root.
    pub partition: Option<u32>,
    /// No time in the image is later, in seconds since 1970; `None` for the newest time in the source.
    pub source_date_epoch: Option<u64>,
}

/// Builds without a word on stdout.
///
/// # Errors
/// The source is refused or cannot be read, or the image cannot be written; what was there before it stays.
pub fn build(request: &Request) -> anyhow::Result<Built> {
    let started = Instant::now();
    let out = &request.output;
    ensure!(
        !out.is_dir(),
        "{} is a folder: -o takes a file",
        out.display()
    );
    let mut source = Source::open(Wish {
        source: &request.source,
        arch: request.arch.as_deref(),
        partition: request.partition,
        folder: folder_of(out),
    })?;
    let outline = source.outline()?;
    let of_source = || format!("reading {}", request.source.display());
    outline.top.check().with_context(of_source)?;
    outline.check_size().with_context(of_source)?;
    let epoch = request.source_date_epoch.unwrap_or(outline.newest);
    let plain = || Meta {
        mode: 0o755,
        ..Meta::default()
    };
    let root = outline.root.clone().unwrap_or_else(plain);
    let progress = Progress::new("packing", outline.bytes);
    let mut packer = Packer::start(out, &root, epoch.min(u64::from(u32::MAX)), progress)?;
    let mut mend = Mend::new(&mut packer, request.fix, epoch);
    source.read(&mut mend)?;
    let mended = mend.finish()?;
    let packed = packer.finish(out)?;
    let mut left_out = outline.left_out;
    left_out.extend(mended.left_out);
    if packed.lost_xattrs > 0 {
        left_out.push(format!(
            "{} extended attributes that a squashfs cannot hold, such as POSIX ACLs",
            packed.lost_xattrs
        ));
    }
    let mut notes = source.notes;
    notes.extend(mended.notes);
    if packed.foreign_root {
        notes.push(FOREIGN_ROOT.to_owned());
    }
    Ok(Built {
        image: out.clone(),
        source: source.kind,
        arch: source.arch,
        size: packed.image,
        content: packed.bytes,
        entries: packed.entries,
        left_out,
        notes,
        findings: mended.findings,
        seconds: started.elapsed().as_secs_f64(),
    })
}

const FOREIGN_ROOT: &str = "the image's root folder belongs to your user, for mksquashfs gives it to whoever runs it, and here no user \
                            namespaces are allowed: build as root";

/// Where a file lies, or will.
fn folder_of(file: &Path) -> &Path {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or_else(|| Path::new("."))
}

/// A new file beside another, which goes when it is dropped.
fn beside(file: &Path) -> anyhow::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    tempfile::Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(".tmp")
        // Less what the umask takes, as any new file.
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(folder_of(file))
        .with_context(|| format!("writing {}", file.display()))
}
