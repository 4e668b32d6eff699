//! Which addresses of a network may be given, and to whom.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use ramboot_wire::Mac;

use super::addresses::WORD;
use crate::config::network::Network;
use crate::config::words::Pool;

/// Which addresses of a network may be given, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub(super) network: Network,
    pool: Pool,
    reserved: HashMap<Mac, Ipv4Addr>,
    /// In the pool, but not to be given freely: the server, the router, reservations, the network's two ends.
    kept: HashSet<Ipv4Addr>,
    /// The pool without them, as bits, from the word of its first address on.
    open: Vec<u64>,
}

impl Plan {
    /// `kept` are addresses of the pool that are somebody's already.
    #[must_use]
    pub fn new(
        network: Network,
        pool: Pool,
        reserved: HashMap<Mac, Ipv4Addr>,
        kept: impl IntoIterator<Item = Ipv4Addr>,
    ) -> Self {
        let kept: HashSet<_> = kept.into_iter().chain(reserved.values().copied()).collect();
        let (first, last) = (pool.first.to_bits(), pool.last.to_bits());
        let mut open = vec![u64::MAX; (last / WORD - first / WORD + 1) as usize];
        open[0] &= u64::MAX << (first % WORD);
        if let Some(end) = open.last_mut() {
            *end &= u64::MAX >> (WORD - 1 - last % WORD);
        }
        for address in kept.iter().map(|address| address.to_bits()) {
            if (first..=last).contains(&address) {
                open[(address / WORD - first / WORD) as usize] &= !(1 << (address % WORD));
            }
        }
        Self {
            network,
            pool,
            reserved,
            kept,
            open,
        }
    }

    /// The machine may have this address, whoever else has it now.
    #[must_use]
    pub fn allows(&self, mac: Mac, address: Ipv4Addr) -> bool {
        match self.reserved.get(&mac) {
            Some(reserved) => *reserved == address,
            None => self.is_for_all(address),
        }
    }

    /// Any machine may have the address.
    #[must_use]
    pub fn is_for_all(&self, address: Ipv4Addr) -> bool {
        (self.pool.first..=self.pool.last).contains(&address) && !self.kept.contains(&address)
    }

    /// The address reserved for the machine.
    #[must_use]
    pub fn reservation(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.reserved.get(&mac).copied()
    }

    /// Not one address can be given: to nobody, and to no machine with a reservation.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.reserved.is_empty() && self.open.iter().all(|word| *word == 0)
    }

    /// The first address for all machines that `usable` has, in the order of the pool and beginning where the MAC's hash
    /// points. `usable` is asked for words of 64 addresses, each at most once and the first twice.
    pub(super) fn search(&self, mac: Mac, mut usable: impl FnMut(u32) -> u64) -> Option<Ipv4Addr> {
        let first = self.pool.first.to_bits();
        let size = u64::from(self.pool.last.to_bits() - first) + 1;
        let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(&mac.0).as_bytes();
        let offset = u64::from_be_bytes([a, b, c, d, e, f, g, h]) % size;
        let start = first + u32::try_from(offset).ok()?;
        let words = u32::try_from(self.open.len()).ok()?;
        let behind = u64::MAX << (start % WORD);
        for step in 0..=words {
            let at = (start / WORD - first / WORD + step) % words;
            let part = match step {
                0 => behind,
                _ if step == words => !behind,
                _ => u64::MAX,
            };
            let index = first / WORD + at;
            let found = self.open[at as usize] & part & usable(index);
            if found != 0 {
                return Some(Ipv4Addr::from(index * WORD + found.trailing_zeros()));
            }
        }
        None
    }
}
