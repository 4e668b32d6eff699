//! A request, the leases and what is being looked for, together: whether an answer goes out now, or waits until nobody was
//! found at its address; and what follows when somebody was.
//!
//! Values in, values out. The shell sends, listens and tells the time; a simulation can do the same.

use std::net::Ipv4Addr;
use std::time::Duration;

use ramboot_wire::Mac;

use super::decide::decide;
use super::ignore_reason::Why;
use super::lease::{LeaseChange, Leases, SET_ASIDE_FOR};
use super::policy::{Mode, Policy};
use super::probe::{Conflict, Probes, Start, Way, Wish};
use super::request::{Kind, Request};
use super::verdict::Verdict;
use crate::config::network::Network;
use crate::fleet::event::Sign;

/// How this interface can look for addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Means {
    /// By ARP.
    pub arp: bool,
    /// By ICMP.
    pub echo: bool,
}

/// What requests are decided with.
#[derive(Debug)]
pub struct Office<'a> {
    /// How to answer on this interface.
    pub policy: &'a Policy,
    /// All leases.
    pub leases: &'a mut Leases,
    /// What is being looked for on this interface.
    pub probes: &'a mut Probes<Request>,
    /// How.
    pub means: Means,
    /// Since the manager started.
    pub now: Duration,
}

impl Office<'_> {
    /// Decides about a request. `None` if its answer waits for [`Probes::due`]; the address is the machine's meanwhile, so
    /// that nobody else waits for it.
    pub fn consider(&mut self, request: Request) -> Option<(Request, Verdict)> {
        let request = self.probes.again(request.mac, request, Request::asks_as)?;
        self.decide(request, None)
    }

    /// Somebody has the address that a machine waited for: whoever it is keeps it, and the machine's request is decided anew.
    pub fn reconsider(&mut self, conflict: Conflict<Request>) -> Option<(Request, Verdict)> {
        let Conflict { who, wish } = conflict;
        let address = wish.address;
        let network = self.network(&wish.waiting);
        if let Some(network) = network
            && self.leases.last_owner(address) == Some(wish.mac)
        {
            let mac = wish.mac;
            self.leases.apply(LeaseChange::Free { network, mac });
        }
        let found = network.and_then(|network| self.found(network, who, &wish));
        let until = self.now + SET_ASIDE_FOR;
        let change = found.unwrap_or(LeaseChange::SetAside { address, until });
        self.leases.apply(change);
        self.decide(wish.waiting, Some(address))
    }

    /// Whose the address is, as far as that can be told.
    fn found(
        &self,
        network: Network,
        who: Option<Mac>,
        wish: &Wish<Request>,
    ) -> Option<LeaseChange> {
        let (address, at) = (wish.address, self.now);
        if let Some(mac) = who {
            return Some(LeaseChange::Heard {
                network,
                mac,
                address,
                at,
            });
        }
        // An echo does not say who. Most likely it is the machine that had the address before; if it is another, that one's
        // renewal outweighs this. Who looks for its first address does not answer yet.
        let mac = wish.before?;
        let itself = mac == wish.mac;
        let elsewhere = self.leases.last(network, mac).is_some();
        if elsewhere || (itself && wish.waiting.kind == Kind::Discover) {
            return None;
        }
        Some(LeaseChange::Hold {
            network,
            mac,
            address,
            at,
            until: at + SET_ASIDE_FOR,
            acknowledged: false,
            known: true,
        })
    }

    /// `taken` was looked for already, and somebody has it.
    fn decide(&mut self, request: Request, taken: Option<Ipv4Addr>) -> Option<(Request, Verdict)> {
        self.leases.pass(self.now);
        let verdict = decide(&request, self.policy, self.leases, self.now);
        let (way, possible) = if request.is_relayed() {
            (Way::Echo, self.means.echo)
        } else {
            (Way::Arp, self.means.arp)
        };
        let Some(address) = verdict.probe.filter(|_| possible) else {
            return Some((request, verdict));
        };
        if taken == Some(address) {
            return Some((request, Verdict::ignore(Why::InUse(address))));
        }
        let change = verdict.lease.map(LeaseChange::while_it_waits);
        let wish = Wish {
            mac: request.mac,
            address,
            way,
            known: change.is_some_and(|change| change.is_of_known_machine()),
            // Of one that asked another server for it nobody knows who it is.
            before: self
                .leases
                .last_owner(address)
                .filter(|_| !self.leases.is_disputed(address)),
            waiting: request,
        };
        match self.probes.start(wish, self.now) {
            Start::Waits => {
                change.into_iter().for_each(|it| self.leases.apply(it));
                None
            }
            Start::Full(request) => Some((request, Verdict::ignore(Why::Busy))),
        }
    }

    fn network(&self, request: &Request) -> Option<Network> {
        match &self.policy.mode {
            Mode::Full(full) => Some(full.scope(request).ok()?.network),
            Mode::Proxy => None,
        }
    }
}

/// What follows from a machine being heard at an address, or from a boot file that went there; `None` if no addresses are given
/// there.
#[must_use]
pub fn learn(sign: Sign, policy: &Policy, now: Duration) -> Option<LeaseChange> {
    let Mode::Full(full) = &policy.mode else {
        return None;
    };
    match sign {
        Sign::Booted { address, mac } => Some(LeaseChange::Booted { address, mac }),
        Sign::Lives { address, mac } => {
            let scope = full.scope_of(address)?;
            let plan = &scope.plan;
            let given = plan.is_for_all(address) || plan.allows(mac, address);
            given.then_some(LeaseChange::Heard {
                network: scope.network,
                mac,
                address,
                at: now,
            })
        }
    }
}
