use std::net::SocketAddrV4;

use proptest::prelude::*;

use super::*;
use crate::fleet::Conditions;
use crate::net::udp;
use crate::outcome::digest;
use crate::server::{BIOS_FILE, EFI_FILE, IP, Pcs, Server, URL, boot_mix, files};
use crate::station::Station;

const LIMIT: Duration = Duration::from_secs(3600);
const PROXY: Ipv4Addr = Ipv4Addr::new(10, 0, 9, 1);

fn boot(params: Vec<PcParams>, server: Server, conditions: Conditions) -> Vec<Pc> {
    let stations = params.into_iter().map(Station::from).collect();
    let done = boot_mix(stations, server, conditions);
    let pc = |station| match station {
        Station::Pc(pc) => *pc,
        Station::Pi(_) => panic!("a Pi"),
    };
    done.into_iter().map(pc).collect()
}

fn boot_one(kind: PcKind, server: Server) -> Outcome<Started> {
    let pcs = boot(
        vec![PcParams::new(kind, 1)],
        server,
        Conditions::good(LIMIT),
    );
    pcs[0].outcome().expect("done").clone()
}

fn answering(pcs: Pcs) -> Server {
    let tftp = if pcs == Pcs::Proxy { PROXY } else { IP };
    Server {
        pcs,
        tftp,
        ..Server::default()
    }
}

fn assert_booted(pc: &Pc, from: Ipv4Addr) {
    let kind = pc.params().kind;
    let outcome = pc.outcome().expect("done");
    let started = outcome.boot.as_ref();
    let started = started.unwrap_or_else(|failure| panic!("{kind}: {failure}"));
    let expected = match kind {
        PcKind::BiosPxe => BIOS_FILE,
        PcKind::UefiPxe(_) => EFI_FILE,
        PcKind::UefiHttp(_) | PcKind::Ipxe => URL,
    };
    match &started.program {
        Program::Url(url) => assert_eq!(url, expected),
        Program::File { tftp, name, file } => {
            assert_eq!((*tftp, &**name), (from, expected), "{kind}");
            assert_eq!(file.digest, digest(&files()[expected]), "{kind}");
        }
    }
}

#[test]
fn every_kind_boots_and_finds_nothing_wrong() {
    for (pcs, from) in [(Pcs::Full, IP), (Pcs::Proxy, PROXY)] {
        let conditions = Conditions::good(LIMIT);
        for pc in boot(PcParams::one_of_each(1), answering(pcs), conditions) {
            assert_booted(&pc, from);
            let outcome = pc.outcome().expect("done");
            let kind = pc.params().kind;
            assert_eq!(outcome.violations, [], "{kind} {pcs:?}");
            let files = matches!(kind, PcKind::BiosPxe | PcKind::UefiPxe(_));
            assert_eq!(outcome.numbers.requests, u32::from(files) * 2, "{kind}");
            assert_eq!(outcome.numbers.repeated_requests, 0, "{kind}");
            // EDK2 collects offers for four seconds.
            let patient = matches!(kind, PcKind::UefiPxe(_) | PcKind::UefiHttp(_));
            let long = outcome.numbers.dhcp >= Duration::from_secs(4);
            assert_eq!(long, patient, "{kind} {pcs:?} {:?}", outcome.numbers.dhcp);
        }
    }
}

#[test]
fn every_kind_boots_over_a_lossy_wire() {
    for seed in 0..8 {
        let conditions = Conditions {
            seed,
            ..Conditions::good(LIMIT).losing(3)
        };
        for pcs in [Pcs::Full, Pcs::Proxy] {
            let from = if pcs == Pcs::Full { IP } else { PROXY };
            let all = boot(PcParams::one_of_each(1), answering(pcs), conditions);
            all.iter().for_each(|pc| assert_booted(pc, from));
        }
    }
}

#[test]
fn what_dhcp_does_wrong_is_named() {
    let kind = PcKind::UefiPxe(PcArch::X86_64);
    let server = IP;
    let class = Violation::Class {
        server,
        wanted: "PXEClient",
        said: "HTTPClient".to_owned(),
    };
    for (pcs, expected) in [
        (Pcs::NoId, Violation::GuidMissing { server }),
        (Pcs::WrongId, Violation::GuidChanged { server }),
        (Pcs::WrongClass, class),
    ] {
        let found = boot_one(kind, answering(pcs)).violations;
        // Of OFFER and ACK.
        assert_eq!(found, [expected.clone(), expected], "{pcs:?}");
    }
}

#[test]
fn an_address_is_not_enough() {
    for params in PcParams::one_of_each(1) {
        let firmware = params.kind;
        let found = boot_one(firmware, answering(Pcs::AddressOnly)).boot;
        let failure = found.map(|started| started.address).expect_err("no boot");
        let address = Ipv4Addr::from(u32::from(IP) + 1);
        assert_eq!(failure, Failure::NoBootFile { address, firmware });
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let mut server = answering(Pcs::Full);
    server.files.remove(BIOS_FILE);
    let found = boot_one(PcKind::BiosPxe, server).boot.map(|_| ());
    let missing = |f: &Failure| matches!(f, Failure::Missing { path, .. } if path == BIOS_FILE);
    assert!(found.as_ref().is_err_and(missing), "{found:?}");
}

fn kinds() -> impl Strategy<Value = PcParams> {
    prop::sample::select(PcParams::one_of_each(3))
}

proptest! {
    /// In every state that a frame can lead to.
    #[test]
    fn no_frame_panics(
        params in kinds(),
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 0..8),
    ) {
        let mut pc = Pc::new(params);
        let mut out = Vec::new();
        for (i, frame) in (0..).zip(frames) {
            pc.poll(Duration::from_secs(i), Some(&frame), &mut out);
            let to_it = [&pc.params().mac[..], &frame].concat();
            pc.poll(Duration::from_secs(i), Some(&to_it), &mut out);
        }
    }

    /// Well-formed packets with anything in them, to each port a PC listens on, at each of its steps.
    #[test]
    fn no_answer_panics(
        params in kinds(),
        parts in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..300)), 1..24),
    ) {
        let mac = params.mac;
        let mut pc = Pc::new(params);
        let (mut out, mut now) = (Vec::new(), Duration::ZERO);
        pc.poll(now, None, &mut out);
        for (choice, bytes) in parts {
            now += Duration::from_secs(1);
            let own = pc.address().unwrap_or(Ipv4Addr::BROADCAST);
            let mut payload = bytes;
            if choice % 4 != 0 {
                // An answer to its message, with these options.
                let xid = out.iter().rev().find_map(|frame| frame.get(46..50));
                let mut answer = vec![2, 1, 6, 0];
                answer.extend_from_slice(xid.unwrap_or(&[0; 4]));
                answer.resize(16, 0);
                answer.extend_from_slice(&[10, 0, 0, 7, 10, 0, 0, 1]);
                answer.resize(28, 0);
                answer.extend_from_slice(&mac);
                answer.resize(108, 0);
                answer.extend_from_slice(b"http://f");
                answer.resize(236, 0);
                let kind = [2, 5, 6][usize::from(choice / 4 % 3)];
                answer.extend_from_slice(&[99, 130, 83, 99, 53, 1, kind]);
                answer.extend_from_slice(b"\x3c\x09PXEClient");
                answer.append(&mut payload);
                payload = answer;
            } else if let Some(byte) = payload.get_mut(0) {
                *byte = 0;
            }
            let port = [68, 4011, FIRST_PORT, FIRST_PORT + 1][usize::from(choice / 16 % 4)];
            let from = SocketAddrV4::new([10, 0, 0, 1].into(), 67);
            let to = SocketAddrV4::new(own, port);
            pc.poll(now, Some(&udp(([2; 6], mac), from, to, &payload)), &mut out);
            let arp = Arp { request: choice > 200, sender_mac: [2; 6], sender: [10, 0, 0, 1].into(), target: own };
            pc.poll(now, Some(&crate::net::arp([2; 6], arp, mac)), &mut out);
        }
        prop_assert!(pc.notes.violations.len() <= MAX_VIOLATIONS);
    }
}
