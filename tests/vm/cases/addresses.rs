//! The address a worker booted with is for ever, whatever network manager its image has and whoever dies.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use ramboot_wire::stage::Stage;

use crate::case::Case;
use crate::image::Image;
use crate::lan::{Lan, MANAGER, POOL};
use crate::machine::{Machine, Worker};
use crate::manager::Manager;
use crate::process::{Process, command};
use crate::transcript::Transcript;
use crate::{ANSWER, BOOT};

/// Five times the shortest lease there is, and twice dnsmasq's.
const OUTAGE: Duration = Duration::from_secs(300);

/// Seconds in a row. Eight machines that are emulated by two processors have been seen to answer one ping of 2 400 too
/// late; an address that is gone does not come back at all while nobody gives any.
const SHRUG: u64 = 2;

/// Writes down each address that comes or goes.
const WATCH: &str = "(ip -4 -oneline monitor address >/run/addresses 2>&1 &)";
/// What it wrote, after one more that comes and goes: who watches nothing does not see that, either.
const WATCHED: &str = "ip address add 127.9.9.9/32 dev lo && ip address delete 127.9.9.9/32 dev lo && \
    until grep -q 'Deleted.* 127.9.9.9/32' /run/addresses; do sleep 0.1; done; cat /run/addresses";

/// A network manager of the image, and how one sees that it runs and has the address.
struct Kind {
    /// As `/init` calls it.
    name: &'static str,
    /// What starts it.
    unit: &'static str,
    /// A command, and what it prints somewhere. What waits for a network must not wait in vain.
    knows: (&'static str, &'static str),
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "networkd",
        unit: "systemd-networkd.service",
        knows: (
            "/lib/systemd/systemd-networkd-wait-online --timeout=100 && networkctl --no-pager --lines=0 status $LINK",
            "/run/systemd/network/80-wired-ramboot.network",
        ),
    },
    Kind {
        name: "NetworkManager",
        unit: "NetworkManager.service",
        knows: (
            "nm-online -q -s -t 100 && nmcli -g GENERAL.CONNECTION device show $LINK",
            "ramboot",
        ),
    },
    Kind {
        name: "ifupdown",
        unit: "networking.service",
        knows: ("ifquery --state", "=ramboot"),
    },
    Kind {
        name: "dhcpcd",
        unit: "dhcpcd.service",
        knows: (
            "journalctl --no-pager --unit dhcpcd",
            "$LINK: using static address ADDRESS/24",
        ),
    },
];

/// A worker that is up, and what its lease said.
struct Booted {
    kind: &'static Kind,
    worker: Worker,
    address: Ipv4Addr,
    router: Ipv4Addr,
}

/// Full mode with leases of a minute, and proxy mode beside dnsmasq with leases of two, side by side: all who gave
/// something are killed, and for five minutes every worker answers each second.
pub(super) fn outlive_everybody(case: &Case) -> Result<()> {
    let store = case.own_store(&Image::network_managers()?)?;
    // A network belongs to the thread that makes it.
    let network = |story: fn(&Case, &Path) -> Result<()>, name: &str| {
        let folder = case.dir().file_name().context("a case has a name")?;
        let part = Case::new(&format!("{}/{name}", folder.display()))?;
        story(&part, &store).with_context(|| format!("in {name} mode"))
    };
    thread::scope(|scope| {
        let full = scope.spawn(|| network(full, "full"));
        let proxy = scope.spawn(|| network(proxy, "proxy"));
        for done in [full.join(), proxy.join()] {
            done.unwrap_or_else(|_| Err(anyhow!("a network's thread panicked")))?;
        }
        Ok(())
    })
}

fn full(case: &Case, store: &Path) -> Result<()> {
    let lan = Lan::new()?;
    let dhcp = format!("[dhcp]\nlease = 60\nrouter = \"{MANAGER}\"\ndns = [\"{MANAGER}\"]\n");
    let config = dhcp + &config();
    let args = ["--dhcp", "full", "--pool", POOL];
    let manager = Manager::serve(case, store, &config, &args)?;
    let workers = boot(case, &lan)?;
    manager.kill()?;
    five_minutes(case, workers)
}

fn proxy(case: &Case, store: &Path) -> Result<()> {
    let lan = Lan::new()?;
    let neighbour = lan.dhcp_server_leasing(case, "2m")?;
    let manager = Manager::serve(case, store, &config(), &["--dhcp", "proxy"])?;
    let workers = boot(case, &lan)?;
    manager.kill()?;
    drop(neighbour);
    five_minutes(case, workers)
}

/// One image for all; the kernel command line says which of its managers starts.
fn config() -> String {
    let mut text = "[boot]\ncmdline = \"console=ttyS0\"\n".to_owned();
    for (number, kind) in KINDS.iter().enumerate() {
        text += &format!(
            "[[worker]]\nmac = \"52:54:00:12:34:{number:02x}\"\ncmdline = \"systemd.wants={}\"\n",
            kind.unit
        );
    }
    text
}

/// Boots one machine of each kind, one after another in both networks: two processors do no more at once, and a daemon
/// that is starved at its start gives up.
fn boot(case: &Case, lan: &Lan) -> Result<Vec<Booted>> {
    static ONE: Mutex<()> = Mutex::new(());
    let mut workers = Vec::new();
    for kind in &KINDS {
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let worker = Machine::direct(768).boot(case, lan)?;
        let dhcp = worker.console.stage(Stage::Dhcp, BOOT)?;
        let given = |key| {
            let value = dhcp
                .fact(key)
                .with_context(|| format!("no {key} in {dhcp}"))?;
            value
                .parse()
                .with_context(|| format!("reading {key} in {dhcp}"))
        };
        let (address, router) = (given("addr")?, given("router")?);
        let mut booted = Booted {
            kind,
            worker,
            address,
            router,
        };
        let handover = booted.worker.console.stage(Stage::Handover, BOOT)?;
        ensure!(
            handover.fact("keeps") == Some(kind.name),
            "keeps={} is expected: {handover}",
            kind.name
        );
        // No unit has failed, and none is still waiting for a network.
        booted.worker.console.login()?;
        booted.is_as_it_was()?;
        workers.push(booted);
    }
    Ok(workers)
}

/// Nobody gives addresses any more.
fn five_minutes(case: &Case, mut workers: Vec<Booted>) -> Result<()> {
    let mut asked = Vec::new();
    for Booted {
        kind,
        address,
        worker,
        ..
    } in &mut workers
    {
        // What the kernel says of its addresses from here on.
        worker.console.run(WATCH)?;
        asked.push(ping(case, kind.name, *address)?);
    }
    for (Booted { kind, address, .. }, (_process, said)) in workers.iter().zip(asked) {
        let seconds = OUTAGE.as_secs();
        let last = said.expect("packets transmitted", OUTAGE + ANSWER)?.text;
        ensure!(
            last.starts_with(&format!("{seconds} packets transmitted,")),
            "ping of {address} was not to the end: {last}"
        );
        let away = longest_away(&said.texts(), seconds);
        ensure!(
            away <= SHRUG,
            "{address} of {} was away for {away} s in a row: {last}",
            kind.name
        );
    }
    for booted in &mut workers {
        booted.is_as_it_was()?;
        let changes = booted.worker.console.run(WATCHED)?;
        let mut lost = changes.lines().filter(|line| line.contains("Deleted"));
        ensure!(
            lost.all(|line| line.contains(" 127.9.9.9/32 ")),
            "{} lost an address meanwhile: {changes}",
            booted.kind.name
        );
        let banner = ssh_banner(booted.address);
        let banner = banner.with_context(|| format!("ssh to {}", booted.kind.name))?;
        ensure!(&banner == b"SSH-2.0-", "ssh says {banner:?}");
    }
    Ok(())
}

impl Booted {
    /// One address, for ever; default routes are the lease's; its manager runs and knows of it.
    fn is_as_it_was(&mut self) -> Result<()> {
        let Self {
            kind,
            worker,
            address,
            router,
        } = self;
        let console = &mut worker.console;
        let link = console.run("cd /sys/class/net; echo e*")?;
        let addresses = console.run(&format!("ip -4 -oneline address show dev {link}"))?;
        ensure!(
            addresses.lines().count() == 1
                && addresses.contains(&format!(" {address}/24 "))
                && addresses.contains("valid_lft forever preferred_lft forever"),
            "{} should have {address} and nothing else, for ever: {addresses}",
            kind.name
        );
        let routes = console.run("ip -4 route show default")?;
        let via = format!("via {router} dev {link}");
        ensure!(
            // NetworkManager adds its own, with a metric, to that of `/init`.
            !routes.is_empty() && routes.lines().all(|route| route.contains(&via)),
            "a default route {via}, and no other, is expected with {}: {routes}",
            kind.name
        );
        let state = console.run(&format!("systemctl is-active {}", kind.unit))?;
        ensure!(state == "active", "{} is {state}", kind.unit);
        let (ask, expected) = kind.knows;
        let answer = console.run(&format!("({}) | cat", ask.replace("$LINK", &link)))?;
        let expected = expected
            .replace("$LINK", &link)
            .replace("ADDRESS", &address.to_string());
        ensure!(
            answer.contains(&expected),
            "{expected} is expected of {ask}: {answer}"
        );
        Ok(())
    }
}

/// Asks each second until the time is over.
fn ping(case: &Case, name: &str, address: Ipv4Addr) -> Result<(Process, Transcript)> {
    let count = OUTAGE.as_secs().to_string();
    let mut process = Process::spawn(
        "ping",
        command("ping")
            .args([
                "-n",
                "-O",
                "-D",
                "-i",
                "1",
                "-c",
                &count,
                &address.to_string(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    )?;
    let log = case.file(&format!("ping-{name}.log"))?;
    let said = Transcript::follow("ping", process.stdout()?, Some(log));
    Ok((process, said))
}

/// The most seconds in a row without an answer.
fn longest_away(lines: &[String], seconds: u64) -> u64 {
    // "[1700000000.123456] 64 bytes from 192.168.77.71: icmp_seq=17 ttl=64 time=0.5 ms"
    let answered: BTreeSet<u64> = lines
        .iter()
        .filter(|line| line.contains(" bytes from "))
        .filter_map(|line| {
            line.split_once("icmp_seq=")?
                .1
                .split(' ')
                .next()?
                .parse()
                .ok()
        })
        .collect();
    let mut away = 0;
    let mut longest = 0;
    for number in 1..=seconds {
        away = if answered.contains(&number) {
            0
        } else {
            away + 1
        };
        longest = longest.max(away);
    }
    longest
}

fn ssh_banner(address: Ipv4Addr) -> Result<[u8; 8]> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((address, 22)), ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let mut banner = [0; 8];
    stream.read_exact(&mut banner)?;
    Ok(banner)
}
