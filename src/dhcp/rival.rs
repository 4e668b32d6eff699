//! Is there another DHCP server? The question, as a frame to send, and the judgement of each frame that comes back.
//!
//! Two servers that do not know of each other give one address to two machines, so full mode asks before it starts. Any
//! bytes may come back; only a DHCPOFFER with an address, for our own question, counts. A proxy's offer has none.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::{MessageType, OptionCode, borrowed};
use ramboot_wire::Mac;

/// When the question is sent, after the start: packets get lost.
pub const ASK_AT: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(1_200),
    Duration::from_millis(2_400),
];

/// How long is listened. dnsmasq pings an address for 3 s before it offers it (`PING_WAIT` of its config.h), ISC dhcpd
/// and Kea for 1 s or less.
pub const LISTEN_FOR: Duration = Duration::from_millis(4_500);

/// Bytes of a frame that are looked at: Ethernet's longest.
pub const FRAME_BYTES: usize = 1_514;

const ETHERNET_BYTES: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const UDP: u8 = 17;
const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// RFC 2131 §2, figure 1; an Ethernet address has six bytes of the sixteen.
const CHADDR: std::ops::Range<usize> = 28..34;
/// And the name of a boot file.
const FILE: std::ops::Range<usize> = 108..236;
/// And its hardware type and length: Ethernet, six.
const BOOTREPLY: [u8; 3] = [2, 1, 6];
const MIN_DHCP_BYTES: usize = 240;
/// RFC 1542 §2.1: what is shorter may be dropped on its way.
const QUESTION_BYTES: usize = 300;

/// A server that offers addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rival {
    /// Option 54; where that is missing, the packet's source.
    pub server: Ipv4Addr,
    /// What it offered.
    pub offered: Ipv4Addr,
    /// What it says machines should boot, if it does: the fixed field or option 67, and who has it.
    pub boots: Option<String>,
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (it offered {})", self.server, self.offered)
    }
}

/// A DHCPDISCOVER to everybody, Ethernet header and all. The broadcast flag is set: the answer has to be heard without
/// an address.
#[must_use]
pub fn question(mac: Mac, xid: u32) -> Vec<u8> {
    let mut dhcp = vec![1, 1, 6, 0];
    dhcp.extend(xid.to_be_bytes());
    dhcp.extend([0, 0, 0x80, 0]);
    dhcp.extend([0; 16]);
    dhcp.extend(mac.0);
    dhcp.resize(236, 0);
    dhcp.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255]);
    dhcp.resize(QUESTION_BYTES, 0);

    let udp_bytes = length(8 + dhcp.len());
    let ip_bytes = length(20 + 8 + dhcp.len());
    let mut ip = vec![0x45, 0];
    ip.extend(ip_bytes);
    ip.extend([0, 0, 0, 0, 64, UDP, 0, 0]);
    ip.extend(Ipv4Addr::UNSPECIFIED.octets());
    ip.extend(Ipv4Addr::BROADCAST.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum);

    let mut frame = vec![0xff; 6];
    frame.extend(mac.0);
    frame.extend(IPV4);
    frame.extend(ip);
    frame.extend(CLIENT_PORT.to_be_bytes());
    frame.extend(SERVER_PORT.to_be_bytes());
    frame.extend(udp_bytes);
    // RFC 768: no checksum.
    frame.extend([0, 0]);
    frame.extend(dhcp);
    frame
}

/// The server that answered the question of `mac` and `xid` with this frame.
#[must_use]
pub fn answer(frame: &[u8], mac: Mac, xid: u32) -> Option<Rival> {
    let (source, dhcp) = server_packet(frame)?;
    // chaddr() of dhcproto trusts the length that stands in the packet, so the field is read here.
    if dhcp.len() < MIN_DHCP_BYTES || dhcp[..3] != BOOTREPLY || dhcp[CHADDR] != mac.0 {
        return None;
    }
    let message = borrowed::Message::new(dhcp).ok()?;
    if message.xid() != xid || message.yiaddr().is_unspecified() {
        return None;
    }
    let option = |code| {
        let mut all = message.opts();
        all.find(|option| option.code() == code)
            .map(|option| option.data().to_vec())
    };
    if option(OptionCode::MessageType)? != [u8::from(MessageType::Offer)] {
        return None;
    }
    let named =
        option(OptionCode::ServerIdentifier).and_then(|data| <[u8; 4]>::try_from(data).ok());
    let field = dhcp[FILE].split(|byte| *byte == 0).next();
    let file = option(OptionCode::BootfileName).or_else(|| field.map(<[u8]>::to_vec));
    let boots = file.filter(|file| !file.is_empty()).map(|file| {
        let next = Ipv4Addr::new(dhcp[20], dhcp[21], dhcp[22], dhcp[23]);
        format!("{} from {next}", String::from_utf8_lossy(&file))
    });
    Some(Rival {
        server: named.map_or(source, Ipv4Addr::from),
        offered: message.yiaddr(),
        boots,
    })
}

/// Source and payload of a whole UDP packet from a server's to a client's port.
fn server_packet(frame: &[u8]) -> Option<(Ipv4Addr, &[u8])> {
    if frame.get(12..ETHERNET_BYTES)? != IPV4 {
        return None;
    }
    let ip = frame.get(ETHERNET_BYTES..)?;
    let (version, words) = (ip.first()? >> 4, usize::from(ip[0] & 0xf));
    let header = ip.get(..words * 4).filter(|_| version == 4 && words >= 5)?;
    // More fragments, or not the first one.
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    if header[9] != UDP || fragment != 0 {
        return None;
    }
    // Ethernet pads short frames, so the header's word counts.
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let udp = ip.get(header.len()..total)?;
    let (ports, payload) = (udp.get(..4)?, udp.get(8..)?);
    let want = [SERVER_PORT.to_be_bytes(), CLIENT_PORT.to_be_bytes()].concat();
    let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    (ports == want).then_some((source, payload))
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

/// RFC 1071.
fn checksum(header: &[u8]) -> [u8; 2] {
    let words = header.chunks_exact(2);
    let mut sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [_, _, high, low] = (!sum).to_be_bytes();
    [high, low]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 7]);
    const XID: u32 = 0x1234_5678;
    const DHCP: usize = 42;

    /// Our question, turned into 192.168.77.2's offer of 192.168.77.63.
    fn offer() -> Vec<u8> {
        let mut frame = question(MAC, XID);
        frame[26..30].copy_from_slice(&[192, 168, 77, 2]);
        frame[34..38].copy_from_slice(&[0, 67, 0, 68]);
        frame[DHCP] = 2;
        frame[DHCP + 16..DHCP + 20].copy_from_slice(&[192, 168, 77, 63]);
        let options = [53, 1, 2, 54, 4, 192, 168, 77, 3, 255];
        frame[DHCP + 240..DHCP + 250].copy_from_slice(&options);
        frame
    }

    #[test]
    fn the_question_is_one_a_server_answers() {
        use super::super::request::{Arrival, Kind, Port, parse};
        let frame = question(MAC, XID);
        let arrival = Arrival {
            port: Port::Dhcp,
            source: std::net::SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
        };
        let request = parse(&frame[DHCP..], arrival).expect("a request");
        assert_eq!((request.kind, request.mac), (Kind::Discover, MAC));
        assert_eq!((request.xid, request.flags), (XID, 0x8000));
        assert_eq!(frame.len(), DHCP + 300);
        assert_eq!(checksum(&frame[14..34]), [0, 0], "the sum fits itself");
        assert_eq!(frame[16..18], [1, 72], "328 bytes of IP");
        assert_eq!(frame[38..40], [1, 52], "308 bytes of UDP");
        assert_eq!(answer(&frame, MAC, XID), None, "our own frame comes back");
    }

    #[test]
    fn one_row_per_frame() {
        let rival = |last| {
            Some(Rival {
                server: Ipv4Addr::new(192, 168, 77, last),
                offered: Ipv4Addr::new(192, 168, 77, 63),
                boots: None,
            })
        };
        let at = |at: usize, byte: u8| {
            let mut frame = offer();
            frame[at] = byte;
            frame
        };
        assert_eq!(answer(&offer(), MAC, XID), rival(3));
        let mut padded = offer();
        padded.extend([0; 30]);
        assert_eq!(answer(&padded, MAC, XID), rival(3));
        assert_eq!(answer(&at(DHCP + 244, 3), MAC, XID), rival(2), "no address");
        assert_eq!(
            answer(&at(DHCP + 243, 200), MAC, XID),
            rival(2),
            "no option 54"
        );
        let mut boots = offer();
        boots[DHCP + 20..DHCP + 24].copy_from_slice(&[192, 168, 77, 9]);
        boots[DHCP + 108..DHCP + 112].copy_from_slice(b"pxe\0");
        assert_eq!(
            answer(&boots, MAC, XID)
                .and_then(|rival| rival.boots)
                .as_deref(),
            Some("pxe from 192.168.77.9")
        );
        let mut proxy = offer();
        proxy[DHCP + 16..DHCP + 20].fill(0);
        for (what, frame) in [
            ("a proxy's", proxy),
            ("not IPv4", at(13, 6)),
            ("IPv6", at(14, 0x65)),
            ("a header of four words", at(14, 0x44)),
            ("a longer header", at(14, 0x4f)),
            ("longer than it is", at(16, 9)),
            ("shorter than DHCP", at(16, 0)),
            ("a fragment", at(20, 0x20)),
            ("not the first fragment", at(21, 1)),
            ("TCP", at(23, 6)),
            ("from a client", at(35, 68)),
            ("to a server", at(37, 67)),
            ("a question", at(DHCP, 1)),
            ("another transaction", at(DHCP + 4, 0)),
            ("another machine", at(DHCP + 33, 0)),
            ("a longer address", at(DHCP + 2, 16)),
            ("an address longer than the field", at(DHCP + 2, 255)),
            ("no cookie", at(DHCP + 236, 0)),
            ("an ACK", at(DHCP + 242, 5)),
        ] {
            assert_eq!(answer(&frame, MAC, XID), None, "{what}");
        }
        for length in 0..DHCP + 300 {
            assert_eq!(answer(&offer()[..length], MAC, XID), None, "{length} bytes");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn any_frame_is_survived(frame in prop::collection::vec(any::<u8>(), 0..FRAME_BYTES)) {
            prop_assert_eq!(answer(&frame, MAC, XID), None);
        }

        #[test]
        fn a_changed_offer_is_survived(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20)) {
            let mut frame = offer();
            for (at, byte) in changes {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
            if let Some(rival) = answer(&frame, MAC, XID) {
                prop_assert!(!rival.offered.is_unspecified());
            }
        }
    }
}
