use super::*;

const PI4: Manner = Manner {
    tsize: true,
    block_size: Some(1468),
    needs_oack: false,
    no_rollover: false,
    timeout: Duration::from_secs(30),
    keep: usize::MAX,
    ..Manner::PI
};
const ROM: Manner = Manner {
    tsize: false,
    block_size: None,
    ..PI4
};

fn start(purpose: Purpose, manner: Manner) -> (Transfer, Notes, Out) {
    let (mut notes, mut out) = (Notes::default(), Out::new());
    let path = "f".to_owned();
    let now = Duration::ZERO;
    let transfer = Transfer::start(path, purpose, manner, 50_000, now, &mut notes, &mut out);
    out.clear();
    (transfer, notes, out)
}

/// raspberrypi/firmware#859, rpi-eeprom#74.
#[test]
fn requests_are_the_firmwares() {
    let bootcode = Manner {
        block_size: None,
        ..PI4
    };
    for (path, manner, expected) in [
        ("bootcode.bin", ROM, &b"\0\x01bootcode.bin\0octet\0"[..]),
        (
            "bootcfg.txt",
            bootcode,
            b"\0\x01bootcfg.txt\0octet\0tsize\x000\0",
        ),
        (
            "5b154510/start4.elf",
            PI4,
            b"\0\x015b154510/start4.elf\0octet\0tsize\x000\0blksize\x001468\0",
        ),
    ] {
        assert_eq!(request(path, manner), expected);
    }
    let lens = [("bootcode.bin", ROM), ("bootcfg.txt", bootcode)];
    assert_eq!(lens.map(|(p, m)| request(p, m).len()), [21, 28]);
    assert_eq!(request("5b154510/start4.elf", PI4).len(), 49);
}

#[test]
fn a_probe_ends_with_error_zero() {
    let (mut transfer, mut notes, mut out) = start(Purpose::Probe, PI4);
    // dnsmasq 2.90 answers in this order.
    let oack = b"\0\x06blksize\x001468\0tsize\x003000\0";
    let now = Duration::from_millis(3);
    let ended = transfer.receive(7000, oack, now, &mut notes, &mut out);
    assert_eq!(ended, Some(Ended::Found(Some(3000))));
    assert_eq!(out, [(7000, b"\0\x05\0\0Early terminate\0".to_vec())]);
    assert_eq!(notes.violations, []);
    assert_eq!(notes.numbers.worst_first_answer, now);
}

#[test]
fn a_file_of_full_blocks_ends_with_an_empty_one() {
    let (mut transfer, mut notes, mut out) = start(Purpose::Read, ROM);
    let now = Duration::ZERO;
    let full = [&[0, 3, 0, 1][..], &[9; 512]].concat();
    assert_eq!(
        transfer.receive(7000, &full, now, &mut notes, &mut out),
        None
    );
    let ended = transfer.receive(7000, &[0, 3, 0, 2], now, &mut notes, &mut out);
    let Some(Ended::File(file)) = ended else {
        panic!("{ended:?}")
    };
    assert_eq!(file.bytes.as_deref(), Some(&[9; 512][..]));
    assert_eq!(out, [(7000, vec![0, 4, 0, 1]), (7000, vec![0, 4, 0, 2])]);
}

#[test]
fn what_is_lost_is_sent_again() {
    let (mut transfer, mut notes, mut out) = start(Purpose::Read, PI4);
    let seconds = Duration::from_secs;
    assert_eq!(transfer.deadline(), seconds(2));
    assert_eq!(transfer.tick(seconds(1), &mut notes, &mut out), None);
    assert!(out.is_empty());
    transfer.tick(seconds(2), &mut notes, &mut out);
    assert_eq!(out, [(PORT, request("f", PI4))]);
    let oack = b"\0\x06tsize\x004\0blksize\x001468\0";
    transfer.receive(7000, oack, seconds(3), &mut notes, &mut out);
    transfer.receive(7000, oack, seconds(3), &mut notes, &mut out);
    transfer.tick(seconds(4), &mut notes, &mut out);
    assert_eq!(out[1..], vec![(7000, vec![0, 4, 0, 0]); 3]);
    assert_eq!(notes.violations, []);
    let ended = transfer.tick(seconds(33), &mut notes, &mut out);
    assert_eq!(ended, Some(Ended::Timeout { bytes: 0 }));
}

#[test]
fn a_stranger_gets_error_five_and_the_transfer_goes_on() {
    let (mut transfer, mut notes, mut out) = start(Purpose::Read, ROM);
    let now = Duration::ZERO;
    let full = [&[0, 3, 0, 1][..], &[9; 512]].concat();
    transfer.receive(7000, &full, now, &mut notes, &mut out);
    out.clear();
    let ended = transfer.receive(7001, &[0, 5, 0, 1, 0], now, &mut notes, &mut out);
    assert_eq!(ended, None);
    assert_eq!(out, [(7001, b"\0\x05\0\x05Unknown transfer ID\0".to_vec())]);
    let tid = 7000;
    let path = "f".to_owned();
    let changed = Violation::TidChanged {
        path,
        port: 7001,
        tid,
    };
    assert_eq!(notes.violations, [changed]);
    let ended = transfer.receive(7000, &[0, 3, 0, 2, 1], now, &mut notes, &mut out);
    assert!(matches!(ended, Some(Ended::File(file)) if file.len == 513));
}

#[test]
fn an_oack_is_what_was_asked_for() {
    let path = || "f".to_owned();
    let oack = |name: &str, value: &str| Violation::Oack {
        path: path(),
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let malformed = || Violation::OackMalformed { path: path() };
    for (manner, packet, expected) in [
        (PI4, &b"TSIZE\x005\0BlkSize\x00512\0"[..], vec![]),
        (PI4, b"blksize\x001469\0", vec![oack("blksize", "1469")]),
        (PI4, b"blksize\x007\0", vec![oack("blksize", "7")]),
        (PI4, b"tsize\0-1\0", vec![oack("tsize", "-1")]),
        (PI4, b"windowsize\x001\0", vec![oack("windowsize", "1")]),
        (PI4, b"tsize\x005", vec![malformed()]),
        (PI4, b"tsize\0", vec![malformed()]),
        (PI4, b"", vec![malformed()]),
        (ROM, b"tsize\x005\0", vec![oack("tsize", "5")]),
    ] {
        let (transfer, mut notes, _) = start(Purpose::Read, manner);
        transfer.check_oack(packet, &mut notes);
        assert_eq!(notes.violations, expected, "{packet:?}");
    }
}

const EDK2: Manner = Manner {
    tsize: false,
    block_size: Some(8),
    window: Some(4),
    stop: (8, "User aborted the transfer"),
    ..PI4
};
const MS: Duration = Duration::from_millis(1);

fn data(block: u8, bytes: &[u8]) -> Vec<u8> {
    [&[0, 3, 0, block], bytes].concat()
}

/// Sends these packets, and says which blocks were acknowledged.
fn acknowledged(transfer: &mut Transfer, notes: &mut Notes, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Out::new();
    for packet in packets {
        transfer.receive(7000, packet, MS, notes, &mut out);
    }
    out.iter().map(|(_, ack)| ack[3]).collect()
}

/// RFC 7440 §4, and what EDK2 does when a block is lost.
#[test]
fn a_window_is_acknowledged_as_a_whole() {
    let (mut transfer, mut notes, _) = start(Purpose::Read, EDK2);
    let mut acks = |packets: &[Vec<u8>]| acknowledged(&mut transfer, &mut notes, packets);
    let full = |block| data(block, b"12345678");
    let oack = b"\0\x06blksize\x008\0windowsize\x004\0".to_vec();
    assert_eq!(acks(&[oack]), [0]);
    assert_eq!(acks(&[full(1), full(2), full(3)]), []);
    assert_eq!(acks(&[full(4)]), [4]);
    // The fifth is lost.
    assert_eq!(acks(&[full(6), full(7)]), [4, 4]);
    assert_eq!(acks(&[full(5), full(6), full(7)]), []);
    assert_eq!(acks(&[data(8, b"end")]), [8]);
    assert_eq!((notes.violations, notes.numbers.bytes), (vec![], 59));
}

#[test]
fn more_than_a_window_at_once_is_named() {
    let (mut transfer, mut notes, _) = start(Purpose::Read, EDK2);
    let oack = b"\0\x06blksize\x008\0windowsize\x002\0".to_vec();
    let early = data(3, b"12345678");
    acknowledged(&mut transfer, &mut notes, &[oack, early]);
    let (path, block, expected) = ("f".to_owned(), 3, 1);
    let early = Violation::BlockTooEarly {
        path,
        block,
        expected,
    };
    assert_eq!(notes.violations, [early]);
}

#[test]
fn requests_of_pcs_are_the_firmwares() {
    let probe = Manner {
        tsize: true,
        block_size: Some(1468),
        ..EDK2
    };
    let expected = b"\0\x01f\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0";
    assert_eq!(request("f", probe), expected);
    let (mut transfer, mut notes, mut out) = start(Purpose::Probe, probe);
    let oack = b"\0\x06tsize\x003000\0";
    let ended = transfer.receive(7000, oack, MS, &mut notes, &mut out);
    assert_eq!(ended, Some(Ended::Found(Some(3000))));
    assert_eq!(
        out,
        [(7000, b"\0\x05\0\x08User aborted the transfer\0".to_vec())]
    );
}
