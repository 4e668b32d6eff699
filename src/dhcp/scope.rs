//! The networks full mode gives addresses in: made from the config and all interfaces that are served, checked against
//! each other once.
//!
//! A network that an interface has its own address in is served there. One that no interface is in lies behind a relay,
//! and relays ask wherever they like.

use std::collections::HashMap;
use std::fmt;
use std::net::Ipv4Addr;

use ramboot_wire::Mac;

use super::lease::Plan;
use super::policy::PolicyError;
use crate::config::network::Network;
use crate::config::words::Pool;
use crate::config::{Config, Subnet};
use crate::host::interface::Interface;

/// A pool as large as a /16: each of its addresses can cost some bytes of memory.
pub(super) const MAX_POOL: u32 = 1 << 16;

/// How addresses of one network are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Which.
    pub network: Network,
    /// Seconds an address is promised for.
    pub lease: u32,
    /// Option 3, only if there is one: the manager does not route.
    pub router: Option<Ipv4Addr>,
    /// Option 6.
    pub dns: Vec<Ipv4Addr>,
    /// Which addresses may be given.
    pub plan: Plan,
}

/// The networks of all interfaces and relays.
///
/// # Errors
/// The config does not fit the interfaces, or itself.
pub(super) fn scopes(config: &Config, interfaces: &[Interface]) -> Result<Vec<Scope>, PolicyError> {
    let subnets = subnets(config, interfaces)?;
    let mut reserved: Vec<HashMap<Mac, Ipv4Addr>> = vec![HashMap::new(); subnets.len()];
    for (mac, address) in config.reservations() {
        let at = subnets
            .iter()
            .position(|subnet| subnet.network.contains(address))
            .ok_or_else(|| PolicyError::Outside {
                what: format!("the reservation of {mac}"),
                address,
                there: There::subnets(&subnets, interfaces),
            })?;
        reservable(mac, address, &subnets[at], interfaces)?;
        reserved[at].insert(mac, address);
    }
    let scopes = subnets.into_iter().zip(reserved);
    scopes
        .map(|(subnet, reserved)| {
            let (pool, network) = (subnet.pool, subnet.network);
            let scope = scope(subnet, reserved, interfaces);
            if scope.plan.is_empty() {
                return Err(PolicyError::Empty { pool, network });
            }
            Ok(scope)
        })
        .collect()
}

/// `[dhcp]` as the network it lies in, then every `[[network]]`.
fn subnets(config: &Config, interfaces: &[Interface]) -> Result<Vec<Subnet>, PolicyError> {
    let own = config.dhcp.pool.map(|pool| first(config, pool, interfaces));
    let mut subnets: Vec<Subnet> = own.transpose()?.into_iter().collect();
    for subnet in &config.networks {
        let network = subnet.network;
        let of_dhcp = subnets
            .iter()
            .find(|other| other.network.overlaps(network))
            .map(|other| ("[dhcp] pool".to_owned(), other.network));
        // An interface's network and a part of it: machines there would be told two masks.
        let of_interface = || {
            interfaces
                .iter()
                .map(|interface| (interface.name.clone(), network_of(interface)))
                .find(|(_, other)| other.overlaps(network) && *other != network)
        };
        if let Some((whose, other)) = of_dhcp.or_else(of_interface) {
            return Err(PolicyError::Overlap {
                network,
                other,
                whose,
            });
        }
        subnets.push(subnet.clone());
    }
    for subnet in &subnets {
        let pool = subnet.pool;
        let size = u64::from(pool.last.to_bits() - pool.first.to_bits()) + 1;
        if size > u64::from(MAX_POOL) {
            return Err(PolicyError::TooLarge { pool, size });
        }
    }
    let is_behind_relay = |subnet: &Subnet| {
        let has_it = |interface| network_of(interface) == subnet.network;
        !interfaces.iter().any(has_it)
    };
    let has_none = |interface: &&Interface| {
        let of_it = |subnet: &Subnet| subnet.network == network_of(interface);
        !subnets.iter().any(of_it)
    };
    match interfaces.iter().find(has_none) {
        // It is there for the relays.
        Some(_) if subnets.iter().any(is_behind_relay) => Ok(subnets),
        Some(interface) => Err(PolicyError::NoPool {
            interface: interface.name.clone(),
            network: network_of(interface),
            table: if subnets.is_empty() {
                "[dhcp]"
            } else {
                "a [[network]]"
            },
        }),
        None => Ok(subnets),
    }
}

fn first(config: &Config, pool: Pool, interfaces: &[Interface]) -> Result<Subnet, PolicyError> {
    let network = interfaces
        .iter()
        .map(network_of)
        .find(|network| network.contains(pool.first));
    let networks = network.map_or_else(
        || There::interfaces(interfaces),
        |network| There::one(network, interfaces),
    );
    let inside = |what: &str, address: Ipv4Addr| {
        network
            .filter(|network| network.contains(address))
            .ok_or_else(|| PolicyError::Outside {
                what: what.to_owned(),
                address,
                there: networks.clone(),
            })
    };
    let network = inside("the pool's first address", pool.first)?;
    inside("the pool's last address", pool.last)?;
    if let Some(router) = config.dhcp.router {
        inside("the router", router)?;
    }
    Ok(Subnet {
        network,
        pool,
        lease: config.dhcp.lease,
        router: config.dhcp.router,
        dns: config.dhcp.dns.clone(),
    })
}

fn scope(subnet: Subnet, reserved: HashMap<Mac, Ipv4Addr>, interfaces: &[Interface]) -> Scope {
    let kept = subnet
        .network
        .ends()
        .into_iter()
        .flatten()
        .chain(subnet.dns.iter().copied())
        .chain(subnet.router)
        .chain(interfaces.iter().map(|interface| interface.address));
    Scope {
        plan: Plan::new(subnet.network, subnet.pool, reserved, kept),
        network: subnet.network,
        lease: subnet.lease,
        router: subnet.router,
        dns: subnet.dns,
    }
}

fn reservable(
    mac: Mac,
    address: Ipv4Addr,
    subnet: &Subnet,
    interfaces: &[Interface],
) -> Result<(), PolicyError> {
    let ends = subnet.network.ends();
    let whose = if interfaces.iter().any(|one| one.address == address) {
        "the manager's own"
    } else if Some(address) == subnet.router {
        "the router's"
    } else if ends.is_some_and(|ends| ends.contains(&address)) {
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

pub(super) fn network_of(interface: &Interface) -> Network {
    Network::of(interface.address, interface.prefix_len)
}

/// Networks and whose they are, for an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct There(Vec<(Network, String)>);

impl There {
    fn interfaces(interfaces: &[Interface]) -> Self {
        let named = |one: &Interface| (network_of(one), format!("the network of {}", one.name));
        Self(interfaces.iter().map(named).collect())
    }

    fn one(network: Network, interfaces: &[Interface]) -> Self {
        let Self(mut all) = Self::interfaces(interfaces);
        all.retain(|(one, _)| *one == network);
        if all.is_empty() {
            all.push((network, "a [[network]]".to_owned()));
        }
        Self(all)
    }

    fn subnets(subnets: &[Subnet], interfaces: &[Interface]) -> Self {
        let named = subnets.iter().map(|one| Self::one(one.network, interfaces));
        Self(named.flat_map(|Self(one)| one).collect())
    }
}

impl fmt::Display for There {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (network, whose)) in self.0.iter().enumerate() {
            let between = if i == 0 { "" } else { " or " };
            write!(f, "{between}{network}, {whose}")?;
        }
        Ok(())
    }
}
