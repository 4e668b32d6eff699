//! The shell: receives, lets [`decide`] decide, sends, then remembers, and logs. No rule stands here.
//!
//! One pair of sockets an interface, UDP 67 and 4011, bound to its device: a request is answered on the network it
//! came from. All leases of an interface live in [`run`]'s own future.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: owns the sockets and the clock"
)]

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tracing::{debug, info, warn};

use super::decide::decide;
use super::lease::Leases;
use super::policy::Policy;
use super::reply::Reply;
use super::request::{Arrival, MAX_REQUEST_BYTES, Port, Request, parse};
use super::verdict::{Answer, Verdict};
use super::why::Why;
use crate::interface::Interface;

const DHCP_PORT: u16 = 67;
const BOOT_SERVER_PORT: u16 = 4011;

/// After a receive error (the interface went down, say), so that a lasting one does not spin.
const RECEIVE_PAUSE: Duration = Duration::from_secs(1);

/// The two sockets of one interface.
#[derive(Debug)]
pub struct Sockets {
    dhcp: UdpSocket,
    boot_server: UdpSocket,
}

/// Why a port could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else has it.
    #[error(
        "UDP {port} on {interface} is taken: dnsmasq, isc-dhcp-server or another ramboot? \"ss -lunp sport = :{port}\" names it; stop it, or say --dhcp off"
    )]
    Taken {
        /// Which.
        port: u16,
        /// Where.
        interface: String,
    },
    /// Ports below 1024, and binding to a device, are privileged.
    #[error(
        "UDP {port} on {interface} needs the capabilities CAP_NET_BIND_SERVICE and CAP_NET_RAW: start as root or from the systemd unit, or say --dhcp off"
    )]
    NotAllowed {
        /// Which.
        port: u16,
        /// Where.
        interface: String,
    },
    /// Anything else.
    #[error("binding UDP {port} on {interface}")]
    Other {
        /// Which.
        port: u16,
        /// Where.
        interface: String,
        /// What the system said.
        source: io::Error,
    },
}

/// What was received and what became of it, since the start. Shared between all interfaces.
#[derive(Debug, Default)]
pub struct Counters {
    asked: AtomicU64,
    answered: AtomicU64,
    ignored: AtomicU64,
    malformed: AtomicU64,
}

/// [`Counters`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Packets received.
    pub asked: u64,
    /// Answers sent.
    pub answered: u64,
    /// Well-formed requests that were met with silence.
    pub ignored: u64,
    /// Packets that are no client's DHCP message.
    pub malformed: u64,
}

impl Counters {
    /// Reads them.
    #[must_use]
    pub fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            asked: read(&self.asked),
            answered: read(&self.answered),
            ignored: read(&self.ignored),
            malformed: read(&self.malformed),
        }
    }

    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Sockets {
    /// Binds both ports on one interface; needs a tokio runtime around it.
    ///
    /// # Errors
    /// A port is taken or not allowed; the text says which and what to do.
    pub fn bind(interface: &Interface) -> Result<Self, BindError> {
        let bind = |port| {
            bind(&interface.name, port).map_err(|source| {
                let interface = interface.name.clone();
                match source.kind() {
                    io::ErrorKind::AddrInUse => BindError::Taken { port, interface },
                    io::ErrorKind::PermissionDenied => BindError::NotAllowed { port, interface },
                    _ => BindError::Other {
                        port,
                        interface,
                        source,
                    },
                }
            })
        };
        Ok(Self {
            dhcp: bind(DHCP_PORT)?,
            boot_server: bind(BOOT_SERVER_PORT)?,
        })
    }
}

/// 0.0.0.0 and not the interface's address, as clients without one broadcast; the device keeps other networks out.
/// SO_REUSEADDR stays off: two servers on one port would each get some of the requests.
fn bind(interface: &str, port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_broadcast(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    UdpSocket::from_std(socket.into())
}

/// Answers until `shutdown`.
pub async fn run(
    sockets: Sockets,
    policy: Policy,
    counters: &Counters,
    shutdown: impl Future<Output = ()>,
) {
    let start = Instant::now();
    let mut leases = Leases::default();
    let mut shutdown = pin!(shutdown);
    // One byte more than is taken, so that a longer packet is seen to be one.
    let mut buffers = [[0; MAX_REQUEST_BYTES + 1]; 2];
    let [dhcp, boot_server] = &mut buffers;
    loop {
        let (port, received) = tokio::select! {
            () = &mut shutdown => return,
            received = sockets.dhcp.recv_from(dhcp) => (Port::Dhcp, received),
            received = sockets.boot_server.recv_from(boot_server) => (Port::BootServer, received),
        };
        let (socket, buffer) = match port {
            Port::Dhcp => (&sockets.dhcp, &*dhcp),
            Port::BootServer => (&sockets.boot_server, &*boot_server),
        };
        let (length, source) = match received {
            Ok((length, SocketAddr::V4(source))) => (length, source),
            Ok((_, SocketAddr::V6(_))) => continue,
            Err(error) => {
                warn!("receiving on {}: {error}", policy.interface);
                tokio::time::sleep(RECEIVE_PAUSE).await;
                continue;
            }
        };
        let arrival = Arrival { port, source };
        Counters::add(&counters.asked);
        match parse(&buffer[..length], arrival) {
            Err(why) => malformed(&why, &source, &policy, counters),
            Ok(request) => {
                let verdict = decide(&request, &policy, &leases, start.elapsed());
                carry_out(verdict, &request, socket, &policy, &mut leases, counters).await;
            }
        }
    }
}

async fn carry_out(
    verdict: Verdict,
    request: &Request,
    socket: &UdpSocket,
    policy: &Policy,
    leases: &mut Leases,
    counters: &Counters,
) {
    match &verdict.answer {
        Answer::Reply(reply) => match send(reply, socket).await {
            Ok(()) => {
                Counters::add(&counters.answered);
                answered(request, reply, policy);
            }
            // What was not sent was not promised: no lease.
            Err(error) => {
                warn!(
                    "sending to {} ({}) on {}: {error:#}",
                    request.mac, reply.to, policy.interface
                );
                return;
            }
        },
        Answer::Ignore(why) => {
            Counters::add(&counters.ignored);
            ignored(request, why, policy);
        }
    }
    if let Some(change) = verdict.lease {
        leases.apply(change);
    }
}

async fn send(reply: &Reply, socket: &UdpSocket) -> anyhow::Result<()> {
    let bytes = reply.encode()?;
    socket.send_to(&bytes, reply.to).await?;
    Ok(())
}

fn answered(request: &Request, reply: &Reply, policy: &Policy) {
    let Request { mac, firmware, .. } = request;
    let (interface, gives) = (&policy.interface, reply.gives());
    if reply.settles() {
        info!("{mac} {firmware} on {interface}: {gives}");
    } else {
        debug!("{mac} {firmware} on {interface}: offered {gives}");
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

fn malformed(why: &Why, source: &SocketAddrV4, policy: &Policy, counters: &Counters) {
    Counters::add(&counters.malformed);
    debug!(
        "packet from {source} on {} not answered: {why}",
        policy.interface
    );
}
