//! As much HTTP/1.1 (RFC 9112) as a worker needs: GET with one range, POST of a report, kept-alive connections.
//!
//! Everything a server says is checked against what was asked: status, `Content-Range`, `Content-Length`. Refused:
//! redirects, transfer and content codings, heads above [`MAX_HEAD`]. Every read has a timeout.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: owns sockets and timeouts"
)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ramboot_wire::Base;

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
    /// Nothing came for [`Patience::stall`], or too little in [`Patience::piece`].
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
        })
    }

    /// Whether another request can follow: the last body was read to its end and the peer did not say `close`.
    #[must_use]
    pub const fn is_reusable(&self) -> bool {
        self.open && self.left == 0
    }

    /// Asks for a whole file of `len` bytes.
    ///
    /// # Errors
    /// Anything but that.
    pub fn get(&mut self, path: &str, len: u64) -> Result<(), HttpError> {
        let head = self.exchange("GET", path, "", b"")?;
        if head.status != 200 {
            return Err(status(path, head.status));
        }
        self.body(&head, len)
    }

    /// Asks for a part of a file.
    ///
    /// # Errors
    /// Anything but that part.
    pub fn get_range(&mut self, path: &str, range: ByteRange) -> Result<(), HttpError> {
        let last = range.first + range.len - 1;
        let ask = format!("Range: bytes={}-{last}\r\n", range.first);
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
            other => return Err(status(path, other)),
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
            return Err(status(path, head.status));
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

/// What of an answer's head matters.
#[derive(Debug, Default, PartialEq, Eq)]
struct Head {
    status: u16,
    length: String,
    range: String,
    coding: Option<String>,
    close: bool,
}

impl Head {
    /// `None` if the end is not there yet, else the head and its length.
    fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, HttpError> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let len = match response.parse(bytes) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(HttpError::Head(error.to_string())),
        };
        let mut head = Self {
            status: response.code.unwrap_or(0),
            close: response.version != Some(1),
            ..Self::default()
        };
        for field in response.headers.iter() {
            let value = String::from_utf8_lossy(field.value).trim().to_owned();
            match field.name.to_ascii_lowercase().as_str() {
                // RFC 9110 §8.6: several lengths are an attack or a bug; joined, they match no number.
                "content-length" if !head.length.is_empty() => head.length += ", twice",
                "content-length" => head.length = value,
                "content-range" => head.range = value,
                "transfer-encoding" => head.coding = Some(value),
                "content-encoding" if !value.eq_ignore_ascii_case("identity") => {
                    head.coding = Some(value);
                }
                "connection" if value.to_ascii_lowercase().contains("close") => head.close = true,
                _ => {}
            }
        }
        Ok(Some((head, len)))
    }
}

fn status(path: &str, status: u16) -> HttpError {
    HttpError::Status {
        path: path.to_owned(),
        status,
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
const MAX_FIELDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn heads() {
        let text = b"HTTP/1.1 206 Partial Content\r\nContent-LENGTH: 5\r\ncontent-range: bytes 0-4/9\r\nConnection: Close\r\n\r\nhello";
        let (head, len) = Head::parse(text).expect("parses").expect("whole");
        assert_eq!(len, text.len() - 5);
        let want = Head {
            status: 206,
            length: "5".to_owned(),
            range: "bytes 0-4/9".to_owned(),
            coding: None,
            close: true,
        };
        assert_eq!(head, want);
        for cut in 0..len {
            assert_eq!(Head::parse(&text[..cut]).expect("so far"), None);
        }
        let twice = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n";
        let (head, _) = Head::parse(twice).expect("parses").expect("whole");
        assert_eq!(head.length, "5, twice");
    }

    proptest! {
        #[test]
        fn never_panics(garbage in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Head::parse(&garbage);
            let _ = Head::parse(&[b"HTTP/1.1 200 OK\r\n", &garbage[..]].concat());
        }
    }
}
