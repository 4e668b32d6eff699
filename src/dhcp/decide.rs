//! From request to verdict: what to send, where to, what to remember, or why to be silent. One pure function.

use std::time::Duration;

use super::full;
use super::lease::Leases;
use super::policy::{Mode, Policy};
use super::proxy;
use super::request::{Port, Request};
use super::verdict::Verdict;

/// Decides about one request; `now` is the time since the manager started.
#[must_use]
pub fn decide(request: &Request, policy: &Policy, leases: &Leases, now: Duration) -> Verdict {
    match (request.arrival.port, &policy.mode) {
        (Port::BootServer, _) => proxy::boot_server(request, policy),
        (Port::Dhcp, Mode::Proxy) => proxy::decide(request, policy),
        (Port::Dhcp, Mode::Full(full)) => full::decide(request, policy, full, leases, now),
    }
}

#[cfg(test)]
mod tests;
