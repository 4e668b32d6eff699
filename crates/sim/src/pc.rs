//! One PC: frames and the time in, frames out, and at last an outcome.
//!
//! What the firmware itself does: it ends with the program that DHCP named in memory, or with a URL, which whoever drives it
//! can fetch; HTTP is not simulated.

mod asking;
mod message;
mod params;

use std::net::Ipv4Addr;
use std::time::Duration;

use self::asking::{Asking, AskingBootServer, BOOT_SERVER_PORT, Given};
use self::message::Boot;
pub use self::params::{PcArch, PcKind, PcParams};
use crate::dhcp::CLIENT;
use crate::host::{Closed, Resolving, answer_arp, damaged, send};
use crate::lease::Lease;
use crate::net::{Arp, BROADCAST, Frame, Udp, destination, parse};
use crate::outcome::{Failure, File, MAX_VIOLATIONS, Notes, Outcome, Violation};
use crate::params::Mac;
use crate::random::Random;
use crate::tftp::{Ended, Manner, Out, Purpose, Transfer};

/// Where EDK2's UDP ports begin; the next transfer has the next one.
const FIRST_PORT: u16 = 1024;

/// What a PC's firmware starts.
#[derive(Debug, Clone)]
pub struct Started {
    /// Its address.
    pub address: Ipv4Addr,
    /// What it boots.
    pub program: Program,
}

/// A program, or where it is.
#[derive(Debug, Clone)]
pub enum Program {
    /// In memory, by TFTP.
    File {
        /// From whom.
        tftp: Ipv4Addr,
        /// As it was asked for.
        name: String,
        /// What came.
        file: File,
    },
    /// To be fetched by HTTP.
    Url(String),
}

/// A simulated PC. It is switched on by the first [`Pc::poll`].
#[derive(Debug)]
pub struct Pc {
    params: PcParams,
    random: Random,
    state: State,
    since: Option<Duration>,
    notes: Notes,
    /// How often a transfer was begun: the source port.
    transfers: u16,
    closed: Closed,
}

#[derive(Debug)]
enum State {
    Off,
    Asking(Asking),
    /// The way to the server that is asked next, and for what.
    Resolving(Resolving, Boot),
    AskingBootServer(AskingBootServer),
    Loading(Box<Loading>),
    Done(Box<Outcome<Started>>),
}

#[derive(Debug)]
struct Loading {
    lease: Lease,
    hop: Mac,
    /// The probe's answer.
    promised: Option<u64>,
    transfer: Transfer,
}

impl Pc {
    /// A PC that is off.
    #[must_use]
    pub fn new(params: PcParams) -> Self {
        Self {
            random: Random::new(params.seed),
            state: State::Off,
            since: None,
            notes: Notes::default(),
            transfers: 0,
            closed: Closed::default(),
            params,
        }
    }

    /// What it is.
    #[must_use]
    pub const fn params(&self) -> &PcParams {
        &self.params
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome<Started>> {
        match &self.state {
            State::Done(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        match &self.state {
            State::Off | State::Asking(_) => None,
            State::Resolving(resolving, _) => Some(resolving.lease.address),
            State::AskingBootServer(asking) => Some(asking.lease.address),
            State::Loading(loading) => Some(loading.lease.address),
            State::Done(outcome) => outcome.boot.as_ref().ok().map(|started| started.address),
        }
    }

    /// When [`Pc::poll`] has something to do without a frame; `None`: never again.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Off => Some(Duration::ZERO),
            State::Asking(asking) => Some(asking.next_at),
            State::Resolving(resolving, _) => Some(resolving.again_at),
            State::AskingBootServer(asking) => Some(asking.next_at),
            State::Loading(loading) => Some(loading.transfer.deadline()),
            State::Done(_) => None,
        }
    }

    /// What it does now.
    #[must_use]
    pub fn doing(&self) -> String {
        match &self.state {
            State::Off => "it is off".to_owned(),
            State::Asking(_) => "asks DHCP".to_owned(),
            State::Resolving(resolving, _) => format!("asks ARP for {}", resolving.lease.hop()),
            State::AskingBootServer(asking) => {
                format!("asks {}, port 4011", asking.lease.tftp)
            }
            State::Loading(loading) => format!("loads {}", loading.transfer.path),
            State::Done(_) => "it is done".to_owned(),
        }
    }

    /// Takes a frame, if there is one, does what is due at `now`, and puts frames to send into `out`.
    ///
    /// `now` is since any moment, the same for all calls, and does not go back.
    pub fn poll(&mut self, now: Duration, frame: Option<&[u8]>, out: &mut Vec<Vec<u8>>) {
        self.since.get_or_insert(now);
        if matches!(self.state, State::Off) {
            self.state = State::Asking(Asking::new(now, self.xid()));
        }
        if let Some(frame) = frame {
            self.receive(now, frame, out);
        }
        if let Err(failure) = self.tick(now, out) {
            self.finish(now, Err(failure));
        }
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
            State::Done(outcome) if outcome.violations.len() < MAX_VIOLATIONS => {
                outcome.violations.push(violation);
            }
            _ => self.notes.violation(violation),
        }
    }

    const fn xid(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.random.next().to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    fn tick(&mut self, now: Duration, out: &mut Vec<Vec<u8>>) -> Result<(), Failure> {
        let params = &self.params;
        match &mut self.state {
            State::Off | State::Done(_) => Ok(()),
            State::Asking(asking) => asking.tick(params, now, out),
            State::Resolving(resolving, _) => resolving.tick(params.mac, now, out),
            State::AskingBootServer(asking) => asking.tick(params, now, out),
            State::Loading(loading) => {
                let mut packets = Out::new();
                let Loading {
                    lease,
                    hop,
                    transfer,
                    ..
                } = &mut **loading;
                let ended = transfer.tick(now, &mut self.notes, &mut packets);
                send(params.mac, lease, *hop, transfer.port, packets, out);
                ended.map_or(Ok(()), |ended| self.ended(now, ended, out))
            }
        }
    }

    fn receive(&mut self, now: Duration, frame: &[u8], out: &mut Vec<Vec<u8>>) {
        let to = destination(frame);
        if to != Some(self.params.mac) && to != Some(BROADCAST) {
            return;
        }
        match parse(frame) {
            None => {}
            Some(Ok(Frame::Arp(arp))) => self.receive_arp(now, &arp, out),
            Some(Ok(Frame::Udp(udp))) => self.receive_udp(now, &udp, out),
            // A broadcast is not for this machine alone.
            Some(Err(_)) if to == Some(BROADCAST) => {}
            Some(Err(damage)) => self.violation(damaged(damage)),
        }
    }

    fn receive_arp(&mut self, now: Duration, got: &Arp, out: &mut Vec<Vec<u8>>) {
        if let Some(address) = self.address()
            && self.outcome().is_none()
        {
            answer_arp(self.params.mac, address, got, out);
        }
        let State::Resolving(resolving, boot) = &self.state else {
            return;
        };
        let Some(hop) = resolving.answer(got) else {
            return;
        };
        let lease = resolving.lease;
        match boot.clone() {
            Boot::File(_, name) => {
                let purpose = Purpose::Probe;
                self.load(now, (lease, hop), name, (purpose, None), out);
            }
            Boot::Ask(_) => {
                let asking = AskingBootServer::new(lease, hop, now, self.xid());
                self.state = State::AskingBootServer(asking);
            }
            Boot::Url(url) => self.start(now, lease.address, Program::Url(url)),
        }
    }

    fn receive_udp(&mut self, now: Duration, packet: &Udp<'_>, out: &mut Vec<Vec<u8>>) {
        let (port, params) = (packet.to.port(), &self.params);
        match &mut self.state {
            State::Asking(asking) if port == CLIENT.port() => {
                if let Some(given) = asking.receive(params, now, packet, &mut self.notes) {
                    self.given(now, given);
                }
            }
            State::AskingBootServer(asking)
                if [CLIENT.port(), BOOT_SERVER_PORT].contains(&port) =>
            {
                let found = asking.receive(params, packet, &mut self.notes);
                let lease = asking.lease;
                if let Some((tftp, name)) = found {
                    let boot = Boot::File(tftp, name);
                    self.given(
                        now,
                        Given {
                            lease: Lease { tftp, ..lease },
                            boot,
                        },
                    );
                }
            }
            State::Loading(loading)
                if port == loading.transfer.port && *packet.to.ip() == loading.lease.address =>
            {
                // Another host cannot know the port.
                if *packet.from.ip() != loading.lease.tftp {
                    return;
                }
                let mut packets = Out::new();
                let Loading {
                    lease,
                    hop,
                    transfer,
                    ..
                } = &mut **loading;
                let (from, payload) = (packet.from.port(), packet.payload);
                let ended = transfer.receive(from, payload, now, &mut self.notes, &mut packets);
                send(params.mac, lease, *hop, transfer.port, packets, out);
                if let Some(Err(failure)) = ended.map(|ended| self.ended(now, ended, out)) {
                    self.finish(now, Err(failure));
                }
            }
            State::Done(outcome) => self.closed.count(port, now, &mut outcome.numbers),
            _ => self.closed.count(port, now, &mut self.notes.numbers),
        }
    }

    fn given(&mut self, now: Duration, given: Given) {
        let Given { lease, boot } = given;
        match boot {
            Boot::Url(url) => self.start(now, lease.address, Program::Url(url)),
            boot => self.state = State::Resolving(Resolving::new(lease, now), boot),
        }
    }

    /// Asks for a file, first how long it is.
    fn load(
        &mut self,
        now: Duration,
        (lease, hop): (Lease, Mac),
        name: String,
        (purpose, promised): (Purpose, Option<u64>),
        out: &mut Vec<Vec<u8>>,
    ) {
        let port = FIRST_PORT + self.transfers;
        self.transfers = (self.transfers + 1) % (u16::MAX - FIRST_PORT);
        let (mut packets, manner) = (Out::new(), self.manner(purpose));
        let transfer = Transfer::start(
            name,
            purpose,
            manner,
            port,
            now,
            &mut self.notes,
            &mut packets,
        );
        send(self.params.mac, &lease, hop, port, packets, out);
        self.state = State::Loading(Box::new(Loading {
            lease,
            hop,
            promised,
            transfer,
        }));
    }

    fn manner(&self, purpose: Purpose) -> Manner {
        let probes = purpose == Purpose::Probe;
        let common = Manner {
            tsize: probes,
            timeout: self.params.file_timeout,
            keep: self.params.keep,
            ..Manner::PI
        };
        match self.params.kind {
            PcKind::BiosPxe => Manner {
                block_size: (!probes).then_some(1456),
                stop: (0, "TFTP Aborted"),
                ..common
            },
            // MtftpSupport in EDK2: PXEBC_MTFTP_TIMEOUT, and one question more for the size.
            PcKind::UefiPxe(_) | PcKind::UefiHttp(_) | PcKind::Ipxe => Manner {
                block_size: Some(1468),
                window: Some(4),
                stop: (8, "User aborted the transfer"),
                request_again: Duration::from_secs(4),
                ack_again: Duration::from_secs(4),
                ..common
            },
        }
    }

    /// A transfer is over: the file is asked for, or started.
    fn ended(
        &mut self,
        now: Duration,
        ended: Ended,
        out: &mut Vec<Vec<u8>>,
    ) -> Result<(), Failure> {
        let State::Loading(loading) = &self.state else {
            return Ok(());
        };
        self.closed.push(loading.transfer.port, now);
        let (lease, hop, path) = (loading.lease, loading.hop, loading.transfer.path.clone());
        let (tftp, silence) = (lease.tftp, self.params.file_timeout);
        match ended {
            Ended::Found(size) => {
                let purpose = (Purpose::Read, size);
                self.load(now, (lease, hop), path, purpose, out);
                Ok(())
            }
            Ended::File(file) => {
                if let Some(said) = loading.promised.filter(|&said| said != file.len) {
                    let (path, got) = (path.clone(), file.len);
                    self.notes.violation(Violation::Tsize { path, said, got });
                }
                let name = path;
                self.start(now, lease.address, Program::File { tftp, name, file });
                Ok(())
            }
            Ended::Absent | Ended::NoOack => Err(Failure::Missing {
                path,
                why: "it is what DHCP named",
            }),
            Ended::TooLarge { block_size } => Err(Failure::TooLarge { path, block_size }),
            Ended::Refused { code, text } => Err(Failure::Refused {
                path,
                tftp,
                code,
                text,
            }),
            Ended::Timeout { bytes } => Err(Failure::Timeout {
                path,
                tftp,
                silence,
                bytes,
            }),
        }
    }

    fn start(&mut self, now: Duration, address: Ipv4Addr, program: Program) {
        self.finish(now, Ok(Started { address, program }));
    }

    fn finish(&mut self, now: Duration, boot: Result<Started, Failure>) {
        let Notes {
            violations,
            mut numbers,
        } = std::mem::take(&mut self.notes);
        numbers.duration = now - self.since.unwrap_or(now);
        self.state = State::Done(Box::new(Outcome {
            boot,
            violations,
            numbers,
        }));
    }
}

#[cfg(test)]
mod tests;
