//! Listens to what happens on the worker while its image comes: its init says that it is up (sd_notify(3)), and the kernel
//! says that the link was changed (rtnetlink(7)).

use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink, recv, socket_with,
};

/// The name that the image's init finds in `NOTIFY_SOCKET`: abstract, so it is in no file system.
pub const NOTIFY: &str = "@ramboot-stream";

/// Something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The init is up.
    Ready,
    /// `network-online.target` is reached.
    Online,
    /// The link or its address was changed.
    Network,
}

/// Both sockets.
#[derive(Debug)]
pub struct SystemEvents {
    notify: UnixDatagram,
    kernel: OwnedFd,
    link: u32,
}

impl SystemEvents {
    /// Opens them; `link` is the number of the link to hear of.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn open(link: u32) -> anyhow::Result<Self> {
        let name = NOTIFY.trim_start_matches('@');
        let address = SocketAddr::from_abstract_name(name)?;
        let notify = UnixDatagram::bind_addr(&address).context("listening for the image's init")?;
        notify.set_nonblocking(true)?;
        let kernel = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        bind(&kernel, &netlink::SocketAddrNetlink::new(0, GROUPS))
            .context("listening for changes of the network")?;
        Ok(Self {
            notify,
            kernel,
            link,
        })
    }

    /// What happened within `time`, if anything did.
    #[must_use]
    pub fn hear(&self, time: Duration) -> Vec<Moment> {
        let mut polled = [
            PollFd::new(&self.notify, PollFlags::IN),
            PollFd::new(&self.kernel, PollFlags::IN),
        ];
        let time = Timespec::try_from(time).ok();
        // Interrupted, or nothing: the next look sees what there is.
        let _ = poll(&mut polled, time.as_ref());
        let mut moments = Vec::new();
        let mut buffer = [0; 8192];
        for _ in 0..MAX_AT_ONCE {
            let Ok(length) = self.notify.recv(&mut buffer) else {
                break;
            };
            moments.extend(said(buffer.get(..length).unwrap_or_default()));
        }
        for _ in 0..MAX_AT_ONCE {
            let Ok((length, _)) = recv(&self.kernel, &mut buffer, RecvFlags::empty()) else {
                break;
            };
            let packet = buffer.get(..length).unwrap_or_default();
            if concerns(packet, self.link) {
                moments.push(Moment::Network);
            }
        }
        moments
    }
}

/// What an init says, a line each.
fn said(packet: &[u8]) -> Vec<Moment> {
    let text = String::from_utf8_lossy(packet);
    text.lines()
        .filter_map(|line| match line {
            "READY=1" => Some(Moment::Ready),
            "X_SYSTEMD_UNIT_ACTIVE=network-online.target" => Some(Moment::Online),
            _ => None,
        })
        .collect()
}

/// Whether one of the messages in `packet` is about that link. Both `struct ifinfomsg` and `struct ifaddrmsg` have its
/// number behind four bytes.
fn concerns(packet: &[u8], link: u32) -> bool {
    let mut rest = packet;
    let word = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(bytes))
    };
    while let Some(length) = word(rest, 0) {
        let kind = rest.get(4..6).map(|b| u16::from_ne_bytes([b[0], b[1]]));
        if kind.is_some_and(|kind| KINDS.contains(&kind)) && word(rest, HEADER + 4) == Some(link) {
            return true;
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length < HEADER {
            return false;
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

/// `RTMGRP_LINK | RTMGRP_IPV4_IFADDR`
const GROUPS: u32 = 0x1 | 0x10;
/// `RTM_NEWLINK`, `RTM_DELLINK`, `RTM_NEWADDR`, `RTM_DELADDR`
const KINDS: [u16; 4] = [16, 17, 20, 21];
const HEADER: usize = 16;
/// Whoever floods the socket is heard later.
const MAX_AT_ONCE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_an_init_says() {
        let text = b"STATUS=Startup finished in 3.2s.\nREADY=1\n";
        assert_eq!(said(text), [Moment::Ready]);
        let text = b"X_SYSTEMD_UNIT_ACTIVE=network-online.target";
        assert_eq!(said(text), [Moment::Online]);
        assert_eq!(said(b"READY=0\nX_SYSTEMD_UNIT_ACTIVE=basic.target\xff"), []);
    }

    #[test]
    fn changes_of_one_link() {
        let message = |kind: u16, link: u32| {
            let mut bytes = Vec::from(24_u32.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.resize(HEADER + 4, 0);
            bytes.extend(link.to_ne_bytes());
            bytes
        };
        for (packet, want) in [
            (message(20, 2), true),
            (message(20, 3), false),
            (message(24, 2), false),
            ([message(16, 3), message(21, 2)].concat(), true),
            (message(20, 2)[..20].to_vec(), false),
            (vec![0; 64], false),
        ] {
            assert_eq!(concerns(&packet, 2), want, "{packet:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(packet in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (said(&packet), concerns(&packet, 2));
        }
    }
}
