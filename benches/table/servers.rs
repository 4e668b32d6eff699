//! The HTTP servers: ours, nginx, and the limit.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::images::Image;
use crate::lan::Lan;
use crate::process::{Process, program};

/// Where ours listens.
pub(crate) const RAMBOOT_PORT: u16 = 18067;

/// A server that answers.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    kind: Kind,
}

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ramboot,
    Nginx,
    Limit,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Ramboot, Self::Nginx, Self::Limit];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ramboot => "ramboot",
            Self::Nginx => "nginx",
            Self::Limit => "limit",
        }
    }
}

impl Server {
    /// Starts it for the images of the store at `state`, and waits until it takes connections.
    pub(crate) fn start(kind: Kind, lan: &Lan, state: &Path) -> anyhow::Result<Self> {
        match kind {
            Kind::Ramboot => {
                let address = lan.address(RAMBOOT_PORT);
                Self::answering(kind, lan, ramboot(lan, state), address)
            }
            Kind::Nginx => {
                let address = lan.address(18080);
                Self::answering(kind, lan, nginx(lan, state, address)?, address)
            }
            Kind::Limit => {
                let address = lan.address(18090);
                let this = std::env::current_exe()?;
                let mut command = lan.command(&this.to_string_lossy());
                command.arg("limit").arg(address.to_string());
                Self::answering(kind, lan, command, address)
            }
        }
    }

    fn answering(
        kind: Kind,
        lan: &Lan,
        mut command: Command,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        let mut process = Process::spawn(command.stdout(Stdio::null()))?;
        process.wait_for(&format!("{} on {address}", kind.name()), || {
            lan.on_client(move || Ok(TcpStream::connect(address).is_ok()))
        })?;
        Ok(Self {
            process,
            address,
            kind,
        })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// Where it has the image.
    pub(crate) fn path(&self, image: &Image) -> String {
        match self.kind {
            Kind::Ramboot | Kind::Nginx => format!("/images/{}/image.sqfs", image.id),
            Kind::Limit => format!("/{}", image.size),
        }
    }
}

/// The manager, without DHCP.
pub(crate) fn ramboot(lan: &Lan, state: &Path) -> Command {
    let mut command = lan.command(env!("CARGO_BIN_EXE_ramboot"));
    command
        .args(["--log=warn", "serve", "--dhcp=off"])
        .arg(format!("--http-port={RAMBOOT_PORT}"))
        .args(["--interface", lan.interface()])
        .arg("--state")
        .arg(state);
    command
}

/// nginx as one sets it up to serve large files: sendfile, one worker a core, full segments, no log, open files kept.
///
/// `sendfile_max_chunk` is nginx's own default since 1.21.4; without it one fast connection holds a worker. Tried beside
/// this, in turn with it: `multi_accept off`, `reuseport` and chunks of 512 KiB make no difference; `sendfile off` with
/// `output_buffers 2 512k` takes up to twice the time.
fn nginx(lan: &Lan, state: &Path, address: SocketAddr) -> anyhow::Result<Command> {
    let config = state.join("nginx.conf");
    let state = state.display();
    let cores = std::thread::available_parallelism()?;
    let text = format!(
        "daemon off; user root; pid {state}/nginx.pid; error_log stderr error;
         worker_processes {cores}; worker_rlimit_nofile 20000;
         events {{ worker_connections 8192; multi_accept on; }}
         http {{
             access_log off; default_type application/octet-stream;
             sendfile on; sendfile_max_chunk 2m; tcp_nopush on; tcp_nodelay on;
             keepalive_requests 100000000; keepalive_timeout 300s;
             open_file_cache max=1000 inactive=300s; open_file_cache_valid 300s;
             client_body_temp_path {state}/t1; proxy_temp_path {state}/t2; fastcgi_temp_path {state}/t3;
             uwsgi_temp_path {state}/t4; scgi_temp_path {state}/t5;
             server {{ listen {address} backlog=4096; root {state}; }}
         }}\n"
    );
    fs::write(&config, text)?;
    let mut command = lan.command(&program("nginx")?);
    command.arg("-c").arg(&config).args(["-e", "stderr"]);
    command.arg("-p").arg(state.to_string());
    Ok(command)
}
