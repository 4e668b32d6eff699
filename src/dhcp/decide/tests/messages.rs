//! Messages as such: what does not fit into a client's buffer, options in unusual places, other links than Ethernet.

use proptest::prelude::*;

use super::super::super::options::Options;
use super::*;

/// A network with everything that can be announced.
fn rich() -> Policy {
    let dns: Vec<String> = (1..=8).map(|last| format!("\"9.9.9.{last}\"")).collect();
    policy(&format!(
        "[dhcp]\nmode = \"full\"\npool = \"10.0.0.100-10.0.0.109\"\nrouter = \"10.0.0.254\"\ndns = [{}]",
        dns.join(", ")
    ))
}

fn sent(client: &Client, policy: &Policy) -> Vec<u8> {
    let verdict = judge(client, Port::Dhcp, policy, &Leases::default());
    reply(verdict).encode().expect("encodes")
}

/// RFC 2132 §9.10 and RFC 2131 §2: 576 bytes with the headers of IP and UDP, unless the client takes more.
#[test]
fn a_message_is_as_long_as_its_client_takes() {
    let id = [7; 255];
    let client = |size: Option<u16>| {
        let client = Client::ipxe().option(61, &id).option(82, &[1; 200]);
        let client = match size {
            Some(size) => client.option(57, &size.to_be_bytes()),
            None => client,
        };
        Client {
            giaddr: [10, 0, 0, 3],
            ..client.discover()
        }
    };
    for (size, most) in [
        (None, 548),
        (Some(0), 548),
        (Some(576), 548),
        (Some(800), 772),
        (Some(1_472), 1_444),
        (Some(65_535), 1_472),
    ] {
        let bytes = sent(&client(size), &rich());
        assert!(bytes.len() <= most, "{size:?}: {} bytes", bytes.len());
        let options = Options::read(&bytes);
        for needed in [53, 54, 51, 1, 60, 43, 82] {
            assert!(
                options.whole(needed).is_some(),
                "{size:?}: no option {needed}"
            );
        }
        assert_eq!(bytes[108..108 + URL.len()], *URL.as_bytes(), "the file");
    }
    let all = Options::read(&sent(&client(Some(1_500)), &rich())).whole(6);
    assert_eq!(
        all.map(|servers| servers.len()),
        Some(8 * 4),
        "there is room for all"
    );
}

/// A client that boots nothing: what does not fit stands in `file` and `sname`, and it can read that.
#[test]
fn what_does_not_fit_stands_in_the_fields_that_are_free() {
    let client = Client::system().option(61, &[7; 250]).discover();
    let bytes = sent(&client, &rich());
    assert!(bytes.len() <= 548);
    let options = Options::read(&bytes);
    assert_eq!(options.whole(61), Some(vec![7; 250]));
    assert_eq!(options.whole(6).map(|servers| servers.len()), Some(8 * 4));
    assert_eq!(options.whole(52), Some(vec![1]), "option overload: file");
    let message = <Message as dhcproto::Decodable>::decode(&mut dhcproto::Decoder::new(&bytes));
    message.expect("decodes");
}

proptest! {
    #[test]
    fn whatever_is_mirrored_the_message_fits(
        id in 0_usize..500,
        info in 0_usize..500,
        size in prop::option::of(any::<u16>()),
        ipxe in any::<bool>(),
        relayed in any::<bool>(),
    ) {
        let client = if ipxe { Client::ipxe() } else { Client::system() };
        let client = client.long_option(61, &vec![7; id]).long_option(82, &vec![9; info]);
        let client = match size {
            Some(size) => client.option(57, &size.to_be_bytes()),
            None => client,
        };
        let giaddr = if relayed { [10, 0, 0, 3] } else { [0; 4] };
        let bytes = sent(&Client { giaddr, ..client.discover() }, &rich());
        let limit = usize::from(size.unwrap_or(0).clamp(576, 1500)) - 28;
        let options = Options::read(&bytes);
        // What a relay takes out again is not the client's.
        let relays = if info == 0 { 0 } else { info + 2 * info.div_ceil(255) };
        prop_assert!(bytes.len() <= limit.max(300) || bytes.len() - relays <= limit, "{} bytes", bytes.len());
        prop_assert!(bytes.len() <= 1472);
        prop_assert_eq!(options.fixed::<1>(53), Ok(Some([2])));
        for needed in [1, 51, 54] {
            prop_assert_eq!(options.whole(needed).map(|data| data.len()), Some(4));
        }
        let mirrored = options.whole(82);
        prop_assert_eq!(mirrored.unwrap_or_default(), vec![9; info]);
        if ipxe {
            prop_assert_eq!(&bytes[108..108 + URL.len()], URL.as_bytes());
        }
    }
}

/// RFC 2131 §4.1 and RFC 3396: the message type in `sname`, the user class in two parts, the requested address in `file`.
#[test]
fn options_are_read_wherever_they_stand() {
    let mut bytes = Client::system().discover().bytes();
    bytes.truncate(240);
    bytes.extend([52, 1, 3, 60, 9]);
    bytes.extend(b"PXEClient");
    bytes.extend([77, 2, b'i', b'P', 93, 2, 0, 7, 255]);
    let file = [&[77, 2, b'X', b'E', 50, 4, 10, 0, 0, 103][..], &[255]].concat();
    bytes[108..108 + file.len()].copy_from_slice(&file);
    bytes[44..48].copy_from_slice(&[53, 1, 1, 255]);
    let arrival = super::super::super::testing::arrival(Port::Dhcp);
    let request = super::super::super::request::parse(&bytes, arrival).expect("a request");
    let verdict = decide(&request, &full(), &Leases::default(), NOW);
    assert_eq!(outcome(&verdict), "Offer 10.0.0.103 script");
}

/// RFC 4390: no hardware address, a client identifier, always a broadcast.
#[test]
fn infiniband() {
    let packet = |hlen: u8, id: &[u8], kind: u8| {
        let client = match id {
            [] => Client::system(),
            id => Client::system().option(61, id),
        };
        let mut bytes = client.option(53, &[kind]).bytes();
        (bytes[1], bytes[2]) = (32, hlen);
        bytes[28..44].fill(0);
        bytes[28..28 + usize::from(hlen)].fill(0xab);
        bytes
    };
    let ask = |bytes: &[u8]| {
        let arrival = super::super::super::testing::arrival(Port::Dhcp);
        super::super::super::request::parse(bytes, arrival)
    };
    let id = [&[255, 0, 0, 0, 1, 0, 4][..], &[9; 16]].concat();
    let first = ask(&packet(0, &id, 1)).expect("a request");
    let again = ask(&packet(0, &id, 1)).expect("a request");
    let other = ask(&packet(0, b"\x01other", 1)).expect("a request");
    assert_eq!(first.mac, again.mac, "the same machine");
    assert_ne!(first.mac, other.mac, "another one");
    assert_eq!(first.mac.0[0] & 3, 2, "a local unicast address");
    assert_eq!(ask(&packet(0, &[], 1)), Err(Why::NoClientId));
    assert_eq!(ask(&packet(0, &[1], 1)), Err(Why::NoClientId));
    assert_eq!(
        ask(&packet(6, &id, 1)),
        Err(Why::NotEthernet { htype: 32, hlen: 6 })
    );
    for hlen in [0, 8] {
        let request = ask(&packet(hlen, &id, 1)).expect("a request");
        let reply = reply(decide(&request, &full(), &Leases::default(), NOW));
        let bytes = reply.encode().expect("encodes");
        assert_eq!(bytes[1..3], [32, hlen]);
        let mut chaddr = [0; 16];
        chaddr[..usize::from(hlen)].fill(0xab);
        assert_eq!(bytes[28..44], chaddr);
        assert_eq!(bytes[10..12], [0x80, 0], "BROADCAST");
        assert_eq!(reply.to, SocketAddrV4::new(Ipv4Addr::BROADCAST, 68));
        assert_eq!(Options::read(&bytes).whole(61), Some(id.clone()));
    }
}
