//! A hall is switched on: hundreds of simulated machines of all kinds boot from one manager at the same moment.

mod images;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ramboot_sim::{
    Conditions, Date, File, Params, PcArch, PcKind, PcParams, Pi, Program, Station, digest,
};

use self::images::Images;
use crate::case::Case;
use crate::lan::{Lan, MANAGER, ip};
use crate::manager::Manager;
use crate::pis::Cable;
use crate::{ANSWER, BOOT};

/// With room for a hall.
const SERVER: &str = "10.79.0.1";
const FULL: [&str; 4] = ["--dhcp", "full", "--pool", "10.79.1.0-10.79.4.255"];
const PROXY: [&str; 2] = ["--dhcp", "proxy"];
/// A Pi asks again after two seconds: until then nobody notices that others boot, too.
const FIRST_ANSWER: Duration = Duration::from_secs(2);
/// The longest file by HTTP is a unified kernel image.
const MAX_BODY: u64 = 64 << 20;

/// All at once, on a good wire: the numbers of a hall.
pub(super) fn five_hundred(case: &Case) -> Result<()> {
    let stations = mix([
        ("Pi 3B", 30),
        ("Pi 3B+", 30),
        ("Pi 3B with card", 30),
        ("Pi 4 of 2019", 40),
        ("Pi 4 of 2025", 70),
        ("Pi 5", 50),
        ("BIOS PXE", 60),
        ("UEFI PXE x86_64", 60),
        ("UEFI PXE arm64", 40),
        ("UEFI HTTP x86_64", 30),
        ("UEFI HTTP arm64", 20),
        ("iPXE", 40),
    ]);
    ensure!(stations.len() == 500, "{} machines", stations.len());
    let images = Images::publish(case, 1)?;
    let done = boot(case, &images, Dhcp::Full, stations, Conditions::good(BOOT))?;
    let worst = done.iter().map(|one| one.numbers().worst_first_answer);
    let worst = worst.max().unwrap_or_default();
    ensure!(worst < FIRST_ANSWER, "a first answer took {worst:?}");
    // The wire loses nothing, so neither must a queue.
    let again: u32 = done.iter().map(|one| one.numbers().repeated_requests).sum();
    ensure!(again == 0, "{again} requests had to be sent again");
    Ok(())
}

/// One frame of a hundred is lost each way, of small files: each loss costs a machine a second or more.
pub(super) fn a_hundred_on_a_bad_wire(case: &Case) -> Result<()> {
    let stations = mix([
        ("Pi 3B", 6),
        ("Pi 3B+", 6),
        ("Pi 3B with card", 6),
        ("Pi 4 of 2019", 8),
        ("Pi 4 of 2025", 14),
        ("Pi 5", 10),
        ("BIOS PXE", 12),
        ("UEFI PXE x86_64", 12),
        ("UEFI PXE arm64", 8),
        ("UEFI HTTP x86_64", 6),
        ("UEFI HTTP arm64", 4),
        ("iPXE", 8),
    ]);
    ensure!(stations.len() == 100, "{} machines", stations.len());
    let images = Images::publish(case, 64)?;
    let conditions = Conditions::good(BOOT).losing(1);
    boot(case, &images, Dhcp::Full, stations, conditions).map(drop)
}

/// Another server gives the addresses, and the two UEFI PXEs are told their file on port 4011. One after the other: dnsmasq
/// pings each address it offers for three seconds, and nobody else is answered meanwhile.
pub(super) fn pcs_beside_dnsmasq(case: &Case) -> Result<()> {
    let stations = PcParams::one_of_each(1).into_iter().map(Station::from);
    let images = Images::publish(case, 1)?;
    let conditions = Conditions {
        stagger: Duration::from_secs(4),
        ..Conditions::good(BOOT)
    };
    boot(case, &images, Dhcp::Proxy, stations.collect(), conditions).map(drop)
}

/// Who gives addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dhcp {
    Full,
    Proxy,
}

/// So many of each kind, every kind spread over the whole hall.
fn mix<const KINDS: usize>(counts: [(&'static str, u16); KINDS]) -> Vec<Station> {
    let mut places: Vec<_> = counts
        .iter()
        .flat_map(|&(kind, count)| (0..count).map(move |i| (kind, i, count)))
        .collect();
    places.sort_by_key(|&(_, i, count)| u32::from(i) * 1000 / u32::from(count));
    (1..)
        .zip(places)
        .map(|(n, (kind, ..))| station(kind, n))
        .collect()
}

fn station(kind: &str, n: u16) -> Station {
    let pi = |params| Params { keep: 0, ..params }.into();
    let pc = |kind| {
        let params = PcParams::new(kind, n);
        PcParams { keep: 0, ..params }.into()
    };
    match kind {
        "Pi 3B" => pi(Params::pi3b(n)),
        "Pi 3B+" => pi(Params::pi3b_plus(n)),
        "Pi 3B with card" => pi(Params::pi3_with_card(n)),
        "Pi 4 of 2019" => pi(Params::pi4(n, Date(2019, 10, 8))),
        "Pi 4 of 2025" => pi(Params::pi4(n, Date(2025, 10, 1))),
        "Pi 5" => pi(Params::pi5(n, Date(2026, 1, 1))),
        "BIOS PXE" => pc(PcKind::BiosPxe),
        "UEFI PXE x86_64" => pc(PcKind::UefiPxe(PcArch::X86_64)),
        "UEFI PXE arm64" => pc(PcKind::UefiPxe(PcArch::Arm64)),
        "UEFI HTTP x86_64" => pc(PcKind::UefiHttp(PcArch::X86_64)),
        "UEFI HTTP arm64" => pc(PcKind::UefiHttp(PcArch::Arm64)),
        "iPXE" => pc(PcKind::Ipxe),
        other => panic!("no machine is a {other}"),
    }
}

/// Boots them from a manager of their own, and looks at everything but the time it took.
fn boot(
    case: &Case,
    images: &Images,
    dhcp: Dhcp,
    stations: Vec<Station>,
    conditions: Conditions,
) -> Result<Vec<Station>> {
    let lan = Lan::new()?;
    let (server, args, _neighbour) = match dhcp {
        Dhcp::Proxy => (MANAGER, &PROXY[..], Some(lan.dhcp_server(case)?)),
        Dhcp::Full => {
            ip(&format!("address add {SERVER}/20 dev lan0"))?;
            ip(&format!("address del {MANAGER}/24 dev lan0"))?;
            (SERVER, &FULL[..], None)
        }
    };
    let manager = Manager::serve(case, &images.store, "", args)?;
    let done = Cable::new(&lan)?.boot_stations(stations, conditions)?;
    print_table(&done);
    for station in &done {
        let who = || format!("{} {:02x?}", station.kind(), station.mac());
        if let Some(failure) = station.failure() {
            return Err(failure.clone()).with_context(who);
        }
        let wrong = station.violations();
        ensure!(wrong.is_empty(), "{} booted, but: {wrong:#?}", who());
        loaded(station, images, server).with_context(who)?;
    }
    let addresses: HashSet<_> = done.iter().filter_map(Station::address).collect();
    ensure!(addresses.len() == done.len(), "two share an address");
    println!("manager: {}", peak_memory(manager.id())?);
    let log = manager.log.clone();
    manager.terminate()?;
    // The last lines it writes.
    for words in [" asked, ", " probed, ", " of images"] {
        println!("{}", log.expect(words, ANSWER)?.text);
    }
    Ok(done)
}

/// What a machine has is what was published, or what the manager's HTTP says it is.
fn loaded(station: &Station, images: &Images, server: &str) -> Result<()> {
    match station {
        Station::Pi(pi) => loaded_by_a_pi(pi, images),
        Station::Pc(pc) => {
            let outcome = pc.outcome().context("it is not done")?;
            let started = outcome.boot.as_ref().map_err(Clone::clone)?;
            match (&started.program, pc.params().kind) {
                // No iPXE: what HTTP gives, too.
                (Program::File { name, file, .. }, PcKind::UefiPxe(PcArch::Arm64)) => {
                    same(name, file, &http("GET", server, &format!("/{name}"))?)
                }
                (Program::File { name, file, .. }, kind) => same(
                    name,
                    file,
                    &fs::read(ipxe(kind)).context("reading the package ipxe")?,
                ),
                (Program::Url(url), kind) => fetch(url, server, kind),
            }
        }
    }
}

fn loaded_by_a_pi(pi: &Pi, images: &Images) -> Result<()> {
    let outcome = pi.outcome().context("it is not done")?;
    let booted = outcome.boot.as_ref().map_err(Clone::clone)?;
    for path in [&booted.kernel, &booted.device_tree]
        .into_iter()
        .chain(&booted.initramfs)
    {
        let name = path.rsplit('/').next().unwrap_or(path);
        let file = booted.files.get(path).context("it has not loaded that")?;
        same(name, file, images.get(name)?)?;
    }
    ensure!(
        booted.cmdline.contains("ramboot.image="),
        "the command line is {:?}",
        booted.cmdline
    );
    Ok(())
}

fn same(name: &str, got: &File, served: &[u8]) -> Result<()> {
    ensure!(
        got.len == served.len() as u64 && got.digest == digest(served),
        "{name}: {} bytes that are not the {} served",
        got.len,
        served.len()
    );
    Ok(())
}

const fn ipxe(kind: PcKind) -> &'static str {
    match kind {
        PcKind::BiosPxe => "/usr/lib/ipxe/undionly.kpxe",
        _ => "/usr/lib/ipxe/snponly.efi",
    }
}

/// As the firmware does: iPXE reads a script, EDK2 asks for the length first.
fn fetch(url: &str, server: &str, kind: PcKind) -> Result<()> {
    let path = url
        .strip_prefix(&format!("http://{server}:8067"))
        .with_context(|| format!("{url} is not the manager's"))?;
    if kind == PcKind::Ipxe {
        let script = http("GET", server, path)?;
        ensure!(script.starts_with(b"#!ipxe\n"), "{url} is no script");
    } else {
        http("HEAD", server, path)?;
    }
    Ok(())
}

/// The body of an answer 200.
fn http(method: &str, server: &str, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect((server, 8067))?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.take(MAX_BODY).read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let body = answer.split_off(end.context("no end of the header")? + 4);
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        let head = String::from_utf8_lossy(&answer);
        bail!(
            "{method} {path}: {}",
            head.lines().next().unwrap_or_default()
        );
    }
    Ok(body)
}

fn print_table(done: &[Station]) {
    let mut kinds: BTreeMap<String, Vec<&Station>> = BTreeMap::new();
    for station in done {
        kinds.entry(station.kind()).or_default().push(station);
    }
    println!(
        "{:18} {:>5} {:>6} {:>9} {:>8} {:>12} {:>9} {:>6} {:>6} {:>6}",
        "kind",
        "count",
        "failed",
        "median s",
        "worst s",
        "1st answer",
        "requests",
        "again",
        "stray",
        "MB"
    );
    let all = ("all".to_owned(), done.iter().collect());
    for (kind, stations) in kinds.into_iter().chain([all]) {
        let mut seconds: Vec<_> = stations
            .iter()
            .map(|station| station.numbers().duration)
            .collect();
        seconds.sort_unstable();
        let sum = |number: fn(&ramboot_sim::Numbers) -> u64| -> u64 {
            stations.iter().map(|it| number(&it.numbers())).sum()
        };
        let first = stations.iter().map(|it| it.numbers().worst_first_answer);
        println!(
            "{kind:18} {:>5} {:>6} {:>9.1} {:>8.1} {:>9} ms {:>9} {:>6} {:>6} {:>6}",
            stations.len(),
            stations.iter().filter(|it| it.failure().is_some()).count(),
            seconds[seconds.len() / 2].as_secs_f64(),
            seconds[seconds.len() - 1].as_secs_f64(),
            first.max().unwrap_or_default().as_millis(),
            sum(|it| it.requests.into()),
            sum(|it| it.repeated_requests.into()),
            sum(|it| it.stray_packets.into()),
            sum(|it| it.bytes) / 1_000_000,
        );
    }
}

/// `VmHWM:     12345 kB`
fn peak_memory(pid: u32) -> Result<String> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    Ok(line
        .with_context(|| format!("no VmHWM in {path}"))?
        .to_owned())
}
