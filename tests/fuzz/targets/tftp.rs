//! A datagram from anybody at UDP 69, and what a client sends to its transfer: each parsed, the transfer carried on.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use ramboot::tftp::packet::{
    MAX_BLOCK_BYTES, MAX_REQUEST_BYTES, Options, Packet, normalise, number, parse,
};
use ramboot::tftp::transfer::{Due, MAX_WINDOW_BLOCKS, Transfer, max_block};

/// A datagram; then a transfer: bytes of the file, the path's MTU, its options, and milliseconds and a packet at a time.
type Input<'a> = (&'a [u8], u16, u32, Asked, Vec<(u16, &'a [u8])>);
type Asked = (bool, Option<u64>, Option<u64>, Option<u64>);

/// As it is, and where a fuzzer hardly gets by itself: behind the opcode, and behind name and mode.
fn read(bytes: &[u8]) {
    for head in [&b""[..], b"\0\x01", b"\0\x01a\0octet\0"] {
        let datagram = [head, bytes].concat();
        match parse(&datagram) {
            Ok(Packet::Read(request)) => {
                assert!(datagram.len() <= MAX_REQUEST_BYTES);
                assert_eq!(normalise(request.name.as_bytes()), Some(request.name));
            }
            Ok(_) => {}
            Err(why) => drop(why.answer().map(|refusal| refusal.bytes())),
        }
    }
}

fuzz_target!(|input: Input<'_>| {
    let (bytes, len, mtu, (tsize, blksize, windowsize, timeout), steps) = input;
    read(bytes);
    let options = Options {
        tsize,
        blksize,
        windowsize,
        timeout,
    };
    let mut now = Duration::ZERO;
    let max_block = max_block(mtu);
    assert!(max_block <= MAX_BLOCK_BYTES && (u32::from(max_block) + 32 <= mtu.max(40)));
    let mut transfer = Transfer::begin(&options, len.into(), max_block, now);
    let mut next = steps.into_iter();
    loop {
        let mut due = 0;
        while let Some(datagram) = transfer.next(now) {
            due += 1;
            if let Due::Block {
                number: block,
                offset,
                size,
            } = datagram
            {
                assert!(offset <= len.into() && size <= max_block.max(512));
                // Half of the clients are good ones, so that the end of files is reached.
                if len % 2 == 0 {
                    let ack = Packet::Ack(number(block));
                    if transfer.on_packet(&ack, now).is_some() {
                        return;
                    }
                    due = 0;
                }
            }
            assert!(due <= MAX_WINDOW_BLOCKS, "more than a window is due");
        }
        let deadline = transfer.deadline();
        // RFC 2349's longest timeout.
        assert!(deadline > now && deadline <= now + Duration::from_secs(255));
        // When there are no more packets, time alone ends it.
        now = match next.next() {
            Some((ms, bytes)) => {
                now += Duration::from_millis(ms.into());
                let packet = parse(bytes);
                if packet.is_ok_and(|packet| transfer.on_packet(&packet, now).is_some()) {
                    return;
                }
                now
            }
            None => deadline,
        };
        if transfer.on_timeout(now).is_some() {
            return;
        }
    }
});
