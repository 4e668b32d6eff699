//! The sockets of one interface, and what is counted of them.
//!
//! UDP 67 and 4011, bound to the device: a request is answered on the network it came from. In full mode ARP, too, to
//! look for an address before it is offered.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;
use tracing::warn;

use crate::host::interface::Interface;
use crate::host::packet_socket::{Frames, INTERACTIVE, Link};

/// Of a DHCP server.
pub const DHCP_PORT: u16 = 67;
/// PXE's boot server.
pub const BOOT_SERVER_PORT: u16 = 4011;

/// A thousand requests wait while one burst is answered; the system gives less if `net.core.rmem_max` is less.
const RECEIVE_BUFFER_BYTES: usize = 2 * 1024 * 1024;

/// The sockets of one interface.
#[derive(Debug)]
pub struct Sockets {
    pub(super) dhcp: UdpSocket,
    pub(super) boot_server: UdpSocket,
    pub(super) arp: Option<AsyncFd<Link>>,
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
    pub(super) asked: AtomicU64,
    pub(super) answered: AtomicU64,
    pub(super) ignored: AtomicU64,
    pub(super) malformed: AtomicU64,
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

impl BindError {
    fn of(port: u16, interface: &Interface, source: io::Error) -> Self {
        let interface = interface.name.clone();
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::Taken { port, interface },
            io::ErrorKind::PermissionDenied => Self::NotAllowed { port, interface },
            _ => Self::Other {
                port,
                interface,
                source,
            },
        }
    }
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

    pub(super) fn add(counter: &AtomicU64) {
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
            open(&interface.name, port)
                .and_then(UdpSocket::from_std)
                .map_err(|source| BindError::of(port, interface, source))
        };
        Ok(Self {
            dhcp: bind(DHCP_PORT)?,
            boot_server: bind(BOOT_SERVER_PORT)?,
            arp: None,
        })
    }

    /// Has a port for a moment, on the interface as it is now, whatever number the kernel knew it by before: then nobody else
    /// has it there.
    ///
    /// # Errors
    /// It is taken or not allowed.
    pub fn try_port(interface: &Interface, port: u16) -> Result<(), BindError> {
        open(&interface.name, port)
            .map(drop)
            .map_err(|source| BindError::of(port, interface, source))
    }

    /// Listens for ARP, too. Where that cannot be had, says so, and addresses are offered without being looked for.
    #[must_use]
    #[expect(
        deprecated,
        reason = "the function that replaces it is unsafe for types whose descriptor changes: a Link keeps its one"
    )]
    pub fn with_arp(mut self, interface: &Interface) -> Self {
        let open = || {
            let link = Link::open(&interface.name, Frames::Arp)?;
            link.set_nonblocking()?;
            AsyncFd::new(link)
        };
        match open() {
            Ok(arp) => self.arp = Some(arp),
            Err(error) => warn!(
                "addresses on {} are offered without asking who has them: opening a packet socket: {error}; start as root or from the systemd unit (CAP_NET_RAW)",
                interface.name
            ),
        }
        self
    }
}

/// 0.0.0.0 and not the interface's address, as clients without one broadcast; the device keeps other networks out.
/// SO_REUSEADDR stays off: two servers on one port would each get some of the requests.
fn open(interface: &str, port: u16) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_broadcast(true)?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    // An offer does not wait in the NIC's queue behind the images of others. TFTP's blocks do: they are such images.
    socket.set_priority(INTERACTIVE)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_sends_is_sent_before_bulk_data() {
        let socket = open("lo", 0).expect("a socket");
        let priority = socket2::SockRef::from(&socket).priority();
        assert_eq!(priority.expect("an option"), INTERACTIVE);
    }
}
