//! Two network namespaces joined by a cable (veth): the manager's, with an address, and the machines', with a route.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use anyhow::{Context, bail, ensure};
use nix::sched::{CloneFlags, setns};

use super::process::{Process, run, tied, wait_for};
use super::wire::{counters, risen};

/// The manager's address; it has the network /16.
pub const MANAGER: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 1);
/// The manager's end of the cable.
pub(super) const SERVER_END: &str = "s0";
/// The machines' end.
const CLIENT_END: &str = "c0";
/// Of a LAN with bridges: the cable between them.
const CABLE: &str = "link add v0 master s0 up type veth peer name p0 netns";
/// An address for clients that ask no DHCP.
const STRANGERS: &str = "10.98.0.2/16";

/// The network; gone when it is dropped.
#[derive(Debug)]
pub struct Lan {
    server: Process,
    client: Process,
}

impl Lan {
    /// Makes it.
    ///
    /// # Errors
    /// Namespaces need root.
    pub fn new() -> anyhow::Result<Self> {
        let lan = Self {
            server: namespace()?,
            client: namespace()?,
        };
        let client = lan.client.id();
        let (server_end, client_end) = (SERVER_END, CLIENT_END);
        let cable =
            format!("link add {server_end} type veth peer name {client_end} netns {client}");
        for args in [
            cable,
            "link set lo up".to_owned(),
            format!("address add {MANAGER}/16 dev {server_end}"),
            format!("link set {server_end} up"),
        ] {
            run(enter(&lan.server, "ip").args(args.split(' ')))?;
        }
        for args in [
            "link set lo up".to_owned(),
            format!("address add {STRANGERS} dev {client_end}"),
            format!("link set {client_end} up"),
        ] {
            run(enter(&lan.client, "ip").args(args.split(' ')))?;
        }
        Ok(lan)
    }

    /// The same with a bridge on either side and the cable between these, so that the manager's interface and the cable can go
    /// while the machines' interface stays. Hardware addresses are fixed.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn bridged() -> anyhow::Result<Self> {
        let lan = Self {
            server: namespace()?,
            client: namespace()?,
        };
        for (side, batch) in [
            (
                &lan.client,
                format!(
                    "link set lo up\nlink add {CLIENT_END} address 02:98:00:00:00:02 type bridge\n\
                     address add {STRANGERS} dev {CLIENT_END}\nlink set {CLIENT_END} up\n"
                ),
            ),
            (&lan.server, format!("link set lo up\n{}", bridge(MANAGER))),
        ] {
            change(side, &batch)?;
        }
        // An address that is beside the first takes its place when that goes, and does not go with it.
        let promote = "echo 1 >/proc/sys/net/ipv4/conf/all/promote_secondaries";
        run(enter(&lan.server, "sh").args(["-c", promote]))?;
        lan.plug()?;
        Ok(lan)
    }

    /// Makes the cable of [`Self::bridged`], which went with [`Self::unplug`].
    ///
    /// # Errors
    /// It is there.
    pub fn plug(&self) -> anyhow::Result<()> {
        change(&self.server, &format!("{CABLE} {}\n", self.client.id()))?;
        change(
            &self.client,
            &format!("link set p0 master {CLIENT_END} up\n"),
        )
    }

    /// Takes it away.
    ///
    /// # Errors
    /// It is not there.
    pub fn unplug(&self) -> anyhow::Result<()> {
        self.change("link del v0\n")
    }

    /// Lines for `ip -batch`, on the manager's side.
    ///
    /// # Errors
    /// One of them fails.
    pub fn change(&self, batch: &str) -> anyhow::Result<()> {
        change(&self.server, batch)
    }

    /// The interface that machines are on.
    #[must_use]
    pub fn interface(&self) -> String {
        CLIENT_END.to_owned()
    }

    /// The manager's NIC sends no more than so many megabits a second, behind the queue that a NIC has under Linux where
    /// nobody chose another: `pfifo_fast`, a thousand packets. TCP waits for it (TSQ) and loses nothing there, as on a real one.
    ///
    /// # Errors
    /// `tc` is missing, or the kernel has no token bucket.
    pub fn shape(&self, megabits: u32) -> anyhow::Result<()> {
        let bucket = format!("root handle 1: tbf rate {megabits}mbit burst 128kb latency 20ms");
        for qdisc in [bucket.as_str(), "parent 1: pfifo_fast"] {
            let args = format!("qdisc replace dev {SERVER_END} {qdisc}");
            run(enter(&self.server, "tc").args(args.split(' ')))?;
        }
        Ok(())
    }

    /// Does something, and says what the kernel lost or sent again meanwhile, on either end.
    ///
    /// # Errors
    /// There is no /proc.
    pub fn watched<T>(&self, work: impl FnOnce() -> T) -> anyhow::Result<(T, String)> {
        let ends = [self.server.id(), self.client.id()];
        let before = counters(&ends)?;
        let done = work();
        Ok((done, risen(&before, &counters(&ends)?)))
    }

    /// A thread on the machines' side.
    pub fn client<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> JoinHandle<anyhow::Result<T>> {
        let namespace = format!("/proc/{}/ns/net", self.client.id());
        thread::spawn(move || {
            setns(File::open(namespace)?, CloneFlags::CLONE_NEWNET)?;
            work()
        })
    }

    /// A program on the manager's side.
    pub(super) fn server_command(&self, program: &str) -> Command {
        enter(&self.server, program)
    }
}

/// For `ip -batch`: the manager's interface of [`Lan::bridged`], with this address.
#[must_use]
pub fn bridge(address: Ipv4Addr) -> String {
    format!(
        "link add {SERVER_END} address 02:98:00:00:00:01 type bridge\n\
         address add {address}/16 dev {SERVER_END}\nlink set {SERVER_END} up\n"
    )
}

fn change(side: &Process, batch: &str) -> anyhow::Result<()> {
    let mut ip = enter(side, "ip");
    ip.args(["-batch", "-"]).stdin(Stdio::piped());
    let mut ip = Process::spawn(&mut ip)?;
    let mut stdin = ip.0.stdin.take().context("a pipe")?;
    stdin.write_all(batch.as_bytes())?;
    drop(stdin);
    let status = ip.0.wait()?;
    ensure!(status.success(), "ip: {status} at {batch}");
    Ok(())
}

fn namespace() -> anyhow::Result<Process> {
    let process = Process::spawn(tied("unshare").args(["--net", "sleep", "infinity"]))?;
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net"));
    let (ours, pid) = (of("self")?, process.id().to_string());
    let mut process = process;
    wait_for("a network namespace", || {
        if let Some(status) = process.0.try_wait()? {
            bail!("unshare --net: {status}: a network namespace needs root");
        }
        Ok(of(&pid).context("looking at its namespace")? != ours)
    })?;
    Ok(process)
}

fn enter(holder: &Process, program: &str) -> Command {
    let mut command = tied("nsenter");
    command
        .arg(format!("--net=/proc/{}/ns/net", holder.id()))
        .arg(program);
    command
}
