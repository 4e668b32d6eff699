//! Many machines on one wire, with loss and delay; and what only somebody sees who watches them all.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::dhcp::{Kind, client, granted};
use crate::net::{BROADCAST, Frame, destination, parse};
use crate::outcome::{Failure, Outcome, Violation};
use crate::params::{Mac, Params};
use crate::random::Random;
use crate::station::Station;

/// What carries Ethernet frames.
pub trait Wire {
    /// Sends one.
    ///
    /// # Errors
    /// The wire is broken. A full queue is none: a frame is lost.
    fn send(&mut self, frame: &[u8]) -> io::Result<()>;

    /// Puts the next frame into `buffer` and says how long it is; `None` if there was none for so long.
    ///
    /// # Errors
    /// The wire is broken.
    fn receive(&mut self, buffer: &mut [u8], wait: Duration) -> io::Result<Option<usize>>;
}

/// What the wire is like, and how long the test may take.
#[derive(Debug, Clone, Copy)]
pub struct Conditions {
    /// Of a hundred frames to the machines, so many are lost,
    pub loss_to_pis: u8,
    /// and of those from them.
    pub loss_from_pis: u8,
    /// Frames to the machines come so much later: the round trip.
    pub delay: Duration,
    /// Between one machine's switching on and the next's.
    pub stagger: Duration,
    /// Then it is over.
    pub limit: Duration,
    /// Which frames are lost.
    pub seed: u64,
}

impl Conditions {
    /// A good wire.
    #[must_use]
    pub const fn good(limit: Duration) -> Self {
        Self {
            loss_to_pis: 0,
            loss_from_pis: 0,
            delay: Duration::ZERO,
            stagger: Duration::ZERO,
            limit,
            seed: 1,
        }
    }

    /// The same, losing so many in a hundred each way.
    #[must_use]
    pub const fn losing(self, percent: u8) -> Self {
        Self {
            loss_to_pis: percent,
            loss_from_pis: percent,
            ..self
        }
    }
}

/// An offered address is kept for its client so long: a ROM uses it and never says so.
const OFFER_HOLDS: Duration = Duration::from_secs(60);
/// Addresses that are watched; a network has fewer.
const MAX_OFFERS: usize = 65_536;

/// Machines that are driven together.
#[derive(Debug)]
pub struct Fleet {
    stations: Vec<Station>,
    by_mac: HashMap<Mac, usize>,
    conditions: Conditions,
    random: Random,
    /// When which machine wants to be polled, and the same by machine.
    agenda: BTreeSet<(Duration, usize)>,
    planned: Vec<Option<Duration>>,
    /// Frames under way.
    late: BinaryHeap<Reverse<(Duration, u64, Vec<u8>)>>,
    sequence: u64,
    offers: HashMap<Ipv4Addr, (Mac, Duration)>,
    owners: HashMap<Ipv4Addr, usize>,
    addresses: Vec<Option<Ipv4Addr>>,
    running: usize,
}

impl Fleet {
    /// Machines that will be switched on, the first at time zero. Each needs a MAC of its own.
    #[must_use]
    pub fn new(stations: Vec<Station>, conditions: Conditions) -> Self {
        let numbered = || stations.iter().enumerate();
        let on = |i| conditions.stagger * u32::try_from(i).unwrap_or(u32::MAX);
        Self {
            by_mac: numbered().map(|(i, it)| (it.mac(), i)).collect(),
            agenda: numbered().map(|(i, _)| (on(i), i)).collect(),
            planned: numbered().map(|(i, _)| Some(on(i))).collect(),
            random: Random::new(conditions.seed),
            conditions,
            late: BinaryHeap::new(),
            sequence: 0,
            offers: HashMap::new(),
            owners: HashMap::new(),
            addresses: vec![None; stations.len()],
            running: stations.len(),
            stations,
        }
    }

    /// All have an outcome.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.running == 0
    }

    /// When [`Fleet::tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let planned = self.agenda.first().map(|&(at, _)| at);
        let late = self.late.peek().map(|Reverse((at, _, _))| *at);
        planned.into_iter().chain(late).min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Duration, out: &mut Vec<Vec<u8>>) {
        while self.late.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            if let Some(Reverse((_, _, frame))) = self.late.pop() {
                self.deliver(now, &frame, out);
            }
        }
        while let Some(&(at, i)) = self.agenda.first().filter(|&&(at, _)| at <= now) {
            self.agenda.remove(&(at, i));
            self.planned[i] = None;
            self.poll(i, now, None, out);
        }
    }

    /// Takes a frame from the wire.
    pub fn receive(&mut self, now: Duration, frame: &[u8], out: &mut Vec<Vec<u8>>) {
        let known =
            destination(frame).is_some_and(|to| to == BROADCAST || self.by_mac.contains_key(&to));
        if !known {
            return;
        }
        // What a server does wrong it does even if the frame is lost.
        self.watch_offers(now, frame);
        if self.random.percent(self.conditions.loss_to_pis) {
            return;
        }
        if self.conditions.delay.is_zero() {
            self.deliver(now, frame, out);
        } else {
            let at = now + self.conditions.delay;
            self.late.push(Reverse((at, self.sequence, frame.to_vec())));
            self.sequence += 1;
        }
    }

    fn deliver(&mut self, now: Duration, frame: &[u8], out: &mut Vec<Vec<u8>>) {
        match destination(frame) {
            Some(BROADCAST) => {
                let concerns = Concerns::of(frame);
                for i in 0..self.stations.len() {
                    // Those that are still off hear nothing.
                    if self.is_concerned(i, concerns)
                        && now >= self.switched_on(i)
                        && !self.stations[i].is_done()
                    {
                        self.poll(i, now, Some(frame), out);
                    }
                }
            }
            to => {
                if let Some(&i) = to.and_then(|to| self.by_mac.get(&to))
                    && now >= self.switched_on(i)
                {
                    self.poll(i, now, Some(frame), out);
                }
            }
        }
    }

    fn is_concerned(&self, i: usize, concerns: Concerns) -> bool {
        match concerns {
            Concerns::Client(mac) => self.stations[i].mac() == mac,
            Concerns::Owner(address) => self.stations[i].address() == Some(address),
            Concerns::All => true,
        }
    }

    fn switched_on(&self, i: usize) -> Duration {
        self.conditions.stagger * u32::try_from(i).unwrap_or(u32::MAX)
    }

    fn poll(&mut self, i: usize, now: Duration, frame: Option<&[u8]>, out: &mut Vec<Vec<u8>>) {
        let station = &mut self.stations[i];
        let was_running = !station.is_done();
        let first = out.len();
        station.poll(now, frame, out);
        if was_running && station.is_done() {
            self.running -= 1;
        }
        if self.conditions.loss_from_pis > 0 {
            let kept: Vec<_> = out
                .drain(first..)
                .filter(|_| !self.random.percent(self.conditions.loss_from_pis))
                .collect();
            out.extend(kept);
        }
        let next = station.next_deadline();
        if next != self.planned[i] {
            if let Some(at) = self.planned[i] {
                self.agenda.remove(&(at, i));
            }
            self.agenda.extend(next.map(|at| (at, i)));
            self.planned[i] = next;
        }
        self.watch_address(i);
    }

    /// An address that was offered to one is not offered to another soon after.
    fn watch_offers(&mut self, now: Duration, frame: &[u8]) {
        let Some(Ok(Frame::Udp(udp))) = parse(frame) else {
            return;
        };
        let Some((mac, address, kind)) = granted(&udp) else {
            return;
        };
        if self.offers.len() >= MAX_OFFERS {
            self.offers.retain(|_, &mut (_, at)| now - at < OFFER_HOLDS);
        }
        if self.offers.len() >= MAX_OFFERS {
            return;
        }
        let before = self.offers.insert(address, (mac, now));
        if let Some((other, at)) = before
            && kind == Kind::Offer
            && other != mac
            && now - at < OFFER_HOLDS
            && let Some(&i) = self.by_mac.get(&mac)
        {
            let after = now - at;
            self.stations[i].violation(Violation::OfferedTwice { address, after });
        }
    }

    /// No two have the same address, be they booting or booted.
    fn watch_address(&mut self, i: usize) {
        let address = self.stations[i].address();
        if address == self.addresses[i] {
            return;
        }
        if let Some(old) = self.addresses[i]
            && self.owners.get(&old) == Some(&i)
        {
            self.owners.remove(&old);
        }
        self.addresses[i] = address;
        if let Some(address) = address
            && self
                .owners
                .insert(address, i)
                .is_some_and(|other| other != i)
        {
            self.stations[i].violation(Violation::SharedAddress { address });
        }
    }

    /// All of them, done, in the order they were given; who is not done fails.
    #[must_use]
    pub fn finish(mut self, now: Duration) -> Vec<Station> {
        for station in &mut self.stations {
            station.give_up(now, self.conditions.limit);
        }
        self.stations
    }
}

/// Whom a broadcast frame concerns: hundreds need not read what is for one of them.
#[derive(Debug, Clone, Copy)]
enum Concerns {
    /// DHCP's answer to it.
    Client(Mac),
    /// A question for its address.
    Owner(Ipv4Addr),
    All,
}

impl Concerns {
    fn of(frame: &[u8]) -> Self {
        match parse(frame) {
            Some(Ok(Frame::Udp(udp))) => client(&udp).map_or(Self::All, Self::Client),
            Some(Ok(Frame::Arp(arp))) if arp.request => Self::Owner(arp.target),
            _ => Self::All,
        }
    }
}

/// Boots Pis over one wire; outcomes are in the order of `params`. See [`boot_stations`].
///
/// # Errors
/// The wire breaks. A Pi that does not boot is an [`Outcome`], not an error.
pub fn boot_all(
    params: Vec<Params>,
    conditions: Conditions,
    wire: &mut dyn Wire,
    clock: &mut dyn FnMut() -> Duration,
) -> io::Result<Vec<Outcome>> {
    let stations = params.into_iter().map(Station::from).collect();
    let done = boot_stations(stations, conditions, wire, clock)?;
    let outcome = |station: &Station| match station {
        Station::Pi(pi) => pi.outcome().cloned(),
        Station::Pc(_) => None,
    };
    Ok(done.iter().filter_map(outcome).collect())
}

/// Boots all over one wire, and gives them back in their order, done.
///
/// `clock` says how long it is since any moment. Servers have to be there already.
///
/// # Errors
/// The wire breaks. A machine that does not boot has a [`Station::failure`].
pub fn boot_stations(
    stations: Vec<Station>,
    conditions: Conditions,
    wire: &mut dyn Wire,
    clock: &mut dyn FnMut() -> Duration,
) -> io::Result<Vec<Station>> {
    let started = clock();
    let mut now = || clock().saturating_sub(started);
    let mut fleet = Fleet::new(stations, conditions);
    let mut out = Vec::new();
    let mut buffer = vec![0; 65_536];
    while !fleet.is_done() && now() < conditions.limit {
        fleet.tick(now(), &mut out);
        flush(wire, &mut out)?;
        let next = fleet.next_deadline().unwrap_or(conditions.limit);
        let wait = next.min(conditions.limit).saturating_sub(now());
        if let Some(len) = wire.receive(&mut buffer, wait)? {
            fleet.receive(now(), buffer.get(..len).unwrap_or_default(), &mut out);
            flush(wire, &mut out)?;
        }
    }
    let end = now();
    Ok(fleet.finish(end))
}

fn flush(wire: &mut dyn Wire, out: &mut Vec<Vec<u8>>) -> io::Result<()> {
    out.drain(..).try_for_each(|frame| wire.send(&frame))
}

/// The failures among outcomes, for a message.
pub fn failures(outcomes: &[Outcome]) -> impl Iterator<Item = (usize, &Failure)> {
    let numbered = outcomes.iter().enumerate();
    numbered.filter_map(|(i, outcome)| Some((i, outcome.boot.as_ref().err()?)))
}

#[cfg(test)]
mod tests;
