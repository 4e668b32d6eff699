//! A disk that answers nobody, under worker files that many machines wait for: DHCP answers everybody.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use ramboot::dhcp::rival::{self, FRAME_BYTES};
use ramboot::host::packet_socket::{Frames, Link};
use ramboot_wire::paths::Resource;
use ramboot_wire::{BootArgs, Mac};
use socket2::{Domain, Socket, Type};

use crate::fuse::BadFile;
use crate::{Manager, PORT, WAIT, inside};

const MANAGER: Ipv4Addr = Ipv4Addr::new(10, 9, 8, 1);
const CLIENTS: u8 = 16;
/// So many machines ask for an address while those wait.
const MACHINES: u8 = 64;
const FILES: usize = 1500;
const FILE_BYTES: usize = 2048;

/// A worker of this number, on an address of its own.
fn asks(number: u8, path: &str) -> TcpStream {
    let own = SocketAddr::from(([127, 1, 0, number + 1], 0));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&own.into()).expect("an address");
    let manager = SocketAddr::from((MANAGER, PORT));
    socket.connect(&manager.into()).expect("connects");
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(WAIT)).expect("set");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .expect("sent");
    stream
}

/// The body of an answer.
fn answer(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    assert!(
        answer.starts_with(b"HTTP/1.1 200 "),
        "{}",
        answer.escape_ascii()
    );
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    answer.split_off(end.expect("a head") + 4)
}

fn ip(batch: &str) {
    for line in batch.lines() {
        let status = Command::new("ip").args(line.split_whitespace()).status();
        assert!(status.expect("ip(8) is installed").success(), "ip {line}");
    }
}

/// An image, and an overlay of some megabytes for all workers, one file of which lies on a disk of its own.
fn state(folder: &Path) -> BadFile {
    let image = folder.join("small.sqfs");
    let files = crate::small_image::debian_like();
    fs::write(&image, crate::small_image::squashfs(&files)).expect("written");
    let published = Command::new(env!("CARGO_BIN_EXE_ramboot"))
        .args(["publish", "--name=worker", "--state"])
        .args([folder, &image])
        .output()
        .expect("runs");
    assert!(published.status.success(), "{published:?}");
    let overlay = folder.join("overlays/common/opt");
    fs::create_dir_all(&overlay).expect("made");
    for number in 0..FILES {
        let content = vec![number.to_le_bytes()[0]; FILE_BYTES];
        fs::write(overlay.join(number.to_string()), content).expect("written");
    }
    BadFile::over(&overlay.join("7"), &[7; FILE_BYTES])
}

#[test]
fn who_waits_for_worker_files_keeps_nobody_from_an_address() {
    let test = || {
        let folder = tempfile::tempdir().expect("a folder");
        let held = state(folder.path());
        ip(
            "link add lan0 type veth peer name c0\naddress add 10.9.8.1/24 dev lan0\n\
            link set lan0 up\nlink set c0 up\n",
        );
        let arguments = [
            "--dhcp=full",
            "--pool=10.9.8.100-10.9.8.199",
            "--interface=lan0",
        ];
        let start = || Manager::start_with(folder.path(), &arguments, "serving on lan0 10.9.8.1");
        let manager = start();
        let files = |number: u8| {
            let script = answer(asks(
                number,
                &format!("/ipxe/52-54-00-00-00-{number:02x}.x86_64"),
            ));
            let script = String::from_utf8(script).expect("text");
            let line = script.lines().find(|line| line.starts_with("kernel "));
            let args = BootArgs::parse(line.expect("something to boot"));
            let files = args.expect("a command line").files.expect("worker files");
            (Resource::Files(files.worker, files.id).path(), files.size)
        };
        let files: Vec<(String, u64)> = (0..CLIENTS).map(files).collect();
        assert!(
            files
                .iter()
                .all(|(_, size)| *size > (FILES * FILE_BYTES) as u64)
        );
        // Another manager, as after a restart: it has none of them at hand.
        drop(manager);
        let _manager = start();
        held.holds();
        let paths = (0..CLIENTS).zip(&files);
        let waiting: Vec<TcpStream> = paths
            .map(|(number, (path, _))| asks(number, path))
            .collect();
        held.is_asked();

        let link = Link::open("c0", Frames::All).expect("a packet socket");
        let mut silent: Vec<Mac> = (0..MACHINES)
            .map(|number| Mac([2, 0, 0, 0, 1, number]))
            .collect();
        for mac in &silent {
            link.send(&rival::question(*mac, 77)).expect("sent");
        }
        let mut offered = Vec::new();
        while !silent.is_empty() {
            let mut frame = [0; FRAME_BYTES];
            let len = link.receive(&mut frame, WAIT).expect("it is up");
            let len = len.unwrap_or_else(|| panic!("{} of {MACHINES} get no answer", silent.len()));
            silent.retain(|mac| match rival::answer(&frame[..len], *mac, 77) {
                Some(offer) => {
                    assert_eq!(offer.server, MANAGER);
                    offered.push(offer.offered);
                    false
                }
                None => true,
            });
        }
        offered.sort();
        offered.dedup();
        assert_eq!(offered.len(), usize::from(MACHINES), "one address each");

        for stream in &waiting {
            stream.set_nonblocking(true).expect("set");
            let early = stream.peek(&mut [0]).expect_err("they still wait");
            assert_eq!(early.kind(), io::ErrorKind::WouldBlock);
            stream.set_nonblocking(false).expect("set");
        }
        held.goes_on();
        for (stream, (path, size)) in waiting.into_iter().zip(files) {
            assert_eq!(answer(stream).len() as u64, size, "{path}");
        }
    };
    inside(
        "held::who_waits_for_worker_files_keeps_nobody_from_an_address",
        test,
    );
}
