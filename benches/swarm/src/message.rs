//! DHCP in the words of whoever asks: a PC's ROM, the iPXE it loaded, and `/init`. Pure.

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::Encodable;
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, Opcode, OptionCode, UnknownOption};
use ramboot_wire::Mac;
use ramboot_wire::dhcp::INIT_CLASS;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// A BIOS ROM (RFC 4578).
    Rom,
    /// undionly.kpxe.
    Ipxe,
    /// `/init`.
    Init,
}

impl Speaker {
    /// How long it waits for an answer after `tries` questions, before chance.
    pub(crate) fn patience(self, tries: u32) -> Duration {
        let doubled = 1_u64 << tries.min(4);
        match self {
            // PXE 2.1 §2.2.6: 4, 8, 16, 32 s.
            Self::Rom => Duration::from_secs(4 * doubled),
            // iPXE's DHCP_MIN_TIMEOUT, and /init's.
            Self::Ipxe | Self::Init => Duration::from_secs(doubled),
        }
    }
}

/// A machine as DHCP sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    pub(crate) number: u32,
}

impl Machine {
    /// Locally administered.
    pub(crate) const fn mac(self) -> Mac {
        let [a, b, c, d] = self.number.to_be_bytes();
        Mac([0x02, 0x77, a, b, c, d])
    }

    /// What it says when it looks for an address, or asks for the one `server` offered.
    pub(crate) fn says(
        self,
        speaker: Speaker,
        xid: u32,
        offer: Option<&Answer>,
    ) -> Result<Vec<u8>, dhcproto::error::EncodeError> {
        let none = Ipv4Addr::UNSPECIFIED;
        let mac = self.mac();
        let mut message = Message::new_with_id(xid, none, none, none, none, &mac.0);
        message.set_opcode(Opcode::BootRequest);
        // Answers by broadcast: the machine has no address, and here no interface of its own.
        message.set_flags(Flags::default().set_broadcast());
        let options = message.opts_mut();
        match offer {
            None => drop(options.insert(DhcpOption::MessageType(MessageType::Discover))),
            Some(offer) => {
                options.insert(DhcpOption::MessageType(MessageType::Request));
                options.insert(DhcpOption::ServerIdentifier(offer.server));
                options.insert(DhcpOption::RequestedIpAddress(offer.address));
            }
        }
        for (code, data) in self.marks(speaker) {
            let code = OptionCode::from(code);
            options.insert(DhcpOption::Unknown(UnknownOption::new(code, data)));
        }
        message.to_vec()
    }

    /// What tells firmware apart (see the manager's `dhcp::firmware`).
    fn marks(self, speaker: Speaker) -> Vec<(u8, Vec<u8>)> {
        let mut id = vec![0];
        id.extend([self.number.to_be_bytes(); 4].concat());
        let pc = [
            (60, b"PXEClient:Arch:00000:UNDI:002001".to_vec()),
            (93, vec![0, 0]),
            (94, vec![1, 2, 1]),
            (97, id),
            (55, vec![1, 3, 43, 60, 66, 67]),
        ];
        match speaker {
            Speaker::Rom => pc.into(),
            Speaker::Ipxe => {
                let ipxe = [(77, b"iPXE".to_vec()), (175, vec![0x13, 1, 1])];
                pc.into_iter().chain(ipxe).collect()
            }
            Speaker::Init => vec![(60, INIT_CLASS.to_vec()), (55, vec![1, 3, 6, 12, 15, 26])],
        }
    }
}

/// What of an answer matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) xid: u32,
    pub(crate) kind: MessageType,
    pub(crate) address: Ipv4Addr,
    pub(crate) server: Ipv4Addr,
    /// Where the boot file is, if TFTP has it.
    pub(crate) next: Ipv4Addr,
    /// A name for TFTP, or a URL.
    pub(crate) file: String,
}

impl Answer {
    /// `None` for what no DHCP server sends. Read by hand: dhcproto 0.15's decoder panics on some packets.
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let address = |at: usize, packet: &[u8]| {
            let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets))
        };
        let options = packet.get(236..)?.strip_prefix(&COOKIE)?;
        let file = packet.get(108..236)?.split(|byte| *byte == 0).next()?;
        let server = option(options, 54)?;
        let kind = MessageType::from(*option(options, 53)?.first()?);
        (packet.first() == Some(&BOOT_REPLY)).then_some(Self {
            xid: address(4, packet)?.to_bits(),
            kind,
            address: address(16, packet)?,
            server: address(0, server)?,
            next: address(20, packet)?,
            file: String::from_utf8_lossy(file).into_owned(),
        })
    }
}

const BOOT_REPLY: u8 = 2;
/// RFC 2131 §3.
const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];

/// RFC 2132 §2.
fn option(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        match options {
            [0, rest @ ..] => options = rest,
            [code, len, rest @ ..] if *code != 255 => {
                let (value, rest) = rest.split_at_checked(usize::from(*len))?;
                if *code == wanted {
                    return Some(value);
                }
                options = rest;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_answer_is_what_a_server_says() {
        let address = Ipv4Addr::new(10, 0, 0, 9);
        let server = Ipv4Addr::new(10, 0, 0, 1);
        let none = Ipv4Addr::UNSPECIFIED;
        let mut message = Message::new_with_id(7, none, address, server, none, &[2; 6]);
        message.set_opcode(Opcode::BootReply);
        message.set_fname_str("undionly.kpxe");
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(MessageType::Offer));
        options.insert(DhcpOption::ServerIdentifier(server));
        let want = Answer {
            xid: 7,
            kind: MessageType::Offer,
            address,
            server,
            next: server,
            file: "undionly.kpxe".to_owned(),
        };
        let packet = message.to_vec().expect("encodes");
        assert_eq!(Answer::parse(&packet), Some(want.clone()));
        let machine = Machine { number: 1 };
        let asked = machine.says(Speaker::Rom, 7, Some(&want)).expect("encodes");
        assert_eq!(Answer::parse(&asked), None, "a question is no answer");
        assert_ne!(machine.mac(), Machine { number: 2 }.mac());
    }

    proptest! {
        #[test]
        fn never_panics(garbage in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = Answer::parse(&garbage);
            let fixed = [&[BOOT_REPLY][..], &[0; 235], &COOKIE, &garbage].concat();
            let _ = Answer::parse(&fixed);
        }
    }
}
