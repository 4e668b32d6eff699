//! What changes who has which address, and how: what was promised, given back, heard or found.

use std::net::Ipv4Addr;
use std::time::Duration;

use ramboot_wire::Mac;

use super::{Entry, HEARD_FOR, Leases, OFFER_FOR, Owner};
use crate::config::network::Network;

/// As many as the fleet remembers.
const MAX_KNOWN: usize = 65_536;

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
        /// The machine is no stranger ([`super::STRANGER_FOR`]).
        known: bool,
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
    /// The machine was heard at the address: it answered an ARP question, or a heartbeat came from there.
    Heard {
        /// Where.
        network: Network,
        /// Whose.
        mac: Mac,
        /// Which.
        address: Ipv4Addr,
        /// Now.
        at: Duration,
    },
    /// A boot file was sent to the address, whole: whoever has it is no stranger.
    Booted {
        /// Which.
        address: Ipv4Addr,
        /// The machine that loaded it, if that is known.
        mac: Option<Mac>,
    },
    /// Nobody gets this address before then.
    SetAside {
        /// Which.
        address: Ipv4Addr,
        /// How long.
        until: Duration,
    },
}

impl LeaseChange {
    /// The change as long as its answer is not sent: an offer's.
    pub(in crate::dhcp) fn while_it_waits(self) -> Self {
        match self {
            Self::Hold {
                network,
                mac,
                address,
                at,
                known,
                ..
            } => Self::Hold {
                network,
                mac,
                address,
                at,
                until: at + OFFER_FOR,
                acknowledged: false,
                known,
            },
            other => other,
        }
    }

    /// It is about a machine that is no stranger ([`super::STRANGER_FOR`]).
    pub(in crate::dhcp) const fn is_of_known_machine(&self) -> bool {
        matches!(self, Self::Hold { known: true, .. })
    }
}

impl Leases {
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
                known,
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
                    known: known || self.is_known(mac),
                    network: Some(network),
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
            } => self.elsewhere((network, mac), address, at, until),
            LeaseChange::Heard {
                network,
                mac,
                address,
                at,
            } => self.heard((network, mac), address, at),
            LeaseChange::Booted { address, mac } => self.booted(address, mac),
            LeaseChange::SetAside { address, until } => {
                let entry = Entry {
                    owner: Owner::Stranger,
                    at: until,
                    until,
                    acknowledged: true,
                    disputed: false,
                    known: true,
                    network: None,
                };
                self.put(address, entry);
            }
        }
    }

    fn elsewhere(
        &mut self,
        (network, mac): (Network, Mac),
        address: Ipv4Addr,
        at: Duration,
        until: Duration,
    ) {
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
                known: false,
            });
        }
        if let Some(entry) = self.by_address.get_mut(&address) {
            entry.disputed = true;
        }
    }

    fn heard(&mut self, (network, mac): (Network, Mac), address: Ipv4Addr, at: Duration) {
        let until = at + HEARD_FOR;
        let is_solid = |entry: &Entry| entry.acknowledged && !entry.disputed && at < entry.until;
        let there = self.by_address.get(&address);
        if there.is_some_and(|entry| entry.owner != Owner::Machine(mac) && is_solid(entry))
            && self.last_owner(address).is_some()
        {
            // Two say so. Whoever has a lease has it.
            return;
        }
        let other = self.last(network, mac).filter(|other| *other != address);
        let other = other.and_then(|other| self.by_address.get(&other));
        if other.is_some_and(is_solid) {
            // It has another address from us, so it answers for more than one: a router, say.
            return self.apply(LeaseChange::SetAside { address, until });
        }
        self.apply(LeaseChange::Hold {
            network,
            mac,
            address,
            at,
            until,
            acknowledged: true,
            known: true,
        });
    }

    fn booted(&mut self, address: Ipv4Addr, mac: Option<Mac>) {
        let Some(entry) = self.by_address.get_mut(&address) else {
            return;
        };
        let Owner::Machine(owner) = entry.owner else {
            return;
        };
        if mac.is_none_or(|mac| mac == owner) {
            self.strangers.remove(&entry.age(address));
            entry.known = true;
            self.now_known(owner);
        }
    }

    fn forget(&mut self, network: Network, mac: Mac) {
        if let Some(address) = self.last(network, mac) {
            self.take(address);
        }
    }

    fn put(&mut self, address: Ipv4Addr, entry: Entry) {
        self.take(address);
        self.by_address.insert(address, entry);
        self.busy.insert(address);
        self.ends.insert((entry.until, address));
        match entry.owner {
            _ if !entry.known => drop(self.strangers.insert(entry.age(address))),
            Owner::Machine(mac) => self.now_known(mac),
            Owner::Stranger => {}
        }
    }

    fn now_known(&mut self, mac: Mac) {
        if self.known.len() >= MAX_KNOWN
            && let Some(one) = self.known.iter().next().copied()
        {
            self.known.remove(&one);
        }
        self.known.insert(mac);
    }
}
