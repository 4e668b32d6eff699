//! Other kernels than the image's 6.1 for PCs, on which all other cases run: Debian's 6.12, and 6.1 for arm64.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use ramboot_wire::Arch;
use ramboot_wire::stage::Stage;

use super::system::{Kernel, System};
use super::{FILLER, OURS, TABLES, boot, is_all_there, serve, untethered};
use crate::BOOT;
use crate::case::Case;
use crate::lan::Lan;
use crate::process::command;

const MEBIBYTES: u64 = 12;

/// One boot of each, to its end.
pub(in super::super) fn on_other_kernels(case: &Case) -> Result<()> {
    let newer = Kernel::below(&debian_13()?)?;
    let pc = System::of(case, Arch::X86_64, MEBIBYTES, Some(&newer))?;
    let arm = System::of(case, Arch::Aarch64, MEBIBYTES, None)?;
    for (system, arch, uname) in [(&pc, Arch::X86_64, "6.12."), (&arm, Arch::Aarch64, "6.1.")] {
        one(case, system, arch, uname).with_context(|| format!("on {arch} with {uname}"))?;
    }
    Ok(())
}

fn one(case: &Case, system: &System, arch: Arch, uname: &str) -> Result<()> {
    let lan = Lan::new()?;
    let manager = serve(case, &system.store)?;
    let mut worker = boot(case, &lan, arch, 1, TABLES)?;
    let console = &mut worker.console;
    let fetch = console.stage(Stage::Fetch, BOOT)?;
    ensure!(
        fetch.fact("gate") == Some("tables"),
        "this is not streamed: {fetch}"
    );
    console.expect("worker: / is overlay", BOOT)?;
    untethered(console, system, 0)?;
    manager.kill()?;
    let kernel = console.run("cat /proc/sys/kernel/osrelease")?;
    ensure!(kernel.starts_with(uname), "the kernel is {kernel}");
    let ours = console.run(OURS)?;
    ensure!(!ours.contains(FILLER), "{FILLER} is still there: {ours}");
    // Since 6.6 the kernel could go on reading the tmpfs past the page cache; nobody does in full mode.
    let direct = console.run("cat /sys/block/loop0/loop/dio")?;
    ensure!(
        direct == "0",
        "the loop device reads its file directly: {direct}"
    );
    is_all_there(console, system)
}

/// A folder with Debian 13's kernel, made now if its recipe changed since it was made.
fn debian_13() -> Result<std::path::PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = project.join("target/images");
    let status = command("tests/vm/kernel.sh")
        .arg(&folder)
        .current_dir(project)
        .stdout(Stdio::null())
        .status()?;
    ensure!(
        status.success(),
        "tests/vm/kernel.sh: {status} (tests/setup.sh installs what it needs)"
    );
    Ok(folder.join("linux-6.12"))
}
