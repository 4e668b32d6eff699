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
