//! Full mode: we are the network's DHCP server (RFC 2131 §4.3), for machines that boot and for all others.

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::{DhcpOption, MessageType};

use super::lease::{LeaseChange, Leases, OFFER_FOR, SET_ASIDE_FOR};
use super::policy::{Full, Policy};
use super::reply::Reply;
use super::request::{Kind, Request};
use super::verdict::{Answer, Verdict};
use super::why::Why;

/// All that a rule can look at.
pub(super) struct Case<'a> {
    pub(super) request: &'a Request,
    pub(super) policy: &'a Policy,
    pub(super) full: &'a Full,
    pub(super) leases: &'a Leases,
    pub(super) now: Duration,
}

impl Case<'_> {
    pub(super) fn decide(&self) -> Verdict {
        let request = self.request;
        if !request.giaddr.is_unspecified() && !self.full.network().contains(request.giaddr) {
            return Verdict::ignore(Why::Relayed(request.giaddr));
        }
        match request.kind {
            Kind::Discover => self.discover(),
            Kind::Request => self.request(),
            Kind::Decline => self.decline(),
            Kind::Release => self.release(),
            Kind::Inform => self.inform(),
        }
    }

    fn discover(&self) -> Verdict {
        let Request { mac, requested, .. } = *self.request;
        match self.leases.pick(&self.full.plan, mac, requested, self.now) {
            Ok(address) => self.give(MessageType::Offer, address, OFFER_FOR),
            Err(why) => Verdict::ignore(why),
        }
    }

    /// RFC 2131 §4.3.2, told apart as its table does: by server identifier, requested address and ciaddr.
    fn request(&self) -> Verdict {
        let Request {
            ciaddr,
            requested,
            server,
            mac,
            ..
        } = *self.request;
        match (server, requested, ciaddr.is_unspecified()) {
            // SELECTING, another server: what we offered is free again.
            (Some(server), ..) if server != self.policy.server => Verdict {
                answer: Answer::Ignore(Why::OtherServer(server)),
                lease: Some(LeaseChange::Free { mac }),
            },
            // SELECTING: our own offer. It may be forgotten (a restart between OFFER and REQUEST), or over.
            (Some(_), Some(address), true) => self.confirm(address, Unknown::Refuse),
            // INIT-REBOOT: an address from before. Without a record of it the RFC wants silence.
            (None, Some(address), true) => self.confirm(address, Unknown::Silence),
            // RENEWING and REBINDING: as the address is in use, it is confirmed by the same rule. Some clients name
            // server or address here as well, which the RFC forbids and which changes nothing.
            (_, None, false) => self.confirm(ciaddr, Unknown::Silence),
            (_, Some(requested), false) if requested == ciaddr => {
                self.confirm(ciaddr, Unknown::Silence)
            }
            (_, requested, _) => Verdict::ignore(Why::Shapeless {
                ciaddr,
                requested: requested.unwrap_or(Ipv4Addr::UNSPECIFIED),
            }),
        }
    }

    /// Acknowledges an address the client names, if it may have it.
    fn confirm(&self, address: Ipv4Addr, unknown: Unknown) -> Verdict {
        let mac = self.request.mac;
        let allowed = self.full.plan.allows(mac, address);
        if allowed && self.leases.is_free_for(mac, address, self.now) {
            let lease = Duration::from_secs(self.full.lease.into());
            return self.give(MessageType::Ack, address, lease);
        }
        // A wrong network, somebody else's address, or not the one that is on record: the client has to start over.
        let on_record = allowed
            || !self.full.network().contains(address)
            || self.leases.last(mac).is_some()
            || self.full.plan.reservation(mac).is_some();
        match unknown {
            Unknown::Silence if !on_record => Verdict::ignore(Why::NoRecord(address)),
            Unknown::Silence | Unknown::Refuse => Verdict {
                answer: Answer::Reply(self.reply(MessageType::Nak, Ipv4Addr::UNSPECIFIED)),
                lease: None,
            },
        }
    }

    /// RFC 2131 §4.3.3. Only who holds an address may say that it is in use: the word of anybody would empty the pool.
    fn decline(&self) -> Verdict {
        let address = self.request.requested.unwrap_or(self.request.ciaddr);
        self.farewell(
            address,
            Why::Declined(address),
            LeaseChange::SetAside {
                address,
                until: self.now + SET_ASIDE_FOR,
            },
        )
    }

    /// RFC 2131 §4.3.4.
    fn release(&self) -> Verdict {
        let (mac, address) = (self.request.mac, self.request.ciaddr);
        self.farewell(address, Why::Released(address), LeaseChange::Free { mac })
    }

    fn farewell(&self, address: Ipv4Addr, why: Why, change: LeaseChange) -> Verdict {
        let other = self
            .request
            .server
            .filter(|server| *server != self.policy.server);
        if let Some(server) = other {
            return Verdict::ignore(Why::OtherServer(server));
        }
        if !self.leases.holds(self.request.mac, address, self.now) {
            return Verdict::ignore(Why::NotHolder(address));
        }
        Verdict {
            answer: Answer::Ignore(why),
            lease: Some(change),
        }
    }

    /// RFC 2131 §4.3.5: parameters without an address and without a lease.
    fn inform(&self) -> Verdict {
        let mut reply = self.reply(MessageType::Ack, Ipv4Addr::UNSPECIFIED);
        self.parameters(&mut reply);
        Verdict {
            answer: Answer::Reply(reply.with_boot(self.request, self.policy)),
            lease: None,
        }
    }

    fn give(&self, kind: MessageType, address: Ipv4Addr, hold_for: Duration) -> Verdict {
        let mut reply = self.reply(kind, address);
        self.parameters(&mut reply);
        let options = reply.message.opts_mut();
        let lease = self.full.lease;
        options.insert(DhcpOption::AddressLeaseTime(lease));
        // RFC 2131 §4.4.5: T1 at half, T2 at seven eighths.
        options.insert(DhcpOption::Renewal(lease / 2));
        options.insert(DhcpOption::Rebinding(lease - lease / 8));
        Verdict {
            answer: Answer::Reply(reply.with_boot(self.request, self.policy)),
            lease: Some(LeaseChange::Hold {
                mac: self.request.mac,
                address,
                until: self.now + hold_for,
            }),
        }
    }

    /// Given whether asked for (option 55) or not: a Pi's REQUEST has no such list.
    fn parameters(&self, reply: &mut Reply) {
        let options = reply.message.opts_mut();
        options.insert(DhcpOption::SubnetMask(self.full.mask));
        if let Some(router) = self.full.router {
            options.insert(DhcpOption::Router(vec![router]));
        }
        if !self.full.dns.is_empty() {
            options.insert(DhcpOption::DomainNameServer(self.full.dns.clone()));
        }
    }

    fn reply(&self, kind: MessageType, yours: Ipv4Addr) -> Reply {
        let mut reply = Reply::new(self.request, self.policy, kind, yours);
        if kind == MessageType::Nak && !self.request.giaddr.is_unspecified() {
            // RFC 2131 §4.3.2: so that the relay broadcasts it; the client's address may be of another network.
            reply
                .message
                .set_flags((self.request.flags | 0x8000).into());
        }
        if let Some(id) = &self.request.client_id {
            // RFC 6842 §3.
            reply
                .message
                .opts_mut()
                .insert(DhcpOption::ClientIdentifier(id.clone()));
        }
        reply
    }
}

/// What to do about an address of our network that we know nothing of.
#[derive(Clone, Copy)]
enum Unknown {
    /// The client thinks it is ours.
    Refuse,
    /// It may be another server's.
    Silence,
}
