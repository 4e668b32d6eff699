//! A PC's DHCP messages, byte by byte as its firmware sends them, and what it understands of the answers.

use std::net::Ipv4Addr;

use super::params::{PcArch, PcKind, PcParams};
use crate::dhcp::{COOKIE, Kind, MIN_MESSAGE, Options, sub_options};
use crate::net::{Udp, address};
use crate::outcome::Violation;

/// Option 55 of OVMF 2022.11's PXE; HTTP Boot asks for the first 27 of them.
const EDK2_ASKS: &[u8] =
    b"\x01\x02\x03\x04\x05\x06\x0c\x0d\x0f\x11\x12\x16\x17\x1c\x28\x29\x2a\x2b\x32\x33\x36\x3a\x3b\
                           \x3c\x42\x43\x61\x80\x81\x82\x83\x84\x85\x86\x87";
/// PXE 2.1 table 2-3, and what BIOS ROMs ask for besides.
const BIOS_ASKS: &[u8] =
    b"\x01\x02\x03\x05\x06\x0b\x0c\x0d\x10\x11\x12\x2b\x36\x3c\x43\x80\x81\x82\x83\x84\x85\x86\x87";
/// iPXE 1.0.0+git-20190125 in QEMU's virtio ROM.
const IPXE_ASKS: &[u8] =
    b"\x01\x03\x06\x07\x0c\x0f\x11\x1a\x2b\x3c\x42\x43\x77\x80\x81\x82\x83\x84\x85\x86\x87\xaf\xcb";
/// Its option 175: PCI device, version, and features, of which 0x13 is HTTP.
const IPXE_FEATURES: &[u8] = b"\xb1\x05\x01\x1a\xf4\x10\x00\xeb\x03\x01\x00\x00\x17\x01\x01\x22\x01\x01\x13\x01\x01\x11\x01\x01\
                               \x27\x01\x01\x19\x01\x01\x29\x01\x01\x10\x01\x02\x21\x01\x01\x15\x01\x01\x18\x01\x01\x12\x01\x01";

/// PXE 2.1 §2.2.3, tag 6, bit 3: boot the file that is named, discover no boot servers.
const NO_DISCOVERY: u8 = 8;
/// Fixed fields, RFC 2131 §2.
const FILE: std::ops::Range<usize> = 108..236;

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// An address, from anybody.
    Discover,
    /// The address that was offered, by that server.
    Request(Ipv4Addr, Ipv4Addr),
    /// The boot file, to port 4011, from the address that there is now.
    BootServer(Ipv4Addr),
}

/// The UDP payload, so many seconds after the first DISCOVER.
pub(crate) fn message(params: &PcParams, xid: u32, secs: u16, about: About) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0];
    message.extend_from_slice(&xid.to_be_bytes());
    message.extend_from_slice(&secs.to_be_bytes());
    let flags = if params.kind == PcKind::Ipxe { 0 } else { 0x80 };
    message.extend_from_slice(&[flags, 0]);
    let own = match about {
        About::BootServer(own) => own,
        About::Discover | About::Request(..) => Ipv4Addr::UNSPECIFIED,
    };
    message.extend_from_slice(&own.octets());
    message.resize(28, 0);
    message.extend_from_slice(&params.mac);
    message.resize(236, 0);
    message.extend_from_slice(&COOKIE);
    for (code, value) in options(params, about) {
        message.push(code);
        message.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
        message.extend_from_slice(&value);
    }
    message.push(255);
    // A ROM sends its whole buffer; the others what they have.
    let least = if params.kind == PcKind::BiosPxe {
        548
    } else {
        MIN_MESSAGE
    };
    message.resize(message.len().max(least), 0);
    message
}

/// In the order of each firmware.
fn options(params: &PcParams, about: About) -> Vec<(u8, Vec<u8>)> {
    let kind = vec![if about == About::Discover { 1 } else { 3 }];
    let chosen = match about {
        About::Request(yours, server) => [(54, server), (50, yours)]
            .map(|(code, address)| (code, address.octets().to_vec()))
            .to_vec(),
        About::Discover | About::BootServer(_) => Vec::new(),
    };
    let (arch, interface, class) = identity(params.kind);
    let id = [&[0][..], &params.machine_id].concat();
    let size = max_packet(params.kind).to_be_bytes().to_vec();
    let (arch, interface) = ((93, arch.to_vec()), (94, interface.to_vec()));
    let class = (60, class.into_bytes());
    let mut list = vec![(53, kind)];
    match params.kind {
        PcKind::Ipxe => {
            let client = [&[1][..], &params.mac].concat();
            list.extend([(57, size), arch, interface, class]);
            list.extend([(77, b"iPXE".to_vec()), (55, IPXE_ASKS.to_vec())]);
            list.extend([(175, IPXE_FEATURES.to_vec()), (61, client), (97, id)]);
            list.extend(chosen);
        }
        PcKind::BiosPxe => {
            list.extend(chosen);
            list.extend([(55, BIOS_ASKS.to_vec()), (57, size), (97, id)]);
            list.extend([arch, interface, class]);
        }
        PcKind::UefiPxe(_) | PcKind::UefiHttp(_) => {
            let asks = match params.kind {
                PcKind::UefiHttp(_) => EDK2_ASKS[..27].to_vec(),
                _ => EDK2_ASKS.to_vec(),
            };
            list.extend(chosen);
            list.extend([(57, size), (55, asks), (97, id)]);
            list.extend([interface, arch, class]);
        }
    }
    list
}

/// Options 93, 94, 60.
fn identity(kind: PcKind) -> ([u8; 2], [u8; 3], String) {
    let (word, arch, interface, undi) = match kind {
        PcKind::BiosPxe | PcKind::Ipxe => ("PXE", 0, [1, 2, 1], "002001"),
        PcKind::UefiPxe(PcArch::X86_64) => ("PXE", 7, [1, 3, 1], "003001"),
        PcKind::UefiPxe(PcArch::Arm64) => ("PXE", 11, [1, 3, 0], "003000"),
        PcKind::UefiHttp(PcArch::X86_64) => ("HTTP", 16, [1, 3, 1], "003001"),
        PcKind::UefiHttp(PcArch::Arm64) => ("HTTP", 19, [1, 3, 0], "003000"),
    };
    let class = format!("{word}Client:Arch:{arch:05}:UNDI:{undi}");
    ([0, arch], interface, class)
}

/// Option 57.
const fn max_packet(kind: PcKind) -> u16 {
    match kind {
        PcKind::BiosPxe => 1260,
        PcKind::UefiPxe(_) | PcKind::UefiHttp(_) | PcKind::Ipxe => 1472,
    }
}

/// The words that answers for it begin with.
pub(crate) const fn class(kind: PcKind) -> &'static str {
    match kind {
        PcKind::UefiHttp(_) => "HTTPClient",
        PcKind::BiosPxe | PcKind::UefiPxe(_) | PcKind::Ipxe => "PXEClient",
    }
}

/// What an answer gives to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Boot {
    /// A file, by TFTP from that server.
    File(Ipv4Addr, String),
    /// By HTTP.
    Url(String),
    /// It is told by that server, on port 4011.
    Ask(Ipv4Addr),
}

/// An answer to this PC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) kind: Kind,
    pub(crate) server: Ipv4Addr,
    pub(crate) yours: Option<Ipv4Addr>,
    pub(crate) mask: Option<Ipv4Addr>,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) boot: Option<Boot>,
}

/// An answer to `xid` and this PC, and what is wrong with it; `None`: not one.
pub(crate) fn parse(udp: &Udp<'_>, params: &PcParams, xid: u32) -> Option<(Reply, Vec<Violation>)> {
    let (header, options) = udp.payload.split_at_checked(240)?;
    let ours = header.starts_with(&[2, 1, 6])
        && header[4..8] == xid.to_be_bytes()
        && header[28..34] == params.mac
        && header[236..] == COOKIE;
    if !ours {
        return None;
    }
    let options = Options::parse(options, false);
    let kind = match options.get(53)? {
        [2] => Kind::Offer,
        [5] => Kind::Ack,
        [6] => Kind::Nak,
        _ => return None,
    };
    let set = |at: usize| address(&header[at..]).filter(|a| !a.is_unspecified());
    let option = |code| options.get(code).and_then(address);
    let server = option(54).unwrap_or_else(|| *udp.from.ip());
    let file = file(&header[FILE], &options);
    let boot = boot(params.kind, &options, file, (set(20), set(16), server));
    let violations = check(udp, params, &options, boot.is_some());
    let reply = Reply {
        kind,
        server,
        yours: set(16),
        mask: option(1),
        gateway: option(3),
        boot,
    };
    Some((reply, violations))
}

/// Option 67, else the field of RFC 951.
fn file<'a>(field: &'a [u8], options: &Options<'a>) -> Option<&'a str> {
    let text = options.get(67).unwrap_or(field);
    let end = text.iter().position(|&byte| byte == 0);
    let text = str::from_utf8(&text[..end.unwrap_or(text.len())]).ok()?;
    Some(text).filter(|text| !text.is_empty())
}

fn boot(
    kind: PcKind,
    options: &Options<'_>,
    file: Option<&str>,
    (next, yours, server): (Option<Ipv4Addr>, Option<Ipv4Addr>, Ipv4Addr),
) -> Option<Boot> {
    let is_class = options
        .get(60)
        .is_some_and(|said| said.starts_with(class(kind).as_bytes()));
    // Who gives no address says that it speaks to this kind of client.
    if yours.is_none() && !is_class {
        return None;
    }
    let by_tftp = || Some(Boot::File(next.unwrap_or(server), file?.to_owned()));
    let by_http = || {
        let url = file.filter(|file| file.starts_with("http://"))?;
        Some(Boot::Url(url.to_owned()))
    };
    let menu = options.get(43);
    match kind {
        // With an option 43 it looks for boot servers, unless that says not to.
        PcKind::BiosPxe if menu.is_none_or(is_direct) => by_tftp(),
        PcKind::BiosPxe => None,
        // PxeBcDhcp4.c: with one it is "PXE 1.0" or a menu; without a file it is BINL.
        PcKind::UefiPxe(_) if is_class && menu.is_some() => None,
        PcKind::UefiPxe(_) if is_class && file.is_none() => Some(Boot::Ask(server)),
        PcKind::UefiPxe(_) => by_tftp(),
        PcKind::UefiHttp(_) if !is_class => None,
        // dhcp_has_pxeopts: without next server it would ask again on port 4011, which is not simulated.
        PcKind::Ipxe if next.is_none() => None,
        PcKind::UefiHttp(_) | PcKind::Ipxe => by_http(),
    }
}

fn is_direct(menu: &[u8]) -> bool {
    let control = |&(code, value): &(u8, &[u8])| {
        code == 6 && value.first().is_some_and(|byte| byte & NO_DISCOVERY != 0)
    };
    sub_options(menu).is_some_and(|subs| subs.iter().any(control))
}

fn check(udp: &Udp<'_>, params: &PcParams, options: &Options<'_>, boots: bool) -> Vec<Violation> {
    let server = *udp.from.ip();
    let mut found = Vec::new();
    if udp.payload.len() < MIN_MESSAGE {
        let bytes = udp.payload.len();
        found.push(Violation::ReplyTooShort { server, bytes });
    }
    if udp.packet_len > usize::from(max_packet(params.kind)) {
        let bytes = udp.packet_len;
        found.push(Violation::ReplyTooLong { server, bytes });
    }
    if !options.ended {
        found.push(Violation::OptionsWithoutEnd { server });
    }
    if options.get(54).and_then(address).is_none() {
        found.push(Violation::NoServerId { server });
    }
    if let Some(menu) = options.get(43).filter(|menu| sub_options(menu).is_none()) {
        let bytes = menu.to_vec();
        found.push(Violation::Option43Malformed { server, bytes });
    }
    let wanted = class(params.kind);
    let said = options.get(60);
    if said.map_or(boots, |said| said != wanted.as_bytes()) {
        let said = said.map(|said| String::from_utf8_lossy(said).into_owned());
        found.push(Violation::Class {
            server,
            wanted,
            said: said.unwrap_or_default(),
        });
    }
    match options.get(97) {
        Some([0, id @ ..]) if id == params.machine_id => {}
        Some(_) => found.push(Violation::GuidChanged { server }),
        None if boots => found.push(Violation::GuidMissing { server }),
        None => {}
    }
    found
}

#[cfg(test)]
mod tests;
