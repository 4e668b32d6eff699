//! An HTTP server on loopback that lies on demand: the peers a worker meets, in one place.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ramboot_fetch::engine::Pace;
use ramboot_fetch::http::Patience;
use ramboot_wire::image::{CHUNK_BYTES, chaining_value, fold};
use ramboot_wire::{Base, ChunkList, ImageId};

/// Fast enough that a test of every fault takes some seconds, patient enough for a machine that does other things,
/// too: a stall that is none would be one retry too many.
pub(crate) const PACE: Pace = Pace {
    patience: Patience {
        connect: Duration::from_secs(2),
        stall: Duration::from_secs(1),
        piece: Duration::from_millis(1500),
    },
    retry: Duration::from_millis(5),
    retry_cap: Duration::from_millis(40),
    tell: Duration::from_millis(20),
};

/// What goes wrong with one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Ends in the middle of the body.
    Truncate,
    /// Sends half and then nothing, without closing.
    Stall,
    /// Sends a byte now and then.
    Trickle,
    /// Answers another range than asked for.
    WrongRange,
    /// Says another length than asked for.
    WrongLength,
    /// Answers 200 with the whole file.
    IgnoreRange,
    /// One bit of the first chunk is wrong.
    Flip,
    /// Closes without an answer.
    Close,
    /// Answers with this status.
    Status(u16),
    /// Answers that others come first, with this `Retry-After`. No failure, and not one of [`FAULTS`].
    Busy(&'static str),
    /// Uses a transfer coding.
    Chunked,
    /// Is not HTTP at all.
    Garbage,
    /// A head without end.
    EndlessHead,
}

/// All of them, the slow ones last.
pub(crate) const FAULTS: [Fault; 14] = [
    Fault::Truncate,
    Fault::WrongRange,
    Fault::WrongLength,
    Fault::IgnoreRange,
    Fault::Flip,
    Fault::Close,
    Fault::Status(404),
    Fault::Status(500),
    Fault::Status(302),
    Fault::Chunked,
    Fault::Garbage,
    Fault::EndlessHead,
    Fault::Stall,
    Fault::Trickle,
];

/// What is published.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) bytes: Vec<u8>,
    pub(crate) list: Vec<u8>,
    pub(crate) id: ImageId,
}

impl Image {
    /// `size` bytes that look like chance, above one chunk.
    pub(crate) fn new(size: usize) -> Arc<Self> {
        let mut x = 1_u64;
        let bytes: Vec<u8> = (0..size)
            .map(|_| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                x.to_be_bytes()[0]
            })
            .collect();
        let chunk = usize::try_from(CHUNK_BYTES).expect("fits");
        let values: Vec<[u8; 32]> = bytes
            .chunks(chunk)
            .zip(0..)
            .map(|(chunk, index)| chaining_value(index, chunk))
            .collect();
        let id = fold(&values).expect("several chunks");
        let list = values.concat();
        Arc::new(Self { bytes, list, id })
    }

    pub(crate) fn chunks(&self) -> ChunkList {
        ChunkList::prove(self.id, self.bytes.len() as u64, &self.list).expect("proves")
    }
}

/// Faults still to come; one is used up by each answer.
pub(crate) type Faults = Arc<Mutex<VecDeque<Fault>>>;

/// Serves until the test's process ends.
pub(crate) fn serve(image: &Arc<Image>, faults: &[Fault]) -> (Base, Faults) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let addr = listener.local_addr().expect("bound");
    let faults: Faults = Arc::new(Mutex::new(faults.iter().copied().collect()));
    let (image, queue) = (Arc::clone(image), Arc::clone(&faults));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (image, queue) = (Arc::clone(&image), Arc::clone(&queue));
            thread::spawn(move || while one(&stream, &image, &queue).is_some() {});
        }
    });
    (format!("http://{addr}").parse().expect("a base"), faults)
}

/// One request; `None` ends the connection.
fn one(mut stream: &TcpStream, image: &Image, faults: &Faults) -> Option<()> {
    let (path, range) = request(stream)?;
    let file = if path.ends_with("/chunks") {
        &image.list
    } else {
        &image.bytes
    };
    let (first, last) = range.unwrap_or((0, file.len() - 1));
    let mut body = file.get(first..=last)?.to_vec();
    let fault = faults.lock().expect("lock").pop_front();
    let (mut status, mut from, mut len) =
        (if range.is_some() { 206 } else { 200 }, first, body.len());
    let mut extra = "";
    match fault {
        Some(Fault::Close) => return None,
        Some(Fault::Busy(after)) => {
            let head = format!(
                "HTTP/1.1 503 x\r\nRetry-After: {after}\r\nramboot-queue: 3/17\r\nContent-Length: 0\r\n\r\n"
            );
            return stream.write_all(head.as_bytes()).ok();
        }
        Some(Fault::Status(other)) => status = other,
        Some(Fault::WrongRange) => from += 1,
        Some(Fault::WrongLength) => len += 1,
        Some(Fault::IgnoreRange) => status = 200,
        Some(Fault::Flip) => body[0] ^= 1,
        Some(Fault::Chunked) => extra = "Transfer-Encoding: chunked\r\n",
        Some(Fault::Garbage) => {
            return stream.write_all(b"\x16\x03\x01\x02\r\n\r\n").ok().and(None);
        }
        Some(Fault::EndlessHead) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").ok()?;
            while stream.write_all(&[b'x'; 512]).is_ok() {}
            return None;
        }
        _ => {}
    }
    let head = format!(
        "HTTP/1.1 {status} x\r\nContent-Length: {len}\r\nContent-Range: bytes {from}-{last}/{}\r\n{extra}\r\n",
        file.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    let half = body.len() / 2;
    match fault {
        None => return stream.write_all(&body).ok(),
        Some(Fault::Truncate) => stream.write_all(&body[..half]).ok()?,
        Some(Fault::Stall) => {
            stream.write_all(&body[..half]).ok()?;
            thread::sleep(Duration::from_secs(3));
        }
        Some(Fault::Trickle) => {
            for byte in &body {
                stream.write_all(&[*byte]).ok()?;
                thread::sleep(Duration::from_millis(50));
            }
        }
        Some(_) => stream.write_all(&body).ok()?,
    }
    None
}

type Range = Option<(usize, usize)>;

fn request(stream: &TcpStream) -> Option<(String, Range)> {
    let mut lines = BufReader::new(stream).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let mut range = None;
    for line in lines {
        let line = line.ok()?;
        if line.is_empty() {
            break;
        }
        if let Some((first, last)) = line
            .strip_prefix("Range: bytes=")
            .and_then(|range| range.split_once('-'))
        {
            range = Some((first.parse().ok()?, last.parse().ok()?));
        }
    }
    Some((path, range))
}
