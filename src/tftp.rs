//! TFTP for boot ROMs that know nothing better: read requests for names in a table.
//!
//! A name is looked up, never joined to a path: there is no directory behind it. Block size (RFC 2348), transfer size
//! (RFC 2349) and window size (RFC 7440) are negotiated by `async-tftp` within the limits below; writes are refused.
//! The number of transfers at once is bounded, and one that nobody acknowledges ends by itself.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use async_tftp::packet::Error as Refusal;
use async_tftp::server::{Handler, TftpServer, TftpServerBuilder};
use bytes::Bytes;
use futures_lite::AsyncRead;
use tracing::{debug, info};

/// Name → content. A leading `/`, which some ROMs put before the name, is not part of it.
pub type Table = BTreeMap<String, Bytes>;

/// What fits into an Ethernet frame (1 500 − IPv4 20 − UDP 8 − TFTP 4): ROMs do not reassemble fragments.
const MAX_BLOCK_BYTES: u16 = 1468;
/// 16 blocks are 23 KiB in flight: no ROM's receive ring overflows by it, and it is past where the gain ends.
const MAX_WINDOW_BLOCKS: u16 = 16;
/// Each costs a socket and a window of blocks.
const MAX_TRANSFERS: usize = 512;
/// RFC 1350 leaves the timeout open; ROMs themselves wait 1 to 4 s.
const TIMEOUT: Duration = Duration::from_secs(2);
const MAX_RETRIES: u32 = 5;

/// What TFTP was asked for.
#[derive(Debug, Default)]
pub struct Counters {
    /// Transfers begun.
    pub served: AtomicU64,
    /// Requests for a name that is not in the table, writes, and requests past the limit.
    pub refused: AtomicU64,
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sent, {} refused",
            self.served.load(Ordering::Relaxed),
            self.refused.load(Ordering::Relaxed)
        )
    }
}

/// A server that answers on `socket` for ever; polled by whoever spawns it.
///
/// # Errors
/// The socket cannot be made non-blocking, or reading from it fails.
pub async fn run(
    socket: UdpSocket,
    table: Arc<Table>,
    counters: Arc<Counters>,
) -> anyhow::Result<()> {
    server(socket, table, counters)
        .await?
        .serve()
        .await
        .context("receiving TFTP requests")
}

async fn server(
    socket: UdpSocket,
    table: Arc<Table>,
    counters: Arc<Counters>,
) -> anyhow::Result<TftpServer<Names>> {
    TftpServerBuilder::with_handler(Names {
        table,
        counters,
        running: Arc::default(),
    })
    .std_socket(socket)
    .context("making the TFTP socket asynchronous")?
    .block_size_limit(MAX_BLOCK_BYTES)
    .window_size_limit(MAX_WINDOW_BLOCKS)
    .timeout(TIMEOUT)
    // A client could ask for 255 s between retries and keep a transfer for hours.
    .ignore_client_timeout()
    .max_send_retries(MAX_RETRIES)
    .build()
    .await
    .context("starting TFTP")
}

struct Names {
    table: Arc<Table>,
    counters: Arc<Counters>,
    running: Arc<AtomicUsize>,
}

impl Names {
    fn open(&self, client: SocketAddr, path: &Path) -> Result<(Content, u64), Refusal> {
        let asked = path.to_string_lossy();
        let Some((name, bytes)) = self.table.get_key_value(asked.trim_start_matches('/')) else {
            debug!(%client, name = %asked.escape_default(), "TFTP: no such file");
            return Err(Refusal::FileNotFound);
        };
        let slot = Slot::take(&self.running).ok_or_else(|| {
            info!(%client, name, "TFTP: refused, {MAX_TRANSFERS} transfers are running");
            Refusal::Msg("busy, try again".to_owned())
        })?;
        info!(%client, name, bytes = bytes.len(), "TFTP: sending");
        Ok((
            Content {
                rest: bytes.clone(),
                _slot: slot,
            },
            bytes.len() as u64,
        ))
    }
}

impl Handler for Names {
    type Reader = Content;
    type Writer = futures_lite::io::Sink;

    async fn read_req_open(
        &mut self,
        client: &SocketAddr,
        path: &Path,
    ) -> Result<(Content, Option<u64>), Refusal> {
        match self.open(*client, path) {
            Ok((content, len)) => {
                self.counters.served.fetch_add(1, Ordering::Relaxed);
                Ok((content, Some(len)))
            }
            Err(refusal) => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                Err(refusal)
            }
        }
    }

    async fn write_req_open(
        &mut self,
        client: &SocketAddr,
        path: &Path,
        _: Option<u64>,
    ) -> Result<Self::Writer, Refusal> {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        debug!(%client, name = %path.to_string_lossy().escape_default(), "TFTP: writing is not possible");
        Err(Refusal::IllegalOperation)
    }
}

/// One of [`MAX_TRANSFERS`]; given back when the transfer ends, however it ends.
struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(running: &Arc<AtomicUsize>) -> Option<Self> {
        let slot = Self(Arc::clone(running));
        (running.fetch_add(1, Ordering::Relaxed) < MAX_TRANSFERS).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Content {
    rest: Bytes,
    _slot: Slot,
}

impl AsyncRead for Content {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        let len = buffer.len().min(self.rest.len());
        buffer[..len].copy_from_slice(&self.rest.split_to(len));
        Poll::Ready(Ok(len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let table = Table::from([("undionly.kpxe".to_owned(), Bytes::from_static(b"rom"))]);
        Names {
            table: Arc::new(table),
            counters: Arc::default(),
            running: Arc::default(),
        }
    }

    fn client() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 2070))
    }

    #[test]
    fn a_name_is_looked_up_and_never_a_path() {
        let names = names();
        for good in ["undionly.kpxe", "/undionly.kpxe"] {
            assert!(names.open(client(), Path::new(good)).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/",
            "../undionly.kpxe",
            "./undionly.kpxe",
            "undionly.kpxe/",
            "/etc/passwd",
            "undionly.kpxe\0",
            "UNDIONLY.KPXE",
            "\u{1b}[2J",
        ] {
            assert!(
                matches!(
                    names.open(client(), Path::new(bad)),
                    Err(Refusal::FileNotFound)
                ),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn transfers_are_bounded_and_given_back() {
        let names = names();
        let path = Path::new("undionly.kpxe");
        let mut open: Vec<_> = (0..MAX_TRANSFERS)
            .map(|_| names.open(client(), path).expect("below the limit"))
            .collect();
        assert!(matches!(names.open(client(), path), Err(Refusal::Msg(_))));
        open.pop();
        names
            .open(client(), path)
            .map(drop)
            .expect("a slot is free again");
    }
}
