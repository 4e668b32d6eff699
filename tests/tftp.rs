//! TFTP over real sockets: what firmware, a curious stranger and a broken client get.
#![allow(clippy::disallowed_methods, reason = "tests wait with deadlines")]

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ramboot::store::rope::Rope;
use ramboot::tftp::sessions::MAX_SESSIONS_PER_ADDRESS;
use ramboot::tftp::{Ask, Counters, Files, Table, run};

/// Opcodes of RFC 1350 and RFC 2347.
const RRQ: u8 = 1;
const WRQ: u8 = 2;
const DATA: u8 = 3;
const ERROR: u8 = 5;
const OACK: u8 = 6;

/// A Raspberry Pi's.
const PI: [&str; 4] = ["tsize", "0", "blksize", "1468"];
const EARLY_TERMINATE: &[u8] = b"\0\x05\0\0Early terminate\0";
const WAIT: Duration = Duration::from_secs(10);

struct Server {
    address: SocketAddr,
    counters: Arc<Counters>,
    _runtime: tokio::runtime::Runtime,
}

fn content(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0])
        .collect()
}

fn server() -> Server {
    let files = [
        ("undionly.kpxe", 70_000),
        ("5b154510/config.txt", 2936),
        ("empty", 0),
        ("rollover", 8 * 65_600),
    ];
    let table: Table = files
        .into_iter()
        .map(|(name, len)| (name.to_owned(), Bytes::from(content(len))))
        .collect();
    serving(table)
}

fn serving<F: Files>(files: F) -> Server {
    let counters = Arc::new(Counters::default());
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let address = socket.local_addr().expect("address");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("runtime");
    runtime.spawn(run(socket, Arc::new(files), Arc::clone(&counters)));
    Server {
        address,
        counters,
        _runtime: runtime,
    }
}

fn client() -> UdpSocket {
    client_at(Ipv4Addr::LOCALHOST)
}

fn client_at(address: Ipv4Addr) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).expect("bind");
    socket.set_read_timeout(Some(WAIT)).expect("timeout");
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

fn ask(server: &Server, socket: &UdpSocket, name: &str, options: &[&str]) {
    let packet = request(RRQ, &[&[name, "octet"], options].concat());
    socket.send_to(&packet, server.address).expect("sent");
}

fn ack(socket: &UdpSocket, to: SocketAddr, number: u16) {
    let [high, low] = number.to_be_bytes();
    socket.send_to(&[0, 4, high, low], to).expect("sent");
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (len, from) = socket.recv_from(&mut buffer).expect("an answer in time");
    (buffer[..len].to_vec(), from)
}

/// All that comes within `time`.
fn heard(socket: &UdpSocket, time: Duration) -> Vec<(Vec<u8>, SocketAddr)> {
    let end = Instant::now() + time;
    let mut all = Vec::new();
    let mut buffer = [0; 2048];
    while let Some(left) = end
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
    {
        socket.set_read_timeout(Some(left)).expect("timeout");
        match socket.recv_from(&mut buffer) {
            Ok((len, from)) => all.push((buffer[..len].to_vec(), from)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    socket.set_read_timeout(Some(WAIT)).expect("timeout");
    all
}

/// Waits for a counter, which is written when the server has seen the end.
fn counted(counter: &AtomicU64, expected: u64) {
    let begin = Instant::now();
    while counter.load(Ordering::Relaxed) != expected && begin.elapsed() < WAIT {
        thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(counter.load(Ordering::Relaxed), expected);
}

struct Fetch<'a> {
    name: &'a str,
    options: &'a [&'a str],
    block: usize,
    /// Blocks before each acknowledgement.
    window: u64,
    /// Each so-manieth datagram is not seen by the client; 0 for none.
    lost: u64,
}

/// The whole file; repeats the request as firmware does.
fn fetch_as(server: &Server, socket: &UdpSocket, how: &Fetch<'_>) -> Vec<u8> {
    let repeat = Duration::from_secs(2);
    socket.set_read_timeout(Some(repeat)).expect("timeout");
    let mut buffer = [0; 2048];
    let (mut content, mut blocks, mut pending, mut seen) = (Vec::new(), 0_u64, 0, 0_u64);
    let (mut from, mut complained) = (None, false);
    ask(server, socket, how.name, how.options);
    let number = |blocks: u64| {
        let [.., high, low] = blocks.to_be_bytes();
        u16::from_be_bytes([high, low])
    };
    let begin = Instant::now();
    loop {
        assert!(begin.elapsed() < 6 * WAIT, "{} after {blocks}", how.name);
        let Ok((len, source)) = socket.recv_from(&mut buffer) else {
            match from {
                None => ask(server, socket, how.name, how.options),
                Some(from) => ack(socket, from, number(blocks)),
            }
            continue;
        };
        seen += 1;
        if how.lost > 0 && seen.is_multiple_of(how.lost) {
            continue;
        }
        let (packet, from) = (&buffer[..len], *from.get_or_insert(source));
        assert_eq!(source, from, "one transfer");
        if packet[1] == OACK {
            assert!(!how.options.is_empty());
            ack(socket, from, 0);
            continue;
        }
        assert_eq!(packet[1], DATA, "{}", packet.escape_ascii());
        if packet[2..4] != number(blocks + 1).to_be_bytes() {
            if !std::mem::replace(&mut complained, true) {
                pending = 0;
                ack(socket, from, number(blocks));
            }
            continue;
        }
        complained = false;
        blocks += 1;
        pending += 1;
        content.extend_from_slice(&packet[4..]);
        let last = len < how.block + 4;
        if last || pending == how.window {
            pending = 0;
            ack(socket, from, number(blocks));
        }
        if last {
            return content;
        }
    }
}

fn fetch(server: &Server, name: &str, options: &[&str], block: usize, window: u64) -> Vec<u8> {
    let how = Fetch {
        name,
        options,
        block,
        window,
        lost: 0,
    };
    fetch_as(server, &client(), &how)
}

#[test]
fn a_rom_gets_the_file_with_and_without_options() {
    let server = server();
    let file = content(70_000);
    let name = "undionly.kpxe";
    assert!(fetch(&server, name, &[], 512, 1) == file, "RFC 1350");
    assert!(
        fetch(&server, name, &["blksize", "1456", "tsize", "0"], 1456, 1) == file,
        "RFC 2348, 2349"
    );
    let window = ["blksize", "1024", "windowsize", "8"];
    assert!(fetch(&server, name, &window, 1024, 8) == file, "RFC 7440");
    counted(&server.counters.served, 3);
    assert_eq!(
        server.counters.to_string(),
        "3 sent, 0 probed, 0 not found, 0 refused, 0 failed"
    );
}

#[test]
fn what_a_client_asks_for_is_cut_to_what_is_safe() {
    let server = server();
    let socket = client();
    let all = [
        "BLKSIZE",
        "65464",
        "windowsize",
        "65535",
        "tsize",
        "0",
        "timeout",
        "255",
    ];
    ask(&server, &socket, "/undionly.kpxe", &all);
    let (oack, _) = receive(&socket);
    let expected = b"\0\x06tsize\x0070000\0blksize\x001468\0windowsize\x0016\0timeout\x00255\0";
    assert_eq!(oack, expected, "{}", oack.escape_ascii());
}

#[test]
fn a_pi_is_told_the_size_before_any_data() {
    let server = server();
    let socket = client();
    ask(&server, &socket, "5b154510//config.txt", &PI);
    let expected = b"\0\x06tsize\x002936\0blksize\x001468\0";
    // Not acknowledged: the same again after a second, and never DATA.
    let heard = heard(&socket, Duration::from_millis(1500));
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(
        heard.iter().all(|(packet, _)| packet == expected),
        "{heard:?}"
    );
}

#[test]
fn a_pi_that_only_looks_leaves_nothing_behind() {
    let server = server();
    let socket = client();
    for round in 1..=3 {
        ask(&server, &socket, "undionly.kpxe", &PI);
        // From the same port at once: not taken for a repetition, which nobody would answer any more.
        let (oack, from) = receive(&socket);
        assert_eq!(oack[1], OACK, "round {round}");
        socket.send_to(EARLY_TERMINATE, from).expect("sent");
    }
    counted(&server.counters.probed, 3);
    assert_eq!(heard(&socket, Duration::from_secs(3)), []);
    // UEFI's way.
    let uefi = client();
    ask(
        &server,
        &uefi,
        "undionly.kpxe",
        &["tsize", "0", "blksize", "1468", "windowsize", "4"],
    );
    let (_, from) = receive(&uefi);
    let aborted = b"\0\x05\0\x08User aborted the transfer\0";
    uefi.send_to(aborted, from).expect("sent");
    counted(&server.counters.probed, 4);
    assert_eq!(
        server.counters.to_string(),
        "0 sent, 4 probed, 0 not found, 0 refused, 0 failed"
    );
}

#[test]
fn names_as_firmware_writes_them() {
    let server = server();
    for name in [
        "5b154510//config.txt",
        "/5b154510/config.txt",
        "\\5b154510\\config.txt",
    ] {
        assert!(
            fetch(&server, name, &PI, 1468, 1) == content(2936),
            "{name}"
        );
    }
}

#[test]
fn a_repeated_request_starts_no_second_transfer() {
    let server = server();
    let socket = client();
    for _ in 0..3 {
        ask(&server, &socket, "undionly.kpxe", &PI);
    }
    // The OACK, and once more after a second: from one port.
    let heard = heard(&socket, Duration::from_millis(1500));
    let sources: HashSet<SocketAddr> = heard.iter().map(|(_, from)| *from).collect();
    assert_eq!((heard.len(), sources.len()), (2, 1), "{heard:?}");
}

#[test]
fn another_name_from_the_same_port_ends_what_ran() {
    let server = server();
    let socket = client();
    ask(&server, &socket, "undionly.kpxe", &PI);
    let (_, first) = receive(&socket);
    ack(&socket, first, 0);
    assert_eq!(receive(&socket).0[1], DATA);
    ack(&socket, first, 1);
    assert_eq!(receive(&socket).0[1], DATA);
    ask(&server, &socket, "5b154510/config.txt", &PI);
    let (oack, second) = receive(&socket);
    assert_eq!(oack, b"\0\x06tsize\x002936\0blksize\x001468\0");
    counted(&server.counters.failed, 1);
    let heard = heard(&socket, Duration::from_millis(1500));
    assert!(heard.iter().all(|(_, from)| *from == second), "{heard:?}");
}

#[test]
fn files_of_every_length_and_number_of_blocks() {
    let server = server();
    let rollover = content(8 * 65_600);
    for (window, count) in [("1", 1), ("16", 16)] {
        let options = ["blksize", "8", "windowsize", window];
        assert!(fetch(&server, "rollover", &options, 8, count) == rollover);
    }
    // Two full blocks and an empty one.
    assert!(fetch(&server, "5b154510/config.txt", &PI, 1468, 1) == content(2936));
    assert!(fetch(&server, "empty", &PI, 1468, 1).is_empty());
    assert!(fetch(&server, "empty", &[], 512, 1).is_empty());
}

#[test]
fn losses_are_made_good() {
    let server = server();
    for (window, count) in [("4", 4), ("16", 16)] {
        for lost in [7, 31] {
            let how = Fetch {
                name: "undionly.kpxe",
                options: &["blksize", "1468", "windowsize", window],
                block: 1468,
                window: count,
                lost,
            };
            let received = fetch_as(&server, &client(), &how);
            assert!(received == content(70_000), "window {window}, each {lost}.");
        }
    }
}

#[test]
fn a_stranger_cannot_speak_for_the_client() {
    let server = server();
    let (socket, stranger) = (client(), client());
    ask(&server, &socket, "5b154510/config.txt", &PI);
    let (_, from) = receive(&socket);
    stranger.send_to(EARLY_TERMINATE, from).expect("sent");
    ack(&stranger, from, 0);
    ack(&socket, from, 0);
    let (data, _) = receive(&socket);
    assert_eq!(data[..4], [0, DATA, 0, 1]);
    assert_eq!(heard(&stranger, Duration::from_millis(100)), []);
}

/// Acknowledges block `number` and waits for the next; how many bytes came meanwhile, with what a slow client is sent again.
fn step(socket: &UdpSocket, to: SocketAddr, number: u16) -> usize {
    ack(socket, to, number);
    let [high, low] = (number + 1).to_be_bytes();
    let mut bytes = 0;
    loop {
        let (packet, _) = receive(socket);
        bytes += packet.len();
        if packet[..4] == [0, DATA, high, low] {
            return bytes;
        }
    }
}

#[test]
fn a_client_that_vanishes_is_noticed() {
    const DATAGRAM: usize = 4 + 1468;
    let server = server();
    let socket = client();
    // An interval that is agreed to: what the path takes does not shorten it.
    let options = [&PI[..], &["timeout", "1"]].concat();
    ask(&server, &socket, "undionly.kpxe", &options);
    let (oack, from) = receive(&socket);
    let mut bytes = oack.len() + step(&socket, from, 0) + step(&socket, from, 1);
    // Somebody else's now, so closed to the server. What came before can still be read.
    socket.connect(server.address).expect("connected");
    let begin = Instant::now();
    counted(&server.counters.failed, 1);
    println!("noticed after {:?}", begin.elapsed());
    socket.set_nonblocking(true).expect("not waiting");
    while let Ok(len) = socket.recv(&mut [0; 2048]) {
        bytes += len;
    }
    // One repetition met a closed port, and there was no second one.
    counted(&server.counters.bytes, (bytes + DATAGRAM) as u64);
}

#[test]
fn an_address_that_asks_for_too_much_loses_its_oldest() {
    let server = server();
    let clients: Vec<UdpSocket> = (0..=MAX_SESSIONS_PER_ADDRESS)
        .map(|_| {
            let socket = client();
            ask(&server, &socket, "undionly.kpxe", &PI);
            assert_eq!(receive(&socket).0[1], OACK);
            // The idlest is found by the millisecond.
            thread::sleep(Duration::from_millis(2));
            socket
        })
        .collect();
    let (packet, _) = receive(&clients[0]);
    assert_eq!(packet[..4], [0, ERROR, 0, 0], "{}", packet.escape_ascii());
    counted(&server.counters.probed, 1);
}

#[test]
fn refusals_are_errors_and_counted() {
    let server = server();
    for (opcode, name, mode, code) in [
        (RRQ, "pxelinux.0", "octet", 1),
        (RRQ, "UNDIONLY.KPXE", "octet", 1),
        (RRQ, "../../../../etc/passwd", "octet", 1),
        (RRQ, "/etc/passwd", "octet", 1),
        (RRQ, "", "octet", 1),
        (RRQ, "undionly.kpxe", "mail", 4),
        (RRQ, "undionly.kpxe", "netascii", 4),
        (WRQ, "undionly.kpxe", "octet", 4),
        (WRQ, "../../tmp/x", "octet", 4),
    ] {
        let socket = client();
        socket
            .send_to(&request(opcode, &[name, mode]), server.address)
            .expect("sent");
        let (packet, _) = receive(&socket);
        assert_eq!(
            (packet[1], packet[3]),
            (ERROR, code),
            "{name:?}: {packet:?}"
        );
    }
    assert_eq!(
        server.counters.to_string(),
        "0 sent, 0 probed, 3 not found, 6 refused, 0 failed"
    );
}

#[test]
fn garbage_is_survived() {
    let server = server();
    let socket = client();
    let long = request(RRQ, &[&"x".repeat(60_000), "octet"]);
    let unfinished = b"\0\x01undionly.kpxe".to_vec();
    let lying = [
        "undionly.kpxe",
        "octet",
        "blksize",
        "-1",
        "tsize",
        "99999999999999999999999",
    ];
    let packets = [
        Vec::new(),
        vec![0],
        vec![0, 1],
        vec![0xff; 1400],
        vec![0, 4, 0, 0],
        EARLY_TERMINATE.to_vec(),
        long,
        unfinished,
        request(9, &["a", "b"]),
        request(RRQ, &lying),
    ];
    for packet in packets {
        socket.send_to(&packet, server.address).expect("sent");
    }
    assert!(
        fetch(&server, "undionly.kpxe", &[], 512, 1) == content(70_000),
        "still serving"
    );
}

#[test]
fn a_size_past_four_gigabytes_is_told() {
    struct Large;
    impl Files for Large {
        fn open(&self, ask: &Ask<'_>) -> Option<Rope> {
            assert_eq!(ask.name, "large");
            assert!(ask.client.ip().is_loopback() && ask.local.ip().is_loopback());
            let slice = Bytes::from(vec![0; 1 << 20]);
            Some(std::iter::repeat_n(slice, 5 << 10).collect())
        }
    }
    let server = serving(Large);
    let socket = client();
    ask(&server, &socket, "/large", &["tsize", "0"]);
    assert_eq!(receive(&socket).0, b"\0\x06tsize\x005368709120\0");
}

#[test]
fn not_found_is_said_at_once() {
    let server = server();
    let socket = client();
    let mut times: Vec<Duration> = (0..1000)
        .map(|i| {
            let begin = Instant::now();
            ask(&server, &socket, &format!("5b154510/{i}.dtb"), &PI);
            // The first packet that comes, and from the port that was asked.
            let answer = receive(&socket);
            let expected = b"\0\x05\0\x01File not found\0".to_vec();
            assert_eq!(answer, (expected, server.address));
            begin.elapsed()
        })
        .collect();
    times.sort();
    println!("not found after {:?}, at most {:?}", times[500], times[999]);
    counted(&server.counters.missing, 1000);
    // One answer a question, and no transfer that could send more.
    socket.set_nonblocking(true).expect("not waiting");
    let more = socket.recv_from(&mut [0; 2048]).map_err(|e| e.kind());
    assert_eq!(more.expect_err("silence"), ErrorKind::WouldBlock);
    assert_eq!(server.counters.bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn six_hundred_clients_at_once() {
    const CLIENTS: u8 = 200;
    let server = server();
    let file = content(70_000);
    thread::scope(|scope| {
        for (net, host) in (1..=3).flat_map(|net| (1..=CLIENTS).map(move |host| (net, host))) {
            let (server, file) = (&server, &file);
            let work = move || {
                let how = Fetch {
                    name: "undionly.kpxe",
                    options: &PI,
                    block: 1468,
                    window: 1,
                    lost: 0,
                };
                let socket = client_at(Ipv4Addr::new(127, 0, net, host));
                assert!(fetch_as(server, &socket, &how) == *file);
            };
            thread::Builder::new()
                .stack_size(128 * 1024)
                .spawn_scoped(scope, work)
                .expect("a thread");
        }
    });
    counted(&server.counters.served, 600);
}
