//! ARP (RFC 826) as far as asking for an address needs it: the probe of RFC 5227 §2.1.1, and who answers it.

use std::net::Ipv4Addr;

use ramboot_wire::Mac;

/// Ethernet header and ARP for IPv4; what is longer is padding.
pub const FRAME_BYTES: usize = 14 + 28;

/// Ethernet type ARP; then hardware type Ethernet, protocol IPv4, lengths 6 and 4.
const HEAD: [u8; 8] = [0x08, 0x06, 0, 1, 0x08, 0, 6, 4];

const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// Somebody uses an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Who.
    pub mac: Mac,
    /// Which.
    pub address: Ipv4Addr,
}

/// Asks who has `address` without saying that the asker has one, so no neighbour's table changes.
#[must_use]
pub fn probe(from: Mac, address: Ipv4Addr) -> [u8; FRAME_BYTES] {
    let parts: [&[u8]; 8] = [
        &[0xff; 6],
        &from.0,
        &HEAD,
        &REQUEST.to_be_bytes(),
        &from.0,
        &Ipv4Addr::UNSPECIFIED.octets(),
        &[0; 6],
        &address.octets(),
    ];
    let mut frame = [0; FRAME_BYTES];
    let bytes = parts.into_iter().flatten();
    frame
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
    frame
}

/// Who uses the sender address of a frame, whether it asks or answers. A probe, without one, claims nothing, though
/// RFC 5227 §2.1.1 has it so: two managers that look for one machine's address at once would drive each other through
/// the whole pool.
#[must_use]
pub fn claim(frame: &[u8]) -> Option<Claim> {
    let arp = frame.get(12..FRAME_BYTES)?;
    let operation = u16::from_be_bytes([arp[8], arp[9]]);
    if !arp.starts_with(&HEAD) || !matches!(operation, REQUEST | REPLY) {
        return None;
    }
    let mac = Mac(arp[10..16].try_into().ok()?);
    let address = <[u8; 4]>::try_from(arp.get(16..20)?).map(Ipv4Addr::from);
    let address = address.ok().filter(|address| !address.is_unspecified())?;
    Some(Claim { mac, address })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const US: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

    #[test]
    fn a_probe_is_as_rfc_5227_has_it() {
        let frame = probe(US, ADDRESS);
        let want = [
            255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0,
            0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 9,
        ];
        assert_eq!(frame, want);
    }

    #[test]
    fn one_row_per_frame() {
        let claims = |mac, address| Some(Claim { mac, address });
        let other = Mac([2, 0, 0, 0, 0, 2]);
        let frame = |operation: u8, sender: Ipv4Addr| {
            let mut frame = probe(other, ADDRESS);
            frame[21] = operation;
            frame[28..32].copy_from_slice(&sender.octets());
            frame
        };
        let sender = Ipv4Addr::new(10, 0, 0, 7);
        for (frame, want) in [
            (frame(1, Ipv4Addr::UNSPECIFIED), None),
            (frame(1, sender), claims(other, sender)),
            (frame(2, sender), claims(other, sender)),
            (frame(2, Ipv4Addr::UNSPECIFIED), None),
            (frame(3, sender), None),
        ] {
            assert_eq!(claim(&frame), want);
            for length in 0..FRAME_BYTES {
                assert_eq!(claim(&frame[..length]), None, "{length} bytes");
            }
        }
        for at in 12..20 {
            let mut frame = frame(2, sender);
            frame[at] ^= 1;
            assert_eq!(claim(&frame), None, "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn any_frame_is_survived(frame in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = claim(&frame);
        }

        #[test]
        fn only_arp_claims(tail in prop::collection::vec(any::<u8>(), 34..60)) {
            let mut frame = vec![0; 12];
            frame.extend(HEAD);
            frame.extend(&tail[..]);
            if let Some(claim) = claim(&frame) {
                prop_assert_eq!(&claim.mac.0[..], &frame[22..28]);
            }
        }
    }
}
