//! The shell that looks for another DHCP server on one interface; [`rival`] asks and judges.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: owns a socket and the clock"
)]

use std::io;
use std::net::Ipv4Addr;
use std::time::Instant;

use super::rival::{self, Rival};
use crate::host::interface::Interface;
use crate::host::packet_socket::{Frames, Link};

/// Asks, and listens until a server other than `ours` answers, or long enough. Blocks the thread for
/// [`rival::LISTEN_FOR`].
///
/// # Errors
/// There is no packet socket to be had, or the interface is gone.
pub fn for_rival(interface: &Interface, ours: &[Ipv4Addr], xid: u32) -> io::Result<Option<Rival>> {
    let link = Link::open(&interface.name, Frames::All)?;
    let question = rival::question(link.mac(), xid);
    let mut frame = [0; rival::FRAME_BYTES];
    let mut ask_at = rival::ASK_AT.into_iter().peekable();
    let start = Instant::now();
    loop {
        let passed = start.elapsed();
        if passed >= rival::LISTEN_FOR {
            return Ok(None);
        }
        if ask_at.next_if(|at| passed >= *at).is_some() {
            link.send(&question)?;
        }
        let until = ask_at.peek().copied().unwrap_or(rival::LISTEN_FOR);
        let Some(length) = link.receive(&mut frame, until.saturating_sub(passed))? else {
            continue;
        };
        let rival = rival::answer(&frame[..length], link.mac(), xid);
        if let Some(rival) = rival.filter(|rival| !ours.contains(&rival.server)) {
            return Ok(Some(rival));
        }
    }
}
