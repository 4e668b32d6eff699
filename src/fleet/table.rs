//! All machines that are known, in bounded room. Pure.
//!
//! Two maps: machines that took a boot file, or whose `/init` or image was heard of; and newcomers, which only asked or
//! were named in a URL. Anybody can make up as many newcomers as there are hardware addresses, so few are kept. Those that
//! asked DHCP are kept before those that only a URL names, as a machine whose firmware gets no further is worth being seen.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use ramboot_wire::Mac;

use super::place::{Place, Word};
use super::worker::Worker;

/// Machines by hardware address and by address.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// In boxes, as a map keeps up to as much room again for what may come.
    pub(super) workers: HashMap<Mac, Box<Worker>>,
    pub(super) newcomers: HashMap<Mac, Box<Worker>>,
    pub(super) by_address: HashMap<Ipv4Addr, Mac>,
}

impl Table {
    pub(super) fn get(&self, mac: Mac) -> Option<&Worker> {
        let found = self.workers.get(&mac).or_else(|| self.newcomers.get(&mac));
        found.map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, mac: Mac) -> Option<&mut Worker> {
        let found = match self.workers.get_mut(&mac) {
            Some(found) => Some(found),
            None => self.newcomers.get_mut(&mac),
        };
        found.map(Box::as_mut)
    }

    /// The machine, which is a newcomer if it was not known.
    pub(super) fn or_new(&mut self, mac: Mac, now: Duration) -> &mut Worker {
        if self.workers.contains_key(&mac) {
            return self.workers.entry(mac).or_insert_with(|| fresh(mac, now));
        }
        if self.newcomers.len() >= MAX_NEWCOMERS && !self.newcomers.contains_key(&mac) {
            make_room(&mut self.newcomers, MAX_NEWCOMERS);
            self.tidy();
        }
        self.newcomers.entry(mac).or_insert_with(|| fresh(mac, now))
    }

    /// It is more than a newcomer.
    pub(super) fn promote(&mut self, mac: Mac) {
        if self.newcomers.contains_key(&mac) && self.workers.len() >= MAX_WORKERS {
            make_room(&mut self.workers, MAX_WORKERS);
            self.tidy();
        }
        if let Some(worker) = self.newcomers.remove(&mac) {
            self.workers.insert(mac, worker);
        }
    }

    /// The machine is at `address` by this word; `false` if that is not believed.
    pub(super) fn lives_at(
        &mut self,
        mac: Mac,
        address: Ipv4Addr,
        word: Word,
        now: Duration,
    ) -> bool {
        // No machine is at 0.0.0.0, the source of packets of machines without an address.
        if address.is_unspecified() {
            return false;
        }
        let Some(before) = self.get(mac).map(|worker| worker.place) else {
            return false;
        };
        if before.is_some_and(|place| !place.allows(address, word, now)) {
            return false;
        }
        let other = self.by_address.get(&address).copied();
        let other = other.filter(|other| *other != mac);
        // An address that DHCP gave to one machine is not another's because that one says so.
        let holds = other.and_then(|other| self.get(other)?.place);
        if holds.is_some_and(|holds| !holds.gives_way(address, word, now)) {
            return false;
        }
        if let Some(worker) = self.get_mut(mac) {
            worker.place = Some(Place::next(before, address, word, now));
        }
        if let Some(before) = before.filter(|before| before.address != address)
            && self.by_address.get(&before.address) == Some(&mac)
        {
            self.by_address.remove(&before.address);
        }
        if let Some(other) = other {
            self.displace(other);
        }
        self.by_address.insert(address, mac);
        true
    }

    /// Another machine has its address. Whoever makes machines up has one address for all of them, so one that nothing
    /// but its own word vouches for makes room.
    fn displace(&mut self, mac: Mac) {
        let Some(worker) = self.get(mac) else { return };
        if worker.place.is_some_and(|place| place.word == Word::Seen) {
            return;
        }
        if !worker.took {
            self.newcomers.remove(&mac);
            self.workers.remove(&mac);
        } else if let Some(worker) = self.workers.remove(&mac) {
            if self.newcomers.len() >= MAX_NEWCOMERS {
                make_room(&mut self.newcomers, MAX_NEWCOMERS);
            }
            self.newcomers.insert(mac, worker);
        }
    }

    /// Machines that were not heard of for long are forgotten.
    pub(super) fn forget(&mut self, mut is_known: impl FnMut(&Worker) -> bool) {
        self.workers.retain(|_, worker| is_known(worker));
        self.newcomers.retain(|_, worker| is_known(worker));
        self.tidy();
    }

    /// Those that are shown: all but newcomers that are too many, of which the best known are shown.
    pub(super) fn listed(&self) -> Vec<Mac> {
        let mut newcomers: Vec<_> = self.newcomers.values().map(|one| worth(one)).collect();
        if newcomers.len() > MAX_LISTED {
            newcomers.select_nth_unstable_by(MAX_LISTED, |a, b| b.cmp(a));
            newcomers.truncate(MAX_LISTED);
        }
        let newcomers = newcomers.into_iter().map(|(.., mac)| mac);
        self.workers.keys().copied().chain(newcomers).collect()
    }

    /// Newcomers that are not shown.
    pub(super) fn unlisted(&self) -> usize {
        self.newcomers.len().saturating_sub(MAX_LISTED)
    }

    fn tidy(&mut self) {
        let Self {
            workers, newcomers, ..
        } = self;
        self.by_address.retain(|address, mac| {
            let known = workers.get(mac).or_else(|| newcomers.get(mac));
            known.is_some_and(|known| known.address() == Some(*address))
        });
    }
}

fn fresh(mac: Mac, now: Duration) -> Box<Worker> {
    Box::new(Worker::new(mac, now))
}

/// What is known of a machine, from little to much; of two that are equal in that, the one heard of last is worth more.
type Worth = (bool, bool, bool, Duration, Mac);

fn worth(worker: &Worker) -> Worth {
    let vouched = worker.place.is_some_and(|place| place.word == Word::Seen);
    let known = worker.asked_dhcp || vouched;
    (worker.took, known, worker.asks > 1, worker.seen, worker.mac)
}

/// Many at a time, so that a flood does not look through all of them for each packet.
fn make_room(machines: &mut HashMap<Mac, Box<Worker>>, most: usize) {
    let mut by_worth: Vec<Worth> = machines.values().map(|one| worth(one)).collect();
    let victims = (most / 16).min(by_worth.len().saturating_sub(1));
    if by_worth.is_empty() {
        return;
    }
    by_worth.select_nth_unstable(victims);
    for (.., mac) in by_worth.drain(..=victims) {
        machines.remove(&mac);
    }
}

/// A /16 full of machines.
pub(super) const MAX_WORKERS: usize = 65_536;
/// A kilobyte each.
pub(super) const MAX_NEWCOMERS: usize = 4_096;
/// Newcomers that are shown: a rack whose firmware gets no further, with room.
pub(super) const MAX_LISTED: usize = 1_024;
