//! TFTP beside dnsmasq's: throughput, and CPU seconds per GB of the serving process.
//!
//! Both serve the same file, blocks of 1 468 bytes, on the loopback of a network namespace of its own (needs root). Runs
//! alternate (A B A B …) in one session and the table shows the medians of the ratios of neighbouring runs. dnsmasq 2.90
//! knows no window (RFC 7440) and answers requests for one with single blocks, as the RFC wants it.
//!
//! `cargo bench --bench tftp`.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sched::{CloneFlags, unshare};

const FILE: &str = "undionly.kpxe";
/// 12 MB for a client that is alone, which fetches it four times.
const FILE_BYTES: usize = 3_000_000;
const FETCHES_ALONE: usize = 4;
const BLOCK_BYTES: usize = 1468;
const PAIRS: usize = 3;
const OURS: Ipv4Addr = Ipv4Addr::LOCALHOST;
const CLIENTS: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);
const DNSMASQ: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// A Raspberry Pi's; what is lost on the way costs that much.
const REPEAT: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    // Before there are threads: they and the servers are all inside.
    unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace (root is needed)")?;
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status();
    anyhow::ensure!(up.context("running ip")?.success(), "ip link set lo up");
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join(FILE), vec![0x5a; FILE_BYTES])?;
    let ours = Server::start(ramboot(folder.path()), OURS)?;
    let dnsmasq = Server::start(dnsmasq(folder.path()), DNSMASQ)?;
    println!("TFTP of {FILE_BYTES} bytes, {PAIRS} pairs of runs, ours / dnsmasq; medians\n");
    println!(
        "{:>7}{:>8}{:>12}{:>14}{:>12}{:>16}{:>12}",
        "clients",
        "window",
        "ours MB/s",
        "dnsmasq MB/s",
        "rate ratio",
        "ours CPU s/GB",
        "CPU ratio"
    );
    for (clients, window) in [(1, 1), (1, 16), (50, 1), (50, 16)] {
        let pairs = (0..=PAIRS)
            .map(|_| {
                Ok((
                    measure(&ours, clients, window)?,
                    measure(&dnsmasq, clients, window)?,
                ))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        // The first pair warms both.
        row(clients, window, &pairs[1..]);
    }
    Ok(())
}

fn row(clients: u32, window: u16, pairs: &[(Figures, Figures)]) {
    let of = |f: &dyn Fn(&(Figures, Figures)) -> f64| median(pairs.iter().map(f).collect());
    println!(
        "{clients:>7}{window:>8}{:>12.1}{:>14.1}{:>11.2}x{:>16.2}{:>11.2}x",
        of(&|(ours, _)| ours.rate),
        of(&|(_, dnsmasq)| dnsmasq.rate),
        of(&|(ours, dnsmasq)| ours.rate / dnsmasq.rate),
        of(&|(ours, _)| ours.cpu),
        of(&|(ours, dnsmasq)| ours.cpu / dnsmasq.cpu),
    );
}

struct Figures {
    /// MB/s (10⁶) of all clients together.
    rate: f64,
    /// CPU seconds per GB of the serving process.
    cpu: f64,
}

fn measure(server: &Server, clients: u32, window: u16) -> anyhow::Result<Figures> {
    let fetches = if clients == 1 { FETCHES_ALONE } else { 1 };
    let cpu = server.cpu_seconds()?;
    let begin = Instant::now();
    let clients: Vec<_> = (0..clients)
        .map(|client| {
            // An address each, as machines have them: the server counts by it.
            let own = Ipv4Addr::from(u32::from(CLIENTS) + client);
            let address = server.address;
            thread::spawn(move || (0..fetches).try_for_each(|_| fetch(own, address, window)))
        })
        .collect();
    let bytes = (clients.len() * fetches * FILE_BYTES) as f64;
    for client in clients {
        client
            .join()
            .map_err(|_| anyhow::anyhow!("a client panicked"))??;
    }
    Ok(Figures {
        rate: bytes / 1e6 / begin.elapsed().as_secs_f64(),
        cpu: (server.cpu_seconds()? - cpu) / (bytes / 1e9),
    })
}

/// Reads the file and throws it away; the length is checked.
fn fetch(own: Ipv4Addr, server: SocketAddr, window: u16) -> anyhow::Result<()> {
    let socket = UdpSocket::bind((own, 0))?;
    socket.set_read_timeout(Some(REPEAT))?;
    let mut request =
        format!("\0\x01{FILE}\0octet\0tsize\x000\0blksize\0{BLOCK_BYTES}\0").into_bytes();
    if window > 1 {
        request.extend_from_slice(format!("windowsize\0{window}\0").as_bytes());
    }
    let mut buffer = [0; 2048];
    socket.send_to(&request, server)?;
    let (len, from) = socket.recv_from(&mut buffer).context("no OACK")?;
    anyhow::ensure!(buffer[1] == 6, "{}", buffer[..len].escape_ascii());
    // Who does not know the option leaves it out.
    let known = buffer[..len].windows(10).any(|word| word == b"windowsize");
    let window = if known { window } else { 1 };
    socket.connect(from)?;
    let (mut block, mut pending, mut bytes) = (0_u16, 0, 0);
    let ack = |block: u16| {
        let [high, low] = block.to_be_bytes();
        socket.send(&[0, 4, high, low])
    };
    ack(0)?;
    loop {
        let Ok(len) = socket.recv(&mut buffer) else {
            ack(block)?;
            continue;
        };
        anyhow::ensure!(buffer[1] != 5, "{}", buffer[..len].escape_ascii());
        if buffer[1] != 3 || buffer[2..4] != block.wrapping_add(1).to_be_bytes() {
            continue;
        }
        block = block.wrapping_add(1);
        bytes += len - 4;
        pending += 1;
        let last = len < BLOCK_BYTES + 4;
        if last || pending == window {
            pending = 0;
            ack(block)?;
        }
        if last {
            anyhow::ensure!(bytes == FILE_BYTES, "{bytes} bytes");
            return Ok(());
        }
    }
}

fn ramboot(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ramboot"));
    command
        .args(["--log=warn", "serve", "--dhcp=off", "--interface=lo"])
        .arg("--state")
        .arg(folder)
        .arg("--ipxe-dir")
        .arg(folder);
    command
}

fn dnsmasq(folder: &Path) -> Command {
    let mut command = Command::new("dnsmasq");
    command
        .args(["--conf-file=/dev/null", "--keep-in-foreground", "--port=0"])
        .args(["--user=root", "--log-facility=/dev/null", "--pid-file="])
        .args(["--bind-interfaces", "--enable-tftp", "--tftp-max=1000"])
        .arg(format!("--listen-address={DNSMASQ}"))
        .arg(format!("--tftp-root={}", folder.display()));
    command
}

/// A server that answers; killed and waited for when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(mut command: Command, address: Ipv4Addr) -> anyhow::Result<Self> {
        let child = command
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        let mut server = Self {
            child,
            address: (address, 69).into(),
        };
        let begin = Instant::now();
        loop {
            if let Some(status) = server.child.try_wait()? {
                anyhow::bail!("{command:?} ended: {status}");
            }
            match fetch(CLIENTS, server.address, 1) {
                Ok(()) => return Ok(server),
                Err(error) if begin.elapsed() > Duration::from_secs(10) => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// CPU time of the process and its threads: the first field of schedstat, nanoseconds.
    fn cpu_seconds(&self) -> anyhow::Result<f64> {
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
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
