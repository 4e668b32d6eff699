//! The wire between a simulated machine and the manager that runs here: frames in, frames out, and a note of what passed.
//!
//! DHCP goes through the manager's control socket, as our own broadcasts would not reach it. TFTP goes over real UDP sockets, one
//! for each port of the machine. Where another server gives addresses, its part is played here, so nobody's lease is taken.
//! Time passes only while a real answer is waited for: a firmware's four seconds of collecting offers are skipped.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: owns sockets and the clock"
)]

mod other;
mod transfer;

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use dhcproto::v4::{DhcpOption, Message, OptionCode};
use ramboot_sim::net::{Arp, BROADCAST, Frame, arp, parse, udp};
use ramboot_sim::{Conditions, Station, Wire, boot_stations};

use self::other::played;
use self::transfer::Transfer;
use crate::control::{self, Answer, Packet, Question};
use crate::dhcp::request::{Arrival, Port, parse as parse_request};
use crate::text::hex::{hex, unhex};

/// Of everybody on the other side of the wire.
const MAC: ramboot_sim::Mac = [2, 0, 0, 0, 0, 1];
const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);
const SERVER_PORT: u16 = 67;
const BOOT_SERVER_PORT: u16 = 4011;
/// A machine that takes longer, in its own time, will not boot.
const LIMIT: Duration = Duration::from_secs(180);
/// Files that a machine asks for; the note has no more.
const MAX_EVENTS: usize = 200;

/// Who is on the network, as far as it is known here.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Where the manager's control socket is.
    pub(super) run_dir: PathBuf,
    /// An interface that is served.
    pub(super) interface: String,
    /// The manager's address there.
    pub(super) manager: Ipv4Addr,
    /// Who gives addresses instead of the manager, if it does not itself: server, address and mask to give.
    pub(super) other: Option<(Ipv4Addr, Ipv4Addr, Ipv4Addr)>,
}

/// What passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// Somebody offered this address.
    Offered {
        /// Who.
        server: Ipv4Addr,
        /// Zero: a word of booting and no address.
        address: Ipv4Addr,
        /// The file that is named.
        file: String,
    },
    /// The manager answers nothing, for this reason.
    Silent(String),
    /// A file was asked for by TFTP.
    Asked(String),
    /// There is no such file.
    Missing(String),
}

/// Boots one machine; gives it back, done, with what passed.
///
/// # Errors
/// The manager cannot be asked, or a socket cannot be had.
pub(super) fn boot(station: Station, place: &Place) -> io::Result<(Station, Vec<Event>)> {
    let clock = Rc::new(Cell::new(Duration::ZERO));
    let mut lan = Lan {
        place,
        clock: Rc::clone(&clock),
        arriving: VecDeque::new(),
        transfer: None,
        events: Vec::new(),
    };
    let mac = station.mac();
    lan.events.clear();
    let conditions = Conditions::good(LIMIT);
    let done = boot_stations(vec![station], conditions, &mut lan, &mut || clock.get())?;
    let station = done.into_iter().find(|done| done.mac() == mac);
    let station = station.ok_or_else(|| io::Error::other("the simulated machine is gone"))?;
    Ok((station, lan.events))
}

struct Lan<'a> {
    place: &'a Place,
    clock: Rc<Cell<Duration>>,
    /// Frames for the machine, and when.
    arriving: VecDeque<(Duration, Vec<u8>)>,
    transfer: Option<Transfer>,
    events: Vec<Event>,
}

impl Wire for Lan<'_> {
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        match parse(frame) {
            Some(Ok(Frame::Arp(question))) if question.request => {
                let answer = Arp {
                    request: false,
                    sender_mac: MAC,
                    sender: question.target,
                    target: question.sender,
                };
                self.arrive(Duration::ZERO, arp(MAC, answer, question.sender_mac));
                Ok(())
            }
            Some(Ok(Frame::Udp(packet))) => match packet.to.port() {
                SERVER_PORT => self.dhcp(packet.from, packet.payload),
                BOOT_SERVER_PORT if *packet.to.ip() == self.place.manager => {
                    self.ask(BOOT_SERVER_PORT, packet.from, packet.payload)
                }
                port if *packet.to.ip() == self.place.manager => {
                    self.tftp(packet.from, port, packet.payload)
                }
                // Somebody who is not here; nobody answers.
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn receive(&mut self, buffer: &mut [u8], wait: Duration) -> io::Result<Option<usize>> {
        let until = self.clock.get() + wait;
        if let Some((at, frame)) = self.arriving.front()
            && *at <= until
        {
            self.clock.set(self.clock.get().max(*at));
            let length = frame.len().min(buffer.len());
            buffer[..length].copy_from_slice(&frame[..length]);
            self.arriving.pop_front();
            return Ok(Some(length));
        }
        let awaited = self.transfer.as_mut().filter(|transfer| transfer.awaited);
        let Some(transfer) = awaited else {
            // Nothing real can come: the machine's own time goes on.
            self.clock.set(until);
            return Ok(None);
        };
        let (machine, path) = (transfer.machine, transfer.path.clone());
        let began = Instant::now();
        let received = transfer.next(wait)?;
        self.clock
            .set((self.clock.get() + began.elapsed()).min(until));
        let Some((from, payload)) = received else {
            self.clock.set(until);
            return Ok(None);
        };
        if payload.starts_with(&[0, 5]) {
            self.note(Event::Missing(path));
        }
        let frame = udp((MAC, BROADCAST), from, machine, &payload);
        let length = frame.len().min(buffer.len());
        buffer[..length].copy_from_slice(&frame[..length]);
        Ok(Some(length))
    }
}

impl Lan<'_> {
    fn arrive(&mut self, after: Duration, frame: Vec<u8>) {
        let at = self.clock.get() + after;
        let place = self.arriving.partition_point(|(other, _)| *other <= at);
        self.arriving.insert(place, (at, frame));
    }

    fn note(&mut self, event: Event) {
        if self.events.len() < MAX_EVENTS && self.events.last() != Some(&event) {
            self.events.push(event);
        }
    }

    fn dhcp(&mut self, from: SocketAddrV4, payload: &[u8]) -> io::Result<()> {
        let arrival = Arrival {
            port: Port::Dhcp,
            source: from,
        };
        if let Some((server, address, mask)) = self.place.other
            && let Ok(request) = parse_request(payload, arrival)
            && let Some(reply) = played(&request, server, address, mask)
        {
            self.offered(&reply);
            self.reply(
                Duration::ZERO,
                SocketAddrV4::new(server, SERVER_PORT),
                CLIENT,
                &reply,
            );
        }
        self.ask(SERVER_PORT, from, payload)
    }

    /// The manager, through its door.
    fn ask(&mut self, port: u16, source: SocketAddrV4, payload: &[u8]) -> io::Result<()> {
        let question = Question::Ask(Packet {
            interface: self.place.interface.clone(),
            port,
            source,
            packet: hex(payload),
        });
        let answer = control::ask(&self.place.run_dir, &question)
            .map_err(|error| io::Error::other(format!("{error:#}")))?;
        match answer {
            Answer::Replies(replies) => {
                for reply in replies {
                    let payload = unhex(&reply.packet).unwrap_or_default();
                    self.offered(&payload);
                    let from = SocketAddrV4::new(self.place.manager, port);
                    let delay = Duration::from_millis(reply.delay_ms);
                    self.reply(delay, from, reply.to, &payload);
                }
                Ok(())
            }
            Answer::Ignored(why) | Answer::Error(why) => {
                self.note(Event::Silent(why));
                Ok(())
            }
            Answer::About(_) => Err(io::Error::other("the manager answered another question")),
        }
    }

    fn reply(&mut self, delay: Duration, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) {
        self.arrive(delay, udp((MAC, BROADCAST), from, to, payload));
    }

    fn offered(&mut self, payload: &[u8]) {
        use dhcproto::{Decodable as _, Decoder};
        let Ok(message) = Message::decode(&mut Decoder::new(payload)) else {
            return;
        };
        let Some(DhcpOption::ServerIdentifier(server)) =
            message.opts().get(OptionCode::ServerIdentifier)
        else {
            return;
        };
        let option = match message.opts().get(OptionCode::BootfileName) {
            Some(DhcpOption::BootfileName(name)) => {
                Some(String::from_utf8_lossy(name).into_owned())
            }
            _ => None,
        };
        let field = message
            .fname()
            .map(|name| String::from_utf8_lossy(name).into_owned());
        let file = option.or(field).unwrap_or_default();
        self.note(Event::Offered {
            server: *server,
            address: message.yiaddr(),
            file: file.trim_end_matches('\0').to_owned(),
        });
    }

    fn tftp(&mut self, from: SocketAddrV4, port: u16, payload: &[u8]) -> io::Result<()> {
        let current = self.transfer.take().filter(|it| it.machine == from);
        let mut transfer = match current {
            Some(transfer) => transfer,
            None => Transfer {
                machine: from,
                socket: UdpSocket::bind((self.place.manager, 0))?,
                path: String::new(),
                awaited: false,
            },
        };
        // RFC 1350: 1 asks for a file, whose name ends with a zero; 4 acknowledges; 5 ends.
        transfer.awaited = matches!(payload, [0, 1 | 4, ..]);
        if let [0, 1, rest @ ..] = payload {
            let name = rest.split(|byte| *byte == 0).next().unwrap_or_default();
            transfer.path = String::from_utf8_lossy(name).into_owned();
            self.note(Event::Asked(transfer.path.clone()));
        }
        transfer
            .socket
            .send_to(payload, SocketAddrV4::new(self.place.manager, port))?;
        self.transfer = Some(transfer);
        Ok(())
    }
}
