//! The shell of one transfer: opens its file, sends what [`Transfer`] says, tells it what came and what time it is, counts how
//! it ended.
//!
//! A disk is waited for on threads that are there for it; a block that is in memory is read where it is sent.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, SocketAddrV4};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use nix::sys::socket::sockopt::IpMtu;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tracing::{debug, info, warn};

use super::packet::{self, Buffer, Options, Refusal};
use super::sessions::Pulse;
use super::transfer::{Due, Outcome, Transfer, max_block};
use super::{Ask, Counters, Files};
use crate::host::interface;
use crate::store::rope::Rope;

/// What all transfers of one server share.
pub(super) struct Shared<F> {
    /// Requests come here.
    pub(super) socket: UdpSocket,
    pub(super) local: SocketAddrV4,
    pub(super) files: Arc<F>,
    pub(super) counters: Arc<Counters>,
    /// Threads that may wait for a disk at a time; a disk that hangs holds no more.
    pub(super) disk: Arc<Semaphore>,
    /// All times are counted from here.
    pub(super) epoch: Instant,
}

impl<F> Shared<F> {
    pub(super) async fn refuse(&self, client: SocketAddrV4, refusal: Refusal) {
        let packet = refusal.bytes();
        if let Err(error) = self.socket.send_to(&packet, SocketAddr::V4(client)).await {
            debug!(%client, "TFTP: sending an error: {error}");
        }
    }

    /// Runs what may wait for a disk.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let permit = Arc::clone(&self.disk).acquire_owned().await;
        let permit = permit.map_err(io::Error::other)?;
        // The thread goes on when the transfer is ended meanwhile, and has its place until then.
        let work = move || {
            let done = work();
            drop(permit);
            done
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(io::Error::other)
    }
}

/// What one transfer needs beside its state.
pub(super) struct Task<F> {
    pub(super) client: SocketAddrV4,
    pub(super) name: String,
    pub(super) shared: Arc<Shared<F>>,
    pub(super) pulse: Arc<Pulse>,
    /// Set as soon as there is a file to send.
    pub(super) socket: Arc<OnceLock<UdpSocket>>,
    /// It has come to an end of its own and is counted.
    pub(super) told: bool,
}

/// A transfer is over.
pub(super) struct Ended {
    pub(super) client: SocketAddrV4,
    /// What the client has now.
    pub(super) taken: Option<String>,
}

/// A file to send, and how.
struct Opened {
    file: Rope,
    socket: std::net::UdpSocket,
    max_block: u16,
}

impl<F> Drop for Task<F> {
    fn drop(&mut self) {
        if !self.told {
            Counters::add(if self.pulse.is_opening() {
                &self.shared.counters.probed
            } else {
                &self.shared.counters.failed
            });
        }
    }
}

impl<F: Files> Task<F> {
    pub(super) async fn run(mut self, options: Options) -> Ended {
        let sent = self.send(&options).await;
        self.told = true;
        Ended {
            client: self.client,
            taken: sent.then(|| std::mem::take(&mut self.name)),
        }
    }

    /// Whether all of it was.
    async fn send(&self, options: &Options) -> bool {
        let (client, name) = (self.client, self.name.escape_default());
        let (file, socket, max_block) = match self.open().await {
            Ok(Some(opened)) => match asynchronous(opened.socket) {
                Ok(socket) => (opened.file, socket, opened.max_block),
                Err(error) => return self.busy(error).await,
            },
            Ok(None) => {
                Counters::add(&self.shared.counters.missing);
                debug!(%client, %name, "TFTP: no such file");
                self.shared.refuse(client, Refusal::NotFound).await;
                return false;
            }
            Err(error) => return self.busy(error).await,
        };
        let socket = self.socket.get_or_init(|| socket);
        let begin = self.shared.epoch.elapsed();
        let mut transfer = Transfer::begin(options, file.len(), max_block, begin);
        let outcome = self.carry(&mut transfer, &file, socket).await;
        let ms = self
            .shared
            .epoch
            .elapsed()
            .saturating_sub(begin)
            .as_millis();
        self.tell(&outcome, transfer.len(), ms);
        outcome == Outcome::Completed
    }

    async fn busy(&self, why: io::Error) -> bool {
        Counters::add(&self.shared.counters.refused);
        warn!(client = %self.client, name = %self.name.escape_default(), "TFTP: refused for now: {why}");
        self.shared.refuse(self.client, Refusal::Busy).await;
        false
    }

    async fn open(&self) -> io::Result<Option<Opened>> {
        let (files, name) = (Arc::clone(&self.shared.files), self.name.clone());
        let (client, local) = (self.client, self.shared.local);
        let pulse = Arc::clone(&self.pulse);
        let open = move || {
            if files.knows(*client.ip()) {
                pulse.is_of_known();
            }
            let ask = Ask {
                client,
                local,
                name: &name,
            };
            let Some(file) = files.open(&ask) else {
                return Ok(None);
            };
            let (socket, mtu) = socket_for(local, client)?;
            let max_block = max_block(mtu);
            Ok(Some(Opened {
                file,
                socket,
                max_block,
            }))
        };
        self.shared.on_disk(open).await.flatten()
    }

    async fn carry(&self, transfer: &mut Transfer, file: &Rope, socket: &UdpSocket) -> Outcome {
        let epoch = self.shared.epoch;
        let mut buffer = [0; size_of::<Buffer>()];
        let at = |deadline| tokio::time::Instant::from_std(epoch + deadline);
        let mut sleep = pin!(tokio::time::sleep_until(at(transfer.deadline())));
        loop {
            while let Some(due) = transfer.next(epoch.elapsed()) {
                let datagram = match self.datagram(due, file, &mut buffer).await {
                    Ok(datagram) => datagram,
                    Err(error) => {
                        // Best effort: who does not hear it asks again and is told.
                        let _ = socket.send(&Refusal::Unreadable.bytes()).await;
                        return Outcome::Unreadable(error.to_string());
                    }
                };
                match socket.send(datagram).await {
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                        return self.left(transfer, socket);
                    }
                    // A full queue or an interface that is down for a moment: lost like any other.
                    Err(error) => debug!(client = %self.client, "TFTP: sending: {error}"),
                    Ok(bytes) => {
                        let counter = &self.shared.counters.bytes;
                        counter.fetch_add(bytes as u64, Ordering::Relaxed);
                    }
                }
            }
            // Each acknowledgement puts the deadline off; the timer is only set again when it has fired, or is too late.
            if sleep.is_elapsed() || at(transfer.deadline()) < sleep.deadline() {
                sleep.as_mut().reset(at(transfer.deadline()));
            }
            let received = tokio::select! {
                received = socket.recv(&mut buffer) => Some(received),
                () = &mut sleep => None,
            };
            let now = epoch.elapsed();
            let outcome = match received {
                Some(Ok(len)) => packet::parse(&buffer[..len])
                    .ok()
                    .and_then(|packet| transfer.on_packet(&packet, now)),
                Some(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                    Some(self.left(transfer, socket))
                }
                Some(Err(error)) => {
                    debug!(client = %self.client, "TFTP: receiving: {error}");
                    None
                }
                None => None,
            };
            // Asked for each time: a client that floods the socket must not keep the timer from being seen.
            if let Some(outcome) = outcome.or_else(|| transfer.on_timeout(now)) {
                return outcome;
            }
            self.pulse.beat(transfer.is_opening(), transfer.progress());
        }
    }

    /// The client's port is closed. The kernel tells of that before it gives what came before, which may be the last
    /// acknowledgement: a client that has all of a file leaves, and what is repeated then meets nobody.
    fn left(&self, transfer: &mut Transfer, socket: &UdpSocket) -> Outcome {
        let mut buffer = [0; size_of::<Buffer>()];
        let now = self.shared.epoch.elapsed();
        for _ in 0..MAX_LEFT {
            let Ok(len) = socket.try_recv(&mut buffer) else {
                break;
            };
            let packet = packet::parse(&buffer[..len]).ok();
            if let Some(outcome) = packet.and_then(|packet| transfer.on_packet(&packet, now)) {
                return outcome;
            }
        }
        transfer.on_unreachable()
    }

    async fn datagram<'b>(
        &self,
        due: Due,
        file: &Rope,
        buffer: &'b mut Buffer,
    ) -> io::Result<&'b [u8]> {
        let (number, offset, size) = match due {
            Due::Offer(accepted) => return Ok(packet::oack(&accepted, buffer)),
            Due::Block {
                number,
                offset,
                size,
            } => (number, offset, size),
        };
        let place = packet::place(size, buffer);
        let len = match file.read_now(offset, place) {
            Some(len) => len,
            None => {
                let (file, mut block) = (file.clone(), vec![0; place.len()]);
                let read = move || {
                    let len = file.read_at(offset, &mut block)?;
                    block.truncate(len);
                    Ok(block)
                };
                let block: Vec<u8> = self.shared.on_disk(read).await.flatten()?;
                place[..block.len()].copy_from_slice(&block);
                block.len()
            }
        };
        Ok(packet::data(number, len, buffer))
    }

    fn tell(&self, outcome: &Outcome, bytes: u64, ms: u128) {
        let (client, name) = (self.client, self.name.escape_default());
        let counter = match outcome {
            Outcome::Completed => {
                info!(%client, %name, bytes, ms, "TFTP: sent");
                &self.shared.counters.served
            }
            Outcome::Probed => {
                debug!(%client, %name, bytes, "TFTP: the client only looked");
                &self.shared.counters.probed
            }
            Outcome::Stopped { code, text } => {
                info!(%client, %name, ms, "TFTP: the client stopped: error {code}, \"{text}\"");
                &self.shared.counters.failed
            }
            Outcome::Gone => {
                info!(%client, %name, ms, "TFTP: the client closed its port");
                &self.shared.counters.failed
            }
            Outcome::Silent => {
                info!(%client, %name, ms, "TFTP: the client fell silent");
                &self.shared.counters.failed
            }
            Outcome::TooSlow => {
                info!(%client, %name, ms, "TFTP: ended, the client took too long");
                &self.shared.counters.failed
            }
            Outcome::Unreadable(error) => {
                warn!(%client, %name, ms, "TFTP: ended, the file cannot be read: {error}; if the disk is sound, remove it and publish the image again");
                &self.shared.counters.failed
            }
        };
        Counters::add(counter);
    }
}

/// A new port of the same address (RFC 1350 §4), and what the way to the client carries at once: by the route to it, and by
/// the interface that the request came in on.
fn socket_for(local: SocketAddrV4, client: SocketAddrV4) -> io::Result<(std::net::UdpSocket, u32)> {
    let socket = std::net::UdpSocket::bind((*local.ip(), 0))?;
    socket.connect(client)?;
    let by_route = nix::sys::socket::getsockopt(&socket, IpMtu);
    let by_route = by_route.ok().and_then(|mtu| u32::try_from(mtu).ok());
    let by_interface = interface::mtu_at(*local.ip());
    let mtu = by_route.into_iter().chain(by_interface).min();
    Ok((socket, mtu.unwrap_or(ETHERNET_MTU)))
}

pub(super) fn asynchronous(socket: std::net::UdpSocket) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Packets of a client that has left; it had no more on the way than a window's acknowledgements.
const MAX_LEFT: usize = 64;
/// Where the system does not say it.
const ETHERNET_MTU: u32 = 1500;
