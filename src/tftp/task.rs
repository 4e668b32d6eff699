//! The shell of one transfer: sends what [`Transfer`] says, tells it what came and what time it is, counts how it ended.

use std::io::ErrorKind;
use std::net::SocketAddrV4;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::net::UdpSocket;
use tracing::{debug, info};

use super::Counters;
use super::packet::{self, Buffer};
use super::sessions::Pulse;
use super::transfer::{Outcome, Transfer};

/// What one transfer needs beside its state.
pub(super) struct Task {
    pub(super) client: SocketAddrV4,
    pub(super) name: String,
    pub(super) socket: Arc<UdpSocket>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) counters: Arc<Counters>,
    /// All times are counted from here.
    pub(super) epoch: Instant,
    /// It has come to an end of its own and is counted.
    pub(super) told: bool,
}

/// A transfer is over.
pub(super) struct Ended {
    pub(super) client: SocketAddrV4,
    /// What the client has now.
    pub(super) taken: Option<String>,
}

impl Drop for Task {
    fn drop(&mut self) {
        if !self.told {
            Counters::add(if self.pulse.is_opening() {
                &self.counters.probed
            } else {
                &self.counters.failed
            });
        }
    }
}

impl Task {
    pub(super) async fn run(mut self, mut transfer: Transfer) -> Ended {
        let begin = self.epoch.elapsed();
        let outcome = self.carry(&mut transfer).await;
        let ms = self.epoch.elapsed().saturating_sub(begin).as_millis();
        self.tell(&outcome, transfer.len(), ms);
        self.told = true;
        Ended {
            client: self.client,
            taken: matches!(outcome, Outcome::Completed).then(|| std::mem::take(&mut self.name)),
        }
    }

    async fn carry(&self, transfer: &mut Transfer) -> Outcome {
        let mut buffer = [0; size_of::<Buffer>()];
        let at = |deadline| tokio::time::Instant::from_std(self.epoch + deadline);
        let mut sleep = pin!(tokio::time::sleep_until(at(transfer.deadline())));
        loop {
            while let Some(datagram) = transfer.next(&mut buffer) {
                match self.socket.send(datagram).await {
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                        return transfer.on_unreachable();
                    }
                    // A full queue or an interface that is down for a moment: lost like any other.
                    Err(error) => debug!(client = %self.client, "TFTP: sending: {error}"),
                    Ok(bytes) => {
                        self.counters
                            .bytes
                            .fetch_add(bytes as u64, Ordering::Relaxed);
                    }
                }
            }
            // Each acknowledgement puts the deadline off; the timer is only set again when it has fired, or is too late.
            if sleep.is_elapsed() || at(transfer.deadline()) < sleep.deadline() {
                sleep.as_mut().reset(at(transfer.deadline()));
            }
            let received = tokio::select! {
                received = self.socket.recv(&mut buffer) => Some(received),
                () = &mut sleep => None,
            };
            let now = self.epoch.elapsed();
            let outcome = match received {
                Some(Ok(len)) => packet::parse(&buffer[..len])
                    .ok()
                    .and_then(|packet| transfer.on_packet(&packet, now)),
                Some(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                    Some(transfer.on_unreachable())
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

    fn tell(&self, outcome: &Outcome, bytes: u64, ms: u128) {
        let (client, name) = (self.client, self.name.escape_default());
        let counter = match outcome {
            Outcome::Completed => {
                info!(%client, %name, bytes, ms, "TFTP: sent");
                &self.counters.served
            }
            Outcome::Probed => {
                debug!(%client, %name, bytes, "TFTP: the client only looked");
                &self.counters.probed
            }
            Outcome::Stopped { code, text } => {
                info!(%client, %name, ms, "TFTP: the client stopped: error {code}, \"{text}\"");
                &self.counters.failed
            }
            Outcome::Gone => {
                info!(%client, %name, ms, "TFTP: the client closed its port");
                &self.counters.failed
            }
            Outcome::Silent => {
                info!(%client, %name, ms, "TFTP: the client fell silent");
                &self.counters.failed
            }
            Outcome::TooSlow => {
                info!(%client, %name, ms, "TFTP: ended, the client took too long");
                &self.counters.failed
            }
        };
        Counters::add(counter);
    }
}
