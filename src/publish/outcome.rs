//! What publishing, or only checking, an image came to.

use std::path::Path;

use ramboot_wire::{Arch, ImageId};
use serde::Serialize;

use super::checks::memory::Need;
use super::checks::{Finding, Report};
use super::stub::Origin;
use super::{pi, profile_transfer};
use crate::store::{BootFile, PiBoot};

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
    /// What that is made of.
    #[serde(skip)]
    pub need: Need,
    /// What `--min-ram` said, in bytes.
    #[serde(skip)]
    pub min_ram: Option<u64>,
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
    /// Of an image at `image`, which may need `needs_ram` bytes.
    #[must_use]
    pub fn of(image: &Path, report: &Report, needs_ram: Option<u64>, force: bool) -> Self {
        Self {
            image: image.display().to_string(),
            publishable: report.passes(force),
            needs_ram,
            findings: report.findings().to_vec(),
        }
    }
}
