//! The answer to one request: fixed fields mirrored, boot file as the firmware wants it, and where to send it.

use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::error::EncodeError;
use dhcproto::v4::{
    DhcpOption, Encodable as _, Message, MessageType, Opcode, OptionCode, UnknownOption,
};

use super::firmware::Firmware;
use super::policy::{Mode, Policy};
use super::request::{Port, Request};

/// The file a BIOS ROM runs: iPXE that uses the ROM's own network driver.
pub const BIOS_BOOT_FILE: &str = "undionly.kpxe";

/// RFC 951 has 64 bytes where the options stand today; relays and old ROMs drop what is shorter (RFC 1542 §2.1).
const MIN_REPLY_BYTES: usize = 300;

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

/// PXE 2.1 §2.2.3, table 2-1: tag 6, PXE_DISCOVERY_CONTROL, bit 3: boot the file named here, discover no boot servers.
const PXE_OPTIONS: [u8; 4] = [6, 1, 8, 255];

/// Sub-option 176 of option 175: iPXE does not wait for a proxy's offer.
const IPXE_NO_PXEDHCP: [u8; 3] = [0xb0, 1, 1];

/// What to send, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The answer.
    pub message: Message,
    /// From the port the request came to.
    pub to: SocketAddrV4,
    /// What it tells the client to boot.
    pub boot: Option<BootFile>,
}

/// What a client is told to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootFile {
    /// By HTTP.
    Script(String),
    /// By TFTP, from the server itself.
    Tftp(&'static str),
}

impl Reply {
    /// An answer of `kind` that gives the address `yours`; 0.0.0.0 for none.
    pub(super) fn new(
        request: &Request,
        policy: &Policy,
        kind: MessageType,
        yours: Ipv4Addr,
    ) -> Self {
        let none = Ipv4Addr::UNSPECIFIED;
        // RFC 2131 §4.3.1, table 3: only a DHCPACK has the client's own address in it.
        let ciaddr = if kind == MessageType::Ack {
            request.ciaddr
        } else {
            none
        };
        let mut message = Message::new_with_id(
            request.xid,
            ciaddr,
            yours,
            none,
            request.giaddr,
            &request.mac.0,
        );
        message.set_opcode(Opcode::BootReply);
        message.set_flags(request.flags.into());
        message.opts_mut().insert(DhcpOption::MessageType(kind));
        message
            .opts_mut()
            .insert(DhcpOption::ServerIdentifier(policy.server));
        if let Some(info) = &request.relay_info {
            unknown(&mut message, OptionCode::RelayAgentInformation, info);
        }
        Self {
            to: destination(request, kind),
            message,
            boot: None,
        }
    }

    /// Adds what to boot, if the client asked to.
    pub(super) fn with_boot(mut self, request: &Request, policy: &Policy) -> Self {
        let (boot, file) = match request.firmware {
            Firmware::BiosPxe | Firmware::IpxeWithoutHttp => {
                (BootFile::Tftp(BIOS_BOOT_FILE), BIOS_BOOT_FILE.to_owned())
            }
            Firmware::Ipxe => {
                let url = policy.script_url(request.mac.into());
                (BootFile::Script(url.clone()), url)
            }
            Firmware::Init | Firmware::System | Firmware::Later(_) => return self,
        };
        let message = &mut self.message;
        // iPXE takes an offer with next server and file name as the whole answer (dhcp_has_pxeopts in its dhcp.c);
        // with either missing it would ask again on port 4011.
        message.set_siaddr(policy.server);
        message.set_sname_str(policy.server.to_string());
        message.set_fname_str(file);
        let options = message.opts_mut();
        options.insert(DhcpOption::ClassIdentifier(b"PXEClient".to_vec()));
        options.insert(DhcpOption::VendorExtensions(PXE_OPTIONS.to_vec()));
        if let Some(id) = &request.machine_id {
            options.insert(DhcpOption::ClientMachineIdentifier(id.clone()));
        }
        if let (Firmware::Ipxe, Mode::Full(_)) = (request.firmware, &policy.mode) {
            unknown(message, OptionCode::Unknown(175), &IPXE_NO_PXEDHCP);
        }
        self.boot = Some(boot);
        self
    }

    /// The client has what it asked for and will not ask again before it acts on it: an ACK, a NAK, a proxy's offer.
    #[must_use]
    pub fn settles(&self) -> bool {
        let offer = self.message.opts().has_msg_type(MessageType::Offer);
        !offer || self.message.yiaddr().is_unspecified()
    }

    /// What the client gets, for people.
    #[must_use]
    pub fn gives(&self) -> String {
        let yours = self.message.yiaddr();
        let address = (!yours.is_unspecified()).then(|| yours.to_string());
        let boot = self.boot.as_ref().map(BootFile::to_string);
        let words: Vec<String> = address.into_iter().chain(boot).collect();
        match (
            words.is_empty(),
            self.message.opts().has_msg_type(MessageType::Nak),
        ) {
            (_, true) => "refused (DHCPNAK), it has to ask for another address".to_owned(),
            (true, false) => "parameters only".to_owned(),
            (false, false) => words.join(", "),
        }
    }

    /// The bytes to send.
    ///
    /// # Errors
    /// The message cannot be written; nothing this module builds is like that.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut bytes = self.message.to_vec()?;
        if bytes.len() < MIN_REPLY_BYTES {
            bytes.resize(MIN_REPLY_BYTES, 0);
        }
        Ok(bytes)
    }
}

/// An option dhcproto would parse, or does not know, as the bytes it is.
pub(super) fn unknown(message: &mut Message, code: OptionCode, data: &[u8]) {
    let option = UnknownOption::new(code, data.to_vec());
    message.opts_mut().insert(DhcpOption::Unknown(option));
}

/// RFC 2131 §4.1. Where it says unicast to `yiaddr`, this broadcasts: the client has no address yet, so it answers
/// no ARP, and a UDP socket cannot send to a hardware address. Every client takes a broadcast; the RFC's flag exists
/// for those which take nothing else.
fn destination(request: &Request, kind: MessageType) -> SocketAddrV4 {
    let broadcast = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT);
    let source = request.arrival.source;
    if request.arrival.port == Port::BootServer {
        // PXE 2.1 §2.2.5: a client with an address asks from it, and listens on the port it asked from.
        return if source.ip().is_unspecified() {
            broadcast
        } else {
            source
        };
    }
    if !request.giaddr.is_unspecified() {
        return SocketAddrV4::new(request.giaddr, SERVER_PORT);
    }
    if kind == MessageType::Nak || request.ciaddr.is_unspecified() {
        return broadcast;
    }
    SocketAddrV4::new(request.ciaddr, CLIENT_PORT)
}

impl std::fmt::Display for BootFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Script(url) => f.write_str(url),
            Self::Tftp(file) => write!(f, "{file} by TFTP"),
        }
    }
}
