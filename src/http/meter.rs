//! A connection that counts what leaves through it, and can be told apart from others of the same worker.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::host::packet_socket::INTERACTIVE;

/// Bytes that the kernel took.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// For this worker.
    own: AtomicU64,
    /// For all.
    all: Arc<AtomicU64>,
}

impl Meter {
    pub(super) fn new(all: Arc<AtomicU64>) -> Self {
        Self {
            own: AtomicU64::new(0),
            all,
        }
    }

    pub(super) fn own(&self) -> u64 {
        self.own.load(Ordering::Relaxed)
    }

    fn count(&self, bytes: usize) {
        self.own.fetch_add(bytes as u64, Ordering::Relaxed);
        self.all.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Any stream, counted.
#[derive(Debug)]
pub(super) struct Metered<S> {
    stream: S,
    meter: Arc<Meter>,
    /// What the next bytes are to be.
    urgent: Arc<AtomicBool>,
    /// What the socket was told last.
    is_urgent: bool,
}

impl<S> Metered<S> {
    pub(super) const fn new(stream: S, meter: Arc<Meter>, urgent: Arc<AtomicBool>) -> Self {
        Self {
            stream,
            meter,
            urgent,
            is_urgent: false,
        }
    }
}

impl<S: AsFd> Metered<S> {
    /// Tells the kernel before bytes leave, and only if it was told otherwise.
    fn prioritise(&mut self) {
        let urgent = self.urgent.load(Ordering::Relaxed);
        if urgent != self.is_urgent {
            let priority = if urgent { INTERACTIVE } else { BEST_EFFORT };
            // What cannot be said is sent like all others.
            let _ = SockRef::from(&self.stream).set_priority(priority);
            self.is_urgent = urgent;
        }
    }
}

/// TC_PRIO_BESTEFFORT.
const BEST_EFFORT: u32 = 0;

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + AsFd + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.prioritise();
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.meter.count(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.prioritise();
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        self.meter.count(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
