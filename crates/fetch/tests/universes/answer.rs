//! A request and a fault in, an answer out: pure.

use std::fmt::Write as _;
use std::io::BufRead;

use crate::fault::Fault;

/// What a worker asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) path: String,
    /// First and last byte.
    pub(crate) range: Option<(usize, usize)>,
}

impl Ask {
    /// `None` when the peer is gone, or no worker would write it.
    pub(crate) fn read(from: &mut impl BufRead) -> Option<Self> {
        let (mut path, mut range) = (None, None);
        for line in from.lines() {
            let line = line.ok()?;
            if path.is_none() {
                let target = line.strip_prefix("GET ")?.strip_suffix(" HTTP/1.1")?;
                path = Some(target.to_owned());
            } else if let Some(bytes) = line.strip_prefix("Range: bytes=") {
                let (first, last) = bytes.split_once('-')?;
                range = Some((first.parse().ok()?, last.parse().ok()?));
            } else if line.is_empty() {
                let path = path?;
                return Some(Self { path, range });
            }
        }
        None
    }

    pub(crate) fn is_list(&self) -> bool {
        self.path.ends_with("/chunks")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) head: Vec<u8>,
    /// Which bytes of the file follow.
    pub(crate) body: std::ops::Range<usize>,
    /// The byte of the file that is sent with a wrong bit.
    pub(crate) flip: Option<usize>,
    /// What comes after it, unasked.
    pub(crate) tail: &'static [u8],
    pub(crate) speed: Speed,
    pub(crate) then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speed {
    Full,
    /// In some pieces.
    Slow,
    /// Byte by byte.
    Trickle,
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Next,
    Close,
    Reset,
    /// Open, and nothing is answered any more.
    Silence,
    /// Bytes until the peer has enough.
    Flood,
}

/// `total` is the length of the file, `elsewhere` a server that has it.
pub(crate) fn answer(ask: &Ask, total: usize, fault: Option<Fault>, elsewhere: &str) -> Answer {
    let (first, last) = ask.range.unwrap_or((0, total - 1));
    let len = last + 1 - first;
    let range = ask.range.map(|_| (first, last, total));
    let mut head = Head {
        version: "1.1",
        status: if range.is_some() { 206 } else { 200 },
        length: Some(len),
        range,
        fields: String::new(),
    };
    let mut body = first..first + len;
    let (mut flip, mut speed, mut then) = (None, Speed::Full, Then::Next);
    let mut tail: &[u8] = b"";
    match fault {
        None => {}
        Some(Fault::Slow) => speed = Speed::Slow,
        Some(Fault::Http10) => (head.version, then) = ("1.0", Then::Close),
        Some(Fault::SaysClose) => (head.fields, then) = (field("connection: close"), Then::Close),
        Some(Fault::Status(status)) => (head.status, head.length) = (status, Some(0)),
        Some(Fault::Busy { after, place }) => {
            (head.status, head.length, head.range) = (503, Some(SORRY.len()), None);
            head.fields = field(&format!("Retry-After: {after}"));
            head.fields += &field(&format!("ramboot-queue: {place}"));
            (body, tail) = (first..first, SORRY);
        }
        Some(Fault::Redirect(status)) => {
            (head.status, head.length) = (status, Some(0));
            head.fields = field(&format!("Location: {elsewhere}{}", ask.path));
        }
        Some(Fault::WrongRange) => head.range = Some((first + 1, last + 1, total)),
        Some(Fault::WrongTotal) => head.range = Some((first, last, total + 1)),
        Some(Fault::NoContentRange) => head.range = None,
        Some(Fault::Longer) => {
            (head.length, then) = (Some(len + 1), Then::Flood);
        }
        Some(Fault::Shorter) => {
            (head.length, body.end) = (Some(len - 1), body.end - 1);
        }
        Some(Fault::TwoLengths) => head.fields = field(&format!("Content-Length: {}", len + 1)),
        Some(Fault::NoLength) => (head.length, then) = (None, Then::Close),
        Some(Fault::NoRange) => {
            (head.status, head.length, head.range) = (200, Some(total), None);
            body = 0..total;
        }
        Some(Fault::Chunked) => head.fields = field("Transfer-Encoding: chunked"),
        Some(Fault::Gzip) => head.fields = field("Content-Encoding: gzip"),
        Some(Fault::Truncate { at }) => {
            (body.end, then) = (first + at % len, Then::Close);
        }
        Some(Fault::Reset { at }) => {
            (body.end, then) = (first + at % len, Then::Reset);
        }
        Some(Fault::Stall { at }) => {
            (body.end, then) = (first + at % len, Then::Silence);
        }
        Some(Fault::Trickle) => speed = Speed::Trickle,
        Some(Fault::Flip { at }) => flip = Some(first + at % len),
        Some(Fault::Hangup) => then = Then::Close,
        Some(Fault::Early) => (tail, then) = (FORGED, Then::Silence),
        Some(fault) => return headless(fault),
    }
    if head.length == Some(0) {
        body = first..first;
    }
    Answer {
        head: head.bytes(),
        body,
        flip,
        tail,
        speed,
        then,
    }
}

/// Faults that leave no head worth the name.
fn headless(fault: Fault) -> Answer {
    let (head, then): (&[u8], Then) = match fault {
        Fault::Garbage => (b"\x16\x03\x01\x02\r\n\r\n", Then::Close),
        Fault::EndlessHead => (b"HTTP/1.1 206 Partial Content\r\nX-Pad: ", Then::Flood),
        Fault::CutHead => (b"HTTP/1.1 206 Partial Content\r\nContent-Le", Then::Close),
        Fault::Silent => (b"", Then::Silence),
        _ => (b"", Then::Close),
    };
    Answer {
        head: head.to_vec(),
        body: 0..0,
        flip: None,
        tail: b"",
        speed: Speed::Full,
        then,
    }
}

const SORRY: &[u8] = b"not your turn\n";
/// An answer to a request that was not made yet.
const FORGED: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

struct Head {
    version: &'static str,
    status: u16,
    length: Option<usize>,
    range: Option<(usize, usize, usize)>,
    fields: String,
}

impl Head {
    fn bytes(&self) -> Vec<u8> {
        let mut text = format!("HTTP/{} {} Whatever\r\n", self.version, self.status);
        if let Some(length) = self.length {
            write!(text, "Content-Length: {length}\r\n").expect("to memory");
        }
        if let Some((first, last, total)) = self.range {
            write!(text, "Content-Range: bytes {first}-{last}/{total}\r\n").expect("to memory");
        }
        text += &self.fields;
        text += "\r\n";
        text.into_bytes()
    }
}

fn field(text: &str) -> String {
    format!("{text}\r\n")
}
