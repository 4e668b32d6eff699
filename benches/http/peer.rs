//! The two servers and the two ways to reach them. All processes are children of the bench and end with it.

use std::fmt;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path as FilePath;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sched::{CloneFlags, setns};
use ramboot_wire::image::{CHUNK_BYTES, chaining_value, fold};

/// How clients reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// 127.0.0.1 of this machine.
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

/// The network of one row of the table.
pub(crate) struct Lan {
    /// Namespaces of server and client, each held by a process; none on loopback.
    namespaces: Option<(Process, Process)>,
}

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

impl Lan {
    pub(crate) fn new(path: Path) -> anyhow::Result<Self> {
        if path == Path::Loopback {
            return Ok(Self { namespaces: None });
        }
        let (server, client) = (namespace()?, namespace()?);
        let inside = |holder: &Process, args: &str| {
            let status = enter(holder, "ip")
                .args(args.split(' '))
                .status()
                .context("running ip")?;
            anyhow::ensure!(status.success(), "ip {args}: {status}");
            Ok(())
        };
        inside(
            &server,
            &format!("link add s0 type veth peer name c0 netns {}", client.0.id()),
        )?;
        for (holder, link, address) in [
            (&server, "s0", "10.99.0.1/24"),
            (&client, "c0", "10.99.0.2/24"),
        ] {
            inside(holder, "link set lo up")?;
            inside(holder, &format!("address add {address} dev {link}"))?;
            inside(holder, &format!("link set {link} up"))?;
        }
        Ok(Self {
            namespaces: Some((server, client)),
        })
    }

    fn command(&self, program: &str) -> Command {
        match &self.namespaces {
            None => Command::new(program),
            Some((server, _)) => enter(server, program),
        }
    }

    fn address(&self, port: u16) -> (SocketAddr, &'static str) {
        match self.namespaces {
            None => ((Ipv4Addr::LOCALHOST, port).into(), "lo"),
            Some(_) => ((SERVER, port).into(), "s0"),
        }
    }

    /// A thread on the clients' side.
    pub(crate) fn client<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> JoinHandle<anyhow::Result<T>> {
        let namespace = self
            .namespaces
            .as_ref()
            .map(|(_, client)| format!("/proc/{}/ns/net", client.0.id()));
        thread::spawn(move || {
            if let Some(namespace) = namespace {
                setns(File::open(namespace)?, CloneFlags::CLONE_NEWNET)?;
            }
            work()
        })
    }
}

/// A process that holds a network namespace; said to be there when its namespace differs from ours.
fn namespace() -> anyhow::Result<Process> {
    let child = Process(
        Command::new("unshare")
            .args(["--net", "sleep", "infinity"])
            .spawn()
            .context("running unshare")?,
    );
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net"));
    let ours = of("self")?;
    wait_for("a network namespace (root is needed)", || {
        Ok(of(&child.0.id().to_string())? != ours)
    })?;
    Ok(child)
}

fn enter(holder: &Process, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/proc/{}/ns/net", holder.0.id()))
        .arg(program);
    command
}

/// Killed and waited for when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // SIGTERM, so that nginx's master takes its workers along.
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.0.id().cast_signed()),
            nix::sys::signal::SIGTERM,
        );
        let _ = self.0.wait();
    }
}

/// A server that answers.
pub(crate) struct Server {
    process: Process,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn ramboot(lan: &Lan, state: &FilePath) -> anyhow::Result<Self> {
        let (address, interface) = lan.address(18067);
        let mut command = lan.command(env!("CARGO_BIN_EXE_ramboot"));
        command
            .arg("--log=warn")
            .arg("serve")
            .arg("--state")
            .arg(state)
            .args(["--dhcp=off", "--interface", interface, "--http-port=18067"]);
        Self::start(lan, command, address)
    }

    pub(crate) fn nginx(lan: &Lan, state: &FilePath) -> anyhow::Result<Self> {
        let (address, _) = lan.address(18080);
        let config = state.join("nginx.conf");
        let state = state.display();
        fs::write(
            &config,
            format!(
                "daemon off; worker_processes 2; pid {state}/nginx.pid; error_log stderr error; user root;\n\
                 events {{ worker_connections 4096; }}\n\
                 http {{ access_log off; sendfile on; sendfile_max_chunk 2m; tcp_nopush on; tcp_nodelay on; open_file_cache max=100;\n\
                 client_body_temp_path {state}/t1; proxy_temp_path {state}/t2; fastcgi_temp_path {state}/t3; uwsgi_temp_path {state}/t4; scgi_temp_path {state}/t5;\n\
                 server {{ listen {address}; root {state}; }} }}\n"
            ),
        )?;
        let mut command = lan.command("/usr/sbin/nginx");
        command
            .arg("-c")
            .arg(&config)
            .arg("-p")
            .arg(state.to_string())
            .args(["-e", "stderr"]);
        Self::start(lan, command, address)
    }

    fn start(lan: &Lan, mut command: Command, address: SocketAddr) -> anyhow::Result<Self> {
        let child = command
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        let mut server = Self {
            process: Process(child),
            address,
        };
        wait_for(&format!("a server on {address}"), || {
            if let Some(status) = server.process.0.try_wait()? {
                anyhow::bail!("{command:?} ended: {status}");
            }
            let probe = lan.client(move || Ok(TcpStream::connect(address).is_ok()));
            probe
                .join()
                .map_err(|_| anyhow::anyhow!("the probe panicked"))?
        })?;
        Ok(server)
    }

    /// CPU time of the process, its threads and its children (nginx's workers), in seconds.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let pid = self.process.0.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let mut nanoseconds = run_time(&pid.to_string())?;
        for child in children.split_whitespace() {
            nanoseconds += run_time(child)?;
        }
        Ok(nanoseconds as f64 / 1e9)
    }
}

/// First field of /proc/PID/task/TID/schedstat: nanoseconds on a CPU.
fn run_time(pid: &str) -> anyhow::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(sum)
}

fn wait_for(what: &str, mut fact: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begin = Instant::now();
    while !fact()? {
        anyhow::ensure!(
            begin.elapsed() < Duration::from_secs(10),
            "waited 10 s for {what}"
        );
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A store with one image of incompressible bytes; returns its URL path, which is nginx's file path, too.
pub(crate) fn store_with_image(state: &FilePath, size: usize) -> anyhow::Result<String> {
    let mut bytes = vec![0; size];
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    for chunk in bytes.chunks_exact_mut(8) {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    let chunk_bytes = usize::try_from(CHUNK_BYTES)?;
    let values: Vec<_> = bytes
        .chunks(chunk_bytes)
        .zip(0..)
        .map(|(chunk, index)| chaining_value(index, chunk))
        .collect();
    let id = fold(&values)?;
    let folder = state.join("images").join(id.to_string());
    fs::create_dir_all(folder.join("boot"))?;
    fs::write(folder.join("image.sqfs"), &bytes)?;
    fs::write(folder.join("chunks"), values.concat())?;
    fs::write(
        folder.join("image.json"),
        format!(
            r#"{{"id":"{id}","size":{size},"compressor":"zstd","block_size":131072,"kernel_version":"bench","arch":"x86_64"}}"#
        ),
    )?;
    Ok(format!("/images/{id}/image.sqfs"))
}
