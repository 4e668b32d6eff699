//! The config file: what the user wrote (`form`) becomes what the manager runs on ([`Config`]), or an error that
//! names line, column and remedy.
//!
//! An unknown key, a value twice and a value that cannot work are errors here, not surprises at a machine's boot.
//! Whether a value fits the network (pool, reservations) is checked where the network is known: `dhcp::policy`.

use std::collections::HashMap;
use std::fmt;
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::Path;

use anyhow::Context as _;
use ramboot_wire::cmdline::{CmdlineError, MAX_BASES};
use ramboot_wire::cmdline::{Gate, Streaming};
use ramboot_wire::tmpfs::MAX_NAMED;
use ramboot_wire::{Base, Mac, Overlay, TmpfsFolder};
use toml::Spanned;

use self::network::Network;
use self::words::{
    cmdline, gate, host, hostname_template, image_name, lease, mode, overlay_name, pi_prefix,
};
use self::worker::{Machine, Worker};

use crate::config::words::{DhcpMode, Pool};

pub mod assign;
pub mod change;
mod form;
pub mod network;
pub mod words;
pub mod worker;

/// Where images are kept, unless told otherwise.
pub const DEFAULT_STATE: &str = "/var/lib/ramboot";

/// TCP port for kernel, initramfs and image, unless told otherwise.
pub const DEFAULT_HTTP_PORT: u16 = 8067;

/// A day: a worker keeps its address while the manager is away, so a short lease would only invite a second owner.
pub const DEFAULT_LEASE_SECONDS: u32 = 24 * 60 * 60;

/// Each worker has a name of its own unless told otherwise: a network of machines that are all called as the image was is of
/// use to nobody, and Kubernetes and Slurm refuse the second one.
pub const DEFAULT_HOSTNAME: &str = "worker-{{ id }}";

/// Ten thousand `[[worker]]` tables fit; what is longer is not a config file.
const MAX_FILE_BYTES: usize = 2 * 1024 * 1024;

/// RFC 2132 allows more, but resolvers read three.
const MAX_DNS: usize = 8;

/// Each can hold as many leases as its pool has addresses.
const MAX_NETWORKS: usize = 64;

/// What the manager runs on. The command line's flags overwrite fields of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Who gives out addresses, and which.
    pub dhcp: Dhcp,
    /// TCP port for kernel, initramfs and image.
    pub http_port: u16,
    /// What every machine gets, if its own entry does not say otherwise.
    pub boot: Boot,
    /// `[identity] hostname`: a template of the host names of workers whose rule gives none; empty leaves them the image's.
    pub hostname: String,
    /// Networks beside the one `[dhcp] pool` lies in; none overlaps another.
    pub networks: Vec<Subnet>,
    /// Rules for machines, the first that fits counts; no rule, host name or address stands twice.
    pub workers: Vec<Worker>,
}

/// `[dhcp]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dhcp {
    /// Beside another server, as the only one, or not at all.
    pub mode: DhcpMode,
    /// Addresses to give out; full mode needs it.
    pub pool: Option<Pool>,
    /// Seconds an address is promised for.
    pub lease: u32,
    /// The way out of the network. Without it none is announced: a netboot manager is not a router.
    pub router: Option<Ipv4Addr>,
    /// Name servers, in order.
    pub dns: Vec<Ipv4Addr>,
}

/// `[[network]]`: where full mode gives addresses, too; of another interface, or behind a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// Which network.
    pub network: Network,
    /// Addresses to give out in it.
    pub pool: Pool,
    /// Seconds an address is promised for.
    pub lease: u32,
    /// The way out of the network; machines behind a relay reach the manager by it.
    pub router: Option<Ipv4Addr>,
    /// Name servers, in order.
    pub dns: Vec<Ipv4Addr>,
}

/// `[boot]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// Name of the image for machines that have no rule.
    pub image: Option<String>,
    /// Kernel parameters beside ramboot's own.
    pub cmdline: String,
    /// Size of the writable layer.
    pub overlay: Option<Overlay>,
    /// Folders on the writable tmpfs itself, beside those that container programs use.
    pub tmpfs: Vec<TmpfsFolder>,
    /// Seconds after which a machine that did not come up starts over.
    pub deadline: Option<u32>,
    /// `/init` prints more.
    pub debug: bool,
    /// Workers say now and then that they are alive.
    pub heartbeat: bool,
    /// The folder that Raspberry Pis with `TFTP_PREFIX=1` ask in; empty for none.
    pub pi_prefix: String,
    /// Where the same images are, too: workers go there when this manager fails them.
    pub bases: Vec<Base>,
    /// Folders of worker files for machines whose rule names none, each over the one before.
    pub overlays: Vec<String>,
    /// When machines whose rule says nothing else start the image's init.
    pub mode: Mode,
    /// What streaming waits for, if a machine's rule says nothing else.
    pub gate: Gate,
}

/// When a machine starts the image's init.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// When all of the image is in its RAM.
    #[default]
    Full,
    /// When as much of it is there as the gate wants; the rest comes while it runs.
    Stream,
}

impl Mode {
    /// As it stands in the config.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Stream => "stream",
        }
    }
}

/// Why a text is not a config.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct ConfigError {
    /// 1-based.
    pub line: usize,
    /// 1-based, in characters.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl Default for Boot {
    fn default() -> Self {
        Self {
            image: None,
            cmdline: String::new(),
            overlay: None,
            tmpfs: Vec::new(),
            deadline: None,
            debug: false,
            heartbeat: true,
            pi_prefix: String::new(),
            bases: Vec::new(),
            overlays: Vec::new(),
            mode: Mode::default(),
            gate: Gate::default(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dhcp: Dhcp {
                mode: DhcpMode::Proxy,
                pool: None,
                lease: DEFAULT_LEASE_SECONDS,
                router: None,
                dns: Vec::new(),
            },
            http_port: DEFAULT_HTTP_PORT,
            boot: Boot::default(),
            hostname: DEFAULT_HOSTNAME.to_owned(),
            networks: Vec::new(),
            workers: Vec::new(),
        }
    }
}

impl Config {
    /// Reads the text of a config file.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let checker = Checker { text };
        if text.len() > MAX_FILE_BYTES {
            return Err(checker.error(
                0..0,
                format_args!(
                    "{} bytes; a config file has at most {MAX_FILE_BYTES}",
                    text.len()
                ),
            ));
        }
        let file: form::File = toml::from_str(text).map_err(|e| {
            let what = e.message().trim_end();
            checker.error(e.span().unwrap_or(0..0), what)
        })?;
        let dhcp = checker.dhcp(file.dhcp)?;
        Ok(Self {
            networks: checker.networks(file.network, dhcp.lease)?,
            dhcp,
            http_port: match file.http.port {
                None => DEFAULT_HTTP_PORT,
                Some(port) if *port.get_ref() == 0 => {
                    return Err(checker.error(
                        port.span(),
                        format_args!("port 0 cannot be told to a machine: use 1 to 65535, or leave it out for {DEFAULT_HTTP_PORT}"),
                    ));
                }
                Some(port) => port.into_inner(),
            },
            boot: checker.boot(file.boot)?,
            hostname: checker
                .check(file.identity.hostname, hostname_template)?
                .unwrap_or_else(|| DEFAULT_HOSTNAME.to_owned()),
            workers: checker.workers(file.worker)?,
        })
    }

    /// Reads a config file.
    ///
    /// # Errors
    /// It cannot be read, or is not a config; the path stands in the chain.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let read = || {
            let mut bytes = Vec::new();
            // One byte more than allowed tells "too long" without reading all of, say, /dev/zero.
            let limit = MAX_FILE_BYTES as u64 + 1;
            std::fs::File::open(path)?
                .take(limit)
                .read_to_end(&mut bytes)?;
            std::io::Result::Ok(bytes)
        };
        let place = || format!("reading the config file {}", path.display());
        let read = read().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => anyhow::anyhow!(
                "there is no such file: make it (each setting has a default, an empty one will do), or start without --config"
            ),
            _ => error.into(),
        });
        let text = String::from_utf8(read.with_context(place)?)
            .map_err(|e| e.utf8_error())
            .with_context(place)?;
        Self::parse(&text).with_context(place)
    }

    /// The rule for a machine.
    #[must_use]
    pub fn rule(&self, asker: &Machine) -> Option<&Worker> {
        self.workers.iter().find(|worker| worker.which.fits(asker))
    }

    /// What a machine is told of streaming: a key of its rule counts before the same key of `[boot]`, each by itself.
    #[must_use]
    pub fn streaming(&self, asker: &Machine) -> Option<Streaming> {
        let rule = self.rule(asker);
        let mode = rule.and_then(|rule| rule.mode).unwrap_or(self.boot.mode);
        let gate = rule.and_then(|rule| rule.gate).unwrap_or(self.boot.gate);
        match mode {
            Mode::Full => None,
            Mode::Stream => Some(Streaming { gate }),
        }
    }

    /// Addresses that are kept for one machine each.
    pub fn reservations(&self) -> impl Iterator<Item = (Mac, Ipv4Addr)> {
        let reserved = |worker: &Worker| Some((worker.which.one_mac()?, worker.address?));
        self.workers.iter().filter_map(reserved)
    }
}

/// Turns the form into the checked values; knows the text, so that every error has a place.
struct Checker<'a> {
    text: &'a str,
}

impl Checker<'_> {
    fn error(&self, span: Range<usize>, problem: impl fmt::Display) -> ConfigError {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ConfigError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            problem: problem.to_string(),
        }
    }

    /// Takes a value through a check whose error becomes the problem.
    fn one<T, U, E: fmt::Display>(
        &self,
        value: Spanned<T>,
        check: impl FnOnce(T) -> Result<U, E>,
    ) -> Result<U, ConfigError> {
        let span = value.span();
        check(value.into_inner()).map_err(|e| self.error(span, e))
    }

    fn check<T, U, E: fmt::Display>(
        &self,
        value: Option<Spanned<T>>,
        check: impl FnOnce(T) -> Result<U, E>,
    ) -> Result<Option<U>, ConfigError> {
        value.map(|value| self.one(value, check)).transpose()
    }

    fn dhcp(&self, form: form::Dhcp) -> Result<Dhcp, ConfigError> {
        Ok(Dhcp {
            mode: form.mode.unwrap_or(DhcpMode::Proxy),
            pool: self.check(form.pool, |text| text.parse::<Pool>())?,
            lease: self
                .check(form.lease, lease)?
                .unwrap_or(DEFAULT_LEASE_SECONDS),
            router: self.check(form.router, host)?,
            dns: self.dns(form.dns)?,
        })
    }

    fn dns(&self, forms: Vec<Spanned<String>>) -> Result<Vec<Ipv4Addr>, ConfigError> {
        if let Some(one_more) = forms.get(MAX_DNS) {
            let count = forms.len();
            return Err(self.error(
                one_more.span(),
                format_args!("{count} name servers, {MAX_DNS} are possible"),
            ));
        }
        forms.into_iter().map(|dns| self.one(dns, host)).collect()
    }

    fn networks(
        &self,
        forms: Vec<form::Network>,
        lease_of_dhcp: u32,
    ) -> Result<Vec<Subnet>, ConfigError> {
        if let Some(one_more) = forms.get(MAX_NETWORKS) {
            let count = forms.len();
            return Err(self.error(
                one_more.address.span(),
                format_args!("{count} networks, {MAX_NETWORKS} are possible"),
            ));
        }
        let mut networks: Vec<Subnet> = Vec::with_capacity(forms.len());
        for form in forms {
            let place = form.address.span();
            let network = self.one(form.address, |text| text.parse::<Network>())?;
            if let Some(other) = networks.iter().find(|one| one.network.overlaps(network)) {
                return Err(self.error(
                    place,
                    format_args!(
                        "[[network]] {network} overlaps [[network]] {}: keep one, or change a prefix",
                        other.network
                    ),
                ));
            }
            let inside = |what: &str, address: Ipv4Addr| {
                let inside = network.contains(address).then_some(());
                inside.ok_or_else(|| {
                    format!(
                        "{what} {address} is not in [[network]] {network}: change one of the two"
                    )
                })
            };
            networks.push(Subnet {
                network,
                pool: self.one(form.pool, |text| {
                    let pool = text.parse::<Pool>().map_err(|e| e.to_string())?;
                    inside("the pool's first address", pool.first)?;
                    inside("the pool's last address", pool.last)?;
                    Ok::<_, String>(pool)
                })?,
                lease: self.check(form.lease, lease)?.unwrap_or(lease_of_dhcp),
                router: self.check(form.router, |text| {
                    let router = host(text)?;
                    inside("the router", router).map(|()| router)
                })?,
                dns: self.dns(form.dns)?,
            });
        }
        Ok(networks)
    }

    fn boot(&self, form: form::Boot) -> Result<Boot, ConfigError> {
        Ok(Boot {
            image: self.check(form.image, image_name)?,
            cmdline: self.check(form.cmdline, cmdline)?.unwrap_or_default(),
            overlay: self.check(form.overlay, |text| text.parse::<Overlay>().map_err(value))?,
            tmpfs: self.tmpfs(form.tmpfs)?,
            deadline: form.deadline,
            debug: form.debug,
            heartbeat: form.heartbeat.unwrap_or(true),
            pi_prefix: self.check(form.pi_prefix, pi_prefix)?.unwrap_or_default(),
            bases: self.bases(form.bases)?,
            overlays: self.overlays(form.overlays)?,
            mode: self.check(form.mode, mode)?.unwrap_or_default(),
            gate: self.check(form.gate, gate)?.unwrap_or_default(),
        })
    }

    fn tmpfs(&self, forms: Vec<Spanned<String>>) -> Result<Vec<TmpfsFolder>, ConfigError> {
        if let Some(one_more) = forms.get(MAX_NAMED) {
            let count = forms.len();
            return Err(self.error(
                one_more.span(),
                format_args!("{count} folders, {MAX_NAMED} are possible: more can stand in /etc/ramboot/tmpfs.d of the image"),
            ));
        }
        let folder = |text: String| {
            let folder = text.parse::<TmpfsFolder>();
            folder.map_err(|error| format!("{text:?}: {error}"))
        };
        forms
            .into_iter()
            .map(|form| self.one(form, folder))
            .collect()
    }

    fn overlays(&self, forms: Vec<Spanned<String>>) -> Result<Vec<String>, ConfigError> {
        let mut seen = HashMap::new();
        let mut names = Vec::with_capacity(forms.len());
        for form in forms {
            let place = form.span();
            let name = self.one(form, overlay_name)?;
            self.once(&mut seen, name.clone(), place, "overlay")?;
            names.push(name);
        }
        Ok(names)
    }

    fn bases(&self, forms: Vec<Spanned<String>>) -> Result<Vec<Base>, ConfigError> {
        // One of those on a worker's command line is this manager.
        const MOST: usize = MAX_BASES - 1;
        if let Some(one_more) = forms.get(MOST) {
            let count = forms.len();
            return Err(self.error(
                one_more.span(),
                format_args!("{count} bases, {MOST} are possible beside this manager"),
            ));
        }
        forms
            .into_iter()
            .map(|base| self.one(base, |text| text.parse::<Base>().map_err(value)))
            .collect()
    }

    fn once<K: std::hash::Hash + Eq + fmt::Display + Clone>(
        &self,
        seen: &mut HashMap<K, usize>,
        key: K,
        span: Range<usize>,
        what: &str,
    ) -> Result<(), ConfigError> {
        let here = self.error(span, "");
        match seen.insert(key.clone(), here.line) {
            None => Ok(()),
            Some(first) => Err(ConfigError {
                problem: format!(
                    "the {what} {key} stands on line {first} already: keep one of the two"
                ),
                ..here
            }),
        }
    }
}

/// What is wrong with a value that will stand on a kernel command line; its key is another one there.
fn value(error: CmdlineError) -> String {
    match error {
        CmdlineError::Value { value, want, .. } => format!("{value:?}: {want}"),
        error => error.to_string(),
    }
}

fn span<T>(value: &Option<Spanned<T>>) -> Option<Range<usize>> {
    value.as_ref().map(Spanned::span)
}

#[cfg(test)]
mod tests;
