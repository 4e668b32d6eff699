use proptest::prelude::*;

use super::*;

fn rrq(words: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0, 1];
    for word in words {
        bytes.extend_from_slice(word.as_bytes());
        bytes.push(0);
    }
    bytes
}

fn read(words: &[&str]) -> Request {
    match parse(&rrq(words)) {
        Ok(Packet::Read(request)) => request,
        other => panic!("{words:?}: {other:?}"),
    }
}

#[test]
fn requests_of_known_clients() {
    let asked = |tsize, blksize, windowsize, timeout| Options {
        tsize,
        blksize,
        windowsize,
        timeout,
    };
    for (words, name, options) in [
        // Raspberry Pi 3B, mask ROM.
        (
            &["bootcode.bin", "octet"][..],
            "bootcode.bin",
            Options::default(),
        ),
        // Raspberry Pi 3, bootcode.bin of 2018.
        (
            &["bootcfg.txt", "octet", "tsize", "0"],
            "bootcfg.txt",
            asked(true, None, None, None),
        ),
        // Raspberry Pi 4, EEPROM since 2022-10-03.
        (
            &[
                "5b154510/start4.elf",
                "octet",
                "tsize",
                "0",
                "blksize",
                "1468",
            ],
            "5b154510/start4.elf",
            asked(true, Some(1468), None, None),
        ),
        // Raspberry Pi 5.
        (
            &[
                "/5b154510//config.txt",
                "octet",
                "tsize",
                "0",
                "blksize",
                "1468",
            ],
            "5b154510/config.txt",
            asked(true, Some(1468), None, None),
        ),
        // EDK2 (AAVMF of Debian 12).
        (
            &[
                "grub.efi",
                "octet",
                "tsize",
                "0",
                "blksize",
                "1468",
                "windowsize",
                "4",
            ],
            "grub.efi",
            asked(true, Some(1468), Some(4), None),
        ),
        // U-Boot.
        (
            &[
                "boot.scr", "octet", "timeout", "5", "tsize", "0", "blksize", "1468",
            ],
            "boot.scr",
            asked(true, Some(1468), None, Some(5)),
        ),
        // Case does not matter (RFC 1350 §5, RFC 2347).
        (
            &["A", "OcTeT", "TSIZE", "0", "BlkSize", "512"],
            "A",
            asked(true, Some(512), None, None),
        ),
    ] {
        let expected = Request {
            name: name.to_owned(),
            options,
        };
        assert_eq!(read(words), expected, "{words:?}");
    }
}

#[test]
fn options_that_say_nothing() {
    for words in [
        &["a", "octet", "blksize", ""][..],
        &["a", "octet", "blksize", "-1"],
        &["a", "octet", "blksize", "+512"],
        &["a", "octet", "blksize", " 512"],
        &["a", "octet", "blksize", "0x200"],
        &["a", "octet", "blksize", "99999999999999999999999"],
        &["a", "octet", "multicast", ""],
        &["a", "octet", "", ""],
        &["a", "octet", "blksize"],
    ] {
        assert_eq!(read(words).options, Options::default(), "{words:?}");
    }
    let twice = read(&["a", "octet", "blksize", "1024", "blksize", "8"]);
    assert_eq!(twice.options.blksize, Some(1024));
    let mut cut_off = rrq(&["a", "octet"]);
    cut_off.extend_from_slice(b"blksize\x00512");
    assert!(
        matches!(parse(&cut_off), Ok(Packet::Read(request)) if request.options == Options::default())
    );
}

#[test]
fn names() {
    let long = "x".repeat(MAX_NAME_BYTES);
    for (name, normal) in [
        ("undionly.kpxe", "undionly.kpxe"),
        ("/undionly.kpxe", "undionly.kpxe"),
        ("///a///b", "a/b"),
        ("\\Boot\\x64\\wdsnbp.com", "Boot/x64/wdsnbp.com"),
        ("\\\\server\\a", "server/a"),
        ("a/", "a/"),
        ("./a", "./a"),
        ("..a/b..c/...", "..a/b..c/..."),
        (&long, &long),
        (&format!("/{long}"), &long),
    ] {
        assert_eq!(
            normalise(name.as_bytes()).as_deref(),
            Some(normal),
            "{name}"
        );
    }
    for name in [
        &b""[..],
        b"/",
        b"//",
        b"..",
        b"../etc/passwd",
        b"a/..",
        b"a/../b",
        b"a\\..\\b",
        b"/..//a",
        b"a\x01",
        b"\x1b[2J",
        b"a\nb",
        b"a\x7f",
        "a\u{85}".as_bytes(),
        b"\xff",
        b"\xc0\xae\xc0\xae/a",
        format!("{long}x").as_bytes(),
    ] {
        assert_eq!(normalise(name), None, "{}", name.escape_ascii());
    }
}

#[test]
fn what_is_no_packet_and_what_its_sender_is_told() {
    let long = "x".repeat(MAX_REQUEST_BYTES);
    for (bytes, answer) in [
        (&b""[..], None),
        (b"\0", None),
        (b"\0\x04\0", None),
        (b"\0\x05", None),
        (b"\0\x03\0\x01data", None),
        (b"\0\x06tsize\x000\0", None),
        (b"\x01\0a\0octet\0", None),
        (b"\0\x02a\0octet\0", Some(Refusal::ReadOnly)),
        (b"\0\x02", Some(Refusal::ReadOnly)),
        (b"\0\x01", Some(Refusal::Illegal)),
        (b"\0\x01a", Some(Refusal::Illegal)),
        (b"\0\x01a\0octet", Some(Refusal::Illegal)),
        // RFC 1350 §1 has three modes.
        (b"\0\x01a\0netascii\0", Some(Refusal::Mode)),
        (b"\0\x01a\0NetASCII\0", Some(Refusal::Mode)),
        (b"\0\x01a\0mail\0", Some(Refusal::Mode)),
        (b"\0\x01a\0\0", Some(Refusal::Mode)),
        (b"\0\x01\0octet\0", Some(Refusal::NotFound)),
        (b"\0\x01../a\0octet\0", Some(Refusal::NotFound)),
        (&rrq(&["a", "octet", &long, "1"]), Some(Refusal::Illegal)),
    ] {
        let why = parse(bytes).expect_err(&bytes.escape_ascii().to_string());
        assert_eq!(why.answer(), answer, "{}: {why}", bytes.escape_ascii());
    }
}

#[test]
fn acknowledgements_and_errors() {
    assert_eq!(parse(b"\0\x04\x12\x34"), Ok(Packet::Ack(0x1234)));
    assert_eq!(parse(b"\0\x04\xff\xffpadded"), Ok(Packet::Ack(0xffff)));
    for (bytes, code, text) in [
        (
            &b"\0\x05\0\0Early terminate\0"[..],
            0,
            &b"Early terminate"[..],
        ),
        (
            b"\0\x05\0\x08User aborted the transfer",
            8,
            b"User aborted the transfer",
        ),
        (b"\0\x05\0\x03", 3, b""),
    ] {
        assert_eq!(parse(bytes), Ok(Packet::Error { code, text }));
    }
}

#[test]
fn datagrams_byte_by_byte() {
    let mut buffer = [0xee; size_of::<Buffer>()];
    let accepted = Accepted {
        tsize: Some(3000),
        blksize: Some(1468),
        ..Accepted::default()
    };
    assert_eq!(
        oack(&accepted, &mut buffer),
        b"\0\x06tsize\x003000\0blksize\x001468\0"
    );
    let most = Accepted {
        tsize: Some(u64::MAX),
        blksize: Some(u16::MAX),
        windowsize: Some(u16::MAX),
        timeout: Some(u16::MAX),
    };
    assert_eq!(
        oack(&most, &mut buffer),
        b"\0\x06tsize\x0018446744073709551615\0blksize\x0065535\0windowsize\x0065535\0timeout\x0065535\0"
    );
    let place = place(8, &mut buffer);
    assert_eq!(place.len(), 8);
    place[..3].copy_from_slice(b"abc");
    assert_eq!(data(65_537, 3, &mut buffer), b"\0\x03\0\x01abc");
    assert_eq!(Refusal::NotFound.bytes(), b"\0\x05\0\x01File not found\0");
}

proptest! {
    #[test]
    fn anything_is_read_without_panic_and_kept_small(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(Packet::Read(request)) = parse(&bytes) {
            prop_assert!(request.name.len() <= MAX_NAME_BYTES);
        }
    }

    #[test]
    fn a_normal_name_stays_as_it_is(name in "[/\\\\.a\u{0}-\u{7f}]{0,40}") {
        if let Some(normal) = normalise(name.as_bytes()) {
            prop_assert!(!normal.starts_with('/') && !normal.contains("//") && !normal.contains('\\'));
            prop_assert!(normal.split('/').all(|part| part != ".."));
            prop_assert!(!normal.contains(char::is_control));
            let again = normalise(normal.as_bytes());
            prop_assert_eq!(again, Some(normal));
        }
    }
}
