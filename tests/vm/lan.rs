//! A private network: a bridge in a namespace of its own, with nothing on it but what the test puts there.
//!
//! The namespace belongs to the thread that made it and to the programs this thread starts. It has no name and no file,
//! so it is gone with them, whatever becomes of the test.

use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, unshare};

use crate::BOOT;
use crate::case::Case;
use crate::process::{Process, command, run};
use crate::router::Router;
use crate::transcript::Transcript;

/// The bridge, where the manager listens.
pub(crate) const BRIDGE: &str = "lan0";
/// The manager's address.
pub(crate) const MANAGER: &str = "192.168.77.1";
/// What the manager may give out in full mode.
pub(crate) const POOL: &str = "192.168.77.100-192.168.77.199";
/// The other DHCP server's address, and what it gives out.
pub(crate) const NEIGHBOUR: &str = "192.168.77.2";
const NEIGHBOUR_RANGE: &str = "192.168.77.50,192.168.77.90";

/// The network; the thread that made it stays in it.
#[derive(Debug)]
pub(crate) struct Lan {
    taps: Cell<u32>,
    _router: Router,
}

/// A DHCP server that knows nothing of booting, in its own namespace on the same bridge.
#[derive(Debug)]
pub(crate) struct Neighbour {
    /// What it logs.
    pub(crate) log: Transcript,
    _process: Process,
}

impl Lan {
    /// Moves this thread into a new network.
    pub(crate) fn new() -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).context(
            "making a network namespace (run as root, or by `make vm`, which makes a user namespace first)",
        )?;
        let address = format!("{MANAGER}/24");
        for args in [
            // Without its forward delay a bridge swallows the first 15 s, and firmware gives up after 10.
            "link add lan0 type bridge forward_delay 0 stp_state 0",
            "link set lo up",
            "link set lan0 up",
        ] {
            ip(args)?;
        }
        ip(&format!("address add {address} dev {BRIDGE}"))?;
        Ok(Self {
            taps: Cell::new(0),
            _router: Router::start(BRIDGE).context("starting a router of IPv6")?,
        })
    }

    /// A port for one machine.
    pub(crate) fn tap(&self) -> Result<Tap> {
        let number = self.taps.get();
        self.taps.set(number + 1);
        let name = format!("tap{number}");
        ip(&format!("tuntap add {name} mode tap"))?;
        ip(&format!("link set {name} master {BRIDGE} up"))?;
        Ok(Tap { number, name })
    }

    /// Starts dnsmasq beside the manager, giving addresses and nothing else.
    pub(crate) fn dhcp_server(&self, case: &Case) -> Result<Neighbour> {
        self.dhcp_server_leasing(case, "1h")
    }

    /// The same with leases this long; dnsmasq gives none below two minutes.
    pub(crate) fn dhcp_server_leasing(&self, case: &Case, lease: &str) -> Result<Neighbour> {
        self.dnsmasq(case, lease, "--port=0")
    }

    /// The same as the name server of lab.test, where everything is 10.9.8.7; it logs who asks. It gives a search list, classless
    /// routes, a router that whoever takes those must not use, an MTU and an NTP server.
    pub(crate) fn name_server(&self, case: &Case) -> Result<Neighbour> {
        let flags = format!(
            "--no-resolv --no-hosts --log-queries --address=/lab.test/10.9.8.7 --domain=lab.test \
             --dhcp-option=option:domain-search,first.lab.test,lab.test --dhcp-option=option:router,192.168.77.99 \
             --dhcp-option=121,0.0.0.0/0,{MANAGER},10.9.8.0/24,{NEIGHBOUR},10.17.0.0/16,0.0.0.0 \
             --dhcp-option=option:mtu,1400 --dhcp-option=option:ntp-server,{NEIGHBOUR}"
        );
        self.dnsmasq(case, "1h", &flags)
    }

    fn dnsmasq(&self, case: &Case, lease: &str, flags: &str) -> Result<Neighbour> {
        let serve = format!(
            "exec dnsmasq --no-daemon --conf-file=/dev/null --interface=port1 \
             --bind-interfaces --dhcp-authoritative --dhcp-range={NEIGHBOUR_RANGE},{lease} --dhcp-leasefile=dnsmasq.leases \
             --pid-file= --log-dhcp --log-facility=- {flags}"
        );
        let mut process = self.station(case, "port", &format!("{NEIGHBOUR}/24"), &serve)?;
        let log = Transcript::follow(
            "dnsmasq",
            process.stderr()?,
            Some(case.file("dnsmasq.log")?),
        );
        log.expect("DHCP, IP range", BOOT)?;
        Ok(Neighbour {
            log,
            _process: process,
        })
    }

    /// A station in its own namespace, with `address` on a cable to the bridge whose far end is called `name`1; it runs
    /// `script` when the cable is there.
    pub(crate) fn station(
        &self,
        case: &Case,
        name: &str,
        address: &str,
        script: &str,
    ) -> Result<Process> {
        // unshare keeps the pid; the shell waits until its end of the cable is there, then goes on.
        let script = format!(
            "echo unshared; read -r go; ip link set lo up; ip address add {address} dev {name}1; \
             ip link set {name}1 up; {script}"
        );
        let mut process = Process::spawn(
            name,
            command("unshare")
                .args(["--net", "sh", "-euc", &script])
                .current_dir(case.dir())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped()),
        )?;
        let mut line = String::new();
        BufReader::new(process.stdout()?).read_line(&mut line)?;
        ensure!(line == "unshared\n", "the namespace of {name}: {line:?}");
        self.cable(name)?;
        ip(&format!("link set {name}1 netns {}", process.id()))?;
        process.stdin()?.write_all(b"go\n")?;
        Ok(process)
    }

    /// From now on so many of a hundred frames to and from the manager are lost, each by itself.
    pub(crate) fn lose(&self, percent: u8) -> Result<()> {
        // What leaves as one piece of 64 KiB and is cut by the NIC would be lost as one.
        ip(&format!("link set {BRIDGE} gso_max_segs 1"))?;
        let hooks = ["input", "output"].map(|hook| {
            format!(
                "add chain bridge wire {hook} {{ type filter hook {hook} priority 0; }}; \
                 add rule bridge wire {hook} numgen random mod 100 < {percent} counter drop"
            )
        });
        let rules = format!("flush ruleset; add table bridge wire; {}", hooks.join("; "));
        run("nft", &[&rules]).map(drop)
    }

    /// Frames lost since [`Lan::lose`] was called last.
    pub(crate) fn lost(&self) -> Result<u64> {
        let rules = run("nft", &["list ruleset"])?;
        let counters = rules.split("counter packets ").skip(1);
        counters
            .map(|rest| rest.split(' ').next().unwrap_or_default().parse::<u64>())
            .sum::<Result<_, _>>()
            .with_context(|| format!("reading the counters in {rules}"))
    }

    /// A cable to the bridge, whose far end `name`1 is still here.
    pub(crate) fn cable(&self, name: &str) -> Result<()> {
        ip(&format!("link add {name}0 type veth peer name {name}1"))?;
        ip(&format!("link set {name}0 master {BRIDGE} up"))?;
        Ok(())
    }
}

/// One port of the bridge.
#[derive(Debug)]
pub(crate) struct Tap {
    /// Counts from 0.
    pub(crate) number: u32,
    /// The interface.
    pub(crate) name: String,
}

impl Tap {
    /// From now on it carries no more than this to the machine, with a switch's queue of 50 ms before it.
    pub(crate) fn slow(&self, megabits: u32) -> Result<()> {
        let shape = format!("rate {megabits}mbit burst 16kb latency 50ms");
        let args = format!("qdisc replace dev {} root tbf {shape}", self.name);
        run("tc", &args.split(' ').collect::<Vec<_>>()).map(drop)
    }

    /// The line that [`Tap::slow`] made slow is as fast as it can be.
    pub(crate) fn fast(&self) -> Result<()> {
        run("tc", &["qdisc", "del", "dev", &self.name, "root"]).map(drop)
    }

    /// Bytes that went to the machine so far, headers and all; for the thread that made the network.
    pub(crate) fn delivered(&self) -> Result<u64> {
        // Not /sys: it shows the network of whoever mounted it.
        let table = fs::read_to_string("/proc/thread-self/net/dev")?;
        let line = table
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(&format!("{}:", self.name)))
            .with_context(|| format!("no {} in {table}", self.name))?;
        // Eight columns of receiving, then sending, which begins with bytes.
        let sent = line.split_ascii_whitespace().nth(8);
        sent.with_context(|| format!("no ninth column in {line:?}"))?
            .parse()
            .with_context(|| format!("reading the counter in {line:?}"))
    }
}

/// Runs `ip` in this thread's network.
pub(crate) fn ip(args: &str) -> Result<String> {
    run("ip", &args.split(' ').collect::<Vec<_>>())
}
