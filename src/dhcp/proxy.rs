//! proxyDHCP: another server gives the address, we say what to boot. Needs no memory: request and policy make the answer.

use std::net::Ipv4Addr;

use dhcproto::v4::MessageType;

use super::firmware::Firmware;
use super::ignore_reason::Why;
use super::policy::Policy;
use super::reply::Reply;
use super::request::{Kind, Request};
use super::verdict::{Answer, Verdict};

/// Port 67.
pub(super) fn decide(request: &Request, policy: &Policy) -> Verdict {
    if let Err(why) = asks_to_boot(request.firmware) {
        return Verdict::ignore(why);
    }
    match (request.kind, request.server) {
        (Kind::Discover, _) => boot(request, policy, MessageType::Offer),
        (Kind::Inform, _) => boot(request, policy, MessageType::Ack),
        // The REQUEST after an address offer is broadcast, so that all other servers know.
        (Kind::Request, Some(server)) if server != policy.server => {
            Verdict::ignore(Why::OtherServer(server))
        }
        (Kind::Request | Kind::Decline | Kind::Release, _) => Verdict::ignore(Why::NotOurAddress),
    }
}

/// Port 4011, in proxy and in full mode: the client has an address. QEMU's iPXE asks here when an offer has no boot
/// file (seen with another proxy), UEFI firmware always does.
pub(super) fn boot_server(request: &Request, policy: &Policy) -> Verdict {
    if let Err(why) = asks_to_boot(request.firmware) {
        return Verdict::ignore(why);
    }
    match (request.kind, request.server) {
        (_, Some(server)) if server != policy.server => Verdict::ignore(Why::OtherServer(server)),
        (Kind::Request | Kind::Inform | Kind::Discover, _) => {
            boot(request, policy, MessageType::Ack)
        }
        (Kind::Decline | Kind::Release, _) => Verdict::ignore(Why::NotOurAddress),
    }
}

fn asks_to_boot(firmware: Firmware) -> Result<(), Why> {
    match firmware {
        Firmware::BiosPxe
        | Firmware::UefiPxe(_)
        | Firmware::UefiHttp(_)
        | Firmware::Ipxe(_)
        | Firmware::Pi(_) => Ok(()),
        Firmware::UBoot => Err(Why::NoProxy(firmware)),
        Firmware::Init => Err(Why::AddressOnly),
        Firmware::System => Err(Why::NotNetboot),
        Firmware::Other(_) => Err(Why::NoWorker(firmware)),
    }
}

fn boot(request: &Request, policy: &Policy, kind: MessageType) -> Verdict {
    let reply = Reply::new(request, policy, kind, Ipv4Addr::UNSPECIFIED);
    Verdict {
        answer: Answer::Reply(reply.with_boot(request, policy)),
        lease: None,
        probe: None,
    }
}
