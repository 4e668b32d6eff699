//! What is to be published, and how.

use std::path::PathBuf;

/// One image, and what it is published as.
#[derive(Debug, Clone)]
pub struct Request {
    /// The worker's root file system: a squashfs 4.0.
    pub image: PathBuf,
    /// The name workers get it by.
    pub name: String,
    /// Where images are kept.
    pub state: PathBuf,
    /// A kernel to use instead of the one in the image's /boot.
    pub kernel: Option<PathBuf>,
    /// The /lib/modules/VERSION folder that belongs to `kernel`.
    pub modules: Option<PathBuf>,
    /// The version of the kernel to use, if the image has several; `None` for the newest one.
    pub kernel_version: Option<String>,
    /// A line to remember this publication by.
    pub note: String,
    /// RAM of the smallest machine that is to boot it, in bytes.
    pub min_ram: Option<u64>,
    /// The image whose boot profile is taken over: a name, or the first digits of its digest.
    pub profile: Option<String>,
    /// Publish it though the checks refuse it.
    pub force: bool,
}
