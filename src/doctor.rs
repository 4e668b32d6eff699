//! `ramboot doctor`: what keeps machines from booting here, and what to do about it.
//!
//! `facts` asks this machine and changes nothing, `checks` and `boots` make findings of facts, `report` says them. Two machines are
//! simulated against the manager that runs: it answers as it would answer real ones, and gives no address away.

mod boots;
mod checks;
mod facts;
mod fetch;
mod finding;
mod firewall;
mod lan;
mod report;

use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use pisim::{Date, Params, PcArch, PcKind, PcParams, Program, Station};
use ramboot_wire::paths::Resource;
use ramboot_wire::{Arch, BootArgs, Client, Mac};

use self::boots::{Script, Stock};
use self::facts::{Published, Ruled};
use self::fetch::Fetch;
use self::finding::{Finding, Topic};
use self::firewall::Probe;
use self::lan::Place;
use self::report::Report;
use crate::cli::{DEFAULT_STATE, DhcpMode, DoctorArgs};
use crate::config::Config;
use crate::control::{self, About, Answer, FOLDER, Question, SIMULATED};
use crate::dhcp;
use crate::dhcp::rival::Rival;
use crate::interface::{self, ChooseError, Interface};
use crate::roms;

/// A file that is kept whole: config.txt and cmdline.txt are.
const KEEP: usize = 64 * 1024;
/// A manager that says nothing for so long says nothing.
const FILE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(8);

/// Looks, and says what was found on stdout; whether machines can boot.
///
/// # Errors
/// What was found cannot be written.
pub fn run(args: &DoctorArgs) -> anyhow::Result<bool> {
    let report = Report::new(look(args));
    let text = if args.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        report.text()
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("writing to stdout")?;
    Ok(report.is_well())
}

/// What was said on the command line, else what the manager that runs says of itself, else what `serve` would take.
struct Case<'a> {
    about: Option<&'a About>,
    state: PathBuf,
    config: Config,
    mode: DhcpMode,
    http_port: u16,
}

fn look(args: &DoctorArgs) -> Vec<Finding> {
    let run_dir = args.run_dir.as_deref().unwrap_or_else(|| Path::new(FOLDER));
    let about = about(run_dir);
    let manager = about.as_ref().ok();
    let given = args.config.as_ref();
    let config_path = given.or_else(|| manager.and_then(|about| about.config.as_ref()));
    let config = config_path.map_or_else(|| Ok(Config::default()), |path| Config::read(path));
    let chosen = choose(args, manager);
    let mut found = Vec::new();
    let name = chosen.as_ref().map_or("NAME", |one| one.name.as_str());
    found.extend(checks::manager(&about, run_dir, name));
    let config = config.unwrap_or_else(|error| {
        found.push(Finding::bad(
            Topic::Manager,
            "config",
            format!("{error:#}"),
            "correct that line; a manager that runs keeps what it has until then",
        ));
        Config::default()
    });
    let said = manager.and_then(|about| about.dhcp.parse().ok());
    let case = Case {
        about: manager,
        state: args
            .state
            .clone()
            .or_else(|| manager.map(|about| about.state.clone()))
            .unwrap_or_else(|| DEFAULT_STATE.into()),
        mode: args.dhcp.or(said).unwrap_or(config.dhcp.mode),
        http_port: manager.map_or(config.http_port, |about| about.http_port),
        config,
    };
    let link = chosen.as_ref().map_or_else(
        |_| facts::LinkFacts::default(),
        |one| facts::link(&one.name),
    );
    found.extend(checks::interface(&chosen, &link));
    let published = facts::published(&case.state, args.deep);
    let wanted = boots::wanted(&case.config);
    found.extend(checks::images(&published, &case.state, &wanted));
    let folder = args.ipxe_dir.clone();
    let folder = folder.or_else(|| manager.map(|about| about.ipxe_dir.clone()));
    let ipxe = facts::ipxe(&folder.unwrap_or_else(|| roms::FOLDER.into()));
    found.extend(checks::ipxe(&ipxe));
    if let Ok(interface) = &chosen {
        let rival = case.network(interface, &mut found);
        if let Some(about) = manager {
            let efi = ipxe
                .files
                .iter()
                .find(|(firmware, ..)| firmware.contains("x86_64"));
            let efi = efi.and_then(|(_, _, bytes)| *bytes);
            let place = case.place(run_dir, interface, rival.as_ref());
            let stock = |fits: fn(&facts::ImageState) -> bool| stock(&published, fits);
            found.extend(simulated_pi(&place, about, stock(|one| one.pis)));
            let pcs = stock(|one| one.arch == Arch::X86_64);
            found.extend(simulated_pc(&place, about, pcs, efi));
        }
    }
    found
}

fn about(run_dir: &Path) -> Result<About, io::ErrorKind> {
    match control::ask(run_dir, &Question::About) {
        Ok(Answer::About(about)) => Ok(*about),
        Ok(Answer::Error(_)) => Err(io::ErrorKind::PermissionDenied),
        Ok(_) => Err(io::ErrorKind::InvalidData),
        Err(error) => Err(error
            .downcast_ref::<io::Error>()
            .map_or(io::ErrorKind::Other, io::Error::kind)),
    }
}

fn choose(args: &DoctorArgs, about: Option<&About>) -> Result<Interface, ChooseError> {
    let all = interface::all().unwrap_or_default();
    let served = about.and_then(|about| about.interfaces.first());
    let named: Vec<String> = match (&args.interface, served) {
        (Some(name), _) => vec![name.clone()],
        (None, Some(served)) => vec![served.name.clone()],
        (None, None) => Vec::new(),
    };
    let chosen = interface::choose(&all, &named)?;
    let none = || ChooseError::None {
        there: "none".to_owned(),
    };
    chosen.into_iter().next().ok_or_else(none)
}

impl Case<'_> {
    /// Ports, other servers, rules; gives the other server.
    fn network(&self, interface: &Interface, found: &mut Vec<Finding>) -> Option<Rival> {
        let (mode, http_port) = (self.mode, self.http_port);
        let ports = facts::ports(interface, mode, http_port, self.about);
        found.extend(checks::ports(&ports, http_port));
        let rules: Ruled = facts::rules();
        found.extend(checks::firewall(
            &rules,
            &probes(mode, http_port),
            &interface.name,
        ));
        // An interface that is no Ethernet has no DHCP as it is known here.
        interface.mac?;
        let [a, b, c, d, ..] = RandomState::new().hash_one(()).to_be_bytes();
        let xid = u32::from_be_bytes([a, b, c, d]);
        let rival = dhcp::ask::for_rival(interface, &[interface.address], xid);
        found.extend(checks::rivals(&rival, mode, interface));
        rival.ok().flatten()
    }

    fn place(&self, run_dir: &Path, interface: &Interface, rival: Option<&Rival>) -> Place {
        let (own, mask) = (u32::from(interface.address), mask(interface.prefix_len));
        let network = own & mask;
        // Nobody's lease is taken: the addresses are used on the simulated wire only.
        let spare = |n: u32| Ipv4Addr::from(network | (own ^ n) & !mask);
        let other = rival.map_or_else(
            || (spare(2), spare(4)),
            |rival| (rival.server, rival.offered),
        );
        Place {
            run_dir: run_dir.to_owned(),
            interface: interface.name.clone(),
            manager: interface.address,
            other: (self.mode != DhcpMode::Full).then_some((other.0, other.1, mask.into())),
        }
    }
}

const fn mask(prefix_len: u8) -> u32 {
    match prefix_len {
        0 => 0,
        n => u32::MAX << (32 - n as u32 % 33),
    }
}

/// What machines send to this one.
fn probes(mode: DhcpMode, http_port: u16) -> Vec<Probe> {
    let probe = |what, udp, port, established| Probe {
        what,
        udp,
        port,
        established,
    };
    let mut probes = vec![
        probe("DHCP", true, 67, false),
        probe("UEFI's boot server", true, 4011, false),
        probe("TFTP", true, 69, false),
        // Where the server sends blocks from; what comes back is an answer to these.
        probe("TFTP's transfers", true, 49_152, true),
        probe("HTTP", false, http_port, false),
    ];
    if mode == DhcpMode::Off {
        probes.drain(..2);
    }
    probes
}

fn stock(
    published: &anyhow::Result<Vec<Published>>,
    fits: fn(&facts::ImageState) -> bool,
) -> Stock {
    let published = published.as_ref().map_or(&[][..], Vec::as_slice);
    if published.is_empty() {
        Stock::Nothing
    } else if published
        .iter()
        .any(|one| one.state.as_ref().is_ok_and(fits))
    {
        Stock::Fits
    } else {
        Stock::ForOthers
    }
}

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

fn simulated_pi(place: &Place, about: &About, stock: Stock) -> Vec<Finding> {
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

fn simulated_pc(place: &Place, about: &About, stock: Stock, ipxe: Option<u64>) -> Vec<Finding> {
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
