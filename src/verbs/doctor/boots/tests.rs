use std::net::Ipv4Addr;

use proptest::prelude::*;
use ramboot_wire::{Base, Client, ImageId, Mac};

use super::*;
use crate::boot::ipxe;
use crate::verbs::doctor::finding::Verdict;

fn client() -> Client {
    Client::from(Mac([2, 0x72, 0x62, 0, 0, 2]))
}

#[test]
fn a_script_of_the_manager_is_read_back() {
    let base: Base = "http://10.0.0.1:8067".parse().expect("a base");
    let args = BootArgs {
        image: ImageId([7; 32]),
        size: 1_000_000,
        bases: vec![base.clone()],
        overlay: None,
        tmpfs: Vec::new(),
        hostname: None,
        files: None,
        debug: false,
        heartbeat: true,
        deadline: None,
        bootif: Some(client().mac),
        streaming: None,
        boot: None,
    };
    let (kernel, initrd) = ("vmlinuz-0123456789abcdef", "initrd-0123456789abcdef");
    let text = ipxe::boot(&client(), &args, kernel, initrd, "quiet").expect("a script");
    let Ok(Script::Boot(loads)) = Script::parse(&text) else {
        panic!("{text}");
    };
    let at = |name: &str| format!("/images/{}/boot/{name}", args.image);
    assert_eq!((&loads.base, &loads.args), (&base, &args));
    assert_eq!((&loads.kernel, &loads.initrd), (&at(kernel), &at(initrd)));

    let text = ipxe::wait(&base, &client(), "no image is published");
    let said = "02:72:62:00:00:02 has nothing to boot yet / no image is published";
    assert_eq!(Script::parse(&text), Ok(Script::Wait(said.to_owned())));
}

#[test]
fn paths_are_told_without_the_machine() {
    for (path, want) in [
        ("undionly.kpxe", "undionly.kpxe"),
        ("efi/02-72.x86_64/boot.efi", "efi/…/boot.efi"),
        (
            "http://10.0.0.1:8067/ipxe/02-72.x86_64",
            "http://10.0.0.1:8067/ipxe/…",
        ),
        ("http://10.0.0.1/a/b/c", "http://10.0.0.1/a/b/c"),
        ("", ""),
    ] {
        assert_eq!(short(path), want);
    }
}

#[test]
fn who_offers_what_is_told_once() {
    let offered = |server: u8, address: u8, file: &str| Event::Offered {
        server: Ipv4Addr::new(10, 0, 0, server),
        address: match address {
            0 => Ipv4Addr::UNSPECIFIED,
            last => Ipv4Addr::new(10, 0, 0, last),
        },
        file: file.to_owned(),
    };
    let events = [
        offered(9, 77, ""),
        offered(1, 0, ""),
        Event::Silent("another server's".to_owned()),
        offered(9, 77, ""),
        offered(1, 0, "efi/x/boot.efi"),
    ];
    let told = addresses(Topic::Pc, "asks for an address", &events);
    assert_eq!(told.len(), 1);
    assert_eq!(
        told[0].sentence,
        "asks for an address: 10.0.0.9 offers 10.0.0.77; 10.0.0.1 says it has something to boot; \
         10.0.0.1 says to boot efi/…/boot.efi"
    );
    assert_eq!(addresses(Topic::Pc, "asks", &[]), []);
}

#[test]
fn nothing_to_boot_is_as_bad_as_what_was_published_makes_it() {
    let verdict = |stock| waits("why", stock).verdict;
    assert_eq!(verdict(Stock::Nothing), Verdict::Warning);
    assert_eq!(verdict(Stock::ForOthers), Verdict::Note);
    assert_eq!(verdict(Stock::Fits), Verdict::Warning);
}

proptest! {
    #[test]
    fn any_script_is_survived(text in "(kernel |initrd |--name |http://|[a-z0-9:/. |\\n]){0,40}") {
        let _ = Script::parse(&text);
    }
}
