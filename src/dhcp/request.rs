//! A packet and how it arrived become facts, once. Nobody below this looks at options again.
//!
//! Takes any bytes; refuses with a reason what is not a client's DHCP message over Ethernet or InfiniBand. Options are
//! read one by one from the packet ([`super::options`]), so an option that makes no sense cannot hide the ones behind it,
//! and options nobody here asks for are never parsed.

use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::v4::borrowed;
use ramboot_wire::{Client, Mac, Uuid};

use super::firmware::{Firmware, Marks};
use super::ignore_reason::Why;
use super::options::Options;
use super::relay::Relay;

/// Longest request taken: an Ethernet frame's worth. iPXE sends 400 bytes, UEFI firmware 347.
pub const MAX_REQUEST_BYTES: usize = 1_500;

/// Fixed fields and magic cookie.
const MIN_REQUEST_BYTES: usize = 240;

/// Type byte and UUID, RFC 4578 §2.3.
const MACHINE_ID_BYTES: usize = 17;

const BOOTREQUEST: u8 = 1;
const ETHERNET: (u8, u8) = (1, 6);

/// RFC 4390 §2.1: no hardware address stands in `chaddr`, since it has 20 bytes.
const INFINIBAND: (u8, u8) = (32, 0);
/// iPXE writes its port's GUID there.
const INFINIBAND_GUID: (u8, u8) = (32, 8);
/// A type and at least one byte (RFC 2132 §9.14).
const MIN_CLIENT_ID_BYTES: usize = 2;

/// RFC 2131 §2: a datagram that every client takes, whatever it says in option 57.
const MIN_DATAGRAM_BYTES: u16 = 576;
/// What an Ethernet takes without fragments.
const MAX_DATAGRAM_BYTES: u16 = 1_500;
const IP_UDP_BYTES: usize = 20 + 8;

/// How a packet came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Which of the two sockets it came to.
    pub port: Port,
    /// Who sent it.
    pub source: SocketAddrV4,
}

/// The ports a netboot client asks on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// UDP 67: DHCP.
    Dhcp,
    /// UDP 4011: PXE 2.1 §2.2, a client that has an address asks a boot server.
    BootServer,
}

/// What a client can want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// DHCPDISCOVER
    Discover,
    /// DHCPREQUEST
    Request,
    /// DHCPDECLINE
    Decline,
    /// DHCPRELEASE
    Release,
    /// DHCPINFORM
    Inform,
}

/// A client's message, as far as anything here depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// How it came in.
    pub arrival: Arrival,
    /// What it wants.
    pub kind: Kind,
    /// What sent it.
    pub firmware: Firmware,
    /// Hardware address. Transactions are told apart by it, as a Pi 3's ROM always sends the same `xid`. On InfiniBand it is
    /// made of the client identifier, and is no address that anybody has.
    pub mac: Mac,
    /// The link the client is on.
    pub link: Link,
    /// Mirrored.
    pub xid: u32,
    /// All sixteen bits, mirrored; the highest is BROADCAST.
    pub flags: u16,
    /// The address it has; 0.0.0.0 for none.
    pub ciaddr: Ipv4Addr,
    /// The relay it came through; 0.0.0.0 for none.
    pub giaddr: Ipv4Addr,
    /// Option 50.
    pub requested: Option<Ipv4Addr>,
    /// Option 54.
    pub server: Option<Ipv4Addr>,
    /// Option 61, to be mirrored (RFC 6842).
    pub client_id: Option<Vec<u8>>,
    /// Option 97, to be mirrored.
    pub machine_id: Option<Vec<u8>>,
    /// Option 82.
    pub relay: Option<Relay>,
    /// Bytes of the longest message the client takes: option 57 (RFC 2132 §9.10) without the headers of IP and UDP.
    pub limit: usize,
}

/// The link a client is on, and how its hardware address is mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// `chaddr` is the MAC.
    Ethernet,
    /// RFC 4390: `chaddr` is empty, or has a GUID.
    Infiniband {
        /// As it stands in the packet.
        guid: Option<[u8; 8]>,
    },
}

/// Reads a packet.
///
/// # Errors
/// It is not a DHCP message of an Ethernet client; [`Why::is_malformed`] holds for each of these reasons.
pub fn parse(bytes: &[u8], arrival: Arrival) -> Result<Request, Why> {
    if bytes.len() > MAX_REQUEST_BYTES {
        return Err(Why::TooLong {
            max: MAX_REQUEST_BYTES,
        });
    }
    if bytes.len() < MIN_REQUEST_BYTES {
        return Err(Why::TooShort(bytes.len()));
    }
    let message = borrowed::Message::new(bytes).map_err(|_| Why::TooShort(bytes.len()))?;
    let (op, htype, hlen) = (bytes[0], bytes[1], bytes[2]);
    if op != BOOTREQUEST {
        return Err(Why::NotARequest(op));
    }
    let options = Options::read(bytes);
    let client_id = options.whole(61);
    let (mac, link) = match (htype, hlen) {
        ETHERNET => (machine(message.chaddr())?, Link::Ethernet),
        INFINIBAND | INFINIBAND_GUID => (
            infiniband(client_id.as_deref())?,
            Link::Infiniband {
                guid: message.chaddr().try_into().ok(),
            },
        ),
        _ => return Err(Why::NotEthernet { htype, hlen }),
    };
    let requested = options.fixed(50)?.map(Ipv4Addr::from);
    let message_type = options.fixed(53)?.map(|[kind]: [u8; 1]| kind);
    let machine_id = options.whole(97);
    let (class, user_class, ipxe) = (options.whole(60), options.whole(77), options.whole(175));
    let marks = Marks {
        class: class.as_deref().unwrap_or_default(),
        user_class: user_class.as_deref().unwrap_or_default(),
        arch: options.whole(93).map(|data| arch(&data)).transpose()?,
        machine_id: machine_id.as_deref().unwrap_or_default(),
        ipxe: ipxe.as_deref(),
        xid: message.xid(),
    };
    Ok(Request {
        arrival,
        kind: kind(message_type)?,
        firmware: Firmware::recognise(&marks, mac),
        mac,
        link,
        xid: message.xid(),
        flags: message.flags().into(),
        ciaddr: message.ciaddr(),
        giaddr: message.giaddr(),
        requested: requested.filter(|address| !address.is_unspecified()),
        server: options.fixed(54)?.map(Ipv4Addr::from),
        client_id,
        machine_id: machine_id.filter(|id| id.len() == MACHINE_ID_BYTES),
        relay: options.whole(82).map(Relay::parse),
        limit: limit(options.fixed(57)?.map(u16::from_be_bytes)),
    })
}

fn machine(chaddr: &[u8]) -> Result<Mac, Why> {
    let mac = chaddr.try_into().map(Mac).unwrap_or(Mac([0; 6]));
    // The lowest bit of the first octet marks a group (IEEE 802 §8.2.2), which cannot ask for anything.
    if mac.0 == [0; 6] || mac.0[0] & 1 == 1 {
        Err(Why::NotAMachine(mac))
    } else {
        Ok(mac)
    }
}

/// RFC 4390 §2.1: the client identifier is all that tells one machine from another. What is made of it is a locally
/// administered unicast address (IEEE 802 §8.2.2), the same one at each start.
fn infiniband(client_id: Option<&[u8]>) -> Result<Mac, Why> {
    let id = client_id.filter(|id| id.len() >= MIN_CLIENT_ID_BYTES);
    let [first, b, c, d, e, f, ..] = *blake3::hash(id.ok_or(Why::NoClientId)?).as_bytes();
    Ok(Mac([first & 0xfc | 2, b, c, d, e, f]))
}

fn limit(asked: Option<u16>) -> usize {
    let datagram = asked.unwrap_or(MIN_DATAGRAM_BYTES);
    let datagram = datagram.clamp(MIN_DATAGRAM_BYTES, MAX_DATAGRAM_BYTES);
    usize::from(datagram) - IP_UDP_BYTES
}

const fn kind(message_type: Option<u8>) -> Result<Kind, Why> {
    match message_type {
        None => Err(Why::Bootp),
        Some(1) => Ok(Kind::Discover),
        Some(3) => Ok(Kind::Request),
        Some(4) => Ok(Kind::Decline),
        Some(7) => Ok(Kind::Release),
        Some(8) => Ok(Kind::Inform),
        Some(other) => Err(Why::NotAClients(other)),
    }
}

/// RFC 4578 §2.1: a list of sixteen-bit numbers; the first is what runs now.
fn arch(data: &[u8]) -> Result<u16, Why> {
    match data {
        [high, low, ..] if data.len().is_multiple_of(2) => Ok(u16::from_be_bytes([*high, *low])),
        _ => Err(Why::BadOption {
            code: 93,
            len: data.len(),
        }),
    }
}

impl Request {
    /// It is the same question, though perhaps in another transaction.
    #[must_use]
    pub fn asks_as(&self, other: &Self) -> bool {
        let question = |one: &Self| (one.kind, one.requested, one.server, one.ciaddr, one.giaddr);
        question(self) == question(other)
    }

    /// It came through a relay.
    #[must_use]
    pub const fn is_relayed(&self) -> bool {
        !self.giaddr.is_unspecified()
    }

    /// What the relay says, if the request came through one.
    #[must_use]
    pub fn relay(&self) -> Option<&Relay> {
        self.relay.as_ref().filter(|_| self.is_relayed())
    }

    /// The address a server that has this one is to show itself with: its own, or the relay's (RFC 5107 §5).
    #[must_use]
    pub fn server_seen(&self, own: Ipv4Addr) -> Ipv4Addr {
        self.relay().and_then(|relay| relay.server).unwrap_or(own)
    }

    /// The machine, as far as its firmware describes it.
    #[must_use]
    pub fn client(&self) -> Client {
        // A Raspberry Pi has its serial number there; machines without a UUID send zeros or ones.
        let uuid = self.machine_id.as_deref().and_then(|id| match id {
            [0, uuid @ ..] => uuid.try_into().map(Uuid).ok(),
            _ => None,
        });
        let is_one = |uuid: &Uuid| uuid.0 != [0; 16] && uuid.0 != [0xff; 16];
        Client {
            mac: self.mac,
            arch: self.firmware.arch(),
            uuid: uuid
                .filter(is_one)
                .filter(|_| !matches!(self.firmware, Firmware::Pi(_))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, arrival};
    use ramboot_wire::Arch;

    use super::*;

    fn why(change: impl FnOnce(&mut Vec<u8>)) -> Why {
        let mut bytes = testing::Client::ipxe().discover().bytes();
        change(&mut bytes);
        parse(&bytes, arrival(Port::Dhcp)).expect_err("refused")
    }

    #[test]
    fn one_row_per_refusal() {
        assert_eq!(why(|b| b.resize(1501, 0)), Why::TooLong { max: 1500 });
        assert_eq!(why(|b| b.truncate(239)), Why::TooShort(239));
        assert_eq!(why(Vec::clear), Why::TooShort(0));
        assert_eq!(why(|b| b[0] = 2), Why::NotARequest(2));
        assert_eq!(why(|b| b[1] = 32), Why::NotEthernet { htype: 32, hlen: 6 });
        assert_eq!(
            why(|b| b[2] = 255),
            Why::NotEthernet {
                htype: 1,
                hlen: 255
            }
        );
        assert_eq!(why(|b| b[28..34].fill(0)), Why::NotAMachine(Mac([0; 6])));
        assert_eq!(
            why(|b| b[28] = 0x53),
            Why::NotAMachine(Mac([0x53, 0x54, 0, 0x12, 0x34, 0x56]))
        );
        assert_eq!(why(|b| b[236] = 0), Why::Bootp);
        assert_eq!(why(|b| b.truncate(240)), Why::Bootp);
        assert_eq!(why(|b| b[242] = 2), Why::NotAClients(2));
        assert_eq!(why(|b| b[242] = 200), Why::NotAClients(200));
        let tail = |tail: &[u8]| {
            why(|b| {
                b.truncate(240);
                b.extend(tail)
            })
        };
        assert_eq!(
            tail(&[53, 2, 1, 1, 255]),
            Why::BadOption { code: 53, len: 2 }
        );
        assert_eq!(tail(&[53, 0, 255]), Why::BadOption { code: 53, len: 0 });
        assert_eq!(
            tail(&[53, 1, 1, 50, 3, 1, 2, 3, 255]),
            Why::BadOption { code: 50, len: 3 }
        );
        assert_eq!(
            tail(&[53, 1, 1, 54, 5, 1, 2, 3, 4, 5, 255]),
            Why::BadOption { code: 54, len: 5 }
        );
        assert_eq!(
            tail(&[53, 1, 1, 93, 1, 0, 255]),
            Why::BadOption { code: 93, len: 1 }
        );
        assert_eq!(tail(&[53, 200, 1]), Why::Bootp);
    }

    #[test]
    fn odd_options_do_not_hide_others() {
        let mut bytes = testing::Client::ipxe().discover().bytes();
        bytes.truncate(240);
        // A host name that is not UTF-8, Rapid Commit with a body, a name of zero bytes, pads, then what matters.
        bytes.extend([
            12, 2, 0xff, 0xfe, 80, 1, 9, 81, 0, 0, 0, 53, 1, 1, 77, 4, b'i', b'P', b'X', b'E', 255,
        ]);
        let request = parse(&bytes, arrival(Port::Dhcp)).expect("a request");
        assert_eq!(
            (request.kind, request.firmware),
            (Kind::Discover, Firmware::Ipxe(Some(Arch::X86_64)))
        );
    }

    #[test]
    fn facts_of_a_request() {
        let request = testing::Client::ipxe()
            .request([10, 0, 0, 9], [10, 0, 0, 1])
            .parse(Port::Dhcp);
        assert_eq!(request.kind, Kind::Request);
        assert_eq!(request.requested, Some(Ipv4Addr::new(10, 0, 0, 9)));
        assert_eq!(request.server, Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(request.machine_id, Some(vec![0; 17]));
        assert_eq!(request.xid, 0x1234_5678);
    }
}
