//! What becomes of the interfaces that are served when the system's change: which are there, what is said of that, and
//! what has to be opened and closed. Pure; [`super::servers`] does it.
//!
//! An interface is served by its name, for as long as the manager runs. While it is away, TFTP and HTTP keep their sockets on
//! the address it had: nobody can reach them there, and a transfer that was under way goes on when the address is back. DHCP is
//! bound to the interface itself, which the kernel knows by a number that is never the same again.

use std::net::Ipv4Addr;
use std::slice;

use ramboot_wire::Mac;

use crate::host::interface::{ChooseError, Found, Interface, choose};

/// An interface that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// As it is, or was when it was last there.
    pub(super) interface: Interface,
    /// Why nobody can be answered on it now.
    pub(super) away: Option<&'static str>,
}

/// What DHCP is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) index: u32,
    /// ARP is asked from there.
    pub(super) mac: Option<Mac>,
}

/// What is open, or has to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Open {
    /// With DHCP's sockets.
    pub(super) devices: Vec<Device>,
    /// With those of TFTP, HTTP and heartbeats.
    pub(super) addresses: Vec<Ipv4Addr>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// DHCP's sockets on a device.
    Unbind(Device),
    /// All sockets of an address.
    Close(Ipv4Addr),
    /// All sockets of an address.
    Listen(Ipv4Addr),
    /// DHCP's sockets on a device.
    Bind(Device),
}

/// A change of one place, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// Machines are not answered any more.
    Bad(String),
    /// They are again, or by another address.
    Good(String),
}

impl Place {
    /// An interface that is there.
    pub(super) const fn new(interface: Interface) -> Self {
        Self {
            interface,
            away: None,
        }
    }

    /// The place when the system has these interfaces. `named`: the user said which one is meant.
    pub(super) fn after(&self, found: &[Found], named: bool) -> Self {
        match self.find(found, named) {
            Ok(interface) => Self::new(interface),
            Err(error) => Self {
                interface: self.interface.clone(),
                away: Some(why(&error)),
            },
        }
    }

    /// By name. Whoever named none means the one that there is, which may come back under another name, as a bridge over it, say:
    /// with the same hardware address or the same IPv4 address. Any other is not guessed to be meant.
    fn find(&self, found: &[Found], named: bool) -> Result<Interface, ChooseError> {
        let own = &self.interface;
        let one = |mut chosen: Vec<Interface>| chosen.pop();
        let error = match choose(found, slice::from_ref(&own.name)).map(one) {
            Ok(Some(interface)) => return Ok(interface),
            Ok(None) => ChooseError::None {
                there: String::new(),
            },
            Err(error) => error,
        };
        let other = (!named).then(|| choose(found, &[]).ok().and_then(one));
        let same = |other: &Interface| {
            other.address == own.address || (other.mac == own.mac && own.mac.is_some())
        };
        other.flatten().filter(same).ok_or(error)
    }

    /// For the log, once a change.
    pub(super) fn news(&self, before: &Self) -> Option<News> {
        let (was, is) = (&before.interface, &self.interface);
        let (name, address) = (&is.name, is.address);
        let words = match (before.away, self.away) {
            (None, Some(_)) => return self.trouble().map(News::Bad),
            (Some(_), Some(_)) => return None,
            _ if before == self => return None,
            (Some(_), None) if was.address != address => {
                format!(
                    "is back with another address, {address} (was {}): machines on it are answered from there",
                    was.address
                )
            }
            (Some(_), None) => format!("is back, {address}: machines on it are answered again"),
            (None, None) if was.address != address => format!(
                "has another address, {address} (was {}): machines on it are answered from there",
                was.address
            ),
            (None, None) if was.name != *name => {
                format!(
                    "has taken the place of {}, {address}: machines on it are answered",
                    was.name
                )
            }
            (None, None) if was.prefix_len != is.prefix_len => format!(
                "is in the network {address}/{} now (was /{})",
                is.prefix_len, was.prefix_len
            ),
            (None, None) if was.index == is.index => {
                "has another hardware address: DHCP is bound to it again".to_owned()
            }
            (None, None) => format!("was made anew, {address}: DHCP is bound to the new one"),
        };
        Some(News::Good(format!("interface {name} {words}")))
    }

    /// Why machines on it are not answered.
    pub(super) fn trouble(&self) -> Option<String> {
        let name = &self.interface.name;
        self.away.map(|why| {
            format!(
                "interface {name} is away ({why}): machines on it are not answered until it is back"
            )
        })
    }

    /// What DHCP is bound to, if it can be.
    pub(super) fn device(&self) -> Option<Device> {
        let Interface {
            name, index, mac, ..
        } = &self.interface;
        self.away.is_none().then(|| Device {
            name: name.clone(),
            index: *index,
            mac: *mac,
        })
    }
}

const fn why(error: &ChooseError) -> &'static str {
    match error {
        ChooseError::NoAddress { .. } => "it has no IPv4 address",
        ChooseError::Down { .. } => "it is down",
        ChooseError::NoSuch { .. } | ChooseError::None { .. } | ChooseError::Several { .. } => {
            "there is no such interface"
        }
    }
}

/// Each address once, whoever has it.
pub(super) fn addresses(places: &[Place]) -> Vec<Ipv4Addr> {
    let mut all = Vec::new();
    for address in places.iter().map(|place| place.interface.address) {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all
}

/// From what is open to what has to be. First what is closed, as it may have the port that is wanted next; DHCP last, as
/// whoever got an address comes to TFTP next.
pub(super) fn steps(open: &Open, wanted: &Open) -> Vec<Step> {
    let gone = |device: &&Device| !wanted.devices.contains(device);
    let new = |device: &&Device| !open.devices.contains(device);
    let left = |address: &&Ipv4Addr| !wanted.addresses.contains(address);
    let taken = |address: &&Ipv4Addr| !open.addresses.contains(address);
    let unbind = open.devices.iter().filter(gone).cloned().map(Step::Unbind);
    let close = open.addresses.iter().filter(left).copied().map(Step::Close);
    let listen = wanted.addresses.iter().filter(taken).copied();
    let bind = wanted.devices.iter().filter(new).cloned().map(Step::Bind);
    unbind
        .chain(close)
        .chain(listen.map(Step::Listen))
        .chain(bind)
        .collect()
}

#[cfg(test)]
mod tests;
