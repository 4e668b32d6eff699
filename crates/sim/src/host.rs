//! What machines do alike below their firmware: ask ARP for the way to a server, answer it, send UDP packets from their
//! address, and tell who goes on sending to a transfer that is over.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::lease::Lease;
use crate::net::{Arp, BROADCAST, Damage, arp, udp};
use crate::outcome::{Failure, Numbers, Violation};
use crate::params::Mac;
use crate::tftp::Out;

/// ARP: once a second, so often.
const ARP_AGAIN: Duration = Duration::from_secs(1);
const ARP_TRIES: u32 = 10;
/// A boot has some fifty transfers.
const MAX_CLOSED: usize = 256;

/// A question for the way to [`Lease::tftp`].
#[derive(Debug)]
pub(crate) struct Resolving {
    pub(crate) lease: Lease,
    tries: u32,
    pub(crate) again_at: Duration,
}

impl Resolving {
    /// Asks at the next [`Resolving::tick`].
    pub(crate) const fn new(lease: Lease, now: Duration) -> Self {
        Self {
            lease,
            tries: 0,
            again_at: now,
        }
    }

    /// Asks when it is time to.
    pub(crate) fn tick(
        &mut self,
        mac: Mac,
        now: Duration,
        out: &mut Vec<Vec<u8>>,
    ) -> Result<(), Failure> {
        if now < self.again_at {
            return Ok(());
        }
        let (hop, tftp) = (self.lease.hop(), self.lease.tftp);
        if self.tries == ARP_TRIES {
            return Err(Failure::NoArp { hop, tftp });
        }
        self.tries += 1;
        self.again_at = now + ARP_AGAIN;
        let question = Arp {
            request: true,
            sender_mac: mac,
            sender: self.lease.address,
            target: hop,
        };
        out.push(arp(mac, question, BROADCAST));
        Ok(())
    }

    /// The way, if this is the answer.
    pub(crate) fn answer(&self, got: &Arp) -> Option<Mac> {
        (!got.request && got.sender == self.lease.hop()).then_some(got.sender_mac)
    }
}

/// Says that `address` is here, if it was asked for.
pub(crate) fn answer_arp(mac: Mac, address: Ipv4Addr, got: &Arp, out: &mut Vec<Vec<u8>>) {
    if got.request && got.target == address {
        let answer = Arp {
            request: false,
            sender_mac: mac,
            sender: address,
            target: got.sender,
        };
        out.push(arp(mac, answer, got.sender_mac));
    }
}

/// Sends to the ports of the TFTP server that `packets` say.
pub(crate) fn send(
    mac: Mac,
    lease: &Lease,
    hop: Mac,
    port: u16,
    packets: Out,
    out: &mut Vec<Vec<u8>>,
) {
    for (to, payload) in packets {
        let from = SocketAddrV4::new(lease.address, port);
        let to = SocketAddrV4::new(lease.tftp, to);
        out.push(udp((mac, hop), from, to, &payload));
    }
}

/// What is noted of a frame that was thrown away.
pub(crate) const fn damaged(damage: Damage) -> Violation {
    let what = match damage {
        Damage::IpChecksum => "IPv4 header checksum",
        Damage::UdpChecksum => "UDP checksum",
        Damage::Fragment => "fragment",
    };
    Violation::DamagedFrame { what }
}

/// Ports of transfers that are over, and since when.
#[derive(Debug, Default)]
pub(crate) struct Closed(Vec<(u16, Duration)>);

impl Closed {
    pub(crate) fn push(&mut self, port: u16, now: Duration) {
        self.0.push((port, now));
        if self.0.len() > MAX_CLOSED {
            self.0.remove(0);
        }
    }

    /// Counts a packet to `port`, if that is one of them.
    pub(crate) fn count(&self, port: u16, now: Duration, numbers: &mut Numbers) {
        let closed = self.0.iter().rev().find(|&&(closed, _)| closed == port);
        if let Some(&(_, since)) = closed {
            numbers.stray_packets += 1;
            numbers.longest_stray = numbers.longest_stray.max(now - since);
        }
    }
}
