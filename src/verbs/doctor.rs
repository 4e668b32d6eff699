//! `ramboot doctor`: what keeps machines from booting here, and what to do about it.
//!
//! `facts` asks this machine and changes nothing, `checks` and `boots` make findings of facts, `report` says them. Two machines are
//! simulated against the manager that runs: it answers as it would answer real ones, and gives no address away.

pub mod args;
mod boots;
mod checks;
mod facts;
mod fetch;
mod finding;
mod firewall;
mod lan;
mod ports;
mod report;
mod simulate;

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ramboot_wire::Arch;

use self::boots::Stock;
use self::facts::{Published, Ruled};
use self::finding::{Finding, Topic, Verdict};
use self::firewall::Probe;
use self::lan::Place;
use self::report::Report;
use crate::boot::ipxe_binaries;
use crate::config::Config;
use crate::config::DEFAULT_STATE;
use crate::config::words::DhcpMode;
use crate::control::{self, About, Answer, FOLDER, Question, Served};
use crate::dhcp;
use crate::dhcp::rival::Rival;
use crate::host::interface::{self, ChooseError, Interface};
use crate::host::terminal;
use crate::verbs::doctor::args::DoctorArgs;

/// Looks, and says what was found on stdout; whether machines can boot.
///
/// # Errors
/// What was found cannot be written.
pub fn run(args: &DoctorArgs) -> anyhow::Result<bool> {
    let report = Report::new(look(args));
    if args.json {
        terminal::print_json_pretty(&report)?;
    } else {
        terminal::print(&report.text())?;
    }
    Ok(report.is_well())
}

/// What was said on the command line, else what the manager that runs says of itself, else what `serve` would take.
struct Case<'a> {
    about: &'a Result<About, io::ErrorKind>,
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
        about: &about,
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
    let served = manager.map_or(&[][..], |about| &about.interfaces);
    let is_chosen = |one: &&Served| chosen.as_ref().is_ok_and(|own| own.name == one.name);
    found.extend(match (&chosen, served.first()) {
        // One sentence is enough.
        (Err(_), Some(_)) if args.interface.is_none() => Vec::new(),
        _ => checks::interface(&chosen, &link),
    });
    for one in served {
        let there = interface_of(one);
        found.extend(checks::served(one, &there));
        if let Ok(there) = there
            && !is_chosen(&one)
        {
            let ports = ports::ports(&there, case.mode, case.http_port, case.about);
            let ports = checks::ports(&ports, case.http_port, &one.name);
            found.extend(ports.into_iter().filter(|one| one.verdict > Verdict::Good));
        }
    }
    let published = facts::published(&case.state, args.deep);
    let wanted = boots::wanted(&case.config);
    found.extend(checks::images(&published, &case.state, &wanted));
    let folder = args.ipxe_dir.clone();
    let folder = folder.or_else(|| manager.map(|about| about.ipxe_dir.clone()));
    let ipxe = facts::ipxe(&folder.unwrap_or_else(|| ipxe_binaries::FOLDER.into()));
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
            found.extend(simulate::pi(&place, about, stock(|one| one.pis)));
            let pcs = stock(|one| one.arch == Arch::X86_64);
            found.extend(simulate::pc(&place, about, pcs, efi));
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

/// As it is now.
fn interface_of(served: &Served) -> Result<Interface, ChooseError> {
    one_of(std::slice::from_ref(&served.name))
}

/// The named one; of those that the manager serves, the first that is there.
fn choose(args: &DoctorArgs, about: Option<&About>) -> Result<Interface, ChooseError> {
    let served = about.map_or(&[][..], |about| &about.interfaces);
    let there = served.iter().find(|one| interface_of(one).is_ok());
    let served = there.or_else(|| served.first());
    let named: Vec<String> = match (&args.interface, served) {
        (Some(name), _) => vec![name.clone()],
        (None, Some(served)) => vec![served.name.clone()],
        (None, None) => Vec::new(),
    };
    one_of(&named)
}

fn one_of(named: &[String]) -> Result<Interface, ChooseError> {
    let all = interface::all().unwrap_or_default();
    let chosen = interface::choose(&all, named)?;
    let none = || ChooseError::None {
        there: "none".to_owned(),
    };
    chosen.into_iter().next().ok_or_else(none)
}

impl Case<'_> {
    /// Ports, other servers, rules; gives the other server.
    fn network(&self, interface: &Interface, found: &mut Vec<Finding>) -> Option<Rival> {
        let (mode, http_port) = (self.mode, self.http_port);
        let ports = ports::ports(interface, mode, http_port, self.about);
        found.extend(checks::ports(&ports, http_port, &interface.name));
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
        let rival = dhcp::find_rival::for_rival(interface, &[interface.address], xid);
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
