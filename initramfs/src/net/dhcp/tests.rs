//! A script in time: what the client sends when, and what it makes of what a server (or anybody) says.
#![expect(clippy::disallowed_methods, reason = "any moment will do as the first")]

use super::*;
use crate::net::lease::Route;
use proptest::prelude::*;

const MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ADDR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 51);
const XID: u32 = 0x8000_0000;

fn client(now: Instant) -> Client {
    let hostname = Some("node-1".to_owned());
    Client::new(Identity { mac: MAC, hostname }, now)
}

/// What is sent at `now`, if anything.
fn sent(client: &mut Client, now: Instant) -> Option<Message> {
    let mut packet = None;
    client
        .dispatch(now, XID, |bytes| {
            packet = Some(bytes.to_vec());
            Ok(())
        })
        .expect("sends");
    packet.map(|packet| Message::decode(&mut Decoder::new(&packet)).expect("decodes"))
}

fn reply(kind: MessageType) -> Message {
    let mut message = Message::default();
    message
        .set_opcode(Opcode::BootReply)
        .set_xid(XID)
        .set_chaddr(&MAC.0)
        .set_yiaddr(ADDR);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(SERVER));
    options.insert(DhcpOption::SubnetMask([255, 255, 255, 0].into()));
    options.insert(DhcpOption::Router(vec![SERVER]));
    options.insert(DhcpOption::DomainNameServer(vec![
        SERVER,
        [0, 0, 0, 0].into(),
        SERVER,
    ]));
    options.insert(DhcpOption::DomainName("lab.example\0".to_owned()));
    options.insert(DhcpOption::NtpServers(vec![SERVER]));
    options.insert(DhcpOption::InterfaceMtu(9000));
    message
}

fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().expect("encodes")
}

fn kind(message: Option<Message>) -> Option<MessageType> {
    message.and_then(|message| message.opts().msg_type())
}

#[test]
fn discover_offer_request_ack() {
    let now = Instant::now();
    let mut client = client(now);
    let discover = sent(&mut client, now).expect("a DISCOVER at once");
    assert_eq!(discover.opts().msg_type(), Some(MessageType::Discover));
    assert!(discover.flags().broadcast());
    assert_eq!(discover.chaddr(), MAC.0);
    for option in [
        DhcpOption::ClassIdentifier(b"ramboot".to_vec()),
        DhcpOption::ClientIdentifier(vec![1, 0x52, 0x54, 0, 0x12, 0x34, 0x56]),
        DhcpOption::Hostname("node-1".to_owned()),
    ] {
        assert_eq!(
            discover.opts().get(OptionCode::from(&option)),
            Some(&option)
        );
    }
    assert_eq!(
        client.process(now, &bytes(&reply(MessageType::Offer))),
        Outcome::Offered
    );
    let request = sent(&mut client, now + Duration::from_secs(3)).expect("a REQUEST");
    assert_eq!(request.opts().msg_type(), Some(MessageType::Request));
    assert_eq!((request.xid(), request.secs()), (XID, 3));
    assert_eq!(server(&request), Some(SERVER));
    assert_eq!(
        client.process(now, &bytes(&reply(MessageType::Ack))),
        Outcome::Bound
    );
    assert_eq!(client.poll_at(), None);
    let want = Lease {
        addr: ADDR,
        prefix: 24,
        routes: vec![Route::by_default(SERVER)],
        dns: vec![SERVER],
        ntp: vec![SERVER],
        domain: Some("lab.example".to_owned()),
        search: Vec::new(),
        mtu: Some(9000),
        server: SERVER,
    };
    assert_eq!(client.lease(), Some(&want));
}

/// The lease that an offer with these options more leads to.
fn bound(options: &[u8]) -> Lease {
    let now = Instant::now();
    let mut client = client(now);
    for kind in [MessageType::Offer, MessageType::Ack] {
        sent(&mut client, now);
        let mut packet = bytes(&reply(kind));
        assert_eq!(packet.pop(), Some(255));
        packet.extend(options);
        client.process(now, &packet);
    }
    client.lease().expect("bound").clone()
}

/// RFC 3442: the routers of option 3 MUST be ignored then; on a network that sends option 121 alone it is the default route.
#[test]
fn classless_routes_are_asked_for_and_come_before_routers() {
    let now = Instant::now();
    let discover = sent(&mut client(now), now).expect("a DISCOVER");
    let Some(DhcpOption::ParameterRequestList(wanted)) =
        discover.opts().get(OptionCode::ParameterRequestList)
    else {
        panic!("{discover:?}");
    };
    let at = |code| wanted.iter().position(|other| *other == code);
    assert!(at(OptionCode::ClasslessStaticRoute).is_some());
    assert!(at(OptionCode::ClasslessStaticRoute) < at(OptionCode::Router));
    for code in [
        OptionCode::DomainSearch,
        OptionCode::NtpServers,
        OptionCode::InterfaceMtu,
    ] {
        assert!(at(code).is_some(), "{code:?}");
    }

    let default = Route::by_default([10, 0, 0, 254].into());
    let routes = [121, 12, 0, 10, 0, 0, 254, 16, 10, 17, 0, 0, 0, 0, 255];
    let lease = bound(&routes);
    let local = Route {
        to: [10, 17, 0, 0].into(),
        prefix: 16,
        via: None,
    };
    assert_eq!(lease.routes, [default, local]);
    assert_eq!(lease.router(), default.via);
    // Without a default route among them there is none.
    let lease = bound(&[121, 7, 16, 10, 17, 0, 0, 0, 0, 255]);
    assert_eq!((lease.router(), &lease.routes[..]), (None, &[local][..]));
    // What is no list of routes is no reason to have none.
    let lease = bound(&[121, 5, 200, 10, 0, 0, 254, 255]);
    assert_eq!(lease.router(), Some(SERVER));
}

/// RFC 3397: the list, split as RFC 3396 has it, is what names are looked up in; else the domain is.
#[test]
fn a_search_list_comes_before_the_domain() {
    let split = b"\x77\x05\x03lab\x01\x77\x07x\x00\x02io\xc0\x00\xff";
    let lease = bound(split);
    assert_eq!(lease.search_list(), ["lab.x", "io.lab.x"]);
    assert_eq!(lease.domain.as_deref(), Some("lab.example"));
    for nothing in [&[255][..], b"\x77\x02\xc0\x00\xff"] {
        assert_eq!(bound(nothing).search_list(), ["lab.example"]);
    }
}

#[test]
fn silence_is_answered_by_asking_again_ever_slower_and_for_ever() {
    let start = Instant::now();
    let mut client = client(start);
    let mut gaps = Vec::new();
    let mut now = start;
    for _ in 0..8 {
        assert_eq!(kind(sent(&mut client, now)), Some(MessageType::Discover));
        assert_eq!(kind(sent(&mut client, now)), None, "once");
        let at = client.poll_at().expect("again");
        gaps.push((at - now).as_secs_f64().round());
        now = at;
    }
    assert_eq!(gaps, [1.0, 2.0, 4.0, 8.0, 16.0, 16.0, 16.0, 16.0]);
}

#[test]
fn a_server_that_offers_and_goes_away_is_left() {
    let mut now = Instant::now();
    let mut client = client(now);
    sent(&mut client, now);
    client.process(now, &bytes(&reply(MessageType::Offer)));
    let mut kinds = Vec::new();
    for _ in 0..6 {
        now = client.poll_at().expect("something to do");
        kinds.extend(kind(sent(&mut client, now)));
    }
    let (request, discover) = (MessageType::Request, MessageType::Discover);
    assert_eq!(
        kinds,
        [request, request, request, request, request, discover]
    );
}

#[test]
fn a_nak_starts_again_and_a_foreign_one_does_not() {
    let now = Instant::now();
    let mut client = client(now);
    sent(&mut client, now);
    client.process(now, &bytes(&reply(MessageType::Offer)));
    sent(&mut client, now);
    let mut foreign = reply(MessageType::Nak);
    let other = DhcpOption::ServerIdentifier([10, 0, 0, 2].into());
    foreign.opts_mut().insert(other);
    assert_eq!(
        client.process(now, &bytes(&foreign)),
        Outcome::Ignored(Why::Unexpected)
    );
    assert_eq!(
        client.process(now, &bytes(&reply(MessageType::Nak))),
        Outcome::Refused
    );
    let later = now + AFTER_NAK;
    assert_eq!(kind(sent(&mut client, later)), Some(MessageType::Discover));
}

#[test]
fn a_failed_send_changes_nothing_but_the_time() {
    let now = Instant::now();
    let mut client = client(now);
    let error = client.dispatch(now, XID, |_| Err(io::ErrorKind::NetworkDown.into()));
    assert_eq!(error.map_err(|e| e.kind()), Err(io::ErrorKind::NetworkDown));
    assert_eq!(client.poll_at(), Some(now + AFTER_ERROR));
    assert_eq!(
        client.process(now, &bytes(&reply(MessageType::Offer))),
        Outcome::Ignored(Why::Unexpected),
        "nothing was asked, so nothing is an answer"
    );
}

#[test]
fn what_does_not_answer_us_is_ignored_and_why() {
    let now = Instant::now();
    let offer = || reply(MessageType::Offer);
    let with = |change: fn(&mut Message)| {
        let mut message = offer();
        change(&mut message);
        bytes(&message)
    };
    let mut hlen = bytes(&offer());
    hlen[2] = 255;
    let mut magic = bytes(&offer());
    magic[236] = 0;
    for (packet, want) in [
        (Vec::new(), Why::NotForUs),
        (vec![0xff; 576], Why::NotForUs),
        (bytes(&offer())[..239].to_vec(), Why::NotForUs),
        (hlen, Why::NotForUs),
        (magic, Why::NotForUs),
        (
            with(|m| {
                m.set_opcode(Opcode::BootRequest);
            }),
            Why::NotForUs,
        ),
        (
            with(|m| {
                m.set_chaddr(&[2; 6]);
            }),
            Why::NotForUs,
        ),
        (
            with(|m| {
                m.set_xid(1);
            }),
            Why::OtherExchange(1),
        ),
        (
            with(|m| {
                m.set_yiaddr([0, 0, 0, 0]);
            }),
            Why::NoAddress,
        ),
        (
            with(|m| {
                m.set_yiaddr([10, 0, 0, 255]);
            }),
            Why::Lease(LeaseError::Address([10, 0, 0, 255].into(), 24)),
        ),
        (
            with(|m| {
                let mask = DhcpOption::SubnetMask([255, 0, 255, 0].into());
                m.opts_mut().insert(mask);
            }),
            Why::Lease(LeaseError::Mask([255, 0, 255, 0].into())),
        ),
        (
            with(|m| {
                m.opts_mut().remove(OptionCode::ServerIdentifier);
            }),
            Why::Lease(LeaseError::NoServer),
        ),
        (bytes(&reply(MessageType::Ack)), Why::Unexpected),
    ] {
        let mut client = client(now);
        sent(&mut client, now);
        assert_eq!(client.process(now, &packet), Outcome::Ignored(want));
    }
}

proptest! {
    #[test]
    fn never_panics(garbage in prop::collection::vec(any::<u8>(), 0..600)) {
        let now = Instant::now();
        let mut client = client(now);
        sent(&mut client, now);
        client.process(now, &garbage);
        let mut tail = bytes(&reply(MessageType::Offer))[..240].to_vec();
        tail.extend(&garbage);
        client.process(now, &tail);
    }

    /// A valid offer with some bytes changed and cut somewhere.
    #[test]
    fn never_panics_on_almost_valid(at in 0_usize..400, value: u8, len in 0_usize..400) {
        let now = Instant::now();
        let mut client = client(now);
        sent(&mut client, now);
        let mut packet = bytes(&reply(MessageType::Offer));
        packet.pop();
        packet.extend(b"\x34\x01\x03\x79\x0c\x00\x0a\x00\x00\xfe\x10\x0a\x11\x00\x00\x00\x00\x77\x0b\x03lab\x00\x02io\xc0\x00\xff");
        if let Some(byte) = packet.get_mut(at) {
            *byte = value;
        }
        packet.truncate(len);
        client.process(now, &packet);
    }
}
