//! The two servers, each in a network namespace of its own at the other end of a veth pair, on the second core.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::process::{Process, program};

/// What the server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Beside another server.
    Proxy,
    /// Gives addresses.
    Full,
}

/// A server that runs; ended when dropped.
pub(crate) struct Server {
    pub(crate) process: Process,
    /// Our end of its cable.
    pub(crate) interface: String,
    _state: Option<tempfile::TempDir>,
}

impl Server {
    pub(crate) fn ramboot(mode: Mode) -> anyhow::Result<Self> {
        let state = tempfile::tempdir()?;
        let flags = match mode {
            Mode::Proxy => "--dhcp=proxy",
            Mode::Full => "--dhcp=full --force --pool=10.98.1.0-10.98.8.255",
        };
        let command = format!(
            "{} --log=warn serve --interface=s --state={} {flags}",
            env!("CARGO_BIN_EXE_ramboot"),
            state.path().display()
        );
        Self::start("r", &command, Some(state))
    }

    pub(crate) fn dnsmasq(mode: Mode) -> anyhow::Result<Self> {
        let flags = match mode {
            Mode::Proxy => "--dhcp-range=10.98.0.1,proxy --pxe-service=x86PC,boot,undionly",
            Mode::Full => {
                "--dhcp-range=10.98.1.0,10.98.8.255,1h --no-ping --dhcp-authoritative --dhcp-lease-max=4000"
            }
        };
        let command = format!(
            "{} --keep-in-foreground --user=root --conf-file=/dev/null --port=0 --interface=s --bind-interfaces --leasefile-ro \
             --pid-file= --quiet-dhcp --log-facility=/dev/null {flags}",
            program("dnsmasq")?
        );
        Self::start("d", &command, None)
    }

    /// The shell waits until its end of the cable is there, then becomes the server.
    fn start(name: &str, command: &str, state: Option<tempfile::TempDir>) -> anyhow::Result<Self> {
        let script = format!(
            "read -r go; ip link set lo up; ip address add 10.98.0.1/16 dev s; ip link set s up; exec taskset -c 1 {command}"
        );
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-euc", &script]);
        let mut process = Process::spawn(command.stdin(Stdio::piped()))?;
        let pid = process.pid();
        let ours = fs::read_link("/proc/thread-self/ns/net")?;
        process.wait_for("its namespace", || {
            Ok(fs::read_link(format!("/proc/{pid}/ns/net"))? != ours)
        })?;
        let interface = format!("{name}{pid}");
        ip(&format!(
            "link add {interface} type veth peer name s netns {pid}"
        ))?;
        ip(&format!("link set {interface} up"))?;
        let mut stdin = process.stdin().context("a pipe")?;
        stdin.write_all(b"go\n")?;
        process.wait_for("its DHCP port", || {
            // 0043 is port 67.
            Ok(fs::read_to_string(format!("/proc/{pid}/net/udp"))?.contains(":0043 "))
        })?;
        Ok(Self {
            process,
            interface,
            _state: state,
        })
    }
}

fn ip(args: &str) -> anyhow::Result<()> {
    let status = Command::new("ip").args(args.split(' ')).status()?;
    ensure!(status.success(), "ip {args}: {status}");
    Ok(())
}
