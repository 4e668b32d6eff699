//! What one interface's DHCP answers are made from: config, interface and HTTP port, checked against each other once.

use std::net::{Ipv4Addr, SocketAddrV4};

use ramboot_wire::paths::Resource;
use ramboot_wire::{Base, Mac};

use super::ignore_reason::Why;
use super::request::Request;
use super::scope::{MAX_POOL, Scope, There, network_of, scopes};
use crate::config::Config;
use crate::config::network::Network;
use crate::config::words::{DhcpMode, Pool};
use crate::host::interface::Interface;

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
    /// The interface's own network.
    own: Network,
    /// Those of this interface and of relays; none overlaps another.
    scopes: Vec<Scope>,
}

/// Why config and interface do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Full mode without addresses.
    #[error(
        "DHCP mode full needs addresses to give out: say --pool A-B or set pool in {table}, inside {network} of {interface}"
    )]
    NoPool {
        /// Where.
        interface: String,
        /// Its network.
        network: Network,
        /// Which table of the config lacks it.
        table: &'static str,
    },
    /// Nobody there could be answered.
    #[error(
        "{what} {address} is not in {there}: change it, or the interface's address, or add its network as [[network]]"
    )]
    Outside {
        /// Whose address.
        what: String,
        /// Which address.
        address: Ipv4Addr,
        /// Where it should be.
        there: There,
    },
    /// One address in two networks.
    #[error(
        "[[network]] {network} overlaps {other} of {whose}: give each address in one network only"
    )]
    Overlap {
        /// In the table.
        network: Network,
        /// The other one.
        other: Network,
        /// Whose that is.
        whose: String,
    },
    /// More addresses than are kept in memory.
    #[error("the pool {}-{} has {size} addresses, {MAX_POOL} are possible: make it smaller", .pool.first, .pool.last)]
    TooLarge {
        /// As given.
        pool: Pool,
        /// Addresses in it.
        size: u64,
    },
    /// A pool that nothing can be given from.
    #[error(
        "the pool {}-{} in {network} has no address to give: each in it is the manager's own, the router's, a name server's, or the network's first or last: make it larger", .pool.first, .pool.last
    )]
    Empty {
        /// As given.
        pool: Pool,
        /// Where.
        network: Network,
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

impl Policy {
    /// Checks the config against the only interface that is served; `None` if DHCP is off.
    ///
    /// # Errors
    /// They do not fit; the text has both values and the remedy.
    pub fn new(
        config: &Config,
        interface: &Interface,
        http_port: u16,
    ) -> Result<Option<Self>, PolicyError> {
        Ok(Self::all(config, std::slice::from_ref(interface), http_port)?.pop())
    }

    /// Checks the config against all interfaces that are served: a policy for each, none if DHCP is off.
    ///
    /// # Errors
    /// They do not fit; the text has both values and the remedy.
    pub fn all(
        config: &Config,
        interfaces: &[Interface],
        http_port: u16,
    ) -> Result<Vec<Self>, PolicyError> {
        let scopes = match config.dhcp.mode {
            DhcpMode::Off => return Ok(Vec::new()),
            DhcpMode::Proxy => None,
            DhcpMode::Full => Some(scopes(config, interfaces)?),
        };
        let policy = |interface: &Interface| Self {
            interface: interface.name.clone(),
            server: interface.address,
            base: Base {
                addr: SocketAddrV4::new(interface.address, http_port),
                prefix: String::new(),
            },
            mode: scopes.as_ref().map_or(Mode::Proxy, |scopes| {
                Mode::Full(Full::new(scopes, interface, interfaces))
            }),
        };
        Ok(interfaces.iter().map(policy).collect())
    }

    /// Where a machine finds something.
    #[must_use]
    pub fn url(&self, resource: &Resource) -> String {
        format!("{}{}", self.base, resource.path())
    }
}

impl Full {
    fn new(scopes: &[Scope], interface: &Interface, all: &[Interface]) -> Self {
        let own = network_of(interface);
        let anothers = |network| network != own && all.iter().any(|one| network_of(one) == network);
        let mut scopes = scopes.to_vec();
        scopes.retain(|scope| !anothers(scope.network));
        Self { own, scopes }
    }

    /// The network a request is in: the one its relay selects (RFC 3527), else the relay's, else the interface's.
    ///
    /// # Errors
    /// No addresses of that network are given here.
    pub fn scope(&self, request: &Request) -> Result<&Scope, Why> {
        let giaddr = request.giaddr;
        if !giaddr.is_unspecified() {
            let selected = request.relay.as_ref().and_then(|relay| relay.link);
            return self
                .scope_of(selected.unwrap_or(giaddr))
                .ok_or(Why::Relayed(giaddr));
        }
        // RFC 2131 §4.3.2: a RENEWING client's unicast passes no relay, so its own address says where it is.
        let ciaddr = request.ciaddr;
        let unicast = !ciaddr.is_unspecified() && *request.arrival.source.ip() == ciaddr;
        unicast
            .then(|| self.scope_of(ciaddr))
            .flatten()
            .or_else(|| self.scopes.iter().find(|scope| scope.network == self.own))
            .ok_or(Why::NoPoolHere(self.own))
    }

    /// Some of the networks are behind relays.
    #[must_use]
    pub fn has_relays(&self) -> bool {
        self.scopes.iter().any(|scope| scope.network != self.own)
    }

    pub(super) fn scope_of(&self, address: Ipv4Addr) -> Option<&Scope> {
        let scopes = &self.scopes;
        scopes.iter().find(|scope| scope.network.contains(address))
    }
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
                "the pool's first address 10.0.1.5 is not in 10.0.0.0/24, the network of br0: change it, or the interface's address, or add its network as [[network]]",
            ),
            (
                format!("{full}\"10.0.0.5-10.0.1.9\""),
                "the pool's last address 10.0.1.9 is not in 10.0.0.0/24, the network of br0: change it, or the interface's address, or add its network as [[network]]",
            ),
            (
                format!("{full}\"10.0.0.5-10.0.0.9\"\nrouter = \"10.1.0.1\""),
                "the router 10.1.0.1 is not in 10.0.0.0/24, the network of br0: change it, or the interface's address, or add its network as [[network]]",
            ),
            (
                format!("{full}\"10.0.0.5-10.0.0.9\"\n{machine}\"10.0.9.9\""),
                "the reservation of 52:54:00:12:34:56 10.0.9.9 is not in 10.0.0.0/24, the network of br0: change it, or the interface's address, or add its network as [[network]]",
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
    fn a_pool_that_nothing_can_be_given_from_is_refused() {
        let empty = |pool: &str| {
            Err(format!(
                "the pool {pool} in 10.0.0.0/24 has no address to give: each in it is the manager's own, the router's, a name server's, or the network's first or last: make it larger"
            ))
        };
        let full = |pool: &str, rest: &str| {
            policy(&format!(
                "[dhcp]\nmode = \"full\"\npool = \"{pool}\"\n{rest}"
            ))
        };
        for (pool, rest) in [
            ("10.0.0.1-10.0.0.1", ""),
            ("10.0.0.0-10.0.0.1", ""),
            ("10.0.0.255-10.0.0.255", ""),
            (
                "10.0.0.1-10.0.0.3",
                "router = \"10.0.0.2\"\ndns = [\"10.0.0.3\"]",
            ),
        ] {
            assert_eq!(full(pool, rest), empty(pool));
        }
        let reserved = "[[worker]]\nmac = \"52:54:00:12:34:56\"\naddress = \"10.0.0.9\"";
        full("10.0.0.1-10.0.0.1", reserved).expect("for one machine");
        full("10.0.0.1-10.0.0.2", "").expect("one can be given");
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
                !full.scopes[0]
                    .plan
                    .allows(mac, Ipv4Addr::new(10, 0, 0, last)),
                "{last}"
            );
        }
        assert!(full.scopes[0].plan.allows(mac, Ipv4Addr::new(10, 0, 0, 2)));
    }

    fn two(config: &str) -> Result<Vec<Policy>, String> {
        let config = Config::parse(&format!("[dhcp]\nmode = \"full\"\n{config}"));
        let other = Interface {
            name: "br1".to_owned(),
            address: Ipv4Addr::new(10, 1, 0, 1),
            ..interface(24)
        };
        let config = config.expect("a config");
        Policy::all(&config, &[interface(24), other], 80).map_err(|e| e.to_string())
    }

    const BR0: &str = "pool = \"10.0.0.5-10.0.0.9\"\n";
    const BR1: &str = "[[network]]\naddress = \"10.1.0.0/24\"\npool = \"10.1.0.5-10.1.0.9\"\n";
    const FAR: &str = "[[network]]\naddress = \"10.9.0.0/24\"\npool = \"10.9.0.5-10.9.0.9\"\n";

    #[test]
    fn each_interface_has_its_own_network_and_those_of_relays() {
        let networks = |config: &str| -> Vec<Vec<String>> {
            let policies = two(config).expect("fits");
            let names = |full: &Full| full.scopes.iter().map(|s| s.network.to_string()).collect();
            policies
                .iter()
                .map(|policy| match &policy.mode {
                    Mode::Full(full) => names(full),
                    Mode::Proxy => panic!("{policy:?}"),
                })
                .collect()
        };
        assert_eq!(
            networks(&format!("{BR0}{FAR}{BR1}")),
            [
                ["10.0.0.0/24", "10.9.0.0/24"],
                ["10.9.0.0/24", "10.1.0.0/24"]
            ]
        );
        assert_eq!(networks(FAR), [["10.9.0.0/24"], ["10.9.0.0/24"]]);
    }

    #[test]
    fn what_does_not_fit_two_interfaces_is_said_with_both_values() {
        let reserved = "[[worker]]\nmac = \"52:54:00:12:34:56\"\naddress = ";
        for (config, want) in [
            (
                BR0.to_owned(),
                "DHCP mode full needs addresses to give out: say --pool A-B or set pool in a [[network]], inside 10.1.0.0/24 of br1",
            ),
            (
                "pool = \"10.2.0.5-10.2.0.9\"".to_owned(),
                "the pool's first address 10.2.0.5 is not in 10.0.0.0/24, the network of br0 or 10.1.0.0/24, the network of br1: change it, or the interface's address, or add its network as [[network]]",
            ),
            (
                format!("{BR0}router = \"10.1.0.1\"\n{BR1}"),
                "the router 10.1.0.1 is not in 10.0.0.0/24, the network of br0: change it, or the interface's address, or add its network as [[network]]",
            ),
            (
                format!(
                    "{BR0}[[network]]\naddress = \"10.0.0.0/24\"\npool = \"10.0.0.50-10.0.0.90\""
                ),
                "[[network]] 10.0.0.0/24 overlaps 10.0.0.0/24 of [dhcp] pool: give each address in one network only",
            ),
            (
                format!(
                    "{BR0}[[network]]\naddress = \"10.1.0.0/25\"\npool = \"10.1.0.50-10.1.0.90\""
                ),
                "[[network]] 10.1.0.0/25 overlaps 10.1.0.0/24 of br1: give each address in one network only",
            ),
            (
                format!("{BR0}{BR1}{FAR}{reserved}\"10.7.0.1\""),
                "the reservation of 52:54:00:12:34:56 10.7.0.1 is not in 10.0.0.0/24, the network of br0 or 10.1.0.0/24, the network of br1 or 10.9.0.0/24, a [[network]]: change it, or the interface's address, or add its network as [[network]]",
            ),
            (
                format!("{BR0}{BR1}{reserved}\"10.1.0.1\""),
                "the address 10.1.0.1 reserved for 52:54:00:12:34:56 is the manager's own: change it",
            ),
        ] {
            assert_eq!(two(&config), Err(want.to_owned()));
        }
    }
}
