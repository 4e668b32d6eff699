//! An IPv4 network, as a user writes it and as an interface is in it.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 network. Two that are equal have the same prefix, not only the same addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    first: u32,
    prefix_len: u8,
}

impl Network {
    /// The network an address is in, with a prefix of at most 32 bits.
    #[must_use]
    pub fn of(address: Ipv4Addr, prefix_len: u8) -> Self {
        let prefix_len = prefix_len.min(32);
        let first = address.to_bits() & mask(prefix_len);
        Self { first, prefix_len }
    }

    /// The address is one of this network.
    #[must_use]
    pub const fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix_len) == self.first
    }

    /// Some address is in both.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.contains(Ipv4Addr::from_bits(other.first))
            || other.contains(Ipv4Addr::from_bits(self.first))
    }

    /// Option 1.
    #[must_use]
    pub const fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(mask(self.prefix_len))
    }

    /// The network's own address and its broadcast address, which no machine can have; a /31 (RFC 3021) and a /32 have
    /// none.
    #[must_use]
    pub fn ends(self) -> Option<[Ipv4Addr; 2]> {
        let last = self.first | !mask(self.prefix_len);
        (self.prefix_len < 31).then(|| [self.first.into(), last.into()])
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.first), self.prefix_len)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            let text: String = text.chars().take(80).collect();
            format!("{text:?} is not a network such as 10.1.0.0/24")
        };
        let (address, prefix_len) = text.split_once('/').ok_or_else(form)?;
        let address: Ipv4Addr = address.parse().map_err(|_| form())?;
        let prefix_len = prefix_len
            .parse()
            .ok()
            .filter(|len| *len <= 32)
            .ok_or_else(form)?;
        let network = Self::of(address, prefix_len);
        if network.first == address.to_bits() {
            Ok(network)
        } else {
            Err(format!(
                "{address} is an address in the network {network}: write the network"
            ))
        }
    }
}

const fn mask(prefix_len: u8) -> u32 {
    // A shift by 32 is not defined, hence the detour for /0.
    match u32::MAX.checked_shl(32 - prefix_len as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_every_length() {
        for (len, inside, outside) in [
            (0, [9, 9, 9, 9], None),
            (31, [10, 0, 0, 0], Some([10, 0, 0, 2])),
            (32, [10, 0, 0, 1], Some([10, 0, 0, 0])),
            (200, [10, 0, 0, 1], Some([10, 0, 0, 0])),
        ] {
            let network = Network::of([10, 0, 0, 1].into(), len);
            assert!(network.contains(inside.into()), "{network}");
            assert!(
                outside.is_none_or(|o| !network.contains(o.into())),
                "{network}"
            );
        }
    }

    #[test]
    fn one_row_per_text() {
        for (text, want) in [
            ("10.1.0.0/24", Ok("255.255.255.0")),
            ("0.0.0.0/0", Ok("0.0.0.0")),
            ("10.1.0.4/30", Ok("255.255.255.252")),
            (
                "10.1.0.5/24",
                Err("10.1.0.5 is an address in the network 10.1.0.0/24: write the network"),
            ),
            (
                "10.1.0.0",
                Err("\"10.1.0.0\" is not a network such as 10.1.0.0/24"),
            ),
            (
                "10.1.0.0/33",
                Err("\"10.1.0.0/33\" is not a network such as 10.1.0.0/24"),
            ),
            (
                "10.1.0/24",
                Err("\"10.1.0/24\" is not a network such as 10.1.0.0/24"),
            ),
            ("/", Err("\"/\" is not a network such as 10.1.0.0/24")),
        ] {
            let found = text.parse::<Network>();
            if let Ok(network) = found {
                assert_eq!(network.to_string(), text);
            }
            assert_eq!(
                found.map(|network| network.mask().to_string()),
                want.map(str::to_owned).map_err(str::to_owned)
            );
        }
    }

    #[test]
    fn networks_overlap_both_ways_or_not_at_all() {
        let network = |text: &str| text.parse::<Network>().expect("a network");
        for (a, b, want) in [
            ("10.1.0.0/24", "10.1.0.0/24", true),
            ("10.1.0.0/16", "10.1.7.0/24", true),
            ("10.1.0.0/24", "10.1.1.0/24", false),
            ("0.0.0.0/0", "10.1.1.0/24", true),
        ] {
            assert_eq!(network(a).overlaps(network(b)), want, "{a} {b}");
            assert_eq!(network(b).overlaps(network(a)), want, "{b} {a}");
        }
    }
}
