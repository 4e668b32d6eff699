//! As much HTTP/1.1 (RFC 9112) as a worker needs: GET with one range, POST of a report, kept-alive connections.
//!
//! Everything a server says is checked against what was asked: status, `Content-Range`, `Content-Length`. Refused:
//! redirects, transfer and content codings, heads above 8 KiB. Every read has a timeout.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: owns sockets and timeouts"
)]

mod error;
mod head;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ramboot_wire::{Base, queue};

pub use error::HttpError;
use head::Head;

/// How long to wait for a peer.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the connection. A SYN is sent again after 1 s and 3 s: one of them may be lost.
    pub connect: Duration,
    /// For the next byte. TCP's own retransmission recovers from a second or two of loss; ten are a dead peer.
    pub stall: Duration,
    /// For one piece (a head, or a buffer of body) as a whole, so that a peer that trickles is left, too.
    pub piece: Duration,
}

/// Which bytes of a file, and how long the whole file must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub first: u64,
    /// How many; never zero.
    pub len: u64,
    /// Bytes of the whole file.
    pub total: u64,
}

/// A connection that is used for one request after the other.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    base: Base,
    patience: Patience,
    /// Read from the socket, not yet consumed: the body's beginning comes with the head.
    ahead: Vec<u8>,
    /// Bytes of the current body that were not read yet.
    left: u64,
    want: u64,
    open: bool,
    /// When something came last.
    used: Instant,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`HttpError::Connect`].
    pub fn open(base: &Base, patience: Patience) -> Result<Self, HttpError> {
        let addr = SocketAddr::V4(base.addr);
        let stream = TcpStream::connect_timeout(&addr, patience.connect)
            .and_then(|stream| {
                stream.set_read_timeout(Some(patience.stall))?;
                stream.set_write_timeout(Some(patience.stall))?;
                stream.set_nodelay(true)?;
                Ok(stream)
            })
            .map_err(HttpError::Connect)?;
        Ok(Self {
            stream,
            base: base.clone(),
            patience,
            ahead: Vec::new(),
            left: 0,
            want: 0,
            open: true,
            used: Instant::now(),
        })
    }

    /// Whether another request can follow: the last body was read to its end, the peer did not say `close`, and it is
    /// not so long ago that the peer may have closed by itself.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        self.open && self.left == 0 && self.used.elapsed() < IDLE
    }

    /// Asks for a whole file of `len` bytes.
    ///
    /// # Errors
    /// Anything but that.
    pub fn get(&mut self, path: &str, len: u64) -> Result<(), HttpError> {
        let head = self.exchange("GET", path, "", b"")?;
        if head.status != 200 {
            return Err(self.refused(path, &head));
        }
        self.body(&head, len)
    }

    /// Asks for a part of a file, and lets the peer wait with its answer until it is our turn ([`queue`]).
    ///
    /// # Errors
    /// Anything but that part. After [`HttpError::Busy`] the connection may still be reusable.
    /// `urgency` (RFC 9218 §4.1) tells a manager what to serve first, if anything.
    pub fn get_range(
        &mut self,
        path: &str,
        range: ByteRange,
        urgency: Option<u8>,
    ) -> Result<(), HttpError> {
        let last = range.first + range.len - 1;
        let ask = format!(
            "Range: bytes={}-{last}\r\nPrefer: wait={}\r\n{}",
            range.first,
            queue::WAIT.as_secs(),
            urgency.map_or_else(String::new, |u| format!("Priority: u={u}\r\n"))
        );
        let head = self.exchange("GET", path, &ask, b"")?;
        match head.status {
            206 => {
                let expected = format!("bytes {}-{last}/{}", range.first, range.total);
                if head.range != expected {
                    return Err(HttpError::Range {
                        expected,
                        found: head.range,
                    });
                }
            }
            // RFC 9110 §14.2: a server may ignore Range. If the part is the whole, that is all the same.
            200 if range.len == range.total => {}
            200 => {
                return Err(HttpError::RangeIgnored {
                    path: path.to_owned(),
                });
            }
            _ => return Err(self.refused(path, &head)),
        }
        self.body(&head, range.len)
    }

    /// Sends a small body and reads the answer's head; the answer's body is of no interest.
    ///
    /// # Errors
    /// No answer, or a status outside 2xx.
    pub fn post(&mut self, path: &str, body: &[u8]) -> Result<(), HttpError> {
        let fields = format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
        let head = self.exchange("POST", path, &fields, body)?;
        if !(200..300).contains(&head.status) {
            return Err(self.refused(path, &head));
        }
        self.open &= head.status == 204 || head.length == "0";
        Ok(())
    }

    /// Fills `buffer` with the next bytes of the body.
    ///
    /// # Errors
    /// The body ends or stalls before.
    pub fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), HttpError> {
        let until = Instant::now() + self.patience.piece;
        let mut rest = buffer;
        while !rest.is_empty() {
            let got = self.want - self.left;
            let (want, patience) = (self.want, self.patience);
            let n = match self.read_some(rest) {
                Ok(0) => return Err(HttpError::Closed { got, want }),
                Ok(n) => n,
                Err(e) if is_timeout(&e) => {
                    let patience = patience.stall;
                    return Err(HttpError::Stalled {
                        got,
                        want,
                        patience,
                    });
                }
                Err(source) => return Err(HttpError::Broken { got, want, source }),
            };
            self.left = self.left.saturating_sub(n as u64);
            self.used = Instant::now();
            rest = rest.get_mut(n..).unwrap_or_default();
            if !rest.is_empty() && Instant::now() > until {
                return Err(HttpError::Stalled {
                    got: self.want - self.left,
                    want: self.want,
                    patience: self.patience.piece,
                });
            }
        }
        Ok(())
    }

    /// How many bytes of the current body have come.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.want - self.left
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.ahead.len().min(buffer.len());
        if n > 0 {
            for (to, from) in buffer.iter_mut().zip(self.ahead.drain(..n)) {
                *to = from;
            }
            return Ok(n);
        }
        loop {
            match self.stream.read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn exchange(
        &mut self,
        method: &str,
        path: &str,
        fields: &str,
        body: &[u8],
    ) -> Result<Head, HttpError> {
        let request = format!(
            "{method} {}{path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: ramboot-init/{}\r\n{fields}\r\n",
            self.base.prefix,
            self.base.addr,
            env!("CARGO_PKG_VERSION")
        );
        let failed = |source| HttpError::Exchange {
            path: path.to_owned(),
            source,
        };
        let mut packet = request.into_bytes();
        packet.extend_from_slice(body);
        self.stream.write_all(&packet).map_err(failed)?;
        let head = self.head(path)?;
        self.used = Instant::now();
        self.open &= !head.close;
        Ok(head)
    }

    fn head(&mut self, path: &str) -> Result<Head, HttpError> {
        let until = Instant::now() + self.patience.piece;
        let mut buffer = vec![0; MAX_HEAD];
        let mut filled = 0;
        loop {
            let free = buffer.get_mut(filled..).unwrap_or_default();
            if free.is_empty() {
                return Err(HttpError::Head(format!("a head of over {MAX_HEAD} bytes")));
            }
            let n = match self.read_some(free) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) if Instant::now() > until => Err(io::ErrorKind::TimedOut.into()),
                Err(e) if is_timeout(&e) => Err(io::ErrorKind::TimedOut.into()),
                other => other,
            }
            .map_err(|source| HttpError::Exchange {
                path: path.to_owned(),
                source,
            })?;
            filled += n;
            let seen = buffer.get(..filled).unwrap_or_default();
            if let Some((head, len)) = Head::parse(seen)? {
                self.ahead = seen.get(len..).unwrap_or_default().to_vec();
                return Ok(head);
            }
        }
    }

    /// Another status than those that bring what was asked for.
    fn refused(&mut self, path: &str, head: &Head) -> HttpError {
        let path = path.to_owned();
        match (head.status, head.retry_after) {
            (503, Some(after)) => {
                // We come back soon, so its few words are read to keep the connection.
                self.open &= self.skip(head).is_some();
                let place = head.place;
                HttpError::Busy { path, after, place }
            }
            (status, _) => HttpError::Status { path, status },
        }
    }

    /// Reads a small body that is of no interest; `None` if it is not small, or does not come.
    fn skip(&mut self, head: &Head) -> Option<()> {
        let mut text = [0; MAX_REFUSAL];
        let len = head.length.parse().ok().filter(|_| head.coding.is_none());
        let room = len.and_then(|len: usize| text.get_mut(..len))?;
        (self.left, self.want) = (room.len() as u64, room.len() as u64);
        self.read_exact(room).ok()
    }

    fn body(&mut self, head: &Head, expected: u64) -> Result<(), HttpError> {
        if let Some(coding) = &head.coding {
            return Err(HttpError::Encoded(coding.clone()));
        }
        if head.length != expected.to_string() {
            return Err(HttpError::Length {
                expected,
                found: head.length.clone(),
            });
        }
        (self.left, self.want) = (expected, expected);
        Ok(())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    // SO_RCVTIMEO ends a read with EAGAIN.
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// A head of our manager has 300 bytes; caches in between add some.
const MAX_HEAD: usize = 8192;
/// A refusal's text that is worth a read, to keep the connection.
const MAX_REFUSAL: usize = 512;
/// Well below the 30 s after which our manager closes a connection that asks nothing.
const IDLE: Duration = Duration::from_secs(10);
