use std::net::SocketAddrV4;

use proptest::prelude::*;

use super::*;
use crate::fleet::Conditions;
use crate::net::{arp, udp};
use crate::outcome::{Failure, Violation, WhyNot, digest};
use crate::params::Date;
use crate::params::Fixed;
use crate::server::{Fault, IP, MENU, Server, boot, boot_one, files};

fn models() -> Vec<Params> {
    vec![
        Params::pi3b(1),
        Params::pi3b_plus(1),
        Params::pi3_with_card(1),
        Params::pi4(1, Date(2019, 10, 8)),
        Params::pi4(2, Date(2023, 1, 11)),
        Params::pi5(1, Date(2026, 1, 1)),
    ]
}

fn assert_booted(params: &Params, outcome: &Outcome) {
    let booted = outcome.boot.as_ref();
    let booted = booted.unwrap_or_else(|failure| panic!("{:?}: {failure}", params.model));
    let served = files();
    assert!(booted.kernel.ends_with("k.img"), "{}", booted.kernel);
    assert_eq!(booted.cmdline, "console=serial0 quiet");
    assert_eq!(booted.tftp, IP);
    for path in [&booted.kernel, &booted.device_tree]
        .into_iter()
        .chain(&booted.initramfs)
        .chain(&booted.overlays)
    {
        let file = &booted.files[path];
        let name = path.trim_start_matches('/');
        assert_eq!(file.digest, digest(&served[name]), "{path}");
        assert_eq!(file.bytes.as_deref(), Some(&*served[name]), "{path}");
    }
    assert_eq!((booted.initramfs.len(), booted.overlays.len()), (1, 1));
}

#[test]
fn every_model_boots_and_finds_nothing_wrong() {
    for params in models() {
        let outcome = boot_one(params.clone(), Server::default());
        assert_booted(&params, &outcome);
        assert_eq!(outcome.violations, [], "{:?}", params.model);
        let numbers = outcome.numbers;
        assert_eq!((numbers.repeated_requests, numbers.stray_packets), (0, 0));
        assert!(numbers.worst_first_answer < Duration::from_millis(1));
    }
}

#[test]
fn every_model_boots_over_a_lossy_wire() {
    let mut repeated = 0;
    for seed in 0..4 {
        for params in models() {
            let limit = Duration::from_secs(3600);
            let conditions = Conditions {
                seed,
                ..Conditions::good(limit).losing(2)
            };
            let outcome = boot(vec![params.clone()], Server::default(), conditions);
            assert_booted(&params, &outcome[0]);
            repeated += outcome[0].numbers.repeated_data;
        }
    }
    assert!(repeated > 24, "{repeated} blocks were sent again");
}

#[test]
fn the_same_seed_is_the_same_boot() {
    let run = |seed| {
        let conditions = Conditions {
            seed,
            ..Conditions::good(Duration::from_secs(3600)).losing(5)
        };
        let outcomes = boot(models(), Server::default(), conditions);
        outcomes.iter().map(|o| o.numbers).collect::<Vec<_>>()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

fn failure(params: Params, server: Server) -> Failure {
    let outcome = boot_one(params, server);
    outcome
        .boot
        .map(|booted| booted.kernel)
        .expect_err("no boot")
}

fn no_boot_server(why: WhyNot) -> impl Fn(&Failure) -> bool {
    move |failure| matches!(failure, Failure::NoBootServer { why: found, .. } if *found == why)
}

/// Each bug of the ROM keeps it from booting from a server that does not know of it; without the bug, it boots.
#[test]
fn the_roms_bugs_matter() {
    let two_spaces_short = Server {
        menu: MENU,
        ..Server::default()
    };
    let at_once = Server {
        dhcp_delay: Duration::from_millis(100),
        ..Server::default()
    };
    let elsewhere = Server {
        tftp: [192, 168, 9, 1].into(),
        ..Server::default()
    };
    let table = [
        (two_spaces_short, WhyNot::Form),
        (at_once, WhyNot::TooSoon),
        (elsewhere, WhyNot::OtherSubnet),
    ];
    for (server, why) in table {
        let found = failure(Params::pi3b(1), server.clone());
        assert!(no_boot_server(why)(&found), "{found}");
        let mut fixed = Params::pi3b(1);
        let quirks = &mut fixed.quirks;
        quirks.three_spaces &= why != WhyNot::Form;
        quirks.same_subnet_only &= why != WhyNot::OtherSubnet;
        if why == WhyNot::TooSoon {
            quirks.deaf_after_discover = Duration::ZERO;
        }
        let outcome = boot_one(fixed, server);
        outcome
            .boot
            .unwrap_or_else(|failure| panic!("{why}: {failure}"));
    }
}

#[test]
fn an_old_start_elf_takes_files_without_oack_for_missing() {
    let server = || Server {
        fault: Fault::NoOack,
        ..Server::default()
    };
    let found = failure(Params::pi3b(1), server());
    assert!(matches!(found, Failure::Missing { .. }), "{found}");
    let mut older = Params::pi3b(1);
    older.quirks.needs_oack = false;
    assert_booted(&older, &boot_one(older.clone(), server()));
    // An EEPROM never did.
    boot_one(Params::pi4(1, Date(2023, 1, 11)), server())
        .boot
        .expect("boots");
}

#[test]
fn block_numbers_roll_over_or_do_not() {
    let len = 1468 * 65_535;
    for (date, len, boots) in [
        (Date(2023, 1, 11), len - 1, true),
        (Date(2023, 1, 11), len, false),
        (Date(2025, 9, 23), len, true),
        (Date(2025, 9, 23), len + 1468 * 2, true),
    ] {
        let mut server = Server::default();
        server.files.insert("i.img".to_owned(), vec![7; len]);
        let params = Params {
            keep: 0,
            ..Params::pi4(1, date)
        };
        let outcome = boot_one(params, server);
        assert_eq!(outcome.violations, []);
        match outcome.boot {
            Ok(booted) => {
                assert!(boots, "{date:?} {len}");
                let file = &booted.files["i.img"];
                assert_eq!((file.len, &file.bytes), (len as u64, &None));
            }
            Err(found) => {
                assert!(!boots, "{date:?} {len}: {found}");
                let block_size = 1468;
                let path = "i.img".to_owned();
                assert_eq!(found, Failure::TooLarge { path, block_size });
            }
        }
    }
}

#[test]
fn probes_and_double_slashes_are_what_the_switches_say() {
    let asked = |params| boot_one(params, Server::default()).numbers.requests;
    let mut quiet = Params::pi5(1, Date(2026, 1, 1));
    quiet.quirks.early_terminate = false;
    assert!(asked(quiet) < asked(Params::pi5(1, Date(2026, 1, 1))));
    let paths = |params| {
        let booted = boot_one(params, Server::default()).boot.expect("boots");
        booted.files.into_keys().collect::<Vec<_>>()
    };
    assert!(paths(Params::pi5(1, Date(2026, 1, 1))).contains(&"/config.txt".to_owned()));
    let mut tidy = Params::pi5(1, Date(2026, 1, 1));
    tidy.quirks.double_slash = false;
    assert!(paths(tidy).iter().all(|path| !path.starts_with('/')));
}

#[test]
fn old_eeproms_misread_option_66() {
    let server = || Server {
        option_66: Some(b"10.0.0.1"),
        menu: b"\xff",
        ..Server::default()
    };
    boot_one(Params::pi4(1, Date(2021, 1, 1)), server())
        .boot
        .expect("boots");
    let found = failure(Params::pi4(1, Date(2019, 10, 8)), server());
    assert!(no_boot_server(WhyNot::Form)(&found), "{found}");
}

#[test]
fn a_five_waits_for_discovery_control() {
    let smee = || Server {
        menu: b"\x09\x14\x00\x00\x11Raspberry Pi Boot\x0a\x04\x00PXE\xff",
        ..Server::default()
    };
    let found = failure(Params::pi5(1, Date(2026, 1, 1)), smee());
    assert!(no_boot_server(WhyNot::Form)(&found), "{found}");
    let mut other = Params::pi5(1, Date(2026, 1, 1));
    other.quirks.wants_discovery_control = false;
    boot_one(other, smee()).boot.expect("boots");
}

#[test]
fn what_tftp_does_wrong_is_named() {
    type Is = fn(&Violation) -> bool;
    let table: [(Fault, bool, Is); 8] = [
        (Fault::Tsize, true, |v| {
            matches!(v, Violation::Tsize { said: 5, .. })
        }),
        (
            Fault::OptionNotAsked,
            true,
            |v| matches!(v, Violation::Oack { name, .. } if name == "windowsize"),
        ),
        (Fault::BlockTooLong, false, |v| {
            matches!(v, Violation::BlockTooLong { bytes: 1469, .. })
        }),
        (Fault::NoLastBlock, false, |v| {
            matches!(v, Violation::NoLastBlock { .. })
        }),
        (Fault::OtherPort, true, |v| {
            matches!(v, Violation::TidChanged { .. })
        }),
        (Fault::SecondSession, true, |v| {
            matches!(v, Violation::SecondSession { .. })
        }),
        (Fault::NotFoundIsZero, false, |v| {
            matches!(v, Violation::ErrorCode { code: 0, .. })
        }),
        (Fault::Window, true, |v| {
            matches!(v, Violation::BlockTooEarly { .. })
        }),
    ];
    for (fault, boots, is) in table {
        let server = Server {
            fault,
            ..Server::default()
        };
        let outcome = boot_one(Params::pi4(1, Date(2023, 1, 11)), server);
        assert_eq!(outcome.boot.is_ok(), boots, "{fault:?}: {:?}", outcome.boot);
        let found = outcome.violations;
        assert!(found.iter().any(is), "{fault:?}: {found:?}");
    }
}

#[test]
fn silence_ends_a_boot_after_thirty_seconds() {
    let server = || Server {
        fault: Fault::Silent,
        ..Server::default()
    };
    let outcome = boot_one(Params::pi4(1, Date(2023, 1, 11)), server());
    assert!(matches!(
        outcome.boot,
        Err(Failure::Timeout { bytes: 0, .. })
    ));
    // Every two seconds from the second on.
    assert_eq!(outcome.numbers.repeated_requests, 14);
    let params = Params {
        retries: 2,
        ..Params::pi4(1, Date(2023, 1, 11))
    };
    let outcome = boot_one(params, server());
    assert_eq!(outcome.numbers.requests, 3);
    let gone = Server {
        no_arp: true,
        ..Server::default()
    };
    let found = failure(Params::pi4(1, Date(2023, 1, 11)), gone);
    assert_eq!(found, Failure::NoArp { hop: IP, tftp: IP });
}

/// What a server sends to a port whose transfer was ended early is counted, and is no violation.
#[test]
fn strays_are_counted() {
    let server = Server {
        fault: Fault::DeafToErrors(1),
        ..Server::default()
    };
    let outcome = boot_one(Params::pi4(1, Date(2023, 1, 11)), server);
    outcome.boot.expect("boots");
    assert_eq!(outcome.violations, []);
    assert_eq!(
        outcome.numbers.stray_packets, 0,
        "the boot is over before the first"
    );
    let slow = Server {
        fault: Fault::DeafToErrors(1),
        ..Server::default()
    };
    let conditions = Conditions {
        delay: Duration::from_millis(200),
        ..Conditions::good(Duration::from_secs(3600))
    };
    let outcomes = boot(vec![Params::pi4(1, Date(2023, 1, 11))], slow, conditions);
    assert!(outcomes[0].numbers.stray_packets > 10);
    assert!(outcomes[0].numbers.longest_stray > Duration::from_secs(3));
}

#[test]
fn files_named_in_config_txt_must_be_there() {
    let without = |name: &str| {
        let mut server = Server::default();
        server.files.remove(name);
        server
    };
    let named = |violation: &Violation| matches!(violation, Violation::NamedButMissing { .. });
    for params in [
        Params::pi3b(1),
        Params::pi4(1, Date(2023, 1, 11)),
        Params::pi5(1, Date(2026, 1, 1)),
    ] {
        let outcome = boot_one(params.clone(), without("i.img"));
        let booted = outcome.boot.expect("the firmware boots on without");
        assert!(booted.initramfs.is_empty() && outcome.violations.iter().all(named));
        assert_eq!(outcome.violations.len(), 1);
        let found = failure(params.clone(), without("k.img"));
        assert!(matches!(
            found,
            Failure::Missing {
                why: "the kernel",
                ..
            }
        ));
        let found = failure(params.clone(), without("cmdline.txt"));
        assert!(matches!(found, Failure::Missing { .. }));
        let found = failure(params, without("config.txt"));
        assert!(matches!(found, Failure::Missing { .. }));
    }
}

#[test]
fn fixed_addresses_need_no_dhcp() {
    let params = Params {
        fixed: Some(Fixed {
            client: [10, 0, 0, 77].into(),
            mask: [255, 255, 255, 0].into(),
            gateway: None,
            tftp: IP,
        }),
        ..Params::pi4(1, Date(2023, 1, 11))
    };
    let outcome = boot_one(params, Server::default());
    let booted = outcome.boot.expect("boots");
    assert_eq!(booted.address, std::net::Ipv4Addr::new(10, 0, 0, 77));
    assert_eq!(outcome.numbers.dhcp, Duration::ZERO);
}

#[test]
fn the_rom_is_deaf_to_arp_while_it_loads() {
    let question = |target| {
        let arp_question = Arp {
            request: true,
            sender_mac: [2; 6],
            sender: IP,
            target,
        };
        arp([2; 6], arp_question, BROADCAST)
    };
    for (deaf, answers) in [(true, 0), (false, 1)] {
        let mut params = Params::pi3b(1);
        params.quirks.no_arp_while_loading = deaf;
        let mut pi = Pi::new(params);
        let lease = Lease {
            address: [10, 0, 0, 9].into(),
            mask: [255, 255, 255, 0].into(),
            gateway: None,
            tftp: IP,
        };
        let mut out = Vec::new();
        let now = Duration::ZERO;
        pi.state = State::Resolving(Resolving::new(lease, now));
        pi.poll(now, Some(&question(lease.address)), &mut out);
        // Its own question, and the answer.
        assert_eq!(out.len(), 2);
        pi.advance(now, lease, [2; 6], &mut out);
        out.clear();
        pi.poll(now, Some(&question(lease.address)), &mut out);
        assert_eq!(out.len(), answers);
        pi.poll(now, Some(&question(IP)), &mut out);
        assert_eq!(out.len(), answers);
    }
}

/// Frames that get as far as possible: to this Pi, from its server, of a protocol it knows.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let random = proptest::collection::vec(any::<u8>(), 0..400);
    let addressed = (random.clone(), any::<u16>()).prop_map(|(payload, port)| {
        let from = SocketAddrV4::new(IP, if port % 2 == 0 { 69 } else { port });
        let to = SocketAddrV4::new(
            [10, 0, 0, 9].into(),
            if port % 3 == 0 {
                68
            } else {
                FIRST_PORT + port % 4
            },
        );
        udp(
            ([2; 6], Params::pi4(1, Date(2019, 10, 8)).mac),
            from,
            to,
            &payload,
        )
    });
    let tftp = (any::<u8>(), random.clone(), any::<u16>()).prop_map(|(opcode, rest, block)| {
        let mut payload = vec![0, opcode % 8];
        payload.extend_from_slice(&(block % 3).to_be_bytes());
        payload.extend_from_slice(&rest);
        let from = SocketAddrV4::new(IP, 4000);
        let to = SocketAddrV4::new([10, 0, 0, 9].into(), FIRST_PORT + block % 4);
        udp(
            ([2; 6], Params::pi4(1, Date(2019, 10, 8)).mac),
            from,
            to,
            &payload,
        )
    });
    prop_oneof![random, addressed, tftp]
}

proptest! {
    #[test]
    fn no_frame_panics(frames in proptest::collection::vec(frames(), 0..40), loading: bool) {
        let fixed = Fixed {
            client: [10, 0, 0, 9].into(),
            mask: [255, 255, 255, 0].into(),
            gateway: None,
            tftp: IP,
        };
        let params = Params { fixed: loading.then_some(fixed), ..Params::pi4(1, Date(2019, 10, 8)) };
        let mut pi = Pi::new(params);
        let mut out = Vec::new();
        let hello = Arp { request: false, sender_mac: [2; 6], sender: IP, target: fixed.client };
        pi.poll(Duration::ZERO, Some(&arp([2; 6], hello, pi.params().mac)), &mut out);
        prop_assert_eq!(matches!(pi.state, State::Loading { .. }), loading);
        for (i, frame) in (0u32..).zip(&frames) {
            pi.poll(Duration::from_millis(100) * i, Some(frame), &mut out);
        }
        prop_assert!(out.len() < 10 * (frames.len() + 4));
    }

    #[test]
    fn no_answer_to_a_discover_panics(
        options in proptest::collection::vec(any::<u8>(), 0..300),
        boots: bool,
        rom: bool,
    ) {
        let params = if rom { Params::pi3b(1) } else { Params::pi4(1, Date(2019, 10, 8)) };
        let mut pi = Pi::new(params);
        let mut out = Vec::new();
        pi.poll(Duration::ZERO, None, &mut out);
        let mut answer = out[0][42..282].to_vec();
        answer[0] = 2;
        answer[16..20].copy_from_slice(&[10, 0, 0, 9]);
        answer.extend_from_slice(&[53, 1, 2, 43]);
        if boots {
            answer.push(35);
            answer.extend_from_slice(crate::server::SPACES);
        }
        answer.extend_from_slice(&options);
        let from = SocketAddrV4::new(IP, 67);
        let to = SocketAddrV4::new(std::net::Ipv4Addr::BROADCAST, 68);
        let frame = udp(([2; 6], BROADCAST), from, to, &answer);
        pi.poll(Duration::from_secs(2), Some(&frame), &mut out);
        for second in 3..100 {
            pi.poll(Duration::from_secs(second), None, &mut out);
        }
        prop_assert!(pi.outcome().is_some());
    }
}
