//! Whole Ethernet frames on one interface, past the IP stack: for ARP, and for machines that have no address yet.
//!
//! Needs CAP_NET_RAW. What the host itself sends is received too; whoever listens has to expect that.

use std::ffi::CString;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use ramboot_wire::Mac;
use socket2::{Domain, Protocol, Socket, Type};

/// ETH_P_ALL: frames of every protocol.
const ALL: u16 = 0x0003;
/// ETH_P_ARP.
const ARP: u16 = 0x0806;

/// TC_PRIO_INTERACTIVE: the first band of `pfifo_fast`, Linux's own queue of a NIC, is sent before all others (tc-pfifo_fast(8)).
pub const INTERACTIVE: u32 = 6;

/// Which frames a link receives; it sends any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frames {
    /// All of them.
    All,
    /// ARP only.
    Arp,
}

/// A packet socket on one interface.
#[derive(Debug)]
pub struct Link {
    socket: Socket,
    mac: Mac,
}

impl Link {
    /// Opens one.
    ///
    /// # Errors
    /// There is no such interface with a MAC, or CAP_NET_RAW is missing.
    pub fn open(interface: &str, frames: Frames) -> io::Result<Self> {
        let protocol = match frames {
            Frames::All => ALL,
            Frames::Arp => ARP,
        };
        let no_interface = || {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no Ethernet interface {interface}"),
            )
        };
        let name = CString::new(interface).map_err(|_| no_interface())?;
        // getifaddrs lists each interface once with its link-layer address, which is what bind wants.
        let address = getifaddrs()?
            .filter(|entry| entry.interface_name.as_bytes() == name.as_bytes())
            .find_map(|entry| entry.address?.as_link_addr().copied())
            .ok_or_else(no_interface)?;
        let mac = address.addr().map(Mac).ok_or_else(no_interface)?;
        let socket = Socket::new(
            Domain::PACKET,
            Type::RAW,
            Some(Protocol::from(i32::from(protocol.to_be()))),
        )?;
        nix::sys::socket::bind(socket.as_raw_fd(), &address)?;
        Ok(Self { socket, mac })
    }

    /// The interface's own address.
    #[must_use]
    pub const fn mac(&self) -> Mac {
        self.mac
    }

    /// Sends one frame, from destination address to payload.
    ///
    /// # Errors
    /// The interface is down, or its queue is full.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).map(drop)
    }

    /// The next frame; `None` if there was none for so long (at least a microsecond). Its first bytes, if `buffer` is
    /// too short for it.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn receive(&self, buffer: &mut [u8], wait: Duration) -> io::Result<Option<usize>> {
        let wait = wait.max(Duration::from_micros(1));
        self.socket.set_read_timeout(Some(wait))?;
        match (&self.socket).read(buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// [`Link::receive`] does not wait from now on, and a runtime can wait instead.
    ///
    /// # Errors
    /// The system refuses.
    pub fn set_nonblocking(&self) -> io::Result<()> {
        self.socket.set_nonblocking(true)
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}
