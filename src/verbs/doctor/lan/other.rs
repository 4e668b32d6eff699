//! The part of the DHCP server that gives addresses where the manager does not. Pure.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, Encodable as _, Message, MessageType, Opcode};

use crate::dhcp::request::{Kind, Request};

/// The part of the other server: it gives one address to whoever asks for one.
pub(super) fn played(
    request: &Request,
    server: Ipv4Addr,
    address: Ipv4Addr,
    mask: Ipv4Addr,
) -> Option<Vec<u8>> {
    let kind = match (request.kind, request.server) {
        (Kind::Discover, _) => MessageType::Offer,
        (Kind::Request, Some(named)) if named == server => MessageType::Ack,
        _ => return None,
    };
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(request.xid, none, address, none, none, &request.mac.0);
    message.set_opcode(Opcode::BootReply);
    message.set_flags(request.flags.into());
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(server));
    options.insert(DhcpOption::SubnetMask(mask));
    options.insert(DhcpOption::AddressLeaseTime(3600));
    let mut bytes = message.to_vec().ok()?;
    bytes.resize(bytes.len().max(300), 0);
    Some(bytes)
}
