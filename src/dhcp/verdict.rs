//! What a decision says.

use std::net::Ipv4Addr;

use super::ignore_reason::Why;
use super::lease::LeaseChange;
use super::reply::Reply;

/// What to do about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What to send, or why not.
    pub answer: Answer,
    /// What to remember once the answer is sent.
    pub lease: Option<LeaseChange>,
    /// Ask on the link whether somebody has this address, and send the answer only if nobody does. Otherwise set the
    /// address aside and decide anew.
    pub probe: Option<Ipv4Addr>,
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
            probe: None,
        }
    }
}
