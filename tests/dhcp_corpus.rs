//! Real requests, byte for byte, against the verdict written beside each of them, and what must hold for any bytes.
//!
//! `tests/data/dhcp/NAME.hex` begins with a line of origin. `NAME.want` has one line per mode and port: mode, port,
//! then what the manager does. The manager is 10.77.0.1/24; in full mode its pool is 10.77.0.50-10.77.0.59.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dhcproto::v4::{Message, Opcode};
use dhcproto::{Decodable, Decoder};
use proptest::prelude::*;
use ramboot::config::Config;
use ramboot::dhcp::decide::decide;
use ramboot::dhcp::lease::Leases;
use ramboot::dhcp::policy::Policy;
use ramboot::dhcp::reply::Reply;
use ramboot::dhcp::request::{Arrival, Port, parse};
use ramboot::dhcp::verdict::{Answer, Verdict};
use ramboot::host::interface::Interface;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const FULL: &str = "[dhcp]\nmode = \"full\"\npool = \"10.77.0.50-10.77.0.59\"";

fn policy(config: &str) -> Policy {
    let interface = Interface {
        name: "br0".to_owned(),
        index: 2,
        address: SERVER,
        prefix_len: 24,
        mac: None,
    };
    let config = Config::parse(config).expect("a config");
    Policy::new(&config, &interface, 8067)
        .expect("fits")
        .expect("on")
}

fn arrival(port: Port) -> Arrival {
    let source = match port {
        Port::Dhcp => Ipv4Addr::UNSPECIFIED,
        Port::BootServer => Ipv4Addr::new(10, 77, 0, 58),
    };
    Arrival {
        port,
        source: SocketAddrV4::new(source, 68),
    }
}

fn corpus() -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dhcp");
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .expect("the corpus")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "hex"))
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|path| (path.clone(), packet(&path)))
        .collect()
}

fn packet(path: &Path) -> Vec<u8> {
    let text = std::fs::read_to_string(path).expect("readable");
    let (origin, hex) = text.split_once('\n').expect("an origin, then bytes");
    assert!(
        origin.starts_with("# ") && origin.contains("2026-"),
        "{}: {origin}",
        path.display()
    );
    let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    let byte =
        |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hex");
    digits.chunks(2).map(byte).collect()
}

fn verdict_line(bytes: &[u8], policy: &Policy, port: Port) -> String {
    let request = match parse(bytes, arrival(port)) {
        Ok(request) => request,
        Err(why) => return format!("malformed: {why}"),
    };
    let firmware = request.firmware;
    match decide(&request, policy, &Leases::default(), Duration::ZERO).answer {
        Answer::Ignore(why) => format!("{firmware}: silent: {why}"),
        Answer::Reply(reply) => {
            let kind = reply.message.opts().msg_type().expect("a type");
            format!("{firmware}: {kind:?} to {}: {}", reply.to, reply.gives())
        }
    }
}

#[test]
fn every_capture_gets_the_verdict_beside_it() {
    let modes = [("proxy", policy("")), ("full", policy(FULL))];
    let corpus = corpus();
    assert!(corpus.len() >= 6, "the corpus is there");
    for (path, bytes) in corpus {
        let mut found = String::new();
        for (mode, policy) in &modes {
            for (number, port) in [(67, Port::Dhcp), (4011, Port::BootServer)] {
                let line = verdict_line(&bytes, policy, port);
                writeln!(found, "{mode} {number} {line}").expect("a String takes all");
            }
        }
        let want = std::fs::read_to_string(path.with_extension("want")).unwrap_or_default();
        assert_eq!(
            found,
            want,
            "{}: the left side is what was found",
            path.display()
        );
    }
}

/// What must hold for any packet, in every mode and on every port.
fn holds(bytes: &[u8], policies: &[Policy]) -> Result<(), TestCaseError> {
    for policy in policies {
        for port in [Port::Dhcp, Port::BootServer] {
            let Ok(request) = parse(bytes, arrival(port)) else {
                continue;
            };
            let Verdict { answer, .. } =
                decide(&request, policy, &Leases::default(), Duration::ZERO);
            if let Answer::Reply(reply) = answer {
                mirrors(bytes, &reply)?;
            }
        }
    }
    Ok(())
}

fn mirrors(asked: &[u8], reply: &Reply) -> Result<(), TestCaseError> {
    let sent = reply.encode().expect("encodes");
    prop_assert!(sent.len() >= 300 && sent.len() <= 1500);
    let range = |from: usize, to: usize| (&asked[from..to], &sent[from..to]);
    for (name, (asked, sent)) in [
        ("htype, hlen", range(1, 3)),
        ("xid", range(4, 8)),
        ("giaddr", range(24, 28)),
        // InfiniBand has none (RFC 4390 §2.1).
        ("chaddr", range(28, 28 + usize::from(asked[2]))),
    ] {
        prop_assert_eq!(asked, sent, "{}", name);
    }
    // The BROADCAST bit of a relayed NAK is the server's to set (RFC 2131 §4.3.2).
    prop_assert_eq!(asked[10] & 0x7f, sent[10] & 0x7f);
    prop_assert_eq!(asked[11], sent[11]);
    // RFC 3046 §2.2: option 82 once.
    let mut codes = Vec::new();
    let mut rest = &sent[240..];
    while let [code, len, tail @ ..] = rest
        && *code != 255
    {
        codes.push(*code);
        rest = &tail[usize::from(*len)..];
    }
    codes.dedup();
    let relays = codes.iter().filter(|code| **code == 82).count();
    prop_assert!(relays <= 1, "{:?}", codes);
    prop_assert!(relays == 0 || codes.last() == Some(&82), "{:?}", codes);
    let message = Message::decode(&mut Decoder::new(&sent)).expect("decodes");
    prop_assert_eq!(message.opcode(), Opcode::BootReply);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..1600)) {
        holds(&bytes, &[policy(""), policy(FULL)])?;
    }

    #[test]
    fn any_options_are_survived(kind in 1_u8..9, options in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = corpus()[0].1.clone();
        bytes.truncate(240);
        bytes.extend([53, 1, kind]);
        bytes.extend(options);
        holds(&bytes, &[policy(""), policy(FULL)])?;
    }

    #[test]
    fn mutated_captures_are_survived(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let corpus = corpus();
        let mut bytes = which.get(&corpus).1.clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        holds(&bytes, &[policy(""), policy(FULL)])?;
        bytes.truncate(cut.index(bytes.len()));
        holds(&bytes, &[policy(""), policy(FULL)])?;
    }
}
