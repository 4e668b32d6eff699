//! Who has the ports that the manager needs. A shell; what it means is said in `checks`.

use std::io;
use std::net::{TcpListener, UdpSocket};

use crate::cli::DhcpMode;
use crate::control::About;
use crate::dhcp::socket::{BindError, Sockets};
use crate::interface::Interface;
use crate::port::{self, Proto};

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
    /// Who should.
    Manager,
    /// Somebody else, if it can be seen who.
    Taken(Option<String>),
    /// It cannot be told, for this reason.
    Unknown(String),
}

/// Who has the ports that serving on `interface` needs. Each is opened for a moment, if no manager has them; what is taken
/// while a manager runs that may not be asked is likely its own.
#[must_use]
pub(super) fn ports(
    interface: &Interface,
    mode: DhcpMode,
    http_port: u16,
    about: &Result<About, io::ErrorKind>,
) -> Vec<PortFact> {
    let serves = about.as_ref().is_ok_and(|about| {
        let mut served = about.interfaces.iter();
        served.any(|one| one.name == interface.name && one.address == interface.address)
    });
    let fact = |check, name: &str, what, state| PortFact {
        check,
        name: name.to_owned(),
        what,
        state,
    };
    let address = interface.address;
    let mut facts = Vec::new();
    if mode != DhcpMode::Off {
        let (dhcp, boot_server) = if serves {
            (PortState::Manager, PortState::Manager)
        } else {
            dhcp_ports(interface)
        };
        facts.push(fact("udp-67", "UDP 67", "DHCP", dhcp));
        facts.push(fact(
            "udp-4011",
            "UDP 4011",
            "UEFI's boot server",
            boot_server,
        ));
    }
    let tftp = || state(UdpSocket::bind((address, 69)).map(drop), Proto::Udp, 69);
    let http = || {
        state(
            TcpListener::bind((address, http_port)).map(drop),
            Proto::Tcp,
            http_port,
        )
    };
    let or_manager =
        |state: &dyn Fn() -> PortState| if serves { PortState::Manager } else { state() };
    facts.push(fact("udp-69", "UDP 69", "TFTP", or_manager(&tftp)));
    let name = format!("TCP {http_port}");
    facts.push(fact("http", &name, "HTTP", or_manager(&http)));
    if matches!(about, Err(io::ErrorKind::PermissionDenied)) {
        for fact in &mut facts {
            if fact.state == PortState::Taken(None) {
                fact.state = PortState::Unknown("taken, by the manager most likely".to_owned());
            }
        }
    }
    facts
}

fn dhcp_ports(interface: &Interface) -> (PortState, PortState) {
    // The sockets are tokio's, and want a runtime around them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        let why = || PortState::Unknown("no runtime".to_owned());
        return (why(), why());
    };
    let _guard = runtime.enter();
    match Sockets::bind(interface) {
        Ok(_) => (PortState::Free, PortState::Free),
        Err(BindError::Taken { port: 67, .. }) => (
            PortState::Taken(port::owner(Proto::Udp, 67)),
            PortState::Unknown("not tried".to_owned()),
        ),
        Err(BindError::Taken { port, .. }) => (
            PortState::Free,
            PortState::Taken(port::owner(Proto::Udp, port)),
        ),
        Err(error) => {
            let why = match error {
                BindError::NotAllowed { .. } => "only root may try".to_owned(),
                error => format!("{:#}", anyhow::Error::new(error)),
            };
            (PortState::Unknown(why.clone()), PortState::Unknown(why))
        }
    }
}

fn state(tried: io::Result<()>, proto: Proto, port: u16) -> PortState {
    match tried {
        Ok(()) => PortState::Free,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            PortState::Taken(port::owner(proto, port))
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            PortState::Unknown("only root may try".to_owned())
        }
        Err(error) => PortState::Unknown(error.to_string()),
    }
}
