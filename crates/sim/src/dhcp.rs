//! DHCP messages, byte by byte as the firmware sends them, and what it understands of the answers.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::net::{Udp, address};
use crate::outcome::Violation;
use crate::params::{Guid, Mac, Model, Params};

/// The transaction id of every Pi 3, in every attempt.
pub(crate) const ROM_XID: u32 = 0x26f3_0339;

pub(crate) const COOKIE: [u8; 4] = [99, 130, 83, 99];
const VENDOR_CLASS: &[u8] = b"PXEClient:Arch:00000:UNDI:002001";
/// Option 55 of the 3B's ROM, of bootcode.bin, and of the EEPROM.
const ROM_ASKS: &[u8] = b"\x2b\x3c\x43\x80\x81\x82\x83\x84\x85\x86\x87\x42";
const BOOTCODE_ASKS: &[u8] = b"\x2b\x3c\x43\x80\x81\x82\x83\x84\x85\x86\x87\x42\x01\x03";
const EEPROM_ASKS: &[u8] = b"\x01\x03\x2b\x3c\x42\x43\x80\x81\x82\x83\x84\x85\x86\x87";

/// RFC 951's 300 bytes, and RFC 2131's 576 for a client that did not say it takes more.
pub(crate) const MIN_MESSAGE: usize = 300;
const MAX_PACKET: usize = 576;

/// Which program asks; a Pi 3 has two, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Rom,
    Bootcode,
    Eeprom,
}

impl Stage {
    pub(crate) const fn first(model: Model) -> Self {
        match model {
            Model::Rom3b | Model::Rom3bPlus => Self::Rom,
            Model::Bc3 => Self::Bootcode,
            Model::Ee4 | Model::Ee5 => Self::Eeprom,
        }
    }

    /// The 3B's mask ROM, whose bugs the 3B+ has not.
    pub(crate) fn is_old_rom(self, params: &Params) -> bool {
        self == Self::Rom && params.model == Model::Rom3b
    }
}

/// A REQUEST's subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) address: Ipv4Addr,
    pub(crate) server: Ipv4Addr,
}

/// DISCOVER, or REQUEST for `wanted`: the UDP payload.
pub(crate) fn message(params: &Params, stage: Stage, xid: u32, wanted: Option<Wanted>) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0];
    message.extend_from_slice(&xid.to_be_bytes());
    message.resize(28, 0);
    message.extend_from_slice(&params.mac);
    message.resize(236, 0);
    message.extend_from_slice(&COOKIE);
    let mut option = |code: u8, value: &[u8]| {
        message.push(code);
        message.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
        message.extend_from_slice(value);
    };
    let mut with_class = true;
    match wanted {
        None => {
            option(53, &[1]);
            let asks = match stage {
                Stage::Rom if stage.is_old_rom(params) => ROM_ASKS,
                Stage::Rom | Stage::Bootcode => BOOTCODE_ASKS,
                Stage::Eeprom => EEPROM_ASKS,
            };
            option(55, asks);
        }
        Some(wanted) => {
            option(53, &[3]);
            option(50, &wanted.address.octets());
            option(54, &wanted.server.octets());
            with_class = !params.quirks.request_without_60;
        }
    }
    option(93, &[0, 0]);
    option(94, &[1, 2, 1]);
    option(97, &guid(params, stage));
    if with_class {
        option(60, VENDOR_CLASS);
    }
    message.push(255);
    message.resize(message.len().max(MIN_MESSAGE), 0);
    message
}

/// Option 97: type 0 and 16 bytes.
pub(crate) fn guid(params: &Params, stage: Stage) -> [u8; 17] {
    let serial = params.serial.to_le_bytes();
    let [_, _, mac @ ..] = params.mac;
    let mac = if params.quirks.guid_without_mac {
        [0; 4]
    } else {
        mac
    };
    let form = if stage.is_old_rom(params) {
        Guid::Fours
    } else {
        params.guid
    };
    let words = match form {
        Guid::Fours => [[0x44; 4]; 4],
        Guid::Serials => [serial; 4],
        Guid::Board(magic) => [magic, params.revision.to_le_bytes(), mac, serial],
    };
    let mut guid = [0; 17];
    guid[1..].copy_from_slice(words.as_flattened());
    guid
}

/// The kind of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Offer,
    Ack,
    Nak,
}

/// An answer to this Pi.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) kind: Kind,
    pub(crate) source: Ipv4Addr,
    pub(crate) yours: Option<Ipv4Addr>,
    pub(crate) next: Option<Ipv4Addr>,
    pub(crate) server: Option<Ipv4Addr>,
    pub(crate) mask: Option<Ipv4Addr>,
    pub(crate) gateway: Option<Ipv4Addr>,
    /// There is an option 43,
    pub(crate) has_menu: bool,
    /// and this firmware takes it for a boot server's.
    pub(crate) boots: bool,
    /// Option 66 as an address.
    pub(crate) tftp: Option<Ipv4Addr>,
}

/// An answer to `xid` and this Pi, and what is wrong with it; `None`: not one.
pub(crate) fn parse(
    udp: &Udp<'_>,
    params: &Params,
    stage: Stage,
    xid: u32,
) -> Option<(Reply, Vec<Violation>)> {
    let message = udp.payload;
    let (header, options) = message.split_at_checked(240)?;
    let ours = header.starts_with(&[2, 1, 6])
        && header[4..8] == xid.to_be_bytes()
        && header[28..34] == params.mac
        && header[236..] == COOKIE;
    if !ours {
        return None;
    }
    let options = Options::parse(options, params.quirks.stops_at_padding);
    let kind = match options.get(53)? {
        [2] => Kind::Offer,
        [5] => Kind::Ack,
        [6] => Kind::Nak,
        _ => return None,
    };
    let set = |at: usize| address(&header[at..]).filter(|a| !a.is_unspecified());
    let option = |code| options.get(code).and_then(address);
    let reply = Reply {
        kind,
        source: *udp.from.ip(),
        yours: set(16),
        next: set(20),
        server: option(54),
        mask: option(1),
        gateway: option(3),
        has_menu: options.get(43).is_some(),
        boots: accepts(params, stage, &options),
        tftp: options
            .get(66)
            .and_then(|text| dotted_quad(text, params.quirks.misreads_short_numbers)),
    };
    let violations = check(udp, params, stage, &options);
    Some((reply, violations))
}

/// Whether this firmware takes an answer with these options for a boot server's.
fn accepts(params: &Params, stage: Stage, options: &Options<'_>) -> bool {
    let (Some(menu), wanted) = (options.get(43), params.option_43.as_bytes()) else {
        return false;
    };
    let text = sub_options(menu).and_then(|subs| {
        let (_, entry) = subs.into_iter().find(|&(code, _)| code == 9)?;
        entry.get(3..)
    });
    match stage {
        Stage::Rom if stage.is_old_rom(params) && params.quirks.three_spaces => {
            let spaces = [wanted, b"   "].concat();
            let long = text.is_some_and(|text| text.len() >= wanted.len() + 3);
            contains(menu, &spaces) || long && contains(menu, wanted)
        }
        Stage::Rom | Stage::Bootcode => contains(menu, wanted),
        Stage::Eeprom => {
            let control = !params.quirks.wants_discovery_control
                || sub_options(menu).is_some_and(|subs| subs.iter().any(|&(code, _)| code == 6));
            control
                && options
                    .get(60)
                    .is_some_and(|class| class.starts_with(b"PXEClient"))
                && text.is_some_and(|text| contains(text, wanted))
        }
    }
}

fn check(udp: &Udp<'_>, params: &Params, stage: Stage, options: &Options<'_>) -> Vec<Violation> {
    let server = *udp.from.ip();
    let mut found = Vec::new();
    if udp.payload.len() < MIN_MESSAGE {
        let bytes = udp.payload.len();
        found.push(Violation::ReplyTooShort { server, bytes });
    }
    if udp.packet_len > MAX_PACKET {
        let bytes = udp.packet_len;
        found.push(Violation::ReplyTooLong { server, bytes });
    }
    if !options.ended {
        found.push(Violation::OptionsWithoutEnd { server });
    }
    let menu = options.get(43);
    if let Some(menu) = menu.filter(|menu| sub_options(menu).is_none()) {
        let bytes = menu.to_vec();
        found.push(Violation::Option43Malformed { server, bytes });
    }
    let id = options.get(54).and_then(address);
    if id.is_none() {
        found.push(Violation::NoServerId { server });
    }
    if let Some(text) = options.get(66) {
        match (dotted_quad(text, false), id, menu) {
            (None, _, _) => found.push(Violation::Option66NotAnAddress {
                server,
                bytes: text.to_vec(),
            }),
            (Some(tftp), Some(id), Some(_)) if tftp != id => {
                found.push(Violation::Option66Disagrees { tftp, id });
            }
            _ => {}
        }
    }
    if options.get(97).is_some_and(|it| it != guid(params, stage)) {
        found.push(Violation::GuidChanged { server });
    }
    found
}

/// The options of an answer, first of each code.
pub(crate) struct Options<'a> {
    list: Vec<(u8, &'a [u8])>,
    pub(crate) ended: bool,
}

impl<'a> Options<'a> {
    pub(crate) fn parse(mut rest: &'a [u8], stop_at_padding: bool) -> Self {
        let mut list = Vec::new();
        let mut ended = false;
        loop {
            match rest {
                [] => break,
                [255, ..] => {
                    ended = true;
                    break;
                }
                [0, ..] if stop_at_padding => {
                    // Nothing is wrong with the message.
                    ended = true;
                    break;
                }
                [0, after @ ..] => rest = after,
                [code, len, after @ ..] if after.len() >= usize::from(*len) => {
                    let (value, after) = after.split_at(usize::from(*len));
                    list.push((*code, value));
                    rest = after;
                }
                _ => break,
            }
        }
        Self { list, ended }
    }

    pub(crate) fn get(&self, code: u8) -> Option<&'a [u8]> {
        let found = self.list.iter().find(|&&(found, _)| found == code);
        found.map(|&(_, value)| value)
    }
}

/// Option 43's own options: lengths within, and 255 at the very end; `None` otherwise.
pub(crate) fn sub_options(mut rest: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut list = Vec::new();
    loop {
        match rest {
            [255] => return Some(list),
            [code @ 1..=254, len, after @ ..] => {
                let (value, after) = after.split_at_checked(usize::from(*len))?;
                list.push((*code, value));
                rest = after;
            }
            _ => return None,
        }
    }
}

/// "192.168.1.10", perhaps with a zero byte behind it; never a name.
fn dotted_quad(text: &[u8], needs_three_digits: bool) -> Option<Ipv4Addr> {
    let text = text.strip_suffix(&[0]).unwrap_or(text);
    let text = std::str::from_utf8(text).ok()?;
    let numbers = text.split('.');
    if needs_three_digits && numbers.clone().any(|number| number.len() < 3) {
        return None;
    }
    text.parse().ok()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part)
}

/// Whom an answer is for, if it is one to a client without an address.
pub(crate) fn client(udp: &Udp<'_>) -> Option<Mac> {
    let header = udp.payload.get(..240)?;
    let is_reply =
        udp.to.port() == CLIENT.port() && header.starts_with(&[2, 1, 6]) && header[236..] == COOKIE;
    let mac = *header.get(28..)?.first_chunk()?;
    is_reply.then_some(mac)
}

/// Who was offered or given which address by a frame, if it does that: for whoever watches a whole network.
pub(crate) fn granted(udp: &Udp<'_>) -> Option<(Mac, Ipv4Addr, Kind)> {
    let mac = client(udp)?;
    let (header, options) = udp.payload.split_at_checked(240)?;
    let kind = match Options::parse(options, false).get(53)? {
        [2] => Kind::Offer,
        [5] => Kind::Ack,
        _ => return None,
    };
    let granted = address(&header[16..]).filter(|a| !a.is_unspecified())?;
    Some((mac, granted, kind))
}

/// Where messages come from before there is an address, and where they go.
pub(crate) const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
pub(crate) const SERVERS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Date;

    /// dnsmasq 2.90's option 43.
    const MENU: &[u8] = b"\x06\x01\x03\x0a\x04\x00PXE\x09\x14\x00\x00\x11Raspberry Pi Boot\xff";
    const SPACES: &[u8] =
        b"\x06\x01\x03\x0a\x04\x00PXE\x09\x17\x00\x00\x14Raspberry Pi Boot   \xff";

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair)?, 16).map_err(Into::into);
        let bytes: Result<_, Box<dyn std::error::Error>> = digits.chunks(2).map(byte).collect();
        bytes.expect("hex digits")
    }

    fn class() -> String {
        VENDOR_CLASS.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// raspberrypi/firmware#859, #934, #941, #1265.
    #[test]
    fn the_roms_discover() {
        let params = Params::pi3b(1);
        let sent = message(&params, Stage::Rom, ROM_XID, None);
        let options = hex(&format!(
            "350101 370c2b3c4380818283848586 8742 5d020000 5e03010201
             61110044444444444444444444444444444444 3c20{} ff",
            class()
        ));
        assert_eq!(sent[240..], options);
        assert_eq!(sent.len(), 320);
        assert_eq!(sent[..12], hex("01010600 26f30339 0000 0000"));
        assert_eq!(sent[28..34], params.mac);
        assert!(sent[34..236].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn bootcodes_discover() {
        let params = Params {
            mac: [0xb8, 0x27, 0xeb, 0x6c, 0x4c, 0x16],
            serial: 0xb66c_4c16,
            ..Params::pi3b(1)
        };
        let sent = message(&params, Stage::Bootcode, ROM_XID, None);
        let options = hex(&format!(
            "350101 370e2b3c438081828384858687420103 5d020000 5e03010201
             611100164c6cb6164c6cb6164c6cb6164c6cb6 3c20{} ff",
            class()
        ));
        assert_eq!(sent[240..], options);
        assert_eq!(sent.len(), 322);
        let plus = Params::pi3b_plus(1);
        let rom = message(&plus, Stage::Rom, ROM_XID, None);
        assert_eq!(rom, message(&plus, Stage::Bootcode, ROM_XID, None));
    }

    /// rpi-eeprom#58, #69, #183.
    #[test]
    fn the_eeproms_discover_and_request() {
        let params = Params {
            mac: [0xdc, 0xa6, 0x32, 0x2e, 0xf8, 0xed],
            serial: 0x5b15_4510,
            revision: 0x00a0_3111,
            ..Params::pi4(1, Date(2023, 1, 11))
        };
        let tail = format!(
            "5d020000 5e03010201 611100 52506934 1131a000 322ef8ed 1045155b 3c20{} ff",
            class()
        );
        let sent = message(&params, Stage::Eeprom, 7, None);
        let options = hex(&format!("350101 370e01032b3c424380818283848586 87 {tail}"));
        assert_eq!(sent[240..], options);
        assert_eq!(sent.len(), 322);
        let wanted = Wanted {
            address: [10, 0, 0, 9].into(),
            server: [10, 0, 0, 1].into(),
        };
        let sent = message(&params, Stage::Eeprom, 7, Some(wanted));
        let options = hex(&format!("350103 32040a000009 36040a000001 {tail}"));
        assert!(sent[240..].starts_with(&options) && sent.len() == 318);
        let old = Params::pi4(1, Date(2019, 10, 8));
        let sent = message(&old, Stage::Eeprom, 7, Some(wanted));
        assert!(!contains(&sent, b"PXEClient"));
        assert_eq!(sent.len(), MIN_MESSAGE);
        assert_eq!(guid(&old, Stage::Eeprom)[9..13], [0; 4]);
    }

    #[test]
    fn every_model_takes_the_menu_it_is_known_to_take() {
        let raw: &[u8] = b"Raspberry Pi Boot";
        let smee: &[u8] = b"\x09\x14\x00\x00\x11Raspberry Pi Boot\x0a\x04\x00PXE\xff";
        let other: &[u8] = b"\x09\x07\x00\x00\x04iPXE\xff";
        assert_eq!((MENU.len(), SPACES.len()), (32, 35));
        let rom = (Params::pi3b(1), Stage::Rom);
        let plus = (Params::pi3b_plus(1), Stage::Rom);
        let bootcode = (Params::pi3b(1), Stage::Bootcode);
        let four = (Params::pi4(1, Date(2021, 4, 29)), Stage::Eeprom);
        let five = (Params::pi5(1, Date(2026, 8, 1)), Stage::Eeprom);
        let table = [
            (&rom, [false, true, false, false, false]),
            (&plus, [true, true, true, true, false]),
            (&bootcode, [true, true, true, true, false]),
            (&four, [true, true, false, true, false]),
            (&five, [true, true, false, false, false]),
        ];
        for ((params, stage), expected) in table {
            let taken = [MENU, SPACES, raw, smee, other].map(|menu| {
                let list = vec![(60, &b"PXEClient"[..]), (43, menu)];
                let options = Options { list, ended: true };
                accepts(params, *stage, &options)
            });
            assert_eq!(taken, expected, "{:?} {stage:?}", params.model);
        }
        let mut fixed = rom.0;
        fixed.quirks.three_spaces = false;
        let list = vec![(43, MENU)];
        assert!(accepts(&fixed, Stage::Rom, &Options { list, ended: true }));
    }

    #[test]
    fn an_eeprom_wants_option_60_and_a_rom_does_not() {
        let options = || Options {
            list: vec![(43, SPACES)],
            ended: true,
        };
        assert!(accepts(&Params::pi3b(1), Stage::Rom, &options()));
        let four = Params::pi4(1, Date(2021, 4, 29));
        assert!(!accepts(&four, Stage::Eeprom, &options()));
    }

    #[test]
    fn option_43_is_read_to_its_end() {
        assert_eq!(sub_options(MENU).map(|subs| subs.len()), Some(3));
        for bad in [
            &MENU[..31],
            b"",
            b"Raspberry Pi Boot",
            b"\xff\x00",
            b"\x09\x14\x00\xff",
            b"\x06",
        ] {
            assert_eq!(sub_options(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn option_66_is_an_address_in_ascii() {
        let ten = Some(Ipv4Addr::new(10, 0, 0, 1));
        for (text, short, expected) in [
            (&b"10.0.0.1"[..], false, ten),
            (b"10.0.0.1\0", false, ten),
            (b"10.0.0.1", true, None),
            (b"192.168.100.200", true, Some([192, 168, 100, 200].into())),
            (b"\x0a\x00\x00\x01", false, None),
            (b"boot.example", false, None),
        ] {
            assert_eq!(dotted_quad(text, short), expected, "{text:?} {short}");
        }
    }

    fn reply(options: &[u8]) -> Vec<u8> {
        let params = Params::pi4(1, Date(2021, 4, 29));
        let mut reply = vec![2, 1, 6, 0, 0, 0, 0, 7];
        reply.resize(28, 0);
        reply.extend_from_slice(&params.mac);
        reply.resize(236, 0);
        reply.extend_from_slice(&COOKIE);
        reply.extend_from_slice(options);
        reply
    }

    fn violations(payload: &[u8], packet_len: usize) -> Vec<Violation> {
        let udp = Udp {
            from: "10.0.0.1:67".parse().expect("an address"),
            to: SocketAddrV4::new(Ipv4Addr::BROADCAST, 68),
            packet_len,
            payload,
        };
        let params = Params::pi4(1, Date(2021, 4, 29));
        let (_, violations) = parse(&udp, &params, Stage::Eeprom, 7).expect("an answer");
        violations
    }

    #[test]
    fn what_is_wrong_with_an_answer_is_named() {
        let server = Ipv4Addr::new(10, 0, 0, 1);
        let good = |more: &[u8]| {
            let mut options = hex("350102 36040a000001");
            options.extend_from_slice(more);
            options.push(255);
            options.resize(70, 0);
            reply(&options)
        };
        assert_eq!(violations(&good(&[]), 338), []);
        let bytes = 577;
        assert_eq!(
            violations(&good(&[]), bytes),
            [Violation::ReplyTooLong { server, bytes }]
        );
        let short = reply(&hex("350102 36040a000001 ff"));
        let bytes = short.len();
        assert_eq!(
            violations(&short, 300),
            [Violation::ReplyTooShort { server, bytes }]
        );
        let (id, tftp) = (server, Ipv4Addr::new(10, 0, 0, 2));
        let mut both = vec![43, 32];
        both.extend_from_slice(MENU);
        both.extend_from_slice(b"\x42\x0810.0.0.2");
        assert_eq!(
            violations(&good(&both), 338),
            [Violation::Option66Disagrees { tftp, id }]
        );
        let bytes = vec![10, 0, 0, 2];
        assert_eq!(
            violations(&good(b"\x42\x04\x0a\x00\x00\x02"), 338),
            [Violation::Option66NotAnAddress { server, bytes }]
        );
        let bytes = b"\x06\x01\x03".to_vec();
        assert_eq!(
            violations(&good(b"\x2b\x03\x06\x01\x03"), 338),
            [Violation::Option43Malformed { server, bytes }]
        );
        let mut changed = vec![97, 17];
        changed.resize(19, 0);
        assert_eq!(
            violations(&good(&changed), 338),
            [Violation::GuidChanged { server }]
        );
        let mut nameless = hex("350102 ff");
        nameless.resize(70, 0);
        assert_eq!(
            violations(&reply(&nameless), 338),
            [Violation::NoServerId { server }]
        );
    }

    #[test]
    fn padding_ends_the_options_of_old_eeproms() {
        let options = hex("350102 00 36040a000001 ff");
        assert!(Options::parse(&options, false).get(54).is_some());
        assert!(Options::parse(&options, true).get(54).is_none());
    }
}
