//! The command line's types: what a user can say, checked as far as one word can be.

pub mod eeprom;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::config::DEFAULT_HTTP_PORT;
use crate::verbs::images::rollback_target::Prefix;

/// Where images are kept, unless told otherwise.
pub const DEFAULT_STATE: &str = "/var/lib/ramboot";

/// Boots machines without a disk from one verified squashfs in RAM.
///
/// First `ramboot build SOURCE -o image.sqfs`, then `ramboot publish image.sqfs`, then `ramboot serve`, then switch a machine on that boots from the network.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 80,
    help_expected = true,
    propagate_version = true
)]
pub struct Cli {
    /// How much to log: error, warn, info, debug, or a list such as info,ramboot::dhcp=debug.
    #[arg(
        long,
        global = true,
        env = "RAMBOOT_LOG",
        default_value = "info",
        value_name = "LEVEL"
    )]
    pub log: EnvFilter,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs. What stands over one is its help: with both, clap shows nothing of what stands over its arguments.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an image of any root file system: a folder, a tar, a container image, a disk image.
    ///
    /// Owners, modes, devices, hard links, extended attributes and file capabilities come over as they are; root is not needed.
    /// The same source makes the same image, byte for byte. mksquashfs does the packing (apt install squashfs-tools).
    ///
    /// What would stop or spoil a machine whose root is in RAM is named: lines of fstab for disks, swap files, first-boot
    /// resizing. --fix switches it off in the image.
    Build(BuildArgs),
    /// Check an image, make its boot files and let workers boot it.
    Publish(PublishArgs),
    /// Answer machines that boot from the network.
    Serve(ServeArgs),
    /// Show the machines that boot here: who is up, who boots, who is in trouble and why.
    ///
    /// A star after an image says that the machine would boot another one if it were switched off and on. A manager that was
    /// started anew hears of running machines by their heartbeats, within 40 seconds.
    Nodes(NodesArgs),
    /// Show what is published: names, images, kernels, and what machines boot now.
    ///
    /// HOT is what a worker with mode = "stream" waits for before the image starts: there is such a column as soon as one has booted
    /// an image so, and `ramboot profile` says more.
    Images(ImagesArgs),
    /// Show what boots of an image read of it, as workers that streamed it recorded.
    ///
    /// A worker with mode = "stream" tells which parts of its image it read until it was up. What any boot read before its network was
    /// as it stays is hot: the next worker that streams waits for that, and fetches the rest while the image runs already. The
    /// last eight recordings are kept, one of each machine. An image of which nothing is known is fetched wholly before it starts.
    Profile(ProfileArgs),
    /// Let machines boot what a name stood for before.
    ///
    /// Writes a new generation that is an old one again: nothing is lost, and machines boot it at their next start. Image,
    /// kernel and initramfs are read and compared with their digests before.
    Rollback(RollbackArgs),
    /// Take a name away, so that no machine finds it any more.
    ///
    /// The name's generations are gone for good, all at once; its images stay until "ramboot gc". Machines that run it, or are
    /// fetching it, are not disturbed.
    Unpublish(UnpublishArgs),
    /// Remove old generations, and the images that nothing needs then.
    ///
    /// Never removed: what a name stands for, what a generation that is kept names, what is being published, and what a
    /// manager serves (a machine asked for it in the last ten minutes).
    Gc(GcArgs),
    /// Have Raspberry Pis boot from the network: settings, images and steps for their bootloaders.
    ///
    /// A Pi 4, 400, 5, 500 or compute module boots from the network if its bootloader's settings say so; as delivered most do
    /// not. "steps" says what to do for which board, the others make what is needed for it. Images of bootloaders
    /// (pieeprom-DATE.bin) are published at github.com/raspberrypi/rpi-eeprom.
    Eeprom(eeprom::EepromArgs),
    /// Say what keeps machines from booting here, and what to do about it.
    ///
    /// Looks at ports, interface, other DHCP servers, firewall rules, iPXE's files and the store; then switches a simulated Raspberry
    /// Pi and a simulated PC on, and says step by step what the manager that runs here makes of them. Changes nothing. As root it
    /// sees all of it; without, it says what it could not look at. Exit code 1 if something keeps machines from booting.
    Doctor(DoctorArgs),
}

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

/// `ramboot serve`
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where images are kept.
    #[arg(
        long,
        env = "RAMBOOT_STATE",
        default_value = "/var/lib/ramboot",
        value_name = "DIR"
    )]
    pub state: PathBuf,
    /// Which machine gets which image, and all that has no flag (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The network interface workers are on; may be given several times. Without it: the only one that has an address.
    #[arg(
        long,
        env = "RAMBOOT_INTERFACE",
        value_delimiter = ',',
        value_name = "IF"
    )]
    pub interface: Vec<String>,
    /// How to answer DHCP: beside the DHCP server that is there (proxy), as the only one (full), or not at all (off).
    #[arg(long, value_name = "MODE")]
    pub dhcp: Option<DhcpMode>,
    /// Addresses to give out, for --dhcp full: 10.0.0.100-10.0.0.199.
    #[arg(long, value_name = "A-B")]
    pub pool: Option<Pool>,
    /// With --dhcp full: start even though another DHCP server answers on the network. Two servers that know nothing of
    /// each other may give one address to two machines; let their pools not overlap.
    #[arg(long)]
    pub force: bool,
    /// TCP port for kernel, initramfs and image [default: 8067].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub http_port: Option<u16>,
    /// Where undionly.kpxe and snponly.efi are [default: /usr/lib/ipxe].
    #[arg(long, value_name = "DIR")]
    pub ipxe_dir: Option<PathBuf>,
    /// Where the socket is made that "ramboot doctor" asks [default: /run/ramboot].
    #[arg(
        long,
        env = "RUNTIME_DIRECTORY",
        hide_env_values = true,
        value_name = "DIR"
    )]
    pub run_dir: Option<PathBuf>,
}

/// `ramboot nodes`
#[derive(Debug, Args)]
#[command(after_long_help = NODES_EXAMPLES)]
pub struct NodesArgs {
    /// Show it again and again, until Ctrl-C.
    #[arg(long)]
    pub watch: bool,
    /// Print all that is known as one JSON object; with --watch, one a line.
    #[arg(long)]
    pub json: bool,
    /// The manager to ask: an address, with its HTTP port unless that is 8067. Without it: the one on this machine.
    #[arg(long, env = "RAMBOOT_MANAGER", value_name = "ADDRESS[:PORT]")]
    pub manager: Option<Manager>,
}

const NODES_EXAMPLES: &str = "\
Examples:
  ramboot nodes
  ramboot nodes --watch
  ramboot nodes --manager 10.0.0.1
  ramboot nodes --json | jq -r '.workers[] | select(.would_change) | .name'";

/// Where a manager serves HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manager(pub SocketAddrV4);

/// The text is no such place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the address of a manager such as 10.0.0.1 or 10.0.0.1:8067")]
pub struct BadManager(String);

impl FromStr for Manager {
    type Err = BadManager;

    fn from_str(text: &str) -> Result<Self, BadManager> {
        let text = text
            .strip_prefix("http://")
            .unwrap_or(text)
            .trim_end_matches('/');
        let bad = || BadManager(text.chars().take(80).collect());
        match text.parse() {
            Ok(place) => Ok(Self(place)),
            Err(_) => {
                let address = text.parse().map_err(|_| bad())?;
                Ok(Self(SocketAddrV4::new(address, DEFAULT_HTTP_PORT)))
            }
        }
    }
}

/// `ramboot doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Where images are kept [default: where the manager that runs has them, or /var/lib/ramboot].
    #[arg(long, env = "RAMBOOT_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// The config file [default: that of the manager that runs].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The network interface workers are on [default: the first that the manager serves, or the only one].
    #[arg(long, value_name = "IF")]
    pub interface: Option<String>,
    /// How DHCP will be answered, while no manager runs [default: what the config says].
    #[arg(long, value_name = "MODE")]
    pub dhcp: Option<DhcpMode>,
    /// Where undionly.kpxe and snponly.efi are [default: where the manager has them, or /usr/lib/ipxe].
    #[arg(long, value_name = "DIR")]
    pub ipxe_dir: Option<PathBuf>,
    /// Where the manager's socket is [default: /run/ramboot].
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Read each published image wholly and prove it, too.
    #[arg(long)]
    pub deep: bool,
    /// Print all of it as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Where the store is.
#[derive(Debug, Args)]
pub struct StateArg {
    /// Where images are kept.
    #[arg(
        long = "state",
        env = "RAMBOOT_STATE",
        default_value = "/var/lib/ramboot",
        value_name = "DIR"
    )]
    pub path: PathBuf,
}

/// `ramboot images`
#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Only this name, with all its generations.
    pub name: Option<String>,
    /// All generations of all names; the one that machines boot now has a star.
    #[arg(long, conflicts_with = "name")]
    pub all: bool,
    /// Where the store is.
    #[command(flatten)]
    pub state: StateArg,
    /// Print all of it as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `ramboot profile`
#[derive(Debug, Args)]
#[command(after_long_help = PROFILE_EXAMPLES)]
pub struct ProfileArgs {
    /// The name whose current image is meant; or the first digits of an image's digest, at least four.
    pub name: String,
    /// Write a map of the image's chunks, too: which boots read, and when.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Where the store is.
    #[command(flatten)]
    pub state: StateArg,
    /// Print all of it as one JSON object.
    #[arg(long)]
    pub json: bool,
}

const PROFILE_EXAMPLES: &str = "\
Examples:
  ramboot profile worker
  ramboot profile worker --svg worker.svg
  ramboot profile worker --json | jq .hot.bytes
  ramboot publish new.sqfs --name worker --profile worker";

/// `ramboot rollback`
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The name to roll back.
    pub name: String,
    /// The image to go to: the first digits of its digest, at least four, as "ramboot images NAME" shows them. Without it:
    /// what machines booted before the current generation, so that a second rollback undoes the first.
    pub digest: Option<Prefix>,
    /// Where the store is.
    #[command(flatten)]
    pub state: StateArg,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `ramboot unpublish`
#[derive(Debug, Args)]
pub struct UnpublishArgs {
    /// The name to take away.
    pub name: String,
    /// Where the store is.
    #[command(flatten)]
    pub state: StateArg,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `ramboot gc`
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Generations of each name to keep, the current one among them.
    #[arg(long, default_value = "3", value_name = "N")]
    pub keep: NonZeroUsize,
    /// Only say what would be removed.
    #[arg(long)]
    pub dry_run: bool,
    /// Where the store is.
    #[command(flatten)]
    pub state: StateArg,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
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

/// Who gives out addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DhcpMode {
    /// proxyDHCP: another server gives addresses, we say what to boot.
    Proxy,
    /// We give addresses, too.
    Full,
    /// Nothing on UDP 67 and 4011.
    Off,
}

impl DhcpMode {
    /// As the user writes it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Full => "full",
            Self::Off => "off",
        }
    }
}

impl FromStr for DhcpMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        <Self as ValueEnum>::from_str(text, false)
    }
}

/// A range of addresses, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Lowest.
    pub first: Ipv4Addr,
    /// Highest; not below `first`.
    pub last: Ipv4Addr,
}

/// The text is not a range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPool {
    /// Not two addresses.
    #[error("{0:?} is not a range of addresses such as 10.0.0.100-10.0.0.199")]
    Form(String),
    /// Two addresses, but none between them.
    #[error("the range ends ({last}) before it begins ({first})")]
    Order {
        /// As given.
        first: Ipv4Addr,
        /// As given.
        last: Ipv4Addr,
    },
}

impl FromStr for Pool {
    type Err = BadPool;

    fn from_str(text: &str) -> Result<Self, BadPool> {
        let form = || BadPool::Form(text.chars().take(80).collect());
        let (first, last) = text.split_once('-').ok_or_else(form)?;
        let first = first.trim().parse().map_err(|_| form())?;
        let last = last.trim().parse().map_err(|_| form())?;
        if first > last {
            Err(BadPool::Order { first, last })
        } else {
            Ok(Self { first, last })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

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

    #[test]
    fn a_manager_is_an_address() {
        for (text, want) in [
            ("10.0.0.1", Some("10.0.0.1:8067")),
            ("10.0.0.1:80", Some("10.0.0.1:80")),
            ("http://10.0.0.1:8067/", Some("10.0.0.1:8067")),
            ("manager", None),
            ("10.0.0.1:99999", None),
            ("", None),
        ] {
            let found = text.parse().ok().map(|Manager(place)| place.to_string());
            assert_eq!(found.as_deref(), want, "{text}");
        }
    }

    #[test]
    fn a_pool_has_two_ends_in_order() {
        assert_eq!(
            "10.0.0.5-10.0.0.9".parse(),
            Ok(Pool {
                first: Ipv4Addr::new(10, 0, 0, 5),
                last: Ipv4Addr::new(10, 0, 0, 9)
            })
        );
        for text in [
            "",
            "10.0.0.5",
            "10.0.0.9-10.0.0.5",
            "10.0.0.5-10.0.0.256",
            "10.0.0.5-10.0.0.9-10.0.0.10",
            "a-b",
        ] {
            assert!(text.parse::<Pool>().is_err(), "{text}");
        }
    }
}
