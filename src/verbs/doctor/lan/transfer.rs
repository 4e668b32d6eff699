//! A real socket for a port of the simulated machine.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

/// More than any block that is agreed on.
const MAX_DATAGRAM: usize = 2048;

/// A TFTP transfer, or what may become one.
pub(super) struct Transfer {
    pub(super) machine: SocketAddrV4,
    pub(super) socket: UdpSocket,
    pub(super) path: String,
    /// The machine waits for an answer.
    pub(super) awaited: bool,
}

impl Transfer {
    /// The next datagram, if one comes in this time.
    pub(super) fn next(&self, wait: Duration) -> io::Result<Option<(SocketAddrV4, Vec<u8>)>> {
        self.socket
            .set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        let mut buffer = [0; MAX_DATAGRAM];
        match self.socket.recv_from(&mut buffer) {
            Ok((length, SocketAddr::V4(from))) => Ok(Some((from, buffer[..length].to_vec()))),
            Ok(_) => Ok(None),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::Interrupted
                        | io::ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
