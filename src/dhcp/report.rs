//! What is said of a request and its answer: to the fleet, and in the log.

use tracing::{Level, debug, enabled, info};

use super::firmware::Firmware;
use super::ignore_reason::Why;
use super::policy::Policy;
use super::reply::Reply;
use super::request::{Kind, Request};
use super::verdict::Answer;
use crate::fleet::event::{Asked, AskedBy, Event};

/// What is to be known of a machine by what it asked and was told.
pub(super) fn seen(request: &Request, answer: &Answer) -> Event {
    let firmware = request.firmware;
    let given = match answer {
        Answer::Reply(reply) => Some(reply.message.yiaddr()),
        // It takes what another server has offered.
        Answer::Ignore(Why::OtherServer(_)) => request.requested,
        // Beside another server, when /init or a system asks that one for it.
        Answer::Ignore(Why::AddressOnly | Why::NotNetboot)
            if request.kind == Kind::Request && request.server.is_some() =>
        {
            request.requested
        }
        Answer::Ignore(_) => None,
    };
    let client = request.client();
    Event::Asked(Asked {
        mac: request.mac,
        model: firmware.to_string(),
        pi: match firmware {
            Firmware::Pi(identity) => Some(identity),
            _ => None,
        },
        uuid: client.uuid,
        arch: client.arch,
        address: given
            .filter(|address| !address.is_unspecified())
            .or_else(|| Asked::brought(request.ciaddr, *request.arrival.source.ip())),
        asker: match firmware {
            Firmware::Init => AskedBy::Init,
            Firmware::System => AskedBy::System,
            _ => AskedBy::Firmware,
        },
        discover: request.kind == Kind::Discover,
    })
}

/// An answer, in the log.
pub(super) fn answered(request: &Request, reply: &Reply, policy: &Policy) {
    let Request { mac, firmware, .. } = request;
    let interface = &policy.interface;
    let settled = reply.settles() || firmware.takes_offers();
    if settled && enabled!(Level::INFO) {
        info!(source = %mac, "{mac} {firmware} on {interface}: {}", reply.gives());
    } else if enabled!(Level::DEBUG) {
        debug!("{mac} {firmware} on {interface}: offered {}", reply.gives());
    }
}

/// A silence, in the log.
pub(super) fn ignored(request: &Request, why: &Why, policy: &Policy) {
    let Request { mac, firmware, .. } = request;
    let interface = &policy.interface;
    if why.is_news() {
        info!(source = %mac, "{mac} {firmware} on {interface} not answered: {why}");
    } else {
        debug!("{mac} {firmware} on {interface} not answered: {why}");
    }
}
