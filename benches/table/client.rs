//! The HTTP client of all rows: the same for every server, and cheap, since it has the same two cores.
//!
//! Two threads (one for a single connection), each with an epoll of its connections and one buffer of 256 KiB that all
//! of them read into: a copy, as a worker makes one, into memory that stays warm. Or a thread for each connection, which
//! the kernel wakes one by one as it would wake machines. A connection is kept alive and asks
//! for one thing after the other. Status and length of every answer are checked, its bytes are not.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::lan::Lan;

/// As many as this machine is thought to have processors.
pub(crate) const THREADS: usize = 2;
const BUFFER_BYTES: usize = 256 << 10;
const MAX_HEAD_BYTES: usize = 8 << 10;
const SILENCE: Duration = Duration::from_secs(20);

/// What each connection asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Whole,
    /// A range of so many bytes, anywhere.
    Range(u64),
}

/// What is asked of a server.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    /// Bytes of what is at `path`.
    pub(crate) size: u64,
    pub(crate) shape: Shape,
    pub(crate) connections: usize,
    /// Of each connection.
    pub(crate) requests: usize,
    /// Of the client, at most one for each connection.
    pub(crate) threads: usize,
}

impl Load {
    /// Bytes of all bodies.
    pub(crate) fn bytes(&self) -> u64 {
        (self.connections * self.requests) as u64 * self.body()
    }

    fn body(&self) -> u64 {
        match self.shape {
            Shape::Whole => self.size,
            Shape::Range(length) => length,
        }
    }

    /// Fetches all of it, or until `stop`; the connections are open until the answer is dropped.
    pub(crate) fn run(&self, lan: &Lan, stop: &Arc<AtomicBool>) -> anyhow::Result<Vec<TcpStream>> {
        let threads = self.threads.min(self.connections);
        let clients: Vec<_> = (0..threads)
            .map(|thread| {
                let (load, stop) = (self.clone(), Arc::clone(stop));
                lan.client(move || load.thread(thread, threads, &stop))
            })
            .collect();
        let mut open = Vec::new();
        for client in clients {
            let joined = client.join();
            open.extend(joined.map_err(|_| anyhow::anyhow!("a client panicked"))??);
        }
        Ok(open)
    }

    /// The connections `thread`, `thread + threads`, …
    fn thread(
        &self,
        thread: usize,
        threads: usize,
        stop: &AtomicBool,
    ) -> anyhow::Result<Vec<TcpStream>> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut connections = Vec::new();
        for seed in (thread..self.connections).step_by(threads) {
            let mut connection = Connection::open(self, seed as u64)?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, connections.len() as u64);
            epoll.add(&connection.stream, event)?;
            connection.ask(self)?;
            connections.push(connection);
        }
        let mut busy = connections.len();
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut events = [EpollEvent::empty(); 256];
        while busy > 0 && !stop.load(Ordering::Relaxed) {
            let ready = epoll.wait(&mut events, EpollTimeout::try_from(SILENCE)?)?;
            ensure!(ready > 0, "no byte within {SILENCE:?}");
            for event in events.iter().take(ready) {
                let connection = usize::try_from(event.data())
                    .ok()
                    .and_then(|at| connections.get_mut(at))
                    .context("an event of no connection")?;
                if connection.receive(self, &mut buffer)? {
                    epoll.delete(&connection.stream)?;
                    busy -= 1;
                }
            }
        }
        Ok(connections.into_iter().map(|one| one.stream).collect())
    }
}

struct Connection {
    stream: TcpStream,
    /// Where the next range begins is a guess of it (xorshift64).
    chance: u64,
    /// Requests that are not answered yet.
    left: usize,
    /// What came of the head of an answer.
    head: Vec<u8>,
    /// Bytes of the body that are still to come; `None` while the head comes.
    body: Option<u64>,
}

impl Connection {
    fn open(load: &Load, seed: u64) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(load.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            chance: (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            left: load.requests,
            head: Vec::new(),
            body: None,
        })
    }

    fn ask(&mut self, load: &Load) -> anyhow::Result<()> {
        let range = match load.shape {
            Shape::Whole => String::new(),
            Shape::Range(length) => {
                let at = self.guess() % (load.size - length + 1);
                format!("Range: bytes={at}-{}\r\n", at + length - 1)
            }
        };
        let request = format!("GET {} HTTP/1.1\r\nHost: bench\r\n{range}\r\n", load.path);
        // The other side has read all that came before: there is room.
        self.stream
            .write_all(request.as_bytes())
            .context("asking")?;
        Ok(())
    }

    fn guess(&mut self) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance
    }

    /// Reads once; true when the last answer is complete.
    fn receive(&mut self, load: &Load, buffer: &mut [u8]) -> anyhow::Result<bool> {
        let read = match self.stream.read(buffer) {
            Ok(0) => bail!("connection closed with {} answers to come", self.left),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("reading"),
        };
        let mut length = read as u64;
        if self.body.is_none() {
            let had = self.head.len();
            // No more than a head: the body is not to be copied once more.
            let part = read.min(MAX_HEAD_BYTES - had);
            self.head.extend_from_slice(&buffer[..part]);
            let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else {
                ensure!(self.head.len() < MAX_HEAD_BYTES, "an endless head");
                return Ok(false);
            };
            self.head.truncate(end + 4);
            check(&self.head, load)?;
            length -= (end + 4 - had) as u64;
            self.head.clear();
            self.body = Some(load.body());
        }
        let left = self.body.unwrap_or_default().checked_sub(length);
        match left.context("more bytes than were asked for")? {
            0 => {
                self.body = None;
                self.left -= 1;
                if self.left > 0 {
                    self.ask(load)?;
                }
                Ok(self.left == 0)
            }
            left => {
                self.body = Some(left);
                Ok(false)
            }
        }
    }
}

/// Status and length are those of what was asked for.
fn check(head: &[u8], load: &Load) -> anyhow::Result<()> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n").take_while(|line| !line.is_empty());
    let status = match load.shape {
        Shape::Whole => "HTTP/1.1 200 ",
        Shape::Range(_) => "HTTP/1.1 206 ",
    };
    let first = lines.next().unwrap_or_default();
    ensure!(first.starts_with(status), "answered {first}");
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length
            .then(|| value.trim().parse::<u64>().ok())
            .flatten()
    });
    ensure!(
        length == Some(load.body()),
        "Content-Length {length:?}, asked for {} bytes",
        load.body()
    );
    Ok(())
}
