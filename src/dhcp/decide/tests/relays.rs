//! What comes through a relay.

use super::*;

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
