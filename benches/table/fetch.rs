//! /init's fetch beside `curl -o`: how fast an image gets into a tmpfs, and the CPU time that costs the worker.
//!
//! curl writes what it gets, the fetch also proves every chunk. It is built as /init is: same profile, same target.

use std::env;
use std::path::{Path as Folder, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

use crate::images::{self, Filling, Image};
use crate::lan::{Lan, Path};
use crate::pairs::{Contender, Reading};
use crate::plan::Plan;
use crate::process::program;
use crate::servers::{Kind, Server};

const NAME: &str = "fetch veth";
/// 512 MiB.
const CHUNKS: u64 = 2048;
const TARGET: &str = "x86_64-unknown-linux-musl";

/// The row of this section, if it is wanted.
pub(crate) fn rows(plan: &mut Plan) -> anyhow::Result<()> {
    if !plan.wants(NAME) {
        return Ok(());
    }
    let fetch = build()?;
    let folder = tempfile::tempdir()?;
    let image = images::add(folder.path(), CHUNKS, Filling::Noise(0))?;
    let lan = Lan::new(Path::Veth)?;
    let server = Server::start(Kind::Ramboot, &lan, folder.path())?;
    let curl = program("curl")?;
    let base = format!("http://{}", server.address);
    let ours = |to: &Folder| {
        let mut command = Command::new("unshare");
        command.arg("--mount").arg(&fetch);
        command.args([&base, &image.id.to_string(), &image.size.to_string()]);
        command.arg(to);
        command
    };
    let theirs = |to: &Folder| {
        let mut command = Command::new(&curl);
        command.args(["--silent", "--show-error", "--fail", "--output"]);
        command.arg(to.join("image"));
        command.arg(format!("{base}{}", server.path(&image)));
        command
    };
    plan.measure(
        NAME.to_owned(),
        vec![
            Contender::new("ramboot", || run(&lan, &image, ours)),
            Contender::new("curl", || run(&lan, &image, theirs)),
        ],
    )
}

/// The fetch as /init has it.
fn build() -> anyhow::Result<PathBuf> {
    let project = Folder::new(env!("CARGO_MANIFEST_DIR"));
    let folder = project.join("target/init-build");
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["build", "--quiet", "--locked", "--package", "ramboot-init"])
        .args(["--profile", "init", "--example", "fetch"])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&folder)
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld")
        .current_dir(project);
    let status = command.status().context("building the fetch")?;
    ensure!(status.success(), "building the fetch: {status}");
    Ok(folder.join(TARGET).join("init/examples/fetch"))
}

fn run(
    lan: &Lan,
    image: &Image,
    command: impl Fn(&Folder) -> Command,
) -> anyhow::Result<Vec<Reading>> {
    // A tmpfs that every user may write to.
    let folder = tempfile::tempdir_in("/dev/shm")?;
    let mut command = command(folder.path());
    let before = cpu_of_children()?;
    let seconds = lan.on_client(move || {
        let begin = Instant::now();
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{command:?}: {}: {said}",
            output.status
        );
        Ok(begin.elapsed().as_secs_f64())
    })?;
    let cpu = cpu_of_children()? - before;
    let gb = image.size as f64 / 1e9;
    let reading = |what, unit, value| Reading { what, unit, value };
    Ok(vec![
        reading("rate", "GB/s", gb / seconds),
        reading("CPU", "s/GB", cpu / gb),
    ])
}

/// Seconds of all children that have ended.
fn cpu_of_children() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let time = usage.user_time() + usage.system_time();
    Ok(time.num_microseconds() as f64 / 1e6)
}
