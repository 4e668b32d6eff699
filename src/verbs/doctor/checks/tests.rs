use std::path::PathBuf;

use ramboot_wire::Arch;

use super::*;
use crate::config::words::DhcpMode;
use crate::control::Served;
use crate::dhcp::rival::Rival;
use crate::verbs::doctor::facts::{ImageState, Published};
use crate::verbs::doctor::finding::Verdict;

fn lan0(prefix_len: u8) -> Interface {
    Interface {
        name: "lan0".to_owned(),
        index: 2,
        address: [10, 9, 8, 1].into(),
        prefix_len,
        mac: None,
    }
}

/// Check and verdict of each.
fn verdicts(found: &[Finding]) -> Vec<(&str, Verdict)> {
    found.iter().map(|one| (one.check, one.verdict)).collect()
}

/// Who is told that something is wrong is told what to do.
fn remedies(found: &[Finding]) {
    for one in found.iter().filter(|one| one.verdict > Verdict::Note) {
        assert!(
            one.remedy.as_ref().is_some_and(|text| text.len() > 10),
            "{one:?}"
        );
    }
}

#[test]
fn another_dhcp_server_means_something_else_in_each_mode() {
    let rival = |boots: Option<&str>| Rival {
        server: [10, 9, 8, 9].into(),
        offered: [10, 9, 8, 77].into(),
        boots: boots.map(str::to_owned),
    };
    for (found, mode, want) in [
        (None, DhcpMode::Full, Verdict::Good),
        (None, DhcpMode::Proxy, Verdict::Bad),
        (None, DhcpMode::Off, Verdict::Bad),
        (Some(rival(None)), DhcpMode::Full, Verdict::Bad),
        (Some(rival(None)), DhcpMode::Proxy, Verdict::Good),
        (Some(rival(None)), DhcpMode::Off, Verdict::Good),
        (
            Some(rival(Some("pxe from 10.9.8.9"))),
            DhcpMode::Off,
            Verdict::Good,
        ),
    ] {
        let all = rivals(&Ok(found), mode, &lan0(24));
        assert_eq!(verdicts(&all), [("other", want)], "{mode:?}");
        remedies(&all);
    }
    let boots = Some(rival(Some("pxelinux.0 from 10.9.8.9")));
    let all = rivals(&Ok(boots), DhcpMode::Proxy, &lan0(24));
    assert_eq!(
        verdicts(&all),
        [("other", Verdict::Good), ("other-boots", Verdict::Warning)]
    );
    let none = rivals(&Ok(None), DhcpMode::Proxy, &lan0(24));
    let remedy = none[0].remedy.as_deref().unwrap_or_default();
    assert!(
        remedy.ends_with("--dhcp full --pool 10.9.8.100-10.9.8.199"),
        "{remedy}"
    );
    let denied = Err(io::Error::from(io::ErrorKind::PermissionDenied));
    let all = rivals(&denied, DhcpMode::Full, &lan0(24));
    assert_eq!(verdicts(&all), [("other", Verdict::Note)]);
}

#[test]
fn a_port_is_taken_by_somebody_with_a_name() {
    let fact = |check, state| PortFact {
        check,
        name: check.to_uppercase(),
        what: "x",
        state,
    };
    let taken = |program: &str| {
        PortState::Taken(Some(Owner {
            program: program.to_owned(),
            pid: 7,
        }))
    };
    let unknown = |why: &str| PortState::Unknown(why.to_owned());
    let facts = [
        fact("udp-67", PortState::Free),
        fact("udp-4011", PortState::Manager),
        fact("udp-69", taken("dnsmasq")),
        fact("http", PortState::Taken(None)),
        fact("other", unknown("only root may try")),
        fact("hidden", PortState::Taken(None)),
        fact("odd", unknown("binding: only root may try")),
        fact("last", unknown("only root may try")),
    ];
    let found = ports(&facts, 8067, "lan0");
    assert_eq!(
        verdicts(&found),
        [
            ("ports", Verdict::Good),
            ("ports", Verdict::Good),
            ("udp-69", Verdict::Bad),
            ("http", Verdict::Bad),
            ("other", Verdict::Note),
            ("hidden", Verdict::Bad),
            ("odd", Verdict::Note),
        ]
    );
    remedies(&found);
    assert_eq!(found[4].sentence, "OTHER, LAST: only root may try");
    assert_eq!(found[6].sentence, "ODD: binding: only root may try");
    assert_eq!(
        found[5].remedy.as_deref(),
        Some("sudo ramboot doctor, which sees the process")
    );
    assert_eq!(found[2].sentence, "UDP-69 (x) is taken by dnsmasq (pid 7)");
    let remedy = found[2].remedy.as_deref().unwrap_or_default();
    assert!(
        remedy.starts_with("take enable-tftp out of dnsmasq's config"),
        "{remedy}"
    );
}

#[test]
fn a_manager_that_does_not_listen_is_not_believed() {
    let fact = PortFact {
        check: "udp-67",
        name: "UDP 67".to_owned(),
        what: "DHCP",
        state: PortState::Missing,
    };
    let found = ports(&[fact], 8067, "lan0");
    assert_eq!(verdicts(&found), [("udp-67", Verdict::Bad)]);
    remedies(&found);
    assert_eq!(
        found[0].sentence,
        "nobody listens on UDP 67 (DHCP) of lan0, though the manager that runs says that it serves there"
    );
}

#[test]
fn an_interface_that_the_manager_serves_may_be_away_or_have_another_address() {
    let one = |last| Served {
        name: "lan0".to_owned(),
        address: [10, 9, 8, last].into(),
        prefix_len: 24,
        trouble: None,
    };
    assert_eq!(served(&one(1), &Ok(lan0(24))), []);
    for (found, want) in [
        (
            served(&one(7), &Ok(lan0(24))),
            "lan0 has 10.9.8.1, and the manager tells machines to come to 10.9.8.7",
        ),
        (
            served(
                &one(1),
                &Err(ChooseError::NoSuch {
                    name: "lan0".to_owned(),
                    there: "lo 127.0.0.1/8".to_owned(),
                }),
            ),
            "the manager serves lan0, which is away: there is no interface lan0; there are lo 127.0.0.1/8",
        ),
        (
            served(
                &one(1),
                &Err(ChooseError::Down {
                    name: "lan0".to_owned(),
                }),
            ),
            "the manager serves lan0, which is away: interface lan0 is down",
        ),
    ] {
        assert_eq!(verdicts(&found), [("served", Verdict::Bad)]);
        assert_eq!(found[0].sentence, want);
        remedies(&found);
    }
}

#[test]
fn an_interface_may_be_up_and_of_no_use() {
    let good = LinkFacts::default();
    let bridge = LinkFacts {
        carrier: Some(false),
        stp_delay: Some(15),
    };
    for (length, link, want) in [
        (24, good, &["interface"][..]),
        (31, good, &["interface", "prefix"]),
        (24, bridge, &["interface", "carrier", "stp"]),
    ] {
        let found = interface(&Ok(lan0(length)), &link);
        let checks: Vec<&str> = found.iter().map(|one| one.check).collect();
        assert_eq!(checks, want);
        remedies(&found);
    }
    let error = ChooseError::Down {
        name: "lan0".to_owned(),
    };
    let found = interface(&Err(error), &good);
    assert_eq!(found[0].sentence, "interface lan0 is down");
    assert_eq!(found[0].remedy.as_deref(), Some("\"ip link set lan0 up\""));
}

#[test]
fn a_manager_runs_or_is_started_by_a_command() {
    let about = About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: 7,
        dhcp: "full".to_owned(),
        interfaces: vec![Served {
            name: "lan0".to_owned(),
            address: [10, 9, 8, 1].into(),
            prefix_len: 24,
            trouble: None,
        }],
        http_port: 80,
        state: PathBuf::from("/s"),
        config: None,
        ipxe_dir: PathBuf::from("/i"),
    };
    let older = About {
        version: "0.0.1".to_owned(),
        ..about.clone()
    };
    let folder = Path::new(FOLDER);
    let said = |about: Result<About, io::ErrorKind>| manager(&about, folder, "lan0");
    assert_eq!(verdicts(&said(Ok(about))), [("runs", Verdict::Good)]);
    assert_eq!(
        verdicts(&said(Ok(older))),
        [("runs", Verdict::Good), ("version", Verdict::Note)]
    );
    let none = said(Err(io::ErrorKind::NotFound));
    assert_eq!(verdicts(&none), [("runs", Verdict::Bad)]);
    let remedy = none[0].remedy.as_deref().unwrap_or_default();
    assert!(
        remedy.ends_with("sudo ramboot serve --interface lan0"),
        "{remedy}"
    );
    let denied = said(Err(io::ErrorKind::PermissionDenied));
    assert_eq!(verdicts(&denied), [("runs", Verdict::Warning)]);
}

#[test]
fn images_that_are_wanted_are_published() {
    let good = || Published {
        name: "worker".to_owned(),
        state: Ok(ImageState {
            id: "0123456789ab".to_owned(),
            size: 139_000_000,
            kernel: "6.1".to_owned(),
            arch: Arch::Aarch64,
            pis: true,
            deep: false,
        }),
    };
    let broken = Published {
        name: "broken".to_owned(),
        state: Err(anyhow::anyhow!("image.sqfs is damaged")),
    };
    let state = Path::new("/srv/boot");
    let wanted = ["worker".to_owned(), "other".to_owned()];
    let found = images(&Ok(vec![good(), broken]), state, &wanted);
    assert_eq!(
        verdicts(&found),
        [
            ("image", Verdict::Good),
            ("image", Verdict::Bad),
            ("wanted", Verdict::Warning)
        ]
    );
    remedies(&found);
    assert_eq!(
        found[0].sentence,
        "worker: 0123456789ab, 139 MB, kernel 6.1, for arm64 machines and Raspberry Pis; boot files proven (the image itself: --deep)"
    );
    let none = images(&Ok(Vec::new()), state, &[]);
    assert_eq!(verdicts(&none), [("published", Verdict::Bad)]);
    let remedy = none[0].remedy.as_deref().unwrap_or_default();
    assert!(
        remedy.ends_with("publish image.sqfs --state /srv/boot"),
        "{remedy}"
    );
}
