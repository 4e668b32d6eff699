//! One Pi: frames and the time in, frames out, and at last an outcome.

use std::sync::Arc;
use std::time::Duration;

use crate::dhcp::{CLIENT, Stage};
use crate::host::{Closed, Resolving, answer_arp, damaged, send};
use crate::lease::{Asking, Lease};
use crate::net::{Arp, BROADCAST, Frame, Udp, destination, parse};
use crate::outcome::{Booted, Failure, File, Notes, Outcome, Violation};
use crate::params::{Mac, Model, Params};
use crate::random::Random;
use crate::script::{self, Answer, Ask, Loaded, Next};
use crate::tftp::{Ended, Manner, Out, Transfer};

/// Between attempts (RN2711 2020-06-03).
const PAUSE: Duration = Duration::from_secs(5);
/// The ROM's first source port.
const FIRST_PORT: u16 = 49_152;

/// A simulated Pi. It is switched on by the first [`Pi::poll`].
#[derive(Debug)]
pub struct Pi {
    params: Params,
    random: Random,
    stage: Stage,
    state: State,
    since: Option<Duration>,
    attempts: u32,
    notes: Notes,
    /// What the stage's script knows.
    answers: Vec<Answer>,
    /// How often a transfer was begun: the source port.
    transfers: u16,
    closed: Closed,
    /// From ROM to bootcode.bin, its files.
    first: Option<Arc<File>>,
}

#[derive(Debug)]
enum State {
    Off,
    Asking(Asking),
    Resolving(Resolving),
    Loading {
        lease: Lease,
        hop: Mac,
        ask: Ask,
        transfer: Box<Transfer>,
    },
    Pausing(Duration),
    Done(Box<Outcome>),
}

impl Pi {
    /// A Pi that is off.
    #[must_use]
    pub fn new(params: Params) -> Self {
        Self {
            random: Random::new(params.seed),
            stage: Stage::first(params.model),
            state: State::Off,
            since: None,
            attempts: 0,
            notes: Notes::default(),
            answers: Vec::new(),
            transfers: 0,
            closed: Closed::default(),
            first: None,
            params,
        }
    }

    /// What it is.
    #[must_use]
    pub const fn params(&self) -> &Params {
        &self.params
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.state {
            State::Done(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> Option<std::net::Ipv4Addr> {
        match &self.state {
            State::Resolving(Resolving { lease, .. }) | State::Loading { lease, .. } => {
                Some(lease.address)
            }
            State::Done(outcome) => outcome.boot.as_ref().ok().map(|booted| booted.address),
            State::Off | State::Asking(_) | State::Pausing(_) => None,
        }
    }

    /// When [`Pi::poll`] has something to do without a frame; `None`: never again.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Off => Some(Duration::ZERO),
            State::Asking(asking) => Some(asking.next_at),
            State::Resolving(resolving) => Some(resolving.again_at),
            State::Loading { transfer, .. } => Some(transfer.deadline()),
            State::Pausing(until) => Some(*until),
            State::Done(_) => None,
        }
    }

    /// What it does now.
    #[must_use]
    pub fn doing(&self) -> String {
        match &self.state {
            State::Off => "it is off".to_owned(),
            State::Asking(_) => format!("asks DHCP ({:?})", self.stage),
            State::Resolving(resolving) => format!("asks ARP for {}", resolving.lease.hop()),
            State::Loading { transfer, .. } => format!("loads {}", transfer.path),
            State::Pausing(_) => "waits for its next attempt".to_owned(),
            State::Done(_) => "it is done".to_owned(),
        }
    }

    /// Takes a frame, if there is one, does what is due at `now`, and puts frames to send into `out`.
    ///
    /// `now` is since any moment, the same for all calls, and does not go back.
    pub fn poll(&mut self, now: Duration, frame: Option<&[u8]>, out: &mut Vec<Vec<u8>>) {
        self.since.get_or_insert(now);
        if matches!(self.state, State::Off) {
            self.ask_dhcp(now);
        }
        if let Some(frame) = frame {
            self.receive(now, frame, out);
        }
        self.tick(now, out);
    }

    /// Ends it where it is.
    pub(crate) fn give_up(&mut self, now: Duration, limit: Duration) {
        if self.outcome().is_none() {
            let doing = self.doing();
            self.finish(now, Err(Failure::Unfinished { limit, doing }));
        }
    }

    pub(crate) fn violation(&mut self, violation: Violation) {
        match &mut self.state {
            State::Done(outcome) if outcome.violations.len() < crate::outcome::MAX_VIOLATIONS => {
                outcome.violations.push(violation);
            }
            _ => self.notes.violation(violation),
        }
    }

    fn ask_dhcp(&mut self, now: Duration) {
        self.answers.clear();
        self.state = match self.params.fixed.filter(|_| self.stage == Stage::Eeprom) {
            Some(fixed) => {
                let lease = Lease {
                    address: fixed.client,
                    mask: fixed.mask,
                    gateway: fixed.gateway,
                    tftp: fixed.tftp,
                };
                State::Resolving(Resolving::new(lease, now))
            }
            None => {
                let random = self.random.next();
                State::Asking(Asking::new(&self.params, self.stage, now, random))
            }
        };
    }

    fn tick(&mut self, now: Duration, out: &mut Vec<Vec<u8>>) {
        let params = &self.params;
        match &mut self.state {
            State::Asking(asking) => {
                if let Some(failure) = asking.tick(params, now, out) {
                    self.fail(now, failure);
                }
            }
            State::Resolving(resolving) => {
                if let Err(failure) = resolving.tick(params.mac, now, out) {
                    self.fail(now, failure);
                }
            }
            State::Loading {
                lease,
                hop,
                transfer,
                ..
            } => {
                let mut packets = Out::new();
                let ended = transfer.tick(now, &mut self.notes, &mut packets);
                send(params.mac, lease, *hop, transfer.port, packets, out);
                if let Some(ended) = ended {
                    self.ended(now, ended, out);
                }
            }
            State::Pausing(until) if now >= *until => {
                self.ask_dhcp(now);
                self.tick(now, out);
            }
            _ => {}
        }
    }

    fn receive(&mut self, now: Duration, frame: &[u8], out: &mut Vec<Vec<u8>>) {
        let to = destination(frame);
        if to != Some(self.params.mac) && to != Some(BROADCAST) {
            return;
        }
        match parse(frame) {
            None => {}
            Some(Ok(Frame::Arp(arp))) => self.receive_arp(now, arp, out),
            Some(Ok(Frame::Udp(udp))) => self.receive_udp(now, &udp, out),
            // A broadcast is not for this Pi alone.
            Some(Err(_)) if to == Some(BROADCAST) => {}
            Some(Err(damage)) => self.violation(damaged(damage)),
        }
    }

    fn receive_arp(&mut self, now: Duration, got: Arp, out: &mut Vec<Vec<u8>>) {
        let deaf = self.params.quirks.no_arp_while_loading
            && self.stage == Stage::Rom
            && matches!(self.state, State::Loading { .. });
        if let Some(address) = self.address()
            && !deaf
            && self.outcome().is_none()
        {
            answer_arp(self.params.mac, address, &got, out);
        }
        if let State::Resolving(resolving) = &self.state
            && let Some(hop) = resolving.answer(&got)
        {
            self.advance(now, resolving.lease, hop, out);
        }
    }

    fn receive_udp(&mut self, now: Duration, packet: &Udp<'_>, out: &mut Vec<Vec<u8>>) {
        if packet.to.port() == CLIENT.port() {
            if let State::Asking(asking) = &mut self.state
                && let Some(lease) = asking.receive(&self.params, now, packet, &mut self.notes)
            {
                self.notes.numbers.dhcp = now - asking.since;
                self.state = State::Resolving(Resolving::new(lease, now));
            }
            return;
        }
        if let State::Loading {
            lease,
            hop,
            transfer,
            ..
        } = &mut self.state
            && *packet.to.ip() == lease.address
            && packet.to.port() == transfer.port
        {
            // Another host cannot know the port.
            if *packet.from.ip() != lease.tftp {
                return;
            }
            let mut packets = Out::new();
            let (from, payload) = (packet.from.port(), packet.payload);
            let ended = transfer.receive(from, payload, now, &mut self.notes, &mut packets);
            send(self.params.mac, lease, *hop, transfer.port, packets, out);
            if let Some(ended) = ended {
                self.ended(now, ended, out);
            }
            return;
        }
        self.stray(now, packet.to.port());
    }

    fn stray(&mut self, now: Duration, port: u16) {
        let numbers = match &mut self.state {
            State::Done(outcome) => &mut outcome.numbers,
            _ => &mut self.notes.numbers,
        };
        self.closed.count(port, now, numbers);
    }

    /// A transfer is over: what that means to the firmware that asked.
    fn ended(&mut self, now: Duration, ended: Ended, out: &mut Vec<Vec<u8>>) {
        let State::Loading {
            lease,
            hop,
            ask,
            transfer,
        } = &self.state
        else {
            return;
        };
        self.closed.push(transfer.port, now);
        let (lease, hop, lenient, path) = (*lease, *hop, ask.lenient, ask.path.clone());
        let tftp = lease.tftp;
        let silence = self.params.file_timeout;
        let answer = match ended {
            Ended::Found(_) => Answer::Found,
            Ended::File(file) => Answer::File(Arc::new(file)),
            Ended::Absent | Ended::NoOack => Answer::Absent,
            Ended::TooLarge { block_size } => {
                return self.fail(now, Failure::TooLarge { path, block_size });
            }
            Ended::Refused { .. } if lenient => Answer::Absent,
            Ended::Refused { code, text } => {
                let failure = Failure::Refused {
                    path,
                    tftp,
                    code,
                    text,
                };
                return self.fail(now, failure);
            }
            Ended::Timeout { .. } if lenient => {
                self.notes.violation(Violation::TimedOut { path });
                Answer::Absent
            }
            Ended::Timeout { bytes } => {
                let failure = Failure::Timeout {
                    path,
                    tftp,
                    silence,
                    bytes,
                };
                return self.fail(now, failure);
            }
        };
        self.answers.push(answer);
        self.advance(now, lease, hop, out);
    }

    /// The next file, or the end.
    fn advance(&mut self, now: Duration, lease: Lease, hop: Mac, out: &mut Vec<Vec<u8>>) {
        match script::next(&self.params, self.stage, &self.answers) {
            Next::Fail(failure) => self.fail(now, failure),
            Next::Start(loaded) => {
                let booted = self.booted(*loaded, lease);
                self.finish(now, Ok(booted));
            }
            Next::Bootcode => {
                if let Some(Answer::File(bootcode)) = self.answers.first() {
                    self.first = Some(Arc::clone(bootcode));
                }
                self.stage = Stage::Bootcode;
                self.ask_dhcp(now);
            }
            Next::Ask(ask) => {
                // A new port each time, from the ROM's first one up; an attempt does not begin again with the first.
                let port = FIRST_PORT + self.transfers % (u16::MAX - FIRST_PORT);
                self.transfers = self.transfers.wrapping_add(1);
                let mut packets = Out::new();
                let transfer = Transfer::start(
                    ask.path.clone(),
                    ask.purpose,
                    self.manner(),
                    port,
                    now,
                    &mut self.notes,
                    &mut packets,
                );
                send(self.params.mac, &lease, hop, port, packets, out);
                self.state = State::Loading {
                    lease,
                    hop,
                    ask,
                    transfer: Box::new(transfer),
                };
            }
        }
    }

    fn manner(&self) -> Manner {
        let quirks = &self.params.quirks;
        let options = self.stage != Stage::Rom;
        Manner {
            tsize: options,
            block_size: self.params.block_size.filter(|_| options),
            needs_oack: quirks.needs_oack && self.stage == Stage::Bootcode,
            no_rollover: quirks.no_rollover,
            timeout: self.params.file_timeout,
            keep: self.params.keep,
            ..Manner::PI
        }
    }

    fn fail(&mut self, now: Duration, failure: Failure) {
        let has_eeprom = matches!(self.params.model, Model::Ee4 | Model::Ee5);
        if has_eeprom && self.attempts < self.params.retries {
            self.attempts += 1;
            self.state = State::Pausing(now + PAUSE);
        } else {
            self.finish(now, Err(failure));
        }
    }

    fn booted(&mut self, loaded: Loaded, lease: Lease) -> Booted {
        for violation in loaded.violations {
            self.notes.violation(violation);
        }
        let mut files = loaded.files;
        if let Some(file) = self.first.take() {
            files.insert("bootcode.bin".to_owned(), file);
        }
        Booted {
            files: files.into_iter().map(|(k, v)| (k, (*v).clone())).collect(),
            absent: loaded.absent,
            kernel: loaded.kernel,
            initramfs: loaded.initramfs,
            device_tree: loaded.device_tree,
            overlays: loaded.overlays,
            cmdline: loaded.cmdline,
            address: lease.address,
            tftp: lease.tftp,
        }
    }

    fn finish(&mut self, now: Duration, boot: Result<Booted, Failure>) {
        let Notes {
            violations,
            mut numbers,
        } = std::mem::take(&mut self.notes);
        numbers.duration = now - self.since.unwrap_or(now);
        self.answers.clear();
        self.state = State::Done(Box::new(Outcome {
            boot,
            violations,
            numbers,
        }));
    }
}

#[cfg(test)]
mod tests;
