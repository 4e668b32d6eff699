//! Identity and worker files from the built manager: two managers, restarts, an overlay that is edited in between.
#![allow(
    clippy::disallowed_methods,
    reason = "tests start programs and wait with deadlines"
)]

mod small_image;

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use ramboot_wire::paths::Resource;
use ramboot_wire::{BootArgs, Files, FilesId};
use tempfile::TempDir;

/// `ramboot serve` in a network namespace of its own, where it has 10.9.8.1.
struct Manager {
    process: Child,
    /// Kept open: what it says from now on fits into the pipe.
    log: BufReader<ChildStderr>,
}

const SERVE: &str = "ip link set lo up; ip link add lan0 type bridge; ip address add 10.9.8.1/24 dev lan0; \
    ip link set lan0 up; exec \"$1\" serve --dhcp off --state \"$2\" --config \"$2/config.toml\" --interface lan0";

impl Manager {
    /// Waits until it serves.
    fn start(state: &Path) -> Self {
        let mut process = serve(state)
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare");
        let log = BufReader::new(process.stderr.take().expect("piped"));
        let mut manager = Self { process, log };
        let mut seen = String::new();
        while !seen.contains("serving on lan0") {
            let read = manager.log.read_line(&mut seen).expect("UTF-8");
            assert!(read > 0, "it does not serve: {seen}");
        }
        manager
    }

    /// What a client on the same network gets: status, head and body.
    fn get(&self, path: &str) -> (u16, String, Vec<u8>) {
        let pid = self.process.id().to_string();
        let out = Command::new("nsenter")
            .args(["--user", "--preserve-credentials", "--net", "--target"])
            .args([&pid, "curl", "--silent", "--show-error", "--include"])
            .arg(format!("http://10.9.8.1:8067{path}"))
            .output()
            .expect("nsenter");
        assert!(out.status.success(), "{out:?}");
        let end = out.stdout.windows(4).position(|four| four == b"\r\n\r\n");
        let (head, body) = out.stdout.split_at(end.expect("a head") + 4);
        let head = String::from_utf8(head.to_vec()).expect("ASCII");
        let status = head.split(' ').nth(1).expect("a status");
        (status.parse().expect("a number"), head, body.to_vec())
    }

    fn script(&self) -> String {
        let (status, _, body) = self.get("/ipxe/52-54-00-12-34-56.x86_64");
        assert_eq!(status, 200);
        String::from_utf8(body).expect("text")
    }

    /// What `/init` is told.
    fn boot(&self) -> BootArgs {
        let script = self.script();
        let line = script.lines().find(|line| line.starts_with("kernel "));
        let line = line.unwrap_or_else(|| panic!("nothing to boot: {script}"));
        let args = BootArgs::parse(line).expect("a command line");
        // What a running worker would have to start again.
        let boot = args.boot.as_ref().expect("names of boot files");
        let begin = format!("kernel --name {} http", boot.kernel);
        assert!(line.starts_with(&begin), "{line}");
        let initrd = format!("\ninitrd --name {} http", boot.initrd);
        assert!(script.contains(&initrd), "{script}");
        args
    }

    fn fetch(&self, files: &Files) -> (u16, Vec<u8>) {
        let path = Resource::Files(files.worker.clone(), files.id).path();
        let (status, head, body) = self.get(&path);
        assert!(head.contains("cache-control: no-store\r\n"), "{head}");
        (status, body)
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn serve(state: &Path) -> Command {
    let mut command = Command::new("unshare");
    command
        .args([
            "--user",
            "--map-root-user",
            "--net",
            "sh",
            "-euc",
            SERVE,
            "sh",
        ])
        .arg(env!("CARGO_BIN_EXE_ramboot"))
        .arg(state)
        .env_remove("RAMBOOT_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// A start that is refused: what it says.
fn refused(state: &Path) -> String {
    let Output { status, stderr, .. } = serve(state).output().expect("unshare");
    let text = String::from_utf8(stderr).expect("UTF-8");
    assert_eq!(status.code(), Some(1), "{text}");
    text
}

/// A state folder with an image and two overlays.
fn state() -> TempDir {
    let state = tempfile::tempdir().expect("folder");
    let image = state.path().join("small.sqfs");
    let bytes = small_image::squashfs(&small_image::debian_like());
    fs::write(&image, bytes).expect("written");
    let published = Command::new(env!("CARGO_BIN_EXE_ramboot"))
        .args(["publish", "--name", "worker", "--state"])
        .args([state.path(), &image])
        .output()
        .expect("runs");
    assert!(published.status.success(), "{published:?}");
    let config = "[[worker]]\nmac = \"52:54:00:*\"\noverlays = [\"gpu\"]\n";
    put(state.path(), "config.toml", config, 0o644);
    let motd = "{{ hostname }} boots {{ image }} from {{ manager }}\n";
    put(state.path(), "overlays/common/etc/motd.j2", motd, 0o644);
    put(state.path(), "overlays/gpu/etc/gpu.key", "key\n", 0o400);
    state
}

fn put(state: &Path, path: &str, text: &str, mode: u32) {
    let path = state.join(path);
    fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, Permissions::from_mode(mode)).expect("mode");
}

#[test]
fn a_worker_is_the_same_from_every_manager() {
    let state = state();
    let first = Manager::start(state.path());
    let secret = state.path().join("secret");
    let mode = fs::metadata(&secret).expect("made").mode() & 0o7777;
    assert_eq!(mode, 0o600);

    let args = first.boot();
    assert_eq!(args.hostname.as_deref(), Some("worker-123456"));
    let files = args.files.expect("files");
    let (status, archive) = first.fetch(&files);
    assert_eq!((status, archive.len() as u64), (200, files.size));
    assert_eq!(FilesId::of(&archive), files.id);
    let text = String::from_utf8_lossy(&archive);
    for part in [
        "etc/machine-id\0",
        "BEGIN OPENSSH PRIVATE KEY",
        "etc/motd\0",
        "worker-123456 boots worker from http://10.9.8.1:8067\n",
        "etc/gpu.key\0",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }

    // Another manager, with a copy of secret and overlays.
    let other = tempfile::tempdir().expect("folder");
    let copied = Command::new("cp")
        .args(["--recursive", "--preserve"])
        .args([state.path().join("."), other.path().to_owned()])
        .status();
    assert!(copied.expect("cp").success());
    let second = Manager::start(other.path());
    assert_eq!(second.boot().files.as_ref(), Some(&files));
    drop(second);
    // It never wrote a script for this worker: what the worker asks for says all.
    let second = Manager::start(other.path());
    assert_eq!(second.fetch(&files), (200, archive.clone()));

    drop(first);
    let restarted = Manager::start(state.path());
    assert_eq!(restarted.fetch(&files), (200, archive));
}

#[test]
fn an_overlay_is_edited_while_a_worker_boots() {
    let state = state();
    let manager = Manager::start(state.path());
    let old = manager.boot().files.expect("files");
    put(state.path(), "overlays/gpu/etc/gpu.key", "new key\n", 0o600);
    assert_eq!(manager.fetch(&old).0, 200, "kept for this boot");
    let new = manager.boot().files.expect("files");
    assert_ne!(new.id, old.id, "without a restart");
    assert_eq!(manager.fetch(&new).0, 200);

    drop(manager);
    let manager = Manager::start(state.path());
    let (status, said) = manager.fetch(&old);
    assert_eq!(status, 410);
    let said = String::from_utf8(said).expect("text");
    assert!(
        said.ends_with("since it began to boot): switch it off and on\n"),
        "{said}"
    );
    assert_eq!(manager.fetch(&new).0, 200);
    // Another machine's name on the same digest.
    let mut stranger = new;
    stranger.worker.mac = "52:54:00:00:00:01".parse().ok();
    stranger.id = FilesId([0; 32]);
    assert_eq!(manager.fetch(&stranger).0, 410);
    let path = Resource::Files(stranger.worker, stranger.id).path();
    assert_eq!(manager.get(&format!("{path}/..x")).0, 404);
}

#[test]
fn a_worker_that_would_be_half_configured_waits() {
    let state = state();
    let manager = Manager::start(state.path());
    put(
        state.path(),
        "overlays/gpu/etc/x.j2",
        "a\n{{ serial }}\n",
        0o644,
    );
    let script = manager.script();
    assert!(script.contains("has nothing to boot yet"), "{script}");
    assert!(
        script.contains("worker files: undefined value (in "),
        "{script}"
    );
    assert!(script.contains("overlays/gpu/etc/x.j2:2)"), "{script}");
    fs::remove_file(state.path().join("overlays/gpu/etc/x.j2")).expect("gone");
    assert!(manager.boot().files.is_some(), "asked again, it boots");
}

#[test]
fn what_cannot_work_is_said_at_the_start() {
    let state = state();
    drop(Manager::start(state.path()));
    fs::rename(
        state.path().join("overlays/gpu"),
        state.path().join("moved"),
    )
    .expect("moved");
    let said = refused(state.path());
    assert!(
        said.contains("overlays = [\"gpu\"], but there is no folder "),
        "{said}"
    );
    fs::rename(
        state.path().join("moved"),
        state.path().join("overlays/gpu"),
    )
    .expect("moved");

    put(state.path(), "overlays/common/a.j2", "{{ x", 0o644);
    let said = refused(state.path());
    assert!(said.contains("overlays/common/a.j2:1)"), "{said}");
    fs::remove_file(state.path().join("overlays/common/a.j2")).expect("gone");

    let secret = state.path().join("secret");
    fs::set_permissions(&secret, Permissions::from_mode(0o644)).expect("mode");
    let said = refused(state.path());
    let remedy = format!(
        "has mode 0644, and whoever reads it can be any worker: chmod 600 {}",
        secret.display()
    );
    assert!(said.contains(&remedy), "{said}");
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).expect("mode");
    fs::write(&secret, "not a secret\n").expect("written");
    let said = refused(state.path());
    assert!(said.contains("is damaged; put back a copy of it"), "{said}");
    assert_eq!(
        fs::read_to_string(&secret).expect("text"),
        "not a secret\n",
        "left alone"
    );
}
