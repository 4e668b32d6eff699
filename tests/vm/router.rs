//! A router that has nothing to offer: it answers who asks for IPv6 routers, so that nobody waits for one.
//!
//! iPXE goes on when IPv4 *and* IPv6 are settled, and gives up on routers after sixteen seconds.

use std::io::{self, Read};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, Socket, Type};

/// Answers as long as it lives.
#[derive(Debug)]
pub(crate) struct Router {
    is_over: Arc<AtomicBool>,
}

impl Router {
    /// Starts it on a bridge of this thread's network.
    pub(crate) fn start(bridge: &str) -> io::Result<Self> {
        let index = if_nametoindex(bridge)?;
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        socket.join_multicast_v6(&ALL_ROUTERS, index)?;
        socket.set_multicast_if_v6(index)?;
        // RFC 4861 §6.1.2: with another hop limit it is ignored.
        socket.set_multicast_hops_v6(255)?;
        socket.set_read_timeout(Some(TICK))?;
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        // The kernel takes IPv6's header away and makes the checksum.
        thread::spawn(move || {
            let mut message = [0; 1500];
            let everybody = SocketAddrV6::new(ALL_NODES, 0, 0, index).into();
            while !over.load(Ordering::SeqCst) {
                let length = (&socket).read(&mut message).unwrap_or(0);
                if length > 0 && message[0] == SOLICITATION {
                    // Until the bridge has an address of its own it cannot, and is asked again.
                    socket.send_to(&ADVERTISEMENT, &everybody).ok();
                }
            }
        });
        Ok(Self { is_over })
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
    }
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// RFC 4861 §4.1
const SOLICITATION: u8 = 133;
/// RFC 4861 §4.2: type 134, checksum, hop limit unspecified, no flags (no DHCPv6), lifetime 0 (no default router), no
/// timers, no prefix.
const ADVERTISEMENT: [u8; 16] = [134, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// How long it outlives its end at most.
const TICK: Duration = Duration::from_millis(200);
