//! The shell: one socket all requests come to, and for each transfer a socket and a [`Task`] of its own.
//!
//! A transfer's socket is connected to its client, so the kernel keeps everybody else's packets from it and says when the
//! client's port is closed. What runs ends with [`run`]'s own future.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: owns the sockets and the clock"
)]

use std::fmt::Display;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::net::UdpSocket;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tracing::{debug, warn};

use super::packet::{self, MAX_REQUEST_BYTES, Packet, Refusal, Request};
use super::sessions::{Place, Pulse, Room, Session, Sessions};
use super::task::{Ended, Task};
use super::transfer::Transfer;
use super::{Ask, Counters, Files};

/// Requests that wait to be read while a rack is switched on; the usual 208 KiB are some 270 of them.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;
/// After a receive error (the interface went down, say), so that a lasting one does not spin.
const RECEIVE_PAUSE: Duration = Duration::from_millis(100);

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
            received = server.socket.recv_from(&mut buffer) => match received {
                Ok((len, SocketAddr::V4(client))) => server.datagram(&buffer[..len], client).await,
                Ok((_, SocketAddr::V6(_))) => {}
                Err(error) => {
                    warn!(local = %server.local, "TFTP: receiving: {error}");
                    tokio::time::sleep(RECEIVE_PAUSE).await;
                }
            },
            Some(ended) = server.tasks.join_next_with_id() => server.ended(ended).await,
        }
    }
}

struct Server<F> {
    socket: UdpSocket,
    local: SocketAddrV4,
    files: Arc<F>,
    counters: Arc<Counters>,
    sessions: Sessions<Handle>,
    tasks: JoinSet<Ended>,
    /// All times are counted from here.
    epoch: Instant,
}

struct Handle {
    abort: AbortHandle,
    socket: Arc<UdpSocket>,
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
        Ok(Self {
            socket: asynchronous(socket).context("making the TFTP socket asynchronous")?,
            local,
            files,
            counters,
            sessions: Sessions::default(),
            tasks: JoinSet::new(),
            epoch: Instant::now(),
        })
    }

    async fn datagram(&mut self, datagram: &[u8], client: SocketAddrV4) {
        match packet::parse(datagram) {
            Ok(Packet::Read(request)) => self.request(request, client).await,
            // A transfer that is over, seen from the client: what it sends then goes to a port that is closed, not here.
            Ok(packet) => debug!(%client, ?packet, "TFTP: not answered, it is no request"),
            Err(why) => {
                Counters::add(&self.counters.refused);
                debug!(%client, "TFTP: refused: {why}");
                if let Some(refusal) = why.answer() {
                    self.refuse(client, refusal).await;
                }
            }
        }
    }

    async fn request(&mut self, request: Request, client: SocketAddrV4) {
        match self.sessions.place(client, &request, self.epoch.elapsed()) {
            Place::Duplicate => {
                return debug!(%client, name = %request.name.escape_default(), "TFTP: asked again, its transfer answers");
            }
            Place::New(Some(left)) => {
                debug!(%client, name = %left.name.escape_default(), "TFTP: left for another request");
                left.handle.abort.abort();
            }
            Place::New(None) => {}
        }
        let ask = Ask {
            client,
            local: self.local,
            name: &request.name,
        };
        let Some(file) = self.files.open(&ask) else {
            Counters::add(&self.counters.missing);
            debug!(%client, name = %request.name.escape_default(), "TFTP: no such file");
            return self.refuse(client, Refusal::NotFound).await;
        };
        match self.sessions.make_room(client, self.epoch.elapsed()) {
            Room::Free => {}
            Room::Made(idle, session) => {
                debug!(client = %idle, name = %session.name.escape_default(), "TFTP: ended to make room, it was idle for longest");
                // Best effort: whoever is there asks again sooner.
                let _ = session.handle.socket.try_send(&Refusal::Busy.bytes());
                session.handle.abort.abort();
            }
            Room::Full => return self.busy(client, &request.name, "too many transfers").await,
        }
        match self.socket_for(client) {
            Ok(socket) => {
                let transfer = Transfer::begin(&request.options, file, self.epoch.elapsed());
                self.start(client, request.name, socket, transfer);
            }
            Err(error) => self.busy(client, &request.name, error).await,
        }
    }

    async fn busy(&self, client: SocketAddrV4, name: &str, why: impl Display) {
        Counters::add(&self.counters.refused);
        warn!(%client, name = %name.escape_default(), "TFTP: refused for now: {why}");
        self.refuse(client, Refusal::Busy).await;
    }

    /// A new port of the same address (RFC 1350 §4).
    fn socket_for(&self, client: SocketAddrV4) -> io::Result<Arc<UdpSocket>> {
        let socket = std::net::UdpSocket::bind((*self.local.ip(), 0))?;
        socket.connect(client)?;
        asynchronous(socket).map(Arc::new)
    }

    fn start(
        &mut self,
        client: SocketAddrV4,
        name: String,
        socket: Arc<UdpSocket>,
        transfer: Transfer,
    ) {
        let pulse = Arc::new(Pulse::new(self.epoch.elapsed()));
        let task = Task {
            client,
            name: name.clone(),
            socket: Arc::clone(&socket),
            pulse: Arc::clone(&pulse),
            counters: Arc::clone(&self.counters),
            epoch: self.epoch,
            told: false,
        };
        let abort = self.tasks.spawn(task.run(transfer));
        let session = Session::new(name, pulse, Handle { abort, socket });
        self.sessions.insert(client, session);
    }

    async fn ended(&mut self, ended: Result<(Id, Ended), JoinError>) {
        match ended {
            Ok((id, Ended { client, taken })) => {
                if let Some(name) = taken {
                    self.files.taken(client, &name);
                }
                let now = self.epoch.elapsed();
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

    async fn refuse(&self, client: SocketAddrV4, refusal: Refusal) {
        if let Err(error) = self.socket.send_to(&refusal.bytes(), client).await {
            debug!(%client, "TFTP: sending an error: {error}");
        }
    }
}

fn asynchronous(socket: std::net::UdpSocket) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
