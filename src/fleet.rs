//! The machines that boot here, as far as this manager has seen: [`Fleet`] takes [`Event`]s and the time, and gives a
//! [`snapshot::Snapshot`] for people and programs.
//!
//! Pure but for [`shared`] and [`listen`]. Nothing here decides what a machine boots, and all of it may be lost: heartbeats tell it anew.
//! What anybody on the network can send is bounded: so many machines, so many reports of each, one machine that only says
//! it exists for each address, and machines that were never seen to boot go first where room is needed.

pub mod boot;
pub mod event;
pub mod listen;
pub mod place;
pub mod problem;
pub mod rows;
pub mod shared;
pub mod snapshot;
pub mod streaming;
mod table;
pub mod worker;

use std::net::Ipv4Addr;
use std::time::Duration;

use ramboot_wire::heartbeat::Filling;
use ramboot_wire::{ImageId, Mac};

use event::{AskedBy, Event, Who};
use place::Word;
use table::Table;
use worker::{News, Pending, Worker};

/// All machines, by hardware address.
#[derive(Debug, Default)]
pub struct Fleet {
    table: Table,
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

/// Why a recording of a boot is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRecorded {
    /// There is no such machine, as far as is known.
    #[error("no machine of this address was given this image, as far as this manager knows")]
    NotGiven,
    /// It has not booted by it, or said already what it read.
    #[error(
        "the machine of this address has not fetched the end of this image here since its last recording: a recording counts once for each boot"
    )]
    NotFetched,
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
                let known = self.table.get(asked.mac).is_some();
                if known || asked.asker != AskedBy::System {
                    self.table.or_new(asked.mac, now).asked(&asked, now);
                    if let Some(address) = asked.address {
                        self.table.lives_at(asked.mac, address, Word::Seen, now);
                    }
                }
            }
            Event::Reported(from, report) => {
                let worker = self.believed(report.mac, from, now)?;
                return Ok(worker.reported(&report, now));
            }
            Event::Beat(from, beat) => {
                if let Some(filling) = beat.filling.filter(|it| !streaming::is_possible(it)) {
                    self.refused += 1;
                    let Filling { resident, size, .. } = filling;
                    return Err(Refused::Filling(beat.mac, resident, size));
                }
                self.believed(beat.mac, from, now)?.beat(&beat, now);
            }
            Event::Sent(address, bytes) => {
                if let Some(worker) = self.here(address, now) {
                    worker.sent(bytes, now);
                }
            }
            Event::Ended(address, image) => {
                if let Some(worker) = self.here(address, now) {
                    worker.ended = Some((image, address));
                }
            }
            Event::Chosen(who, hostname, image) => {
                let hostname = hostname.map(|name| worker::plain(&name, MAX_HOSTNAME));
                self.hand(who, Pending::Chosen(hostname, image), now);
            }
            Event::Nothing(who, why) => {
                let why = worker::plain(&why, worker::MAX_SENTENCE);
                self.hand(who, Pending::Nothing(why), now);
            }
            Event::Begins(who, part) => {
                if let Some(worker) = self.of(who, now) {
                    worker.begins(part, now);
                }
            }
            Event::Loaded(who, part) => {
                let Some(worker) = self.of(who, now) else {
                    return Ok(None);
                };
                worker.loaded(part, now);
                // A script that names it proves nothing, and everybody can have one for any machine.
                if !(who.named && part == event::Part::Loader) {
                    worker.took = true;
                    let mac = worker.mac;
                    self.table.promote(mac);
                }
            }
        }
        Ok(None)
    }

    /// Time goes by: who was not heard of for long is forgotten.
    pub fn tick(&mut self, now: Duration) {
        self.table
            .forget(|worker| now.saturating_sub(worker.seen) < FORGET);
    }

    /// How many machines are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.workers.len() + self.table.newcomers.len()
    }

    /// None is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The machines that are shown, in no order.
    #[must_use]
    pub fn listed(&self) -> Vec<Mac> {
        self.table.listed()
    }

    /// Machines that only asked, and are too many to be shown.
    #[must_use]
    pub fn unlisted(&self) -> usize {
        self.table.unlisted()
    }

    /// What is known of these machines, as far as they are known.
    #[must_use]
    pub fn copies(&self, macs: &[Mac]) -> Vec<Worker> {
        let known = macs.iter().filter_map(|mac| self.table.get(*mac));
        known.cloned().collect()
    }

    /// Reports and heartbeats that were thrown away: too many of one machine, or from another address than its own.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// The machine that has this address, as far as is known.
    #[must_use]
    pub fn at(&self, address: Ipv4Addr) -> Option<Mac> {
        self.table.by_address.get(&address).copied()
    }

    /// Whether a machine has this address that asked DHCP, as far as is known.
    #[must_use]
    pub fn knows(&self, address: Ipv4Addr) -> bool {
        let worker = self.at(address).and_then(|mac| self.table.get(mac));
        worker.is_some_and(|worker| worker.asked_dhcp)
    }

    /// The machine at this address may say what its boot read of the image.
    ///
    /// # Errors
    /// Why it may not.
    pub fn may_record(&self, address: Ipv4Addr, image: ImageId) -> Result<Mac, NotRecorded> {
        let worker = self.at(address).and_then(|mac| self.table.get(mac));
        let worker = worker
            .filter(|worker| worker.image == Some(image))
            .ok_or(NotRecorded::NotGiven)?;
        match worker.ended {
            Some(ended) if ended == (image, address) => Ok(worker.mac),
            _ => Err(NotRecorded::NotFetched),
        }
    }

    /// What the machine at this address recorded was taken: once for each time that it fetches the image.
    pub fn recorded(&mut self, address: Ipv4Addr) {
        let worker = self.at(address).and_then(|mac| self.table.get_mut(mac));
        if let Some(worker) = worker {
            worker.ended = None;
        }
    }

    /// The machine at this address, which was heard of just now.
    fn here(&mut self, address: Ipv4Addr, now: Duration) -> Option<&mut Worker> {
        let mac = self.at(address)?;
        let worker = self.table.get_mut(mac)?;
        if let Some(place) = &mut worker.place {
            place.at = now;
        }
        Some(worker)
    }

    /// The machine that loads something, if it is where that machine is.
    fn of(&mut self, who: Who, now: Duration) -> Option<&mut Worker> {
        let Some(mac) = who.mac else {
            return self.here(who.address?, now);
        };
        self.table.or_new(mac, now);
        let word = if who.named { Word::Url } else { Word::Seen };
        let believed = who
            .address
            .is_none_or(|address| self.table.lives_at(mac, address, word, now));
        let worker = self.table.get_mut(mac)?;
        if !believed {
            // Nor is what somebody else was told of it.
            worker.pending = None;
            return None;
        }
        Some(worker)
    }

    /// Something is for a machine. Who asked for it, and from where, may only be known when it begins to load it.
    fn hand(&mut self, who: Who, pending: Pending, now: Duration) {
        if let Some(worker) = self.of(who, now) {
            worker.pending = Some(Box::new(pending));
            if who.address.is_some() {
                worker.settle(now);
            }
        }
    }

    /// The machine that a report speaks of, if it can be of that machine.
    fn believed(
        &mut self,
        mac: Mac,
        from: Ipv4Addr,
        now: Duration,
    ) -> Result<&mut Worker, Refused> {
        self.table.or_new(mac, now);
        if !self.table.lives_at(mac, from, Word::Said, now) {
            self.refused += 1;
            return Err(Refused::Address(mac));
        }
        self.table.promote(mac);
        let worker = self.table.or_new(mac, now);
        if !worker.may_report(now) {
            self.refused += 1;
            return Err(Refused::TooMany(mac));
        }
        Ok(worker)
    }
}

/// A machine that is not heard of for a week is not shown any more.
const FORGET: Duration = Duration::from_secs(7 * 24 * 3600);
/// RFC 1123.
const MAX_HOSTNAME: usize = 253;

#[cfg(test)]
mod tests;
