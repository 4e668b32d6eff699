//! What a DHCP server gave, checked: an address that a host can have, with a mask that is one, and what belongs to it.
//!
//! Also which of several leases to take, which is policy and therefore a function of its own: [`choose`].

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::{DhcpOption, Message, OptionCode};
use ramboot_wire::{Base, cmdline};

mod routes;
mod search;

pub use routes::Route;

/// An OFFER or an ACK.
#[derive(Debug)]
pub struct Reply {
    /// All but the two below.
    pub message: Message,
    /// Option 121 as it was sent; empty if it was not.
    pub routes: Vec<u8>,
    /// Option 119 as it was sent; empty if it was not.
    pub search: Vec<u8>,
}

/// An address and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The worker's address.
    pub addr: Ipv4Addr,
    /// Bits of the mask: 1 to 32.
    pub prefix: u8,
    /// Ways to other networks, one for each of them; the default route among them, if there is one.
    pub routes: Vec<Route>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// NTP servers.
    pub ntp: Vec<Ipv4Addr>,
    /// The domain the worker is in: a host name.
    pub domain: Option<String>,
    /// Domains to look names up in, if they are not that one: host names.
    pub search: Vec<String>,
    /// Only one that IPv4 can live with.
    pub mtu: Option<u16>,
    /// Who gave it.
    pub server: Ipv4Addr,
}

/// Why an offer is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// No host has this address.
    #[error("{0}/{1} is not a host's address")]
    Address(Ipv4Addr, u8),
    /// Ones after zeros.
    #[error("{0} is not a subnet mask")]
    Mask(Ipv4Addr),
    /// RFC 2131 §4.3.1: an offer MUST name its server, and a request must repeat it.
    #[error("no server identifier")]
    NoServer,
}

impl Lease {
    /// Reads an OFFER or an ACK.
    ///
    /// # Errors
    /// It has no usable address. Odd extras are left out, not refused: a network with a wrong MTU option should
    /// still boot.
    pub fn read(reply: &Reply) -> Result<Self, LeaseError> {
        let message = &reply.message;
        let option = |code| message.opts().get(code);
        let addr = message.yiaddr();
        let prefix = match option(OptionCode::SubnetMask) {
            Some(DhcpOption::SubnetMask(mask)) => prefix(*mask)?,
            _ => classful(addr),
        };
        if !is_host(addr, prefix) {
            return Err(LeaseError::Address(addr, prefix));
        }
        let Some(DhcpOption::ServerIdentifier(server)) = option(OptionCode::ServerIdentifier)
        else {
            return Err(LeaseError::NoServer);
        };
        // RFC 3442: whoever understands the classless routes MUST ignore the routers.
        let routes = routes::parse(&reply.routes, addr).unwrap_or_else(|| {
            let mut routers = match option(OptionCode::Router) {
                Some(DhcpOption::Router(routers)) => routers.iter().copied(),
                _ => [].iter().copied(),
            };
            let router = routers.find(|r| unicast(*r) && *r != addr);
            router.map(Route::by_default).into_iter().collect()
        });
        let dns = match option(OptionCode::DomainNameServer) {
            Some(DhcpOption::DomainNameServer(servers)) => usable(servers),
            _ => Vec::new(),
        };
        let ntp = match option(OptionCode::NtpServers) {
            Some(DhcpOption::NtpServers(servers)) => usable(servers),
            _ => Vec::new(),
        };
        let domain = match option(OptionCode::DomainName) {
            // It will stand in /etc/resolv.conf: nothing but a name may get there. Windows servers end it with NUL.
            Some(DhcpOption::DomainName(name)) => {
                cmdline::hostname(name.trim_end_matches(['\0', '.'])).ok()
            }
            _ => None,
        };
        let mtu = match option(OptionCode::InterfaceMtu) {
            Some(DhcpOption::InterfaceMtu(mtu)) if *mtu >= MIN_MTU => Some(*mtu),
            _ => None,
        };
        Ok(Self {
            addr,
            prefix,
            routes,
            dns,
            ntp,
            domain,
            search: search::parse(&reply.search).unwrap_or_default(),
            mtu,
            server: *server,
        })
    }

    /// The default route's next hop.
    #[must_use]
    pub fn router(&self) -> Option<Ipv4Addr> {
        let default = self.routes.iter().find(|route| route.is_default());
        default.and_then(|route| route.via)
    }

    /// Domains to look names up in: the search list, else the domain.
    #[must_use]
    pub fn search_list(&self) -> &[String] {
        if self.search.is_empty() {
            self.domain.as_slice()
        } else {
            &self.search
        }
    }

    /// Whether packets to `to` have a way: in the subnet, or by a route.
    #[must_use]
    pub fn reaches(&self, to: Ipv4Addr) -> bool {
        routes::contains(self.addr, self.prefix, to)
            || self.routes.iter().any(|route| route.leads_to(to))
    }
}

/// A lease that stands for election.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// What was given.
    pub lease: &'a Lease,
    /// Given on the link the firmware booted from.
    pub bootif: bool,
}

/// Which lease to use, if it is time to decide. `since` is how long ago the first one came, `pending` whether a
/// link could still bring a better one.
///
/// The first lease wins, unless it is not on the boot link or reaches no base: then others get [`GRACE`].
#[must_use]
pub fn choose(
    candidates: &[Candidate<'_>],
    bases: &[Base],
    since: Duration,
    pending: bool,
) -> Option<usize> {
    let score = |c: &Candidate<'_>| {
        let reaches = bases.iter().any(|base| c.lease.reaches(*base.addr.ip()));
        (reaches, c.bootif)
    };
    // `rev`, because `max_by_key` takes the last of equals and the first lease should win.
    let (best, candidate) = candidates
        .iter()
        .enumerate()
        .rev()
        .max_by_key(|(_, c)| score(c))?;
    (score(candidate) == (true, true) || !pending || since >= GRACE).then_some(best)
}

/// One DISCOVER and its retransmission on the other link.
pub const GRACE: Duration = Duration::from_secs(3);

fn prefix(mask: Ipv4Addr) -> Result<u8, LeaseError> {
    let bits = mask.to_bits();
    let ones = bits.leading_ones();
    if ones == 0 || bits.count_ones() != ones {
        return Err(LeaseError::Mask(mask));
    }
    u8::try_from(ones).map_err(|_| LeaseError::Mask(mask))
}

/// Without a mask there are only the classes left (RFC 1122 §3.3.1.1 asks the network, which nobody answers).
fn classful(addr: Ipv4Addr) -> u8 {
    match addr.octets() {
        [0..=127, ..] => 8,
        [128..=191, ..] => 16,
        _ => 24,
    }
}

/// Some routers send 0.0.0.0 as the second server if only one is set, others the first one again.
fn usable(servers: &[Ipv4Addr]) -> Vec<Ipv4Addr> {
    let mut usable = Vec::new();
    for server in servers.iter().filter(|server| unicast(**server)) {
        if usable.len() < MAX_SERVERS && !usable.contains(server) {
            usable.push(*server);
        }
    }
    usable
}

fn unicast(addr: Ipv4Addr) -> bool {
    // 240/4 is used inside some clouds, so only what no host can have is left out.
    !matches!(addr.octets(), [0 | 127 | 224..=239, ..]) && !addr.is_broadcast()
}

fn is_host(addr: Ipv4Addr, prefix: u8) -> bool {
    let host = addr.to_bits() & u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    let ones = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    // RFC 3021: in a /31 both are hosts.
    unicast(addr) && (prefix >= 31 || (host != 0 && host != ones))
}

/// Name servers that glibc asks (MAXNS), and NTP servers that agree against one that is wrong.
const MAX_SERVERS: usize = 3;
/// RFC 791: every host must take 576 octets. Less is legal from 68 on (RFC 2132 §5.1) and always a misconfigured server;
/// systemd-networkd takes none below, either.
const MIN_MTU: u16 = 576;

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(addr: [u8; 4], router: bool) -> Lease {
        Lease {
            addr: addr.into(),
            prefix: 24,
            routes: router
                .then(|| Route::by_default([addr[0], addr[1], addr[2], 1].into()))
                .into_iter()
                .collect(),
            dns: Vec::new(),
            ntp: Vec::new(),
            domain: None,
            search: Vec::new(),
            mtu: None,
            server: Ipv4Addr::new(10, 0, 0, 1),
        }
    }

    #[test]
    fn masks() {
        for (mask, want) in [
            ([255, 255, 255, 0], Some(24)),
            ([255, 255, 255, 255], Some(32)),
            ([128, 0, 0, 0], Some(1)),
            ([0, 0, 0, 0], None),
            ([255, 0, 255, 0], None),
            ([0, 0, 0, 255], None),
        ] {
            assert_eq!(prefix(mask.into()).ok(), want, "{mask:?}");
        }
    }

    #[test]
    fn addresses_no_host_has() {
        for (addr, prefix, want) in [
            ([10, 0, 0, 5], 24, true),
            ([10, 0, 0, 0], 24, false),
            ([10, 0, 0, 255], 24, false),
            ([10, 0, 0, 255], 16, true),
            ([10, 0, 0, 0], 31, true),
            ([10, 0, 0, 9], 32, true),
            ([0, 0, 0, 1], 8, false),
            ([127, 0, 0, 1], 8, false),
            ([224, 0, 0, 1], 24, false),
            ([255, 255, 255, 255], 32, false),
        ] {
            assert_eq!(is_host(addr.into(), prefix), want, "{addr:?}/{prefix}");
        }
    }

    #[test]
    fn a_base_is_reached_by_the_subnet_or_by_a_route() {
        let mut lease = lease([10, 0, 0, 5], false);
        let far = [192, 168, 9, 1].into();
        assert!(lease.reaches([10, 0, 0, 1].into()));
        assert!(!lease.reaches(far));
        lease.routes = routes::parse(&[16, 192, 168, 10, 0, 0, 1], lease.addr).expect("a route");
        assert!(lease.reaches(far));
        assert!(!lease.reaches([192, 169, 9, 1].into()));
        assert_eq!(lease.router(), None);
    }

    #[test]
    fn the_first_useful_lease_wins_and_the_boot_link_is_waited_for() {
        let near = lease([10, 0, 0, 5], false);
        let far = lease([192, 168, 9, 5], false);
        let bases: [Base; 1] = ["http://10.0.0.1:8067".parse().expect("base")];
        let (soon, late) = (Duration::ZERO, GRACE);
        let c = |lease, bootif| Candidate { lease, bootif };
        for (candidates, since, pending, want) in [
            (vec![], late, false, None),
            (vec![c(&near, true)], soon, true, Some(0)),
            (vec![c(&near, false)], soon, false, Some(0)),
            (vec![c(&near, false)], soon, true, None),
            (vec![c(&near, false)], late, true, Some(0)),
            (vec![c(&far, false), c(&near, false)], late, true, Some(1)),
            (vec![c(&near, false), c(&near, false)], late, true, Some(0)),
            (vec![c(&near, false), c(&near, true)], soon, true, Some(1)),
            (vec![c(&far, true), c(&near, false)], late, true, Some(1)),
            (vec![c(&far, true)], soon, false, Some(0)),
        ] {
            assert_eq!(
                choose(&candidates, &bases, since, pending),
                want,
                "{candidates:?} {since:?} {pending}"
            );
        }
    }
}
