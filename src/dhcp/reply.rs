//! The answer to one request: fixed fields mirrored, boot file as the firmware wants it, and where to send it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use dhcproto::error::EncodeError;
use dhcproto::v4::{
    DhcpOption, Encodable as _, HType, Message, MessageType, Opcode, OptionCode, UnknownOption,
};

use super::bootfile::{self, BootFile};
use super::encode;
use super::policy::Policy;
use super::request::{Link, Port, Request};

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

/// RFC 2131 §2, figure 2.
pub(super) const BROADCAST: u16 = 0x8000;

/// The ROM of a Pi 3 that is answered within about a second locks up, or asks for ever (raspberrypi/firmware#934); it
/// asks again after five.
const ROM_DELAY: Duration = Duration::from_millis(1_750);

/// What to send, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The answer, without option 82.
    pub message: Message,
    /// Option 82, as the relay sent it: the last option (RFC 3046 §2.2).
    pub relay_info: Option<Vec<u8>>,
    /// Bytes of the longest message the client takes.
    pub limit: usize,
    /// From the port the request came to.
    pub to: SocketAddrV4,
    /// What it tells the client to boot.
    pub boot: Option<BootFile>,
    /// How long the client must be left alone first.
    pub delay: Duration,
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
        let (chaddr, flags) = match &request.link {
            Link::Ethernet => (request.mac.0.as_slice(), request.flags),
            // RFC 4390 §2.2: with no hardware address to send to, only a broadcast arrives.
            Link::Infiniband { guid } => (
                guid.as_ref().map_or(&[][..], |guid| guid),
                request.flags | BROADCAST,
            ),
        };
        let mut message =
            Message::new_with_id(request.xid, ciaddr, yours, none, request.giaddr, chaddr);
        if request.link != Link::Ethernet {
            message.set_htype(HType::Infiniband);
        }
        message.set_opcode(Opcode::BootReply);
        message.set_flags(flags.into());
        message.opts_mut().insert(DhcpOption::MessageType(kind));
        message
            .opts_mut()
            .insert(DhcpOption::ServerIdentifier(policy.server));
        Self {
            to: destination(request, kind),
            message,
            relay_info: request.relay.as_ref().map(|relay| relay.info.clone()),
            limit: request.limit,
            boot: None,
            delay: Duration::ZERO,
        }
    }

    /// Adds what to boot, if the client asked to.
    pub(super) fn with_boot(mut self, request: &Request, policy: &Policy) -> Self {
        self.boot = bootfile::write(&mut self, request, policy);
        if request.firmware.takes_offers() {
            self.delay = ROM_DELAY;
        }
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
        let encoded = self.message.to_vec()?;
        Ok(encode::fit(encoded, self.relay_info.as_deref(), self.limit))
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
    if let Some(port) = relay_port(request) {
        return SocketAddrV4::new(request.giaddr, port);
    }
    if kind == MessageType::Nak || request.ciaddr.is_unspecified() {
        return broadcast;
    }
    SocketAddrV4::new(request.ciaddr, CLIENT_PORT)
}

/// The port of the relay that a request came through: 67, or the one it sent from, if it says so (RFC 8357 §5.3).
fn relay_port(request: &Request) -> Option<u16> {
    let from_its_port = request.relay().is_some_and(|relay| relay.from_its_port);
    let source = request.arrival.source.port();
    request.is_relayed().then_some(match source {
        1.. if from_its_port => source,
        _ => SERVER_PORT,
    })
}
