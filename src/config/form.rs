//! The config file as the user writes it: words and numbers with their places, nothing checked.

use serde::Deserialize;
use toml::Spanned;

use crate::config::words::DhcpMode;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) dhcp: Dhcp,
    #[serde(default)]
    pub(super) http: Http,
    #[serde(default)]
    pub(super) boot: Boot,
    #[serde(default)]
    pub(super) identity: Identity,
    #[serde(default)]
    pub(super) network: Vec<Network>,
    #[serde(default)]
    pub(super) worker: Vec<Spanned<Worker>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dhcp {
    pub(super) mode: Option<DhcpMode>,
    pub(super) pool: Option<Spanned<String>>,
    pub(super) lease: Option<Spanned<u32>>,
    pub(super) router: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) dns: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Network {
    pub(super) address: Spanned<String>,
    pub(super) pool: Spanned<String>,
    pub(super) lease: Option<Spanned<u32>>,
    pub(super) router: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) dns: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Http {
    pub(super) port: Option<Spanned<u16>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Boot {
    pub(super) image: Option<Spanned<String>>,
    pub(super) cmdline: Option<Spanned<String>>,
    pub(super) overlay: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) tmpfs: Vec<Spanned<String>>,
    pub(super) deadline: Option<u32>,
    #[serde(default)]
    pub(super) debug: bool,
    pub(super) heartbeat: Option<bool>,
    pub(super) pi_prefix: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) bases: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) overlays: Vec<Spanned<String>>,
    pub(super) mode: Option<Spanned<String>>,
    pub(super) gate: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    pub(super) hostname: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Worker {
    pub(super) mac: Option<Spanned<String>>,
    pub(super) serial: Option<Spanned<String>>,
    pub(super) uuid: Option<Spanned<String>>,
    pub(super) arch: Option<Spanned<String>>,
    pub(super) image: Option<Spanned<String>>,
    pub(super) hostname: Option<Spanned<String>>,
    pub(super) address: Option<Spanned<String>>,
    pub(super) cmdline: Option<Spanned<String>>,
    pub(super) overlays: Option<Vec<Spanned<String>>>,
    pub(super) mode: Option<Spanned<String>>,
    pub(super) gate: Option<Spanned<String>>,
}
