//! Switches a simulated machine on against the manager that runs, and goes on where its firmware ends: as iPXE, and as `/init`.

use std::net::SocketAddrV4;
use std::time::Duration;

use ramboot_sim::{Date, Params, PcArch, PcKind, PcParams, Program, Station};
use ramboot_wire::paths::Resource;
use ramboot_wire::{Arch, BootArgs, Client, Mac};

use super::boots::{self, Script, Stock};
use super::fetch::Fetch;
use super::finding::{self, Finding, Topic};
use super::lan::{self, Place};
use crate::control::{About, SIMULATED};

/// A file that is kept whole: config.txt and cmdline.txt are.
const KEEP: usize = 64 * 1024;
/// A manager that says nothing for so long says nothing.
const FILE_TIMEOUT: Duration = Duration::from_secs(8);

/// Said instead of a boot that could not be simulated.
fn not_done(topic: Topic, error: &dyn std::fmt::Display) -> Vec<Finding> {
    let text = format!("could not be simulated: {error}");
    vec![Finding::warning(
        topic,
        "boot",
        text,
        "sudo ramboot doctor, while the manager runs",
    )]
}

/// A Raspberry Pi 4, from its power switch to the first chunk of its image.
pub(super) fn pi(place: &Place, about: &About, stock: Stock) -> Vec<Finding> {
    let topic = Topic::Pi;
    if about.dhcp == "off" {
        let text = format!(
            "DHCP is off here: your DHCP server has to answer it with option 43 \"Raspberry Pi Boot\" and option 66 or next-server {}",
            place.manager
        );
        return vec![Finding::note(topic, "dhcp", text)];
    }
    let [a, b, c] = SIMULATED;
    let params = Params {
        mac: [a, b, c, 0, 0, 1],
        serial: 1,
        keep: KEEP,
        file_timeout: FILE_TIMEOUT,
        ..Params::pi4(1, Date(2026, 1, 1))
    };
    let (station, events) = match lan::boot(params.into(), place) {
        Ok(done) => done,
        Err(error) => return not_done(topic, &error),
    };
    let Station::Pi(pi) = station else {
        return Vec::new();
    };
    let (mut steps, cmdline) = boots::pi(&pi, &events, stock);
    if let Some(cmdline) = cmdline {
        steps.push(match BootArgs::parse(&cmdline) {
            Ok(args) => boots::init(topic, &args, &first_chunk(&args)),
            Err(error) => Finding::bad(
                topic,
                "cmdline",
                format!("the kernel's command line is none of ramboot's: {error}"),
                "publish the image again",
            ),
        });
    }
    steps
}

fn first_chunk(args: &BootArgs) -> anyhow::Result<()> {
    Fetch::new()?.first_chunk(args)
}

/// A PC with UEFI, from its power switch to the first chunk of its image.
pub(super) fn pc(place: &Place, about: &About, stock: Stock, ipxe: Option<u64>) -> Vec<Finding> {
    let topic = Topic::Pc;
    let [a, b, c] = SIMULATED;
    let mac = [a, b, c, 0, 0, 2];
    let params = |kind| PcParams {
        mac,
        machine_id: *b"\0\0\0\0ramboot doct",
        keep: 0,
        file_timeout: FILE_TIMEOUT,
        ..PcParams::new(kind, 1)
    };
    let mut steps = Vec::new();
    let client = Client {
        arch: Some(Arch::X86_64),
        ..Client::from(Mac(mac))
    };
    let mut script = Resource::Script(client).path();
    if about.dhcp == "off" {
        let (manager, port) = (place.manager, about.http_port);
        let text = format!(
            "DHCP is off here: your DHCP server has to name next-server {manager} and the file snponly.efi (BIOS: undionly.kpxe), and to iPXE, which asks again, http://{manager}:{port}/ipxe/${{mac:hexhyp}}"
        );
        steps.push(Finding::note(topic, "dhcp", text));
    } else {
        for kind in [PcKind::UefiPxe(PcArch::X86_64), PcKind::Ipxe] {
            let (station, events) = match lan::boot(params(kind).into(), place) {
                Ok(done) => done,
                Err(error) => return not_done(topic, &error),
            };
            let Station::Pc(pc) = station else {
                return steps;
            };
            let (more, started) = boots::firmware(&pc, &events, ipxe, stock);
            steps.extend(more);
            let Some(started) = started else {
                return steps;
            };
            match started.program {
                Program::Url(url) => {
                    let path = url
                        .strip_prefix("http://")
                        .and_then(|rest| rest.split_once('/'));
                    script = path.map_or_else(|| url.clone(), |(_, path)| format!("/{path}"));
                }
                // All is in it, and nobody asks again.
                Program::File { file, .. } if ipxe != Some(file.len) => break,
                Program::File { .. } => {}
            }
        }
    }
    let to = SocketAddrV4::new(place.manager, about.http_port);
    steps.extend(scripted(to, &script, stock).unwrap_or_else(|error| {
        vec![Finding::bad(
            topic,
            "script",
            format!("stops: {error:#}"),
            "the manager's log says why: journalctl -u ramboot",
        )]
    }));
    steps
}

/// From iPXE's script to the first chunk.
fn scripted(to: SocketAddrV4, path: &str, stock: Stock) -> anyhow::Result<Vec<Finding>> {
    let topic = Topic::Pc;
    let fetch = Fetch::new()?;
    let text = fetch.text(to, path)?;
    let loads = match Script::parse(&text).map_err(anyhow::Error::msg)? {
        Script::Boot(loads) => loads,
        Script::Wait(said) => return Ok(vec![boots::waits(&said, stock)]),
    };
    let kernel = fetch.length(loads.base.addr, &loads.kernel)?;
    let initrd = fetch.length(loads.base.addr, &loads.initrd)?;
    let fetched = fetch.first_chunk(&loads.args);
    Ok(vec![
        Finding::good(
            topic,
            "kernel",
            format!(
                "its script makes it fetch the kernel ({}) and the initramfs ({}) by HTTP: both are there",
                finding::size(kernel),
                finding::size(initrd)
            ),
        ),
        boots::init(topic, &loads.args, &fetched),
    ])
}
