//! Clients that a manager would rather not have: readers of a kilobyte a second, and connections that say nothing.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::raise_descriptor_limit;

/// Where they go.
#[derive(Debug, Clone)]
pub struct Target {
    /// The manager.
    pub addr: SocketAddrV4,
    /// A path with a long answer.
    pub path: String,
}

/// `count` connections that ask for all of a file and read a kilobyte of it each second, until `stop` is true.
/// `ready` becomes true when each of them has got its first bytes. Gives how many are still connected at the end.
///
/// # Errors
/// They cannot be made.
pub fn slow_readers(
    target: &Target,
    count: usize,
    ready: &watch::Sender<bool>,
    stop: &watch::Receiver<bool>,
) -> anyhow::Result<usize> {
    raise_descriptor_limit();
    runtime()?.block_on(async {
        let mut readers = Vec::new();
        for _ in 0..count {
            let stream = connect(target.addr, Some(SMALL)).await?;
            let request = format!(
                "GET {} HTTP/1.1\r\nHost: {}\r\n\r\n",
                target.path, target.addr
            );
            send(&stream, request.as_bytes()).await?;
            readers.push(stream);
        }
        for stream in &readers {
            let first = timeout(PATIENCE, stream.readable());
            first.await.context("a slow reader got nothing")??;
        }
        ready.send_replace(true);
        let mut second = interval(Duration::from_secs(1));
        let (mut stop, mut buffer) = (stop.clone(), [0; 1024]);
        while timeout(Duration::ZERO, stop.wait_for(|stop| *stop))
            .await
            .is_err()
        {
            second.tick().await;
            readers.retain(|stream| match stream.try_read(&mut buffer) {
                Ok(length) => length > 0,
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            });
        }
        Ok(readers.len())
    })
}

/// How long the manager kept connections that sent `bytes` and then nothing; each is given up after `patience`.
///
/// # Errors
/// They cannot be made.
pub fn silent(
    addr: SocketAddrV4,
    count: usize,
    bytes: &'static [u8],
    patience: Duration,
) -> anyhow::Result<Vec<Option<Duration>>> {
    raise_descriptor_limit();
    runtime()?.block_on(async {
        let mut clients = JoinSet::new();
        for _ in 0..count {
            let stream = connect(addr, None).await?;
            clients.spawn(kept(stream, bytes, patience));
        }
        Ok(clients.join_all().await)
    })
}

async fn kept(stream: TcpStream, bytes: &[u8], patience: Duration) -> Option<Duration> {
    let since = Instant::now();
    send(&stream, bytes).await.ok()?;
    timeout(patience, until_closed(&stream)).await.ok()?;
    Some(since.elapsed())
}

/// An answer that says why is passed over.
async fn until_closed(stream: &TcpStream) {
    let mut buffer = [0; 1024];
    loop {
        let ready = stream.ready(Interest::READABLE).await;
        match ready.and_then(|_| stream.try_read(&mut buffer)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

async fn connect(addr: SocketAddrV4, receive_buffer: Option<u32>) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    let stream = timeout(PATIENCE, socket.connect(SocketAddr::V4(addr)));
    stream
        .await?
        .with_context(|| format!("connecting to {addr}"))
}

async fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.writable().await?;
    // A request has less than a new socket's queue takes.
    stream.try_write(bytes).map(drop)
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

const PATIENCE: Duration = Duration::from_secs(10);
/// The least that Linux makes of SO_RCVBUF is 2 304.
const SMALL: u32 = 4096;
