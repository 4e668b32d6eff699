//! Full mode: we are the network's DHCP server (RFC 2131 §4.3), for machines that boot and for all others.

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::{DhcpOption, MessageType};

use super::ignore_reason::Why;
use super::lease::{Choice, LeaseChange, Leases, OFFER_FOR, Owner, SET_ASIDE_FOR, TAKEN_FOR};
use super::policy::{Full, Policy};
use super::reply::Reply;
use super::request::{Kind, Request};
use super::scope::Scope;
use super::verdict::{Answer, Verdict};

/// A manager that has just started listens for so long before it gives an address behind a relay of which it has not heard:
/// in that time each running worker sends a heartbeat (every 40 s at most), and ARP does not reach there.
pub(super) const LISTEN_FOR: Duration = Duration::from_secs(60);

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
        let (plan, choice) = (&self.scope.plan, self.choice());
        match self.leases.pick(plan, mac, requested, choice, self.now) {
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

    /// Behind a relay an address of which nothing was heard may be in use by a machine that has not renewed yet. After a
    /// whole lease each has.
    fn choice(&self) -> Choice {
        let lease = Duration::from_secs(self.scope.lease.into());
        match self.now {
            _ if !self.request.is_relayed() => Choice::Any,
            now if now < LISTEN_FOR => Choice::KnownOnly,
            now if now < lease => Choice::KnownFirst,
            _ => Choice::Any,
        }
    }

    /// RFC 2131 §3.1 step 2: a new address is looked for on its network before it is offered, and one that was offered
    /// before a restart before it is given.
    fn probe(&self, address: Ipv4Addr) -> Option<Ipv4Addr> {
        let unproven = self.leases.is_unproven(self.request.mac, address, self.now);
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
                until: self.now + self.gone_for(),
            },
        }
    }

    /// On this link it can be found by ARP after the minute for which it may have to ask (RFC 2131 §4.1). Behind a relay only
    /// its own word would say that it is there, and that goes to the other server.
    fn gone_for(&self) -> Duration {
        if self.request.is_relayed() {
            Duration::from_secs(self.scope.lease.into()).max(SET_ASIDE_FOR)
        } else {
            SET_ASIDE_FOR
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
        if allowed && state == State::Rebooting && self.is_uncertain(address) {
            return Verdict::ignore(Why::JustStarted);
        }
        if allowed && self.is_to_be_had(address, state) {
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
            || self.scope.plan.reservation(mac).is_some()
            || (state != State::Using && self.has_lease());
        // Behind such a relay every server has the relay's address, and another one may have made the offer.
        let shown = self.request.server != Some(self.policy.server);
        if !on_record && (state != State::Selecting || shown) {
            return Verdict::ignore(Why::NoRecord(address));
        }
        if state == State::Rebooting && allowed && self.is_set_aside(address) {
            return Verdict::ignore(Why::InUse(address));
        }
        Verdict {
            answer: Answer::Reply(self.reply(MessageType::Nak, Ipv4Addr::UNSPECIFIED)),
            lease: None,
            probe: None,
        }
    }

    /// The machine was given an address here and may use it. An offer is none: it may have taken another server's, and its
    /// word of that was lost. Who uses an address that is not of our pool has it from there in any case.
    fn has_lease(&self) -> bool {
        let last = self.leases.last(self.scope.network, self.request.mac);
        last.is_some_and(|last| self.leases.is_acknowledged(last, self.now))
    }

    /// The machine may have the address as far as others go.
    fn is_to_be_had(&self, address: Ipv4Addr, state: State) -> bool {
        let (mac, now) = (self.request.mac, self.now);
        match state {
            // Who has only been offered it starts over, and the address is looked for then.
            State::Selecting if self.leases.is_disputed(address) => false,
            State::Selecting => self.leases.is_free_for(mac, address, now),
            // An answer to ARP says who is there, so that is asked once more; a ping's does not.
            State::Rebooting if self.is_set_aside(address) => !self.request.is_relayed(),
            // A lease of before is older than an offer.
            State::Rebooting | State::Using => self.leases.gives_way_to(mac, address, now),
        }
    }

    /// Somebody was found there, and nobody knows who.
    fn is_set_aside(&self, address: Ipv4Addr) -> bool {
        self.leases.owner(address, self.now) == Some(Owner::Stranger)
    }

    /// The manager has not listened for long enough to know whether the address is in use behind a relay. Silence (RFC 2131
    /// §4.3.2: no record) lets a machine that has the address keep it.
    fn is_uncertain(&self, address: Ipv4Addr) -> bool {
        let of_another = self.scope.plan.reservation(self.request.mac) != Some(address);
        self.choice() == Choice::KnownOnly && of_another && self.leases.is_unheard_of(address)
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
            lease: Some(self.hold(address, hold_for, kind)),
            probe: None,
        }
    }

    fn hold(&self, address: Ipv4Addr, hold_for: Duration, kind: MessageType) -> LeaseChange {
        let (network, mac) = (self.scope.network, self.request.mac);
        let renews = !self.request.ciaddr.is_unspecified();
        LeaseChange::Hold {
            network,
            mac,
            address,
            at: self.now,
            until: self.now + hold_for,
            acknowledged: kind == MessageType::Ack,
            known: renews
                || self.scope.plan.reservation(mac).is_some()
                || self.leases.is_known(mac),
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
