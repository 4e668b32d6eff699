//! TFTP beside dnsmasq's, tftpd-hpa's and the crate async-tftp's: throughput, and CPU time of the serving processes.
//!
//! All serve the same file, blocks of 1 468 bytes, on the loopback of a network namespace. dnsmasq 2.90 and tftpd-hpa 5.2 know
//! no window (RFC 7440) and answer requests for one with single blocks, as the RFC wants it. tftpd-hpa has a process a
//! transfer. async-tftp 0.4.2 knows windows; why it is not the server here is in ARCHITECTURE.md, and is not its speed.

use std::cell::RefCell;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::lan::{self, Lan};
use crate::pairs::{Contender, Reading};
use crate::plan::Plan;
use crate::process::{Process, program};

/// Clients and their window.
const ROWS: [(u32, u16); 4] = [(1, 1), (1, 16), (50, 1), (50, 16)];
const FILE: &str = "undionly.kpxe";
/// 12 MB for a client that is alone, which fetches it four times.
const FILE_BYTES: usize = 3_000_000;
const TIMES_ALONE: u32 = 4;
const BLOCK_BYTES: usize = 1468;
const OURS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 69);
const DNSMASQ: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 2), 69);
const TFTPD_HPA: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 1069);
const ASYNC_TFTP: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 3), 69);
const CLIENTS: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);
/// A Raspberry Pi's; what is lost on the way costs that much.
const REPEAT: Duration = Duration::from_secs(2);

/// The rows of this section that are wanted.
pub(crate) fn rows(plan: &mut Plan) -> anyhow::Result<()> {
    let name = |(clients, window)| format!("tftp {clients} window {window}");
    let wanted: Vec<_> = ROWS
        .into_iter()
        .filter(|row| plan.wants(&name(*row)))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let lan = Lan::new(lan::Path::Loopback)?;
    let folder = tempfile::tempdir()?;
    // tftpd-hpa hands out what everybody may read.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    fs::write(folder.path().join(FILE), vec![0x5a; FILE_BYTES])?;
    let servers = [
        ("ramboot", ramboot(&lan, folder.path()), OURS),
        ("dnsmasq", dnsmasq(&lan, folder.path())?, DNSMASQ),
        ("tftpd-hpa", tftpd_hpa(&lan, folder.path())?, TFTPD_HPA),
        ("async-tftp", async_tftp(&lan, folder.path())?, ASYNC_TFTP),
    ]
    .map(|(name, command, address)| {
        anyhow::Ok((name, RefCell::new(Server::start(&lan, command, address)?)))
    });
    let servers = servers.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    for row in wanted {
        let contenders: Vec<_> = servers
            .iter()
            .map(|(name, server)| {
                let lan = &lan;
                Contender::new(name, move || measure(lan, &mut server.borrow_mut(), row))
            })
            .collect();
        plan.measure(name(row), contenders)?;
    }
    Ok(())
}

fn measure(
    lan: &Lan,
    server: &mut Server,
    (clients, window): (u32, u16),
) -> anyhow::Result<Vec<Reading>> {
    let times = if clients == 1 { TIMES_ALONE } else { 1 };
    let (mut seconds, mut cpu) = (0.0, 0.0);
    for _ in 0..times {
        let before = server.process.cpu_seconds()?;
        let begin = Instant::now();
        let last = fetch_all(lan, server.address, clients, window)?;
        seconds += begin.elapsed().as_secs_f64();
        cpu += server.process.cpu_seconds()? - before;
        last.iter().try_for_each(Last::acknowledge)?;
        server.process.wait_for_children()?;
    }
    let bytes = f64::from(clients) * f64::from(times) * FILE_BYTES as f64;
    let reading = |what, unit, value| Reading { what, unit, value };
    Ok(vec![
        reading("rate", "MB/s", bytes / 1e6 / seconds),
        reading("CPU", "s/GB", cpu / (bytes / 1e9)),
    ])
}

fn fetch_all(
    lan: &Lan,
    server: SocketAddr,
    clients: u32,
    window: u16,
) -> anyhow::Result<Vec<Last>> {
    let clients: Vec<_> = (0..clients)
        .map(|client| {
            // An address each, as machines have them: the server counts by it.
            let own = Ipv4Addr::from(u32::from(CLIENTS) + client);
            lan.client(move || fetch(own, server, window))
        })
        .collect();
    let joined = clients.into_iter().map(|client| {
        let joined = client.join();
        joined.map_err(|_| anyhow::anyhow!("a client panicked"))?
    });
    joined.collect()
}

/// A transfer that is complete but for its last ACK: until that comes, a process that serves it is there, and what it
/// took can be read.
struct Last {
    socket: UdpSocket,
    block: u16,
}

impl Last {
    fn acknowledge(&self) -> anyhow::Result<()> {
        acknowledge(&self.socket, self.block)
    }
}

fn acknowledge(socket: &UdpSocket, block: u16) -> anyhow::Result<()> {
    let [high, low] = block.to_be_bytes();
    socket.send(&[0, 4, high, low])?;
    Ok(())
}

/// Reads the file and throws it away; the length is checked.
fn fetch(own: Ipv4Addr, server: SocketAddr, window: u16) -> anyhow::Result<Last> {
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
    acknowledge(&socket, 0)?;
    loop {
        let Ok(len) = socket.recv(&mut buffer) else {
            acknowledge(&socket, block)?;
            continue;
        };
        anyhow::ensure!(buffer[1] != 5, "{}", buffer[..len].escape_ascii());
        if buffer[1] != 3 || buffer[2..4] != block.wrapping_add(1).to_be_bytes() {
            continue;
        }
        block = block.wrapping_add(1);
        bytes += len - 4;
        pending += 1;
        if len < BLOCK_BYTES + 4 {
            anyhow::ensure!(bytes == FILE_BYTES, "{bytes} bytes");
            return Ok(Last { socket, block });
        }
        if pending == window {
            pending = 0;
            acknowledge(&socket, block)?;
        }
    }
}

fn ramboot(lan: &Lan, folder: &Path) -> Command {
    let mut command = lan.command(env!("CARGO_BIN_EXE_ramboot"));
    command
        .args(["--log=warn", "serve", "--dhcp=off", "--interface=lo"])
        .arg("--state")
        .arg(folder)
        .arg("--ipxe-dir")
        .arg(folder);
    command
}

fn dnsmasq(lan: &Lan, folder: &Path) -> anyhow::Result<Command> {
    let mut command = lan.command(&program("dnsmasq")?);
    command
        .args(["--conf-file=/dev/null", "--keep-in-foreground", "--port=0"])
        .args(["--user=root", "--log-facility=/dev/null", "--pid-file="])
        .args(["--bind-interfaces", "--enable-tftp", "--tftp-max=1000"])
        .arg(format!("--listen-address={}", DNSMASQ.0))
        .arg(format!("--tftp-root={}", folder.display()));
    Ok(command)
}

/// A process for each transfer.
fn tftpd_hpa(lan: &Lan, folder: &Path) -> anyhow::Result<Command> {
    let mut command = lan.command(&program("in.tftpd")?);
    command
        .args(["--foreground", "--user", "root"])
        // A port alone: it takes no address where there is but a loopback (getaddrinfo's AI_ADDRCONFIG).
        .args(["--address", ":1069", "--secure"])
        .arg(folder);
    Ok(command)
}

/// This program itself, in the server's part.
fn async_tftp(lan: &Lan, folder: &Path) -> anyhow::Result<Command> {
    let own = std::env::current_exe().context("finding this program")?;
    let mut command = lan.command(&own.display().to_string());
    command
        .args(["async-tftp", &SocketAddr::from(ASYNC_TFTP).to_string()])
        .arg(folder);
    Ok(command)
}

/// A server that answers.
struct Server {
    process: Process,
    address: SocketAddr,
}

impl Server {
    fn start(lan: &Lan, mut command: Command, address: (Ipv4Addr, u16)) -> anyhow::Result<Self> {
        let mut process = Process::spawn(command.stdout(Stdio::null()))?;
        let address = address.into();
        process.wait_for(&format!("TFTP on {address}"), || {
            lan.on_client(move || match fetch(CLIENTS, address, 1) {
                Ok(last) => last.acknowledge().map(|()| true),
                Err(_) => Ok(false),
            })
        })?;
        Ok(Self { process, address })
    }
}
