//! Full mode: we are the network's DHCP server (RFC 2131 §4.3), for machines that boot and for all others.

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::{DhcpOption, MessageType};

use super::lease::{LeaseChange, Leases, OFFER_FOR, SET_ASIDE_FOR, TAKEN_FOR};
use super::policy::{Full, Policy};
use super::reply::Reply;
use super::request::{Kind, Request};
use super::scope::Scope;
use super::verdict::{Answer, Verdict};
use super::why::Why;

/// All that a rule can look at.
struct Case<'a> {
    request: &'a Request,
    policy: &'a Policy,
    scope: &'a Scope,
    leases: &'a Leases,
    now: Duration,
}

/// Port 67.
pub(super) fn decide(
    request: &Request,
    policy: &Policy,
    full: &Full,
    leases: &Leases,
    now: Duration,
) -> Verdict {
    let case = match full.scope(request) {
        Ok(scope) => Case {
            request,
            policy,
            scope,
            leases,
            now,
        },
        Err(why) => return Verdict::ignore(why),
    };
    match request.kind {
        Kind::Discover => case.discover(),
        Kind::Request => case.request(),
        Kind::Decline => case.decline(),
        Kind::Release => case.release(),
        Kind::Inform => case.inform(),
    }
}

impl Case<'_> {
    fn discover(&self) -> Verdict {
        let Request { mac, requested, .. } = *self.request;
        match self.leases.pick(&self.scope.plan, mac, requested, self.now) {
            Ok(address) => {
                let binding = self.request.firmware.takes_offers();
                let hold_for = if binding { TAKEN_FOR } else { OFFER_FOR };
                Verdict {
                    probe: self.probe(address),
                    ..self.give(MessageType::Offer, address, hold_for)
                }
            }
            Err(why) => Verdict::ignore(why),
        }
    }

    /// RFC 2131 §3.1 step 2: a new address is looked for on its network before it is offered, and one that was offered
    /// before a restart before it is given. A relay's network cannot be asked: ARP does not leave its link.
    fn probe(&self, address: Ipv4Addr) -> Option<Ipv4Addr> {
        let Request { mac, giaddr, .. } = *self.request;
        let unproven = giaddr.is_unspecified() && self.leases.is_unproven(mac, address, self.now);
        unproven.then_some(address)
    }

    /// RFC 2131 §4.3.2, told apart as its table does: by server identifier, requested address and ciaddr.
    fn request(&self) -> Verdict {
        let Request {
            ciaddr,
            requested,
            server,
            ..
        } = *self.request;
        match (server, requested, ciaddr.is_unspecified()) {
            // SELECTING, another server: what we offered is free again, and what it chose is taken. Two managers with one
            // pool hear of each other's machines only this way.
            (Some(server), ..) if !self.is_ours(server) => Verdict {
                answer: Answer::Ignore(Why::OtherServer(server)),
                lease: Some(self.gone(requested)),
                probe: None,
            },
            // SELECTING: our own offer. It may be forgotten (a restart between OFFER and REQUEST), or over.
            (Some(_), Some(address), true) => self.confirm(address, State::Selecting),
            // INIT-REBOOT: an address from before. Without a record of it the RFC wants silence.
            (None, Some(address), true) => self.confirm(address, State::Rebooting),
            // RENEWING and REBINDING: as the address is in use, it is confirmed by the same rule. Some clients name
            // server or address here as well, which the RFC forbids and which changes nothing.
            (_, None, false) => self.confirm(ciaddr, State::Using),
            (_, Some(requested), false) if requested == ciaddr => {
                self.confirm(ciaddr, State::Using)
            }
            (_, requested, _) => Verdict::ignore(Why::Shapeless {
                ciaddr,
                requested: requested.unwrap_or(Ipv4Addr::UNSPECIFIED),
            }),
        }
    }

    /// The machine is another server's, and perhaps has one of our addresses from there.
    fn gone(&self, address: Option<Ipv4Addr>) -> LeaseChange {
        let (network, mac) = (self.scope.network, self.request.mac);
        match address.filter(|address| self.scope.plan.is_for_all(*address)) {
            None => LeaseChange::Free { network, mac },
            Some(address) => LeaseChange::Elsewhere {
                network,
                mac,
                address,
                at: self.now,
                // It may have to ask for a minute (RFC 2131 §4.1) until it has the address and can be found there.
                until: self.now + SET_ASIDE_FOR,
            },
        }
    }

    /// The address that a client knows this server by: its own, or what the relay has it show (RFC 5107 §5).
    fn is_ours(&self, server: Ipv4Addr) -> bool {
        let own = self.policy.server;
        server == own || server == self.request.server_seen(own)
    }

    /// Acknowledges an address the client names, if it may have it.
    fn confirm(&self, address: Ipv4Addr, state: State) -> Verdict {
        let mac = self.request.mac;
        let allowed = self.scope.plan.allows(mac, address);
        // Who has only been offered it starts over, and the address is looked for then.
        let disputed = state == State::Selecting && self.leases.is_disputed(address);
        if allowed && !disputed && self.leases.is_free_for(mac, address, self.now) {
            let lease = Duration::from_secs(self.scope.lease.into());
            return Verdict {
                // Who uses it already would only find itself, or have found another.
                probe: self.probe(address).filter(|_| state != State::Using),
                ..self.give(MessageType::Ack, address, lease)
            };
        }
        // A wrong network, somebody else's address, or not the one that is on record: the client has to start over.
        let on_record = allowed
            || !self.scope.network.contains(address)
            || self.leases.last(self.scope.network, mac).is_some()
            || self.scope.plan.reservation(mac).is_some();
        // Behind such a relay every server has the relay's address, and another one may have made the offer.
        let shown = self.request.server != Some(self.policy.server);
        if !on_record && (state != State::Selecting || shown) {
            return Verdict::ignore(Why::NoRecord(address));
        }
        Verdict {
            answer: Answer::Reply(self.reply(MessageType::Nak, Ipv4Addr::UNSPECIFIED)),
            lease: None,
            probe: None,
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
        let network = self.scope.network;
        let change = LeaseChange::Free { network, mac };
        self.farewell(address, Why::Released(address), change)
    }

    fn farewell(&self, address: Ipv4Addr, why: Why, change: LeaseChange) -> Verdict {
        let other = self.request.server.filter(|server| !self.is_ours(*server));
        if let Some(server) = other {
            return Verdict::ignore(Why::OtherServer(server));
        }
        if !self.leases.holds(self.request.mac, address, self.now) {
            return Verdict::ignore(Why::NotHolder(address));
        }
        Verdict {
            answer: Answer::Ignore(why),
            lease: Some(change),
            probe: None,
        }
    }

    /// RFC 2131 §4.3.5: parameters without an address and without a lease.
    fn inform(&self) -> Verdict {
        let mut reply = self.reply(MessageType::Ack, Ipv4Addr::UNSPECIFIED);
        self.parameters(&mut reply);
        Verdict {
            answer: Answer::Reply(reply.with_boot(self.request, self.policy)),
            lease: None,
            probe: None,
        }
    }

    fn give(&self, kind: MessageType, address: Ipv4Addr, hold_for: Duration) -> Verdict {
        let mut reply = self.reply(kind, address);
        self.parameters(&mut reply);
        let options = reply.message.opts_mut();
        let lease = self.scope.lease;
        options.insert(DhcpOption::AddressLeaseTime(lease));
        // RFC 2131 §4.4.5: T1 at half, T2 at seven eighths.
        options.insert(DhcpOption::Renewal(lease / 2));
        options.insert(DhcpOption::Rebinding(lease - lease / 8));
        Verdict {
            answer: Answer::Reply(reply.with_boot(self.request, self.policy)),
            lease: Some(self.hold(address, hold_for, kind == MessageType::Ack)),
            probe: None,
        }
    }

    fn hold(&self, address: Ipv4Addr, hold_for: Duration, acknowledged: bool) -> LeaseChange {
        LeaseChange::Hold {
            network: self.scope.network,
            mac: self.request.mac,
            address,
            at: self.now,
            until: self.now + hold_for,
            acknowledged,
        }
    }

    /// Given whether asked for (option 55) or not: a Pi's REQUEST has no such list.
    fn parameters(&self, reply: &mut Reply) {
        let options = reply.message.opts_mut();
        options.insert(DhcpOption::SubnetMask(self.scope.network.mask()));
        if let Some(router) = self.scope.router {
            options.insert(DhcpOption::Router(vec![router]));
        }
        if !self.scope.dns.is_empty() {
            options.insert(DhcpOption::DomainNameServer(self.scope.dns.clone()));
        }
    }

    fn reply(&self, kind: MessageType, yours: Ipv4Addr) -> Reply {
        let mut reply = Reply::new(self.request, self.policy, kind, yours);
        let server = self.request.server_seen(self.policy.server);
        reply
            .message
            .opts_mut()
            .insert(DhcpOption::ServerIdentifier(server));
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

/// Why a client names an address (RFC 2131 §4.3.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It was offered it, and thinks by us.
    Selecting,
    /// It had it before. An address nobody here knows may be another server's.
    Rebooting,
    /// It uses it: RENEWING or REBINDING.
    Using,
}
