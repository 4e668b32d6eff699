//! The worker's address is for ever: the image's own network manager is told to keep what `/init` has set.
//!
//! A lease ends when nobody renews it, and the manager that gave it may be gone by then. So a network manager that finds
//! the boot link is told the address as a fixed one, which needs no server. [`plan`] is a function from what the image
//! has ([`Present`], gathered by [`detect`]) to files; only for a manager that is installed and enabled, and only if the
//! image itself says nothing of this very link ([`Why`]). DHCP on "whatever there is" says nothing of it.

use std::fmt;
use std::net::Ipv4Addr;

use ramboot_wire::Mac;

use crate::net::lease::Lease;

pub mod detect;
mod dhcpcd;
pub mod hosts;
mod ifupdown;
mod ini;

pub mod names;
mod netplan;
mod network_manager;
mod networkd;
mod place;
pub mod rename;
pub mod resolve;

/// A network manager that is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// systemd-networkd, 247 (Debian 11) and later; netplan makes files for it.
    Networkd,
    /// NetworkManager, 1.30 (Debian 11) and later.
    NetworkManager,
    /// Debian's ifupdown, 0.8.17 and later.
    Ifupdown,
    /// dhcpcd as a daemon for all links: Raspberry Pi OS until bullseye.
    Dhcpcd,
}

impl Manager {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Networkd,
        Self::NetworkManager,
        Self::Ifupdown,
        Self::Dhcpcd,
    ];
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Networkd => "networkd",
            Self::NetworkManager => "NetworkManager",
            Self::Ifupdown => "ifupdown",
            Self::Dhcpcd => "dhcpcd",
        })
    }
}

/// A manager that the image starts, and the files it is told what to do by: in the order it would read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Which.
    pub manager: Manager,
    /// Those that are there.
    pub files: Vec<TextFile>,
}

/// A file of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextFile {
    /// From the root: `/etc/dhcpcd.conf`.
    pub path: String,
    /// What it says, to [`detect::MAX_FILE_BYTES`]; bytes that are no UTF-8 are replaced.
    pub text: String,
    /// All of it was read, and it is UTF-8.
    pub whole: bool,
}

/// The link the address is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The name it has, then those the image's udev may give it; see [`names`].
    pub names: Vec<String>,
    /// Its hardware address.
    pub mac: Mac,
}

impl Uplink {
    /// It has this name, or may get it.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }
}

/// A file that tells a manager to keep the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandoverFile {
    /// From the root. What lies below `/run` goes into the tmpfs that moves into the image.
    pub path: String,
    /// Permissions below `/run`; NetworkManager reads no profile that others may read. Elsewhere 0644.
    pub mode: u32,
    /// All of it: a file that is there is replaced.
    pub content: String,
}

/// Why a manager that is present is told nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The image configures the link itself.
    #[error("{path} names {what}: the address is the image's own affair")]
    Named {
        /// The file.
        path: String,
        /// A name or a MAC.
        what: String,
    },
    /// A rule for whatever there is says more than DHCP.
    #[error("{path} says {what} for links of this kind: the address is the image's own affair")]
    MoreThanDhcp {
        /// The file.
        path: String,
        /// The key.
        what: String,
    },
    /// It will not touch the link anyway.
    #[error("{path} keeps it away from the boot link")]
    NotIts {
        /// The file.
        path: String,
    },
    /// The file would have to be replaced, and cannot be repeated.
    #[error("{path} is larger than {max} bytes, or no UTF-8: it is left as it is", max = detect::MAX_FILE_BYTES)]
    NotText {
        /// The file.
        path: String,
    },
}

/// What is to be written, and who is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// For whom, and what.
    pub files: Vec<(Manager, HandoverFile)>,
    /// Who gets nothing.
    pub left: Vec<(Manager, Why)>,
}

/// Decides for each manager of the image.
#[must_use]
pub fn plan(present: &[Present], uplink: &Uplink, lease: &Lease) -> Plan {
    let mut plan = Plan::default();
    for Present { manager, files } in present {
        let decide = match manager {
            Manager::Networkd => networkd::decide,
            Manager::NetworkManager => network_manager::decide,
            Manager::Ifupdown => ifupdown::decide,
            Manager::Dhcpcd => dhcpcd::decide,
        };
        match decide(files, uplink, lease) {
            Ok(file) => plan.files.push((*manager, file)),
            Err(why) => plan.left.push((*manager, why)),
        }
    }
    plan
}

/// How a rule of the image relates to the link.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Claim {
    /// It names it, by this name or MAC.
    Named(String),
    /// It is for whatever there is, or for wired links.
    Generic,
    /// It is for another link, or for one that only a running system can tell.
    Other,
}

/// What a name or shell pattern in a rule claims.
fn claim(pattern: &str, uplink: &Uplink) -> Claim {
    match pattern.find(['*', '?', '[']) {
        None if uplink.is_named(pattern) => Claim::Named(pattern.to_owned()),
        None => Claim::Other,
        // Wired links are called e… by the kernel and by udev; wl*, veth* and docker* are none.
        Some(end) => {
            let prefix = &pattern[..end];
            let fits = prefix.is_empty()
                || prefix.starts_with('e')
                || uplink.names.iter().any(|name| name.starts_with(prefix));
            if fits { Claim::Generic } else { Claim::Other }
        }
    }
}

/// `10.0.0.5/24`
fn address(lease: &Lease) -> String {
    format!("{}/{}", lease.addr, lease.prefix)
}

/// `10.0.0.2 10.0.0.3`
fn spaced(addresses: &[Ipv4Addr]) -> String {
    let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests;
