//! Who has which address, as a value. Leases are soft: a manager that lost them mostly gives the same ones again.
//!
//! An address is derived from the MAC (a hash into the pool, the next free one on collision), so it survives a
//! restart without a file. What was promised is in [`Leases`] while the manager runs; what a client asks to keep is
//! honoured when it is free. Memory is bounded by the pool, since entries are kept by address. Time is what passed
//! since the manager started.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use ramboot_wire::Mac;

use super::why::Why;
use crate::cli::Pool;
use crate::config::network::Network;

/// An offer that is not taken up: longer than iPXE needs from OFFER to REQUEST with a proxy wait between (10 s).
pub const OFFER_FOR: Duration = Duration::from_secs(60);

/// An offer to a Raspberry Pi's boot ROM, which uses the address at once and never says so (raspberrypi/firmware#1699): its
/// boot, until `/init` asks for itself.
pub const TAKEN_FOR: Duration = Duration::from_secs(600);

/// An address that nobody answered for, or that its machine used, is not asked for again so soon: an offer that was not
/// taken up comes back after a power cycle.
pub const PROVEN_FOR: Duration = Duration::from_secs(300);

/// A declined address is somebody's who does not ask us; ten minutes on, that machine may be gone.
pub const SET_ASIDE_FOR: Duration = Duration::from_secs(600);

/// Which addresses of a network may be given, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    network: Network,
    pool: Pool,
    reserved: HashMap<Mac, Ipv4Addr>,
    /// In the pool, but not to be given freely: the server, the router, reservations, the network's two ends.
    kept: HashSet<Ipv4Addr>,
}

/// What has been promised, in all networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leases {
    by_address: HashMap<Ipv4Addr, Entry>,
    /// One address a network: a router shows the same MAC in several.
    by_mac: HashMap<Mac, Vec<Ipv4Addr>>,
}

/// One address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    owner: Owner,
    /// When it was last heard of.
    at: Duration,
    until: Duration,
    acknowledged: bool,
    /// A machine asked another server for it since.
    disputed: bool,
}

/// Whose an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Offered or leased to this machine.
    Machine(Mac),
    /// In use by a machine that does not ask us, as a client's DHCPDECLINE said.
    Stranger,
}

/// What a verdict wants remembered, once its answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseChange {
    /// The address is the machine's until then.
    Hold {
        /// Of its addresses, only the one in this network is another from now on.
        network: Network,
        /// Whose.
        mac: Mac,
        /// Which.
        address: Ipv4Addr,
        /// Now.
        at: Duration,
        /// How long.
        until: Duration,
        /// A DHCPACK said so, not only an offer.
        acknowledged: bool,
    },
    /// The machine does not want what it holds.
    Free {
        /// Where.
        network: Network,
        /// Whose it was.
        mac: Mac,
    },
    /// The machine takes an address from another server. That address is offered to nobody else, and what it held here
    /// is free.
    Elsewhere {
        /// Where.
        network: Network,
        /// Whose.
        mac: Mac,
        /// Which.
        address: Ipv4Addr,
        /// Now.
        at: Duration,
        /// How long.
        until: Duration,
    },
    /// Nobody gets this address before then.
    SetAside {
        /// Which.
        address: Ipv4Addr,
        /// How long.
        until: Duration,
    },
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
        let kept = kept.into_iter().chain(reserved.values().copied()).collect();
        Self {
            network,
            pool,
            reserved,
            kept,
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

    /// All of the pool, beginning where the MAC's hash points.
    fn candidates(&self, mac: Mac) -> impl Iterator<Item = Ipv4Addr> {
        let first = u32::from(self.pool.first);
        let size = u64::from(u32::from(self.pool.last) - first) + 1;
        let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(&mac.0).as_bytes();
        let start = u64::from_be_bytes([a, b, c, d, e, f, g, h]) % size;
        (0..size).filter_map(move |i| {
            let offset = u32::try_from((start + i) % size).ok()?;
            Some(Ipv4Addr::from(first + offset))
        })
    }
}

impl Leases {
    /// Whose the address is now.
    #[must_use]
    pub fn owner(&self, address: Ipv4Addr, now: Duration) -> Option<Owner> {
        let entry = self.by_address.get(&address)?;
        (now < entry.until).then_some(entry.owner)
    }

    /// The address the machine was promised last in a network, even if that time is over.
    #[must_use]
    pub fn last(&self, network: Network, mac: Mac) -> Option<Ipv4Addr> {
        let mut all = self.by_mac.get(&mac)?.iter().copied();
        all.find(|address| network.contains(*address))
    }

    /// Nothing vouches for the address being free for the machine: it does not hold it and nobody was asked for it
    /// lately, or some machine asked another server for it since.
    #[must_use]
    pub fn is_unproven(&self, mac: Mac, address: Ipv4Addr, now: Duration) -> bool {
        let entry = self.by_address.get(&address);
        let entry = entry.filter(|entry| entry.owner == Owner::Machine(mac));
        entry.is_none_or(|entry| {
            entry.disputed || (now >= entry.until && now >= entry.at + PROVEN_FOR)
        })
    }

    /// A machine asked another server for the address since it was promised here.
    #[must_use]
    pub fn is_disputed(&self, address: Ipv4Addr) -> bool {
        let entry = self.by_address.get(&address);
        entry.is_some_and(|entry| entry.disputed)
    }

    /// The machine holds the address now.
    #[must_use]
    pub fn holds(&self, mac: Mac, address: Ipv4Addr, now: Duration) -> bool {
        self.owner(address, now) == Some(Owner::Machine(mac))
    }

    /// Nobody else has the address now.
    #[must_use]
    pub fn is_free_for(&self, mac: Mac, address: Ipv4Addr, now: Duration) -> bool {
        self.owner(address, now)
            .is_none_or(|owner| owner == Owner::Machine(mac))
    }

    /// Every address that is promised to a machine now.
    pub fn live(&self, now: Duration) -> impl Iterator<Item = (Ipv4Addr, Mac)> {
        self.by_address
            .iter()
            .filter_map(move |(address, entry)| match entry.owner {
                Owner::Machine(mac) if now < entry.until => Some((*address, mac)),
                _ => None,
            })
    }

    /// The address to offer: the reserved one, else the one it had, else the one it asks for, else the hash's.
    ///
    /// # Errors
    /// None is free.
    pub fn pick(
        &self,
        plan: &Plan,
        mac: Mac,
        wanted: Option<Ipv4Addr>,
        now: Duration,
    ) -> Result<Ipv4Addr, Why> {
        let free =
            |address: &Ipv4Addr| plan.allows(mac, *address) && self.is_free_for(mac, *address, now);
        if let Some(reserved) = plan.reservation(mac) {
            return Some(reserved)
                .filter(free)
                .ok_or(Why::ReservationInUse(reserved));
        }
        self.last(plan.network, mac)
            .filter(free)
            .or_else(|| wanted.filter(free))
            .or_else(|| plan.candidates(mac).find(free))
            .ok_or(Why::PoolExhausted)
    }

    /// Remembers. An address has one owner and a machine one address, whatever is applied in whatever order.
    pub fn apply(&mut self, change: LeaseChange) {
        match change {
            LeaseChange::Hold {
                network,
                mac,
                address,
                at,
                until,
                acknowledged,
            } => {
                // An offer repeated to a machine that has a lease does not shorten it.
                let held = self.by_address.get(&address).copied();
                let held = held.filter(|entry| entry.owner == Owner::Machine(mac));
                let entry = Entry {
                    owner: Owner::Machine(mac),
                    at,
                    until: held.map_or(until, |held| held.until.max(until)),
                    acknowledged: acknowledged
                        || held.is_some_and(|held| held.acknowledged && at < held.until),
                    disputed: false,
                };
                self.forget(network, mac);
                self.put(address, entry);
                self.by_mac.entry(mac).or_default().push(address);
            }
            LeaseChange::Free { network, mac } => self.forget(network, mac),
            LeaseChange::Elsewhere {
                network,
                mac,
                address,
                at,
                until,
            } => {
                if self.last(network, mac) != Some(address) {
                    self.forget(network, mac);
                }
                let leased = self.by_address.get(&address).is_some_and(|entry| {
                    entry.owner != Owner::Machine(mac) && entry.acknowledged && at < entry.until
                });
                // An offer gives way, a lease does not.
                if !leased {
                    self.apply(LeaseChange::Hold {
                        network,
                        mac,
                        address,
                        at,
                        until,
                        acknowledged: false,
                    });
                }
                if let Some(entry) = self.by_address.get_mut(&address) {
                    entry.disputed = true;
                }
            }
            LeaseChange::SetAside { address, until } => {
                let entry = Entry {
                    owner: Owner::Stranger,
                    at: until,
                    until,
                    acknowledged: true,
                    disputed: false,
                };
                self.put(address, entry);
            }
        }
    }

    fn forget(&mut self, network: Network, mac: Mac) {
        if let Some(address) = self.last(network, mac) {
            self.by_address.remove(&address);
            self.unlist(mac, address);
        }
    }

    fn put(&mut self, address: Ipv4Addr, entry: Entry) {
        if let Some(Entry {
            owner: Owner::Machine(mac),
            ..
        }) = self.by_address.insert(address, entry)
        {
            self.unlist(mac, address);
        }
    }

    fn unlist(&mut self, mac: Mac, address: Ipv4Addr) {
        if let Some(all) = self.by_mac.get_mut(&mac) {
            all.retain(|one| *one != address);
            if all.is_empty() {
                self.by_mac.remove(&mac);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    fn mac(last: u8) -> Mac {
        Mac([2, 0, 0, 0, 0, last])
    }

    fn plan(first: u8, last: u8) -> Plan {
        let pool = Pool {
            first: address(first),
            last: address(last),
        };
        let reserved = HashMap::from([(mac(99), address(3))]);
        Plan::new(network(), pool, reserved, [address(1)])
    }

    fn network() -> Network {
        Network::of(address(0), 24)
    }

    fn hold(mac: Mac, address: Ipv4Addr, until: Duration) -> LeaseChange {
        LeaseChange::Hold {
            network: Network::of(address, 24),
            mac,
            address,
            at: Duration::ZERO,
            until,
            acknowledged: true,
        }
    }

    fn free(mac: Mac) -> LeaseChange {
        LeaseChange::Free {
            network: network(),
            mac,
        }
    }

    #[test]
    fn a_manager_that_lost_its_memory_gives_the_same_address() {
        let plan = plan(1, 200);
        let first = Leases::default()
            .pick(&plan, mac(7), None, HOUR)
            .expect("one");
        let again = Leases::default()
            .pick(&plan, mac(7), None, Duration::ZERO)
            .expect("one");
        assert_eq!(first, again);
    }

    #[test]
    fn every_address_but_those_kept_is_given_once() {
        let plan = plan(0, 9);
        let mut leases = Leases::default();
        let mut given = HashSet::new();
        for i in 0..8 {
            let picked = leases
                .pick(&plan, mac(i), None, Duration::ZERO)
                .expect("one");
            assert!(given.insert(picked), "{picked} twice");
            leases.apply(hold(mac(i), picked, HOUR));
        }
        assert!(!given.contains(&address(1)) && !given.contains(&address(3)));
        assert_eq!(
            leases.pick(&plan, mac(50), None, Duration::ZERO),
            Err(Why::PoolExhausted)
        );
        assert_eq!(
            leases.pick(&plan, mac(99), None, Duration::ZERO),
            Ok(address(3))
        );
        assert!(
            leases.pick(&plan, mac(50), None, HOUR).is_ok(),
            "they are over"
        );
    }

    #[test]
    fn what_a_client_asks_for_is_honoured_when_free() {
        let plan = plan(1, 200);
        let mut leases = Leases::default();
        assert_eq!(
            leases.pick(&plan, mac(7), Some(address(50)), HOUR),
            Ok(address(50))
        );
        for not_its in [
            address(1),
            address(3),
            address(201),
            Ipv4Addr::new(10, 0, 1, 50),
        ] {
            assert_ne!(leases.pick(&plan, mac(7), Some(not_its), HOUR), Ok(not_its));
        }
        leases.apply(hold(mac(8), address(50), 2 * HOUR));
        assert_ne!(
            leases.pick(&plan, mac(7), Some(address(50)), HOUR),
            Ok(address(50))
        );
        assert_eq!(
            leases.pick(&plan, mac(8), Some(address(60)), HOUR),
            Ok(address(50)),
            "its own first"
        );
        assert_eq!(
            leases.pick(&plan, mac(99), Some(address(60)), HOUR),
            Ok(address(3))
        );
    }

    #[test]
    fn a_declined_address_is_nobodys_for_a_time() {
        let plan = plan(5, 5);
        let mut leases = Leases::default();
        leases.apply(hold(mac(7), address(5), HOUR));
        leases.apply(LeaseChange::SetAside {
            address: address(5),
            until: HOUR,
        });
        assert_eq!(leases.last(network(), mac(7)), None);
        assert_eq!(
            leases.pick(&plan, mac(7), None, Duration::ZERO),
            Err(Why::PoolExhausted)
        );
        assert_eq!(leases.pick(&plan, mac(7), None, HOUR), Ok(address(5)));
        leases.apply(LeaseChange::SetAside {
            address: address(3),
            until: HOUR,
        });
        assert_eq!(
            leases.pick(&plan, mac(99), None, Duration::ZERO),
            Err(Why::ReservationInUse(address(3)))
        );
    }

    #[test]
    fn an_offer_does_not_shorten_a_lease() {
        let mut leases = Leases::default();
        leases.apply(hold(mac(7), address(5), HOUR));
        leases.apply(hold(mac(7), address(5), OFFER_FOR));
        assert!(leases.holds(mac(7), address(5), HOUR / 2));
        leases.apply(free(mac(7)));
        assert_eq!(leases, Leases::default());
    }

    #[test]
    fn a_machine_has_an_address_in_each_network_it_shows_itself_in() {
        let mut leases = Leases::default();
        let other = Ipv4Addr::new(10, 0, 1, 5);
        leases.apply(hold(mac(7), address(5), HOUR));
        leases.apply(hold(mac(7), other, HOUR));
        assert!(leases.holds(mac(7), address(5), Duration::ZERO));
        assert_eq!(leases.last(Network::of(other, 24), mac(7)), Some(other));
        leases.apply(hold(mac(7), address(6), HOUR));
        assert_eq!(leases.owner(address(5), Duration::ZERO), None);
        leases.apply(free(mac(7)));
        assert!(leases.holds(mac(7), other, Duration::ZERO));
    }

    #[test]
    fn what_vouches_for_an_address() {
        let mut leases = Leases::default();
        let unproven = |leases: &Leases, m, now| leases.is_unproven(mac(m), address(5), now);
        assert!(unproven(&leases, 7, Duration::ZERO), "nobody was asked");
        leases.apply(hold(mac(7), address(5), OFFER_FOR));
        for (machine, now, want) in [
            (7, OFFER_FOR / 2, false),
            (7, PROVEN_FOR - OFFER_FOR, false),
            (7, PROVEN_FOR, true),
            (8, OFFER_FOR, true),
        ] {
            assert_eq!(unproven(&leases, machine, now), want, "{machine} {now:?}");
        }
        leases.apply(hold(mac(7), address(5), HOUR));
        assert!(!unproven(&leases, 7, HOUR / 2), "it holds it");
        leases.apply(elsewhere(mac(8), address(5)));
        assert!(
            unproven(&leases, 7, HOUR / 2),
            "another took it from another server"
        );
        assert!(leases.holds(mac(7), address(5), HOUR / 2));
    }

    #[test]
    fn what_another_server_gives_is_kept_from_others() {
        let mut leases = Leases::default();
        leases.apply(LeaseChange::Hold {
            network: network(),
            mac: mac(7),
            address: address(5),
            at: Duration::ZERO,
            until: OFFER_FOR,
            acknowledged: false,
        });
        leases.apply(hold(mac(8), address(6), HOUR));
        leases.apply(elsewhere(mac(8), address(5)));
        let live: Vec<_> = leases.live(Duration::ZERO).collect();
        assert_eq!(live, [(address(5), mac(8))], "an offer gives way");
        assert!(!leases.is_free_for(mac(7), address(5), Duration::ZERO));
    }

    fn elsewhere(mac: Mac, address: Ipv4Addr) -> LeaseChange {
        LeaseChange::Elsewhere {
            network: network(),
            mac,
            address,
            at: Duration::ZERO,
            until: OFFER_FOR,
        }
    }

    fn any_change() -> impl Strategy<Value = LeaseChange> {
        let until = (0_u64..100).prop_map(Duration::from_secs);
        (0_u8..5, 0_u8..12, 0_u8..12, until).prop_map(|(which, m, a, until)| match which {
            0 => hold(mac(m), address(a), until),
            3 => hold(mac(m), Ipv4Addr::new(10, 0, 1, a), until),
            1 => free(mac(m)),
            4 => elsewhere(mac(m), address(a)),
            _ => LeaseChange::SetAside {
                address: address(a),
                until,
            },
        })
    }

    proptest! {
        #[test]
        fn one_owner_an_address_one_address_a_machine(changes in prop::collection::vec(any_change(), 0..60)) {
            let mut leases = Leases::default();
            for change in changes {
                leases.apply(change);
                let live: Vec<_> = leases.live(Duration::ZERO).collect();
                let macs: HashSet<_> = live.iter().map(|(address, mac)| (address.octets()[2], mac)).collect();
                prop_assert_eq!(macs.len(), live.len(), "one address a network");
                for (mac, addresses) in &leases.by_mac {
                    prop_assert!(!addresses.is_empty());
                    for address in addresses {
                        prop_assert_eq!(leases.by_address[address].owner, Owner::Machine(*mac));
                    }
                }
                let listed: usize = leases.by_mac.values().map(Vec::len).sum();
                prop_assert!(listed <= leases.by_address.len());
            }
        }
    }
}
