use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode};
use ramboot_wire::Mac;

use super::super::bootfile::BootFile;
use super::super::ignore_reason::Why;
use super::super::lease::{LeaseChange, OFFER_FOR, SET_ASIDE_FOR, TAKEN_FOR};
use super::super::reply::Reply;
use super::super::testing::{Client, MAC, SERVER, full, policy, proxy};
use super::super::verdict::Answer;
use super::*;
use crate::config::network::Network;

mod firmwares;
mod messages;
mod relays;

const NOW: Duration = Duration::from_secs(1000);
const HOUR: Duration = Duration::from_secs(3600);
const URL: &str = "http://10.0.0.1:8067/ipxe/52-54-00-12-34-56.x86_64";
const US: [u8; 4] = [10, 0, 0, 1];
const OTHER: [u8; 4] = [10, 0, 0, 2];
const NEIGHBOUR: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// What a verdict comes to, in a line: message type, address given, boot file; or the reason.
fn outcome(verdict: &Verdict) -> String {
    match &verdict.answer {
        Answer::Ignore(why) => format!("{why:?}"),
        Answer::Reply(reply) => {
            let kind = reply.message.opts().msg_type().expect("a type");
            let boot = match &reply.boot {
                None => "nothing".to_owned(),
                Some(BootFile::Url(url)) if url == URL => "script".to_owned(),
                Some(boot) => boot.to_string(),
            };
            format!("{kind:?} {} {boot}", reply.message.yiaddr())
        }
    }
}

fn judge(client: &Client, port: Port, policy: &Policy, leases: &Leases) -> Verdict {
    decide(&client.parse(port), policy, leases, NOW)
}

fn reply(verdict: Verdict) -> Reply {
    match verdict.answer {
        Answer::Reply(reply) => reply,
        Answer::Ignore(why) => panic!("silent: {why}"),
    }
}

fn holding(mac: Mac, address: [u8; 4]) -> Leases {
    let mut leases = Leases::default();
    leases.apply(hold(mac, address, HOUR, true));
    leases
}

fn hold(mac: Mac, address: [u8; 4], time: Duration, acknowledged: bool) -> LeaseChange {
    LeaseChange::Hold {
        network: Network::of(address.into(), 24),
        mac,
        address: address.into(),
        at: NOW,
        until: NOW + time,
        acknowledged,
        known: false,
    }
}

fn option(message: &Message, code: u8) -> Option<DhcpOption> {
    message.opts().get(OptionCode::from(code)).cloned()
}

fn elsewhere(address: [u8; 4]) -> LeaseChange {
    LeaseChange::Elsewhere {
        network: Network::of(SERVER, 24),
        mac: MAC,
        address: address.into(),
        at: NOW,
        until: NOW + SET_ASIDE_FOR,
    }
}

#[test]
fn proxy_one_row_per_rule() {
    let undionly = "undionly.kpxe by TFTP";
    for (client, port, want) in [
        (
            Client::ipxe().discover(),
            Port::Dhcp,
            "Offer 0.0.0.0 script".to_owned(),
        ),
        (
            Client::bios().discover(),
            Port::Dhcp,
            format!("Offer 0.0.0.0 {undionly}"),
        ),
        (
            Client::bios()
                .option(77, b"iPXE")
                .option(175, &[0x11, 1, 1])
                .discover(),
            Port::Dhcp,
            format!("Offer 0.0.0.0 {undionly}"),
        ),
        (Client::init().discover(), Port::Dhcp, "AddressOnly".into()),
        (Client::system().discover(), Port::Dhcp, "NotNetboot".into()),
        (
            Client::ipxe().request([10, 0, 0, 9], OTHER),
            Port::Dhcp,
            "OtherServer(10.0.0.2)".into(),
        ),
        (
            Client::ipxe().request([10, 0, 0, 9], US),
            Port::Dhcp,
            "NotOurAddress".into(),
        ),
        (
            Client::ipxe().reboot([10, 0, 0, 9]),
            Port::Dhcp,
            "NotOurAddress".into(),
        ),
        (
            Client::ipxe().release([10, 0, 0, 9]),
            Port::Dhcp,
            "NotOurAddress".into(),
        ),
        (
            Client::ipxe().decline([10, 0, 0, 9]),
            Port::Dhcp,
            "NotOurAddress".into(),
        ),
        (
            Client::ipxe().inform([10, 0, 0, 9]),
            Port::Dhcp,
            "Ack 0.0.0.0 script".into(),
        ),
        (
            Client::ipxe().renew([10, 0, 0, 9]),
            Port::BootServer,
            "Ack 0.0.0.0 script".into(),
        ),
        (
            Client::bios().inform([10, 0, 0, 9]),
            Port::BootServer,
            format!("Ack 0.0.0.0 {undionly}"),
        ),
        (
            Client::ipxe().renew([10, 0, 0, 9]).option(54, &OTHER),
            Port::BootServer,
            "OtherServer(10.0.0.2)".into(),
        ),
        (
            Client::ipxe().release([10, 0, 0, 9]),
            Port::BootServer,
            "NotOurAddress".into(),
        ),
        (
            Client::system().renew([10, 0, 0, 9]),
            Port::BootServer,
            "NotNetboot".into(),
        ),
    ] {
        let verdict = judge(&client, port, &proxy(), &Leases::default());
        assert_eq!(outcome(&verdict), want, "{client:?} {port:?}");
        assert_eq!(verdict.lease, None, "a proxy remembers nothing");
    }
}

#[test]
fn full_one_row_per_rule() {
    let none = Leases::default;
    let mine = || holding(MAC, [10, 0, 0, 105]);
    let theirs = || holding(NEIGHBOUR, [10, 0, 0, 105]);
    let after = |change| {
        let mut leases = Leases::default();
        leases.apply(change);
        leases
    };
    let offered = || after(hold(MAC, [10, 0, 0, 105], OFFER_FOR, false));
    let offered_theirs = || after(hold(NEIGHBOUR, [10, 0, 0, 105], OFFER_FOR, false));
    let set_aside = || {
        after(LeaseChange::SetAside {
            address: [10, 0, 0, 105].into(),
            until: NOW + SET_ASIDE_FOR,
        })
    };
    let reserved = |client: Client| Client {
        mac: Mac([2, 0, 0, 0, 0, 0x99]),
        ..client
    };
    let ack = "Ack 10.0.0.105 script";
    let nak = "Nak 0.0.0.0 nothing";
    for (client, leases, want) in [
        // DISCOVER
        (Client::ipxe().discover(), mine(), "Offer 10.0.0.105 script"),
        (
            Client::bios().discover(),
            mine(),
            "Offer 10.0.0.105 undionly.kpxe by TFTP",
        ),
        (
            Client::init().discover(),
            mine(),
            "Offer 10.0.0.105 nothing",
        ),
        (
            Client::system().discover(),
            mine(),
            "Offer 10.0.0.105 nothing",
        ),
        (
            Client::ipxe().option(50, &[10, 0, 0, 102]).discover(),
            none(),
            "Offer 10.0.0.102 script",
        ),
        (
            reserved(Client::system().discover()),
            none(),
            "Offer 10.0.0.50 nothing",
        ),
        // SELECTING
        (Client::ipxe().request([10, 0, 0, 105], US), mine(), ack),
        (Client::ipxe().request([10, 0, 0, 105], US), none(), ack),
        (Client::ipxe().request([10, 0, 0, 105], US), theirs(), nak),
        (Client::ipxe().request([10, 0, 0, 20], US), none(), nak),
        (Client::ipxe().request([10, 0, 0, 50], US), none(), nak),
        (
            reserved(Client::system().request([10, 0, 0, 105], US)),
            none(),
            nak,
        ),
        (
            Client::ipxe().request([10, 0, 0, 105], OTHER),
            mine(),
            "OtherServer(10.0.0.2)",
        ),
        // INIT-REBOOT
        (Client::ipxe().reboot([10, 0, 0, 105]), mine(), ack),
        (Client::ipxe().reboot([10, 0, 0, 105]), none(), ack),
        (Client::ipxe().reboot([10, 0, 0, 105]), theirs(), nak),
        (Client::ipxe().reboot([192, 168, 0, 9]), none(), nak),
        (
            Client::ipxe().reboot([10, 0, 0, 20]),
            none(),
            "NoRecord(10.0.0.20)",
        ),
        (Client::ipxe().reboot([10, 0, 0, 20]), mine(), nak),
        (
            reserved(Client::system().reboot([10, 0, 0, 20])),
            none(),
            nak,
        ),
        // An offer was not taken up: the address it has may be another server's.
        (
            Client::ipxe().reboot([10, 0, 0, 20]),
            offered(),
            "NoRecord(10.0.0.20)",
        ),
        // RENEWING, REBINDING
        (
            Client::ipxe().renew([10, 0, 0, 20]),
            mine(),
            "NoRecord(10.0.0.20)",
        ),
        // It uses what was only offered to another, or what somebody was found at.
        (Client::ipxe().renew([10, 0, 0, 105]), offered_theirs(), ack),
        (Client::ipxe().renew([10, 0, 0, 105]), set_aside(), ack),
        (
            Client::ipxe().reboot([10, 0, 0, 105]),
            offered_theirs(),
            ack,
        ),
        (Client::ipxe().reboot([10, 0, 0, 105]), set_aside(), ack),
        (
            Client::ipxe().request([10, 0, 0, 105], US),
            set_aside(),
            nak,
        ),
        (Client::ipxe().renew([10, 0, 0, 105]), mine(), ack),
        (Client::ipxe().renew([10, 0, 0, 105]), none(), ack),
        (Client::ipxe().renew([10, 0, 0, 105]), theirs(), nak),
        (
            Client::ipxe().renew([10, 0, 0, 20]),
            none(),
            "NoRecord(10.0.0.20)",
        ),
        (Client::ipxe().renew([192, 168, 0, 9]), none(), nak),
        (
            Client::ipxe()
                .renew([10, 0, 0, 105])
                .option(50, &[10, 0, 0, 105]),
            mine(),
            ack,
        ),
        (
            Client::ipxe()
                .renew([10, 0, 0, 105])
                .option(50, &[10, 0, 0, 106]),
            mine(),
            "Shapeless { ciaddr: 10.0.0.105, requested: 10.0.0.106 }",
        ),
        (
            Client::ipxe().renew([0, 0, 0, 0]),
            mine(),
            "Shapeless { ciaddr: 0.0.0.0, requested: 0.0.0.0 }",
        ),
        // INFORM, RELEASE, DECLINE
        (
            Client::system().inform([10, 0, 0, 105]),
            none(),
            "Ack 0.0.0.0 nothing",
        ),
        (
            Client::ipxe().inform([10, 0, 0, 105]),
            none(),
            "Ack 0.0.0.0 script",
        ),
        (
            Client::system().release([10, 0, 0, 105]),
            mine(),
            "Released(10.0.0.105)",
        ),
        (
            Client::system().release([10, 0, 0, 105]),
            theirs(),
            "NotHolder(10.0.0.105)",
        ),
        (
            Client::system().decline([10, 0, 0, 105]),
            mine(),
            "Declined(10.0.0.105)",
        ),
        (
            Client::system().decline([10, 0, 0, 105]),
            none(),
            "NotHolder(10.0.0.105)",
        ),
        // Relays
        (
            Client {
                giaddr: [10, 0, 1, 1],
                ..Client::ipxe().discover()
            },
            mine(),
            "Relayed(10.0.1.1)",
        ),
        (
            Client {
                giaddr: [10, 0, 0, 3],
                ..Client::ipxe().discover()
            },
            mine(),
            "Offer 10.0.0.105 script",
        ),
    ] {
        let verdict = judge(&client, Port::Dhcp, &full(), &leases);
        assert_eq!(outcome(&verdict), want, "{client:?}");
    }
}

/// br0 is 10.0.0.1/24; 10.9.0.0/24 lies behind a relay; one machine has a reservation in each.
fn with_relay() -> Policy {
    policy(
        "[dhcp]\nmode = \"full\"\npool = \"10.0.0.105-10.0.0.105\"\n\
         [[network]]\naddress = \"10.9.0.0/24\"\npool = \"10.9.0.5-10.9.0.5\"\nrouter = \"10.9.0.1\"\nlease = 600\n\
         [[worker]]\nmac = \"02:00:00:00:00:98\"\naddress = \"10.0.0.50\"\n\
         [[worker]]\nmac = \"02:00:00:00:00:99\"\naddress = \"10.9.0.50\"",
    )
}

#[test]
fn a_request_is_answered_in_its_network() {
    let relayed = |giaddr, client| Client { giaddr, ..client };
    let far = |client| relayed([10, 9, 0, 1], client);
    let own = |last, client| Client {
        mac: Mac([2, 0, 0, 0, 0, last]),
        ..client
    };
    let unicast = |client: Client| Client {
        source: SocketAddrV4::new(client.ciaddr.into(), 68),
        ..client
    };
    let selects = |network: [u8; 4], client: Client| {
        let info = [&[1, 1, 7, 5, 4][..], &network].concat();
        client.option(82, &info)
    };
    let there = [10, 9, 0, 5];
    for (client, want) in [
        (Client::ipxe().discover(), "Offer 10.0.0.105 script"),
        (far(Client::ipxe().discover()), "Offer 10.9.0.5 script"),
        (
            relayed([10, 8, 0, 1], Client::ipxe().discover()),
            "Relayed(10.8.0.1)",
        ),
        // RFC 3527
        (
            relayed(
                [10, 8, 0, 1],
                selects([10, 9, 0, 0], Client::ipxe().discover()),
            ),
            "Offer 10.9.0.5 script",
        ),
        (
            far(selects([10, 8, 0, 0], Client::ipxe().discover())),
            "Relayed(10.9.0.1)",
        ),
        (
            selects([10, 9, 0, 0], Client::ipxe().discover()),
            "Offer 10.0.0.105 script",
        ),
        // What it asks for is of the other network.
        (
            far(Client::ipxe().option(50, &[10, 0, 0, 105]).discover()),
            "Offer 10.9.0.5 script",
        ),
        (
            far(Client::ipxe().request([10, 0, 0, 105], US)),
            "Nak 0.0.0.0 nothing",
        ),
        (
            far(Client::ipxe().request(there, US)),
            "Ack 10.9.0.5 script",
        ),
        (
            far(Client::ipxe().request(there, OTHER)),
            "OtherServer(10.0.0.2)",
        ),
        (far(Client::ipxe().reboot(there)), "Ack 10.9.0.5 script"),
        (
            far(Client::ipxe().reboot([10, 9, 0, 77])),
            "Nak 0.0.0.0 nothing",
        ),
        (Client::ipxe().reboot(there), "Nak 0.0.0.0 nothing"),
        // Renewing passes no relay, rebinding does.
        (unicast(Client::ipxe().renew(there)), "Ack 10.9.0.5 script"),
        (Client::ipxe().renew(there), "Nak 0.0.0.0 nothing"),
        (far(Client::ipxe().renew(there)), "Ack 10.9.0.5 script"),
        (unicast(Client::ipxe().release(there)), "Released(10.9.0.5)"),
        (Client::ipxe().release(there), "Released(10.9.0.5)"),
        (far(Client::ipxe().decline(there)), "Declined(10.9.0.5)"),
        // Reservations count where they lie.
        (own(0x98, Client::ipxe().discover()), "10.0.0.50"),
        (far(own(0x98, Client::ipxe().discover())), "10.9.0.5"),
        (far(own(0x99, Client::ipxe().discover())), "10.9.0.50"),
        (own(0x99, Client::ipxe().discover()), "10.0.0.105"),
    ] {
        let held = match client.mac {
            MAC => holding(MAC, there),
            _ => Leases::default(),
        };
        let found = outcome(&judge(&client, Port::Dhcp, &with_relay(), &held));
        let same = found == want || found.split(' ').nth(1) == Some(want);
        assert!(same, "{found} instead of {want}: {client:?}");
    }
    let ack = reply(judge(
        &far(Client::ipxe().request(there, US)),
        Port::Dhcp,
        &with_relay(),
        &Leases::default(),
    ));
    assert_eq!(
        option(&ack.message, 3),
        Some(DhcpOption::Router(vec![Ipv4Addr::new(10, 9, 0, 1)]))
    );
    assert_eq!(
        option(&ack.message, 51),
        Some(DhcpOption::AddressLeaseTime(600))
    );
}

#[test]
fn an_interface_for_relays_only_says_so() {
    let policy = policy(
        "[dhcp]\nmode = \"full\"\n[[network]]\naddress = \"10.9.0.0/24\"\npool = \"10.9.0.5-10.9.0.5\"",
    );
    let verdict = judge(
        &Client::ipxe().discover(),
        Port::Dhcp,
        &policy,
        &Leases::default(),
    );
    let network = Network::of(SERVER, 24);
    assert_eq!(verdict, Verdict::ignore(Why::NoPoolHere(network)));
}

#[test]
fn a_refusal_through_a_relay_is_to_be_broadcast() {
    let client = Client {
        giaddr: [10, 9, 0, 1],
        flags: 1,
        ..Client::ipxe().reboot([10, 0, 0, 105])
    };
    let reply = reply(judge(
        &client,
        Port::Dhcp,
        &with_relay(),
        &Leases::default(),
    ));
    assert_eq!(u16::from(reply.message.flags()), 0x8001);
    assert_eq!(reply.to, SocketAddrV4::new([10, 9, 0, 1].into(), 67));
}

#[test]
fn only_an_address_that_nothing_vouches_for_is_probed() {
    let mine = || holding(MAC, [10, 0, 0, 105]);
    let is = |last| Some(Ipv4Addr::new(10, 0, 0, last));
    let relayed = Client {
        giaddr: [10, 0, 0, 3],
        ..Client::ipxe().option(50, &[10, 0, 0, 102]).discover()
    };
    let reserved = Client {
        mac: Mac([2, 0, 0, 0, 0, 0x99]),
        ..Client::ipxe().discover()
    };
    let wants = Client::ipxe().option(50, &[10, 0, 0, 102]).discover();
    for (client, leases, want) in [
        (wants.clone(), Leases::default(), is(102)),
        (wants, mine(), None),
        (relayed, Leases::default(), is(102)),
        (reserved, Leases::default(), is(50)),
        (
            Client::ipxe().request([10, 0, 0, 105], US),
            Leases::default(),
            is(105),
        ),
        (Client::ipxe().request([10, 0, 0, 105], US), mine(), None),
        (
            Client::ipxe().reboot([10, 0, 0, 105]),
            Leases::default(),
            is(105),
        ),
        (
            Client::ipxe().renew([10, 0, 0, 105]),
            Leases::default(),
            None,
        ),
    ] {
        let verdict = judge(&client, Port::Dhcp, &full(), &leases);
        assert_eq!(verdict.probe, want, "{client:?}");
    }
}

#[test]
fn what_another_server_gives_is_not_given_here() {
    let mut leases = Leases::default();
    leases.apply(hold(NEIGHBOUR, [10, 0, 0, 105], OFFER_FOR, false));
    leases.apply(elsewhere([10, 0, 0, 105]));
    let late = Client {
        mac: NEIGHBOUR,
        ..Client::ipxe().request([10, 0, 0, 105], US)
    };
    let refused = judge(&late, Port::Dhcp, &full(), &leases);
    assert_eq!(outcome(&refused), "Nak 0.0.0.0 nothing");
    let mut leased = holding(NEIGHBOUR, [10, 0, 0, 105]);
    leased.apply(elsewhere([10, 0, 0, 105]));
    let again = Client {
        mac: NEIGHBOUR,
        ..Client::ipxe().discover()
    };
    let probed = judge(&again, Port::Dhcp, &full(), &leased).probe;
    assert_eq!(probed, Some(Ipv4Addr::new(10, 0, 0, 105)), "disputed");
    let refused = judge(&late, Port::Dhcp, &full(), &leased);
    assert_eq!(outcome(&refused), "Nak 0.0.0.0 nothing", "disputed");
    let renewing = Client {
        mac: NEIGHBOUR,
        ..Client::system().renew([10, 0, 0, 105])
    };
    let renewed = judge(&renewing, Port::Dhcp, &full(), &leased);
    assert_eq!(outcome(&renewed), "Ack 10.0.0.105 nothing", "in use");
}

#[test]
fn what_is_remembered() {
    let mine_for = |time, acknowledged| Some(hold(MAC, [10, 0, 0, 105], time, acknowledged));
    let free = LeaseChange::Free {
        network: Network::of(SERVER, 24),
        mac: MAC,
    };
    let mine = || holding(MAC, [10, 0, 0, 105]);
    let renewed = Some(LeaseChange::Hold {
        network: Network::of(SERVER, 24),
        mac: MAC,
        address: [10, 0, 0, 105].into(),
        at: NOW,
        until: NOW + HOUR,
        acknowledged: true,
        known: true,
    });
    for (client, want) in [
        (Client::ipxe().discover(), mine_for(OFFER_FOR, false)),
        (
            Client::ipxe().request([10, 0, 0, 105], US),
            mine_for(HOUR, true),
        ),
        (Client::ipxe().renew([10, 0, 0, 105]), renewed),
        (Client::ipxe().request([10, 0, 0, 20], US), None),
        (
            Client::ipxe().request([10, 0, 0, 105], OTHER),
            Some(elsewhere([10, 0, 0, 105])),
        ),
        (Client::ipxe().request([10, 0, 0, 20], OTHER), Some(free)),
        (Client::ipxe().release([10, 0, 0, 105]), Some(free)),
        (Client::ipxe().inform([10, 0, 0, 105]), None),
        (
            Client::ipxe().decline([10, 0, 0, 105]),
            Some(LeaseChange::SetAside {
                address: Ipv4Addr::new(10, 0, 0, 105),
                until: NOW + SET_ASIDE_FOR,
            }),
        ),
    ] {
        assert_eq!(
            judge(&client, Port::Dhcp, &full(), &mine()).lease,
            want,
            "{client:?}"
        );
    }
}

#[test]
fn an_empty_pool_is_said() {
    let mut leases = Leases::default();
    for last in 100..=109 {
        let mac = Mac([2, 0, 0, 0, 0, last]);
        leases.apply(hold(mac, [10, 0, 0, last], HOUR, true));
    }
    let verdict = judge(&Client::ipxe().discover(), Port::Dhcp, &full(), &leases);
    assert_eq!(verdict, Verdict::ignore(Why::PoolExhausted));
}

#[test]
fn where_the_answer_goes() {
    let to = |ip: [u8; 4], port| SocketAddrV4::new(ip.into(), port);
    let everybody = to([255; 4], 68);
    let relayed = |client| Client {
        giaddr: [10, 0, 0, 3],
        ..client
    };
    let from = |source, client| Client { source, ..client };
    let mine = holding(MAC, [10, 0, 0, 105]);
    for (client, port, want) in [
        (Client::ipxe().discover(), Port::Dhcp, everybody),
        (
            Client {
                flags: 0x8000,
                ..Client::ipxe().discover()
            },
            Port::Dhcp,
            everybody,
        ),
        (
            Client::ipxe().renew([10, 0, 0, 105]),
            Port::Dhcp,
            to([10, 0, 0, 105], 68),
        ),
        (
            Client::ipxe().inform([10, 0, 0, 105]),
            Port::Dhcp,
            to([10, 0, 0, 105], 68),
        ),
        (
            Client::ipxe().renew([192, 168, 0, 1]),
            Port::Dhcp,
            everybody,
        ),
        (
            relayed(Client::ipxe().discover()),
            Port::Dhcp,
            to([10, 0, 0, 3], 67),
        ),
        (
            relayed(Client::ipxe().renew([10, 0, 0, 105])),
            Port::Dhcp,
            to([10, 0, 0, 3], 67),
        ),
        (
            relayed(Client::ipxe().renew([192, 168, 0, 1])),
            Port::Dhcp,
            to([10, 0, 0, 3], 67),
        ),
        (
            from(to([10, 0, 0, 9], 68), Client::ipxe().renew([10, 0, 0, 9])),
            Port::BootServer,
            to([10, 0, 0, 9], 68),
        ),
        (
            from(to([10, 0, 0, 9], 4011), Client::ipxe().renew([10, 0, 0, 9])),
            Port::BootServer,
            to([10, 0, 0, 9], 4011),
        ),
        (
            Client::ipxe().renew([10, 0, 0, 9]),
            Port::BootServer,
            everybody,
        ),
    ] {
        assert_eq!(
            reply(judge(&client, port, &full(), &mine)).to,
            want,
            "{client:?}"
        );
    }
}

#[test]
fn an_offer_to_a_bios_rom_in_proxy_mode() {
    let client = Client {
        flags: 0x8001,
        ..Client::bios().discover()
    };
    let message = reply(judge(&client, Port::Dhcp, &proxy(), &Leases::default())).message;
    assert_eq!(
        (message.xid(), u16::from(message.flags())),
        (0x1234_5678, 0x8001)
    );
    assert_eq!(message.chaddr(), MAC.0);
    assert_eq!(
        (message.siaddr(), message.yiaddr()),
        (SERVER, Ipv4Addr::UNSPECIFIED)
    );
    assert_eq!(message.sname(), Some(b"10.0.0.1".as_slice()));
    assert_eq!(message.fname(), Some(b"undionly.kpxe".as_slice()));
    let options: Vec<DhcpOption> = message
        .opts()
        .iter()
        .map(|(_, option)| option.clone())
        .collect();
    assert_eq!(
        options,
        [
            DhcpOption::VendorExtensions(vec![6, 1, 8, 255]),
            DhcpOption::MessageType(MessageType::Offer),
            DhcpOption::ServerIdentifier(SERVER),
            DhcpOption::ClassIdentifier(b"PXEClient".to_vec()),
            DhcpOption::ClientMachineIdentifier(vec![0; 17]),
        ]
    );
}

#[test]
fn an_acknowledgement_in_full_mode() {
    let client = Client::ipxe()
        .request([10, 0, 0, 105], US)
        .option(61, b"\x01me");
    let message = reply(judge(&client, Port::Dhcp, &full(), &Leases::default())).message;
    assert_eq!(message.fname(), Some(URL.as_bytes()));
    let codes: Vec<u8> = message
        .opts()
        .iter()
        .map(|(code, _)| (*code).into())
        .collect();
    // No 3 and no 6: the manager routes nothing and resolves nothing.
    assert_eq!(codes, [1, 43, 51, 53, 54, 58, 59, 60, 61, 97, 175]);
    assert_eq!(
        option(&message, 51),
        Some(DhcpOption::AddressLeaseTime(3600))
    );
    assert_eq!(option(&message, 58), Some(DhcpOption::Renewal(1800)));
    assert_eq!(option(&message, 59), Some(DhcpOption::Rebinding(3150)));
    assert_eq!(
        option(&message, 61),
        Some(DhcpOption::ClientIdentifier(b"\x01me".to_vec()))
    );
    let bytes = reply(judge(&client, Port::Dhcp, &full(), &Leases::default()))
        .encode()
        .expect("encodes");
    assert!(
        bytes.windows(5).any(|w| w == [175, 3, 0xb0, 1, 1]),
        "no-pxedhcp"
    );
    assert!(bytes.len() >= 300);
}

#[test]
fn router_and_name_servers_only_if_there_are_any() {
    let policy = policy(
        "[dhcp]\nmode = \"full\"\npool = \"10.0.0.100-10.0.0.109\"\nrouter = \"10.0.0.254\"\ndns = [\"9.9.9.9\"]",
    );
    let message = reply(judge(
        &Client::system().discover(),
        Port::Dhcp,
        &policy,
        &Leases::default(),
    ))
    .message;
    assert_eq!(
        option(&message, 3),
        Some(DhcpOption::Router(vec![Ipv4Addr::new(10, 0, 0, 254)]))
    );
    assert_eq!(
        option(&message, 6),
        Some(DhcpOption::DomainNameServer(vec![Ipv4Addr::new(
            9, 9, 9, 9
        )]))
    );
    assert_eq!(
        (message.siaddr(), message.fname()),
        (Ipv4Addr::UNSPECIFIED, None)
    );
}

#[test]
fn a_relays_words_are_mirrored_last() {
    let client = Client {
        giaddr: [10, 0, 0, 3],
        ..Client::ipxe().option(82, b"\x01\x02ab").discover()
    };
    let reply = reply(judge(&client, Port::Dhcp, &full(), &Leases::default()));
    assert_eq!(reply.message.giaddr(), Ipv4Addr::new(10, 0, 0, 3));
    let bytes = reply.encode().expect("encodes");
    assert!(
        bytes.ends_with(b"\x52\x04\x01\x02ab\xff"),
        "RFC 3046 §2.1: option 82 is the last one"
    );
}
