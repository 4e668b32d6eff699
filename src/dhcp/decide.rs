//! From request to verdict: what to send, where to, what to remember, or why to be silent. One pure function.

use std::time::Duration;

use super::full::Case;
use super::lease::{LeaseChange, Leases};
use super::policy::{Mode, Policy};
use super::proxy;
use super::reply::Reply;
use super::request::{Port, Request};
use super::why::Why;

/// What to do about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What to send, or why not.
    pub answer: Answer,
    /// What to remember once the answer is sent.
    pub lease: Option<LeaseChange>,
}

/// What to send, or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Send this.
    Reply(Reply),
    /// Be silent.
    Ignore(Why),
}

impl Verdict {
    pub(super) const fn ignore(why: Why) -> Self {
        Self {
            answer: Answer::Ignore(why),
            lease: None,
        }
    }
}

/// Decides about one request; `now` is the time since the manager started.
#[must_use]
pub fn decide(request: &Request, policy: &Policy, leases: &Leases, now: Duration) -> Verdict {
    match (request.arrival.port, &policy.mode) {
        (Port::BootServer, _) => proxy::boot_server(request, policy),
        (Port::Dhcp, Mode::Proxy) => proxy::decide(request, policy),
        (Port::Dhcp, Mode::Full(full)) => Case {
            request,
            policy,
            full,
            leases,
            now,
        }
        .decide(),
    }
}

#[cfg(test)]
mod tests;
