//! One kept-alive connection. What is not verified is never copied: `recv(MSG_TRUNC)` on a TCP socket takes bytes off its
//! queue without writing them anywhere (tcp(7)), so a thousand machines cost their share of TCP and no more.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use ramboot_fetch::engine::Pace;
use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::fault::Fault;
use crate::head::{Head, MAX_BYTES};
use crate::world::World;

/// To the manager, from one machine's address.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// Came with the head and belongs to the body.
    ahead: Vec<u8>,
    /// The body was read to its end, and another request can follow.
    reusable: bool,
}

impl Connection {
    pub(crate) async fn open(
        world: &World,
        from: Ipv4Addr,
        to: SocketAddrV4,
    ) -> Result<Self, Fault> {
        let open = || {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from((from, 0)))?;
            socket.set_nodelay(true)?;
            if let Some(bytes) = world.plan.receive_buffer {
                socket.set_recv_buffer_size(bytes)?;
            }
            Ok(socket)
        };
        let socket: io::Result<TcpSocket> = open();
        let connecting = socket.map_err(Fault::Connect)?.connect(SocketAddr::V4(to));
        let stream = timeout(Pace::WORKER.patience.connect, connecting)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(Fault::Connect)?;
        Ok(Self {
            stream,
            ahead: Vec::new(),
            reusable: true,
        })
    }

    pub(crate) const fn is_reusable(&self) -> bool {
        self.reusable
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn ask(&mut self, world: &World, request: &str) -> Result<Head, Fault> {
        self.reusable = false;
        self.write(request.as_bytes()).await?;
        let mut seen = Vec::new();
        loop {
            if let Some((head, len)) = Head::parse(&seen)? {
                self.ahead = seen.split_off(len);
                return Ok(head);
            }
            let room = MAX_BYTES - seen.len();
            let mut sink = |bytes: &[u8]| seen.extend_from_slice(bytes);
            if self
                .receive(world, room, &mut Want::Bytes(&mut sink))
                .await?
                == 0
            {
                return Err(Fault::Closed("head"));
            }
        }
    }

    /// Throws the next `length` bytes of the body away.
    pub(crate) async fn skip(&mut self, world: &World, length: u64) -> Result<(), Fault> {
        self.body(world, length, &mut Want::Nothing).await
    }

    /// Gives the next `length` bytes of the body to `sink`.
    pub(crate) async fn read(
        &mut self,
        world: &World,
        length: u64,
        mut sink: impl FnMut(&[u8]),
    ) -> Result<(), Fault> {
        self.body(world, length, &mut Want::Bytes(&mut sink)).await
    }

    /// The body is read; another request can follow, unless the server does not want that.
    pub(crate) const fn end(&mut self, head: &Head) {
        self.reusable = !head.close;
    }

    async fn body(&mut self, world: &World, length: u64, want: &mut Want<'_>) -> Result<(), Fault> {
        let mut left = length;
        let ahead = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(self.ahead.len());
        want.take(self.ahead.get(..ahead).unwrap_or_default());
        self.ahead.drain(..ahead);
        left -= ahead as u64;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            match self.receive(world, most, want).await? {
                0 => return Err(Fault::Closed("body")),
                length => left = left.saturating_sub(length as u64),
            }
            // `readable` takes nothing off a task's budget: a stream that is filled as fast as it is read would have the
            // thread for itself, and all others would seem to wait for the manager.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// The next bytes; 0 is the end.
    async fn receive(
        &self,
        world: &World,
        most: usize,
        want: &mut Want<'_>,
    ) -> Result<usize, Fault> {
        loop {
            wait(self.stream.readable()).await?;
            let received = self.stream.try_io(Interest::READABLE, || {
                let mut bin = world.bin.borrow_mut();
                let most = most.min(bin.len());
                let place = bin.get_mut(..most).unwrap_or_default();
                let (_, length) = rustix::net::recv(&self.stream, &mut *place, want.flags())?;
                world.received.set(world.received.get() + length as u64);
                want.take(place.get(..length).unwrap_or_default());
                Ok(length)
            });
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Ok(other?),
            }
        }
    }

    async fn write(&self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            wait(self.stream.writable()).await?;
            match self.stream.try_write(bytes) {
                Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A server that is full answers before it was asked and hangs up; its answer is still to be read.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// As patient as `/init`.
async fn wait(ready: impl Future<Output = io::Result<()>>) -> Result<(), Fault> {
    let stall: Duration = Pace::WORKER.patience.stall;
    let ready = timeout(stall, ready).await;
    Ok(ready.map_err(|_| Fault::Stalled(stall))??)
}

/// What is to become of bytes.
enum Want<'a> {
    Nothing,
    Bytes(&'a mut dyn FnMut(&[u8])),
}

impl Want<'_> {
    const fn flags(&self) -> RecvFlags {
        match self {
            Self::Nothing => RecvFlags::TRUNC,
            Self::Bytes(_) => RecvFlags::empty(),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        if let Self::Bytes(sink) = self {
            sink(bytes);
        }
    }
}
