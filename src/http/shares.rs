//! Who may come in where places are few: a share for each address, and the last places for machines that DHCP knows. Pure.
//!
//! An address gets a further place only while it has less than a quarter of what is free, and of that quarter the part that
//! is free of all. So one that takes all it can get leaves five sixths; the more addresses do so, the less each of them has;
//! and the first place of an address is refused only when none is left.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Whose share a place counts to. A machine has as many addresses of its IPv6 network as it likes, so that network (a /64,
/// RFC 4291 §2.5.4) has one share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Source(IpAddr);

impl Source {
    pub(super) fn of(peer: IpAddr) -> Self {
        Self(match peer.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// Places of one kind, and who has them.
#[derive(Debug)]
pub(super) struct Places {
    limit: usize,
    /// Of these, the last ones, which strangers do not get.
    reserve: usize,
    /// An address has less than one in so many of those that are free.
    part: usize,
    by_source: HashMap<Source, usize>,
    used: usize,
    /// Of these, by strangers.
    strangers: usize,
}

impl Places {
    pub(super) fn new(limit: usize, reserve: usize) -> Self {
        Self {
            limit,
            reserve: reserve.min(limit),
            part: PART,
            by_source: HashMap::new(),
            used: 0,
            strangers: 0,
        }
    }

    /// One place for each address.
    pub(super) fn one_each(limit: usize) -> Self {
        Self {
            part: limit,
            ..Self::new(limit, 0)
        }
    }

    /// Takes a place, and says how many were free to its like; `None` if it gets none.
    pub(super) fn enter(&mut self, source: Source, is_known: bool) -> Option<usize> {
        let own = self.by_source.get(&source).copied().unwrap_or(0);
        let (free, all) = self.free(is_known);
        // As products: own < free / part * free / all.
        if own as u128 * self.part as u128 * all as u128 >= (free as u128).pow(2) {
            return None;
        }
        self.by_source.insert(source, own + 1);
        self.used += 1;
        self.strangers += usize::from(!is_known);
        Some(free)
    }

    /// Gives one back that was taken.
    pub(super) fn leave(&mut self, source: Source, is_known: bool) {
        match self.by_source.get_mut(&source) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                self.by_source.remove(&source);
            }
        }
        self.used = self.used.saturating_sub(1);
        self.strangers = self.strangers.saturating_sub(usize::from(!is_known));
    }

    /// To those who are known or to strangers, and of how many.
    fn free(&self, is_known: bool) -> (usize, usize) {
        let free = self.limit.saturating_sub(self.used);
        if is_known {
            return (free, self.limit);
        }
        let all = self.limit - self.reserve;
        (free.min(all.saturating_sub(self.strangers)), all)
    }
}

/// The time that a stranger has for the head of a request when so many of `limit` places are free to strangers: all of it
/// while half are, and in proportion when they run out. A machine that DHCP knows has all of it: its boot may pause.
pub(super) fn patience(all: Duration, free: usize, limit: usize, is_known: bool) -> Duration {
    let half = (limit / 2).max(1);
    let free = free.min(half);
    if is_known {
        return all;
    }
    let ms = all.as_millis() * free as u128 / half as u128;
    let part = Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX));
    part.max(SHORTEST).min(all)
}

/// What one address can have is a sixth of all.
const PART: usize = 4;
/// Two retransmissions of a lost packet on a LAN.
const SHORTEST: Duration = Duration::from_secs(2);
/// The leading 64 bits.
const NETWORK: u128 = u128::MAX << 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host(number: u8) -> Source {
        Source::of(IpAddr::from([10, 0, 0, number]))
    }

    /// As many as it gets.
    fn fill(places: &mut Places, source: Source, is_known: bool) -> usize {
        std::iter::from_fn(|| places.enter(source, is_known)).count()
    }

    #[test]
    fn the_more_take_all_they_can_the_less_each_of_them_has() {
        let mut places = Places::new(8192, 4096);
        let had = [1, 2, 3, 4].map(|number| fill(&mut places, host(number), false));
        assert_eq!(had, [703, 509, 383, 297]);
        assert_eq!(fill(&mut places, host(1), false), 0, "its share shrank");
        let others = (5..=200).map(|number| fill(&mut places, host(number), false));
        assert_eq!(others.min(), Some(1), "each of them found one");
        for number in 0..=255 {
            let source = Source::of(IpAddr::from([10, 0, 1, number]));
            fill(&mut places, source, false);
        }
        assert_eq!(places.enter(host(255), false), None);
        assert_eq!(places.enter(host(255), true), Some(4096));
    }

    #[test]
    fn one_each_is_one_each() {
        let mut places = Places::one_each(3);
        let had = [1, 1, 2, 3, 4].map(|number| places.enter(host(number), false).is_some());
        assert_eq!(had, [true, false, true, true, false]);
        places.leave(host(2), false);
        assert!(places.enter(host(4), false).is_some());
    }

    #[test]
    fn a_network_of_ipv6_is_one_source_and_an_address_of_ipv4_is_one_however_it_is_written() {
        let source = |text: &str| Source::of(text.parse().expect("an address"));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:10.0.0.1"), source("10.0.0.1"));
        assert_ne!(source("10.0.0.2"), source("10.0.0.1"));
    }

    #[test]
    fn strangers_have_less_time_when_places_run_out() {
        let all = Duration::from_secs(30);
        for (free, is_known, want) in [
            (4096, false, 30_000),
            (8192, false, 30_000),
            (2048, false, 15_000),
            (1024, false, 7_500),
            (273, false, 2_000),
            (0, false, 2_000),
            (1, true, 30_000),
        ] {
            let patience = patience(all, free, 8192, is_known).as_millis();
            assert_eq!(patience, want, "{free} {is_known}");
        }
        assert_eq!(patience(all, 1, 1, false), all);
    }

    proptest! {
        /// Whatever one address does, the first connection of another one is accepted; and whatever strangers do, a
        /// machine that DHCP knows.
        #[test]
        fn nobody_keeps_another_out(
            limit in 2_usize..300,
            reserve in 1_usize..300,
            steps in prop::collection::vec((0_u8..254, any::<bool>()), 0..600),
            alone in any::<bool>(),
        ) {
            let mut places = Places::new(limit, reserve.min(limit - 1));
            let mut taken = Vec::new();
            for (number, enters) in steps {
                let source = host(if alone { 1 } else { number });
                if enters {
                    taken.extend(places.enter(source, false).map(|_| source));
                } else if let Some(source) = taken.pop() {
                    places.leave(source, false);
                }
                prop_assert_eq!(places.used, taken.len());
                prop_assert!(places.used <= limit - places.reserve);
            }
            if alone {
                fill(&mut places, host(1), false);
                let only = limit - places.reserve == 1;
                prop_assert!(only || places.enter(host(255), false).is_some());
            }
            // Neither of the two who come last was among them.
            prop_assert!(places.enter(host(254), true).is_some());
        }

        /// What was given back is free, and nothing is remembered of who left.
        #[test]
        fn all_is_given_back(guests in prop::collection::vec((any::<u8>(), any::<bool>()), 0..400)) {
            let mut places = Places::new(100, 50);
            let inside: Vec<_> = guests
                .into_iter()
                .filter(|(number, is_known)| places.enter(host(*number), *is_known).is_some())
                .collect();
            prop_assert!(places.used == inside.len() && places.used <= 100);
            for (number, is_known) in inside {
                places.leave(host(number), is_known);
            }
            prop_assert!(places.by_source.is_empty());
            prop_assert_eq!((places.used, places.strangers), (0, 0));
        }
    }
}
