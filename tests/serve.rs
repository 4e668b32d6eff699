//! `ramboot serve` as a process, in a network of its own: starting with nothing, stopping at once, a second one.
#![allow(
    clippy::disallowed_methods,
    reason = "tests start programs and wait with deadlines"
)]

mod small_image;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// `ramboot serve` on loopback of this machine. TFTP and DHCP have ports below 1 024, so it gets a network namespace
/// (and, for who is not root, a user namespace) where it may have them; `sh` joins the namespace with it.
struct Manager {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
}

impl Manager {
    fn script(state: &Path, script: &str) -> Self {
        Self::with(state, script, &[])
    }

    fn with(state: &Path, script: &str, variables: &[(&str, &str)]) -> Self {
        let mut process = Command::new("unshare")
            .args([
                "--user",
                "--map-root-user",
                "--net",
                "sh",
                "-euc",
                script,
                "sh",
            ])
            .arg(env!("CARGO_BIN_EXE_ramboot"))
            .arg(state)
            .env_remove("RAMBOOT_LOG")
            .env("RUNTIME_DIRECTORY", state.join("run"))
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare");
        let lines = BufReader::new(process.stderr.take().expect("piped")).lines();
        Self { process, lines }
    }

    /// The next line of the log that has `text` in it.
    fn expect(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        for line in self.lines.by_ref() {
            let line = line.expect("UTF-8");
            if line.contains(text) {
                return line;
            }
            seen.push(line);
        }
        panic!("no {text:?} in {seen:#?}");
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const UP: &str = "ip link set lo up; ip link add lan0 type bridge; ip address add 10.9.8.1/24 dev lan0; ip link set lan0 up";

#[test]
fn without_an_image_it_starts_and_says_what_to_do() {
    let state = tempfile::tempdir().expect("folder");
    let script = format!("{UP}; exec \"$1\" serve --state \"$2/absent\" --interface lan0");
    let mut manager = Manager::script(state.path(), &script);
    manager.expect("serving on lan0 10.9.8.1: proxyDHCP beside the DHCP server that is there, TFTP 69, HTTP 8067");
    manager.expect("no image is published yet: ramboot publish IMAGE");
    let publish = manager.expect("  2. ramboot publish image.sqfs --state ");
    assert!(publish.contains("/absent "), "{publish}");
    manager.expect("switch a machine on that boots from the network (lan0); it fetches from http://10.9.8.1:8067");
}

#[test]
fn a_config_that_is_not_there_is_named_with_the_remedy() {
    let state = tempfile::tempdir().expect("folder");
    let output = Command::new(env!("CARGO_BIN_EXE_ramboot"))
        .args(["serve", "--config", "/nowhere/ramboot.toml", "--state"])
        .arg(state.path())
        .env_remove("RAMBOOT_LOG")
        .output()
        .expect("runs");
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "ramboot: reading the config file /nowhere/ramboot.toml: there is no such file: make it (each setting has a default, an empty one will do), or start without --config\n"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_second_one_says_which_port_is_taken() {
    let state = tempfile::tempdir().expect("folder");
    // The second one starts when the first is ready, and its words are what is waited for.
    let script = format!(
        "{UP}; setpriv --pdeathsig KILL \"$1\" serve --state \"$2\" --interface lan0 & read -r go; \"$1\" serve --state \"$2\" --interface lan0 || echo \"exit code $?\" >&2; kill %1; wait"
    );
    let mut manager = Manager::script(state.path(), &script);
    manager.expect("serving on lan0");
    manager
        .process
        .stdin
        .take()
        .expect("piped")
        .write_all(b"go\n")
        .expect("told");
    let line = manager.expect("ramboot: ");
    assert!(
        line.contains("UDP 67 on lan0 is taken: dnsmasq, isc-dhcp-server or another ramboot?"),
        "{line}"
    );
    manager.expect("exit code 1");
    // The script ends the first one; nothing of this test is left then.
    manager.process.wait().expect("ends");
}

#[test]
fn full_mode_without_a_pool_says_so() {
    let state = tempfile::tempdir().expect("folder");
    let script = format!("{UP}; exec \"$1\" serve --state \"$2\" --interface lan0 --dhcp full");
    let line = Manager::script(state.path(), &script).expect("ramboot: ");
    assert!(line.contains("--pool"), "{line}");
}

#[test]
fn sigterm_ends_it_within_a_second_with_a_body_under_way() {
    let state = tempfile::tempdir().expect("folder");
    let body = vec![7; 64 << 20];
    let id = ramboot_wire::ImageId(*blake3::hash(&body).as_bytes());
    let folder = state.path().join("images").join(id.to_string());
    std::fs::create_dir_all(folder.join("boot")).expect("folder");
    std::fs::write(folder.join("image.sqfs"), &body).expect("file");
    let chunks: Vec<u8> = body
        .chunks(ramboot_wire::image::CHUNK_LEN)
        .zip(0..)
        .flat_map(|(chunk, i)| ramboot_wire::image::chaining_value(i, chunk))
        .collect();
    std::fs::write(folder.join("chunks"), chunks).expect("file");
    let facts = format!(
        r#"{{"id":"{id}","size":{},"compressor":"zstd","block_size":131072,"kernel_version":"6","arch":"x86_64"}}"#,
        body.len()
    );
    std::fs::write(folder.join("image.json"), facts).expect("file");

    // No namespace: the client is here. Without DHCP only TFTP's port needs a right, and loopback has its own.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    drop(listener);
    let mut process = Command::new(env!("CARGO_BIN_EXE_ramboot"))
        .args([
            "serve",
            "--dhcp=off",
            "--interface=lo",
            "--http-port",
            &port.to_string(),
            "--state",
        ])
        .arg(state.path())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines();
    let stop = |process: &Child| {
        let pid = nix::unistd::Pid::from_raw(process.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("signalled");
    };
    let first = lines.next().expect("a line").expect("UTF-8");
    if first.contains("CAP_NET_BIND_SERVICE") {
        process.wait().expect("ended by itself");
        println!("not run: this user may not open TFTP's port");
        return;
    }
    assert!(first.contains("serving on lo"), "{first}");
    let mut slow = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    write!(
        slow,
        "GET /images/{id}/image.sqfs HTTP/1.1\r\nhost: x\r\n\r\n"
    )
    .expect("sent");
    slow.read_exact(&mut [0]).expect("the answer has begun");

    let begin = Instant::now();
    stop(&process);
    let status = process.wait().expect("ends");
    assert!(status.success(), "{status}");
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(
        rest.iter().any(|line| line.contains("SIGTERM: stopping")),
        "{rest:?}"
    );
    assert!(
        rest.iter()
            .any(|line| line.contains("HTTP: 1 answered, 0 refused")),
        "{rest:?}"
    );
}

/// A start costs a small file an image, however large they are: an image is opened when it is first asked for.
#[test]
fn no_image_is_opened_before_it_is_asked_for() {
    let state = tempfile::tempdir().expect("folder");
    let image = state.path().join("small.sqfs");
    let bytes = small_image::squashfs(&small_image::debian_like());
    std::fs::write(&image, &bytes).expect("written");
    let published = Command::new(env!("CARGO_BIN_EXE_ramboot"))
        .args(["publish", "--name", "worker", "--state"])
        .args([state.path(), &image])
        .output()
        .expect("runs");
    assert!(published.status.success(), "{published:?}");
    let id = blake3::hash(&bytes).to_hex();
    // The manager is asked by its own namespace; what it has mapped is looked at before and after.
    let script = format!(
        "{UP}; exec \"$1\" serve --dhcp off --state \"$2\" --interface lan0 --http-port 8067"
    );
    let mut manager = Manager::script(state.path(), &script);
    manager.expect(&format!("image worker: {}", &id[..12]));
    let pid = manager.process.id();
    let mapped = || {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
        maps.lines()
            .filter(|line| line.contains("/images/"))
            .count()
    };
    assert_eq!(mapped(), 0, "before it was asked for");
    let asked = Command::new("nsenter")
        .args([
            "--user",
            "--preserve-credentials",
            "--net",
            "--target",
            &pid.to_string(),
        ])
        .args(["curl", "--silent", "--show-error", "--fail"])
        .args(["--range", "0-3"])
        .arg(format!("http://10.9.8.1:8067/images/{id}/image.sqfs"))
        .output()
        .expect("nsenter");
    assert!(asked.status.success(), "{asked:?}");
    assert_eq!(asked.stdout, b"hsqs");
    assert!(mapped() > 0, "after it was asked for");
}

/// Publishes a small image as `worker` and gives what it said.
fn publish(state: &Path) {
    let image = state.join("small.sqfs");
    let bytes = small_image::squashfs(&small_image::debian_like());
    std::fs::write(&image, &bytes).expect("written");
    let published = Command::new(env!("CARGO_BIN_EXE_ramboot"))
        .args(["publish", "--name", "worker", "--state"])
        .args([state, &image])
        .output()
        .expect("runs");
    assert!(published.status.success(), "{published:?}");
}

/// The boot script of a machine, asked for in the manager's own network.
fn boot_script(pid: u32) -> String {
    let asked = Command::new("nsenter")
        .args(["--user", "--preserve-credentials", "--net", "--target"])
        .arg(pid.to_string())
        .args(["curl", "--silent", "--show-error", "--fail"])
        .arg("http://10.9.8.1:8067/ipxe/52-54-00-12-34-56")
        .output()
        .expect("nsenter");
    assert!(asked.status.success(), "{asked:?}");
    String::from_utf8(asked.stdout).expect("text")
}

fn hang_up(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).expect("signalled");
}

/// What a manager says to its service manager.
struct Heard(std::os::unix::net::UnixDatagram);

impl Heard {
    /// The next message that has this line; others are passed over.
    fn expect(&self, line: &str) -> String {
        let mut message = [0; 4096];
        loop {
            let length = self.0.recv(&mut message).expect("a message within 5 s");
            let text = String::from_utf8_lossy(&message[..length]).into_owned();
            if text.lines().any(|one| one.starts_with(line)) {
                return text;
            }
        }
    }
}

#[test]
fn sighup_takes_the_new_config_or_keeps_the_old_one() {
    let state = tempfile::tempdir().expect("folder");
    publish(state.path());
    let config = state.path().join("ramboot.toml");
    let write = |text: &str| std::fs::write(&config, text).expect("written");
    write("[boot]\ncmdline = \"first\"\n");
    let notify = state.path().join("notify");
    let heard = std::os::unix::net::UnixDatagram::bind(&notify).expect("bind");
    let patience = Some(Duration::from_secs(5));
    heard.set_read_timeout(patience).expect("set");
    let heard = Heard(heard);
    let notify = notify.to_str().expect("text");
    let script = format!(
        "{UP}; exec \"$1\" serve --state \"$2\" --config \"$2/ramboot.toml\" --interface lan0"
    );
    let variables = [("NOTIFY_SOCKET", notify), ("WATCHDOG_USEC", "400000")];
    let mut manager = Manager::with(state.path(), &script, &variables);
    manager.expect("image worker: ");
    let pid = manager.process.id();
    heard.expect("READY=1");
    assert_eq!(
        heard.expect("STATUS="),
        "STATUS=1 interface, 1 image, 0 workers seen\n"
    );
    heard.expect("WATCHDOG=1");
    heard.expect("WATCHDOG=1");
    assert!(boot_script(pid).contains(" first"));

    write(
        "[boot]\ncmdline = \"second\"\n[http]\nport = 80\n[[worker]]\nmac = \"52:54:00:*\"\ncmdline = \"third\"\n",
    );
    hang_up(pid);
    let line = manager.expect("reloaded ");
    assert!(
        line.contains(
            "ramboot.toml: cmdline of [boot] is now \"second\" (was \"first\"), 1 rule more"
        ),
        "{line}"
    );
    let line = manager.expect("takes effect at the next restart");
    assert!(
        line.contains("port of [http] is now 80 (was 8067)"),
        "{line}"
    );
    let message = heard.expect("RELOADING=1");
    assert!(
        message
            .lines()
            .any(|line| line.starts_with("MONOTONIC_USEC=")),
        "{message}"
    );
    heard.expect("READY=1");
    assert!(
        boot_script(pid).contains(" second third"),
        "{}",
        boot_script(pid)
    );

    // Each is refused for another reason, and nothing of it counts.
    for (text, want) in [
        (
            "[boot]\ncmdline = \"fourth\"\nimmage = \"x\"\n",
            "ramboot.toml: line 3, column 1: unknown field `immage`",
        ),
        (
            "[boot]\ncmdline = \"fourth\"\noverlays = [\"absent\"]\n",
            "there is no folder ",
        ),
    ] {
        write(text);
        hang_up(pid);
        let line = manager.expect("not reloaded, the config of before stays in force: ");
        assert!(line.contains(want), "{line}");
        heard.expect("RELOADING=1");
        heard.expect("READY=1");
        assert!(boot_script(pid).contains(" second third"));
    }
}

#[test]
fn the_control_socket_answers_and_changes_nothing() {
    use ramboot::control::{Answer, Packet, Question, SOCKET, ask};
    use ramboot::text::hex::{hex, unhex};
    use std::os::unix::fs::PermissionsExt as _;
    let state = tempfile::tempdir().expect("folder");
    let run = state.path().join("run");
    // One address: who is given it has it, and the other gets none.
    let script = format!(
        "{UP}; exec \"$1\" serve --state \"$2\" --interface lan0 --dhcp full --pool 10.9.8.7-10.9.8.7"
    );
    // What a manager left that was killed is no hindrance.
    std::fs::create_dir(&run).expect("folder");
    drop(std::os::unix::net::UnixListener::bind(run.join(SOCKET)).expect("bind"));
    let mut manager = Manager::script(state.path(), &script);
    manager.expect("serving on lan0");
    manager.expect("says what a machine would get");
    let about = |run: &Path| {
        // It is made a moment after the last line.
        let begin = Instant::now();
        loop {
            match ask(run, &Question::About) {
                Ok(Answer::About(about)) => return about,
                other if begin.elapsed() > Duration::from_secs(5) => panic!("{other:?}"),
                _ => std::thread::yield_now(),
            }
        }
    };
    let about = about(&run);
    assert_eq!(
        (about.pid, about.dhcp.as_str()),
        (manager.process.id(), "full")
    );
    assert_eq!((about.http_port, about.interfaces.len()), (8067, 1));
    assert_eq!(about.interfaces[0].address.octets(), [10, 9, 8, 1]);
    let mode = std::fs::metadata(run.join(SOCKET))
        .expect("there")
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);

    let discover = |last: u8| {
        let frame = ramboot::dhcp::rival::question(ramboot_wire::Mac([2, 0, 0, 0, 0, last]), 7);
        Packet {
            interface: "lan0".to_owned(),
            port: 67,
            source: "0.0.0.0:68".parse().expect("an address"),
            packet: hex(&frame[42..]),
        }
    };
    for machine in 1..=3 {
        let answer = ask(&run, &Question::Ask(discover(machine))).expect("answered");
        let Answer::Replies(replies) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(replies.len(), 1);
        let offer = unhex(&replies[0].packet).expect("hexadecimal");
        assert_eq!(offer[16..20], [10, 9, 8, 7], "still free");
    }
    let error = |packet: Packet| match ask(&run, &Question::Ask(packet)).expect("answered") {
        Answer::Error(text) | Answer::Ignored(text) => text,
        other => panic!("{other:?}"),
    };
    let with = |change: &dyn Fn(&mut Packet)| {
        let mut packet = discover(1);
        change(&mut packet);
        error(packet)
    };
    assert_eq!(
        with(&|p| p.interface = "eth7".to_owned()),
        "DHCP is not answered on eth7"
    );
    assert_eq!(
        with(&|p| p.port = 69),
        "port 69: 67 and 4011 are listened on"
    );
    assert_eq!(
        with(&|p| p.packet = "0".to_owned()),
        "packet: two hexadecimal digits are wanted for each byte"
    );
    assert_eq!(
        with(&|p| p.packet = "01".to_owned()),
        "1 bytes, a request has at least 240"
    );

    // Whatever comes, it is answered or cut off, and the next one is served.
    let say = |bytes: &[u8]| {
        let mut stream = std::os::unix::net::UnixStream::connect(run.join(SOCKET)).expect("open");
        // It may hang up before it has read all of it.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    };
    assert!(say(b"{}\n").starts_with(r#"{"error":"not a question: "#));
    assert!(say(b"\"about\"").contains("a question is one line of at most 8192 bytes"));
    assert!(say(b"\xff\xfe\n").starts_with(r#"{"error":"#));
    say(&vec![b'['; 1 << 20]);
    say(b"");
    // More than it takes at once, all silent: those who come later have their turn when these are cut off.
    let silent: Vec<_> = (0..20)
        .map(|_| std::os::unix::net::UnixStream::connect(run.join(SOCKET)).expect("queued"))
        .collect();
    drop(silent);
    assert!(say(b"\"about\"\n").contains(r#""dhcp":"full""#));

    // It goes with the manager.
    let pid = nix::unistd::Pid::from_raw(manager.process.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("signalled");
    manager.process.wait().expect("ends");
    assert!(!run.join(SOCKET).exists());
}

/// The address that a machine on the other end of lan0's cable gets.
fn leased(pid: u32) -> String {
    let asked = Command::new("nsenter")
        .args(["--user", "--preserve-credentials", "--net", "--target"])
        .arg(pid.to_string())
        .args([
            "busybox",
            "udhcpc",
            "-i",
            "far0",
            "-f",
            "-q",
            "-n",
            "-s",
            "/bin/true",
        ])
        .output()
        .expect("nsenter");
    let text = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(asked.status.success(), "{text}");
    let (_, rest) = text.split_once("lease of ").expect("a lease");
    rest.split(' ').next().expect("an address").to_owned()
}

#[test]
fn sighup_reaches_dhcp() {
    let state = tempfile::tempdir().expect("folder");
    let config = state.path().join("ramboot.toml");
    let write = |last: u8| {
        let text = format!("[dhcp]\nmode = \"full\"\npool = \"10.9.8.{last}-10.9.8.{last}\"\n");
        std::fs::write(&config, text).expect("written");
    };
    write(7);
    let script = "ip link set lo up; ip link add lan0 type veth peer name far0; ip address add 10.9.8.1/24 dev lan0; \
        ip link set lan0 up; ip link set far0 up; \
        exec \"$1\" serve --state \"$2\" --config \"$2/ramboot.toml\" --interface lan0";
    let mut manager = Manager::script(state.path(), script);
    manager.expect("says what a machine would get");
    let pid = manager.process.id();
    assert_eq!(leased(pid), "10.9.8.7");
    write(9);
    hang_up(pid);
    manager.expect("pool of [dhcp] is now 10.9.8.9-10.9.8.9 (was 10.9.8.7-10.9.8.7)");
    assert_eq!(leased(pid), "10.9.8.9");
}
