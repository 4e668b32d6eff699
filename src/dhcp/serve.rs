//! The shell: receives, lets [`decide`] decide, sends, remembers, and logs. No rule stands here.
//!
//! One task an interface. Leases belong to all of them, since a network behind a relay can be reached through any; they
//! are locked from decision to send, which does not wait.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: owns the sockets and the clock"
)]

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;
use tokio::sync::{broadcast, watch};
use tracing::{debug, info, warn};

use super::arp;
use super::consider::{Means, Office, learn};
use super::decide::decide;
use super::delay::Delayed;
use super::firmware::Firmware;
use super::ignore_reason::Why;
use super::lease::Leases;
use super::ping::Pinger;
use super::policy::{Mode, Policy};
use super::probe::{Conflict, Due, Probes, Way};
use super::reply::Reply;
use super::report::{answered, ignored, seen};
use super::request::{Arrival, Kind, MAX_REQUEST_BYTES, Port, Request, parse};
use super::socket::{Counters, Sockets};
use super::verdict::{Answer, Verdict};
use crate::fleet::event::Sign;
use crate::fleet::shared::SharedFleet;
use crate::host::packet_socket::Link;
use crate::pi::boards_seen::Seen;

/// After a receive error (the interface went down, say), so that a lasting one does not spin.
const RECEIVE_PAUSE: Duration = Duration::from_secs(1);

/// Packets taken from one socket before others have their turn.
const BATCH: usize = 64;

/// Other servers that are named in the log; a network that has more has other troubles.
const MAX_OTHER_SERVERS: usize = 16;

/// One byte more than is taken, so that a longer packet is seen to be one.
const BUFFER_BYTES: usize = MAX_REQUEST_BYTES + 1;

/// Is told what became of a packet (answered, ignored, malformed) and why, to count it.
pub type Decided = dyn Fn(&'static str, &'static str) + Send + Sync;

/// What all interfaces share.
pub struct Shared {
    /// What became of packets.
    pub counters: Counters,
    /// Hears of machines that ask.
    fleet: Arc<SharedFleet>,
    decided: Box<Decided>,
    /// Raspberry Pis that asked.
    pub boards: Arc<Seen>,
    leases: Mutex<Leases>,
    start: Instant,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Nothing promised, nothing counted; time begins.
    #[must_use]
    pub fn new(fleet: Arc<SharedFleet>, decided: Box<Decided>) -> Self {
        Self {
            counters: Counters::default(),
            fleet,
            decided,
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
    let mut responder = Responder {
        sockets,
        policy: policies.borrow_and_update().clone(),
        shared,
        pinger: None,
        probes: Probes::default(),
        delayed: Delayed::default(),
        other_servers: HashSet::new(),
    };
    let mut signs = shared.fleet.signs();
    responder.reach_relays();
    loop {
        let wake = responder.wake();
        let received = tokio::select! {
            () = &mut shutdown => return,
            Ok(()) = policies.changed() => {
                responder.policy.clone_from(&policies.borrow_and_update());
                responder.reach_relays();
                Ok(())
            }
            ready = responder.sockets.dhcp.readable() => ready.and_then(|()| responder.receive(Port::Dhcp)),
            ready = responder.sockets.boot_server.readable() => ready.and_then(|()| responder.receive(Port::BootServer)),
            heard = hear(responder.sockets.arp.as_ref()) => heard.map(|claims| responder.heard(claims)),
            heard = echoes(responder.pinger.as_ref()) => heard.map(|from| responder.echoed(from)),
            sign = next(&mut signs) => {
                responder.learn(sign);
                Ok(())
            }
            () = tokio::time::sleep_until(wake.unwrap_or(shared.start).into()), if wake.is_some() => Ok(()),
        };
        if let Err(error) = received {
            responder.failed("receiving", &error);
            tokio::time::sleep(RECEIVE_PAUSE).await;
        }
        responder.act_on_due();
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

/// Who answered echo requests since the last time; never without a socket for them.
async fn echoes(pinger: Option<&Pinger>) -> io::Result<Vec<Ipv4Addr>> {
    match pinger {
        Some(pinger) => pinger.hear(BATCH).await,
        None => std::future::pending().await,
    }
}

/// What is heard of a machine next; what was missed is missed.
async fn next(signs: &mut broadcast::Receiver<Sign>) -> Sign {
    loop {
        match signs.recv().await {
            Ok(sign) => return sign,
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// One interface.
struct Responder<'a> {
    sockets: Sockets,
    policy: Policy,
    shared: &'a Shared,
    pinger: Option<Pinger>,
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

impl Responder<'_> {
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
        self.judge(request);
    }

    fn judge(&mut self, request: Request) {
        let mut leases = self.shared.leases();
        let decided = self.office(&mut leases).consider(request);
        if let Some((request, verdict)) = decided {
            self.answer(leases, &request, verdict);
        }
    }

    fn office<'b>(&'b mut self, leases: &'b mut Leases) -> Office<'b> {
        Office {
            now: self.now(),
            policy: &self.policy,
            leases,
            probes: &mut self.probes,
            means: Means {
                arp: self.sockets.arp.is_some(),
                echo: self.pinger.is_some(),
            },
        }
    }

    fn answer(&mut self, mut leases: MutexGuard<'_, Leases>, request: &Request, verdict: Verdict) {
        let now = self.now();
        // Whoever asks DHCP is believed; before it is answered, or what it does next might be heard of first.
        let _ = self.shared.fleet.saw(seen(request, &verdict.answer));
        match &verdict.answer {
            Answer::Reply(reply) => match self.send_or_delay(reply, request.arrival.port, now) {
                Ok(()) => {
                    Counters::add(&self.shared.counters.answered);
                    answered(request, reply, &self.policy);
                    self.count("answered", request.firmware.label());
                }
                // What was not sent was not promised: no lease.
                Err(error) => {
                    let what = format!("sending to {} ({})", request.mac, reply.to);
                    return match error.downcast::<io::Error>() {
                        Ok(error) => self.failed(&what, &error),
                        Err(error) => {
                            warn!(source = %request.mac, "{what} on {}: {error:#}", self.policy.interface);
                        }
                    };
                }
            },
            Answer::Ignore(why) => {
                Counters::add(&self.shared.counters.ignored);
                ignored(request, why, &self.policy);
                self.count("ignored", why.label());
            }
        }
        if let Some(change) = verdict.lease {
            leases.apply(change);
        }
        drop(leases);
        if let Answer::Ignore(Why::OtherServer(server)) = verdict.answer {
            self.other_server(server, request);
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
            if let Some(conflict) = self.probes.heard(claim, own) {
                self.in_use(conflict);
            }
        }
    }

    fn echoed(&mut self, from: Vec<Ipv4Addr>) {
        for address in from {
            if let Some(conflict) = self.probes.echoed(address) {
                self.in_use(conflict);
            }
        }
    }

    fn in_use(&mut self, conflict: Conflict<Request>) {
        let by = conflict
            .who
            .map_or_else(String::new, |mac| format!(" by {mac}"));
        info!(
            source = %conflict.wish.mac,
            "{} on {} is in use{by}: {} gets another address",
            conflict.wish.address, self.policy.interface, conflict.wish.mac
        );
        let mut leases = self.shared.leases();
        let decided = self.office(&mut leases).reconsider(conflict);
        if let Some((request, verdict)) = decided {
            self.answer(leases, &request, verdict);
        }
    }

    /// Addresses behind relays are looked for from the first policy on that has some.
    fn reach_relays(&mut self) {
        let relays = matches!(&self.policy.mode, Mode::Full(full) if full.has_relays());
        if !relays || self.pinger.is_some() {
            return;
        }
        match Pinger::open() {
            Ok(pinger) => self.pinger = Some(pinger),
            Err(error) => warn!(
                "addresses behind relays are offered without asking who has them: opening a raw ICMP socket: {error}; start as root or from the systemd unit (CAP_NET_RAW)"
            ),
        }
    }

    /// A machine was heard of by another way than DHCP.
    fn learn(&self, sign: Sign) {
        if let Some(change) = learn(sign, &self.policy, self.now()) {
            self.shared.leases().apply(change);
        }
    }

    fn act_on_due(&mut self) {
        let now = self.now();
        for due in self.probes.due(now) {
            match due {
                Due::Ask(way, address) => self.ask(way, address),
                Due::Free(request) => self.judge(request),
            }
        }
        while let Some(packet) = self.delayed.pop(now) {
            if let Err(error) = self.send(&packet) {
                self.failed(&format!("sending to {}", packet.to), &error);
            }
        }
    }

    fn ask(&self, way: Way, address: Ipv4Addr) {
        let arp = self.sockets.arp.as_ref().map(AsyncFd::get_ref);
        let sent = match (way, arp, &self.pinger) {
            (Way::Arp, Some(arp), _) => arp.send(&arp::probe(arp.mac(), address)),
            (Way::Echo, _, Some(pinger)) => pinger.ask(address),
            _ => Ok(()),
        };
        if let Err(error) = sent {
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
            warn!(source = %interface, "{what} on {interface}: {error}");
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
        (self.shared.decided)(decision, reason);
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
