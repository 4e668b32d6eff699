//! Every socket of the manager, opened before the first packet is answered; what is taken is said with its owner.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};

use crate::config::Config;
use crate::dhcp;
use crate::dhcp::policy::{Mode, Policy};
use crate::interface::Interface;
use crate::port::{self, Proto};

/// RFC 1350.
pub(super) const TFTP_PORT: u16 = 69;
const TFTP_TAKEN: &str = "stop that TFTP server, BIOS machines ask this port only";
const HTTP_TAKEN: &str = "give another one with --http-port";
/// Connections that wait to be accepted: a rack that is switched on at once.
const BACKLOG: i32 = 4096;

/// All that `serve` listens on.
pub(super) struct Sockets {
    pub(super) http: Vec<TcpListener>,
    /// Heartbeats come to the port number that HTTP has.
    pub(super) heartbeats: Vec<UdpSocket>,
    pub(super) tftp: Vec<UdpSocket>,
    pub(super) dhcp: Vec<(dhcp::socket::Sockets, Policy)>,
}

impl Sockets {
    pub(super) fn open(config: &Config, interfaces: &[Interface]) -> anyhow::Result<Self> {
        let mut all = Self {
            http: Vec::new(),
            heartbeats: Vec::new(),
            tftp: Vec::new(),
            dhcp: Vec::new(),
        };
        let policies = Policy::all(config, interfaces, config.http_port)?;
        for (interface, policy) in interfaces.iter().zip(policies) {
            let mut sockets = dhcp::socket::Sockets::bind(interface)?;
            if matches!(policy.mode, Mode::Full(_)) && interface.mac.is_some() {
                sockets = sockets.with_arp(interface);
            }
            all.dhcp.push((sockets, policy));
        }
        for interface in interfaces {
            // On the interface's own address: an answer must come from where it was asked for.
            all.tftp
                .push(udp(interface.address, TFTP_PORT, TFTP_TAKEN)?);
            all.heartbeats
                .push(udp(interface.address, config.http_port, HTTP_TAKEN)?);
            all.http.push(tcp(interface.address, config.http_port)?);
        }
        Ok(all)
    }
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
            let owner = port::owner(proto, port)
                .unwrap_or_else(|| "a process this user may not see".to_owned());
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
