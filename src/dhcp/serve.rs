//! The shell: receives, lets [`decide`] decide, sends, remembers, and logs. No rule stands here.
//!
//! One task an interface. Leases belong to all of them, since a network behind a relay can be reached through any; they
//! are locked from decision to send, which does not wait.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: owns the sockets and the clock"
)]

use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tracing::{Level, debug, enabled, info, warn};

use super::arp;
use super::decide::decide;
use super::delay::Delayed;
use super::firmware::Firmware;
use super::lease::{LeaseChange, Leases, SET_ASIDE_FOR};
use super::policy::{Mode, Policy};
use super::probe::{Due, Probes, Start};
use super::reply::Reply;
use super::request::{Arrival, Kind, MAX_REQUEST_BYTES, Port, Request, parse};
use super::socket::{Counters, Sockets};
use super::verdict::Answer;
use super::why::Why;
use crate::fleet::event::{Asked, AskedBy, Event};
use crate::fleet::watch::Watch;
use crate::link::Link;
use crate::pi::seen::Seen;

/// After a receive error (the interface went down, say), so that a lasting one does not spin.
const RECEIVE_PAUSE: Duration = Duration::from_secs(1);

/// Packets taken from one socket before others have their turn.
const BATCH: usize = 64;

/// Other servers that are named in the log; a network that has more has other troubles.
const MAX_OTHER_SERVERS: usize = 16;

/// One byte more than is taken, so that a longer packet is seen to be one.
const BUFFER_BYTES: usize = MAX_REQUEST_BYTES + 1;

/// What all interfaces share.
#[derive(Debug)]
pub struct Shared {
    /// What became of packets.
    pub counters: Counters,
    /// Hears of machines that ask.
    fleet: Arc<Watch>,
    /// Raspberry Pis that asked.
    pub boards: Arc<Seen>,
    leases: Mutex<Leases>,
    start: Instant,
}

impl Shared {
    /// Nothing promised, nothing counted; time begins.
    #[must_use]
    pub fn new(fleet: Arc<Watch>) -> Self {
        Self {
            counters: Counters::default(),
            fleet,
            boards: Arc::default(),
            leases: Mutex::default(),
            start: Instant::now(),
        }
    }

    /// What would be answered if this came in now: nothing is sent, promised, remembered or counted.
    #[must_use]
    pub fn rehearse(&self, bytes: &[u8], arrival: Arrival, policy: &Policy) -> Answer {
        match parse(bytes, arrival) {
            Ok(request) => decide(&request, policy, &self.leases(), self.start.elapsed()).answer,
            Err(why) => Answer::Ignore(why),
        }
    }

    /// Leases are whole after every change, so a task that panicked did not leave half of one.
    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers until `shutdown`, by the newest policy.
pub async fn run(
    sockets: Sockets,
    mut policies: watch::Receiver<Policy>,
    shared: &Shared,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = pin!(shutdown);
    let mut desk = Desk {
        sockets,
        policy: policies.borrow_and_update().clone(),
        shared,
        probes: Probes::default(),
        delayed: Delayed::default(),
        other_servers: HashSet::new(),
    };
    loop {
        let wake = desk.wake();
        let received = tokio::select! {
            () = &mut shutdown => return,
            Ok(()) = policies.changed() => {
                desk.policy.clone_from(&policies.borrow_and_update());
                Ok(())
            }
            ready = desk.sockets.dhcp.readable() => ready.and_then(|()| desk.receive(Port::Dhcp)),
            ready = desk.sockets.boot_server.readable() => ready.and_then(|()| desk.receive(Port::BootServer)),
            heard = hear(desk.sockets.arp.as_ref()) => heard.map(|claims| desk.heard(claims)),
            () = tokio::time::sleep_until(wake.unwrap_or(shared.start).into()), if wake.is_some() => Ok(()),
        };
        if let Err(error) = received {
            desk.failed("receiving", &error);
            tokio::time::sleep(RECEIVE_PAUSE).await;
        }
        desk.act_on_due();
    }
}

/// Who claimed addresses by ARP since the last time; never without a link.
async fn hear(arp: Option<&AsyncFd<Link>>) -> io::Result<Vec<arp::Claim>> {
    let Some(arp) = arp else {
        return std::future::pending().await;
    };
    let mut claims = Vec::new();
    let mut frame = [0; arp::FRAME_BYTES];
    let mut ready = arp.readable().await?;
    while claims.len() < BATCH {
        let read = ready.try_io(|link| Ok(rustix::io::read(link.get_ref(), &mut frame)?));
        match read {
            Ok(Ok(length)) => claims.extend(arp::claim(&frame[..length])),
            Ok(Err(error)) => return Err(error),
            Err(_would_block) => break,
        }
    }
    Ok(claims)
}

/// One interface.
struct Desk<'a> {
    sockets: Sockets,
    policy: Policy,
    shared: &'a Shared,
    probes: Probes<Request>,
    delayed: Delayed<Packet>,
    other_servers: HashSet<Ipv4Addr>,
}

/// Bytes on their way.
struct Packet {
    bytes: Vec<u8>,
    to: SocketAddrV4,
    port: Port,
}

impl Desk<'_> {
    fn now(&self) -> Duration {
        self.shared.start.elapsed()
    }

    /// When something is due that no packet brings about.
    fn wake(&self) -> Option<Instant> {
        let next = [self.probes.next(), self.delayed.next()];
        Some(self.shared.start + next.into_iter().flatten().min()?)
    }

    const fn socket(&self, port: Port) -> &UdpSocket {
        match port {
            Port::Dhcp => &self.sockets.dhcp,
            Port::BootServer => &self.sockets.boot_server,
        }
    }

    fn receive(&mut self, port: Port) -> io::Result<()> {
        let mut buffer = [0; BUFFER_BYTES];
        for _ in 0..BATCH {
            match self.socket(port).try_recv_from(&mut buffer) {
                Ok((length, SocketAddr::V4(source))) => {
                    self.packet(&buffer[..length], Arrival { port, source });
                }
                Ok((_, SocketAddr::V6(_))) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn packet(&mut self, bytes: &[u8], arrival: Arrival) {
        Counters::add(&self.shared.counters.asked);
        let request = match parse(bytes, arrival) {
            Ok(request) => request,
            Err(why) => return self.malformed(&why, &arrival.source),
        };
        if let Firmware::Pi(identity) = &request.firmware {
            self.shared.boards.note(identity);
        }
        if let Some(request) = self.probes.again(request.mac, request) {
            self.judge(request);
        }
    }

    fn judge(&mut self, request: Request) {
        let now = self.now();
        let mut leases = self.shared.leases();
        let verdict = decide(&request, &self.policy, &leases, now);
        let probe = verdict.probe.filter(|_| self.sockets.arp.is_some());
        let request = match probe.map(|address| (address, request.mac)) {
            None => request,
            // The address is the machine's meanwhile, so that nobody else waits for it.
            Some((address, mac)) => match self.probes.start(mac, address, request, now) {
                Start::Waits => return verdict.lease.into_iter().for_each(|c| leases.apply(c)),
                Start::Full(request) => request,
            },
        };
        // Whoever asks DHCP is believed; before it is answered, or what it does next might be heard of first.
        let _ = self.shared.fleet.saw(seen(&request, &verdict.answer));
        match &verdict.answer {
            Answer::Reply(reply) => match self.send_or_delay(reply, request.arrival.port, now) {
                Ok(()) => {
                    Counters::add(&self.shared.counters.answered);
                    answered(&request, reply, &self.policy);
                    self.count("answered", request.firmware.label());
                }
                // What was not sent was not promised: no lease.
                Err(error) => {
                    let what = format!("sending to {} ({})", request.mac, reply.to);
                    return match error.downcast::<io::Error>() {
                        Ok(error) => self.failed(&what, &error),
                        Err(error) => warn!("{what} on {}: {error:#}", self.policy.interface),
                    };
                }
            },
            Answer::Ignore(why) => {
                Counters::add(&self.shared.counters.ignored);
                ignored(&request, why, &self.policy);
                self.count("ignored", why.label());
            }
        }
        if let Some(change) = verdict.lease {
            leases.apply(change);
        }
        drop(leases);
        if let Answer::Ignore(Why::OtherServer(server)) = verdict.answer {
            self.other_server(server, &request);
        }
    }

    fn send_or_delay(&mut self, reply: &Reply, port: Port, now: Duration) -> anyhow::Result<()> {
        let packet = Packet {
            bytes: reply.encode()?,
            to: reply.to,
            port,
        };
        if reply.delay.is_zero() {
            return Ok(self.send(&packet)?);
        }
        let full = |_| anyhow::anyhow!("too many answers wait to be sent: the machine asks again");
        self.delayed.push(now + reply.delay, packet).map_err(full)
    }

    /// Without waiting: a full send queue is a lost packet, which every client expects.
    fn send(&self, packet: &Packet) -> io::Result<()> {
        let socket = self.socket(packet.port);
        socket
            .try_send_to(&packet.bytes, packet.to.into())
            .map(drop)
    }

    fn heard(&mut self, claims: Vec<arp::Claim>) {
        let Some(own) = self.sockets.arp.as_ref().map(|arp| arp.get_ref().mac()) else {
            return;
        };
        for claim in claims {
            let Some(conflict) = self.probes.heard(claim, own) else {
                continue;
            };
            let request = conflict.waiting;
            info!(
                "{} on {} is in use by {}: {} gets another address",
                claim.address, self.policy.interface, claim.mac, request.mac
            );
            let until = self.now() + SET_ASIDE_FOR;
            let address = claim.address;
            self.shared
                .leases()
                .apply(LeaseChange::SetAside { address, until });
            self.judge(request);
        }
    }

    fn act_on_due(&mut self) {
        let now = self.now();
        for due in self.probes.due(now) {
            match due {
                Due::Ask(address) => self.ask(address),
                Due::Free(request) => self.judge(request),
            }
        }
        while let Some(packet) = self.delayed.pop(now) {
            if let Err(error) = self.send(&packet) {
                self.failed(&format!("sending to {}", packet.to), &error);
            }
        }
    }

    fn ask(&self, address: Ipv4Addr) {
        let Some(arp) = self.sockets.arp.as_ref().map(AsyncFd::get_ref) else {
            return;
        };
        if let Err(error) = arp.send(&arp::probe(arp.mac(), address)) {
            self.failed(&format!("asking for {address}"), &error);
        }
    }

    /// That the interface itself is gone is said once, by whoever watches interfaces.
    fn failed(&self, what: &str, error: &io::Error) {
        let interface = &self.policy.interface;
        let gone = [Errno::NETDOWN, Errno::NETUNREACH, Errno::NODEV, Errno::NXIO];
        if gone
            .map(|errno| Some(errno.raw_os_error()))
            .contains(&error.raw_os_error())
        {
            debug!("{what} on {interface}: {error}");
        } else {
            warn!("{what} on {interface}: {error}");
        }
    }

    /// Said once for each: on a healthy network there is none in full mode.
    fn other_server(&mut self, server: Ipv4Addr, request: &Request) {
        let full = matches!(self.policy.mode, Mode::Full(_)) && request.kind == Kind::Request;
        if full && self.other_servers.len() < MAX_OTHER_SERVERS && self.other_servers.insert(server)
        {
            info!(
                "another DHCP server, {server}, is on {}: {} took its offer; stop one of the two, or say --dhcp proxy here",
                self.policy.interface, request.mac
            );
        }
    }

    fn count(&self, decision: &'static str, reason: &'static str) {
        self.shared.fleet.metrics().dhcp(decision, reason);
    }

    fn malformed(&self, why: &Why, source: &SocketAddrV4) {
        Counters::add(&self.shared.counters.malformed);
        self.count("malformed", why.label());
        debug!(
            "packet from {source} on {} not answered: {why}",
            self.policy.interface
        );
    }
}

/// What is to be known of a machine by what it asked and was told.
fn seen(request: &Request, answer: &Answer) -> Event {
    let firmware = request.firmware;
    let given = match answer {
        Answer::Reply(reply) => Some(reply.message.yiaddr()),
        // It takes what another server has offered.
        Answer::Ignore(Why::OtherServer(_)) => request.requested,
        Answer::Ignore(_) => None,
    };
    let client = request.client();
    Event::Asked(Asked {
        mac: request.mac,
        model: firmware.to_string(),
        pi: match firmware {
            Firmware::Pi(identity) => Some(identity),
            _ => None,
        },
        uuid: client.uuid,
        arch: client.arch,
        address: given
            .filter(|address| !address.is_unspecified())
            .or(Some(request.ciaddr)),
        asker: match firmware {
            Firmware::Init => AskedBy::Init,
            Firmware::System => AskedBy::System,
            _ => AskedBy::Firmware,
        },
        discover: request.kind == Kind::Discover,
    })
}

fn answered(request: &Request, reply: &Reply, policy: &Policy) {
    let Request { mac, firmware, .. } = request;
    let interface = &policy.interface;
    let settled = reply.settles() || firmware.takes_offers();
    if settled && enabled!(Level::INFO) {
        info!("{mac} {firmware} on {interface}: {}", reply.gives());
    } else if enabled!(Level::DEBUG) {
        debug!("{mac} {firmware} on {interface}: offered {}", reply.gives());
    }
}

fn ignored(request: &Request, why: &Why, policy: &Policy) {
    let Request { mac, firmware, .. } = request;
    let interface = &policy.interface;
    if why.is_news() {
        info!("{mac} {firmware} on {interface} not answered: {why}");
    } else {
        debug!("{mac} {firmware} on {interface} not answered: {why}");
    }
}
