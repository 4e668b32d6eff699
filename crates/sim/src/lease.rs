//! The DHCP clients: how an address and a TFTP server are found, or why not.
//!
//! The ROM and bootcode.bin take offers and never request one; the EEPROM does all four steps.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::dhcp::{CLIENT, Kind, ROM_XID, Reply, SERVERS, Stage, Wanted, message, parse};
use crate::net::{BROADCAST, Udp, udp};
use crate::outcome::{Failure, Notes, WhyNot};
use crate::params::Params;

/// "5 tries × 5 s, then it stops for good" (raspberrypi/firmware#1120).
const ROM_TRIES: u32 = 5;
const ROM_WAIT: Duration = Duration::from_secs(5);
/// `DHCP_REQ_TIMEOUT`.
const REPEAT: Duration = Duration::from_secs(4);

/// What DHCP gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) address: Ipv4Addr,
    pub(crate) mask: Ipv4Addr,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) tftp: Ipv4Addr,
}

impl Lease {
    /// Whom a packet for the TFTP server is handed to.
    pub(crate) fn hop(&self) -> Ipv4Addr {
        if same_subnet(self.address, self.tftp, self.mask) {
            self.tftp
        } else {
            self.gateway.unwrap_or(self.tftp)
        }
    }
}

/// A client at work.
#[derive(Debug)]
pub(crate) struct Asking {
    stage: Stage,
    xid: u32,
    pub(crate) since: Duration,
    sent: u32,
    sent_at: Duration,
    pub(crate) next_at: Duration,
    give_up_at: Duration,
    /// The offer with an address,
    own: Option<Reply>,
    /// the one of a boot server, perhaps the same,
    boot: Option<Reply>,
    /// and what was requested when both were there.
    wanted: Option<Wanted>,
    why: WhyNot,
}

impl Asking {
    pub(crate) fn new(params: &Params, stage: Stage, now: Duration, random: u64) -> Self {
        let [a, b, c, d, ..] = random.to_be_bytes();
        let (xid, limit) = match stage {
            Stage::Rom | Stage::Bootcode => (ROM_XID, ROM_WAIT * ROM_TRIES),
            Stage::Eeprom => (u32::from_be_bytes([a, b, c, d]), params.dhcp_timeout),
        };
        Self {
            stage,
            xid,
            since: now,
            sent: 0,
            sent_at: now,
            next_at: now,
            give_up_at: now + limit,
            own: None,
            boot: None,
            wanted: None,
            why: WhyNot::Nothing,
        }
    }

    /// Sends what is due.
    pub(crate) fn tick(
        &mut self,
        params: &Params,
        now: Duration,
        out: &mut Vec<Vec<u8>>,
    ) -> Option<Failure> {
        if now < self.next_at {
            return None;
        }
        if now >= self.give_up_at {
            return Some(self.failure());
        }
        let message = message(params, self.stage, self.xid, self.wanted);
        out.push(udp((params.mac, BROADCAST), CLIENT, SERVERS, &message));
        if self.wanted.is_none() {
            self.sent += 1;
        }
        self.sent_at = now;
        let wait = match self.stage {
            Stage::Rom | Stage::Bootcode => ROM_WAIT,
            Stage::Eeprom => REPEAT,
        };
        self.next_at = self.give_up_at.min(now + wait);
        None
    }

    fn failure(&self) -> Failure {
        let why = self.why;
        match (&self.own, self.wanted) {
            (_, Some(Wanted { address, server })) => Failure::NoAck { address, server },
            (Some(Reply { yours, .. }), None) => Failure::NoBootServer {
                address: yours.unwrap_or(Ipv4Addr::UNSPECIFIED),
                why,
            },
            // An offer with both that the ROM did not take.
            (None, None) if why != WhyNot::Nothing => Failure::NoBootServer {
                address: Ipv4Addr::UNSPECIFIED,
                why,
            },
            (None, None) => Failure::NoAddress { sent: self.sent },
        }
    }

    /// A packet to port 68.
    pub(crate) fn receive(
        &mut self,
        params: &Params,
        now: Duration,
        packet: &Udp<'_>,
        notes: &mut Notes,
    ) -> Option<Lease> {
        let (reply, violations) = parse(packet, params, self.stage, self.xid)?;
        for violation in violations {
            notes.violation(violation);
        }
        match (self.stage, reply.kind) {
            (Stage::Rom | Stage::Bootcode, Kind::Offer) => self.taken(params, now, reply),
            (Stage::Eeprom, Kind::Offer) if self.wanted.is_none() => {
                self.collect(now, reply);
                None
            }
            (Stage::Eeprom, Kind::Ack | Kind::Nak) => self.acknowledged(now, &reply),
            _ => None,
        }
    }

    /// The ROM's way: an offer is an address.
    fn taken(&mut self, params: &Params, now: Duration, reply: Reply) -> Option<Lease> {
        let quirks = &params.quirks;
        let deaf = self.stage == Stage::Rom && now - self.sent_at < quirks.deaf_after_discover;
        if reply.has_menu && deaf {
            self.why = WhyNot::TooSoon;
            return None;
        }
        if reply.boots {
            self.boot = Some(reply.clone());
        } else if reply.has_menu {
            self.why = WhyNot::Form;
        }
        if reply.yours.is_some() {
            self.own = Some(reply);
        }
        let (own, boot) = (self.own.as_ref()?, self.boot.as_ref()?);
        let lease = lease(own, own.yours?, boot.source);
        let near = same_subnet(lease.address, lease.tftp, lease.mask);
        if self.stage == Stage::Rom && quirks.same_subnet_only && !near {
            self.why = WhyNot::OtherSubnet;
            self.boot = None;
            return None;
        }
        Some(lease)
    }

    /// The EEPROM's way: once there are an address and a boot server, the address is requested.
    fn collect(&mut self, now: Duration, reply: Reply) {
        if reply.tftp.is_some() || reply.boots {
            self.boot.get_or_insert_with(|| reply.clone());
        } else if reply.has_menu {
            self.why = WhyNot::Form;
        }
        if reply.yours.is_some() {
            self.own.get_or_insert(reply);
        }
        if let (Some(own), Some(_)) = (&self.own, &self.boot) {
            self.wanted = own.yours.map(|address| Wanted {
                address,
                server: own.server.unwrap_or(own.source),
            });
            self.next_at = now;
        }
    }

    fn acknowledged(&mut self, now: Duration, reply: &Reply) -> Option<Lease> {
        let wanted = self.wanted?;
        if reply.server.unwrap_or(reply.source) != wanted.server {
            return None;
        }
        if reply.kind == Kind::Nak {
            (self.own, self.boot, self.wanted) = (None, None, None);
            self.next_at = now;
            return None;
        }
        let boot = self.boot.as_ref()?;
        // Option 66, siaddr of a PXE answer, option 54: openSUSE's engineers, 2021-06-11, and nobodd.
        let tftp = boot.tftp.or(boot.next).or(boot.server);
        let tftp = tftp.unwrap_or(boot.source);
        (reply.yours == Some(wanted.address)).then(|| lease(reply, wanted.address, tftp))
    }
}

fn lease(reply: &Reply, address: Ipv4Addr, tftp: Ipv4Addr) -> Lease {
    Lease {
        address,
        mask: reply.mask.unwrap_or_else(|| class_mask(address)),
        gateway: reply.gateway,
        tftp,
    }
}

/// Without option 1, which the 3B's ROM does not ask for.
pub(crate) fn class_mask(address: Ipv4Addr) -> Ipv4Addr {
    match address.octets()[0] {
        0..128 => [255, 0, 0, 0].into(),
        128..192 => [255, 255, 0, 0].into(),
        _ => [255, 255, 255, 0].into(),
    }
}

fn same_subnet(a: Ipv4Addr, b: Ipv4Addr, mask: Ipv4Addr) -> bool {
    a & mask == b & mask
}
