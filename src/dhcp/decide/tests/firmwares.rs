//! What each firmware is told, byte for byte where it looks at bytes.

use super::*;

/// What each firmware is told: as a proxy on port 67 and on 4011, and as the network's only server.
#[test]
fn one_row_per_firmware() {
    let pxe = |arch: u8, class: &[u8]| Client::system().option(60, class).option(93, &[0, arch]);
    let efi = |arch| format!("efi/52-54-00-12-34-56.{arch}/boot.efi");
    let pi4 = b"\0RPi4\x11\x31\xa0\0\x32\x2e\xf8\xed\x10\x45\x15\x5b";
    let tftp = |name: &str| format!("{name} by TFTP");
    let http = |name: &str| format!("http://10.0.0.1:8067/{name}");
    let other_arch = |what: &str| format!("NoWorker(Other({what}))");
    for (client, proxy_67, proxy_4011, full_67) in [
        (
            Client::bios(),
            tftp("undionly.kpxe"),
            tftp("undionly.kpxe"),
            tftp("undionly.kpxe"),
        ),
        (
            pxe(7, b"PXEClient:Arch:00007:UNDI:003001"),
            "a file from port 4011".to_owned(),
            tftp(&efi("x86_64")),
            tftp(&efi("x86_64")),
        ),
        (
            pxe(9, b"PXEClient:Arch:00009:UNDI:003001"),
            "a file from port 4011".to_owned(),
            tftp(&efi("x86_64")),
            tftp(&efi("x86_64")),
        ),
        (
            pxe(11, b"PXEClient:Arch:00011:UNDI:003000"),
            "a file from port 4011".to_owned(),
            tftp(&efi("aarch64")),
            tftp(&efi("aarch64")),
        ),
        (
            pxe(16, b"HTTPClient:Arch:00016:UNDI:003001"),
            http(&efi("x86_64")),
            http(&efi("x86_64")),
            http(&efi("x86_64")),
        ),
        (
            pxe(19, b"HTTPClient:Arch:00019:UNDI:003000"),
            http(&efi("aarch64")),
            http(&efi("aarch64")),
            http(&efi("aarch64")),
        ),
        (
            Client::ipxe(),
            "script".to_owned(),
            "script".to_owned(),
            "script".to_owned(),
        ),
        (
            pxe(0, b"PXEClient:Arch:00000:UNDI:002001").option(97, pi4),
            "files by TFTP".to_owned(),
            "files by TFTP".to_owned(),
            "files by TFTP".to_owned(),
        ),
        (
            pxe(22, b"U-Boot.armv8"),
            "NoProxy(UBoot)".to_owned(),
            "NoProxy(UBoot)".to_owned(),
            "files by TFTP".to_owned(),
        ),
        (
            pxe(6, b"PXEClient:Arch:00006:UNDI:003001"),
            other_arch("6"),
            other_arch("6"),
            "nothing".to_owned(),
        ),
    ] {
        let mine = holding(MAC, [10, 0, 0, 105]);
        let asked = client.clone().renew([10, 0, 0, 9]);
        let found = [
            judge(&client.clone().discover(), Port::Dhcp, &proxy(), &mine),
            judge(&asked, Port::BootServer, &proxy(), &mine),
            judge(&client.clone().discover(), Port::Dhcp, &full(), &mine),
        ]
        .map(|verdict| outcome(&verdict));
        let answer = |kind: &str, boot: String| match boot.starts_with("No") {
            true => boot,
            false => format!("{kind} {boot}"),
        };
        let want = [
            answer("Offer 0.0.0.0", proxy_67),
            answer("Ack 0.0.0.0", proxy_4011),
            answer("Offer 10.0.0.105", full_67),
        ];
        assert_eq!(found, want, "{client:?}");
    }
}

#[test]
fn a_pi_is_answered_as_dnsmasq_does() {
    let mut id = [0x44; 17];
    id[0] = 0;
    let rom = Client {
        mac: Mac([0xb8, 0x27, 0xeb, 1, 2, 3]),
        ..Client::system()
            .option(60, b"PXEClient:Arch:00000:UNDI:002001")
            .option(93, &[0, 0])
            .option(97, &id)
    };
    for policy in [proxy(), full()] {
        let reply = reply(judge(
            &rom.clone().discover(),
            Port::Dhcp,
            &policy,
            &Leases::default(),
        ));
        let bytes = reply.encode().expect("encodes");
        // The text and its three spaces, with a length that counts them.
        let menu = b"\x2b\x23\x06\x01\x03\x0a\x04\0PXE\x09\x17\0\0\x14Raspberry Pi Boot   \xff";
        assert!(bytes.windows(menu.len()).any(|window| window == menu));
        assert_eq!(&bytes[240..243], &[53, 1, 2], "the message type is first");
        assert!(bytes.len() <= 576);
        assert_eq!(reply.message.siaddr(), SERVER);
        for absent in [66, 67] {
            assert_eq!(option(&reply.message, absent), None, "{absent}");
        }
        assert!(reply.delay > Duration::from_millis(1_500));
    }
    // It uses the address at once and never says so: the offer is the promise.
    let offered = judge(
        &rom.clone().discover(),
        Port::Dhcp,
        &full(),
        &Leases::default(),
    );
    match offered.lease {
        Some(LeaseChange::Hold { until, .. }) => assert_eq!(until, NOW + TAKEN_FOR),
        other => panic!("{other:?}"),
    }
    let proxied = reply(judge(
        &rom.discover(),
        Port::Dhcp,
        &proxy(),
        &Leases::default(),
    ));
    assert!(proxied.message.flags().broadcast());
    assert_eq!(proxied.message.yiaddr(), Ipv4Addr::UNSPECIFIED);
}

#[test]
fn uefi_http_boot_gets_its_class_back_and_a_url() {
    let client = Client::system()
        .option(60, b"HTTPClient:Arch:00016:UNDI:003001")
        .option(93, &[0, 16]);
    for policy in [proxy(), full()] {
        let reply = reply(judge(
            &client.clone().discover(),
            Port::Dhcp,
            &policy,
            &Leases::default(),
        ));
        assert_eq!(
            option(&reply.message, 60),
            Some(DhcpOption::ClassIdentifier(b"HTTPClient".to_vec()))
        );
        let url = b"http://10.0.0.1:8067/efi/52-54-00-12-34-56.x86_64/boot.efi".to_vec();
        assert_eq!(
            option(&reply.message, 67),
            Some(DhcpOption::BootfileName(url))
        );
        assert_eq!(option(&reply.message, 43), None);
    }
}
