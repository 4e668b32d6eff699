//! Addresses of machines that have no interface: a local route each (rtnetlink(7)).
//!
//! With a route of type `local` the kernel takes packets to an address, answers ARP for it and lets sockets bind to it
//! ("AnyIP"), without the address standing on an interface. It is set when a machine has its lease and not before, or
//! the manager's probe would find the address in use.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// The addresses that are here; all go when it is dropped.
#[derive(Debug)]
pub(crate) struct Addresses {
    socket: OwnedFd,
    here: RefCell<BTreeSet<Ipv4Addr>>,
}

impl Addresses {
    pub(crate) fn new() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // NETLINK_ROUTE is protocol 0.
            None,
        )?;
        rustix::net::connect(&socket, &netlink::SocketAddrNetlink::new(0, 0))?;
        Ok(Self {
            socket,
            here: RefCell::default(),
        })
    }

    /// Packets to `address` are ours from now on.
    pub(crate) fn add(&self, address: Ipv4Addr) -> io::Result<()> {
        if self.here.borrow_mut().insert(address) {
            match self.ask(&route(RTM_NEWROUTE, NLM_F_CREATE, address)) {
                Err(error) if error.raw_os_error() == Some(Errno::EXIST.raw_os_error()) => {}
                other => return other,
            }
        }
        Ok(())
    }

    /// The kernel answers in the call: its word on one request is there when `send` returns.
    fn ask(&self, request: &[u8]) -> io::Result<()> {
        send(&self.socket, request, SendFlags::empty())?;
        let mut answer = [0; 1024];
        let (filled, _) = recv(&self.socket, &mut answer, RecvFlags::empty())?;
        // struct nlmsghdr has 16 bytes; struct nlmsgerr begins with the error number, negative or 0.
        let code = answer.get(..filled).and_then(|answer| answer.get(16..20));
        match code
            .and_then(|code| code.try_into().ok())
            .map(i32::from_ne_bytes)
        {
            Some(0) => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(-errno)),
            None => Err(io::Error::other("rtnetlink gave no verdict")),
        }
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        for address in self.here.take() {
            // The namespace may be gone already, and then so is the route.
            let _ = self.ask(&route(RTM_DELROUTE, 0, address));
        }
    }
}

fn route(kind: u16, flags: u16, address: Ipv4Addr) -> Vec<u8> {
    // struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags.
    let mut body = vec![
        AF_INET,
        32,
        0,
        0,
        RT_TABLE_LOCAL,
        RTPROT_BOOT,
        RT_SCOPE_HOST,
        RTN_LOCAL,
    ];
    body.extend([0; 4]);
    for (kind, value) in [
        (RTA_DST, address.octets()),
        (RTA_OIF, LOOPBACK.to_ne_bytes()),
    ] {
        body.extend(8_u16.to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(value);
    }
    let len = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let mut message = Vec::from(len.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

const AF_INET: u8 = 2;
const RT_TABLE_LOCAL: u8 = 255;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_HOST: u8 = 254;
const RTN_LOCAL: u8 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
/// `lo` is the first interface of every network namespace.
const LOOPBACK: u32 = 1;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_CREATE: u16 = 0x400;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_length_it_says() {
        let request = route(RTM_NEWROUTE, NLM_F_CREATE, Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(request.len(), 16 + 12 + 2 * 8);
        assert_eq!(request[..4], 44_u32.to_ne_bytes());
    }
}
