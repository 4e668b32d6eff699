//! Hears from the kernel (rtnetlink(7)) that a link or an IPv4 address changed, and has all interfaces listed again.
//!
//! What a message says is not looked at: messages can be lost (ENOBUFS), and the list is the truth. So a burst of them is one
//! look, and nobody has to follow the kernel's own order of events.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tracing::warn;

use crate::host::interface::{self, Found};

/// RTMGRP_LINK and RTMGRP_IPV4_IFADDR of linux/rtnetlink.h.
const GROUPS: u32 = 0x1 | 0x10;
/// From the first message of a burst to the look: who makes an interface gives it an address right after.
const SETTLE: Duration = Duration::from_millis(100);
/// After a list that failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Messages that are thrown away before a look; more than a socket's buffer holds.
const MOST: usize = 4096;

/// The kernel's messages.
pub(super) struct Changes(AsyncFd<OwnedFd>);

impl Changes {
    /// Listens from now on; needs a tokio runtime around it.
    ///
    /// # Errors
    /// The system refuses, in a sandbox without AF_NETLINK, say.
    #[expect(
        deprecated,
        reason = "the function that replaces it is unsafe for types whose descriptor changes: an OwnedFd keeps its one"
    )]
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            // NETLINK_ROUTE is protocol 0.
            None,
        )?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        AsyncFd::new(socket).map(Self)
    }

    /// Something changed, and a moment has passed since.
    async fn next(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        tokio::time::sleep(SETTLE).await;
        let mut start = [0; 16];
        for _ in 0..MOST {
            let taken = ready.try_io(|socket| {
                match recv(socket.as_fd(), &mut start, RecvFlags::TRUNC) {
                    // ENOBUFS: messages were lost. The list that follows has all.
                    Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            });
            match taken {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => break,
            }
        }
        Ok(())
    }
}

/// Hands on what interfaces there are: now, and whenever something has changed; until nobody listens.
pub(super) async fn run(changes: io::Result<Changes>, to: mpsc::Sender<Vec<Found>>) {
    let mut failed = match &changes {
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    };
    loop {
        match tokio::task::spawn_blocking(interface::all).await {
            Ok(Ok(found)) => {
                if to.send(found).await.is_err() {
                    return;
                }
            }
            Ok(Err(error)) => {
                warn!("listing network interfaces: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            // It panicked and has said so, or the manager stops.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
        if let Ok(changes) = &changes
            && failed.is_none()
        {
            failed = changes.next().await.err().map(|error| error.to_string());
        }
        if let Some(error) = &failed {
            warn!(
                "changes of network interfaces are not heard of (rtnetlink: {error}): restart the manager after one"
            );
            return std::future::pending().await;
        }
    }
}
