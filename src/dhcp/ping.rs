//! The socket that looks for addresses behind relays: raw, since one for pings needs a system that allows them to the user.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddrV4};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::echo;

/// Sends echo requests and hears who answers.
#[derive(Debug)]
pub(super) struct Pinger {
    socket: AsyncFd<Socket>,
    /// Of this socket alone, so that nobody who does not see our packets can answer them.
    token: u64,
}

impl Pinger {
    /// Opens one. It is bound to no interface: routes say where a network behind a relay is.
    #[expect(
        deprecated,
        reason = "the function that replaces it is unsafe for types whose descriptor changes: a Socket keeps its one"
    )]
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: AsyncFd::new(socket)?,
            token: RandomState::new().hash_one(()),
        })
    }

    pub(super) fn ask(&self, address: Ipv4Addr) -> io::Result<()> {
        let message = echo::request(self.token);
        let to = SocketAddrV4::new(address, 0).into();
        self.socket.get_ref().send_to(&message, &to).map(drop)
    }

    /// Who answered since the last time; at most `most` packets are looked at.
    pub(super) async fn hear(&self, most: usize) -> io::Result<Vec<Ipv4Addr>> {
        let mut ready = self.socket.readable().await?;
        let mut answers = Vec::new();
        let mut packet = [0; echo::PACKET_BYTES];
        for _ in 0..most {
            match ready.try_io(|socket| socket.get_ref().read(&mut packet)) {
                Ok(Ok(length)) => answers.extend(echo::answer(&packet[..length], self.token)),
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => break,
            }
        }
        Ok(answers)
    }
}
