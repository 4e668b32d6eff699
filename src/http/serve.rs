//! The HTTP shell: accepts connections, looks things up, sends what [`super::answer`] decided.
//!
//! Sockets and the signal to stop are handed in, so tests bind port 0. Every limit that keeps a stranger from holding
//! memory or a connection for ever stands at the bottom.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ramboot_wire::paths::Resource;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::{debug, warn};

use super::admission::{self, Admission, Ticket, Urgency};
use super::answer::Content;
use super::connections::{Hall, Seat};
use super::meter::Metered;
use super::pages::Pages;
use super::respond::respond;
use super::shares::{self, Source};
use crate::fleet::event::Event;
use crate::fleet::shared::SharedFleet;
use crate::store::Store;

/// What HTTP was asked for.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests answered with 2xx or 304.
    pub answered: AtomicU64,
    /// Requests answered with 4xx or 5xx.
    pub refused: AtomicU64,
    /// Bytes of bodies handed to the kernel, boot files and chunk lists included.
    pub bytes: AtomicU64,
    /// Of these, bytes of images.
    pub image_bytes: AtomicU64,
    /// Bytes that the kernel took, headers included.
    pub sent: AtomicU64,
    /// Connections that are open.
    pub connections: AtomicU64,
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (answered, refused) = (of(&self.answered), of(&self.refused));
        write!(
            f,
            "{answered} answered, {refused} refused, {} bytes, {} of images",
            of(&self.bytes),
            of(&self.image_bytes)
        )
    }
}

/// Makes what is written anew for each machine, for one that reached us at this address of ours.
pub type Made = dyn Fn(&Resource, SocketAddr) -> anyhow::Result<Option<Content>> + Send + Sync;

/// Whether DHCP gave this address to a machine, as far as is known.
pub type Known = dyn Fn(IpAddr) -> bool + Send + Sync;

/// What the server answers from.
pub struct Site {
    /// Images and their boot files.
    pub store: Arc<Store>,
    /// Boot scripts, EFI programs and worker files.
    pub made: Box<Made>,
    /// Paths of other rooms, asked for before [`Resource`].
    pub pages: Box<Pages>,
    /// Hears of what machines load, and what they say.
    pub fleet: Arc<SharedFleet>,
    /// Shared with whoever wants to know.
    pub counters: Arc<Counters>,
    /// Connections of one listener; more are told to come back.
    pub connections: usize,
    /// Of these, those that only machines get that DHCP knows.
    pub reserve: usize,
    /// Which these are.
    pub known: Box<Known>,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// Serves until `stop` becomes true; connections that are open then are closed, and workers resume where they were.
pub async fn run(listener: TcpListener, site: Arc<Site>, mut stop: watch::Receiver<bool>) {
    let gate = Arc::new(Admission::new());
    let mut clock = tokio::time::interval(admission::TICK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut connections = JoinSet::new();
    let hall = Arc::new(Hall::new(site.connections, site.reserve));
    let mut ticks = 0_u64;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
            Some(_) = connections.join_next() => continue,
            _ = clock.tick() => {
                gate.tick();
                ticks += 1;
                if ticks.is_multiple_of(TOLD_EVERY) {
                    tell(&gate, &site);
                }
                continue;
            }
        };
        match accepted {
            Ok((stream, peer)) => {
                let (site, source) = (Arc::clone(&site), Source::of(peer.ip()));
                let is_known = (site.known)(peer.ip());
                if let Some(seat) = hall.connections.enter(source, is_known) {
                    let free = seat.free;
                    let entry = Entry {
                        pass: Some(gate.enter(peer.ip())),
                        hall: Arc::clone(&hall),
                        patience: shares::patience(
                            HEADER_TIMEOUT,
                            free,
                            site.connections,
                            is_known,
                        ),
                        urgent: Arc::default(),
                    };
                    connections.spawn(async move {
                        let _open = Open::new(&site.counters, seat);
                        connection(stream, peer, Arc::clone(&site), entry).await;
                    });
                } else if let Some(seat) = hall.turned_away.enter(source, false) {
                    connections.spawn(async move {
                        let _open = Open::new(&site.counters, seat);
                        turn_away(stream, peer, &site).await;
                    });
                } else {
                    // To keep it waiting would keep those waiting who came after it.
                    site.counters.refused.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(error) => {
                // EMFILE and the like: the backlog holds the others until a connection ends.
                warn!(%error, "HTTP: accepting a connection failed, trying again in {ACCEPT_PAUSE:?}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What went out since the last time.
fn tell(gate: &Admission, site: &Site) {
    for (address, bytes) in gate.told() {
        site.counters.sent.fetch_add(bytes, Ordering::Relaxed);
        if let IpAddr::V4(address) = address {
            // Nobody need know it, or be told that nobody does.
            let _ = site.fleet.saw(Event::Sent(address, bytes));
        }
    }
}

/// Counts one connection for as long as it is there, and keeps its place.
struct Open<'a>(
    &'a Counters,
    #[expect(dead_code, reason = "its end counts")] Seat,
);

impl<'a> Open<'a> {
    fn new(counters: &'a Counters, seat: Seat) -> Self {
        counters.connections.fetch_add(1, Ordering::Relaxed);
        Self(counters, seat)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a connection was given when it came in.
struct Entry {
    pass: Option<Ticket>,
    hall: Arc<Hall>,
    patience: Duration,
    urgent: Arc<AtomicBool>,
}

async fn connection(stream: TcpStream, peer: SocketAddr, site: Arc<Site>, entry: Entry) {
    let local = match prepare(&stream) {
        Ok(local) => local,
        Err(error) => return debug!(%peer, %error, "HTTP: connection was gone before it began"),
    };
    match entry.pass.as_ref().map(|pass| Arc::clone(&pass.meter)) {
        Some(meter) => {
            let stream = Metered::new(stream, meter, Arc::clone(&entry.urgent));
            talk(stream, (peer, local), site, entry).await;
        }
        None => talk(stream, (peer, local), site, entry).await,
    }
}

/// One connection too many: it is answered before it has asked, and closed.
async fn turn_away(mut stream: TcpStream, peer: SocketAddr, site: &Site) {
    site.counters.refused.fetch_add(1, Ordering::Relaxed);
    debug!(%peer, "HTTP: turned away, {} connections are open, or this address has its share of them", site.connections);
    let talk = async {
        stream.write_all(TURNED_AWAY).await?;
        stream.shutdown().await
    };
    if let Ok(Ok(())) = tokio::time::timeout(LINGER, talk).await {
        linger(&mut stream).await;
    }
}

/// Who is at the other side.
pub(super) struct Peer {
    pub(super) peer: SocketAddr,
    /// The address of ours that it reached.
    pub(super) local: SocketAddr,
    /// `None`: nobody is waited for.
    pub(super) pass: Option<Ticket>,
    /// What it shares with others.
    pub(super) hall: Arc<Hall>,
    /// Whether what is sent next is urgent.
    urgent: Arc<AtomicBool>,
}

impl Peer {
    /// How soon the answers from here on are to leave.
    pub(super) fn urgent(&self, urgency: Urgency) {
        self.urgent
            .store(urgency == Urgency::Blocked, Ordering::Relaxed);
    }

    /// Whose share its places count to.
    pub(super) fn source(&self) -> Source {
        Source::of(self.peer.ip())
    }
}

/// Answers one connection's requests, until its other side or a fault ends it.
pub async fn converse<S>(stream: S, peer: SocketAddr, local: SocketAddr, site: Arc<Site>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let entry = Entry {
        pass: None,
        hall: Arc::new(Hall::new(1, 0)),
        patience: HEADER_TIMEOUT,
        urgent: Arc::default(),
    };
    talk(stream, (peer, local), site, entry).await;
}

async fn talk<S>(
    mut stream: S,
    (peer, local): (SocketAddr, SocketAddr),
    site: Arc<Site>,
    Entry {
        pass,
        hall,
        patience,
        urgent,
    }: Entry,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let guest = Arc::new(Peer {
        peer,
        local,
        pass,
        hall,
        urgent,
    });
    let service =
        service_fn(move |request| respond(request, Arc::clone(&guest), Arc::clone(&site)));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(TokioIo::new(&mut stream), service)
        .await;
    match served {
        Ok(()) => {}
        Err(error) if error.is_timeout() => {
            return debug!(%peer, "HTTP: no request came within {patience:?}");
        }
        // Not a fault of ours: a worker that was switched off, a client that speaks no HTTP.
        Err(error) => {
            debug!(%peer, error = %format_args!("{error:#}"), "HTTP: connection ended");
        }
    }
    // In a box: most connections never come here with something unread.
    Box::pin(linger(&mut stream)).await;
}

/// Waits for the other side to close: closing with something unread would reset the connection, and the last answer be
/// lost (RFC 9112 §9.6).
async fn linger<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut unread = [0; 1024];
    let read = async { while stream.read(&mut unread).await.is_ok_and(|read| read > 0) {} };
    // Whoever does not close by then, or has closed already, has lost nothing.
    let _ = tokio::time::timeout(LINGER, read).await;
}

fn prepare(stream: &TcpStream) -> std::io::Result<SocketAddr> {
    // Headers and body leave in one writev; waiting for more to send (Nagle) would only hold back the last piece.
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(DEAD_PEER_TIMEOUT))?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    stream.local_addr()
}

/// Ticks of the gate.
const TOLD_EVERY: u64 = 5;
/// A thousand workers with four streams each, and as many strangers.
pub const MAX_CONNECTIONS: usize = 8192;
/// The half that strangers do not get.
pub const RESERVED_CONNECTIONS: usize = 4096;
/// For the other side to read the last answer and close.
const LINGER: Duration = Duration::from_secs(2);
/// A worker's fetch takes seconds; then there is room.
const TURNED_AWAY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 39\r\n\r\ntoo many connections, come back in 5 s\n";
/// From accepting, or the end of the last answer, to the whole request head. /init keeps connections for less. When places
/// run out strangers have less.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_HEADERS: usize = 64;
/// For a request's head (more is answered by 431, RFC 6585 §5), and for small answers that wait to be sent. The least that
/// hyper takes; a head of /init has 300 bytes, one of a browser 2 KiB.
const MAX_BUFFER_BYTES: usize = 8 * 1024;
/// TCP_USER_TIMEOUT: unacknowledged for this long, or a window that stayed shut, is a worker without power.
const DEAD_PEER_TIMEOUT: Duration = Duration::from_secs(30);
/// SO_SNDBUF, of which Linux makes the double. Linux's own choice grows to 4 MiB a connection, and what waits there has
/// left the processor's cache when it is read again: a small buffer is written and read while it is warm. It holds what a
/// LAN has on the way (10 Gbit/s for 0.2 ms are 250 KB), and a thousand workers' four thousand take 2 GB at most.
const SEND_BUFFER_BYTES: usize = 256 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
