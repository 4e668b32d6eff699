//! What one interface's DHCP answers are made from: config, interface and HTTP port, checked against each other once.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use ramboot_wire::paths::Resource;
use ramboot_wire::{Base, Mac};

use super::lease::Plan;
use crate::cli::{DhcpMode, Pool};
use crate::config::Config;
use crate::interface::Interface;

/// A pool as large as a /16: each of its addresses can cost some bytes of memory.
const MAX_POOL: u32 = 1 << 16;

/// How to answer on one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The interface's name, for the log.
    pub interface: String,
    /// Our address on it: server identifier, TFTP server and HTTP host.
    pub server: Ipv4Addr,
    /// Where scripts and images are fetched.
    pub base: Base,
    /// Whether we give addresses.
    pub mode: Mode,
}

/// Whether we give addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Another server does.
    Proxy,
    /// We do.
    Full(Full),
}

/// What full mode needs beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Full {
    /// Option 1.
    pub mask: Ipv4Addr,
    /// Seconds an address is promised for.
    pub lease: u32,
    /// Option 3, only if there is one: the manager does not route.
    pub router: Option<Ipv4Addr>,
    /// Option 6.
    pub dns: Vec<Ipv4Addr>,
    /// Which addresses may be given.
    pub plan: Plan,
    network: Network,
}

/// Why config and interface do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Full mode without addresses.
    #[error(
        "DHCP mode full needs addresses to give out: say --pool A-B or set pool in [dhcp], inside {network} of {interface}"
    )]
    NoPool {
        /// Where.
        interface: String,
        /// Its network.
        network: Network,
    },
    /// Clients could not reach us from there.
    #[error(
        "{what} {address} is not in {network}, the network of {interface}: change it, or the interface's address"
    )]
    Outside {
        /// Whose address.
        what: String,
        /// Which address.
        address: Ipv4Addr,
        /// Where.
        interface: String,
        /// Its network.
        network: Network,
    },
    /// More addresses than are kept in memory.
    #[error("the pool {}-{} has {size} addresses, {MAX_POOL} are possible: make it smaller", .pool.first, .pool.last)]
    TooLarge {
        /// As given.
        pool: Pool,
        /// Addresses in it.
        size: u64,
    },
    /// A reservation that can never be given.
    #[error("the address {address} reserved for {mac} is {whose}: change it")]
    Kept {
        /// For whom.
        mac: Mac,
        /// Which.
        address: Ipv4Addr,
        /// Whose it is.
        whose: &'static str,
    },
}

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: u32,
    prefix_len: u8,
}

impl Network {
    fn of(interface: &Interface) -> Self {
        let prefix_len = interface.prefix_len.min(32);
        let first = u32::from(interface.address) & mask(prefix_len);
        Self { first, prefix_len }
    }

    /// The address is one of this network.
    #[must_use]
    pub const fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix_len) == self.first
    }

    /// The network's own address and its broadcast address, which no machine can have; a /31 (RFC 3021) and a /32 have none.
    fn ends(self) -> Option<[Ipv4Addr; 2]> {
        let last = self.first | !mask(self.prefix_len);
        (self.prefix_len < 31).then(|| [self.first.into(), last.into()])
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.first), self.prefix_len)
    }
}

const fn mask(prefix_len: u8) -> u32 {
    // A shift by 32 is not defined, hence the detour for /0.
    match u32::MAX.checked_shl(32 - prefix_len as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

impl Policy {
    /// Checks the config against an interface; `None` if DHCP is off.
    ///
    /// # Errors
    /// They do not fit; the text has both values and the remedy.
    pub fn new(
        config: &Config,
        interface: &Interface,
        http_port: u16,
    ) -> Result<Option<Self>, PolicyError> {
        let mode = match config.dhcp.mode {
            DhcpMode::Off => return Ok(None),
            DhcpMode::Proxy => Mode::Proxy,
            DhcpMode::Full => Mode::Full(Full::new(config, interface)?),
        };
        Ok(Some(Self {
            interface: interface.name.clone(),
            server: interface.address,
            base: Base {
                addr: SocketAddrV4::new(interface.address, http_port),
                prefix: String::new(),
            },
            mode,
        }))
    }

    /// Where a machine finds something.
    #[must_use]
    pub fn url(&self, resource: &Resource) -> String {
        format!("{}{}", self.base, resource.path())
    }
}

impl Full {
    fn new(config: &Config, interface: &Interface) -> Result<Self, PolicyError> {
        let network = Network::of(interface);
        let pool = config.dhcp.pool.ok_or_else(|| PolicyError::NoPool {
            interface: interface.name.clone(),
            network,
        })?;
        let inside = |what: String, address: Ipv4Addr| {
            network
                .contains(address)
                .then_some(())
                .ok_or_else(|| PolicyError::Outside {
                    what,
                    address,
                    interface: interface.name.clone(),
                    network,
                })
        };
        inside("the pool's first address".to_owned(), pool.first)?;
        inside("the pool's last address".to_owned(), pool.last)?;
        let size = u64::from(pool.last.to_bits() - pool.first.to_bits()) + 1;
        if size > u64::from(MAX_POOL) {
            return Err(PolicyError::TooLarge { pool, size });
        }
        if let Some(router) = config.dhcp.router {
            inside("the router".to_owned(), router)?;
        }
        let mut reserved = HashMap::new();
        for (mac, address) in config.reservations() {
            inside(format!("the reservation of {mac}"), address)?;
            reservable(mac, address, interface, network, config.dhcp.router)?;
            reserved.insert(mac, address);
        }
        let ends = network.ends().into_iter().flatten();
        let others = config.dhcp.dns.iter().copied().chain(config.dhcp.router);
        Ok(Self {
            mask: mask(network.prefix_len).into(),
            lease: config.dhcp.lease,
            router: config.dhcp.router,
            dns: config.dhcp.dns.clone(),
            plan: Plan::new(
                pool,
                reserved,
                ends.chain(others).chain([interface.address]),
            ),
            network,
        })
    }

    /// The network addresses are given in.
    #[must_use]
    pub const fn network(&self) -> Network {
        self.network
    }
}

fn reservable(
    mac: Mac,
    address: Ipv4Addr,
    interface: &Interface,
    network: Network,
    router: Option<Ipv4Addr>,
) -> Result<(), PolicyError> {
    let whose = if address == interface.address {
        "the manager's own"
    } else if Some(address) == router {
        "the router's"
    } else if network.ends().is_some_and(|ends| ends.contains(&address)) {
        "no machine's: it is the network's first or last"
    } else {
        return Ok(());
    };
    Err(PolicyError::Kept {
        mac,
        address,
        whose,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(prefix_len: u8) -> Interface {
        Interface {
            name: "br0".to_owned(),
            index: 2,
            address: Ipv4Addr::new(10, 0, 0, 1),
            prefix_len,
            mac: None,
        }
    }

    fn policy(config: &str) -> Result<Option<Policy>, String> {
        let config = Config::parse(config).expect("a config");
        Policy::new(&config, &interface(24), 8067).map_err(|e| e.to_string())
    }

    #[test]
    fn what_does_not_fit_is_said_with_both_values() {
        let machine = "[[worker]]\nmac = \"52:54:00:12:34:56\"\naddress = ";
        let full = "[dhcp]\nmode = \"full\"\npool = ";
        for (config, want) in [
            (
                "[dhcp]\nmode = \"full\"".to_owned(),
                "DHCP mode full needs addresses to give out: say --pool A-B or set pool in [dhcp], inside 10.0.0.0/24 of br0",
            ),
            (
                format!("{full}\"10.0.1.5-10.0.1.9\""),
                "the pool's first address 10.0.1.5 is not in 10.0.0.0/24, the network of br0: change it, or the interface's address",
            ),
            (
                format!("{full}\"10.0.0.5-10.0.1.9\""),
                "the pool's last address 10.0.1.9 is not in 10.0.0.0/24, the network of br0: change it, or the interface's address",
            ),
            (
                format!("{full}\"10.0.0.5-10.0.0.9\"\nrouter = \"10.1.0.1\""),
                "the router 10.1.0.1 is not in 10.0.0.0/24, the network of br0: change it, or the interface's address",
            ),
            (
                format!("{full}\"10.0.0.5-10.0.0.9\"\n{machine}\"10.0.9.9\""),
                "the reservation of 52:54:00:12:34:56 10.0.9.9 is not in 10.0.0.0/24, the network of br0: change it, or the interface's address",
            ),
            (
                format!("{full}\"10.0.0.5-10.0.0.9\"\n{machine}\"10.0.0.1\""),
                "the address 10.0.0.1 reserved for 52:54:00:12:34:56 is the manager's own: change it",
            ),
            (
                format!("{full}\"10.0.0.5-10.0.0.9\"\n{machine}\"10.0.0.255\""),
                "the address 10.0.0.255 reserved for 52:54:00:12:34:56 is no machine's: it is the network's first or last: change it",
            ),
        ] {
            assert_eq!(policy(&config), Err(want.to_owned()));
        }
    }

    #[test]
    fn proxy_needs_nothing_and_off_is_nothing() {
        let proxy = policy("").expect("fits").expect("on");
        assert_eq!(proxy.mode, Mode::Proxy);
        assert_eq!(
            proxy.url(&Resource::Script(Mac([2, 0, 0, 0, 0, 0xa]).into())),
            "http://10.0.0.1:8067/ipxe/02-00-00-00-00-0a"
        );
        assert_eq!(policy("[dhcp]\nmode = \"off\""), Ok(None));
    }

    #[test]
    fn a_huge_pool_is_refused() {
        let config = Config::parse("[dhcp]\nmode = \"full\"\npool = \"10.0.0.2-10.255.0.0\"")
            .expect("a config");
        let error = Policy::new(&config, &interface(8), 80)
            .expect_err("too large")
            .to_string();
        assert_eq!(
            error,
            "the pool 10.0.0.2-10.255.0.0 has 16711679 addresses, 65536 are possible: make it smaller"
        );
    }

    #[test]
    fn the_ends_of_the_network_and_the_server_are_not_given() {
        let policy = policy(
            "[dhcp]\nmode = \"full\"\npool = \"10.0.0.0-10.0.0.255\"\nrouter = \"10.0.0.254\"\ndns = [\"10.0.0.253\"]",
        );
        let Ok(Some(Policy {
            mode: Mode::Full(full),
            ..
        })) = policy
        else {
            panic!("{policy:?}");
        };
        let mac = Mac([2; 6]);
        for last in [0, 1, 253, 254, 255] {
            assert!(
                !full.plan.allows(mac, Ipv4Addr::new(10, 0, 0, last)),
                "{last}"
            );
        }
        assert!(full.plan.allows(mac, Ipv4Addr::new(10, 0, 0, 2)));
        assert_eq!(full.mask, Ipv4Addr::new(255, 255, 255, 0));
    }

    #[test]
    fn networks_of_every_length() {
        for (len, inside, outside) in [
            (0, [9, 9, 9, 9], None),
            (31, [10, 0, 0, 0], Some([10, 0, 0, 2])),
            (32, [10, 0, 0, 1], Some([10, 0, 0, 0])),
        ] {
            let network = Network::of(&interface(len));
            assert!(network.contains(inside.into()), "{network}");
            assert!(
                outside.is_none_or(|o| !network.contains(o.into())),
                "{network}"
            );
        }
    }
}
