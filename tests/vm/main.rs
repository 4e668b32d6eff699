//! Boots of real machines in QEMU: firmware, DHCP, kernel, `/init`, the image's own systemd.
//!
//! `cargo test --test vm` lists the cases; with `RAMBOOT_VM` they run, and a missing tool is a failure: `1` for those of
//! `make test`, `long` for the others, `all` for both. A name on the command line chooses among all of them.
//! `cargo test --test vm -- demo` shows one boot, step by step.
#![allow(
    clippy::disallowed_methods,
    reason = "the outermost shell: starts programs, reads the clock and the environment"
)]

mod case;
mod cases;
mod console;
mod demo;
mod direct;
mod firmware;
mod image;
mod initramfs;
mod lan;
mod machine;
mod manager;
mod monitor;
mod office;
mod page;
mod pis;
mod process;
mod router;
mod transcript;
mod wait;

use std::collections::HashMap;
use std::process::{Command, ExitCode};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context, Result, anyhow, ensure};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::case::Case;

/// Cases at a time. Each emulates a machine or two, mostly one of them busy; nothing that a case asserts is load's to change.
const LANES: usize = 2;
/// For anything that includes firmware, a kernel or a whole download, emulated on a busy machine.
const BOOT: Duration = Duration::from_secs(300);
/// For one answer from a program that runs.
const ANSWER: Duration = Duration::from_secs(120);

/// What cases start.
const TOOLS: [&str; 23] = [
    "debugfs",
    "depmod",
    "dnsmasq",
    "gzip",
    "ip",
    "mcopy",
    "mke2fs",
    "mkfs.vfat",
    "mksquashfs",
    "mmdebstrap",
    "nft",
    "ping",
    "qemu-system-aarch64",
    "qemu-system-x86_64",
    "setpriv",
    "sfdisk",
    "sha256sum",
    "sort",
    "sqfs2tar",
    "tc",
    "unshare",
    "unsquashfs",
    "xargs",
];

fn main() -> ExitCode {
    let mut args: Vec<_> = env::args().collect();
    if args.iter().any(|arg| arg == "demo") {
        return demo::main();
    }
    let runs = env::var("RAMBOOT_VM").unwrap_or_default();
    // Of those that are named, one at a time.
    if !args.iter().any(|arg| arg.starts_with("--test-threads")) {
        args.push("--test-threads=1".to_owned());
    }
    let arguments = Arguments::from_iter(args);
    let asked = ["1", "long", "all"].contains(&runs.as_str());
    let cases: Vec<_> = cases::ALL
        .iter()
        .copied()
        .filter(|(name, _)| match runs.as_str() {
            "1" if arguments.filter.is_none() => !cases::LONG.contains(name),
            "long" => cases::LONG.contains(name),
            _ => true,
        })
        .collect();
    let all = asked && arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.list;
    let mut results = if all { begin(&cases) } else { HashMap::new() };
    let trials = cases
        .into_iter()
        .map(|(name, case)| {
            if asked {
                let done = results.remove(name);
                Trial::test(name, move || {
                    let done = match done {
                        Some(done) => done
                            .recv()
                            .unwrap_or_else(|_| Err(anyhow!("the lane's thread panicked"))),
                        None => run(name, case),
                    };
                    done.map_err(|e| Failed::from(format!("{e:#}")))
                })
            } else {
                Trial::ignorable_test(name, || {
                    Ok(libtest_mimic::Completion::ignored_with(
                        "boots QEMU: RAMBOOT_VM=1 cargo test --test vm",
                    ))
                })
            }
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    times();
    conclusion.exit_code()
}

/// Begins all cases, in their order, each lane with the next one as soon as it is free; what came of each.
fn begin(cases: &[(&'static str, cases::Story)]) -> HashMap<&'static str, Receiver<Result<()>>> {
    let (mut work, mut results) = (Vec::new(), HashMap::new());
    for (name, case) in cases {
        let (done, result) = channel();
        work.push((*name, *case, done));
        results.insert(*name, result);
    }
    let work = Arc::new(Mutex::new(work.into_iter()));
    for _ in 0..LANES {
        let work = Arc::clone(&work);
        let next = move || work.lock().unwrap_or_else(PoisonError::into_inner).next();
        thread::spawn(move || {
            while let Some((name, case, done)) = next() {
                // Nobody listens any more if the run was ended.
                let _ = done.send(run(name, case));
            }
        });
    }
    results
}

/// What each case took, for who looks for time in a run that becomes too long.
static TOOK: Mutex<Vec<(Duration, String)>> = Mutex::new(Vec::new());

fn times() {
    let mut took = TOOK.lock().unwrap_or_else(PoisonError::into_inner);
    took.sort_unstable_by(|a, b| b.cmp(a));
    let cases: Vec<_> = took
        .iter()
        .map(|(took, name)| format!("{name} {}", took.as_secs()))
        .collect();
    if !cases.is_empty() {
        println!("seconds: {}", cases.join(", "));
    }
}

/// Runs one case on a thread of its own, for the thread joins the case's network and cannot leave it.
fn run(name: &str, case: cases::Story) -> Result<()> {
    tools()?;
    let context = Case::new(name)?;
    let started = Instant::now();
    let done = thread::scope(|scope| scope.spawn(|| case(&context)).join());
    let took = (started.elapsed(), name.to_owned());
    TOOK.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(took);
    let done = done.unwrap_or_else(|_| Err(anyhow!("the case panicked")));
    let done = done.and_then(|()| context.nobody_panicked());
    done.with_context(|| format!("logs are in {}", context.dir().display()))
}

/// All of [`TOOLS`] are there.
fn tools() -> Result<()> {
    let out = Command::new("sh")
        .args([
            "-c",
            "for t; do command -v $t >/dev/null || echo $t; done",
            "sh",
        ])
        .args(TOOLS)
        .output()?;
    let missing = String::from_utf8_lossy(&out.stdout).replace('\n', " ");
    ensure!(
        missing.is_empty(),
        "not installed: {missing}(tests/setup.sh installs them)"
    );
    Ok(())
}
