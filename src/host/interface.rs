//! The network interface workers are on: [`all`] asks the system, [`choose`] picks, purely.
//!
//! Nothing is guessed: where more than one interface could be meant, the user is asked to name one.

use std::fmt;
use std::net::Ipv4Addr;

use nix::net::if_::InterfaceFlags;
use ramboot_wire::Mac;

/// An interface the system has, whether it is of use or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// As `ip link` prints it.
    pub name: String,
    /// The kernel's number for it.
    pub index: u32,
    /// Administratively up.
    pub up: bool,
    /// `lo` and its like.
    pub loopback: bool,
    /// Its hardware address, if it is an Ethernet.
    pub mac: Option<Mac>,
    /// Its first IPv4 address and the length of that network's prefix.
    pub address: Option<(Ipv4Addr, u8)>,
}

/// An interface workers can be answered on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// As `ip link` prints it.
    pub name: String,
    /// The kernel's number for it.
    pub index: u32,
    /// The manager's address on it: what workers are told to fetch from.
    pub address: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix_len: u8,
    /// Its hardware address, if it is an Ethernet.
    pub mac: Option<Mac>,
}

/// Why there is no interface to serve on: [`ChooseError::problem`], and what to do about it, [`ChooseError::remedy`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChooseError {
    /// The name is not one of the system's.
    NoSuch {
        /// As the user wrote it.
        name: String,
        /// What there is.
        there: String,
    },
    /// Nothing a worker could be sent to.
    NoAddress {
        /// As the user wrote it.
        name: String,
    },
    /// It has an address but does not carry packets.
    Down {
        /// As the user wrote it.
        name: String,
    },
    /// Nothing fits.
    None {
        /// What there is.
        there: String,
    },
    /// More than one fits.
    Several {
        /// Those.
        there: String,
    },
}

impl fmt::Display for ChooseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.problem(), self.remedy())
    }
}

impl ChooseError {
    /// What is wrong, without the remedy.
    #[must_use]
    pub fn problem(&self) -> String {
        match self {
            Self::NoSuch { name, there } => {
                format!("there is no interface {name}; there are {there}")
            }
            Self::NoAddress { name } => format!("interface {name} has no IPv4 address"),
            Self::Down { name } => format!("interface {name} is down"),
            Self::None { there } => {
                format!("no interface is up and has an IPv4 address; there are {there}")
            }
            Self::Several { there } => format!("several interfaces could be meant ({there})"),
        }
    }

    /// What the user can do.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::NoSuch { .. } => "check --interface".to_owned(),
            Self::NoAddress { name } => {
                format!("give it one, for example \"ip address add 10.0.0.1/24 dev {name}\"")
            }
            Self::Down { name } => format!("\"ip link set {name} up\""),
            Self::None { .. } => {
                "give one an address, or name one with --interface NAME".to_owned()
            }
            Self::Several { .. } => "say --interface NAME, or set RAMBOOT_INTERFACE".to_owned(),
        }
    }
}

/// The largest IP packet that the interface with this address of ours carries; `None` if the system does not say.
#[must_use]
pub fn mtu_at(address: Ipv4Addr) -> Option<u32> {
    let mut all = nix::ifaddrs::getifaddrs().ok()?;
    let found = all.find(|found| {
        let own = found.address.as_ref().and_then(|own| own.as_sockaddr_in());
        own.is_some_and(|own| own.ip() == address)
    })?;
    // sysfs is no disk. An alias ("eth0:1") is its interface.
    let name = found.interface_name.split(':').next().unwrap_or_default();
    let text = std::fs::read_to_string(format!("/sys/class/net/{name}/mtu")).ok()?;
    text.trim().parse().ok()
}

/// Picks the interfaces the user named or, if none were, the only one that can be meant.
///
/// # Errors
/// A name does not fit, or without names none or several do.
pub fn choose(all: &[Found], wanted: &[String]) -> Result<Vec<Interface>, ChooseError> {
    if wanted.is_empty() {
        return only(all).map(|interface| vec![interface]);
    }
    let mut chosen: Vec<Interface> = Vec::new();
    for name in wanted {
        let found = all
            .iter()
            .find(|found| found.name == *name)
            .ok_or_else(|| ChooseError::NoSuch {
                name: name.clone(),
                there: list(all),
            })?;
        let interface =
            usable(found).ok_or_else(|| ChooseError::NoAddress { name: name.clone() })?;
        if !found.up {
            return Err(ChooseError::Down { name: name.clone() });
        }
        if !chosen.contains(&interface) {
            chosen.push(interface);
        }
    }
    Ok(chosen)
}

fn only(all: &[Found]) -> Result<Interface, ChooseError> {
    let fits: Vec<&Found> = all
        .iter()
        .filter(|found| found.up && !found.loopback && found.address.is_some())
        .collect();
    match fits.as_slice() {
        [one] => usable(one).ok_or_else(|| ChooseError::None { there: list(all) }),
        [] => Err(ChooseError::None { there: list(all) }),
        several => Err(ChooseError::Several {
            there: list(several.iter().copied()),
        }),
    }
}

fn usable(found: &Found) -> Option<Interface> {
    let (address, prefix_len) = found.address?;
    Some(Interface {
        name: found.name.clone(),
        index: found.index,
        address,
        prefix_len,
        mac: found.mac,
    })
}

fn list<'a>(found: impl IntoIterator<Item = &'a Found>) -> String {
    let words: Vec<String> = found
        .into_iter()
        .map(|found| match found.address {
            Some((address, prefix_len)) => format!("{} {address}/{prefix_len}", found.name),
            None => format!("{} without IPv4", found.name),
        })
        .collect();
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    }
}

/// Asks the system for its interfaces, in the kernel's order.
///
/// # Errors
/// `getifaddrs(3)` failed.
pub fn all() -> std::io::Result<Vec<Found>> {
    let mut all: Vec<Found> = Vec::new();
    for entry in nix::ifaddrs::getifaddrs()? {
        let at = all
            .iter()
            .position(|found| found.name == entry.interface_name);
        let at = at.unwrap_or_else(|| {
            all.push(Found {
                name: entry.interface_name.clone(),
                index: 0,
                up: entry.flags.contains(InterfaceFlags::IFF_UP),
                loopback: entry.flags.contains(InterfaceFlags::IFF_LOOPBACK),
                mac: None,
                address: None,
            });
            all.len() - 1
        });
        let Some(address) = entry.address else {
            continue;
        };
        let found = &mut all[at];
        if let Some(link) = address.as_link_addr() {
            found.index = u32::try_from(link.ifindex()).unwrap_or(0);
            // ARPHRD_ETHER; loopback has zeros there, and a tunnel has nothing.
            found.mac = (link.hatype() == 1).then(|| link.addr()).flatten().map(Mac);
        }
        if let (Some(ip), None) = (address.as_sockaddr_in(), found.address) {
            let mask = entry
                .netmask
                .and_then(|mask| mask.as_sockaddr_in().map(|mask| mask.ip()));
            let ones = u32::from(mask.unwrap_or(Ipv4Addr::BROADCAST)).leading_ones();
            found.address = Some((ip.ip(), u8::try_from(ones).unwrap_or(32)));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, up: bool, address: Option<[u8; 4]>) -> Found {
        Found {
            name: name.to_owned(),
            index: 2,
            up,
            loopback: name == "lo",
            mac: None,
            address: address.map(|octets| (octets.into(), 24)),
        }
    }

    #[test]
    fn one_row_per_rule() {
        let lo = || found("lo", true, Some([127, 0, 0, 1]));
        let eth0 = || found("eth0", true, Some([10, 0, 0, 1]));
        let eth1 = || found("eth1", true, Some([10, 0, 1, 1]));
        let bare = || found("eth2", true, None);
        let down = || found("eth3", false, Some([10, 0, 3, 1]));
        for (all, wanted, want) in [
            (
                vec![lo(), eth0(), bare(), down()],
                &[][..],
                Ok(&["eth0"][..]),
            ),
            (vec![lo(), eth0(), eth1()], &["eth1"], Ok(&["eth1"])),
            (
                vec![eth0(), eth1()],
                &["eth1", "eth0", "eth1"],
                Ok(&["eth1", "eth0"]),
            ),
            (vec![lo()], &["lo"], Ok(&["lo"])),
            (
                vec![lo(), eth0(), eth1()],
                &[],
                Err(
                    "several interfaces could be meant (eth0 10.0.0.1/24, eth1 10.0.1.1/24): say --interface NAME, or set RAMBOOT_INTERFACE",
                ),
            ),
            (
                vec![lo(), bare()],
                &[],
                Err(
                    "no interface is up and has an IPv4 address; there are lo 127.0.0.1/24, eth2 without IPv4: give one an address, or name one with --interface NAME",
                ),
            ),
            (
                vec![lo(), eth0()],
                &["br0"],
                Err(
                    "there is no interface br0; there are lo 127.0.0.1/24, eth0 10.0.0.1/24: check --interface",
                ),
            ),
            (
                vec![bare()],
                &["eth2"],
                Err(
                    "interface eth2 has no IPv4 address: give it one, for example \"ip address add 10.0.0.1/24 dev eth2\"",
                ),
            ),
            (
                vec![down()],
                &["eth3"],
                Err("interface eth3 is down: \"ip link set eth3 up\""),
            ),
        ] {
            let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
            let chosen = choose(&all, &wanted)
                .map(|chosen| chosen.into_iter().map(|i| i.name).collect::<Vec<_>>())
                .map_err(|e| e.to_string());
            let want = want
                .map(|names| names.iter().map(|name| (*name).to_owned()).collect())
                .map_err(str::to_owned);
            assert_eq!(chosen, want);
        }
    }

    #[test]
    fn this_machine_has_a_loopback() {
        let all = all().expect("asks the system");
        let lo = all.iter().find(|found| found.loopback).expect("lo");
        assert_eq!((lo.index, lo.mac), (1, None));
    }
}
