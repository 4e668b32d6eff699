//! A scripted client against [`decide`] over a network that loses packets, with a clock that only a test moves.
//!
//! Whatever is lost, every client ends with an address of its own, and no address ever has two owners.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};
use proptest::prelude::*;
use ramboot::config::Config;
use ramboot::dhcp::decide::decide;
use ramboot::dhcp::lease::Leases;
use ramboot::dhcp::policy::Policy;
use ramboot::dhcp::request::{Arrival, Port, parse};
use ramboot::dhcp::verdict::Answer;
use ramboot::host::interface::Interface;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const RETRY: Duration = Duration::from_secs(4);

fn policy() -> Policy {
    let interface = Interface {
        name: "br0".to_owned(),
        index: 2,
        address: SERVER,
        prefix_len: 24,
        mac: None,
    };
    let config = "[dhcp]\nmode = \"full\"\npool = \"10.0.0.10-10.0.0.29\"\nlease = 600";
    let config = Config::parse(config).expect("a config");
    Policy::new(&config, &interface, 8067)
        .expect("fits")
        .expect("on")
}

/// The server's side: what the shell does, without a socket.
struct Server {
    policy: Policy,
    leases: Leases,
}

impl Server {
    fn receive(&mut self, bytes: &[u8], now: Duration) -> Option<Message> {
        let arrival = Arrival {
            port: Port::Dhcp,
            source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
        };
        let request = parse(bytes, arrival).expect("a client's message");
        let verdict = decide(&request, &self.policy, &self.leases, now);
        if let Some(change) = verdict.lease {
            self.leases.apply(change);
        }
        match verdict.answer {
            Answer::Ignore(_) => None,
            Answer::Reply(reply) => {
                let bytes = reply.encode().expect("encodes");
                Some(Message::decode(&mut Decoder::new(&bytes)).expect("decodes"))
            }
        }
    }
}

/// As far as a client is one: DISCOVER until an offer, REQUEST it four times, then start over.
enum Client {
    Discovering,
    Requesting { offered: Ipv4Addr, tries: u8 },
    Bound(Ipv4Addr),
}

impl Client {
    fn send(&mut self, mac: [u8; 6]) -> Option<Vec<u8>> {
        let none = Ipv4Addr::UNSPECIFIED;
        let mut message = Message::new_with_id(7, none, none, none, none, &mac);
        message.set_opcode(Opcode::BootRequest);
        let options = message.opts_mut();
        match self {
            Self::Bound(_) => return None,
            Self::Requesting { tries: 0, .. } => {
                *self = Self::Discovering;
                return self.send(mac);
            }
            Self::Discovering => {
                options.insert(DhcpOption::MessageType(MessageType::Discover));
            }
            Self::Requesting { offered, tries } => {
                *tries -= 1;
                options.insert(DhcpOption::MessageType(MessageType::Request));
                options.insert(DhcpOption::RequestedIpAddress(*offered));
                options.insert(DhcpOption::ServerIdentifier(SERVER));
            }
        }
        Some(message.to_vec().expect("encodes"))
    }

    fn receive(&mut self, message: &Message) {
        let yours = message.yiaddr();
        match (&*self, message.opts().get(OptionCode::MessageType)) {
            (Self::Discovering, Some(DhcpOption::MessageType(MessageType::Offer))) => {
                *self = Self::Requesting {
                    offered: yours,
                    tries: 4,
                };
            }
            (Self::Requesting { .. }, Some(DhcpOption::MessageType(MessageType::Ack))) => {
                *self = Self::Bound(yours);
            }
            (Self::Requesting { .. }, Some(DhcpOption::MessageType(MessageType::Nak))) => {
                *self = Self::Discovering;
            }
            _ => {}
        }
    }
}

/// Twenty clients, an address for each; every packet of `lost` is dropped; the server forgets all at step `crash`.
fn run(lost: &[bool], crash: usize) -> Result<(), TestCaseError> {
    let mut server = Server {
        policy: policy(),
        leases: Leases::default(),
    };
    let mut clients: Vec<([u8; 6], Client)> = (0..20)
        .map(|i| ([2, 0, 0, 0, 0, i], Client::Discovering))
        .collect();
    let mut lost = lost.iter().copied();
    let mut now = Duration::ZERO;
    for step in 0..60 {
        if step == crash {
            server.leases = Leases::default();
        }
        for (mac, client) in &mut clients {
            let Some(packet) = client.send(*mac) else {
                continue;
            };
            if lost.next().unwrap_or(false) {
                continue;
            }
            let answer = server.receive(&packet, now);
            if let (Some(answer), false) = (answer, lost.next().unwrap_or(false)) {
                prop_assert_eq!(answer.chaddr(), mac.as_slice());
                client.receive(&answer);
            }
            let live: Vec<_> = server.leases.live(now).collect();
            let owners: HashSet<_> = live.iter().map(|(_, mac)| *mac).collect();
            prop_assert_eq!(owners.len(), live.len());
        }
        now += RETRY;
    }
    let mut owners: HashMap<Ipv4Addr, [u8; 6]> = HashMap::new();
    for (mac, client) in clients {
        let Client::Bound(address) = client else {
            return Err(TestCaseError::fail(format!("{mac:?} has no address")));
        };
        if crash >= 60 {
            prop_assert_eq!(
                owners.insert(address, mac),
                None,
                "{} has two owners",
                address
            );
        }
    }
    Ok(())
}

#[test]
fn nothing_lost() {
    run(&[], 60).expect("all have an address");
}

proptest! {
    #[test]
    fn whatever_is_lost(lost in prop::collection::vec(prop::bool::weighted(0.4), 0..600)) {
        run(&lost, 60)?;
    }

    /// A manager that lost its memory may give an address to a second machine (design: an ARP probe and the
    /// client's own DHCPDECLINE stand behind that), but it never leaves a client without one.
    #[test]
    fn a_restart_in_the_middle(lost in prop::collection::vec(prop::bool::weighted(0.3), 0..300), crash in 0_usize..20) {
        run(&lost, crash)?;
    }
}
