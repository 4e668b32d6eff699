//! Who has the ports that the manager needs. A shell; what it means is said in `checks`.
//!
//! A manager that runs is not believed that it listens: each port is tried on the interface and the address there are now, and what
//! is taken is looked for among the manager's own sockets.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};

use crate::config::words::DhcpMode;
use crate::control::About;
use crate::dhcp::socket::{BOOT_SERVER_PORT, BindError, DHCP_PORT, Sockets};
use crate::host::interface::Interface;
use crate::host::port_owner::{self, Owner, Proto};

/// One port that the manager needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PortFact {
    /// For scripts.
    pub(super) check: &'static str,
    /// "UDP 69".
    pub(super) name: String,
    /// What for.
    pub(super) what: &'static str,
    /// Who has it.
    pub(super) state: PortState,
}

/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PortState {
    /// Nobody.
    Free,
    /// Nobody, and the manager that runs says that it serves there.
    Missing,
    /// Who should.
    Manager,
    /// Somebody else, if it can be seen who.
    Taken(Option<Owner>),
    /// It cannot be told, for this reason.
    Unknown(String),
}

/// Who has the ports that serving on `interface` needs. Each is opened for a moment; what is taken while a manager runs that may not
/// be asked, or whose sockets this user may not see, is likely its own.
#[must_use]
pub(super) fn ports(
    interface: &Interface,
    mode: DhcpMode,
    http_port: u16,
    about: &Result<About, io::ErrorKind>,
) -> Vec<PortFact> {
    let likely = matches!(about, Err(io::ErrorKind::PermissionDenied));
    let serves = |about: &&About| {
        let mut served = about.interfaces.iter();
        served.any(|one| one.name == interface.name)
    };
    let manager = about.as_ref().ok().filter(serves).map(|about| about.pid);
    let fact = |check, proto, (address, port), what, tried: Result<(), Refusal>| PortFact {
        check,
        name: match proto {
            Proto::Tcp => format!("TCP {port}"),
            Proto::Udp => format!("UDP {port}"),
        },
        what,
        state: match (tried, manager) {
            (Ok(()), None) => PortState::Free,
            (Ok(()), Some(_)) => PortState::Missing,
            (Err(Refusal::Taken), manager) => {
                let local = SocketAddrV4::new(address, port);
                let owner = port_owner::owner(proto, port);
                // In a container the manager has another number than here.
                let own = |pid| {
                    port_owner::is_held_by(pid, proto, local)
                        || owner.as_ref().is_some_and(|by| by.program == "ramboot")
                };
                match (manager, &owner) {
                    (Some(pid), _) if own(pid) => PortState::Manager,
                    (None, None) if !likely => PortState::Taken(None),
                    (_, None) => PortState::Unknown("taken, by the manager most likely".to_owned()),
                    (_, Some(_)) => PortState::Taken(owner),
                }
            }
            (Err(Refusal::NotAllowed), _) => PortState::Unknown("only root may try".to_owned()),
            (Err(Refusal::Other(why)), _) => PortState::Unknown(why),
        },
    };
    let mut facts = Vec::new();
    if mode != DhcpMode::Off {
        for (check, port, what) in [
            ("udp-67", DHCP_PORT, "DHCP"),
            ("udp-4011", BOOT_SERVER_PORT, "UEFI's boot server"),
        ] {
            let tried = Sockets::try_port(interface, port).map_err(Refusal::from);
            let local = (Ipv4Addr::UNSPECIFIED, port);
            facts.push(fact(check, Proto::Udp, local, what, tried));
        }
    }
    let (tftp, http) = (
        (interface.address, TFTP_PORT),
        (interface.address, http_port),
    );
    let tried = UdpSocket::bind(tftp).map(drop).map_err(Refusal::from);
    facts.push(fact("udp-69", Proto::Udp, tftp, "TFTP", tried));
    let tried = TcpListener::bind(http).map(drop).map_err(Refusal::from);
    facts.push(fact("http", Proto::Tcp, http, "HTTP", tried));
    facts
}

/// Why a port could not be had for a moment.
enum Refusal {
    Taken,
    NotAllowed,
    Other(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::Taken,
            io::ErrorKind::PermissionDenied => Self::NotAllowed,
            _ => Self::Other(error.to_string()),
        }
    }
}

impl From<BindError> for Refusal {
    fn from(error: BindError) -> Self {
        match error {
            BindError::Taken { .. } => Self::Taken,
            BindError::NotAllowed { .. } => Self::NotAllowed,
            error @ BindError::Other { .. } => {
                Self::Other(format!("{:#}", anyhow::Error::new(error)))
            }
        }
    }
}

/// RFC 1350.
const TFTP_PORT: u16 = 69;
