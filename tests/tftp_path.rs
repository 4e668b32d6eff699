//! TFTP's blocks on links that carry less than Ethernet: by the interface, and by the route to the client.
#![allow(clippy::disallowed_methods, reason = "tests wait with deadlines")]

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ramboot::tftp::{Counters, Table, run};

/// Set where the test already runs in its namespaces.
const INSIDE: &str = "RAMBOOT_TFTP_PATH_INSIDE";
const NAME: &str = "no_block_is_cut_into_fragments";

fn ip(args: &str) {
    let status = Command::new("ip").args(args.split(' ')).status();
    assert!(status.expect("ip(8) is installed").success(), "ip {args}");
}

/// What a client at this address is offered that asks for 1 468 bytes, and the most that then comes in one packet.
fn offered(server: u16, client: Ipv4Addr) -> (String, usize) {
    let socket = UdpSocket::bind((client, 0)).expect("bind");
    let wait = Some(Duration::from_secs(10));
    socket.set_read_timeout(wait).expect("timeout");
    let server = (Ipv4Addr::LOCALHOST, server);
    let request = b"\0\x01file\0octet\0blksize\x001468\0";
    socket.send_to(request, server).expect("sent");
    let mut buffer = [0; 2048];
    let (len, from) = socket.recv_from(&mut buffer).expect("an OACK");
    let oack = String::from_utf8_lossy(&buffer[2..len]).into_owned();
    socket.send_to(&[0, 4, 0, 0], from).expect("sent");
    let (len, _) = socket.recv_from(&mut buffer).expect("a block");
    assert_eq!(buffer[..4], [0, 3, 0, 1]);
    (oack, len)
}

/// RFC 2348 leaves the size to both; dnsmasq 2.90 says 1 368 on an MTU of 1 400, too: IPv4, UDP and TFTP take 32 bytes.
#[test]
fn no_block_is_cut_into_fragments() {
    if std::env::var_os(INSIDE).is_none() {
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "--mount"])
            .arg(std::env::current_exe().expect("this program"))
            .args([NAME, "--exact", "--nocapture"])
            .env(INSIDE, "1")
            .output()
            .expect("unshare(1) is installed");
        let said = String::from_utf8_lossy(&output.stdout);
        let passed = output.status.success() && said.contains("1 passed");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(passed, "{}: {said}{errors}", output.status);
        return;
    }
    // The interfaces of this network namespace, as a machine's own sysfs has its own.
    let mut mount = Command::new("mount");
    let mounted = mount.args(["-t", "sysfs", "sysfs", "/sys"]).status();
    assert!(mounted.expect("mount(8)").success());
    ip("link set lo up");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let port = socket.local_addr().expect("address").port();
    let files: Table = [("file".to_owned(), Bytes::from(vec![7; 5000]))].into();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("runtime");
    runtime.spawn(run(socket, Arc::new(files), Arc::<Counters>::default()));
    // A route of its own for one client.
    ip("route add local 127.0.0.9 dev lo table local mtu lock 1300");
    for (mtu, client, block) in [
        (65_536, 2, 1468),
        (65_536, 9, 1268),
        (1500, 2, 1468),
        (1499, 2, 1467),
        (1400, 2, 1368),
        (1280, 9, 1248),
        (576, 2, 544),
    ] {
        ip(&format!("link set lo mtu {mtu}"));
        let client = Ipv4Addr::new(127, 0, 0, client);
        let expected = (format!("blksize\0{block}\0"), block + 4);
        assert_eq!(offered(port, client), expected, "{mtu} {client}");
    }
}
