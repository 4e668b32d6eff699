//! The shell: one socket all requests come to, and for each transfer a [`Task`] and a socket of its own.
//!
//! Nothing is waited for here but packets: a file is opened by its task. A client that repeats its request meanwhile has a
//! transfer already.
//!
//! A transfer's socket is connected to its client, so the kernel keeps everybody else's packets from it and says when the
//! client's port is closed. What runs ends with [`run`]'s own future.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: owns the sockets and the clock"
)]

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tracing::{debug, warn};

use super::packet::{self, MAX_REQUEST_BYTES, Packet, Refusal, Request};
use super::sessions::{MAX_SESSIONS, Place, Pulse, Room, Session, Sessions};
use super::task::{Ended, Shared, Task, asynchronous};
use super::{Counters, Files};

/// Requests that wait to be read while a rack is switched on; the usual 208 KiB are some 270 of them.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;
/// After a receive error (the interface went down, say), so that a lasting one does not spin.
const RECEIVE_PAUSE: Duration = Duration::from_millis(100);
/// Threads that wait for a disk at a time: it has no more to give to more of them.
const DISK_THREADS: usize = 16;
/// From so many transfers on it matters who asks.
const CROWDED: usize = MAX_SESSIONS / 2;

/// A server that answers on `socket` for ever; polled by whoever spawns it.
///
/// # Errors
/// The socket is none of IPv4, or cannot be made asynchronous.
pub async fn run<F: Files>(
    socket: std::net::UdpSocket,
    files: Arc<F>,
    counters: Arc<Counters>,
) -> anyhow::Result<()> {
    let mut server = Server::new(socket, files, counters)?;
    // One byte more than is taken, so that a longer packet is seen to be one.
    let mut buffer = [0; MAX_REQUEST_BYTES + 1];
    loop {
        tokio::select! {
            received = server.shared.socket.recv_from(&mut buffer) => match received {
                Ok((len, SocketAddr::V4(client))) => server.datagram(&buffer[..len], client).await,
                Ok((_, SocketAddr::V6(_))) => {}
                Err(error) => {
                    warn!(local = %server.shared.local, "TFTP: receiving: {error}");
                    tokio::time::sleep(RECEIVE_PAUSE).await;
                }
            },
            Some(ended) = server.tasks.join_next_with_id() => server.ended(ended).await,
        }
    }
}

struct Server<F> {
    shared: Arc<Shared<F>>,
    sessions: Sessions<Handle>,
    tasks: JoinSet<Ended>,
}

struct Handle {
    abort: AbortHandle,
    socket: Arc<OnceLock<UdpSocket>>,
}

impl<F: Files> Server<F> {
    fn new(
        socket: std::net::UdpSocket,
        files: Arc<F>,
        counters: Arc<Counters>,
    ) -> anyhow::Result<Self> {
        let local = match socket.local_addr().context("asking for TFTP's address")? {
            SocketAddr::V4(local) => local,
            SocketAddr::V6(local) => anyhow::bail!("TFTP is served on IPv4 only, not on {local}"),
        };
        let buffer = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        if let Err(error) = buffer {
            debug!("TFTP: a larger receive buffer: {error}");
        }
        let shared = Shared {
            socket: asynchronous(socket).context("making the TFTP socket asynchronous")?,
            local,
            files,
            counters,
            disk: Arc::new(Semaphore::new(DISK_THREADS)),
            epoch: Instant::now(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            sessions: Sessions::default(),
            tasks: JoinSet::new(),
        })
    }

    async fn datagram(&mut self, datagram: &[u8], client: SocketAddrV4) {
        match packet::parse(datagram) {
            Ok(Packet::Read(request)) => self.request(request, client).await,
            // A transfer that is over, seen from the client: what it sends then goes to a port that is closed, not here.
            Ok(packet) => debug!(%client, ?packet, "TFTP: not answered, it is no request"),
            Err(why) => {
                Counters::add(&self.shared.counters.refused);
                debug!(%client, "TFTP: refused: {why}");
                if let Some(refusal) = why.answer() {
                    self.shared.refuse(client, refusal).await;
                }
            }
        }
    }

    async fn request(&mut self, request: Request, client: SocketAddrV4) {
        let now = self.shared.epoch.elapsed();
        match self.sessions.place(client, &request, now) {
            Place::Duplicate => {
                return debug!(%client, name = %request.name.escape_default(), "TFTP: asked again, its transfer answers");
            }
            Place::New(Some(left)) => {
                debug!(%client, name = %left.name.escape_default(), "TFTP: left for another request");
                left.handle.abort.abort();
            }
            Place::New(None) => {}
        }
        // Asked only where it matters.
        let crowded = self.sessions.len() >= CROWDED;
        let known = crowded && self.shared.files.knows(*client.ip());
        match self.sessions.make_room(client, known, now) {
            Room::Free => {}
            Room::Made(left, session) => {
                debug!(client = %left, name = %session.name.escape_default(), "TFTP: ended to make room");
                if let Some(socket) = session.handle.socket.get() {
                    // Best effort: whoever is there asks again sooner.
                    let _ = socket.try_send(&Refusal::Busy.bytes());
                }
                session.handle.abort.abort();
            }
            Room::Full => {
                Counters::add(&self.shared.counters.refused);
                warn!(%client, name = %request.name.escape_default(), "TFTP: refused for now: too many transfers");
                return self.shared.refuse(client, Refusal::Busy).await;
            }
        }
        self.start(client, request);
    }

    fn start(&mut self, client: SocketAddrV4, request: Request) {
        let Request { name, options } = request;
        let pulse = Arc::new(Pulse::new(self.shared.epoch.elapsed()));
        let socket = Arc::new(OnceLock::new());
        let task = Task {
            client,
            name: name.clone(),
            shared: Arc::clone(&self.shared),
            pulse: Arc::clone(&pulse),
            socket: Arc::clone(&socket),
            told: false,
        };
        let abort = self.tasks.spawn(task.run(options));
        let session = Session::new(name, pulse, Handle { abort, socket });
        self.sessions.insert(client, session);
    }

    async fn ended(&mut self, ended: Result<(Id, Ended), JoinError>) {
        match ended {
            Ok((id, Ended { client, taken })) => {
                if let Some(name) = taken {
                    self.shared.files.taken(client, &name);
                }
                let now = self.shared.epoch.elapsed();
                let is_it = |handle: &Handle| handle.abort.id() == id;
                if let Some(request) = self.sessions.remove(client, is_it, now) {
                    self.request(request, client).await;
                }
            }
            // It has no entry any more.
            Err(error) if error.is_cancelled() => {}
            Err(error) => warn!("TFTP: {error}"),
        }
    }
}
