//! What a bad disk, or somebody who shortens a file, does to the built manager: one client hears of it, all others go on.
//!
//! Boot files are shortened by truncate(2), before and in the middle of a transfer, and are made unreadable (EIO) by a FUSE file
//! that lies where they lay. A process that touches such a page of a mapping is ended by SIGBUS. `publish` and `eeprom` read such
//! files, too ([`publish`]), and a disk that answers nobody keeps DHCP from nobody ([`held`]).
#![allow(clippy::disallowed_methods, reason = "tests wait with deadlines")]

mod fuse;
mod held;
mod publish;
#[path = "../small_image/mod.rs"]
mod small_image;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use ramboot::store::commit::Staging;
use ramboot::store::{BootFile, Generation, ImageFacts, PiBoot};
use ramboot_wire::{Arch, ImageId};

use fuse::BadFile;

/// Set where the test already runs in its namespaces.
const INSIDE: &str = "RAMBOOT_BAD_DISK_INSIDE";
const MB: usize = 1 << 20;
const PORT: u16 = 8067;
const BLOCK: usize = 1468;
const WAIT: Duration = Duration::from_secs(10);
const DATA: u8 = 3;
const ERROR: u8 = 5;

/// Runs `test`, whose name is given, as root of new user, network and mount namespaces.
fn inside(name: &str, test: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        let mut ip = Command::new("ip");
        let up = ip.args(["link", "set", "lo", "up"]).status();
        assert!(up.expect("ip(8) is installed").success());
        return test();
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount"])
        .arg(std::env::current_exe().expect("this program"))
        .args([name, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare(1) is installed");
    let said = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && said.contains("1 passed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(passed, "{}: {said}{errors}", output.status);
}

/// No two windows of it are the same.
fn content(seed: usize) -> Vec<u8> {
    (0..3 * MB)
        .map(|i| ((i + seed).wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0])
        .collect()
}

/// A store with one image, and what stands in its folder `boot`.
struct Store {
    state: tempfile::TempDir,
    id: ImageId,
    files: BTreeMap<&'static str, (BootFile, Vec<u8>)>,
}

impl Store {
    fn new() -> Self {
        let state = tempfile::tempdir().expect("temp folder");
        let staging = Staging::begin(state.path()).expect("begun");
        let mut image = staging.create_image().expect("made");
        image.write_all(b"image").expect("written");
        let firmware = BTreeMap::from([("start4.elf".to_owned(), content(3))]);
        let files = [
            ("vmlinuz", content(1)),
            ("initrd", content(2)),
            ("pi", ramboot::pi::files::pack(firmware).expect("packed")),
        ];
        let files: BTreeMap<_, _> = files
            .into_iter()
            .map(|(kind, content)| {
                let file = staging.add_boot(kind, &content).expect("added");
                (kind, (file, content))
            })
            .collect();
        let file = |kind: &str| files[kind].0.clone();
        let id = ImageId(*blake3::hash(b"image").as_bytes());
        let generation = Generation {
            number: 0,
            image: id,
            size: 5,
            kernel: file("vmlinuz"),
            initrd: file("initrd"),
            stub: None,
            pi: Some(PiBoot {
                files: file("pi"),
                kernel: file("vmlinuz"),
                initrd: file("initrd"),
                upstream: false,
                config: Vec::new(),
                boards: Vec::new(),
            }),
            kernel_version: "6.1.0".to_owned(),
            arch: Arch::Aarch64,
            published: 0,
            note: String::new(),
            forced: Vec::new(),
        };
        let facts = ImageFacts {
            id,
            size: 5,
            compressor: "zstd".to_owned(),
            block_size: 131_072,
            kernel_version: "6.1.0".to_owned(),
            arch: Arch::Aarch64,
            forced: Vec::new(),
        };
        let name = "worker".parse().expect("a name");
        staging
            .commit(&facts, &[], &name, &generation)
            .expect("committed");
        Self { state, id, files }
    }

    /// What TFTP and, with a slash before it, HTTP call it.
    fn name(&self, kind: &str) -> String {
        format!("images/{}/boot/{}", self.id, self.files[kind].0.name)
    }

    fn path(&self, kind: &str) -> PathBuf {
        self.state.path().join(self.name(kind))
    }

    fn content(&self, kind: &str) -> &[u8] {
        &self.files[kind].1
    }

    fn digest(&self, kind: &str) -> blake3::Hash {
        blake3::hash(self.content(kind))
    }

    fn shorten(&self, kind: &str, len: u64) {
        let file = fs::OpenOptions::new().write(true).open(self.path(kind));
        file.and_then(|file| file.set_len(len)).expect("shortened");
    }

    /// As an administrator does it who has a copy.
    fn repair(&self, kind: &str) {
        fs::remove_file(self.path(kind)).expect("removed");
        fs::write(self.path(kind), self.content(kind)).expect("written");
    }
}

struct Manager {
    process: Child,
    lines: std::io::Lines<BufReader<ChildStderr>>,
}

impl Manager {
    fn start(state: &Path) -> Self {
        let arguments = ["--dhcp=off", "--interface=lo"];
        Self::start_with(state, &arguments, "serving on lo 127.0.0.1")
    }

    /// Waits until it says that it is `ready`.
    fn start_with(state: &Path, arguments: &[&str], ready: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_ramboot"))
            .arg("serve")
            .args(arguments)
            .arg("--state")
            .arg(state)
            .args(["--ipxe-dir", "/nonexistent", "--http-port"])
            .arg(PORT.to_string())
            .env("RUNTIME_DIRECTORY", state.join("run"))
            .env_remove("RAMBOOT_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(process.stderr.take().expect("piped")).lines();
        let mut manager = Self { process, lines };
        manager.says(ready);
        manager
    }

    /// Reads the log up to this text; its end is the manager's.
    fn says(&mut self, text: &str) {
        let mut seen = Vec::new();
        for line in self.lines.by_ref() {
            let line = line.expect("UTF-8");
            println!("manager: {line}");
            if line.contains(text) {
                return;
            }
            seen.push(line);
        }
        panic!("no {text:?} in {seen:#?}: {:?}", self.process.wait());
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A machine that fetches by TFTP, block by block, and repeats nothing: loopback loses nothing.
struct Machine {
    socket: UdpSocket,
    from: SocketAddr,
    next: u16,
    content: Vec<u8>,
}

/// What came instead of the next block.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    End,
    Error(u8, String),
}

impl Machine {
    /// Asks, and takes what comes first.
    fn asks(host: u8, name: &str) -> Result<Self, Told> {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, host), 0)).expect("bind");
        socket.set_read_timeout(Some(WAIT)).expect("timeout");
        let request = format!("\0\x01{name}\0octet\0blksize\0{BLOCK}\0");
        let server = (Ipv4Addr::LOCALHOST, 69);
        socket.send_to(request.as_bytes(), server).expect("sent");
        let mut buffer = [0; 2048];
        let (len, from) = socket.recv_from(&mut buffer).expect("an answer");
        if buffer[1] == ERROR {
            return Err(error(&buffer[..len]));
        }
        Ok(Self {
            socket,
            from,
            next: 1,
            content: Vec::new(),
        })
    }

    /// Acknowledges what it has and takes the next block.
    fn block(&mut self) -> Result<(), Told> {
        let [high, low] = self.next.wrapping_sub(1).to_be_bytes();
        let mut buffer = [0; 2048];
        self.socket
            .send_to(&[0, 4, high, low], self.from)
            .expect("sent");
        loop {
            let (len, _) = self.socket.recv_from(&mut buffer).expect("an answer");
            match buffer[1] {
                ERROR => return Err(error(&buffer[..len])),
                DATA if buffer[2..4] == self.next.to_be_bytes() => {
                    self.content.extend_from_slice(&buffer[4..len]);
                    self.next = self.next.wrapping_add(1);
                    return if len < BLOCK + 4 {
                        Err(Told::End)
                    } else {
                        Ok(())
                    };
                }
                _ => {}
            }
        }
    }

    fn blocks(&mut self, count: usize) {
        for _ in 0..count {
            self.block().expect("a block");
        }
    }

    /// All that is left.
    fn rest(mut self) -> (Told, Vec<u8>) {
        loop {
            if let Err(told) = self.block() {
                let [high, low] = self.next.wrapping_sub(1).to_be_bytes();
                self.socket
                    .send_to(&[0, 4, high, low], self.from)
                    .expect("sent");
                return (told, self.content);
            }
        }
    }
}

fn error(packet: &[u8]) -> Told {
    let text = String::from_utf8_lossy(&packet[4..]);
    Told::Error(packet[3], text.trim_end_matches('\0').to_owned())
}

/// The digest of what a machine gets.
fn fetch(host: u8, name: &str) -> Result<blake3::Hash, Told> {
    match Machine::asks(host, name)?.rest() {
        (Told::End, content) => Ok(blake3::hash(&content)),
        (told, _) => Err(told),
    }
}

fn unreadable() -> Told {
    Told::Error(
        0,
        "The server cannot read this file, its log says why".to_owned(),
    )
}

fn missing() -> Told {
    Told::Error(1, "File not found".to_owned())
}

/// Asks by HTTP, and reads the head of the answer and so many bytes more.
fn http(name: &str, bytes: usize) -> (String, TcpStream) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).expect("connects");
    stream.set_read_timeout(Some(WAIT)).expect("timeout");
    write!(
        stream,
        "GET /{name} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .expect("sent");
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    stream.read_exact(&mut vec![0; bytes]).expect("content");
    (String::from_utf8_lossy(&head).into_owned(), stream)
}

/// How many bytes come until the connection ends, however it does.
fn left(mut stream: TcpStream) -> usize {
    let (mut all, mut buffer) = (0, [0; 65_536]);
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        all += read;
    }
    all
}

#[test]
fn a_file_that_is_shortened_ends_one_transfer() {
    inside("a_file_that_is_shortened_ends_one_transfer", || {
        let store = Store::new();
        let mut manager = Manager::start(store.state.path());
        let (kernel, initrd) = (store.name("vmlinuz"), store.name("initrd"));
        // Somebody else's, in the middle all the time; and a Raspberry Pi's tree, which is slices of an archive.
        let mut other = Machine::asks(2, &initrd).expect("accepted");
        other.blocks(9);
        let mut pi = Machine::asks(3, "5b154510/start4.elf").expect("accepted");
        pi.blocks(9);

        let mut machine = Machine::asks(4, &kernel).expect("accepted");
        machine.blocks(9);
        let (head, body) = http(&kernel, 9);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        store.shorten("vmlinuz", 5 * BLOCK as u64);
        store.shorten("pi", 5 * BLOCK as u64);
        assert_eq!(machine.rest().0, unreadable());
        manager.says("TFTP: ended, the file cannot be read: reading ");
        assert_eq!(pi.rest().0, unreadable());
        assert!(
            left(body) < 3 * MB - 9,
            "what is not there cannot have come"
        );

        // Asked for anew: found to be damaged before the first byte.
        assert_eq!(fetch(4, &kernel), Err(missing()));
        manager.says("is damaged: its digest begins with");
        let (head, _) = http(&kernel, 0);
        assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
        assert_eq!(
            Machine::asks(5, "5b154511/start4.elf").err(),
            Some(missing())
        );

        store.repair("vmlinuz");
        assert_eq!(fetch(4, &kernel), Ok(store.digest("vmlinuz")));
        let (_, body) = http(&kernel, 0);
        assert_eq!(left(body), 3 * MB);
        other.blocks(9);
        let (told, content) = other.rest();
        assert!(
            told == Told::End && content == store.content("initrd"),
            "{told:?}"
        );
    });
}

#[test]
fn a_disk_that_fails_ends_one_transfer() {
    inside("a_disk_that_fails_ends_one_transfer", || {
        let store = Store::new();
        let bad = BadFile::over(&store.path("vmlinuz"), store.content("vmlinuz"));
        let mut manager = Manager::start(store.state.path());
        let (kernel, initrd) = (store.name("vmlinuz"), store.name("initrd"));
        let mut other = Machine::asks(2, &initrd).expect("accepted");
        other.blocks(9);
        assert_eq!(fetch(3, &kernel), Ok(store.digest("vmlinuz")));

        let mut machine = Machine::asks(4, &kernel).expect("accepted");
        machine.blocks(9);
        let (_, body) = http(&kernel, 9);
        bad.fails();
        assert_eq!(machine.rest().0, unreadable());
        manager.says("TFTP: ended, the file cannot be read: reading ");
        assert!(
            left(body) < 3 * MB - 9,
            "what cannot be read cannot have come"
        );
        assert_eq!(fetch(4, &kernel), Err(unreadable()), "again");

        // Who has not read it yet finds out before it sends anything.
        drop(manager);
        let mut manager = Manager::start(store.state.path());
        assert_eq!(fetch(4, &kernel), Err(missing()));
        manager.says("Input/output error");
        let (head, _) = http(&kernel, 0);
        assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
        let doctor = Command::new(env!("CARGO_BIN_EXE_ramboot"))
            .args(["doctor", "--interface=lo", "--state"])
            .arg(store.state.path())
            .arg("--run-dir")
            .arg(store.state.path().join("run"))
            .output()
            .expect("runs");
        let said = String::from_utf8_lossy(&doctor.stdout);
        assert!(
            doctor.status.code().is_some(),
            "ended by a signal: {doctor:?}"
        );
        assert!(said.contains("Input/output error"), "{said}");

        bad.is_sound_again();
        assert_eq!(fetch(4, &kernel), Ok(store.digest("vmlinuz")));
        assert_eq!(fetch(2, &initrd), Ok(store.digest("initrd")));
    });
}
