//! Why an exchange failed: what was asked, what came instead, and how far it got.

use std::io;
use std::time::Duration;

use ramboot_wire::queue::Place;

/// Why a request got no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection.
    #[error("connecting")]
    Connect(#[source] io::Error),
    /// The connection broke.
    #[error("after {got} of {want} bytes")]
    Broken {
        /// Bytes of the body that came.
        got: u64,
        /// Bytes there should be.
        want: u64,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// The peer ended too early.
    #[error("connection closed after {got} of {want} bytes")]
    Closed {
        /// Bytes of the body that came.
        got: u64,
        /// Bytes there should be.
        want: u64,
    },
    /// Nothing came for [`stall`](super::Patience::stall), or too little in [`piece`](super::Patience::piece).
    #[error("stalled for {patience:?} after {got} of {want} bytes")]
    Stalled {
        /// Bytes of the body that came.
        got: u64,
        /// Bytes there should be.
        want: u64,
        /// Which patience was lost.
        patience: Duration,
    },
    /// The request could not be sent, or no head came.
    #[error("asking for {path}")]
    Exchange {
        /// What was asked for.
        path: String,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// Not HTTP, or too much of it.
    #[error("the answer is not HTTP/1.1: {0}")]
    Head(String),
    /// 503 with `Retry-After`: nothing is wrong, it is not our turn.
    #[error("{path} answered that it is not our turn")]
    Busy {
        /// What was asked for.
        path: String,
        /// After what time it wants to be asked again; anything at all, a liar may say centuries.
        after: Duration,
        /// Where we stand, if it says.
        place: Option<Place>,
    },
    /// Not the status that was asked for.
    #[error("{path} answered with status {status}")]
    Status {
        /// What was asked for.
        path: String,
        /// As it stands in the status line.
        status: u16,
    },
    /// 200 to a request for a part: reading on would fetch the whole image.
    #[error("{path} answered with the whole file: the server does not know Range")]
    RangeIgnored {
        /// What was asked for.
        path: String,
    },
    /// Another part than asked for.
    #[error("Content-Range is {found:?}, expected {expected:?}")]
    Range {
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// Another length than asked for.
    #[error("Content-Length is {found:?}, expected {expected}")]
    Length {
        /// What it must be.
        expected: u64,
        /// What it is.
        found: String,
    },
    /// Bytes on the wire would not be bytes of the file.
    #[error("the body is encoded ({0})")]
    Encoded(String),
}
