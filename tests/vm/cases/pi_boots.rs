//! Simulated Raspberry Pis boot from the manager; and what one of them has then loaded runs, in QEMU.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ramboot_sim::{Booted, Conditions, Model, Outcome, Params, Violation, digest};
use ramboot_wire::stage::Stage;

use crate::case::{Case, stored_image};
use crate::image::{self, Image};
use crate::lan::{Lan, MANAGER, POOL};
use crate::machine::{Board, Machine};
use crate::manager::{Manager, publish_with};
use crate::pis::{Cable, all_booted, one_of_each};
use crate::process::run;
use crate::{ANSWER, BOOT};

const FULL: [&str; 4] = ["--dhcp", "full", "--pool", POOL];
const PROXY: [&str; 2] = ["--dhcp", "proxy"];
/// More than kernel, initramfs and device tree have.
const KEEP: usize = 64 << 20;

/// Every kind of Pi that Debian 12's kernel knows boots its image, from the manager alone and beside a DHCP server.
pub(super) fn from_ramboot(case: &Case) -> Result<()> {
    let store = case.arm64_store()?;
    for (proxy, first) in [(false, 1), (true, 255)] {
        let lan = Lan::new()?;
        let _neighbour = proxy.then(|| lan.dhcp_server(case)).transpose()?;
        let args = if proxy { &PROXY[..] } else { &FULL };
        let manager = Manager::serve(case, &store, "", args)?;
        // Its kernel has no device tree of a Pi 5.
        let mut params = one_of_each(first);
        params.retain(|params| params.model != Model::Ee5);
        let outcomes = Cable::new(&lan)?.boot(params.clone(), Conditions::good(BOOT))?;
        all_booted(&params, &outcomes, |_| false)?;
        for (params, outcome) in params.iter().zip(&outcomes) {
            let booted = outcome.boot.as_ref().map_err(Clone::clone)?;
            loaded_what_is_stored(booted, &store)?;
            said(params, outcome, proxy);
        }
        manager.log.expect("Raspberry Pi boot ROM", ANSWER)?;
        manager.log.expect("Raspberry Pi begins to boot", ANSWER)?;
        manager.terminate()?;
    }
    Ok(())
}

/// All models, a Pi 5 among them, over a wire that loses two frames of a hundred each way; the image has files of the
/// right names and small sizes, since each loss costs a second.
pub(super) fn over_a_bad_wire(case: &Case) -> Result<()> {
    let store = case.fresh_store_with_old_cache()?;
    let image = Image::of_tree(&tiny_pi_tree(case)?, case.dir(), "tiny.sqfs")?;
    publish_with(&image.path, &store, &[])?;
    for (proxy, first) in [(false, 11), (true, 511)] {
        let lan = Lan::new()?;
        let _neighbour = proxy.then(|| lan.dhcp_server(case)).transpose()?;
        let args = if proxy { &PROXY[..] } else { &FULL };
        let manager = Manager::serve(case, &store, "", args)?;
        let params = one_of_each(first);
        let conditions = Conditions::good(BOOT).losing(2);
        let outcomes = Cable::new(&lan)?.boot(params.clone(), conditions)?;
        all_booted(&params, &outcomes, |_: &Violation| false)?;
        for (params, outcome) in params.iter().zip(&outcomes) {
            loaded_what_is_stored(outcome.boot.as_ref().map_err(Clone::clone)?, &store)?;
            said(params, outcome, proxy);
        }
        manager.terminate()?;
    }
    Ok(())
}

/// What a simulated Pi 3B loaded, byte for byte, starts on QEMU's Pi 3B, whose NIC hangs on USB as the real one's does, and
/// comes up from RAM.
pub(super) fn a_pi_3_into_ram(case: &Case) -> Result<()> {
    into_ram(case, Board::Pi3, "console=tty1 console=ttyS1,115200")
}

/// The same files on QEMU's own arm64 board.
pub(super) fn a_virtual_board_into_ram(case: &Case) -> Result<()> {
    into_ram(case, Board::Virt, "console=tty1 console=ttyAMA0,115200")
}

fn into_ram(case: &Case, board: Board, consoles: &str) -> Result<()> {
    let (store, params) = (case.fresh_store_with_old_cache()?, Params::pi3b(7));
    publish_small_debian(case, &store)?;
    let config = format!("[boot]\ncmdline = \"{consoles}\"\n");
    let lan = Lan::new()?;
    let manager = Manager::serve(case, &store, &config, &FULL)?;
    let params = Params {
        keep: KEEP,
        ..params
    };
    let outcomes = Cable::new(&lan)?.boot(vec![params.clone()], Conditions::good(BOOT))?;
    all_booted(std::slice::from_ref(&params), &outcomes, |_| false)?;
    let outcome = outcomes.first().context("an outcome")?;
    let booted = outcome.boot.as_ref().map_err(Clone::clone)?;

    let file = |path: &str, name: &str| -> Result<PathBuf> {
        let bytes = booted.files.get(path).and_then(|file| file.bytes.as_ref());
        let bytes = bytes.with_context(|| format!("the Pi did not keep {path}"))?;
        let kept = case.dir().join(name);
        fs::write(&kept, bytes).with_context(|| format!("writing {}", kept.display()))?;
        Ok(kept)
    };
    let initramfs = booted.initramfs.first().context("no initramfs")?;
    let worker = Machine::handed_over(
        board,
        &file(&booted.kernel, "kernel")?,
        &file(initramfs, "initramfs")?,
        &file(&booted.device_tree, "device-tree")?,
        &booted.cmdline,
        params.mac,
    )
    .boot(case, &lan)?;
    let console = &worker.console;
    for stage in Stage::BOOT {
        console.stage(stage, BOOT)?;
    }
    console.expect("worker: / is overlay", BOOT)?;
    let board = console.expect("worker: this is a ", BOOT)?.text;
    println!(
        "{board}; loaded by firmware: {} files, {:.1} MB",
        booted.files.len(),
        outcome.numbers.bytes as f64 / 1e6
    );
    manager.terminate()
}

fn said(params: &Params, outcome: &Outcome, proxy: bool) {
    let numbers = &outcome.numbers;
    println!(
        "{} {:?}: {:.1} s, {} requests ({} again), first answer {:?}, {} strays",
        if proxy { "proxy" } else { "full" },
        params.model,
        numbers.duration.as_secs_f64(),
        numbers.requests,
        numbers.repeated_requests,
        numbers.worst_first_answer,
        numbers.stray_packets
    );
}

/// Kernel and initramfs are those of the store, which name themselves by their content.
fn loaded_what_is_stored(booted: &Booted, store: &Path) -> Result<()> {
    ensure!(booted.tftp.to_string() == MANAGER, "from {}", booted.tftp);
    let folder = stored_image(store)?.join("boot");
    let initramfs = booted.initramfs.first().context("no initramfs")?;
    for path in [&booted.kernel, initramfs] {
        let name = path.rsplit('/').next().unwrap_or(path);
        let stored = fs::read(folder.join(name)).with_context(|| format!("reading {name}"))?;
        let loaded = booted
            .files
            .get(path)
            .with_context(|| format!("no {path}"))?;
        ensure!(
            loaded.len == stored.len() as u64 && loaded.digest == digest(&stored),
            "{path}: {} bytes that are not the {} stored",
            loaded.len,
            stored.len()
        );
    }
    ensure!(
        booted.cmdline.contains("ramboot.image=") && booted.cmdline.contains("BOOTIF=01-"),
        "the command line is {:?}",
        booted.cmdline
    );
    Ok(())
}

/// The kernel of the Debian image, and a system of a shell and nothing else: what a Pi's USB port carries in a minute.
fn publish_small_debian(case: &Case, store: &Path) -> Result<()> {
    let image = Image::raspberry_pi()?;
    let whole = case.dir().join("debian");
    image.unpack(
        &whole,
        &[
            "boot",
            "usr/bin/dash",
            "usr/lib/aarch64-linux-gnu/libc.so.6",
            "usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1",
            "usr/lib/ld-linux-aarch64.so.1",
            "usr/lib/modules",
            "usr/lib/raspi-firmware",
            "usr/lib/linux-image-*",
        ],
    )?;
    let tree = case.dir().join("tree");
    let script = format!(
        "set -eu; whole='{}'; tree='{}'
         version=$(ls \"$whole/usr/lib/modules\")
         mkdir -p \"$tree/usr/bin\" \"$tree/usr/sbin\" \"$tree/usr/lib/raspi-firmware\" \"$tree/usr/lib/aarch64-linux-gnu\" \
            \"$tree/usr/lib/linux-image-$version/broadcom\"
         for folder in dev proc sys run tmp newroot; do mkdir \"$tree/$folder\"; done
         ln -s usr/bin \"$tree/bin\"; ln -s usr/sbin \"$tree/sbin\"; ln -s usr/lib \"$tree/lib\"
         cp \"$whole/usr/bin/dash\" \"$tree/usr/bin/sh\"
         cp -aL \"$whole/usr/lib/aarch64-linux-gnu/libc.so.6\" \"$tree/usr/lib/aarch64-linux-gnu/\"
         cp -aL \"$whole/usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1\" \"$tree/usr/lib/\"
         for file in bootcode.bin start.elf fixup.dat; do cp \"$whole/usr/lib/raspi-firmware/$file\" \"$tree/usr/lib/raspi-firmware/\"; done
         cp \"$whole/usr/lib/linux-image-$version/broadcom/bcm2837-rpi-3-b.dtb\" \"$tree/usr/lib/linux-image-$version/broadcom/\"
         cp \"$whole/boot/vmlinuz-$version\" '{}/vmlinuz'
         echo \"$version\"",
        whole.display(),
        tree.display(),
        case.dir().display(),
    );
    let version = run("sh", &["-c", &script])?;
    let init = tree.join("usr/sbin/init");
    fs::write(&init, SYSTEM)?;
    run("chmod", &["755", init.to_str().context("a path in UTF-8")?])?;
    let small = Image::of_tree(&tree, case.dir(), "small.sqfs")?;
    let path = |path: PathBuf| path.to_str().map(str::to_owned).context("a path in UTF-8");
    let kernel = path(case.dir().join("vmlinuz"))?;
    let modules = path(whole.join("usr/lib/modules").join(version.trim()))?;
    publish_with(
        &small.path,
        store,
        &["--kernel", &kernel, "--modules", &modules],
    )?;
    fs::remove_dir_all(&whole).context("removing what was unpacked")
}

/// An init that says where it is, with what a shell has built in.
const SYSTEM: &str = "#!/bin/sh
while read -r what where type rest; do
    [ \"$where\" = / ] && echo \"worker: / is $type\"
done </proc/mounts
model=none
read -r model </proc/device-tree/model || :
echo \"worker: this is a $model\"
while :; do read -r line || :; done
";

/// What publish needs of Raspberry Pi OS, every file of it small; the kernel is none that runs.
fn tiny_pi_tree(case: &Case) -> Result<PathBuf> {
    const VERSION: &str = "6.12.0-rpi-v8";
    let tree = case.dir().join("tiny");
    let write = |path: &str, content: &[u8]| -> Result<()> {
        let path = tree.join(path);
        let folder = path.parent().context("a folder")?;
        fs::create_dir_all(folder)?;
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))
    };
    let mut kernel = vec![7; 150_000];
    // Documentation/arch/arm64/booting.rst
    kernel[56..60].copy_from_slice(b"ARM\x64");
    write(&format!("boot/vmlinuz-{VERSION}"), &kernel)?;
    let modules = format!("lib/modules/{VERSION}");
    let builtin = "genet smsc95xx lan78xx dwc2 macb rp1 smsc loop squashfs overlay";
    let builtin: String = builtin
        .split(' ')
        .map(|name| format!("kernel/drivers/{name}.ko\n"))
        .collect();
    write(&format!("{modules}/modules.builtin"), builtin.as_bytes())?;
    write(&format!("{modules}/modules.dep"), b"")?;
    for (name, bytes) in [
        ("bootcode.bin", 5_247),
        ("start.elf", 29_810),
        ("fixup.dat", 730),
        ("start4.elf", 22_568),
        ("fixup4.dat", 543),
        ("bcm2710-rpi-3-b.dtb", 3_420),
        ("bcm2710-rpi-3-b-plus.dtb", 3_481),
        ("bcm2711-rpi-4-b.dtb", 5_632),
        ("bcm2712-rpi-5-b.dtb", 7_780),
        ("overlays/README", 20),
        ("overlays/overlay_map.dtb", 334),
        ("overlays/disable-bt.dtbo", 1_073),
    ] {
        write(&format!("boot/firmware/{name}"), &vec![b'x'; bytes])?;
    }
    write("boot/firmware/config.txt", b"dtoverlay=disable-bt\n")?;
    image::put_init(&tree, 183)?;
    Ok(tree)
}
