//! Who in the image asks the lease's servers, for names and for the time, and what each is told: one table, [`tell`]. Pure.
//!
//! The network managers that keep the address are told both with it ([`super::plan`]). What stands here is what they do not
//! pass on, and what there is where none of them runs. Nobody is told the same twice: resolved asks what it has of a link
//! and what it has for all links at the same time.

use std::fmt;
use std::net::Ipv4Addr;

use super::ini::entries;
use super::{HandoverFile, Manager, TextFile, spaced};
use crate::net::lease::Lease;

/// What the image has beside network managers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Services {
    /// What /etc/resolv.conf is.
    pub resolv_conf: ResolvConf,
    /// What systemd-resolved is told in the image; `None` if it does not start.
    pub resolved: Option<Vec<TextFile>>,
    /// A program that puts /etc/resolv.conf together.
    pub resolvconf: Option<Resolvconf>,
    /// What systemd-timesyncd is told in the image; `None` if it does not start.
    pub timesyncd: Option<Vec<TextFile>>,
    /// chrony is there.
    pub chrony: bool,
}

/// /etc/resolv.conf of the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ResolvConf {
    /// It is not there.
    #[default]
    Missing,
    /// A file: empty, or what the machine had that built the image.
    File,
    /// A link to this path of the running system.
    Link(String),
    /// It came with the worker's own files.
    Own,
}

/// The two programs of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolvconf {
    /// Debian's.
    Debian,
    /// openresolv.
    Openresolv,
}

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// systemd-resolved.
    Resolved,
    /// Either resolvconf.
    Resolvconf,
    /// Whatever reads /etc/resolv.conf.
    ResolvConf,
    /// systemd-timesyncd.
    Timesyncd,
    /// chronyd.
    Chrony,
    /// Whatever reads /etc/hosts; see [`super::hosts`].
    Hosts,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolved => "resolved",
            Self::Resolvconf => "resolvconf",
            Self::ResolvConf => "resolv.conf",
            Self::Timesyncd => "timesyncd",
            Self::Chrony => "chrony",
            Self::Hosts => "hosts",
        })
    }
}

/// What is to be written, and for whom, where network managers start (`starts`) of which some keep the address (`keeps`).
#[must_use]
pub fn tell(
    services: &Services,
    starts: &[Manager],
    keeps: &[Manager],
    lease: &Lease,
) -> Vec<(Listener, HandoverFile)> {
    let mut files = Vec::new();
    // networkd tells resolved and timesyncd what it was told, NetworkManager resolved alone.
    let by_networkd = keeps.contains(&Manager::Networkd);
    let by_manager = by_networkd || keeps.contains(&Manager::NetworkManager);
    if !lease.dns.is_empty() {
        if let Some(config) = &services.resolved
            && !by_manager
            && !sets(config, "Resolve", "DNS")
        {
            files.push((Listener::Resolved, resolved(lease)));
        }
        let records = services.resolvconf.map_or(&[][..], Resolvconf::records);
        files.extend(records.iter().map(|path| {
            let file = plain(path, HEAD.to_owned() + &resolv_conf(lease));
            (Listener::Resolvconf, file)
        }));
    }
    if let Some(path) = services.place_of_names(starts, !lease.dns.is_empty()) {
        let text = if lease.dns.is_empty() {
            String::new()
        } else {
            HEAD.to_owned() + &resolv_conf(lease)
        };
        files.push((Listener::ResolvConf, plain(&path, text)));
    }
    if !lease.ntp.is_empty() {
        if let Some(config) = &services.timesyncd
            && !by_networkd
            && !sets(config, "Time", "NTP")
        {
            let text = format!("{HEAD}[Time]\nNTP={}\n", spaced(&lease.ntp));
            let path = "/run/systemd/timesyncd.conf.d/ramboot.conf";
            files.push((Listener::Timesyncd, plain(path, text)));
        }
        if services.chrony {
            // What chrony.conf of Debian and Fedora has as a sourcedir, for what DHCP says.
            let line = |server: &Ipv4Addr| format!("server {server} iburst\n");
            let text = HEAD.to_owned() + &lease.ntp.iter().map(line).collect::<String>();
            files.push((
                Listener::Chrony,
                plain("/run/chrony-dhcp/ramboot.sources", text),
            ));
        }
    }
    files
}

impl Services {
    /// Where what /etc/resolv.conf says is to be written, if it is.
    fn place_of_names(&self, starts: &[Manager], is_known: bool) -> Option<String> {
        let is_made = |path: &str| {
            let below = |folder: &str| path.starts_with(folder);
            below("/run/systemd/resolve/") && self.resolved.is_some()
                || below("/run/resolvconf/") && self.resolvconf.is_some()
                || below("/run/NetworkManager/") && starts.contains(&Manager::NetworkManager)
        };
        match &self.resolv_conf {
            ResolvConf::Own => None,
            // An empty one, too: a unit that names the file among those it writes (Debian's dhcpcd) does not start without.
            ResolvConf::Missing => Some(RESOLV_CONF.to_owned()),
            _ if !is_known => None,
            ResolvConf::File => Some(RESOLV_CONF.to_owned()),
            ResolvConf::Link(path) if is_made(path) => None,
            // Whose it was does not run here.
            ResolvConf::Link(path) if path.starts_with("/run/") => Some(path.clone()),
            ResolvConf::Link(_) => Some(RESOLV_CONF.to_owned()),
        }
    }
}

impl Resolvconf {
    /// Where it looks for what others tell it.
    const fn records(self) -> &'static [&'static str] {
        match self {
            Self::Debian => &["/run/resolvconf/interface/ramboot"],
            // 3.13 and before; later ones.
            Self::Openresolv => &[
                "/run/resolvconf/interfaces/ramboot",
                "/run/resolvconf/keys/ramboot",
            ],
        }
    }
}

/// The path that a link in /etc leads to in the running system.
#[must_use]
pub fn target(link: &str) -> String {
    let mut parts = Vec::new();
    if !link.starts_with('/') {
        parts.push("etc");
    }
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let path = format!("/{}", parts.join("/"));
    // Links that have been there for long: in a Debian with resolvconf, and everywhere.
    for (old, new) in [
        ("/etc/resolvconf/run/", "/run/resolvconf/"),
        ("/var/run/", "/run/"),
    ] {
        if let Some(rest) = path.strip_prefix(old) {
            return format!("{new}{rest}");
        }
    }
    path
}

fn resolved(lease: &Lease) -> HandoverFile {
    let mut text = format!("{HEAD}[Resolve]\nDNS={}\n", spaced(&lease.dns));
    if !lease.search_list().is_empty() {
        text += &format!("Domains={}\n", lease.search_list().join(" "));
    }
    plain("/run/systemd/resolved.conf.d/ramboot.conf", text)
}

/// man resolv.conf(5)
fn resolv_conf(lease: &Lease) -> String {
    let mut text = String::new();
    if !lease.search_list().is_empty() {
        text += &format!("search {}\n", lease.search_list().join(" "));
    }
    text.extend(lease.dns.iter().map(|dns| format!("nameserver {dns}\n")));
    text
}

/// The image has set it: then its servers are its own affair.
fn sets(config: &[TextFile], section: &str, key: &str) -> bool {
    let mut all = config.iter().flat_map(|file| entries(&file.text));
    all.any(|e| e.section == section && e.key == key && !e.value.is_empty())
}

fn plain(path: &str, content: String) -> HandoverFile {
    HandoverFile {
        path: path.to_owned(),
        mode: 0o644,
        content,
    }
}

const RESOLV_CONF: &str = "/etc/resolv.conf";
const HEAD: &str = "# Made by ramboot's /init of what DHCP said.\n";

#[cfg(test)]
mod tests;
