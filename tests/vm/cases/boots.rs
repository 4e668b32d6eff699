//! From the power switch to the image's own systemd.

use std::io::Write as _;

use anyhow::{Context, Result, ensure};
use ramboot::fleet::snapshot::{Snapshot, Standing};
use ramboot_wire::stage::{Stage, StageLine};

use crate::case::Case;
use crate::console::Console;
use crate::lan::{Lan, POOL};
use crate::machine::Machine;
use crate::manager::{Manager, RAMBOOT};
use crate::process::run;
use crate::{ANSWER, BOOT, wait};

/// The root is an overlay over a squashfs in RAM; no network file system is anywhere.
pub(super) fn into_ram(case: &Case) -> Result<()> {
    let lan = Lan::new()?;
    let manager = Manager::full(case, &case.store()?)?;
    let mut worker = Machine::bios(1024).boot(case, &lan)?;
    let console = &mut worker.console;
    for stage in Stage::BOOT {
        console.stage(stage, BOOT)?;
    }
    console.login()?;

    let root = console.run("findmnt --noheadings --output FSTYPE /")?;
    ensure!(root == "overlay", "/ is {root} instead of overlay");
    let systems = console.run("cut -d' ' -f3 /proc/mounts | sort -u | tr '\\n' ' '")?;
    let remote = ["nfs", "nfs4", "cifs", "fuse", "9p", "nbd"];
    ensure!(
        !systems.split(' ').any(|system| remote.contains(&system)),
        "a network file system among {systems}"
    );
    let lower = console.run(
        "for loop in $(cd /sys/block; ls -d loop*/loop); do head -c 4 /dev/${loop%/loop}; echo; done",
    )?;
    ensure!(
        lower == "hsqs",
        "one loop device with a squashfs should be there: {lower:?}"
    );
    let disks = console.run("lsblk --noheadings --nodeps --output NAME,TYPE")?;
    ensure!(
        disks.lines().all(|disk| disk.ends_with("loop")),
        "a disk among {disks}"
    );
    let record = console.run("cat /run/ramboot/boot")?;
    for stage in Stage::BOOT {
        let line = record
            .lines()
            .filter_map(StageLine::parse)
            .find(|line| line.stage == stage)
            .with_context(|| format!("no stage {stage} in /run/ramboot/boot: {record}"))?;
        ensure!(line.error.is_none(), "in /run/ramboot/boot: {line}");
    }
    heartbeat_is_small(console)?;
    nodes_knows_it(case)?;
    manager.terminate()
}

/// Prints the process that /init leaves behind: its number, if there is one.
const HEARTBEAT: &str = "cd /proc; grep -l ^ramboot-heartbeat [0-9]*/cmdline | cut -d/ -f1";

/// Its program, which lies in the initramfs's RAM, and what it has beside it; it needs no file of the image.
fn heartbeat_is_small(console: &mut Console) -> Result<()> {
    let id = console.run(HEARTBEAT)?;
    let number = |text: String| -> Result<u64> {
        text.trim()
            .parse()
            .with_context(|| format!("a number of bytes: {text:?}"))
    };
    let program = number(console.run(&format!("stat -L -c %s /proc/{id}/exe"))?)?;
    let own = console.run(&format!(
        "awk '/RssAnon/ {{ print $2 * 1024 }}' /proc/{id}/status"
    ))?;
    let bytes = program + number(own)?;
    ensure!(bytes <= 2 << 20, "the heartbeat takes {bytes} bytes");
    let files = console.run(&format!(
        "awk '$6 ~ /^\\// {{ print $6 }}' /proc/{id}/maps | sort -u"
    ))?;
    ensure!(
        files == "/init" || files == "/init (deleted)",
        "the heartbeat has mapped {files}"
    );
    Ok(())
}

/// By its report, then by its heartbeat.
fn nodes_knows_it(case: &Case) -> Result<()> {
    wait::until("a heartbeat", ANSWER, || {
        let json = run(RAMBOOT, &["nodes", "--json"])?;
        let all: Snapshot = serde_json::from_str(&json)?;
        ensure!(all.workers.len() == 1, "one machine has booted: {json}");
        let row = &all.workers[0];
        ensure!(row.state == Standing::Up, "the machine is up: {json}");
        Ok(row.available.map(|_| ()))
    })?;
    let table = run(RAMBOOT, &["nodes"])?;
    case.file("nodes")?.write_all(table.as_bytes())?;
    let said = ["QEMU Standard PC", "default", "up", "1 machine: 1 up"];
    ensure!(said.iter().all(|word| table.contains(word)), "{table}");
    Ok(())
}

/// Another server gives the address, the manager only says what to boot.
pub(super) fn beside_dnsmasq(case: &Case) -> Result<()> {
    let lan = Lan::new()?;
    let neighbour = lan.dhcp_server(case)?;
    let manager = Manager::proxy(case, &case.store()?)?;
    let mut worker = Machine::bios(1024).boot(case, &lan)?;
    let dhcp = worker.console.stage(Stage::Dhcp, BOOT)?;
    let address = dhcp.fact("addr").context("no addr in the dhcp line")?;
    let address = address.split('/').next().unwrap_or(address);
    neighbour
        .log
        .expect(&format!("DHCPACK(port1) {address}"), ANSWER)?;
    worker.console.login()?;
    manager.terminate()
}

/// A ROM without iPXE: undionly.kpxe by TFTP, then all over HTTP.
pub(super) fn through_tftp(case: &Case) -> Result<()> {
    let lan = Lan::new()?;
    let manager = Manager::full(case, &case.store()?)?;
    let machine = Machine::bios(1024).loading("tftp://192.168.77.1/undionly.kpxe");
    let worker = machine.boot(case, &lan)?;
    manager.log.expect("TFTP: sent", BOOT)?;
    worker.console.stage(Stage::Handover, BOOT)?;
    Ok(())
}

/// A NIC that is on no emulator's mind alone.
pub(super) fn from_e1000(case: &Case) -> Result<()> {
    let lan = Lan::new()?;
    let config = "[boot]\ncmdline = \"console=ttyS0\"\nheartbeat = false\n";
    let flags = ["--dhcp", "full", "--pool", POOL];
    let _manager = Manager::serve(case, &case.store()?, config, &flags)?;
    let mut worker = Machine::bios(1024).e1000().boot(case, &lan)?;
    worker.console.login()?;
    let heartbeat = worker.console.run(HEARTBEAT)?;
    ensure!(
        heartbeat.is_empty(),
        "a heartbeat that nobody wants: {heartbeat}"
    );
    let driver = worker
        .console
        .run("basename $(readlink -f /sys/class/net/e*/device/driver)")?;
    ensure!(
        driver == "e1000",
        "the NIC's driver is {driver} instead of e1000"
    );
    Ok(())
}
