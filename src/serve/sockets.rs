//! Every socket of the manager, opened before the first packet is answered; what is taken is said with its owner.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};

use crate::config::Config;
use crate::dhcp;
use crate::dhcp::policy::{Mode, Policy};
use crate::host::interface::Interface;
use crate::host::port_owner::{self, Proto};

use super::interface_changes::{self, Place};

/// RFC 1350.
pub(super) const TFTP_PORT: u16 = 69;
const TFTP_TAKEN: &str = "stop that TFTP server, BIOS machines ask this port only";
const HTTP_TAKEN: &str = "give another one with --http-port";
/// Connections that wait to be accepted: a rack that is switched on at once.
const BACKLOG: i32 = 4096;

/// All that `serve` listens on when it starts.
pub(super) struct Sockets {
    pub(super) dhcp: Vec<(Interface, dhcp::socket::Sockets, Policy)>,
    pub(super) addresses: Vec<(Ipv4Addr, AddressSockets)>,
}

/// Those on the interface's own address: an answer must come from where it was asked for.
pub(super) struct AddressSockets {
    pub(super) http: TcpListener,
    /// Heartbeats come to the port number that HTTP has.
    pub(super) heartbeats: UdpSocket,
    pub(super) tftp: UdpSocket,
}

impl Sockets {
    pub(super) fn open(config: &Config, interfaces: &[Interface]) -> anyhow::Result<Self> {
        let policies = Policy::all(config, interfaces, config.http_port)?;
        let dhcp = interfaces.iter().zip(policies).map(|(interface, policy)| {
            let sockets = dhcp(interface, &policy)?;
            Ok((interface.clone(), sockets, policy))
        });
        let dhcp = dhcp.collect::<anyhow::Result<_>>()?;
        let places: Vec<_> = interfaces.iter().cloned().map(Place::new).collect();
        let addresses = interface_changes::addresses(&places)
            .into_iter()
            .map(|address| {
                let sockets = AddressSockets::open(address, config.http_port)?;
                Ok((address, sockets))
            });
        Ok(Self {
            dhcp,
            addresses: addresses.collect::<anyhow::Result<_>>()?,
        })
    }
}

impl AddressSockets {
    pub(super) fn open(address: Ipv4Addr, http_port: u16) -> anyhow::Result<Self> {
        Ok(Self {
            tftp: udp(address, TFTP_PORT, TFTP_TAKEN)?,
            heartbeats: udp(address, http_port, HTTP_TAKEN)?,
            http: tcp(address, http_port)?,
        })
    }
}

/// DHCP's sockets on one interface; in full mode ARP, too.
pub(super) fn dhcp(
    interface: &Interface,
    policy: &Policy,
) -> anyhow::Result<dhcp::socket::Sockets> {
    let sockets = dhcp::socket::Sockets::bind(interface)?;
    let full = matches!(policy.mode, Mode::Full(_)) && interface.mac.is_some();
    Ok(if full {
        sockets.with_arp(interface)
    } else {
        sockets
    })
}

fn tcp(address: Ipv4Addr, port: u16) -> anyhow::Result<TcpListener> {
    use socket2::{Domain, Socket, Type};
    let open = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Connections of the manager before this one may still be in TIME-WAIT (RFC 9293 §3.6.1).
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((address, port)).into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(TcpListener::from(socket))
    };
    open().map_err(|error| taken(error, Proto::Tcp, address, port, HTTP_TAKEN))
}

fn udp(address: Ipv4Addr, port: u16, remedy: &str) -> anyhow::Result<UdpSocket> {
    UdpSocket::bind(SocketAddrV4::new(address, port))
        .map_err(|error| taken(error, Proto::Udp, address, port, remedy))
}

/// A socket error in words: which port, who has it, and what to do.
fn taken(
    error: std::io::Error,
    proto: Proto,
    address: Ipv4Addr,
    port: u16,
    remedy: &str,
) -> anyhow::Error {
    let name = match proto {
        Proto::Tcp => "TCP",
        Proto::Udp => "UDP",
    };
    match error.kind() {
        ErrorKind::AddrInUse => {
            let unseen = || "a process this user may not see".to_owned();
            let owner = port_owner::owner(proto, port).map_or_else(unseen, |by| by.to_string());
            anyhow::anyhow!("{name} port {port} is taken by {owner}: {remedy}")
        }
        ErrorKind::PermissionDenied => {
            anyhow::anyhow!(
                "{name} port {port} is for root or whoever has CAP_NET_BIND_SERVICE: use sudo or the systemd unit"
            )
        }
        _ => anyhow::Error::new(error).context(format!("listening on {name} {address}:{port}")),
    }
}
