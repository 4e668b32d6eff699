//! TFTP over real sockets: what a boot ROM, a curious stranger and a broken client get.
#![allow(clippy::disallowed_methods, reason = "tests wait with deadlines")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use ramboot::tftp::{Counters, Table, run};

/// Opcodes of RFC 1350 and RFC 2347.
const RRQ: u8 = 1;
const WRQ: u8 = 2;
const DATA: u8 = 3;
const ERROR: u8 = 5;
const OACK: u8 = 6;

struct Server {
    address: SocketAddr,
    content: Vec<u8>,
    counters: Arc<Counters>,
    _runtime: tokio::runtime::Runtime,
}

fn server() -> Server {
    let content: Vec<u8> = (0..70_000_u32)
        .map(|i| i.wrapping_mul(i).to_le_bytes()[1])
        .collect();
    let table = Table::from([("undionly.kpxe".to_owned(), Bytes::from(content.clone()))]);
    let counters = Arc::new(Counters::default());
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let address = socket.local_addr().expect("address");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("runtime");
    runtime.spawn(run(socket, Arc::new(table), Arc::clone(&counters)));
    Server {
        address,
        content,
        counters,
        _runtime: runtime,
    }
}

fn client() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("timeout");
    socket
}

fn request(opcode: u8, words: &[&str]) -> Vec<u8> {
    let mut packet = vec![0, opcode];
    for word in words {
        packet.extend_from_slice(word.as_bytes());
        packet.push(0);
    }
    packet
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (len, from) = socket
        .recv_from(&mut buffer)
        .expect("an answer within 10 s");
    (buffer[..len].to_vec(), from)
}

/// The whole file; `window` blocks come before each acknowledgement.
fn fetch(server: &Server, options: &[&str], block: usize, window: usize) -> Vec<u8> {
    let socket = client();
    let words = [&["undionly.kpxe", "octet"], options].concat();
    socket
        .send_to(&request(RRQ, &words), server.address)
        .expect("sent");
    if !options.is_empty() {
        let (oack, from) = receive(&socket);
        assert_eq!(oack[1], OACK, "{oack:?}");
        socket.send_to(&[0, 4, 0, 0], from).expect("sent");
    }
    let mut content = Vec::new();
    let mut blocks = 0_u16;
    loop {
        let (packet, from) = receive(&socket);
        assert_eq!(packet[1], DATA);
        blocks += 1;
        assert_eq!(packet[2..4], blocks.to_be_bytes());
        content.extend_from_slice(&packet[4..]);
        let last = packet.len() < block + 4;
        if last || usize::from(blocks).is_multiple_of(window) {
            let [high, low] = blocks.to_be_bytes();
            socket.send_to(&[0, 4, high, low], from).expect("sent");
        }
        if last {
            return content;
        }
    }
}

#[test]
fn a_rom_gets_the_file_with_and_without_options() {
    let server = server();
    assert!(fetch(&server, &[], 512, 1) == server.content, "RFC 1350");
    assert!(
        fetch(&server, &["blksize", "1456", "tsize", "0"], 1456, 1) == server.content,
        "RFC 2348, 2349"
    );
    assert!(
        fetch(&server, &["blksize", "1024", "windowsize", "8"], 1024, 8) == server.content,
        "RFC 7440"
    );
    assert_eq!(server.counters.served.load(Ordering::Relaxed), 3);
}

#[test]
fn what_a_client_asks_for_is_cut_to_what_is_safe() {
    let server = server();
    let socket = client();
    let words = [
        "/undionly.kpxe",
        "octet",
        "blksize",
        "65464",
        "windowsize",
        "65535",
        "tsize",
        "0",
        "timeout",
        "255",
    ];
    socket
        .send_to(&request(RRQ, &words), server.address)
        .expect("sent");
    let (oack, _) = receive(&socket);
    let text = String::from_utf8_lossy(&oack[2..]).into_owned();
    let words: Vec<&str> = text.split_terminator('\0').collect();
    for pair in [
        ["blksize", "1468"],
        ["windowsize", "16"],
        ["tsize", "70000"],
    ] {
        assert!(words.windows(2).any(|w| w == pair), "{pair:?} in {words:?}");
    }
    assert!(!words.contains(&"timeout"), "{words:?}");
}

#[test]
fn refusals_are_errors_and_counted() {
    let server = server();
    for (opcode, name, code) in [
        (RRQ, "pxelinux.0", 1),
        (RRQ, "../../../../etc/passwd", 1),
        (RRQ, "/etc/passwd", 1),
        (RRQ, "", 1),
        (WRQ, "undionly.kpxe", 4),
        (WRQ, "../../tmp/x", 4),
    ] {
        let socket = client();
        socket
            .send_to(&request(opcode, &[name, "octet"]), server.address)
            .expect("sent");
        let (packet, _) = receive(&socket);
        assert_eq!(
            (packet[1], packet[3]),
            (ERROR, code),
            "{name:?}: {packet:?}"
        );
    }
    assert_eq!(server.counters.refused.load(Ordering::Relaxed), 6);
}

#[test]
fn garbage_is_survived() {
    let server = server();
    let socket = client();
    let long = request(RRQ, &[&"x".repeat(60_000), "octet"]);
    let unfinished = b"\0\x01undionly.kpxe".to_vec();
    let lying = request(
        RRQ,
        &[
            "undionly.kpxe",
            "octet",
            "blksize",
            "-1",
            "tsize",
            "99999999999999999999999",
        ],
    );
    let packets = [
        Vec::new(),
        vec![0],
        vec![0, 1],
        vec![0xff; 1400],
        long,
        unfinished,
        request(9, &["a", "b"]),
        lying,
    ];
    for packet in packets {
        socket.send_to(&packet, server.address).expect("sent");
    }
    assert!(
        fetch(&server, &[], 512, 1) == server.content,
        "still serving"
    );
}
