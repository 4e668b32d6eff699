//! A worker runs before all of its image is there, whatever happens meanwhile, and in the end needs nobody.

mod debian;
mod fallback;
mod kernels;
mod outages;
mod restarts;
mod sources;
mod system;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ramboot_wire::Arch;
use ramboot_wire::stage::{Stage, StageLine};

use crate::BOOT;
use crate::case::Case;
use crate::console::Console;
use crate::direct::Given;
use crate::lan::{Lan, POOL};
use crate::machine::{Board, Machine, Worker};
use crate::manager::Manager;
use crate::transcript::Transcript;
use system::System;

pub(super) use debian::a_whole_debian;
pub(super) use fallback::falls_back_and_gives_up;
pub(super) use kernels::on_other_kernels;
pub(super) use outages::manager_dies_at_any_time;
pub(super) use sources::sources_lie_and_die;

/// Memory of a worker, MiB.
const MEMORY: u32 = 512;
/// What the kernel says of a root it cannot read. A program would say the last.
const TROUBLE: [&str; 6] = [
    "I/O error",
    "SQUASHFS error",
    "EIO",
    "Kernel panic",
    "Bus error",
    "Input/output error",
];
/// As the process that fills the RAM calls itself.
const FILLER: &str = "@ramboot-stream";

/// A worker starts without more of the image than its tables: each program's first page is waited for.
const TABLES: &str = "ramboot.mode=stream ramboot.gate=tables";

/// Serves a system.
fn serve(case: &Case, store: &Path) -> Result<Manager> {
    // The kernel's notices are on the console, and with them what we say.
    let config = "[boot]\ncmdline = \"console=ttyS0 loglevel=6\"\n\
        [[worker]]\narch = \"aarch64\"\ncmdline = \"console=ttyAMA0 loglevel=6\"\n";
    Manager::serve(case, store, config, &["--dhcp", "full", "--pool", POOL])
}

/// Switches on the machine of this number, without firmware; `words` are at the end of its kernel's command line.
fn boot(case: &Case, lan: &Lan, arch: Arch, number: u8, words: &str) -> Result<Worker> {
    boot_from(case, lan, arch, number, |cmdline| {
        format!("{cmdline} {words}")
    })
}

/// The same with any change of the command line.
fn boot_from(
    case: &Case,
    lan: &Lan,
    arch: Arch,
    number: u8,
    change: impl Fn(&str) -> String,
) -> Result<Worker> {
    let given = Given::fetch_for(case, &format!("52:54:00:12:36:{number:02x}"), arch)?;
    let board = match arch {
        Arch::X86_64 => Board::Pc(MEMORY),
        Arch::Aarch64 => Board::Virt,
    };
    let (kernel, initramfs) = (&given.kernel, &given.initramfs);
    let (tree, cmdline) = (Path::new(""), change(&given.cmdline));
    let mac = [0x52, 0x54, 0, 0x12, 0x36, number];
    Machine::handed_over(board, kernel, initramfs, tree, &cmdline, mac).boot(case, lan)
}

/// What a worker is that has booted, as far as it must not matter how.
#[derive(Debug, PartialEq, Eq)]
struct Settled {
    mounts: String,
    /// Loop devices and what is under them.
    loops: String,
    /// Processes of ours, as they call themselves.
    ours: String,
    memory: Memory,
}

/// Bytes, when nothing is cached.
#[derive(Debug, Clone, Copy)]
struct Memory {
    available: u64,
    shared: u64,
}

impl PartialEq for Memory {
    /// Within 16 MB.
    fn eq(&self, other: &Self) -> bool {
        const NEAR: u64 = 16_000_000;
        self.available.abs_diff(other.available) <= NEAR
            && self.shared.abs_diff(other.shared) <= NEAR
    }
}

impl Eq for Memory {}

impl Settled {
    fn of(console: &mut Console) -> Result<Self> {
        let mounts = console.run(MOUNTS)?;
        let loops = console.run(
            "for loop in /sys/block/loop*/loop; do echo \"$(cat \"$loop/backing_file\") $(cat \"${loop%/loop}/ro\") $(cat \"$loop/autoclear\") $(cat \"$loop/dio\")\"; done",
        )?;
        let ours = console.run(OURS)?;
        console.run("echo 3 >/proc/sys/vm/drop_caches")?;
        let memory = Memory {
            available: meminfo(console, "MemAvailable")?,
            shared: meminfo(console, "Shmem")?,
        };
        Ok(Self {
            mounts,
            loops,
            ours,
            memory,
        })
    }
}

/// Prints where what is mounted, and how.
const MOUNTS: &str = "while read -r id up at root where rest; do echo \"$where ${rest#* - }\"; done </proc/self/mountinfo | sort";

/// Prints what processes of ours call themselves; numbers are what they were told.
const OURS: &str = "for file in /proc/[0-9]*/cmdline; do name=; read -r name 2>/dev/null <$file || :; \
    case $name in *ramboot*) echo \"${name%%[0-9]*}\" ;; esac; done";

fn meminfo(console: &mut Console, key: &str) -> Result<u64> {
    let text = console.run("cat /proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{key}:")));
    let number = line.and_then(|line| line.split_whitespace().next());
    let kibibytes: u64 = number.with_context(|| text.clone())?.parse()?;
    Ok(kibibytes * 1024)
}

/// With nothing cached, all of the image is what was published, to programs and below them; and the kernel never said otherwise.
fn is_all_there(console: &mut Console, system: &System) -> Result<()> {
    for (what, command, want) in [
        ("its files", System::list(), &system.listing),
        (
            "the image",
            "sha256sum </dev/loop0".to_owned(),
            &system.digest,
        ),
    ] {
        console.run("echo 3 >/proc/sys/vm/drop_caches")?;
        let read = console.run_within(&command, BOOT)?;
        ensure!(
            read.starts_with(want.as_str()),
            "{what}: {read} in the worker, {want} published"
        );
    }
    no_trouble(&console.said)
}

/// Nobody was ever told of an error.
fn no_trouble(said: &Transcript) -> Result<()> {
    let lines = said.texts();
    let bad: Vec<_> = lines
        .iter()
        .filter(|line| TROUBLE.iter().any(|word| line.contains(word)))
        .collect();
    ensure!(bad.is_empty(), "the worker's kernel said {bad:?}");
    Ok(())
}

/// Waits for the end of streaming: what was not there when the image's init started has come, and at most so much twice.
fn untethered(console: &Console, system: &System, twice: u64) -> Result<StageLine> {
    let line = console.stage(Stage::Untethered, BOOT)?;
    println!("{line}");
    let before = number(&console.stage(Stage::Fetch, Duration::ZERO)?, "bytes")?;
    let bytes = number(&line, "bytes")? + before;
    ensure!(
        (system.size..=system.size + twice).contains(&bytes)
            && number(&line, "chunks")? == system.size.div_ceil(CHUNK),
        "{bytes} bytes came of an image of {}: {line}",
        system.size
    );
    for key in ["demanded", "retries", "bad"] {
        number(&line, key)?;
    }
    Ok(line)
}

use super::faults::{CHUNK, number};

/// How long an outage is that outlasts any patience that a program has by mistake.
const MINUTE: Duration = Duration::from_secs(60);
