//! What a worker's RAM is used for: the image once, and of ramboot nothing.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::BOOT;
use crate::case::{Case, stored_image};
use crate::console::Console;
use crate::direct::{Given, PORT};
use crate::image::Image;
use crate::initramfs;
use crate::lan::{Lan, MANAGER};
use crate::machine::{Board, Machine};
use crate::manager::Manager;

const MIB: u64 = 1 << 20;
/// What a worker may have less than one that was booted by the shell script.
const WORSE_BY: u64 = 8 * MIB;
/// What `/init` keeps for the worker: its record of the boot and the handover's files.
const NOT_IMAGE: u64 = 8 * MIB;
/// Of the layer the worker writes into; the test writes twice as much.
const LAYER: u64 = 16 * MIB;
/// The hardware's, and what the image is mounted with. systemd's udev loads the rest on both.
const MODULES: [&str; 5] = ["virtio_pci", "virtio_net", "loop", "squashfs", "overlay"];

/// With 1.15 × image + 192 MiB of RAM: it boots, the image is in RAM once, a full writable layer is an error of the program
/// that fills it, and as much RAM is left as where busybox and a shell script booted the same image.
pub(super) fn as_little_as_a_script(case: &Case) -> Result<()> {
    let store = case.store()?;
    let image = stored_image(&store)?;
    let size = fs::metadata(image.join("image.sqfs"))?.len();
    let memory = u32::try_from((size / 100 * 115 + 192 * MIB).div_ceil(MIB))?;
    let lan = Lan::new()?;
    let _manager = Manager::full(case, &store)?;

    let mut floor = script_boots(case, &lan, &image, size, memory)?;
    floor.console.said.expect(HANDED_OVER, BOOT)?;
    floor.console.take_over()?;
    let least = available(&mut floor.console)?;
    let modules = loaded(&mut floor.console)?;
    drop(floor);

    let with_layer = |cmdline: &str| format!("{cmdline} ramboot.overlay=16M");
    let mut worker = Machine::direct(memory)
        .changing(with_layer)
        .boot(case, &lan)?;
    let console = &mut worker.console;
    console.login()?;
    let left = available(console)?;
    println!(
        "of {memory} MiB, with an image of {} MiB: {} MiB available, {} MiB by the script",
        size / MIB,
        left / MIB,
        least / MIB
    );
    println!("modules: {}; by the script: {modules}", loaded(console)?);
    ensure!(
        left + WORSE_BY >= least,
        "{left} bytes are available, {least} where a shell script booted the same image"
    );
    let shared = meminfo(console, "Shmem")?;
    ensure!(
        (size..size + LAYER + NOT_IMAGE).contains(&shared),
        "{shared} bytes in tmpfs for an image of {size} bytes and a layer of at most {LAYER}"
    );
    fill_the_layer(console)
}

/// The error is the program's, at once, and the worker goes on.
fn fill_the_layer(console: &mut Console) -> Result<()> {
    let fill = "dd if=/dev/zero of=/root/fill bs=1M count=32 2>&1; true";
    let said = console.run(fill)?;
    ensure!(said.contains("No space left on device"), "{fill}: {said}");
    let there = console.run(
        "findmnt --noheadings --output FSTYPE /; rm /root/fill; echo of the layer >/root/again",
    )?;
    ensure!(there == "overlay", "/ is {there} after it was full");
    let read = console.run("cat /root/again")?;
    ensure!(read == "of the layer", "{read:?}");
    Ok(())
}

/// MemAvailable when nothing is cached: the best of three, since a service may be at work.
fn available(console: &mut Console) -> Result<u64> {
    let mut best = 0;
    for _ in 0..3 {
        console.run("sync; echo 3 >/proc/sys/vm/drop_caches")?;
        best = best.max(meminfo(console, "MemAvailable")?);
    }
    Ok(best)
}

/// A line of /proc/meminfo, in bytes.
fn meminfo(console: &mut Console, key: &str) -> Result<u64> {
    let line = console.run(&format!("grep ^{key}: /proc/meminfo"))?;
    let number = line.split_whitespace().nth(1);
    let kibibytes: u64 = number.with_context(|| line.clone())?.parse()?;
    Ok(kibibytes * 1024)
}

fn loaded(console: &mut Console) -> Result<usize> {
    Ok(console.run("cut -d' ' -f1 /proc/modules")?.lines().count())
}

/// Said by the script before it is gone.
const HANDED_OVER: &str = "floor: switching root";

/// The least that boots such an image: busybox, modules, a script.
fn script_boots(
    case: &Case,
    lan: &Lan,
    image: &Path,
    size: u64,
    memory: u32,
) -> Result<crate::machine::Worker> {
    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x35, 1];
    let given = Given::fetch(case, "52:54:00:12:35:01")?;
    let (modules, names) = initramfs::modules(case, &Image::debian()?, &MODULES)?;
    let id = image.file_name().and_then(|name| name.to_str());
    let url = format!(
        "http://{MANAGER}:{PORT}/images/{}/image.sqfs",
        id.context("the image's folder in UTF-8")?
    );
    let mut script = "#!/bin/busybox sh\n\
        export PATH=/bin; /bin/busybox --install -s /bin\n\
        mount -t devtmpfs dev /dev; mount -t proc proc /proc\n"
        .to_owned();
    for name in names {
        writeln!(script, "insmod /modules/{name}")?;
    }
    let pages = size.next_multiple_of(4096);
    write!(
        script,
        "ip address add 192.168.77.60/24 dev eth0; ip link set eth0 up\n\
         mkdir /image /lower /layer /new; mount -t tmpfs -o size={pages} tmpfs /image\n\
         wget -q -O /image/image.sqfs {url}\n\
         losetup -r /dev/loop0 /image/image.sqfs; mount -t squashfs -o ro /dev/loop0 /lower\n\
         mount -t tmpfs -o size={LAYER} tmpfs /layer; mkdir /layer/upper /layer/work\n\
         mount -t overlay -o lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work overlay /new\n\
         umount /proc; mount -o move /dev /new/dev; echo {HANDED_OVER}; exec switch_root /new /sbin/init\n"
    )?;
    let initramfs = initramfs::pack(case, &modules, &script)?;
    // The kernel is told what it is told with ramboot, the console above all.
    let words = given
        .cmdline
        .split(' ')
        .filter(|word| !word.starts_with("ramboot."));
    let cmdline = words.collect::<Vec<_>>().join(" ");
    let board = Board::Pc(memory);
    Machine::handed_over(
        board,
        &given.kernel,
        &initramfs,
        Path::new(""),
        &cmdline,
        MAC,
    )
    .boot(case, lan)
}
