//! Raspberry Pis, simulated: the oracle is dnsmasq, which real ones boot from.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ramboot_sim::{Conditions, Outcome, Params, Violation, digest};

use crate::BOOT;
use crate::case::Case;
use crate::lan::{BRIDGE, Lan, MANAGER, POOL};
use crate::pis::{Cable, all_booted, one_of_each};
use crate::process::{Process, command};
use crate::transcript::Transcript;

/// Sizes of real files, in bytes, for a wire that loses nothing; a 64th for one that does, for each loss costs a second.
const SIZES: [(&str, usize); 16] = [
    ("bootcode.bin", 52_476),
    ("start.elf", 2_981_056),
    ("fixup.dat", 7_303),
    ("start4.elf", 2_256_800),
    ("fixup4.dat", 5_436),
    ("bcm2710-rpi-3-b.dtb", 34_203),
    ("bcm2710-rpi-3-b-plus.dtb", 34_816),
    ("bcm2711-rpi-4-b.dtb", 56_320),
    ("bcm2712-rpi-5-b.dtb", 77_804),
    ("overlays/overlay_map.dtb", 3_344),
    ("overlays/disable-bt.dtbo", 1_073),
    // Whole blocks of 512 and of 1024, then of 1468.
    ("kernel8.img", 12 << 20),
    ("initramfs.img", 1468 * 2143),
    ("overlays/README", 20),
    ("config.txt", 0),
    ("cmdline.txt", 0),
];
const CONFIG: &str = "[all]\narm_64bit=1\nenable_uart=1\nauto_initramfs=0\nkernel=kernel8.img\n\
                      initramfs initramfs.img followkernel\ndtoverlay=disable-bt\n[pi5]\nos_check=0\n";
const CMDLINE: &str = "console=serial0,115200 quiet\n";

/// What is served, by name.
type Files = BTreeMap<&'static str, Vec<u8>>;

/// Each model boots from dnsmasq, as a full server and as a proxy beside one that gives addresses, over a good wire and over
/// one that loses 2 % each way; what it loaded is what was served.
pub(super) fn from_dnsmasq(case: &Case) -> Result<()> {
    // dnsmasq hashes the MAC to an address and offers it to each with that hash, until one requests it, which a ROM never does.
    // The neighbour has 41 addresses; these Pis have six different hashes.
    for (proxy, loss, first) in [
        (false, 0, 1),
        (false, 2, 11),
        (true, 0, 255),
        (true, 2, 511),
    ] {
        let what = format!(
            "{} dnsmasq, {loss} % lost",
            if proxy { "proxy" } else { "full" }
        );
        let files = files(if loss == 0 { 1 } else { 64 });
        let root = case.dir().join(format!("tftp-{first}"));
        lay_out(&files, &root)?;
        // Each has a network of its own: this thread moves on into a new one.
        let lan = Lan::new()?;
        let _neighbour = proxy.then(|| lan.dhcp_server(case)).transpose()?;
        let _dnsmasq = Dnsmasq::start(case, &root, proxy)?;
        let params = one_of_each(first);
        let conditions = Conditions::good(BOOT).losing(loss);
        let outcomes = Cable::new(&lan)?.boot(params.clone(), conditions)?;
        print(&what, &params, &outcomes);
        let excused = if loss == 0 { never } else { second_session };
        all_booted(&params, &outcomes, excused).with_context(|| what.clone())?;
        for outcome in &outcomes {
            loaded_what_was_served(outcome, &files).with_context(|| what.clone())?;
        }
    }
    Ok(())
}

const fn never(_: &Violation) -> bool {
    false
}

/// dnsmasq 2.90 begins anew for a request that was sent again while its first answer was on its way.
const fn second_session(violation: &Violation) -> bool {
    matches!(violation, Violation::SecondSession { .. })
}

/// dnsmasq with a menu for Pis and TFTP, on the bridge.
struct Dnsmasq {
    _process: Process,
}

impl Dnsmasq {
    fn start(case: &Case, root: &Path, proxy: bool) -> Result<Self> {
        let range = if proxy {
            format!("{MANAGER},proxy")
        } else {
            format!("{},1h", POOL.replace('-', ","))
        };
        let mut process = Process::spawn(
            "dnsmasq",
            command("dnsmasq")
                .args(["--no-daemon", "--conf-file=/dev/null", "--port=0"])
                .args(["--bind-interfaces", "--dhcp-authoritative", "--no-ping"])
                .args([
                    "--pid-file=",
                    "--log-dhcp",
                    "--log-facility=-",
                    "--user=root",
                ])
                .arg(format!("--interface={BRIDGE}"))
                .arg(format!("--dhcp-range={range}"))
                // Three spaces, and two seconds: the 3B's ROM.
                .args([
                    "--pxe-service=0,Raspberry Pi Boot   ",
                    "--dhcp-reply-delay=2",
                ])
                .args(["--enable-tftp", "--dhcp-leasefile=boot.leases"])
                .arg(format!("--tftp-root={}", root.display()))
                .current_dir(case.dir())
                .stderr(Stdio::piped()),
        )?;
        let log = Transcript::follow(
            "dnsmasq",
            process.stderr()?,
            Some(case.file("boot-dnsmasq.log")?),
        );
        log.expect("TFTP root is", BOOT)?;
        Ok(Self { _process: process })
    }
}

fn files(divisor: usize) -> Files {
    // Bytes that differ in every block, and between files (Numerical Recipes' generator).
    let bytes = |seed: usize, len: usize| -> Vec<u8> {
        let mut state = seed;
        let next = |_| {
            state = (state.wrapping_mul(1_664_525) + 1_013_904_223) & 0xffff_ffff;
            state.to_be_bytes()[4]
        };
        (0..len).map(next).collect()
    };
    let mut files: Files = SIZES
        .iter()
        .enumerate()
        .map(|(i, &(name, len))| (name, bytes(i, len / divisor)))
        .collect();
    files.insert("config.txt", CONFIG.into());
    files.insert("cmdline.txt", CMDLINE.into());
    files
}

fn lay_out(files: &Files, root: &Path) -> Result<()> {
    fs::create_dir_all(root.join("overlays"))?;
    for (name, bytes) in files {
        let path = root.join(name);
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Kernel, initramfs, device tree, overlay, and all else, byte by byte.
fn loaded_what_was_served(outcome: &Outcome, files: &Files) -> Result<()> {
    let booted = outcome.boot.as_ref().map_err(Clone::clone)?;
    ensure!(
        booted.tftp.to_string() == MANAGER,
        "TFTP from {}",
        booted.tftp
    );
    ensure!(booted.kernel == "kernel8.img", "kernel {}", booted.kernel);
    ensure!(
        booted.initramfs == ["initramfs.img"],
        "{:?}",
        booted.initramfs
    );
    ensure!(
        booted.overlays == ["overlays/disable-bt.dtbo"],
        "{:?}",
        booted.overlays
    );
    ensure!(booted.cmdline == CMDLINE.trim_end(), "{:?}", booted.cmdline);
    ensure!(
        booted.files.contains_key(&booted.device_tree),
        "no device tree"
    );
    for (path, file) in &booted.files {
        let name = path.trim_start_matches('/');
        let served = files
            .get(name)
            .with_context(|| format!("{path} is nobody's"))?;
        let same = file.len == served.len() as u64 && file.digest == digest(served);
        ensure!(same, "{path}: {} bytes that are not those served", file.len);
    }
    Ok(())
}

fn print(what: &str, params: &[Params], outcomes: &[Outcome]) {
    for (params, outcome) in params.iter().zip(outcomes) {
        let numbers = &outcome.numbers;
        let rate =
            numbers.bytes as f64 / numbers.duration.max(Duration::from_millis(1)).as_secs_f64();
        println!(
            "{what}: {:?} {:.1} s, {} requests ({} again), first answer {:?}, {:.1} MB/s, {} strays: {}",
            params.model,
            numbers.duration.as_secs_f64(),
            numbers.requests,
            numbers.repeated_requests,
            numbers.worst_first_answer,
            rate / 1e6,
            numbers.stray_packets,
            match &outcome.boot {
                Ok(_) => "booted".to_owned(),
                Err(failure) => failure.to_string(),
            }
        );
    }
}
