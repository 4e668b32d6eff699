//! The quick starts, by nothing but what stands on their pages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::case::Case;
use crate::console::Console;
use crate::image::Image;
use crate::lan::Lan;
use crate::machine::Machine;
use crate::office::{Office, STICK};
use crate::{ANSWER, BOOT, page};

/// In which step of the page a machine is switched on.
const SWITCH_ON: &str = "Switch a PC on";

/// A fresh Debian on an office's network gets the package, becomes the manager and boots a PC.
pub(super) fn in_an_office(case: &Case) -> Result<()> {
    let image = Image::debian()?;
    let published = case.dir().join("image.sqfs");
    fs::hard_link(&image.path, &published)
        .or_else(|_| fs::copy(&image.path, &published).map(drop))?;
    let office = Office::with(case, &[&package()?, &published])?;
    let steps = page::read("quick-start-office.md")?;

    let lan = Lan::new()?;
    let _dhcp = lan.dhcp_server(case)?;
    let mut manager = office.boot(case, &lan)?;
    let console = &mut manager.console;
    console.take_over()?;
    ensure!(
        console
            .run("! command -v ramboot && ls -A /var/lib")?
            .lines()
            .all(|name| name != "ramboot"),
        "a fresh Debian has no ramboot"
    );
    console.run(&format!("mount LABEL=stick {STICK} && cd {STICK}"))?;

    let mut worker = None;
    for step in &steps {
        if step.heading.contains(SWITCH_ON) {
            let mut switched_on = Machine::bios(1024).boot(case, &lan)?;
            switched_on.console.login()?;
            worker = Some(switched_on);
        }
        for block in &step.blocks {
            // Without a terminal apt draws no bars. The first command that fails ends a block.
            let typed = format!(
                "(set -e\n{}) </dev/null >/tmp/seen 2>&1; code=$?; cat /tmp/seen; (exit $code)",
                block.commands
            );
            // Emulated, unpacking and hashing take a while.
            let printed = console.run_within(&typed, 2 * BOOT)?;
            block
                .check(&printed)
                .with_context(|| step.heading.clone())?;
        }
    }
    let mut worker = worker.with_context(|| format!("the page has no step {SWITCH_ON:?}"))?;
    let root = worker
        .console
        .run("findmnt --noheadings --output FSTYPE /")?;
    ensure!(root == "overlay", "/ is {root} instead of overlay");

    is_well_fenced(console)?;
    keeps_the_config_that_works(console)?;
    restarts_unnoticed(console, &mut worker.console)
}

/// What systemd says of the unit as it runs.
fn is_well_fenced(console: &mut Console) -> Result<()> {
    let said = console.run("systemd-analyze security --no-pager ramboot | tail -n 1")?;
    let exposure = said
        .rsplit(": ")
        .next()
        .and_then(|rest| rest.split(' ').next()?.parse::<f32>().ok());
    let exposure = exposure.with_context(|| format!("no number in {said:?}"))?;
    ensure!(exposure <= 2.0, "{said}");
    let user = console.run("ps -o uid= -p $(systemctl show --value -p MainPID ramboot)")?;
    // As systemd.exec(5) has it for DynamicUser.
    let dynamic = user
        .trim()
        .parse()
        .is_ok_and(|id: u32| (61184..=65519).contains(&id));
    ensure!(
        dynamic,
        "serve runs as {user} instead of an account of its own"
    );
    Ok(())
}

/// A config that is none is refused by name, and nothing changes.
fn keeps_the_config_that_works(console: &mut Console) -> Result<()> {
    console.run("cp /etc/ramboot.toml /tmp/good && echo 'nonsense = 1' >>/etc/ramboot.toml && systemctl reload ramboot")?;
    console.run("timeout 60 sh -c 'until journalctl -q -u ramboot | grep \"not reloaded\"; do sleep 0.2; done'")?;
    let state = console.run("systemctl is-active ramboot")?;
    ensure!(state == "active", "after a bad config serve is {state}");
    console.run("mv /tmp/good /etc/ramboot.toml && systemctl reload ramboot")?;
    Ok(())
}

/// The worker does not care.
fn restarts_unnoticed(console: &mut Console, worker: &mut Console) -> Result<()> {
    let boot_id = worker.run("cat /proc/sys/kernel/random/boot_id")?;
    console.run_within(
        "systemctl restart ramboot && systemctl is-active ramboot",
        ANSWER,
    )?;
    let after = worker.run("cat /proc/sys/kernel/random/boot_id && systemctl is-system-running")?;
    ensure!(
        after == format!("{boot_id}\nrunning"),
        "the worker was {boot_id}, and is {after}"
    );
    Ok(())
}

/// As `make deb` made it of this program.
fn package() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/debian");
    let name = format!("ramboot_{}-1_amd64.deb", env!("CARGO_PKG_VERSION"));
    let path = folder.join(name);
    let about = fs::metadata(&path).with_context(|| format!("{}: make deb", path.display()))?;
    ensure!(about.len() > 1 << 20, "{} is no package", path.display());
    Ok(path)
}
