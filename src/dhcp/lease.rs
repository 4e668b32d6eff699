//! Who has which address, as a value. Leases are soft: a manager that lost them mostly gives the same ones again.
//!
//! An address is derived from the MAC (a hash into the pool, the next free one on collision), so it survives a
//! restart without a file. What was promised is in [`Leases`] while the manager runs; what a client asks to keep is
//! honoured when it is free, and a machine that is heard at an address has it, whoever gave it. Memory is bounded by the
//! pool, since entries are kept by address. Time is what passed since the manager started.
//!
//! A full pool costs no more than an empty one: free addresses are found by words of bits, and leases that may be taken
//! back (see [`STRANGER_FOR`]) are kept in the order of their age.

mod addresses;
mod change;
mod plan;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use ramboot_wire::Mac;

use super::ignore_reason::Why;
use crate::config::network::Network;
use addresses::Addresses;
pub use change::LeaseChange;
pub use plan::Plan;

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

/// A machine that was heard at an address keeps it for so long after. A running worker never renews; it sends a heartbeat
/// every 40 s at most, so fifteen may be lost.
pub const HEARD_FOR: Duration = Duration::from_secs(600);

/// After so long a full pool takes an address back from a stranger: a machine that neither loaded a boot file, nor renewed,
/// nor was heard at its address. Machines that only exist in packets are strangers. A known machine need not wait. The
/// address is looked for first, so that no machine loses the address it uses.
pub const STRANGER_FOR: Duration = Duration::from_secs(300);

/// What has been promised, in all networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leases {
    by_address: HashMap<Ipv4Addr, Entry>,
    /// One address a network: a router shows the same MAC in several.
    by_mac: HashMap<Mac, Vec<Ipv4Addr>>,
    /// Entries that had not ended when [`Leases::pass`] looked last.
    busy: Addresses,
    /// The others: their machines gave them up, and nobody else can have them.
    over: Addresses,
    /// The busy ones, by their end.
    ends: BTreeSet<(Duration, Ipv4Addr)>,
    /// The busy ones of strangers, by age.
    strangers: BTreeSet<(Network, Duration, Ipv4Addr)>,
    /// Machines that are none.
    known: HashSet<Mac>,
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
    /// Of a machine that is no stranger ([`STRANGER_FOR`]).
    known: bool,
    /// Where the machine has it; none if it is set aside.
    network: Option<Network>,
}

/// Whose an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Offered or leased to this machine.
    Machine(Mac),
    /// In use by a machine that does not ask us, as a client's DHCPDECLINE said.
    Stranger,
}

/// Which addresses of a pool a machine may be given that has none yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Any that is free.
    Any,
    /// Any that is free, but first those that somebody had and gave up since the manager started: nobody else can have them.
    KnownFirst,
    /// Only those.
    KnownOnly,
}

impl Leases {
    /// Time has come to `now`: entries that ended are no longer busy. Without it everything stays right, but in a full pool
    /// the entries that ended since are looked at one by one.
    pub fn pass(&mut self, now: Duration) {
        while let Some((end, address)) = self.ends.first().copied().filter(|(end, _)| *end <= now) {
            self.ends.remove(&(end, address));
            match self.by_address.get(&address) {
                Some(entry) if entry.owner != Owner::Stranger && !entry.disputed => {
                    self.strangers.remove(&entry.age(address));
                    self.busy.remove(address);
                    self.over.insert(address);
                }
                // Somebody may still be there whom nobody here knows.
                _ => self.take(address),
            }
        }
    }

    /// Whose the address is now.
    #[must_use]
    pub fn owner(&self, address: Ipv4Addr, now: Duration) -> Option<Owner> {
        let entry = self.by_address.get(&address)?;
        (now < entry.until).then_some(entry.owner)
    }

    /// The machine that had the address last, even if that time is over.
    #[must_use]
    pub fn last_owner(&self, address: Ipv4Addr) -> Option<Mac> {
        match self.by_address.get(&address)?.owner {
            Owner::Machine(mac) => Some(mac),
            Owner::Stranger => None,
        }
    }

    /// The address the machine was promised last in a network, even if that time is over.
    #[must_use]
    pub fn last(&self, network: Network, mac: Mac) -> Option<Ipv4Addr> {
        let mut all = self.by_mac.get(&mac)?.iter().copied();
        all.find(|address| network.contains(*address))
    }

    /// The machine is no stranger ([`STRANGER_FOR`]).
    #[must_use]
    pub fn is_known(&self, mac: Mac) -> bool {
        self.known.contains(&mac)
    }

    /// Nothing was heard of the address since the manager started, so anybody may have it.
    #[must_use]
    pub fn is_unheard_of(&self, address: Ipv4Addr) -> bool {
        !self.by_address.contains_key(&address)
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

    /// The address is leased now, not only offered.
    #[must_use]
    pub fn is_acknowledged(&self, address: Ipv4Addr, now: Duration) -> bool {
        let entry = self.by_address.get(&address);
        entry.is_some_and(|entry| entry.acknowledged && now < entry.until)
    }

    /// Nobody else has the address now.
    #[must_use]
    pub fn is_free_for(&self, mac: Mac, address: Ipv4Addr, now: Duration) -> bool {
        self.owner(address, now)
            .is_none_or(|owner| owner == Owner::Machine(mac))
    }

    /// Nobody else was acknowledged the address and has it for certain: an offer, the word that somebody is there, or a lease of
    /// which a machine asked another server since, gives way to the machine that uses it.
    #[must_use]
    pub fn gives_way_to(&self, mac: Mac, address: Ipv4Addr, now: Duration) -> bool {
        let entry = self.by_address.get(&address);
        entry.is_none_or(|entry| {
            now >= entry.until
                || match entry.owner {
                    Owner::Machine(owner) => owner == mac || !entry.acknowledged || entry.disputed,
                    Owner::Stranger => true,
                }
        })
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

    /// The address to offer: the reserved one, else the one it had, else the one it asks for, else the hash's, else a
    /// stranger's.
    ///
    /// # Errors
    /// None is free, or none that may be given yet.
    pub fn pick(
        &self,
        plan: &Plan,
        mac: Mac,
        wanted: Option<Ipv4Addr>,
        choice: Choice,
        now: Duration,
    ) -> Result<Ipv4Addr, Why> {
        let free =
            |address: &Ipv4Addr| plan.allows(mac, *address) && self.is_free_for(mac, *address, now);
        if let Some(reserved) = plan.reservation(mac) {
            return Some(reserved)
                .filter(free)
                .ok_or(Why::ReservationInUse(reserved));
        }
        if let Some(last) = self.last(plan.network, mac).filter(free) {
            return Ok(last);
        }
        let only_known = choice == Choice::KnownOnly;
        let wanted = wanted.filter(|wanted| !only_known || !self.is_unheard_of(*wanted));
        if let Some(wanted) = wanted.filter(free) {
            return Ok(wanted);
        }
        let any = || plan.search(mac, |word| !self.busy.word(word));
        let known = || plan.search(mac, |word| self.over.word(word));
        let found = match choice {
            Choice::Any => any(),
            Choice::KnownFirst => known().or_else(any),
            Choice::KnownOnly => known(),
        };
        let found = found
            .or_else(|| self.ended(plan, now))
            .or_else(|| self.of_a_stranger(plan, mac, now));
        match found {
            Some(address) => Ok(address),
            None if only_known && any().is_some() => Err(Why::JustStarted),
            None => Err(Why::PoolExhausted),
        }
    }

    /// An address whose entry ended after [`Leases::pass`] looked last.
    fn ended(&self, plan: &Plan, now: Duration) -> Option<Ipv4Addr> {
        let ended = self.ends.range(..=(now, Ipv4Addr::BROADCAST));
        let mut ended = ended.map(|(_, address)| *address);
        ended.find(|address| plan.is_for_all(*address))
    }

    /// The address of the stranger that was not heard of for longest, if the machine may have it.
    fn of_a_stranger(&self, plan: &Plan, mac: Mac, now: Duration) -> Option<Ipv4Addr> {
        let network = plan.network;
        let all = (network, Duration::ZERO, Ipv4Addr::UNSPECIFIED)
            ..=(network, Duration::MAX, Ipv4Addr::BROADCAST);
        let may_have = |at: Duration| now >= at + STRANGER_FOR || self.is_known(mac);
        let mut strangers = self.strangers.range(all);
        strangers
            .find(|(_, _, address)| plan.is_for_all(*address))
            .filter(|(_, at, _)| may_have(*at))
            .map(|(_, _, address)| *address)
    }

    /// Nothing is known of the address any more.
    fn take(&mut self, address: Ipv4Addr) {
        let Some(entry) = self.by_address.remove(&address) else {
            return;
        };
        self.busy.remove(address);
        self.over.remove(address);
        self.ends.remove(&(entry.until, address));
        self.strangers.remove(&entry.age(address));
        if let Owner::Machine(mac) = entry.owner
            && let Some(all) = self.by_mac.get_mut(&mac)
        {
            all.retain(|one| *one != address);
            if all.is_empty() {
                self.by_mac.remove(&mac);
            }
        }
    }
}

impl Entry {
    /// Its place among those of strangers.
    fn age(&self, address: Ipv4Addr) -> (Network, Duration, Ipv4Addr) {
        let network = self.network.unwrap_or_else(|| Network::of(address, 32));
        (network, self.at, address)
    }
}

#[cfg(test)]
mod tests;
