//! A packet and how it arrived become facts, once. Nobody below this looks at options again.
//!
//! Takes any bytes; refuses with a reason what is not a client's DHCP message over Ethernet. Options are read one by
//! one from the packet, so an option that makes no sense cannot hide the ones behind it, and options nobody here
//! asks for are never parsed.

use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::v4::{OptionCode, borrowed};
use ramboot_wire::{Client, Mac, Uuid};

use super::firmware::{Firmware, Marks};
use super::why::Why;

/// Longest request taken: an Ethernet frame's worth. iPXE sends 400 bytes, UEFI firmware 347.
pub const MAX_REQUEST_BYTES: usize = 1_500;

/// Fixed fields and magic cookie.
const MIN_REQUEST_BYTES: usize = 240;

/// Type byte and UUID, RFC 4578 §2.3.
const MACHINE_ID_BYTES: usize = 17;

const BOOTREQUEST: u8 = 1;
const ETHERNET: (u8, u8) = (1, 6);

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
    /// Hardware address. Transactions are told apart by it, as a Pi 3's ROM always sends the same `xid`.
    pub mac: Mac,
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
    /// Option 82, to be mirrored (RFC 3046 §2.2).
    pub relay_info: Option<Vec<u8>>,
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
    if (htype, hlen) != ETHERNET {
        return Err(Why::NotEthernet { htype, hlen });
    }
    let mac = machine(message.chaddr())?;
    let options = Options::read(&message)?;
    Ok(Request {
        arrival,
        kind: kind(options.message_type)?,
        firmware: Firmware::recognise(&options.marks(message.xid()), mac),
        mac,
        xid: message.xid(),
        flags: message.flags().into(),
        ciaddr: message.ciaddr(),
        giaddr: message.giaddr(),
        requested: options
            .requested
            .filter(|address| !address.is_unspecified()),
        server: options.server,
        client_id: options.client_id,
        machine_id: options.machine_id.filter(|id| id.len() == MACHINE_ID_BYTES),
        relay_info: options.relay_info,
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

/// The options that matter; of one that stands twice apart, the first counts.
#[derive(Default)]
struct Options {
    message_type: Option<u8>,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    class: Option<Vec<u8>>,
    client_id: Option<Vec<u8>>,
    user_class: Option<Vec<u8>>,
    relay_info: Option<Vec<u8>>,
    arch: Option<u16>,
    machine_id: Option<Vec<u8>>,
    ipxe: Option<Vec<u8>>,
}

impl Options {
    fn read(message: &borrowed::Message<'_>) -> Result<Self, Why> {
        let mut options = Self::default();
        for option in message.opts() {
            let data = option.data();
            match option.code() {
                OptionCode::RequestedIpAddress => first(&mut options.requested, address(50, data)?),
                OptionCode::MessageType => first(&mut options.message_type, byte(53, data)?),
                OptionCode::ServerIdentifier => first(&mut options.server, address(54, data)?),
                OptionCode::ClassIdentifier => first(&mut options.class, data.to_vec()),
                OptionCode::ClientIdentifier => first(&mut options.client_id, data.to_vec()),
                OptionCode::UserClass => first(&mut options.user_class, data.to_vec()),
                OptionCode::RelayAgentInformation => first(&mut options.relay_info, data.to_vec()),
                OptionCode::ClientSystemArchitecture => first(&mut options.arch, arch(data)?),
                OptionCode::ClientMachineIdentifier => {
                    first(&mut options.machine_id, data.to_vec())
                }
                OptionCode::Unknown(175) => first(&mut options.ipxe, data.to_vec()),
                _ => {}
            }
        }
        Ok(options)
    }

    fn marks(&self, xid: u32) -> Marks<'_> {
        Marks {
            class: self.class.as_deref().unwrap_or_default(),
            user_class: self.user_class.as_deref().unwrap_or_default(),
            arch: self.arch,
            machine_id: self.machine_id.as_deref().unwrap_or_default(),
            ipxe: self.ipxe.as_deref(),
            xid,
        }
    }
}

fn first<T>(slot: &mut Option<T>, value: T) {
    slot.get_or_insert(value);
}

fn byte(code: u8, data: &[u8]) -> Result<u8, Why> {
    match data {
        [byte] => Ok(*byte),
        _ => Err(Why::BadOption {
            code,
            len: data.len(),
        }),
    }
}

fn address(code: u8, data: &[u8]) -> Result<Ipv4Addr, Why> {
    <[u8; 4]>::try_from(data)
        .map(Ipv4Addr::from)
        .map_err(|_| Why::BadOption {
            code,
            len: data.len(),
        })
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
