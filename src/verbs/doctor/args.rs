//! What `ramboot doctor` is told.

use std::path::PathBuf;

use clap::Args;

use crate::config::words::DhcpMode;

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
