//! Interfaces that go and come again, or change their address, while machines boot from them.
#![allow(
    clippy::disallowed_methods,
    reason = "tests wait for facts with deadlines"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ramboot::control::{Answer, Question, Served, ask};
use ramboot::dhcp::find_rival::for_rival;
use ramboot::host::interface;
use ramboot_swarm::rig::{Lan, MANAGER, Manager, Sizes, bridge, fill};
use ramboot_swarm::{Plan, run};

const OTHER: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 3);
const HTTP: u16 = 8067;
const CHANGES: usize = 50;
const MIB: usize = 1 << 20;
const MACHINES: usize = 40;
/// Bytes that machines get between two changes: what a sixth of one needs.
const EACH: u64 = 1 << 19;
const PATIENCE: Duration = Duration::from_secs(30);

/// What happens to the manager's interface.
#[derive(Debug, Clone, Copy)]
enum Change {
    /// It goes, and is made anew with the other address.
    GoneAndBack,
    /// It is deleted and made in one breath.
    Anew,
    /// It goes down and up.
    DownAndUp,
    /// It gets the other address, then loses the one it had.
    Moved,
    /// The other address goes to it beside its own, and is taken away again; and the cable is made anew. It stays what it is.
    Beside,
}

/// The network, its manager, and which address that has.
struct Scene {
    lan: Lan,
    manager: Manager,
    run_dir: std::path::PathBuf,
    address: Ipv4Addr,
    /// Lines about the interface that were read.
    read: usize,
}

impl Scene {
    const fn other(&self) -> Ipv4Addr {
        if self.address.to_bits() == MANAGER.to_bits() {
            OTHER
        } else {
            MANAGER
        }
    }

    fn ip(&self, batch: &str) {
        self.lan.change(batch).expect("ip");
    }

    /// The next line about the interface.
    fn news(&mut self) -> String {
        let begin = Instant::now();
        loop {
            let lines = self.manager.lines(" interface s0 ");
            if let Some(line) = lines.get(self.read) {
                self.read += 1;
                return line.clone();
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "nothing is said after {lines:#?}\n{:#?}",
                self.manager.said()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn expect(&mut self, what: &str) {
        let line = self.news();
        assert!(line.contains(what), "{what:?} is not in {line}");
    }

    /// What the manager says of it to programs of its machine.
    fn served(&self) -> Served {
        match ask(&self.run_dir, &Question::About).expect("answered") {
            Answer::About(about) => about.interfaces[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    fn happen(&mut self, change: Change) {
        let (old, new) = (self.address, self.other());
        match change {
            Change::GoneAndBack => {
                self.ip("link del s0\n");
                self.expect("is away (there is no such interface)");
                let trouble = self.served().trouble.expect("it is away");
                assert!(trouble.contains("interface s0 is away"), "{trouble}");
                self.ip(&format!("{}link set v0 master s0\n", bridge(new)));
                self.expect(&format!("is back with another address, {new} (was {old})"));
                self.address = new;
            }
            Change::Anew => {
                self.ip(&format!(
                    "link del s0\n{}link set v0 master s0\n",
                    bridge(old)
                ));
                // On a busy machine its absence may be seen.
                let line = self.news();
                if line.contains("is away") {
                    self.expect(&format!("is back, {old}"));
                } else {
                    assert!(line.contains(&format!("was made anew, {old}")), "{line}");
                }
            }
            Change::DownAndUp => {
                self.ip("link set s0 down\n");
                self.expect("is away (it is down)");
                self.ip("link set s0 up\n");
                self.expect(&format!("is back, {old}"));
            }
            Change::Moved => {
                self.ip(&format!(
                    "address add {new}/16 dev s0\naddress del {old}/16 dev s0\n"
                ));
                self.expect(&format!("has another address, {new} (was {old})"));
                self.address = new;
            }
            Change::Beside => {
                self.ip(&format!("address add {new}/16 dev s0\n"));
                self.lan.unplug().expect("unplugged");
                self.lan.plug().expect("plugged");
                self.ip(&format!("address del {new}/16 dev s0\n"));
            }
        }
        assert_eq!(self.served().trouble, None);
    }

    /// More messages than the kernel keeps for a manager that does not look, and a change among them: none of it is missed.
    fn flood(&mut self) {
        let (old, new) = (self.address, self.other());
        let signal = |signal| {
            let pid = Pid::from_raw(self.manager.id().cast_signed());
            kill(pid, signal).expect("signalled");
        };
        signal(Signal::SIGSTOP);
        let noise = "address add 192.0.2.1/32 dev lo\naddress del 192.0.2.1/32 dev lo\n";
        self.ip(&noise.repeat(2_000));
        self.ip(&format!(
            "address add {new}/16 dev s0\naddress del {old}/16 dev s0\n"
        ));
        let lost = std::fs::read_to_string(format!("/proc/{}/net/netlink", self.manager.id()));
        let lost = lost.expect("there");
        // Columns of /proc/net/netlink: sk, Eth (the protocol), Pid, Groups, Rmem, Wmem, Dump, Locks, Drops, Inode.
        let dropped = |line: &str| line.split_whitespace().nth(8) != Some("0");
        assert!(
            lost.lines().skip(1).any(dropped),
            "nothing was lost: {lost}"
        );
        signal(Signal::SIGCONT);
        self.expect(&format!("has another address, {new} (was {old})"));
        self.address = new;
    }

    /// A machine on the network finds all servers at the address, and nobody listens anywhere else.
    fn check(&self) {
        let address = self.address;
        let asks = self.lan.client(move || {
            // A neighbour that was asked for while it was away counts as unreachable for a while.
            let flush = ["neigh", "flush", "dev", "c0"];
            let flushed = Command::new("ip").args(flush).status()?;
            anyhow::ensure!(flushed.success(), "ip neigh flush: {flushed}");
            let all = interface::all()?;
            let client = interface::choose(&all, &["c0".to_owned()])?;
            let server = for_rival(&client[0], &[], 77)?.map(|offer| offer.server);
            assert_eq!(server, Some(address), "who offers an address");
            let http = SocketAddrV4::new(address, HTTP);
            let mut stream = TcpStream::connect_timeout(&http.into(), PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            assert!(
                text.starts_with("HTTP/1.1 200 ") && text.ends_with("ok\n"),
                "{text}"
            );
            let tftp = UdpSocket::bind("10.98.0.2:0")?;
            tftp.set_read_timeout(Some(PATIENCE))?;
            tftp.send_to(b"\0\x01absent\0octet\0", (address, 69))?;
            let mut answer = [0; 512];
            let (_, from) = tftp.recv_from(&mut answer)?;
            assert_eq!(
                (from.ip(), &answer[..4]),
                (address.into(), &[0, 5, 0, 1][..])
            );
            Ok(())
        });
        asks.join().expect("no panic").expect("asks");
        assert_eq!(
            listened(self.manager.id()),
            [(69, address), (HTTP, address)].into(),
            "ports and addresses"
        );
    }
}

/// Bytes that the machines' side has received.
fn received(lan: &Lan) -> u64 {
    let look = lan.client(|| {
        let text = std::fs::read_to_string("/proc/thread-self/net/dev")?;
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.trim_start().strip_prefix("c0:"));
        let first = line.and_then(|line| line.split_whitespace().next());
        Ok(first.expect("c0").parse()?)
    });
    look.join().expect("no panic").expect("counts")
}

/// TFTP's and HTTP's ports (TCP, and UDP for heartbeats), and the addresses they are open on: proc_net_tcp of Linux's documentation.
fn listened(pid: u32) -> BTreeSet<(u16, Ipv4Addr)> {
    let read = |file| {
        let path = format!("/proc/{pid}/net/{file}");
        std::fs::read_to_string(path).expect("there")
    };
    let tcp = read("tcp");
    // A listener's state is 0A.
    let tcp = tcp
        .lines()
        .filter(|line| line.contains(" 00000000:0000 0A "));
    let udp = read("udp");
    let lines = tcp.chain(udp.lines());
    let sockets = lines.filter_map(|line| {
        let (address, port) = line.split_whitespace().nth(1)?.split_once(':')?;
        let address = u32::from_str_radix(address, 16).ok()?;
        let port = u16::from_str_radix(port, 16).ok()?;
        Some((port, Ipv4Addr::from(address.to_ne_bytes())))
    });
    sockets
        .filter(|(port, _)| [69, HTTP].contains(port))
        .collect()
}

/// Whole machines boot one after the other all the time, each chunk verified. Whoever does not get on is switched off and on, as
/// a person or its firmware's own list of devices does; in the end all have booted.
#[test]
fn an_interface_goes_and_comes_fifty_times_and_no_machine_is_lost() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: network namespaces for another thread need root");
        return;
    }
    let state = tempfile::tempdir().expect("folder");
    let sizes = Sizes {
        image: 2 * MIB,
        kernel: MIB / 2,
        initrd: MIB / 2,
    };
    fill(state.path(), sizes).expect("store");
    let lan = Lan::bridged().expect("a network");
    let program = Path::new(env!("CARGO_BIN_EXE_ramboot"));
    let manager = Manager::start(&lan, program, state.path(), &[]).expect("a manager");
    let done = Arc::new(AtomicBool::new(false));
    let (interface, ended) = (lan.interface(), Arc::clone(&done));
    let storm = lan.client(move || {
        let mut summaries = Vec::new();
        while !ended.load(Ordering::SeqCst) {
            let plan = Plan {
                machines: u32::try_from(MACHINES)?,
                interface: interface.clone(),
                seed: summaries.len() as u64,
                sample: 1,
                within: Duration::from_secs(3),
                think: Duration::from_millis(400),
                again: Some(Duration::from_secs(6)),
                deadline: Duration::from_secs(240),
                ..Plan::default()
            };
            summaries.push(run(plan)?.summary());
        }
        Ok(summaries)
    });
    let mut scene = Scene {
        lan,
        manager,
        run_dir: state.path().join("run"),
        address: MANAGER,
        read: 0,
    };
    scene.check();
    let kinds = [
        Change::GoneAndBack,
        Change::Moved,
        Change::Anew,
        Change::Beside,
        Change::DownAndUp,
    ];
    for change in kinds.into_iter().cycle().take(CHANGES) {
        // In the midst: machines have got on since the last time.
        let (before, begin) = (received(&scene.lan), Instant::now());
        while received(&scene.lan) < before + EACH {
            assert!(begin.elapsed() < 2 * PATIENCE, "nothing comes any more");
            std::thread::sleep(Duration::from_millis(10));
        }
        println!("{change:?} at {}", scene.address);
        scene.happen(change);
        scene.check();
    }
    scene.flood();
    scene.check();
    scene.happen(Change::GoneAndBack);
    scene.check();
    done.store(true, Ordering::SeqCst);
    let summaries = storm.join().expect("no panic").expect("a swarm");
    let mut hit = 0;
    for summary in &summaries {
        println!("{summary}");
        assert_eq!(
            (summary.booted, &summary.failed),
            (MACHINES, &[].into()),
            "{summary}"
        );
        hit += summary.faults.values().sum::<u64>() + summary.again;
    }
    assert!(hit > 0, "no machine noticed anything");
    // One line a change, and nothing else was worth one: what is away is a warning.
    let lines = scene.manager.lines(" interface s0 ");
    assert_eq!(lines.len(), scene.read, "{lines:#?}");
    // And a client whose request had come in just before the route, or on a busy machine the address, went.
    let well = |line: &&String| {
        line.contains("interface s0 is away")
            || line.contains("TFTP: refused for now: Network is unreachable")
            || line.contains("TFTP: refused for now: Cannot assign requested address")
    };
    let said = scene.manager.said();
    let other: Vec<&String> = said.iter().filter(|line| !well(line)).collect();
    assert_eq!(other, [""; 0]);
}

/// A file by TFTP and one by HTTP, both begun before the interface went, and ended after it was made anew.
#[test]
fn what_was_under_way_goes_on_when_the_address_is_back() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: network namespaces for another thread need root");
        return;
    }
    let state = tempfile::tempdir().expect("folder");
    let sizes = Sizes {
        image: 2 * MIB,
        kernel: 1000,
        initrd: 1000,
    };
    let stored = fill(state.path(), sizes).expect("store");
    let lan = Lan::bridged().expect("a network");
    let program = Path::new(env!("CARGO_BIN_EXE_ramboot"));
    let manager = Manager::start(&lan, program, state.path(), &[]).expect("a manager");
    let ((begun, has_begun), (back, is_back)) = (channel(), channel());
    let client = lan.client(move || {
        let tftp = UdpSocket::bind("10.98.0.2:0")?;
        tftp.set_read_timeout(Some(PATIENCE))?;
        tftp.send_to(b"\0\x01undionly.kpxe\0octet\0", (MANAGER, 69))?;
        let mut packet = [0; 600];
        let (_, transfer) = tftp.recv_from(&mut packet)?;
        assert_eq!(packet[..4], [0, 3, 0, 1], "DATA 1");
        let http = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        // Most of the file waits at the other side.
        http.set_recv_buffer_size(64 << 10)?;
        http.connect(&SocketAddrV4::new(MANAGER, HTTP).into())?;
        let mut http = TcpStream::from(http);
        http.set_read_timeout(Some(PATIENCE))?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            stored.image
        );
        http.write_all(request.as_bytes())?;
        let mut bytes = vec![0; 1000];
        http.read_exact(&mut bytes)?;
        begun.send(())?;
        is_back.recv()?;
        tftp.send_to(&[0, 4, 0, 1], transfer)?;
        while packet[..4] != [0, 3, 0, 2] {
            let (_, from) = tftp.recv_from(&mut packet)?;
            assert_eq!(from, transfer, "{:?}", &packet[..4]);
        }
        http.read_to_end(&mut bytes)?;
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let head = head.expect("a head") + 4;
        assert_eq!(bytes.len(), head + sizes.image);
        Ok(())
    });
    has_begun.recv().expect("begun");
    let mut scene = Scene {
        lan,
        manager,
        run_dir: state.path().join("run"),
        address: MANAGER,
        read: 0,
    };
    scene.ip("link del s0\n");
    scene.expect("is away");
    scene.ip(&format!("{}link set v0 master s0\n", bridge(MANAGER)));
    scene.expect("is back");
    back.send(()).expect("waits");
    client.join().expect("no panic").expect("both files");
}

/// A manager on lan0, which stays, and lan1; each look is printed under its name. The script is process 1 of a namespace, so all
/// that it started ends with it.
const TWO: &str = r#"
program=$1 state=$2 url=http://10.9.8.1:8067
ip link set lo up
lan() { ip link add $1 type bridge; ip address add $2/24 dev $1; ip link set $1 up; }
lan lan0 10.9.8.1; lan lan1 10.9.9.1
serve() {
    "$program" serve --state "$state" --run-dir "$state/run" --interface lan0 --interface lan1 "$@" 2>"$state/log" &
}
# health CODE: once the manager says so, what it says, with nodes and doctor.
health() {
    tries=0
    until [ "$(curl -s -o /dev/null -w '%{http_code}' $url/healthz)" = "$1" ]; do
        tries=$((tries + 1)); [ $tries -lt 600 ]; sleep 0.05
    done
}
look() {
    echo "= $1"
    curl -s $url/healthz
    "$program" nodes --manager 10.9.8.1 | head -n 1
    "$program" doctor --state "$state" --run-dir "$state/run" --ipxe-dir "$state" --json |
        grep -E '"sentence".*(lan1|UDP 67)' || :
}
"#;

/// What was printed under each name.
fn looks(config: &str, script: &str) -> BTreeMap<String, String> {
    let state = tempfile::tempdir().expect("folder");
    std::fs::write(state.path().join("ramboot.toml"), config).expect("written");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net"])
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-euc"])
        .arg(format!("{TWO}{script}"))
        .args(["sh", env!("CARGO_BIN_EXE_ramboot")])
        .arg(state.path())
        .env_remove("RAMBOOT_LOG")
        .env_remove("RAMBOOT_STATE")
        .output()
        .expect("unshare");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = std::fs::read_to_string(state.path().join("log")).unwrap_or_default();
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{text}\n{errors}\n{log}");
    assert!(output.status.success(), "{}", output.status);
    let look = |part: &str| {
        let (name, rest) = part.split_once('\n').expect("a name");
        (name.to_owned(), rest.to_owned())
    };
    let mut looks: BTreeMap<_, _> = text.split("= ").skip(1).map(look).collect();
    looks.insert("log".to_owned(), log);
    looks
}

#[test]
fn one_of_two_interfaces_goes_and_it_is_said_wherever_somebody_looks() {
    let config = "[[network]]\naddress = \"10.9.8.0/24\"\npool = \"10.9.8.100-10.9.8.199\"\n";
    let looks = looks(
        config,
        r#"
serve --dhcp full --pool 10.9.9.100-10.9.9.199 --config "$state/ramboot.toml"
health 200; look both
ip link del lan1
health 503; look one
lan lan1 10.9.9.1
health 200; look again
# Its pool is of another network then.
ip address add 10.9.7.1/24 dev lan1; ip address del 10.9.9.1/24 dev lan1
health 503; look unfit
ip address add 10.9.9.1/24 dev lan1; ip address del 10.9.7.1/24 dev lan1
health 200; look fits
"#,
    );
    let none = "no machine was seen yet, and no image is published: ramboot publish IMAGE";
    for name in ["both", "again", "fits"] {
        let look = &looks[name];
        assert!(look.starts_with(&format!("ok\n{none}\n")), "{name}: {look}");
        assert!(look.contains("the manager has UDP 67, "), "{name}: {look}");
        assert!(!look.contains("away"), "{name}: {look}");
    }
    let away = "interface lan1 is away (there is no such interface): machines on it are not answered until it is back";
    let look = &looks["one"];
    assert!(look.starts_with(&format!("{away}\n{away}\n")), "{look}");
    assert!(
        look.contains("the manager serves lan1, which is away: "),
        "{look}"
    );
    assert!(
        look.contains("the manager has UDP 67, "),
        "lan0 is served: {look}"
    );
    let look = &looks["unfit"];
    let unfit = "interface lan1 is not wholly served: DHCP is not answered: the pool's first address 10.9.9.100 is not in ";
    assert!(look.starts_with(unfit), "{look}");
    assert!(
        look.contains("the manager has UDP 67, "),
        "lan0 is served: {look}"
    );
    assert!(
        look.contains("nobody listens on UDP 67 (DHCP) of lan1"),
        "{look}"
    );
}

#[test]
fn what_another_program_has_is_said_and_taken_when_it_leaves() {
    let looks = looks(
        "",
        r#"
serve --dhcp proxy
health 200
ip address add 10.9.6.1/32 dev lo
busybox httpd -f -p 10.9.6.1:8067 & other=$!
until grep -q '0106090A:1F83 00000000:0000 0A' /proc/net/tcp; do kill -0 $other; done
ip address add 10.9.6.1/24 dev lan1; ip address del 10.9.9.1/24 dev lan1
health 503; look taken
kill $other
health 200; look left
"#,
    );
    let taken = "interface lan1 is not wholly served: TCP port 8067 is taken by ";
    assert!(looks["taken"].starts_with(taken), "{}", looks["taken"]);
    assert!(looks["left"].starts_with("ok\n"), "{}", looks["left"]);
    let log = &looks["log"];
    assert_eq!(log.matches(taken).count(), 1, "said once: {log}");
    assert!(
        log.contains("interface lan1 is wholly served again"),
        "{log}"
    );
}
