//! Classless static routes (option 121, RFC 3442). Pure.

use std::fmt;
use std::net::Ipv4Addr;

use super::unicast;

/// A way to another network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Its first address.
    pub to: Ipv4Addr,
    /// Bits of its mask: 0, which is everything, to 32.
    pub prefix: u8,
    /// The next hop; `None` if its hosts are on the link itself.
    pub via: Option<Ipv4Addr>,
}

impl Route {
    /// Everything goes to this router.
    #[must_use]
    pub const fn by_default(router: Ipv4Addr) -> Self {
        Self {
            to: Ipv4Addr::UNSPECIFIED,
            prefix: 0,
            via: Some(router),
        }
    }

    /// It is for everything.
    #[must_use]
    pub const fn is_default(&self) -> bool {
        self.prefix == 0
    }

    /// Whether packets to `addr` can go this way.
    #[must_use]
    pub fn leads_to(&self, addr: Ipv4Addr) -> bool {
        contains(self.to, self.prefix, addr)
    }
}

/// The network: `10.1.0.0/16`.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.to, self.prefix)
    }
}

/// Whether `addr` is in the network of `prefix` bits that `one` is in.
pub(super) fn contains(one: Ipv4Addr, prefix: u8, addr: Ipv4Addr) -> bool {
    (one.to_bits() ^ addr.to_bits()) & mask(prefix) == 0
}

fn mask(prefix: u8) -> u32 {
    u32::MAX
        .checked_shl(32_u32.saturating_sub(prefix.into()))
        .unwrap_or(0)
}

/// The routes of a host with the address `own`; `None` if these bytes are no list of routes, an empty one included.
///
/// A route is left out if no packet could take it, or if there is one to the same network already. The list is bounded by
/// the packet it came in.
pub(super) fn parse(bytes: &[u8], own: Ipv4Addr) -> Option<Vec<Route>> {
    let mut rest = bytes;
    let mut routes: Vec<Route> = Vec::new();
    while let Some((prefix, after)) = rest.split_first() {
        if *prefix > 32 {
            return None;
        }
        // Of the network only the octets that its mask covers are sent.
        let (significant, after) = after.split_at_checked(usize::from(prefix.div_ceil(8)))?;
        let (router, after) = after.split_first_chunk::<4>()?;
        rest = after;
        let mut to = [0; 4];
        to[..significant.len()].copy_from_slice(significant);
        // Some servers send the address of a host in it.
        let to = Ipv4Addr::from_bits(u32::from_be_bytes(to) & mask(*prefix));
        let router = Ipv4Addr::from(*router);
        // 0.0.0.0: another subnet of this link (RFC 3442, Local Subnet Routes). Windows servers say the host itself.
        let is_local = router.is_unspecified() || router == own;
        if !is_local && !unicast(router) {
            continue;
        }
        let route = Route {
            to,
            prefix: *prefix,
            via: (!is_local).then_some(router),
        };
        if !routes.iter().any(|r| (r.to, r.prefix) == (to, *prefix)) {
            routes.push(route);
        }
    }
    (!bytes.is_empty()).then_some(routes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);

    /// RFC 3442's table of destination descriptors, and what is next to it.
    #[test]
    fn descriptors() {
        for (bytes, want) in [
            (&[0, 10, 0, 0, 1][..], "0.0.0.0/0 by 10.0.0.1"),
            (&[8, 10, 10, 0, 0, 1], "10.0.0.0/8 by 10.0.0.1"),
            (&[24, 10, 0, 0, 10, 0, 0, 1], "10.0.0.0/24 by 10.0.0.1"),
            (&[16, 10, 17, 10, 0, 0, 1], "10.17.0.0/16 by 10.0.0.1"),
            (
                &[24, 10, 27, 129, 10, 0, 0, 1],
                "10.27.129.0/24 by 10.0.0.1",
            ),
            (
                &[25, 10, 229, 0, 128, 10, 0, 0, 1],
                "10.229.0.128/25 by 10.0.0.1",
            ),
            (
                &[32, 10, 198, 122, 47, 10, 0, 0, 1],
                "10.198.122.47/32 by 10.0.0.1",
            ),
            // On the link.
            (&[16, 10, 17, 0, 0, 0, 0], "10.17.0.0/16"),
            (&[16, 10, 17, 10, 0, 0, 5], "10.17.0.0/16"),
            // Bits beyond the mask.
            (
                &[20, 10, 17, 255, 10, 0, 0, 1],
                "10.17.240.0/20 by 10.0.0.1",
            ),
            // Several; of one network the first.
            (
                &[0, 10, 0, 0, 1, 8, 10, 10, 0, 0, 2, 0, 10, 0, 0, 3],
                "0.0.0.0/0 by 10.0.0.1, 10.0.0.0/8 by 10.0.0.2",
            ),
            // By nobody.
            (
                &[8, 10, 224, 0, 0, 1, 0, 10, 0, 0, 1],
                "0.0.0.0/0 by 10.0.0.1",
            ),
            (&[8, 10, 127, 0, 0, 1], ""),
            // No list.
            (&[], "none"),
            (&[33, 10, 0, 0, 0, 0, 10, 0, 0, 1], "none"),
            (&[255, 10, 0, 0, 1], "none"),
            (&[0, 10, 0, 0], "none"),
            (&[16, 10], "none"),
            (&[0, 10, 0, 0, 1, 8], "none"),
        ] {
            let said = |route: &Route| match route.via {
                Some(router) => format!("{route} by {router}"),
                None => route.to_string(),
            };
            let got = parse(bytes, OWN).map_or_else(
                || "none".to_owned(),
                |routes| routes.iter().map(said).collect::<Vec<_>>().join(", "),
            );
            assert_eq!(got, want, "{bytes:?}");
        }
    }

    proptest! {
        /// No panic; and what is a route is one that a kernel takes.
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for route in parse(&bytes, OWN).unwrap_or_default() {
                prop_assert!(route.prefix <= 32);
                prop_assert_eq!(route.to.to_bits() & !mask(route.prefix), 0);
                prop_assert!(route.leads_to(route.to));
                prop_assert!(route.via.is_none_or(|via| unicast(via) && via != OWN));
            }
        }
    }
}
