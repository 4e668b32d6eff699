//! The HTTP shell: accepts connections, looks things up, sends what [`super::answer`] decided.
//!
//! Sockets and the signal to stop are handed in, so tests bind port 0. Every limit that keeps a stranger from holding
//! memory or a connection for ever stands at the bottom.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use ramboot_wire::ImageId;
use ramboot_wire::paths::Resource;
use ramboot_wire::queue::Place;
use ramboot_wire::stage::{MAX_REPORT_BYTES, Report, Waterfall};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};

use super::answer::{self, Answer, Content};
use super::body::{self, Slices, Told};
use super::events::Events;
use super::gate::{self, Gate, Pass};
use super::meter::Metered;
use super::view::{View, Views};
use crate::fleet::event::{Event, Part, Who};
use crate::fleet::watch::Watch;
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

/// What the server answers from.
pub struct Site {
    /// Images and their boot files.
    pub store: Arc<Store>,
    /// Boot scripts, EFI programs and worker files.
    pub made: Box<Made>,
    /// What people look at.
    pub views: Box<Views>,
    /// Hears of what machines load, and what they say.
    pub fleet: Arc<Watch>,
    /// Shared with whoever wants to know.
    pub counters: Arc<Counters>,
    /// Connections of one listener; more are told to come back.
    pub connections: usize,
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
    let gate = Arc::new(Gate::new());
    let mut clock = tokio::time::interval(gate::TICK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut connections = JoinSet::new();
    let seats = Arc::new(Semaphore::new(MAX_WATCHERS));
    let mut ticks = 0_u64;
    loop {
        // Those who are told to come back are few at a time: the others wait for that in the backlog.
        let room = connections.len() < site.connections + BEYOND;
        let accepted = tokio::select! {
            accepted = listener.accept(), if room => accepted,
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
                let full = connections.len() >= site.connections;
                let (site, pass) = (Arc::clone(&site), gate.enter(peer.ip()));
                let seats = Arc::clone(&seats);
                connections.spawn(async move {
                    let _open = Open::new(&site.counters);
                    if full {
                        turn_away(stream, peer, &site).await;
                    } else {
                        connection(stream, peer, Arc::clone(&site), (pass, seats)).await;
                    }
                });
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
fn tell(gate: &Gate, site: &Site) {
    for (address, bytes) in gate.told() {
        site.counters.sent.fetch_add(bytes, Ordering::Relaxed);
        if let IpAddr::V4(address) = address {
            // Nobody need know it, or be told that nobody does.
            let _ = site.fleet.saw(Event::Sent(address, bytes));
        }
    }
}

/// Counts one connection for as long as it is there.
struct Open<'a>(&'a Counters);

impl<'a> Open<'a> {
    fn new(counters: &'a Counters) -> Self {
        counters.connections.fetch_add(1, Ordering::Relaxed);
        Self(counters)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    site: Arc<Site>,
    (pass, seats): (Pass, Arc<Semaphore>),
) {
    let local = match prepare(&stream) {
        Ok(local) => local,
        Err(error) => return debug!(%peer, %error, "HTTP: connection was gone before it began"),
    };
    let stream = Metered::new(stream, Arc::clone(&pass.meter));
    let guest = Guest {
        peer,
        local,
        pass: Some(pass),
        seats,
    };
    talk(stream, guest, site).await;
}

/// One connection too many: it is answered before it has asked, and closed.
async fn turn_away(mut stream: TcpStream, peer: SocketAddr, site: &Site) {
    site.counters.refused.fetch_add(1, Ordering::Relaxed);
    debug!(%peer, "HTTP: turned away, {} connections are open", site.connections);
    let talk = async {
        stream.write_all(TURNED_AWAY).await?;
        stream.shutdown().await?;
        // Closing with something unread would reset the connection, and the answer be lost (RFC 9112 §9.6).
        let mut unread = [0; 1024];
        while stream.read(&mut unread).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    // Whoever does not close by then, or has closed already, has lost nothing.
    let _ = tokio::time::timeout(TURN_AWAY_TIMEOUT, talk).await;
}

/// Who is at the other side.
struct Guest {
    peer: SocketAddr,
    /// The address of ours that it reached.
    local: SocketAddr,
    /// `None`: nobody is waited for.
    pass: Option<Pass>,
    /// For those who look at events.
    seats: Arc<Semaphore>,
}

/// Answers one connection's requests, until its other side or a fault ends it.
pub async fn converse<S>(stream: S, peer: SocketAddr, local: SocketAddr, site: Arc<Site>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let guest = Guest {
        peer,
        local,
        pass: None,
        seats: Arc::new(Semaphore::new(MAX_WATCHERS)),
    };
    talk(stream, guest, site).await;
}

async fn talk<S>(stream: S, guest: Guest, site: Arc<Site>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (peer, guest) = (guest.peer, Arc::new(guest));
    let service =
        service_fn(move |request| respond(request, Arc::clone(&guest), Arc::clone(&site)));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        // Not a fault of ours: a worker that was switched off, a client that speaks no HTTP.
        debug!(%peer, error = %format_args!("{error:#}"), "HTTP: connection ended");
    }
}

fn prepare(stream: &TcpStream) -> std::io::Result<SocketAddr> {
    // Headers and body leave in one writev; waiting for more to send (Nagle) would only hold back the last piece.
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(DEAD_PEER_TIMEOUT))?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    stream.local_addr()
}

/// Each connection keeps room for this future, and a thousand workers have four connections each: it holds the request
/// once, and what is rare in boxes.
async fn respond(
    request: Request<Incoming>,
    guest: Arc<Guest>,
    site: Arc<Site>,
) -> Result<Response<body::Content>, Infallible> {
    let (head, body) = request.into_parts();
    let (answer, told) = match View::parse(head.uri.path()) {
        Some(View::Events) if head.method == Method::GET => {
            if let Ok(seat) = Arc::clone(&guest.seats).try_acquire_owned() {
                return Ok(events(Events::new(site.fleet.changes(), seat)));
            }
            let text =
                format!("{MAX_WATCHERS} look already: close a page, or reload now and then\n");
            (Answer::text(StatusCode::SERVICE_UNAVAILABLE, text), None)
        }
        Some(view) => (show(view, &head, guest.local, &site), None),
        None => Box::pin(route(&head, body, &guest, &site)).await,
    };
    let counter = if answer.status.as_u16() < 400 {
        &site.counters.answered
    } else {
        &site.counters.refused
    };
    counter.fetch_add(1, Ordering::Relaxed);
    let (peer, method, path) = (guest.peer, &head.method, head.uri.path());
    let (status, bytes) = (answer.status, answer.body_len());
    site.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
    debug!(%peer, %method, path, status = status.as_u16(), bytes, "HTTP");
    let slices = Slices::new(answer.body, answer.mapping).telling(told);
    let mut response = Response::new(body::Content::Slices(slices));
    *response.status_mut() = status;
    response.headers_mut().extend(answer.headers);
    Ok(response)
}

fn events(events: Events) -> Response<body::Content> {
    let mut response = Response::new(body::Content::Events(events));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Answers who looks.
fn show(view: View, head: &Parts, local: SocketAddr, site: &Site) -> Answer {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return Answer::method_not_allowed("GET, HEAD");
    }
    let answer = match (site.views)(view, local) {
        Ok(content) => answer::content(&head.method, &head.headers, &content),
        Err(error) => Answer::text(StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")),
    };
    answer.unframed()
}

async fn route(head: &Parts, body: Incoming, guest: &Guest, site: &Site) -> (Answer, Option<Told>) {
    let Some(resource) = Resource::parse(head.uri.path()) else {
        return (Answer::not_found(), None);
    };
    let answer = match (&head.method, &resource) {
        (&Method::POST, Resource::Report) => report(body, guest.peer, &site.fleet).await,
        (_, Resource::Report) => Answer::method_not_allowed("POST"),
        (&Method::GET | &Method::HEAD, _) => match turn(head, &resource, guest) {
            Some(turn) => match turn.await {
                Ok(()) => found(head, &resource, guest, site),
                Err(place) => Answer::later(place),
            },
            None => found(head, &resource, guest, site),
        },
        _ => Answer::method_not_allowed("GET, HEAD"),
    };
    let told = loads(&resource, &answer, guest.peer, &site.fleet);
    (answer, told)
}

/// A machine loads something that comes before Linux; what it returns is told when it has it.
fn loads(
    resource: &Resource,
    answer: &Answer,
    peer: SocketAddr,
    fleet: &Arc<Watch>,
) -> Option<Told> {
    let IpAddr::V4(address) = peer.ip() else {
        return None;
    };
    let (mac, part) = match resource {
        Resource::Script(client) => (Some(client.mac), Part::Loader),
        // What is smaller is iPXE.
        Resource::Efi(client) if answer.body_len() < SMALLEST_UKI => {
            (Some(client.mac), Part::Loader)
        }
        Resource::Efi(client) => (Some(client.mac), Part::Uki),
        Resource::Boot(_, name) => (None, Part::of(name)),
        _ => return None,
    };
    if answer.status != StatusCode::OK || answer.body.is_empty() {
        return None;
    }
    let who = Who { mac, address };
    let _ = fleet.saw(Event::Begins(who, part));
    let fleet = Arc::clone(fleet);
    Some(Box::new(move || {
        let _ = fleet.saw(Event::Loaded(who, part));
    }))
}

/// Answers GET or HEAD.
fn found(head: &Parts, resource: &Resource, guest: &Guest, site: &Site) -> Answer {
    let answer = match look_up(resource, guest.local, site) {
        Ok(Some(content)) => answer::content(&head.method, &head.headers, &content),
        Ok(None) if matches!(resource, Resource::Files(..)) => Answer::gone(
            "the files of this worker are others now (an overlay, the config or the secret was changed since it began to boot): switch it off and on\n",
        ),
        Ok(None) => Answer::not_found(),
        Err(error) => {
            let (peer, path) = (guest.peer, head.uri.path());
            warn!(%peer, path, error = %format_args!("{error:#}"), "HTTP: this cannot be read or made");
            Answer::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the manager cannot read or make this, its log says why\n",
            )
        }
    };
    if matches!(resource, Resource::Image(_)) {
        site.counters
            .image_bytes
            .fetch_add(answer.body_len(), Ordering::Relaxed);
    }
    if head.method == Method::HEAD {
        answer.without_body()
    } else {
        answer
    }
}

/// What waits for the worker's turn, if it asks for an image and would wait.
fn turn<'a>(
    head: &Parts,
    resource: &Resource,
    guest: &'a Guest,
) -> Option<Pin<Box<impl Future<Output = Result<(), Place>> + use<'a>>>> {
    let image = matches!(resource, Resource::Image(_)) && head.method == Method::GET;
    let pass = guest.pass.as_ref().filter(|_| image)?;
    let patience = gate::patience(&head.headers)?;
    Some(Box::pin(pass.turn(patience)))
}

/// Reads a few small files at most (images and boot files are mapped once and kept).
fn look_up(resource: &Resource, local: SocketAddr, site: &Site) -> anyhow::Result<Option<Content>> {
    let binary = |bytes: Bytes, etag: String| Content {
        bytes: bytes.into(),
        etag: Some(etag),
        media_type: "application/octet-stream",
        mapping: None,
    };
    let image = |id: &ImageId| site.store.image(*id);
    Ok(match resource {
        Resource::Image(id) => image(id)?.map(|image| Content {
            mapping: Some(image.sqfs.clone()),
            ..binary(image.sqfs.bytes(), id.to_string())
        }),
        Resource::Chunks(id) => {
            image(id)?.map(|image| binary(image.chunks.clone(), format!("{id}-chunks")))
        }
        Resource::Boot(id, name) => match image(id)? {
            Some(image) => image.boot(name)?.map(|bytes| binary(bytes, name.clone())),
            None => None,
        },
        Resource::Script(_) | Resource::Efi(_) | Resource::Files(..) => {
            (site.made)(resource, local)?
        }
        Resource::Report => None,
    })
}

/// Logs what a worker says of itself. Nothing is decided by it: anybody on the LAN can send one.
async fn report(body: Incoming, peer: SocketAddr, fleet: &Watch) -> Answer {
    let too_large = || {
        let text = format!("a report has at most {MAX_REPORT_BYTES} bytes\n");
        Answer::text(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    if body.size_hint().lower() > MAX_REPORT_BYTES as u64 {
        return too_large();
    }
    let body = Limited::new(body, MAX_REPORT_BYTES).collect();
    let bytes = match tokio::time::timeout(REPORT_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return too_large(),
        Err(_) => {
            return Answer::text(
                StatusCode::REQUEST_TIMEOUT,
                format!("no report came within {REPORT_TIMEOUT:?}\n"),
            );
        }
    };
    match serde_json::from_slice::<Report>(&bytes) {
        Ok(report) => {
            if let IpAddr::V4(from) = peer.ip()
                && let Err(refused) = fleet.saw(Event::Reported(from, report.clone()))
            {
                debug!(%peer, worker = %report.mac, "HTTP: report not believed: {refused}");
                return Answer::text(StatusCode::TOO_MANY_REQUESTS, format!("{refused}\n"));
            }
            // StageLine's text has no control characters, whatever a worker sent.
            let line = report.line.to_string();
            let line = line.trim_start_matches("ramboot: ");
            match report.line.error {
                None => info!(worker = %report.mac, image = report.image.short(), "{line}"),
                Some(_) => warn!(worker = %report.mac, image = report.image.short(), "{line}"),
            }
            if !report.waterfall.is_empty() {
                let bars = Waterfall(&report.waterfall);
                info!(worker = %report.mac, "waterfall, ms since /init started: {bars}");
            }
            Answer::text(StatusCode::OK, "")
        }
        Err(error) => {
            debug!(%peer, %error, "HTTP: malformed report");
            Answer::text(StatusCode::BAD_REQUEST, format!("not a report: {error}\n"))
        }
    }
}

/// Pages that are open, of one listener.
const MAX_WATCHERS: usize = 64;
/// Ticks of the gate.
const TOLD_EVERY: u64 = 5;
/// Bytes; iPXE has one, a kernel with its initramfs ten at least.
const SMALLEST_UKI: u64 = 4 << 20;
/// A thousand workers with four streams each, and as many strangers.
pub const MAX_CONNECTIONS: usize = 8192;
/// Connections that are told to come back, at a time.
const BEYOND: usize = 64;
/// An answer, read by the other side and closed.
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(2);
/// A worker's fetch takes seconds; then there is room.
const TURNED_AWAY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 39\r\n\r\ntoo many connections, come back in 5 s\n";
/// From accepting, or the end of the last answer, to the whole request head. /init keeps connections for less.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_HEADERS: usize = 64;
/// For a request's head, and for answers that wait to be sent.
const MAX_BUFFER_BYTES: usize = 64 * 1024;
/// TCP_USER_TIMEOUT: unacknowledged for this long, or a window that stayed shut, is a worker without power.
const DEAD_PEER_TIMEOUT: Duration = Duration::from_secs(30);
/// A report fits into three Ethernet frames.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// SO_SNDBUF, of which Linux makes the double. Linux's own choice grows to 4 MiB a connection, and what waits there has
/// left the processor's cache when it is read again: a small buffer is written and read while it is warm. It holds what a
/// LAN has on the way (10 Gbit/s for 0.2 ms are 250 KB), and a thousand workers' four thousand take 2 GB at most.
const SEND_BUFFER_BYTES: usize = 256 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of_answer<A, B, C, F>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// A thousand workers have four connections each, and the manager 64 MiB beside the mapping.
    #[test]
    fn a_connection_keeps_little_room() {
        let bytes = bytes_of_answer(respond);
        assert!(bytes <= 1024, "{bytes}");
    }
}
