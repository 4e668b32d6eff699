//! What `ramboot publish` is told.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::publish::request::Request;

/// `ramboot publish`
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// The worker's root file system: a squashfs 4.0.
    pub image: PathBuf,
    /// The name workers get it by; a later publish under the same name replaces it.
    #[arg(long, default_value = "default")]
    pub name: String,
    /// Where images are kept.
    #[arg(
        long,
        env = "RAMBOOT_STATE",
        default_value = "/var/lib/ramboot",
        value_name = "DIR"
    )]
    pub state: PathBuf,
    /// A kernel to use instead of the one in the image's /boot.
    #[arg(long, value_name = "FILE", requires = "modules")]
    pub kernel: Option<PathBuf>,
    /// The /lib/modules/VERSION folder that belongs to --kernel.
    #[arg(long, value_name = "DIR")]
    pub modules: Option<PathBuf>,
    /// The version of the kernel to use, if the image has several: 6.1.0-56-rt-amd64. Without it: the newest one.
    #[arg(long, value_name = "VERSION", conflicts_with = "kernel")]
    pub kernel_version: Option<String>,
    /// A line to remember this publication by.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    pub note: String,
    /// RAM of the smallest machine that is to boot it: 1G, 512M. An image that needs more is refused.
    #[arg(long, value_name = "SIZE")]
    pub min_ram: Option<Size>,
    /// Take over what is known of how another image boots, for all files that are the same in both: a name, or the first
    /// digits of its digest. So workers with mode = "stream" start the new image as soon as the old one, from the first boot on.
    #[arg(long, value_name = "FROM", conflicts_with = "dry_run")]
    pub profile: Option<String>,
    /// Say what is right and wrong with the image, and change nothing. Exit code 1 if it would be refused.
    #[arg(long)]
    pub dry_run: bool,
    /// Publish an image that the checks refuse. It is written down what was wrong, and "ramboot images" says it.
    #[arg(long)]
    pub force: bool,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
}

impl PublishArgs {
    /// What is to be done, without how it is said.
    #[must_use]
    pub fn request(&self) -> Request {
        Request {
            image: self.image.clone(),
            name: self.name.clone(),
            state: self.state.clone(),
            kernel: self.kernel.clone(),
            modules: self.modules.clone(),
            kernel_version: self.kernel_version.clone(),
            note: self.note.clone(),
            min_ram: self.min_ram.map(|size| size.0),
            profile: self.profile.clone(),
            force: self.force,
        }
    }
}

/// Bytes, as a person writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

/// The text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size such as 512M or 2G")]
pub struct BadSize(String);

impl FromStr for Size {
    type Err = BadSize;

    fn from_str(text: &str) -> Result<Self, BadSize> {
        let bad = || BadSize(text.chars().take(80).collect());
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let shift = match text.get(digits.len()..) {
            Some("K" | "k" | "KiB") => 10,
            Some("M" | "m" | "MiB") => 20,
            Some("G" | "g" | "GiB") => 30,
            _ => return Err(bad()),
        };
        let number: u64 = digits.parse().map_err(|_| bad())?;
        let bytes = number.checked_mul(1 << shift).filter(|&bytes| bytes > 0);
        bytes.map(Self).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit() {
        for (text, want) in [
            ("1G", Some(1 << 30)),
            ("512M", Some(512 << 20)),
            ("512MiB", Some(512 << 20)),
            ("4096k", Some(4 << 20)),
            ("", None),
            ("G", None),
            ("0G", None),
            ("512", None),
            ("-1G", None),
            ("1 G", None),
            ("1GB", None),
            ("99999999999G", None),
        ] {
            assert_eq!(text.parse().ok(), want.map(Size), "{text}");
        }
    }
}
