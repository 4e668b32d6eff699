//! A worker finds names, its own among them, whoever asks in its image; and what else DHCP said counts after its lease.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ramboot_wire::stage::Stage;
use serde_json::Value;

use crate::case::Case;
use crate::image::Image;
use crate::lan::{Lan, MANAGER, NEIGHBOUR, Neighbour};
use crate::machine::{Machine, Worker};
use crate::manager::Manager;
use crate::{ANSWER, BOOT, direct};

/// Who keeps the address and who asks for names.
struct Kind {
    /// As `/init` calls it.
    keeps: &'static str,
    /// What starts.
    units: &'static [&'static str],
    /// /etc/resolv.conf is resolved's, as distributions make it; else it is what the build machine left.
    has_stub: bool,
    /// Whom `/init` told beside.
    names: &'static str,
}

const KINDS: [Kind; 5] = [
    Kind {
        keeps: "networkd",
        units: &["systemd-networkd", "systemd-resolved"],
        has_stub: true,
        names: "hosts",
    },
    Kind {
        keeps: "none",
        units: &["systemd-resolved"],
        has_stub: true,
        names: "resolved,hosts",
    },
    Kind {
        keeps: "NetworkManager",
        units: &["NetworkManager"],
        has_stub: false,
        names: "resolv.conf,hosts",
    },
    Kind {
        keeps: "ifupdown",
        units: &["networking"],
        has_stub: false,
        names: "resolv.conf,hosts",
    },
    Kind {
        keeps: "dhcpcd",
        units: &["dhcpcd"],
        has_stub: false,
        names: "resolv.conf,hosts",
    },
];

/// One machine of each kind, one after another. The server has a search list, routes (option 121) beside a router (option 3)
/// that is not to be used, and an MTU; it logs who asks for what.
pub(super) fn worker_resolves_names(case: &Case) -> Result<()> {
    let left = "# Of the build machine.\nnameserver 192.0.2.1\n";
    let image = Image::network_managers()?.with_file(case.dir(), "etc/resolv.conf", left)?;
    let store = case.own_store(&image)?;
    let stub = store.join("overlays/stub/etc");
    fs::create_dir_all(&stub)?;
    symlink(
        "../run/systemd/resolve/stub-resolv.conf",
        stub.join("resolv.conf"),
    )?;
    let lan = Lan::new()?;
    let server = lan.name_server(case)?;
    let manager = Manager::serve(case, &store, &config(), &["--dhcp", "proxy"])?;
    for (number, kind) in KINDS.iter().enumerate() {
        let mut worker = Machine::direct(768).boot(case, &lan)?;
        let mut check = || {
            booted(&worker, kind)?;
            // No unit has failed.
            worker.console.login()?;
            routes(&mut worker)?;
            names(&mut worker, &server, number)?;
            starts_again(case, &mut worker)
        };
        check().with_context(|| format!("with {}, {}", kind.keeps, kind.units.join(" and ")))?;
    }
    manager.terminate()
}

/// The kernel command line says what starts.
fn config() -> String {
    let mut text = "[boot]\ncmdline = \"console=ttyS0\"\n".to_owned();
    for (number, kind) in KINDS.iter().enumerate() {
        let wants: Vec<_> = kind
            .units
            .iter()
            .map(|unit| format!("systemd.wants={unit}.service"))
            .collect();
        let stub = if kind.has_stub { "\"stub\"" } else { "" };
        text += &format!(
            "[[worker]]\nmac = \"52:54:00:12:34:{number:02x}\"\ncmdline = \"{}\"\noverlays = [{stub}]\n",
            wants.join(" ")
        );
    }
    text
}

fn booted(worker: &Worker, kind: &Kind) -> Result<()> {
    let dhcp = worker.console.stage(Stage::Dhcp, BOOT)?;
    ensure!(
        dhcp.fact("router") == Some(MANAGER) && dhcp.fact("routes") == Some("3"),
        "option 121 comes before option 3: {dhcp}"
    );
    let handover = worker.console.stage(Stage::Handover, BOOT)?;
    ensure!(
        handover.fact("keeps") == Some(kind.keeps) && handover.fact("names") == Some(kind.names),
        "keeps={} names={} are expected: {handover}",
        kind.keeps,
        kind.names
    );
    Ok(())
}

/// Those of the lease and no other, when the network manager has done what it does.
fn routes(worker: &mut Worker) -> Result<()> {
    let console = &mut worker.console;
    let link = console.run("cd /sys/class/net; echo e*")?;
    let mtu = console.run(&format!("cat /sys/class/net/{link}/mtu"))?;
    ensure!(mtu == "1400", "the MTU is {mtu}");
    let routes = console.run("ip -4 route")?;
    for route in [
        format!("default via {MANAGER} dev {link} "),
        format!("10.9.8.0/24 via {NEIGHBOUR} dev {link} "),
        format!("10.17.0.0/16 dev {link} "),
    ] {
        let is_there = routes.lines().any(|line| line.starts_with(&route));
        ensure!(is_there, "{route:?} is expected: {routes}");
    }
    ensure!(!routes.contains("192.168.77.99"), "option 3: {routes}");
    Ok(())
}

/// A name is asked for at the lease's server, by way of its search list; the worker's own is known.
fn names(worker: &mut Worker, server: &Neighbour, number: usize) -> Result<()> {
    let console = &mut worker.console;
    let name = format!("nas-{number}");
    let found = console.run(&format!("getent ahostsv4 {name}"))?;
    ensure!(found.starts_with("10.9.8.7 "), "{name} is {found:?}");
    let question = format!("query[A] {name}.first.lab.test from ");
    server.log.expect(&question, ANSWER)?;
    let own = console.run("getent hosts $(cat /proc/sys/kernel/hostname)")?;
    let words: Vec<_> = own.split_ascii_whitespace().collect();
    let short = format!("worker-1234{number:02x}");
    let whole = format!("{short}.lab.test");
    let address = console.run("ip -4 -o address show scope global | awk '{print $4}'")?;
    let address = address.split('/').next().unwrap_or_default();
    ensure!(
        words == [address, &whole, &short],
        "it is {own:?} to itself, and has {address}"
    );
    Ok(())
}

/// What /run/ramboot says of kernel and initramfs is what the machine was started with.
fn starts_again(case: &Case, worker: &mut Worker) -> Result<()> {
    let text = worker.console.run("cat /run/ramboot/boot.json")?;
    let record: Value = serde_json::from_str(&text).with_context(|| format!("reading {text}"))?;
    let cmdline = worker.console.run("cat /proc/cmdline")?;
    ensure!(record["kexec"]["cmdline"] == cmdline, "{text}");
    for file in ["kernel", "initrd"] {
        let url = record["kexec"][file].as_str().context("a URL")?;
        let base = format!("http://{MANAGER}:{}", direct::PORT);
        let path = url.strip_prefix(&base);
        let path = path.with_context(|| format!("{url} is not below {base}"))?;
        let name = Path::new(path).file_name().context("a name")?;
        let started = fs::read(case.dir().join(name)).with_context(|| format!("{name:?}"))?;
        ensure!(direct::get(path)? == started, "{url} is another {file}");
    }
    Ok(())
}
