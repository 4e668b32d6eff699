//! What `ramboot build` is told.

use std::path::PathBuf;

use clap::Args;

use crate::build::Request;

/// `ramboot build`
#[derive(Debug, Args)]
#[command(after_long_help = BUILD_EXAMPLES)]
pub struct BuildArgs {
    /// A folder; a tar, also .gz, .xz or .zst; an OCI image layout, as a folder or a tar; an archive of "docker save"; a
    /// folder of "skopeo copy ... dir:"; a disk image, also .gz, .xz or .zst; a squashfs. "-" reads from a pipe. What it is,
    /// its content says, not its name.
    pub source: PathBuf,
    /// The image to write; one that is there is replaced when the new one is complete.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Switch off what would stop or spoil a machine whose root is in RAM.
    #[arg(long)]
    pub fix: bool,
    /// Of a container image for several machines, which: amd64, amd64/v2, arm64, arm/v7 [default: this machine's].
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// Of a disk image with several Linux partitions, the number of the one that is the root.
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,
    /// No time in the image is later: seconds since 1970 [default: the newest time in the source].
    #[arg(
        long,
        env = "SOURCE_DATE_EPOCH",
        hide_env_values = true,
        value_name = "SECONDS"
    )]
    pub source_date_epoch: Option<u64>,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
}

impl BuildArgs {
    /// What is to be done, without how it is said.
    #[must_use]
    pub fn request(&self) -> Request {
        Request {
            source: self.source.clone(),
            output: self.output.clone(),
            fix: self.fix,
            arch: self.arch.clone(),
            partition: self.partition,
            source_date_epoch: self.source_date_epoch,
        }
    }
}

const BUILD_EXAMPLES: &str = "\
Examples:
  ramboot build rootfs/ -o worker.sqfs
  ramboot build rootfs.tar.zst -o worker.sqfs --fix
  ramboot build raspios-lite-arm64.img.xz -o pi.sqfs --fix
  docker save my/worker | ramboot build - -o worker.sqfs
  skopeo copy docker://debian:12 oci:debian && \\
      ramboot build debian -o debian.sqfs --arch arm64
  mmdebstrap --include=linux-image-amd64,systemd-sysv bookworm - | \\
      ramboot build - -o debian.sqfs";
