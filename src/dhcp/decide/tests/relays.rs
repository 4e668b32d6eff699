//! What comes through a relay, and what a manager that has just started does about it.

use super::super::super::arp::Claim;
use super::super::super::consider::{Means, Office, learn};
use super::super::super::probe::{Due, Probes, Way};
use super::*;
use crate::fleet::event::Sign;

const RELAY: [u8; 4] = [10, 9, 0, 1];
const THERE: [u8; 4] = [10, 9, 0, 5];

fn far(client: Client) -> Client {
    Client {
        giaddr: RELAY,
        source: SocketAddrV4::new(RELAY.into(), 67),
        ..client
    }
}

/// Codes and data as they stand in the packet, from the options field on.
fn options(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    let mut rest = &bytes[240..];
    while let [code, len, tail @ ..] = rest
        && *code != 255
    {
        let (data, next) = tail.split_at(usize::from(*len));
        all.push((*code, data.to_vec()));
        rest = next;
    }
    assert_eq!(rest.first(), Some(&255), "an end");
    assert!(rest[1..].iter().all(|byte| *byte == 0), "then nothing");
    all
}

/// RFC 3046 §2.2, in every kind of answer and in both modes.
#[test]
fn option_82_is_mirrored_once_and_last() {
    let info = [&[1, 4][..], b"eth9", &[2, 2, 7, 7]].concat();
    let asks = |client: Client| far(client.option(82, &info));
    for (client, policy) in [
        (asks(Client::ipxe().discover()), with_relay()),
        (asks(Client::ipxe().request(THERE, US)), with_relay()),
        (asks(Client::system().renew(THERE)), with_relay()),
        (asks(Client::system().reboot([10, 8, 0, 1])), with_relay()),
        (asks(Client::system().inform(THERE)), with_relay()),
        (asks(Client::bios().discover()), proxy()),
    ] {
        let reply = reply(judge(&client, Port::Dhcp, &policy, &Leases::default()));
        let mut options = options(&reply.encode().expect("encodes"));
        assert_eq!(options.pop(), Some((82, info.clone())), "{client:?}");
        assert!(options.iter().all(|(code, _)| *code != 82), "{options:?}");
        assert_eq!(options[0].0, 53, "the type first");
    }
}

#[test]
fn a_relay_that_shows_itself_as_the_server() {
    let shown = [10, 9, 0, 254];
    let info = [&[11, 4][..], &shown].concat();
    let asks = |client: Client| far(client.option(82, &info));
    let none = Leases::default;
    for (client, want) in [
        (asks(Client::ipxe().discover()), "Offer 10.9.0.5 script"),
        (
            asks(Client::ipxe().request(THERE, shown)),
            "Ack 10.9.0.5 script",
        ),
        (
            asks(Client::ipxe().request(THERE, US)),
            "Ack 10.9.0.5 script",
        ),
        (
            asks(Client::ipxe().request(THERE, OTHER)),
            "OtherServer(10.0.0.2)",
        ),
        (asks(Client::ipxe().renew(THERE)), "Ack 10.9.0.5 script"),
        // All servers behind that relay have this address, and it may be another one's offer.
        (
            asks(Client::ipxe().request([10, 9, 0, 77], shown)),
            "NoRecord(10.9.0.77)",
        ),
        // Without a relay nobody is believed that.
        (
            Client::ipxe()
                .option(82, &info)
                .request([10, 0, 0, 105], shown),
            "OtherServer(10.9.0.254)",
        ),
    ] {
        let verdict = judge(&client, Port::Dhcp, &with_relay(), &none());
        assert_eq!(outcome(&verdict), want, "{client:?}");
        if let Answer::Reply(reply) = verdict.answer {
            let shown = DhcpOption::ServerIdentifier(shown.into());
            assert_eq!(option(&reply.message, 54), Some(shown));
        }
    }
    let held = holding(MAC, THERE);
    for (kind, want) in [(7, "Released(10.9.0.5)"), (4, "Declined(10.9.0.5)")] {
        let client = Client {
            ciaddr: if kind == 7 { THERE } else { [0; 4] },
            ..asks(
                Client::system()
                    .option(53, &[kind])
                    .option(54, &shown)
                    .option(50, &THERE),
            )
        };
        let verdict = judge(&client, Port::Dhcp, &with_relay(), &held);
        assert_eq!(outcome(&verdict), want);
    }
}

#[test]
fn a_relay_that_listens_on_another_port() {
    let from = |port, client: Client| Client {
        source: SocketAddrV4::new(RELAY.into(), port),
        ..far(client)
    };
    let asks = || Client::ipxe().option(82, &[1, 1, 9, 19, 0]);
    for (client, want) in [
        (from(40_000, asks().discover()), 40_000),
        (from(40_000, asks().request(THERE, US)), 40_000),
        (from(40_000, asks().reboot([10, 8, 0, 1])), 40_000),
        (from(0, asks().discover()), 67),
        // Without the sub-option it is a NAT's port, or none to listen on.
        (
            from(40_000, Client::ipxe().option(82, &[1, 1, 9]).discover()),
            67,
        ),
        (from(40_000, Client::ipxe().discover()), 67),
    ] {
        let reply = reply(judge(
            &client,
            Port::Dhcp,
            &with_relay(),
            &Leases::default(),
        ));
        assert_eq!(
            reply.to,
            SocketAddrV4::new(RELAY.into(), want),
            "{client:?}"
        );
    }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The first minute: who has an address keeps it, who has none waits; on its own link a manager need not wait.
#[test]
fn a_manager_that_just_started_listens_to_relayed_networks_first() {
    let reserved = Client {
        mac: Mac([2, 0, 0, 0, 0, 0x99]),
        ..Client::ipxe()
    };
    let none = Leases::default;
    let mine = || holding(MAC, THERE);
    for (client, leases, early, late) in [
        (
            far(Client::ipxe().discover()),
            none(),
            "JustStarted",
            "Offer 10.9.0.5 script",
        ),
        (
            far(Client::ipxe().discover()),
            mine(),
            "Offer 10.9.0.5 script",
            "Offer 10.9.0.5 script",
        ),
        (
            far(reserved.discover()),
            none(),
            "Offer 10.9.0.50 http://10.0.0.1:8067/ipxe/02-00-00-00-00-99.x86_64",
            "Offer 10.9.0.50 http://10.0.0.1:8067/ipxe/02-00-00-00-00-99.x86_64",
        ),
        (
            Client::ipxe().discover(),
            none(),
            "Offer 10.0.0.105 script",
            "Offer 10.0.0.105 script",
        ),
        (
            far(Client::ipxe().renew(THERE)),
            none(),
            "Ack 10.9.0.5 script",
            "Ack 10.9.0.5 script",
        ),
        (
            far(Client::ipxe().reboot(THERE)),
            none(),
            "JustStarted",
            "Ack 10.9.0.5 script",
        ),
        // It was offered by the manager of before, which knew.
        (
            far(Client::ipxe().request(THERE, US)),
            none(),
            "Ack 10.9.0.5 script",
            "Ack 10.9.0.5 script",
        ),
    ] {
        let request = client.parse(Port::Dhcp);
        for (now, want) in [(at(0), early), (at(59), early), (at(60), late)] {
            let verdict = decide(&request, &with_relay(), &leases, now);
            assert_eq!(outcome(&verdict), want, "{client:?} {now:?}");
        }
    }
}

/// A manager without memory on the relayed network, or on its own.
struct Desk {
    policy: Policy,
    leases: Leases,
    probes: Probes<Request>,
}

impl Desk {
    fn new(policy: Policy) -> Self {
        Self {
            policy,
            leases: Leases::default(),
            probes: Probes::default(),
        }
    }

    fn office(&mut self, now: Duration) -> Office<'_> {
        Office {
            policy: &self.policy,
            leases: &mut self.leases,
            probes: &mut self.probes,
            means: Means {
                arp: true,
                echo: true,
            },
            now,
        }
    }

    /// What is said to a client at once, or once its address was looked for; `who` answers for each address.
    fn says(
        &mut self,
        client: &Client,
        now: Duration,
        who: impl Fn(Ipv4Addr) -> Option<Mac>,
    ) -> String {
        let mut decided = self.office(now).consider(client.parse(Port::Dhcp));
        while decided.is_none() {
            let [Due::Ask(way, address)] = self.probes.due(now)[..] else {
                panic!("one question");
            };
            let mac = who(address);
            let conflict = mac.and_then(|mac| match way {
                Way::Arp => self.probes.heard(Claim { mac, address }, Mac([2; 6])),
                Way::Echo => self.probes.echoed(address),
            });
            decided = match conflict {
                Some(conflict) => self.office(now).reconsider(conflict),
                None => {
                    let end = now + Duration::from_secs(1);
                    let free = self.probes.due(end).into_iter().find_map(|due| match due {
                        Due::Free(request) => Some(request),
                        Due::Ask(..) => None,
                    });
                    self.office(end).consider(free.expect("it waited"))
                }
            };
        }
        let (_, verdict) = decided.expect("a verdict");
        verdict
            .lease
            .into_iter()
            .for_each(|it| self.leases.apply(it));
        outcome(&verdict)
    }
}

/// A pool of two: one machine has one of its addresses when the manager is restarted, and another one asks for it.
#[test]
fn who_answers_for_an_address_keeps_it_after_a_restart() {
    let policy = policy("[dhcp]\nmode = \"full\"\npool = \"10.0.0.105-10.0.0.106\"");
    let other = |client: Client| Client {
        mac: NEIGHBOUR,
        ..client
    };
    let wants = other(Client::system().option(50, &[10, 0, 0, 105]).discover());
    let lives = |address: Ipv4Addr| (address.octets()[3] == 105).then_some(MAC);
    for (client, want) in [
        (
            Client::system().reboot([10, 0, 0, 105]),
            "Ack 10.0.0.105 nothing",
        ),
        (
            Client::system().renew([10, 0, 0, 105]),
            "Ack 10.0.0.105 nothing",
        ),
        (Client::system().discover(), "Offer 10.0.0.105 nothing"),
    ] {
        let mut desk = Desk::new(policy.clone());
        let first = desk.says(&wants, NOW, lives);
        assert_eq!(first, "Offer 10.0.0.106 nothing", "{client:?}");
        assert_eq!(desk.says(&client, NOW, lives), want);
    }
}

/// Two hundred of 250 addresses are in use, of which a manager that was restarted knows nothing. They and fifty new machines
/// ask in one breath: all are served, each holder with its own.
#[test]
fn a_crowded_pool_is_served_after_a_restart() {
    let policy = policy("[dhcp]\nmode = \"full\"\npool = \"10.0.0.2-10.0.0.251\"");
    let mac = |i: u8| Mac([2, 0, 0, 7, 0, i]);
    let home = |i: u8| Ipv4Addr::new(10, 0, 0, 2 + i);
    let lives = |address: Ipv4Addr| {
        let i = address.octets()[3] - 2;
        (i < 200).then(|| mac(i))
    };
    let mut desk = Desk::new(policy);
    let mut given = std::collections::HashSet::new();
    for i in 0..50 {
        let asks = |mac, client: Client| Client { mac, ..client };
        let said = desk.says(&asks(mac(200 + i), Client::system().discover()), NOW, lives);
        assert!(
            said.starts_with("Offer ") && given.insert(said.clone()),
            "{said}"
        );
        for holder in (0..4).map(|k| 4 * i + k) {
            let client = match holder % 2 {
                0 => Client::system().renew(home(holder).octets()),
                _ => Client::system().reboot(home(holder).octets()),
            };
            let said = desk.says(&asks(mac(holder), client), NOW, lives);
            assert_eq!(said, format!("Ack {} nothing", home(holder)), "{holder}");
            assert!(given.insert(said.replace("Ack", "Offer")), "{said}");
        }
    }
}

#[test]
fn behind_a_relay_an_answer_to_a_ping_keeps_the_address() {
    let policy = policy(
        "[dhcp]\nmode = \"full\"\n[[network]]\naddress = \"10.9.0.0/24\"\npool = \"10.9.0.5-10.9.0.6\"",
    );
    let other = far(Client {
        mac: NEIGHBOUR,
        ..Client::system().option(50, &THERE).discover()
    });
    let lives = |address: Ipv4Addr| (address.octets() == THERE).then_some(MAC);
    for (client, want) in [
        // Its own word says whose the answer was.
        (Client::system().renew(THERE), "Ack 10.9.0.5 nothing"),
        // This one's may be that answer, or not: it keeps what it has, and renews later.
        (far(Client::system().reboot(THERE)), "InUse(10.9.0.5)"),
        (
            far(Client::system().request(THERE, US)),
            "Nak 0.0.0.0 nothing",
        ),
    ] {
        let mut desk = Desk::new(policy.clone());
        let client = Client {
            source: SocketAddrV4::new(client.ciaddr.into(), 68),
            ..client
        };
        assert_eq!(desk.says(&other, NOW, lives), "Offer 10.9.0.6 nothing");
        assert_eq!(desk.says(&client, NOW, lives), want, "{client:?}");
    }
}

/// It answers no ping, and the manager was restarted.
#[test]
fn a_heartbeat_keeps_the_address_of_a_worker() {
    let policy = policy(
        "[dhcp]\nmode = \"full\"\n[[network]]\naddress = \"10.9.0.0/24\"\npool = \"10.9.0.5-10.9.0.6\"",
    );
    let beat = |address: [u8; 4], policy: &Policy| {
        let sign = Sign::Lives {
            address: address.into(),
            mac: MAC,
        };
        learn(sign, policy, NOW)
    };
    let silent = |_| None;
    let other = far(Client {
        mac: NEIGHBOUR,
        ..Client::system().option(50, &THERE).discover()
    });
    let mut desk = Desk::new(policy.clone());
    let change = beat(THERE, &policy).expect("an address of the pool");
    desk.leases.apply(change);
    assert_eq!(desk.says(&other, NOW, silent), "Offer 10.9.0.6 nothing");
    let mut unheard = Desk::new(policy.clone());
    assert_eq!(unheard.says(&other, NOW, silent), "Offer 10.9.0.5 nothing");
    // Memory is bounded by the pool.
    assert_eq!(beat([10, 9, 0, 77], &policy), None);
    assert_eq!(beat([10, 8, 0, 5], &policy), None);
    assert_eq!(beat(THERE, &proxy()), None);
}
