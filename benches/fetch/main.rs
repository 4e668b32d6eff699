//! /init's fetch beside `curl -o`: how fast an image gets into a tmpfs, and the CPU time that costs the worker.
//!
//! One manager, one veth pair between two network namespaces (needs root), one image; curl writes what it gets, the
//! fetch also proves every chunk. Runs alternate (A B A B …); the table shows medians, and medians of the ratios of
//! neighbouring runs. The fetch is built as /init is: same profile, same target.
//!
//! `make bench`, or `cargo bench --bench fetch`.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "../http/peer.rs"]
#[allow(dead_code, reason = "shared with a bench that also measures nginx")]
mod peer;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

use peer::Server;

const IMAGE_BYTES: usize = 512 << 20;
const PAIRS: usize = 7;
const TARGET: &str = "x86_64-unknown-linux-musl";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let program = build()?;
    let folder = tempfile::tempdir()?;
    let image = peer::store_with_image(folder.path(), IMAGE_BYTES)?;
    let id = image
        .split('/')
        .nth(2)
        .context("an image's path")?
        .to_owned();
    let lan = peer::Lan::new(peer::Path::Veth)?;
    let server = Server::ramboot(&lan, folder.path())?;
    let ours = |to: &Path| {
        let mut command = Command::new("unshare");
        let base = format!("http://{}", server.address);
        command.arg("--mount").arg(&program);
        command.args([&base, &id, &IMAGE_BYTES.to_string()]).arg(to);
        command
    };
    let curl = |to: &Path| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--output"]);
        command.arg(to.join("image"));
        command.arg(format!("http://{}{image}", server.address));
        command
    };
    let pairs = (0..=PAIRS)
        .map(|_| Ok((measure(&lan, ours)?, measure(&lan, curl)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    // The first pair warms both.
    let pairs = pairs.get(1..).unwrap_or_default();
    let of = |f: &dyn Fn(&(Figures, Figures)) -> f64| median(pairs.iter().map(f).collect());
    println!(
        "image of {} MiB into a tmpfs over veth, {PAIRS} pairs of runs, fetch / curl -o; medians\n",
        IMAGE_BYTES >> 20
    );
    println!(
        "fetch {:.2} GB/s {:.3} CPU s/GB, curl {:.2} GB/s {:.3} CPU s/GB; rate {:.2}x, CPU {:.2}x",
        of(&|(ours, _)| ours.rate),
        of(&|(ours, _)| ours.cpu),
        of(&|(_, curl)| curl.rate),
        of(&|(_, curl)| curl.cpu),
        of(&|(ours, curl)| ours.rate / curl.rate),
        of(&|(ours, curl)| ours.cpu / curl.cpu),
    );
    Ok(())
}

/// The fetch as /init has it.
fn build() -> anyhow::Result<PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = project.join("target/init-build");
    let status = Command::new(env::var_os("CARGO").context("run by cargo")?)
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "ramboot-init",
            "--profile",
            "init",
        ])
        .args(["--example", "fetch", "--target", TARGET, "--target-dir"])
        .arg(&folder)
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld")
        .current_dir(project)
        .status()?;
    ensure!(status.success(), "building the fetch: {status}");
    Ok(folder.join(TARGET).join("init/examples/fetch"))
}

struct Figures {
    /// GB/s (10⁹).
    rate: f64,
    /// CPU seconds per GB of the fetching process.
    cpu: f64,
}

fn measure(lan: &peer::Lan, command: impl Fn(&Path) -> Command) -> anyhow::Result<Figures> {
    // A tmpfs that every user may write to.
    let folder = tempfile::tempdir_in("/dev/shm")?;
    let mut command = command(folder.path());
    let before = cpu_of_children()?;
    let run = lan.client(move || {
        let begin = Instant::now();
        let status = command.stdout(Stdio::null()).status()?;
        ensure!(status.success(), "{command:?}: {status}");
        Ok(begin.elapsed().as_secs_f64())
    });
    let seconds = run
        .join()
        .map_err(|_| anyhow::anyhow!("the client panicked"))??;
    let gb = IMAGE_BYTES as f64 / 1e9;
    Ok(Figures {
        rate: gb / seconds,
        cpu: (cpu_of_children()? - before) / gb,
    })
}

/// Seconds of all children that have ended.
fn cpu_of_children() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let time = usage.user_time() + usage.system_time();
    Ok(time.num_microseconds() as f64 / 1e6)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
