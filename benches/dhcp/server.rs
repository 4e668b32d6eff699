//! The two servers, each in a network namespace of its own at the other end of a veth pair, on the second core.

use std::fs;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

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
    child: Child,
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
            "dnsmasq --no-daemon --conf-file=/dev/null --port=0 --interface=s --bind-interfaces --leasefile-ro \
             --pid-file= --quiet-dhcp --log-facility=/dev/null {flags}"
        );
        Self::start("d", &command, None)
    }

    /// The shell waits until its end of the cable is there, then becomes the server.
    fn start(name: &str, command: &str, state: Option<tempfile::TempDir>) -> anyhow::Result<Self> {
        let script = format!(
            "read -r go; ip link set lo up; ip address add 10.98.0.1/16 dev s; ip link set s up; exec taskset -c 1 {command}"
        );
        let child = Command::new("unshare")
            .args(["--net", "sh", "-euc", &script])
            .stdin(Stdio::piped())
            .spawn()
            .context("running unshare")?;
        let interface = format!("{name}{}", child.id());
        let ours = fs::read_link("/proc/thread-self/ns/net")?;
        let mut server = Self {
            interface,
            _state: state,
            child,
        };
        let pid = server.child.id();
        server.wait_for("its namespace", || {
            Ok(fs::read_link(format!("/proc/{pid}/ns/net"))? != ours)
        })?;
        let interface = server.interface.clone();
        ip(&format!(
            "link add {interface} type veth peer name s netns {pid}"
        ))?;
        ip(&format!("link set {interface} up"))?;
        let mut stdin = server.child.stdin.take().context("a pipe")?;
        stdin.write_all(b"go\n")?;
        server.wait_for("its DHCP port", || {
            // 0043 is port 67.
            Ok(fs::read_to_string(format!("/proc/{pid}/net/udp"))?.contains(":0043 "))
        })?;
        Ok(server)
    }

    fn wait_for(
        &mut self,
        what: &str,
        fact: impl Fn() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let begin = Instant::now();
        while !fact()? {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("the server on {} ended: {status}", self.interface);
            }
            ensure!(
                begin.elapsed() < Duration::from_secs(10),
                "waited 10 s for {what}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// CPU time of the process and its threads, in seconds.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let mut nanoseconds = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            nanoseconds += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(nanoseconds as f64 / 1e9)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ip(args: &str) -> anyhow::Result<()> {
    let status = Command::new("ip").args(args.split(' ')).status()?;
    ensure!(status.success(), "ip {args}: {status}");
    Ok(())
}
