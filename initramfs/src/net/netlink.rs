//! Three requests to the kernel's rtnetlink (man rtnetlink(7)): link up, address, route.
//!
//! The encoders are pure; [`Netlink`] sends one request and waits for the kernel's word on it, which comes at once.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use crate::net::lease::Route;

/// A socket to the kernel.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

impl Netlink {
    /// Opens it.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn open() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // NETLINK_ROUTE is protocol 0.
            None,
        )?;
        rustix::net::connect(&socket, &netlink::SocketAddrNetlink::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Brings a link up, with another MTU if one is given.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn link_up(&self, index: u32, mtu: Option<u16>) -> io::Result<()> {
        self.ask(&link_up(index, mtu))
    }

    /// Gives a link an address that never expires.
    ///
    /// # Errors
    /// Those of the kernel; that the address is there already is none.
    pub fn add_address(&self, index: u32, addr: Ipv4Addr, prefix: u8) -> io::Result<()> {
        self.ask(&add_address(index, addr, prefix))
    }

    /// Sets a route.
    ///
    /// # Errors
    /// Those of the kernel; that there is one to this network already is none.
    pub fn add_route(&self, index: u32, route: &Route) -> io::Result<()> {
        self.ask(&add_route(index, route))
    }

    fn ask(&self, request: &[u8]) -> io::Result<()> {
        send(&self.0, request, SendFlags::empty())?;
        let mut buffer = [0; 1024];
        let (filled, _) = recv(&self.0, &mut buffer, RecvFlags::empty())?;
        match verdict(buffer.get(..filled).unwrap_or_default()) {
            Some(0) => Ok(()),
            Some(errno) => match Errno::from_raw_os_error(-errno) {
                Errno::EXIST => Ok(()),
                other => Err(other.into()),
            },
            None => Err(io::Error::other("rtnetlink gave no verdict")),
        }
    }
}

fn link_up(index: u32, mtu: Option<u16>) -> Vec<u8> {
    // struct ifinfomsg: family, padding, type, index, flags, mask of the flags that change.
    let mut body = vec![0; 4];
    for word in [index, IFF_UP, IFF_UP] {
        body.extend(word.to_ne_bytes());
    }
    if let Some(mtu) = mtu {
        attribute(&mut body, IFLA_MTU, &u32::from(mtu).to_ne_bytes());
    }
    message(RTM_NEWLINK, 0, &body)
}

fn add_address(index: u32, addr: Ipv4Addr, prefix: u8) -> Vec<u8> {
    // struct ifaddrmsg: family, prefix length, flags, scope (universe), index. Without IFA_CACHEINFO it is permanent.
    let mut body = vec![AF_INET, prefix, 0, 0];
    body.extend(index.to_ne_bytes());
    attribute(&mut body, IFA_LOCAL, &addr.octets());
    attribute(&mut body, IFA_ADDRESS, &addr.octets());
    if prefix < 31 {
        let host = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
        let broadcast = Ipv4Addr::from_bits(addr.to_bits() | host);
        attribute(&mut body, IFA_BROADCAST, &broadcast.octets());
    }
    message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &body)
}

fn add_route(index: u32, route: &Route) -> Vec<u8> {
    // struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags.
    // By a router on-link: some networks hand out one outside the subnet (RFC 3442 networks, /32 leases).
    let (scope, flags) = match route.via {
        Some(_) => (RT_SCOPE_UNIVERSE, RTNH_F_ONLINK),
        None => (RT_SCOPE_LINK, 0),
    };
    let mut body = vec![
        AF_INET,
        route.prefix,
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_DHCP,
        scope,
        RTN_UNICAST,
    ];
    body.extend(flags.to_ne_bytes());
    if !route.is_default() {
        attribute(&mut body, RTA_DST, &route.to.octets());
    }
    if let Some(router) = route.via {
        attribute(&mut body, RTA_GATEWAY, &router.octets());
    }
    attribute(&mut body, RTA_OIF, &index.to_ne_bytes());
    message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &body)
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut message = Vec::from(len.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    // Sequence number and port: one question at a time on a connected socket needs neither.
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// Values here are multiples of four bytes, so none needs padding.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let len = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend(len.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

/// The error number (negative, or 0) in an NLMSG_ERROR message.
fn verdict(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let code = i32::from_ne_bytes(answer.get(HEADER..HEADER + 4)?.try_into().ok()?);
    (kind == NLMSG_ERROR).then_some(code)
}

const HEADER: usize = 16;
const AF_INET: u8 = 2;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const IFF_UP: u32 = 1;
const IFLA_MTU: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_DHCP: u8 = 16;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
const RTNH_F_ONLINK: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_length_they_say() {
        let addr = Ipv4Addr::new(10, 0, 0, 51);
        let local = Route {
            to: Ipv4Addr::new(10, 17, 0, 0),
            prefix: 16,
            via: None,
        };
        for (request, len) in [
            (link_up(2, None), 32_u32),
            (link_up(2, Some(9000)), 40),
            (add_address(2, addr, 24), 48),
            (add_address(2, addr, 32), 40),
            (add_route(2, &Route::by_default(addr)), 44),
            (add_route(2, &local), 44),
            (
                add_route(
                    2,
                    &Route {
                        via: Some(addr),
                        ..local
                    },
                ),
                52,
            ),
        ] {
            assert_eq!(request.len() as u64, u64::from(len));
            assert_eq!(request[..4], len.to_ne_bytes());
        }
    }

    #[test]
    fn a_verdict_is_read_and_nothing_else() {
        let mut error = message(NLMSG_ERROR, 0, &(-17_i32).to_ne_bytes());
        assert_eq!(verdict(&error), Some(-17));
        error.truncate(18);
        assert_eq!(verdict(&error), None);
        assert_eq!(verdict(&link_up(1, None)), None);
        assert_eq!(verdict(&[]), None);
    }

    /// The kernel itself judges the encoding: in a namespace of one's own, or not permitted.
    #[test]
    fn the_kernel_understands_it() {
        let netlink = Netlink::open().expect("anyone may open one");
        let error = netlink
            .link_up(u32::MAX >> 1, None)
            .expect_err("no such link");
        let understood = [Errno::NODEV, Errno::PERM].map(|e| Some(e.raw_os_error()));
        assert!(understood.contains(&error.raw_os_error()), "{error}");
    }
}
