use std::net::SocketAddrV4;

use super::*;

/// The UDP payload of a capture.
fn capture(text: &str) -> Vec<u8> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let digits: Vec<u8> = lines.flat_map(str::bytes).collect();
    let byte = |pair: &[u8]| {
        let pair = str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(pair, 16).expect("hex digits")
    };
    digits.chunks(2).map(byte).collect()
}

macro_rules! capture {
    ($name:literal) => {
        capture(include_str!(concat!(
            "../../../../../tests/data/dhcp/",
            $name,
            ".hex"
        )))
    };
}

fn qemu(kind: PcKind) -> PcParams {
    PcParams {
        mac: [0x52, 0x54, 0, 0x12, 0x34, 0x56],
        machine_id: [0; 16],
        ..PcParams::new(kind, 1)
    }
}

const OVMF: PcKind = PcKind::UefiPxe(PcArch::X86_64);

#[test]
fn messages_are_the_captured_ones() {
    let server = Ipv4Addr::new(10, 77, 0, 1);
    let request = About::Request(Ipv4Addr::new(10, 77, 0, 58), server);
    for (kind, xid, secs, about, captured) in [
        (
            OVMF,
            0xb1b0_e2ae,
            0,
            About::Discover,
            capture!("ovmf-pxe-discover"),
        ),
        (
            PcKind::Ipxe,
            0xc33b_7308,
            4,
            About::Discover,
            capture!("ipxe-virtio-discover"),
        ),
        (
            PcKind::Ipxe,
            0xc33b_7308,
            14,
            request,
            capture!("ipxe-virtio-request"),
        ),
    ] {
        assert_eq!(message(&qemu(kind), xid, secs, about), captured, "{kind}");
    }
}

#[test]
fn each_firmware_says_what_it_is() {
    for params in PcParams::one_of_each(7) {
        let sent = message(&params, 1, 0, About::Discover);
        let options = Options::parse(&sent[240..], false);
        assert!(
            options.ended && sent.len() >= MIN_MESSAGE,
            "{}",
            params.kind
        );
        assert_eq!(
            options.get(97).map(|id| &id[1..]),
            Some(&params.machine_id[..])
        );
        let said = String::from_utf8_lossy(options.get(60).expect("a class"));
        let arch = options.get(93).expect("an architecture")[1];
        assert!(said.starts_with(&format!("{}:Arch:{arch:05}:", class(params.kind))));
        assert_eq!(options.get(77).is_some(), params.kind == PcKind::Ipxe);
        // To port 4011 from the address that there is.
        let own = Ipv4Addr::new(10, 0, 0, 9);
        assert_eq!(
            message(&params, 1, 0, About::BootServer(own))[12..16],
            own.octets()
        );
    }
}

/// An OFFER to xid 1.
fn offer(params: &PcParams, yours: bool, file: &str, options: &[(u8, &[u8])]) -> Option<Reply> {
    let mut answer = message(params, 1, 0, About::Discover);
    answer.truncate(240);
    answer[0] = 2;
    answer[19] = u8::from(yours) * 9;
    answer[20..24].copy_from_slice(&[10, 0, 0, 2]);
    answer[108..108 + file.len()].copy_from_slice(file.as_bytes());
    answer.extend_from_slice(b"\x35\x01\x02\x36\x04\x0a\x00\x00\x01");
    for (code, value) in options {
        answer.extend_from_slice(&[*code, u8::try_from(value.len()).expect("short")]);
        answer.extend_from_slice(value);
    }
    answer.push(255);
    answer.resize(answer.len().max(MIN_MESSAGE), 0);
    let udp = Udp {
        from: SocketAddrV4::new([10, 0, 0, 1].into(), 67),
        to: SocketAddrV4::new(Ipv4Addr::BROADCAST, 68),
        packet_len: answer.len() + 28,
        payload: &answer,
    };
    parse(&udp, params, 1).map(|(reply, _)| reply)
}

#[test]
fn what_each_takes_for_something_to_boot() {
    const PXE: (u8, &[u8]) = (60, b"PXEClient");
    const HTTP: (u8, &[u8]) = (60, b"HTTPClient");
    const DIRECT: (u8, &[u8]) = (43, b"\x06\x01\x08\xff");
    const MENU: (u8, &[u8]) = (43, b"\x06\x01\x03\xff");
    let url = "http://10.0.0.1/x";
    let file = || Some(Boot::File([10, 0, 0, 2].into(), "f".to_owned()));
    let by_url = || Some(Boot::Url(url.to_owned()));
    let ask = || Some(Boot::Ask([10, 0, 0, 1].into()));
    let http = PcKind::UefiHttp(PcArch::Arm64);
    for (kind, yours, name, options, boot) in [
        (PcKind::BiosPxe, true, "f", &[][..], file()),
        (PcKind::BiosPxe, false, "f", &[PXE, DIRECT], file()),
        (PcKind::BiosPxe, false, "f", &[DIRECT], None),
        (PcKind::BiosPxe, true, "f", &[PXE, MENU], None),
        (PcKind::BiosPxe, true, "", &[PXE], None),
        (OVMF, true, "f", &[], file()),
        (OVMF, true, "f", &[PXE], file()),
        (OVMF, true, "f", &[PXE, DIRECT], None),
        (OVMF, false, "", &[PXE], ask()),
        (OVMF, true, "", &[], None),
        (http, true, url, &[HTTP], by_url()),
        (http, false, "", &[HTTP, (67, url.as_bytes())], by_url()),
        (http, true, url, &[], None),
        (http, true, url, &[PXE], None),
        (http, true, "f", &[HTTP], None),
        (PcKind::Ipxe, true, url, &[], by_url()),
        (PcKind::Ipxe, true, "f", &[PXE], None),
    ] {
        let reply = offer(&PcParams::new(kind, 1), yours, name, options);
        let found = reply.expect("an answer").boot;
        assert_eq!(found, boot, "{kind} {yours} {name:?} {options:?}");
    }
}
