//! The process that stays: really started, heard on a real socket.
#![allow(
    clippy::disallowed_methods,
    reason = "starts a program and waits for it"
)]

use std::fs::File;
use std::net::UdpSocket;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::time::Duration;

use ramboot_init::agent::heartbeat::NAME;
use ramboot_wire::heartbeat::{Heartbeat, JITTER_SECONDS, MAX_HEARTBEAT_BYTES};

/// Ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn it_says_how_the_machine_does() {
    let manager = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let to = manager.local_addr().expect("its address").to_string();
    let image = "07".repeat(32);
    let child = Command::new(env!("CARGO_BIN_EXE_ramboot-init"))
        .arg0(NAME)
        .args(["52:54:00:12:34:56", &image, "5812", "worker-1", &to])
        .stdin(File::open("/proc/meminfo").expect("meminfo"))
        .spawn()
        .expect("starts");
    let process = Process(child);
    manager
        .set_read_timeout(Some(Duration::from_secs(JITTER_SECONDS + 20)))
        .expect("a deadline");
    let mut packet = [0; MAX_HEARTBEAT_BYTES + 1];
    let (length, _) = manager.recv_from(&mut packet).expect("a heartbeat");
    let beat = Heartbeat::parse(&packet[..length]).expect("is one");
    assert_eq!(beat.mac.to_string(), "52:54:00:12:34:56");
    assert_eq!(beat.image.to_string(), image);
    assert_eq!(beat.hostname.as_deref(), Some("worker-1"));
    assert_eq!(beat.boot_ms, 5812);
    assert!(beat.up_s > 0, "{beat:?}");
    assert!(beat.memory > 1 << 20, "{beat:?}");
    assert!(
        beat.available > 1 << 20 && beat.available <= beat.memory,
        "{beat:?}"
    );
    drop(process);
}

#[test]
fn without_orders_it_says_what_it_is() {
    let out = Command::new(env!("CARGO_BIN_EXE_ramboot-init"))
        .arg0(NAME)
        .output()
        .expect("runs");
    assert_eq!(out.status.code(), Some(2));
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(text.contains("it does nothing else"), "{text}");
}
