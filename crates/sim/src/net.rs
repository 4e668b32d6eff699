//! Ethernet, ARP, IPv4 and UDP: frames in, values out, and the other way round.
//!
//! No fragments, no options in what is sent. What is damaged is refused with the reason. Public for who makes a [`crate::Wire`]
//! of something else than a network card.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::params::Mac;

/// Everybody.
pub const BROADCAST: Mac = [0xff; 6];

const ETHER_IPV4: [u8; 2] = [0x08, 0x00];
const ETHER_ARP: [u8; 2] = [0x08, 0x06];
/// Ethernet, IPv4, lengths 6 and 4.
const ARP_ETHER_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const UDP: u8 = 17;

/// A frame for or from one of these protocols.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Who has which address.
    Arp(Arp),
    /// UDP over IPv4.
    Udp(Udp<'a>),
}

/// An ARP packet of Ethernet and IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// A question, not an answer.
    pub request: bool,
    /// Who sends it.
    pub sender_mac: Mac,
    /// Its address.
    pub sender: Ipv4Addr,
    /// Whose MAC is asked for.
    pub target: Ipv4Addr,
}

/// A UDP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Udp<'a> {
    /// Source.
    pub from: SocketAddrV4,
    /// Destination.
    pub to: SocketAddrV4,
    /// Of the IP packet.
    pub packet_len: usize,
    /// What is in it.
    pub payload: &'a [u8],
}

/// Why a frame to this machine was thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The IP header is not what was sent.
    IpChecksum,
    /// The packet is not what was sent.
    UdpChecksum,
    /// A part of a packet; firmware puts none together.
    Fragment,
}

/// The destination of a frame that is long enough to have one.
pub(crate) fn destination(frame: &[u8]) -> Option<Mac> {
    frame.first_chunk().copied()
}

/// `None`: neither ARP nor UDP over IPv4, or cut off.
#[must_use]
pub fn parse(frame: &[u8]) -> Option<Result<Frame<'_>, Damage>> {
    let kind = frame.get(12..14)?;
    let rest = frame.get(14..)?;
    if kind == ETHER_ARP {
        return parse_arp(rest).map(|arp| Ok(Frame::Arp(arp)));
    }
    (kind == ETHER_IPV4).then_some(())?;
    parse_ipv4(rest).map(|parsed| parsed.map(Frame::Udp))
}

fn parse_arp(arp: &[u8]) -> Option<Arp> {
    (arp.get(..6)? == ARP_ETHER_IPV4).then_some(())?;
    let request = match arp.get(6..8)? {
        [0, 1] => true,
        [0, 2] => false,
        _ => return None,
    };
    Some(Arp {
        request,
        sender_mac: *arp.get(8..)?.first_chunk()?,
        sender: address(arp.get(14..)?)?,
        target: address(arp.get(24..)?)?,
    })
}

fn parse_ipv4(packet: &[u8]) -> Option<Result<Udp<'_>, Damage>> {
    let first = *packet.first()?;
    let header_len = usize::from(first & 0x0f) * 4;
    let packet_len = usize::from(be16(packet, 2)?);
    if first >> 4 != 4 || header_len < 20 || *packet.get(9)? != UDP {
        return None;
    }
    // Ethernet pads short frames: the length is the header's.
    let packet = packet.get(..packet_len)?;
    let (header, udp) = packet.split_at_checked(header_len)?;
    if fold(sum(header)) != 0xffff {
        return Some(Err(Damage::IpChecksum));
    }
    // More fragments, or not the first one.
    if be16(header, 6)? & 0x3fff != 0 {
        return Some(Err(Damage::Fragment));
    }
    let (source, target) = (address(header.get(12..)?)?, address(header.get(16..)?)?);
    let len = usize::from(be16(udp, 4)?);
    let udp = udp.get(..len)?;
    let payload = udp.get(8..)?;
    let pseudo = sum(header.get(12..20)?) + u32::from(UDP) + u32::from(be16(udp, 4)?);
    let said = be16(udp, 6)?;
    // A virtual interface hands over what its host left to the card: the sum of the pseudo header alone.
    let good = said == 0 || fold(pseudo + sum(udp)) == 0xffff || said == fold(pseudo);
    if !good {
        return Some(Err(Damage::UdpChecksum));
    }
    Some(Ok(Udp {
        from: SocketAddrV4::new(source, be16(udp, 0)?),
        to: SocketAddrV4::new(target, be16(udp, 2)?),
        packet_len,
        payload,
    }))
}

/// An ARP packet in a frame: a request to everybody, an answer to who asked.
#[must_use]
pub fn arp(from: Mac, arp: Arp, to: Mac) -> Vec<u8> {
    let mut frame = Vec::with_capacity(60);
    let target = if arp.request { [0; 6] } else { to };
    frame.extend_from_slice(&to);
    frame.extend_from_slice(&from);
    frame.extend_from_slice(&ETHER_ARP);
    frame.extend_from_slice(&ARP_ETHER_IPV4);
    frame.extend_from_slice(&[0, if arp.request { 1 } else { 2 }]);
    frame.extend_from_slice(&arp.sender_mac);
    frame.extend_from_slice(&arp.sender.octets());
    frame.extend_from_slice(&target);
    frame.extend_from_slice(&arp.target.octets());
    frame.resize(60, 0);
    frame
}

/// A UDP packet in a frame, as the firmware builds it: id 0, TTL 128, no UDP checksum.
#[must_use]
pub fn udp(macs: (Mac, Mac), from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let udp_len = u16::try_from(payload.len() + 8).unwrap_or(u16::MAX);
    let mut frame = Vec::with_capacity(14 + 28 + payload.len());
    frame.extend_from_slice(&macs.1);
    frame.extend_from_slice(&macs.0);
    frame.extend_from_slice(&ETHER_IPV4);
    frame.extend_from_slice(&[0x45, 0]);
    frame.extend_from_slice(&udp_len.saturating_add(20).to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0, 0, 128, UDP, 0, 0]);
    frame.extend_from_slice(&from.ip().octets());
    frame.extend_from_slice(&to.ip().octets());
    let checksum = !fold(sum(&frame[14..34]));
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame.extend_from_slice(&from.port().to_be_bytes());
    frame.extend_from_slice(&to.port().to_be_bytes());
    frame.extend_from_slice(&udp_len.to_be_bytes());
    frame.extend_from_slice(&[0, 0]);
    frame.extend_from_slice(payload);
    frame
}

/// Two bytes, network order.
pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|pair| u16::from_be_bytes(*pair))
}

/// The first four bytes as an address.
pub(crate) fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    bytes.first_chunk::<4>().map(|&octets| octets.into())
}

/// RFC 1071, of at most 64 KiB.
fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| match *pair {
            [hi, lo] => u32::from(u16::from_be_bytes([hi, lo])),
            [hi] => u32::from(hi) << 8,
            _ => 0,
        })
        .sum()
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    let twice = (once & 0xffff) + (once >> 16);
    u16::try_from(twice).unwrap_or(u16::MAX)
}
