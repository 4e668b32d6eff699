//! One machine against the built manager: it opens all the connections it can, with heads that do not end. Others are served,
//! and the manager's memory stays small.
//!
//! In a network namespace of its own, whose loopback has an address for each client.
#![allow(
    clippy::disallowed_methods,
    reason = "tests start programs and wait with deadlines"
)]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

const MANAGER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 9, 8, 1), 8067);
const MIB: u64 = 1 << 20;
/// What the crowd costs at most: one address has 1 406 of 8 192 places, each with a head of 8 KiB and what the server knows of it.
const ONE_ADDRESS: u64 = 48 * MIB;
/// All places taken.
const ALL_PLACES: u64 = 192 * MIB;

/// `ramboot serve` without DHCP.
struct Manager(Child);

impl Manager {
    fn start(state: &std::path::Path) -> Self {
        let script = "ip link set lo up; ip link add lan0 type bridge; ip address add 10.9.8.1/24 dev lan0; \
            ip link set lan0 up; exec \"$1\" serve --dhcp off --state \"$2\" --interface lan0";
        let mut process = Command::new("unshare")
            .args(["--net", "sh", "-euc", script, "sh"])
            .arg(env!("CARGO_BIN_EXE_ramboot"))
            .arg(state)
            .env_remove("RAMBOOT_LOG")
            .env("RUNTIME_DIRECTORY", state.join("run"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut log = BufReader::new(process.stderr.take().expect("piped"));
        let mut seen = String::new();
        while !seen.contains("serving on lan0") {
            let read = log.read_line(&mut seen).expect("UTF-8");
            assert!(read > 0, "it does not serve: {seen}");
        }
        // Nobody waits for what it says from now on.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self(process)
    }

    /// Bytes of its own in RAM; the images it maps are the page cache's.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("RssAnon:"));
        let kilobytes = line.and_then(|line| line.split_ascii_whitespace().nth(1));
        1024 * kilobytes
            .and_then(|text| text.parse::<u64>().ok())
            .expect("a number")
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A client of this number: it has 127.1.x.y on the loopback that it shares with the manager.
fn connect(client: u16) -> TcpStream {
    let [high, low] = client.to_be_bytes();
    let own = SocketAddr::from(([127, 1, high, low], 0));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&own.into()).expect("an address");
    socket.connect(&MANAGER.into()).expect("connects");
    let stream = TcpStream::from(socket);
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("set");
    stream
}

/// The status of the answer; `None` if there is none.
fn answer(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split(' ').nth(1).map(str::to_owned)
}

fn healthz(client: u16) -> Option<String> {
    let mut stream = connect(client);
    let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    answer(&mut stream)
}

/// So many connections of one client that say this and no more.
fn crowd(client: u16, count: usize, says: &[u8]) -> Vec<TcpStream> {
    let one = |_| {
        let mut stream = connect(client);
        // It may be turned away already.
        let _ = stream.write_all(says);
        stream
    };
    (0..count).map(one).collect()
}

fn attack(manager: &Manager) {
    let before = manager.memory();
    let grown = || manager.memory().saturating_sub(before);
    let half = [b"GET / HTTP/1.1\r\nHost: x\r\nx: ", &[b'a'; 7 * 1024][..]].concat();
    let silent = crowd(1, 8_300, &half);
    assert_eq!(healthz(2).as_deref(), Some("200"), "another address");
    assert_ne!(healthz(1).as_deref(), Some("200"), "it has its share");
    println!("one address: {} KiB", grown() / 1024);
    assert!(grown() <= ONE_ADDRESS, "{} MiB", grown() / MIB);
    drop(silent);

    // Heads of 60 KB: those that have a place are told that they are too long.
    let long = [b"GET / HTTP/1.1\r\nx: ", &[b'a'; 60 * 1024][..]].concat();
    let mut long = crowd(3, 200, &long);
    assert_eq!(healthz(2).as_deref(), Some("200"));
    for stream in &mut long {
        assert_eq!(answer(stream).as_deref(), Some("431"));
    }
    drop(long);

    // A whole network of them: 128 addresses with as many as they get.
    let many: Vec<_> = (1_000..1_128)
        .map(|client| crowd(client, 80, &half))
        .collect();
    assert_eq!(healthz(2).as_deref(), Some("200"), "one more address");
    println!("all places: {} KiB", grown() / 1024);
    assert!(grown() <= ALL_PLACES, "{} MiB", grown() / MIB);
    drop(many);
}

#[test]
fn one_address_keeps_nobody_out_and_costs_little_memory() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: a network namespace for another thread needs root");
        return;
    }
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    assert!(
        most >= 12_000,
        "open files: the hard limit is {most}, 12000 are needed"
    );
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("raised");
    let state = tempfile::tempdir().expect("folder");
    let manager = Manager::start(state.path());
    let namespace = File::open(format!("/proc/{}/ns/net", manager.0.id())).expect("there");
    let client = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may");
            attack(&manager);
        });
        client.join()
    });
    if let Err(panic) = client {
        std::panic::resume_unwind(panic);
    }
}
