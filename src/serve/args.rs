//! What `ramboot serve` is told.

use std::path::PathBuf;

use clap::Args;

use crate::config::words::{DhcpMode, Pool};

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
