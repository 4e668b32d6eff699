//! A PC's DHCP client: all four steps, and the fifth on port 4011 that EDK2 takes beside another server.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::message::{About, Boot, Reply, message, parse};
use super::params::{PcKind, PcParams};
use crate::dhcp::{CLIENT, Kind, SERVERS};
use crate::lease::{Lease, class_mask};
use crate::net::{BROADCAST, Udp, udp};
use crate::outcome::{Failure, Notes};
use crate::params::Mac;

/// PXE 2.1 §2.2.1 and EDK2; in this time offers are collected.
const PXE_WAITS: [Duration; 4] = seconds([4, 8, 16, 32]);
/// iPXE's: from DHCP_DISC_START_TIMEOUT_SEC to the end.
const IPXE_WAITS: [Duration; 4] = seconds([1, 2, 4, 8]);
/// "BINL", and where EDK2 asks from.
pub(crate) const BOOT_SERVER_PORT: u16 = 4011;

const fn seconds(of: [u64; 4]) -> [Duration; 4] {
    let [a, b, c, d] = of;
    [
        Duration::from_secs(a),
        Duration::from_secs(b),
        Duration::from_secs(c),
        Duration::from_secs(d),
    ]
}

fn waits(kind: PcKind) -> &'static [Duration; 4] {
    match kind {
        PcKind::Ipxe => &IPXE_WAITS,
        PcKind::BiosPxe | PcKind::UefiPxe(_) | PcKind::UefiHttp(_) => &PXE_WAITS,
    }
}

/// What DHCP gave: an address, and what to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    /// Its [`Lease::tftp`] is the next one to be spoken to.
    pub(crate) lease: Lease,
    pub(crate) boot: Boot,
}

/// A client at work.
#[derive(Debug)]
pub(crate) struct Asking {
    xid: u32,
    since: Duration,
    step: Step,
    /// Messages of this step.
    sent: usize,
    pub(crate) next_at: Duration,
}

#[derive(Debug)]
enum Step {
    /// The first offer with an address, and the first of something to boot; perhaps one.
    Collecting {
        own: Option<Reply>,
        boot: Option<Boot>,
    },
    /// The address of this offer.
    Requesting { own: Reply, boot: Boot },
}

const EMPTY: Step = Step::Collecting {
    own: None,
    boot: None,
};

impl Asking {
    pub(crate) const fn new(now: Duration, xid: u32) -> Self {
        Self {
            xid,
            since: now,
            step: EMPTY,
            sent: 0,
            next_at: now,
        }
    }

    /// Sends what is due.
    pub(crate) fn tick(
        &mut self,
        params: &PcParams,
        now: Duration,
        out: &mut Vec<Vec<u8>>,
    ) -> Result<(), Failure> {
        if now < self.next_at {
            return Ok(());
        }
        if let Step::Collecting {
            own: Some(own),
            boot: Some(boot),
        } = &self.step
        {
            let (own, boot) = (own.clone(), boot.clone());
            self.step = Step::Requesting { own, boot };
            self.sent = 0;
        }
        let Some(wait) = waits(params.kind).get(self.sent) else {
            return Err(self.failure(params));
        };
        let about = match &self.step {
            Step::Collecting { .. } => About::Discover,
            Step::Requesting { own, .. } => {
                About::Request(own.yours.unwrap_or(Ipv4Addr::UNSPECIFIED), own.server)
            }
        };
        let secs = u16::try_from((now - self.since).as_secs()).unwrap_or(u16::MAX);
        let message = message(params, self.xid, secs, about);
        out.push(udp((params.mac, BROADCAST), CLIENT, SERVERS, &message));
        self.sent += 1;
        self.next_at = now + *wait;
        Ok(())
    }

    fn failure(&self, params: &PcParams) -> Failure {
        let firmware = params.kind;
        let address = |reply: &Reply| reply.yours.unwrap_or(Ipv4Addr::UNSPECIFIED);
        match &self.step {
            Step::Collecting { own: None, .. } => Failure::NoAddress {
                sent: u32::try_from(self.sent).unwrap_or(u32::MAX),
            },
            Step::Collecting { own: Some(own), .. } => Failure::NoBootFile {
                address: address(own),
                firmware,
            },
            Step::Requesting { own, .. } => Failure::NoAck {
                address: address(own),
                server: own.server,
            },
        }
    }

    /// A packet to port 68.
    pub(crate) fn receive(
        &mut self,
        params: &PcParams,
        now: Duration,
        packet: &Udp<'_>,
        notes: &mut Notes,
    ) -> Option<Given> {
        let (reply, violations) = parse(packet, params, self.xid)?;
        for violation in violations {
            notes.violation(violation);
        }
        match (&mut self.step, reply.kind) {
            (Step::Collecting { own, boot }, Kind::Offer) => {
                if let Some(found) = &reply.boot {
                    boot.get_or_insert_with(|| found.clone());
                }
                if reply.yours.is_some() {
                    own.get_or_insert(reply);
                }
                // EDK2 listens until its time is over, whatever came; the others until they have all they want.
                let patient = matches!(params.kind, PcKind::UefiPxe(_) | PcKind::UefiHttp(_));
                if own.is_some() && boot.is_some() && !patient {
                    self.next_at = now;
                }
                None
            }
            (Step::Requesting { own, .. }, Kind::Nak) if own.server == reply.server => {
                (self.step, self.sent, self.next_at) = (EMPTY, 0, now);
                None
            }
            (Step::Requesting { own, boot }, Kind::Ack) => {
                let ours = own.server == reply.server && own.yours == reply.yours;
                let given = ours.then(|| given(&reply, boot)).flatten();
                notes.numbers.dhcp = now - self.since;
                given
            }
            _ => None,
        }
    }
}

fn given(ack: &Reply, boot: &Boot) -> Option<Given> {
    let address = ack.yours?;
    let tftp = match boot {
        Boot::File(server, _) | Boot::Ask(server) => *server,
        Boot::Url(_) => ack.server,
    };
    Some(Given {
        lease: Lease {
            address,
            mask: ack.mask.unwrap_or_else(|| class_mask(address)),
            gateway: ack.gateway,
            tftp,
        },
        boot: boot.clone(),
    })
}

/// The question to port 4011, with an address and the way to the server known.
#[derive(Debug)]
pub(crate) struct AskingBootServer {
    xid: u32,
    since: Duration,
    pub(crate) lease: Lease,
    hop: Mac,
    sent: usize,
    pub(crate) next_at: Duration,
}

impl AskingBootServer {
    pub(crate) const fn new(lease: Lease, hop: Mac, now: Duration, xid: u32) -> Self {
        Self {
            xid,
            since: now,
            lease,
            hop,
            sent: 0,
            next_at: now,
        }
    }

    /// Sends what is due.
    pub(crate) fn tick(
        &mut self,
        params: &PcParams,
        now: Duration,
        out: &mut Vec<Vec<u8>>,
    ) -> Result<(), Failure> {
        if now < self.next_at {
            return Ok(());
        }
        let server = self.lease.tftp;
        let Some(wait) = waits(params.kind).get(self.sent) else {
            return Err(Failure::NoBootServerAnswer { server });
        };
        let secs = u16::try_from((now - self.since).as_secs()).unwrap_or(u16::MAX);
        let about = About::BootServer(self.lease.address);
        let message = message(params, self.xid, secs, about);
        let from = SocketAddrV4::new(self.lease.address, BOOT_SERVER_PORT);
        let to = SocketAddrV4::new(server, BOOT_SERVER_PORT);
        out.push(udp((params.mac, self.hop), from, to, &message));
        self.sent += 1;
        self.next_at = now + *wait;
        Ok(())
    }

    /// A packet to port 4011 or 68: whom to ask for which file.
    pub(crate) fn receive(
        &self,
        params: &PcParams,
        packet: &Udp<'_>,
        notes: &mut Notes,
    ) -> Option<(Ipv4Addr, String)> {
        let (reply, violations) = parse(packet, params, self.xid)?;
        for violation in violations {
            notes.violation(violation);
        }
        match (reply.kind, reply.boot) {
            (Kind::Ack, Some(Boot::File(server, name))) => Some((server, name)),
            _ => None,
        }
    }
}
