//! Networks of their own: nothing is sent on the machine's.

use std::fmt;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use nix::sched::{CloneFlags, setns};

use crate::process::Process;

/// How clients reach servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// The loopback of one network namespace.
    Loopback,
    /// Two network namespaces joined by a veth pair.
    Veth,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Loopback => "loopback",
            Self::Veth => "veth",
        })
    }
}

/// The network of a row.
#[derive(Debug)]
pub(crate) struct Lan {
    path: Path,
    /// Each holds a network namespace; servers are in the first, clients in the last.
    namespaces: Vec<Process>,
}

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

impl Lan {
    /// # Errors
    /// There is no right to make network namespaces.
    pub(crate) fn new(path: Path) -> anyhow::Result<Self> {
        let mut namespaces = vec![namespace()?];
        if path == Path::Veth {
            namespaces.push(namespace()?);
        }
        for holder in &namespaces {
            ip(holder, "link set lo up")?;
        }
        if let [server, client] = namespaces.as_slice() {
            let peer = client.pid();
            ip(
                server,
                &format!("link add s0 type veth peer name c0 netns {peer}"),
            )?;
            ip(server, &format!("address add {SERVER}/24 dev s0"))?;
            ip(client, "address add 10.99.0.2/24 dev c0")?;
            ip(server, "link set s0 up")?;
            ip(client, "link set c0 up")?;
        }
        Ok(Self { path, namespaces })
    }

    /// A program on the servers' side.
    pub(crate) fn command(&self, program: &str) -> Command {
        enter(&self.namespaces[0], program)
    }

    /// Where a server listens.
    pub(crate) fn address(&self, port: u16) -> SocketAddr {
        match self.path {
            Path::Loopback => (Ipv4Addr::LOCALHOST, port).into(),
            Path::Veth => (SERVER, port).into(),
        }
    }

    /// The interface of that address.
    pub(crate) fn interface(&self) -> &'static str {
        match self.path {
            Path::Loopback => "lo",
            Path::Veth => "s0",
        }
    }

    /// A thread on the clients' side.
    pub(crate) fn client<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> JoinHandle<anyhow::Result<T>> {
        let holder = self.namespaces.last().map(Process::pid);
        thread::spawn(move || {
            let path = format!("/proc/{}/ns/net", holder.context("a namespace")?);
            setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?;
            work()
        })
    }

    /// The same, waited for.
    pub(crate) fn on_client<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let joined = self.client(work).join();
        joined.map_err(|_| anyhow::anyhow!("a client panicked"))?
    }
}

/// A process that holds a network namespace; it is there when it differs from ours.
fn namespace() -> anyhow::Result<Process> {
    let mut command = Command::new("unshare");
    let mut child = Process::spawn(command.args(["--net", "sleep", "infinity"]))?;
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net"));
    let (ours, pid) = (of("thread-self")?, child.pid().to_string());
    child.wait_for("a network namespace (root is needed)", || {
        Ok(of(&pid)? != ours)
    })?;
    Ok(child)
}

fn enter(holder: &Process, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/proc/{}/ns/net", holder.pid()))
        .arg(program);
    command
}

fn ip(holder: &Process, args: &str) -> anyhow::Result<()> {
    let status = enter(holder, "ip")
        .args(args.split(' '))
        .status()
        .context("running ip")?;
    anyhow::ensure!(status.success(), "ip {args}: {status}");
    Ok(())
}
