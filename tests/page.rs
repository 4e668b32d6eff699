//! The page at `/` as a person sees it: real Chromium, the built manager, and machines that ask, load and report, in a
//! network of their own. `page/check.mjs` has the cases and leaves pictures in `target/page/`; what Prometheus would read of
//! that manager is compared with the dashboard and the alert rules.
#![allow(
    clippy::disallowed_methods,
    reason = "tests start programs and wait with deadlines"
)]

#[path = "page/prometheus.rs"]
mod prometheus;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use ramboot_swarm::rig::{Lan, Manager, Sizes, fill};

const MIB: usize = 1 << 20;

#[test]
fn the_page_in_a_browser() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: network namespaces for another thread need root");
        return;
    }
    if let Err(error) = tour() {
        panic!("{error:#}");
    }
}

/// Whoever installs it has a registry of his own.
#[test]
fn the_lock_file_names_no_registry() {
    let lock = include_str!("page/package-lock.json");
    assert!(
        !lock.contains("://") && !lock.contains("resolved"),
        "{lock}"
    );
}

/// Node, inside the network; ended when dropped.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn tour() -> anyhow::Result<()> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page");
    for (path, package) in [
        (Path::new("/usr/bin/chromium"), "chromium"),
        (
            &tests.join("node_modules/playwright-core"),
            "playwright-core",
        ),
    ] {
        ensure!(
            path.exists(),
            "{package} is missing: tests/setup.sh installs it"
        );
    }
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("page");
    fs::create_dir_all(&pictures)?;
    let (lan, state) = (Lan::new()?, tempfile::tempdir()?);
    let start = || Manager::beside(&lan, Path::new(env!("CARGO_BIN_EXE_ramboot")), state.path());
    let mut manager = Some(start()?);
    let (mut node, mut stdin) = node(&lan, &tests, &pictures)?;
    let lines = BufReader::new(node.0.stdout.take().context("a pipe")?).lines();
    for line in lines {
        match line?.as_str() {
            "> publish" => publish(state.path())?,
            "> stop" => ended(manager.take())?,
            "> start" => manager = Some(start()?),
            line if line.starts_with("> ") => bail!("{line}?"),
            line => {
                println!("{line}");
                continue;
            }
        }
        stdin.write_all(b"done\n")?;
    }
    let status = node.0.wait()?;
    ended(manager)?;
    ensure!(status.success(), "node: {status}");
    prometheus::check(&pictures.join("metrics.txt"))
}

/// A request that ended in a panic may have been asked again, by the page itself or by Chromium.
fn ended(manager: Option<Manager>) -> anyhow::Result<()> {
    let said = manager.map(|manager| manager.said()).unwrap_or_default();
    let panic = said.iter().find(|line| line.contains("panicked at "));
    ensure!(panic.is_none(), "the manager: {panic:?}");
    println!("the manager: {said:#?}");
    Ok(())
}

/// Starts the cases where machines are.
fn node(lan: &Lan, tests: &Path, pictures: &Path) -> anyhow::Result<(Node, ChildStdin)> {
    let addresses = "for last in $(seq 1 150); do echo address add 10.98.20.$last/16 dev \"$0\"; done | ip -batch -";
    let mut ip = Command::new("sh");
    ip.args(["-euc", addresses, &lan.interface()]);
    let mut node = Command::new("node");
    node.arg(tests.join("check.mjs")).arg(pictures);
    node.stdin(Stdio::piped()).stdout(Stdio::piped());
    let started = lan.client(move || {
        ensure!(ip.status()?.success(), "addresses");
        node.spawn()
            .context("starting node: tests/setup.sh installs it")
    });
    let mut node = match started.join() {
        Ok(node) => Node(node?),
        Err(_) => bail!("a thread panicked"),
    };
    let stdin = node.0.stdin.take().context("a pipe")?;
    Ok((node, stdin))
}

/// An image, what its name stood for before, and one for machines that are not there.
fn publish(state: &Path) -> anyhow::Result<()> {
    let sizes = Sizes {
        image: 64 * MIB,
        // More than sockets hold.
        kernel: 2 * MIB,
        initrd: 2 * MIB,
    };
    fill(state, sizes)?;
    let names = state.join("names");
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let filled = names.join("default/1.json");
    let mut generation: serde_json::Value = serde_json::from_slice(&fs::read(&filled)?)?;
    generation["kernel_version"] = "6.1.0-40-amd64".into();
    generation["published"] = (now - 2 * 3600).into();
    generation["note"] = "new CUDA".into();
    fs::write(names.join("default/2.json"), generation.to_string())?;
    generation["image"] = "41".repeat(32).into();
    fs::write(&filled, generation.to_string())?;
    Ok(())
}
