//! The door for this machine ([`crate::control`]), the manager's side: a socket for root and the manager's own user, few
//! connections at once, each with little time. What is asked is decided as for a machine, and changes nothing.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::Counters;
use crate::boot::ipxe_binaries;
use crate::config::Config;
use crate::control::{self, About, Answer, FOLDER, Packet, Question, Reply, SOCKET, Served};
use crate::dhcp::policy::Policy;
use crate::dhcp::request::{Arrival, Port};
use crate::dhcp::verdict;
use crate::serve::args::ServeArgs;
use crate::text::hex::{hex, unhex};

/// Connections at a time; others wait in the backlog.
const MAX_CONNECTIONS: usize = 8;
/// From accepting to the end of the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// After an accept that failed (no descriptor free, say).
const PAUSE: Duration = Duration::from_millis(100);

/// What is answered from.
pub(super) struct ControlServer {
    /// But for the interfaces.
    pub(super) about: About,
    pub(super) served: watch::Receiver<Vec<Served>>,
    /// By interface; none if DHCP is off.
    pub(super) policies: watch::Receiver<Vec<Policy>>,
    pub(super) counters: Arc<Counters>,
}

/// The socket.
pub(super) struct Listener(UnixListener);

/// The socket's file, which is gone when this is dropped.
pub(super) struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        // At worst it stays, and the next manager finds that nobody listens there.
        let _ = fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Makes the folder and the socket in it; one that a manager left behind is replaced.
    ///
    /// # Errors
    /// The folder is not to be had, or another manager listens there.
    pub(super) fn open(folder: &Path) -> anyhow::Result<(Self, Place)> {
        let path = folder.join(SOCKET);
        let place = || format!("making {}", path.display());
        fs::create_dir_all(folder).with_context(place)?;
        match std::os::unix::net::UnixStream::connect(&path) {
            Ok(_) => bail!("another manager listens at {}", path.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => fs::remove_file(&path).with_context(place)?,
        }
        let socket = UnixListener::bind(&path).with_context(place)?;
        // Who comes in before this is turned away by who he is.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).with_context(place)?;
        Ok((Self(socket), Place(path)))
    }

    /// Answers for ever.
    pub(super) async fn run(self, door: ControlServer) {
        let door = Arc::new(door);
        let mut guests = JoinSet::new();
        loop {
            let room = guests.len() < MAX_CONNECTIONS;
            let accepted = tokio::select! {
                accepted = self.0.accept(), if room => accepted,
                Some(_) = guests.join_next() => continue,
            };
            match accepted {
                Ok((stream, _)) => {
                    let door = Arc::clone(&door);
                    guests.spawn(async move {
                        match tokio::time::timeout(PATIENCE, talk(stream, &door)).await {
                            Ok(Ok(())) => {}
                            Ok(Err(error)) => debug!("control socket: {error:#}"),
                            Err(_) => debug!("control socket: no whole question in {PATIENCE:?}"),
                        }
                    });
                }
                Err(error) => {
                    debug!("control socket: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// The control socket, if it can be had; `folder` is what the user or systemd named.
pub(super) fn open(folder: Option<&Path>) -> Option<(Listener, Place)> {
    match Listener::open(folder.unwrap_or_else(|| Path::new(FOLDER))) {
        Ok(opened) => Some(opened),
        Err(error) if folder.is_some() => {
            warn!("no control socket, \"ramboot doctor\" cannot ask this manager: {error:#}");
            None
        }
        Err(error) => {
            debug!("no control socket: {error:#}");
            None
        }
    }
}

/// What the manager says of itself, which interfaces it serves excepted.
pub(super) fn about(args: &ServeArgs, config: &Config) -> About {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let roms = args.ipxe_dir.as_deref();
    About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        dhcp: config.dhcp.mode.word().to_owned(),
        interfaces: Vec::new(),
        http_port: config.http_port,
        state: absolute(&args.state),
        config: args.config.as_deref().map(absolute),
        ipxe_dir: roms.map_or_else(|| PathBuf::from(ipxe_binaries::FOLDER), absolute),
    }
}

async fn talk(mut stream: UnixStream, door: &ControlServer) -> anyhow::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let own = rustix::process::geteuid().as_raw();
    let answer = if peer == 0 || peer == own {
        let most = control::MAX_QUESTION_BYTES as u64;
        let mut line = Vec::new();
        let (reader, _) = stream.split();
        let mut reader = BufReader::new(reader).take(most);
        reader.read_until(b'\n', &mut line).await?;
        if line.ends_with(b"\n") {
            door.answer(&line)
        } else {
            Answer::Error(format!("a question is one line of at most {most} bytes"))
        }
    } else {
        Answer::Error(format!("user {peer} may not ask: be root"))
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    Ok(())
}

impl ControlServer {
    fn answer(&self, line: &[u8]) -> Answer {
        match serde_json::from_slice(line) {
            Ok(Question::About) => Answer::About(Box::new(About {
                interfaces: self.served.borrow().clone(),
                ..self.about.clone()
            })),
            Ok(Question::Ask(packet)) => self.ask(&packet).unwrap_or_else(Answer::Error),
            Err(error) => Answer::Error(format!("not a question: {error}")),
        }
    }

    fn ask(&self, packet: &Packet) -> Result<Answer, String> {
        let policies = self.policies.borrow();
        let policy = policies
            .iter()
            .find(|policy| policy.interface == packet.interface)
            .ok_or_else(|| format!("DHCP is not answered on {}", packet.interface))?;
        let port = match packet.port {
            67 => Port::Dhcp,
            4011 => Port::BootServer,
            other => return Err(format!("port {other}: 67 and 4011 are listened on")),
        };
        let bytes = unhex(&packet.packet)
            .ok_or("packet: two hexadecimal digits are wanted for each byte")?;
        let arrival = Arrival {
            port,
            source: packet.source,
        };
        match self.counters.dhcp.rehearse(&bytes, arrival, policy) {
            verdict::Answer::Ignore(why) => Ok(Answer::Ignored(why.to_string())),
            verdict::Answer::Reply(reply) => {
                let bytes = reply.encode().map_err(|error| error.to_string())?;
                Ok(Answer::Replies(vec![Reply {
                    to: reply.to,
                    delay_ms: u64::try_from(reply.delay.as_millis()).unwrap_or(u64::MAX),
                    packet: hex(&bytes),
                }]))
            }
        }
    }
}
