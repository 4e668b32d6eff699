//! The machines that boot here, as far as this manager has seen: [`Fleet`] takes [`Event`]s and the time, and gives a
//! [`snapshot::Snapshot`] for people and programs.
//!
//! Pure but for [`watch`] and [`listen`]. Nothing here decides what a machine boots, and all of it may be lost: heartbeats tell it anew.
//! What anybody on the network can send is bounded: so many machines, so many reports of each, one machine that only says
//! it exists for each address, and machines that were never seen to boot go first where room is needed.

pub mod boot;
pub mod event;
pub mod filling;
pub mod listen;
pub mod problem;
pub mod rows;
pub mod snapshot;
pub mod watch;
pub mod worker;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use ramboot_wire::heartbeat::Filling;
use ramboot_wire::{ImageId, Mac};

use event::{AskedBy, Event, Who};
use worker::{News, Worker};

/// All machines, by hardware address.
#[derive(Debug, Default)]
pub struct Fleet {
    /// In boxes, as a table keeps up to as much room again for what may come.
    workers: HashMap<Mac, Box<Worker>>,
    by_address: HashMap<Ipv4Addr, Mac>,
    /// Events that were not believed.
    refused: u64,
}

/// Why a report or a heartbeat is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It comes from another machine.
    #[error("{0} has another address")]
    Address(Mac),
    /// A machine has not so much to say.
    #[error("too many reports of {0}")]
    TooMany(Mac),
    /// It says what cannot be.
    #[error("{0} has {1} of {2} bytes of its image, it says")]
    Filling(Mac, u64, u64),
}

impl Fleet {
    /// Something was seen; what somebody who counts hears of it.
    ///
    /// # Errors
    /// Somebody says something that is not believed.
    pub fn apply(&mut self, event: Event, now: Duration) -> Result<Option<News>, Refused> {
        if event.is_simulated() {
            return Ok(None);
        }
        match event {
            Event::Asked(asked) => {
                let known = self.workers.contains_key(&asked.mac);
                if known || asked.asker != AskedBy::System {
                    self.worker(asked.mac, now).asked(&asked, now);
                    self.lives_at(asked.mac, asked.address);
                }
            }
            Event::Reported(from, report) => {
                let worker = self.believed(report.mac, from, now)?;
                return Ok(worker.reported(&report, now));
            }
            Event::Beat(from, beat) => {
                if let Some(filling) = beat.filling.filter(|it| !filling::is_possible(it)) {
                    self.refused += 1;
                    let Filling { resident, size, .. } = filling;
                    return Err(Refused::Filling(beat.mac, resident, size));
                }
                self.believed(beat.mac, from, now)?.beat(&beat, now);
            }
            Event::Sent(address, bytes) => {
                let mac = self.by_address.get(&address);
                if let Some(worker) = mac.and_then(|mac| self.workers.get_mut(mac)) {
                    worker.sent(bytes, now);
                }
            }
            Event::Chosen(who, hostname, image) => {
                if let Some(worker) = self.of(who, now) {
                    worker.hostname = hostname.map(|name| worker::plain(&name, MAX_HOSTNAME));
                    worker.image = Some(image);
                }
            }
            Event::Begins(who, part) => {
                if let Some(worker) = self.of(who, now) {
                    worker.begins(part, now);
                }
            }
            Event::Loaded(who, part) => {
                if let Some(worker) = self.of(who, now) {
                    worker.loaded(part, now);
                }
            }
            Event::Nothing(who, why) => {
                if let Some(worker) = self.of(who, now) {
                    worker.nothing(&why, now);
                }
            }
        }
        Ok(None)
    }

    /// Time goes by: who was not heard of for long is forgotten.
    pub fn tick(&mut self, now: Duration) {
        self.workers
            .retain(|_, worker| now.saturating_sub(worker.seen) < FORGET);
        self.tidy();
    }

    /// How many machines are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.workers.len()
    }

    /// None is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// Reports and heartbeats that were thrown away: too many of one machine, or from another address than its own.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// The machine that has this address, as far as is known.
    #[must_use]
    pub fn at(&self, address: Ipv4Addr) -> Option<Mac> {
        self.by_address.get(&address).copied()
    }

    /// Whether a machine has this address that asked DHCP, or loaded something, as far as is known.
    #[must_use]
    pub fn knows(&self, address: Ipv4Addr) -> bool {
        let worker = self.at(address).and_then(|mac| self.workers.get(&mac));
        worker.is_some_and(|worker| worker.proven)
    }

    /// Whether the machine at this address boots or runs this image, as far as is known.
    #[must_use]
    pub fn was_given(&self, address: Ipv4Addr, image: ImageId) -> bool {
        let worker = self.at(address).and_then(|mac| self.workers.get(&mac));
        worker.is_some_and(|worker| worker.image == Some(image))
    }

    fn worker(&mut self, mac: Mac, now: Duration) -> &mut Worker {
        if self.workers.len() >= MAX_WORKERS && !self.workers.contains_key(&mac) {
            self.make_room();
        }
        self.workers
            .entry(mac)
            .or_insert_with(|| Box::new(Worker::new(mac, now)))
    }

    /// The machine that loads something: it speaks with us, so its address is right.
    fn of(&mut self, who: Who, now: Duration) -> Option<&mut Worker> {
        let mac = who.mac.or_else(|| self.at(who.address))?;
        self.worker(mac, now);
        self.lives_at(mac, Some(who.address));
        self.workers.get_mut(&mac).map(Box::as_mut)
    }

    /// The machine that a report speaks of, if it can be of that machine.
    fn believed(
        &mut self,
        mac: Mac,
        from: Ipv4Addr,
        now: Duration,
    ) -> Result<&mut Worker, Refused> {
        let is_its_own = self.workers.get(&mac).is_none_or(|worker| {
            let quiet = now.saturating_sub(worker.seen) > MOVED;
            quiet || worker.address.is_none_or(|address| address == from)
        });
        if !is_its_own {
            self.refused += 1;
            return Err(Refused::Address(mac));
        }
        // Whoever makes machines up has one address for them.
        if let Some(other) = self.at(from).filter(|other| *other != mac)
            && self.workers.get(&other).is_some_and(|other| !other.proven)
        {
            self.workers.remove(&other);
        }
        if !self.worker(mac, now).may_report(now) {
            self.refused += 1;
            return Err(Refused::TooMany(mac));
        }
        self.lives_at(mac, Some(from));
        Ok(self.worker(mac, now))
    }

    fn lives_at(&mut self, mac: Mac, address: Option<Ipv4Addr>) {
        let Some(address) = address.filter(|address| !address.is_unspecified()) else {
            return;
        };
        let Some(worker) = self.workers.get_mut(&mac) else {
            return;
        };
        let before = worker.address.replace(address);
        if let Some(before) = before.filter(|before| *before != address)
            && self.by_address.get(&before) == Some(&mac)
        {
            self.by_address.remove(&before);
        }
        self.by_address.insert(address, mac);
    }

    /// Many at a time, so that a flood does not look through all of them for each packet.
    fn make_room(&mut self) {
        let mut by_worth: Vec<(bool, Duration, Mac)> = self
            .workers
            .values()
            .map(|worker| (worker.proven, worker.seen, worker.mac))
            .collect();
        let victims = (MAX_WORKERS / 16).min(by_worth.len() - 1);
        by_worth.select_nth_unstable(victims);
        for (_, _, mac) in by_worth.drain(..=victims) {
            self.workers.remove(&mac);
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        let workers = &self.workers;
        self.by_address.retain(|address, mac| {
            workers
                .get(mac)
                .is_some_and(|w| w.address == Some(*address))
        });
    }
}

/// A /16 full of machines.
pub const MAX_WORKERS: usize = 65_536;
/// A machine that is not heard of for a week is not shown any more.
const FORGET: Duration = Duration::from_secs(7 * 24 * 3600);
/// After so long a silence a machine may have another address.
const MOVED: Duration = Duration::from_secs(120);
/// RFC 1123.
const MAX_HOSTNAME: usize = 253;

#[cfg(test)]
mod tests;
