//! ICMP echo (RFC 792) as far as looking for an address behind a relay needs it.

use std::net::Ipv4Addr;

/// Type, code, checksum, identifier, sequence number; then what comes back as it was sent.
pub const MESSAGE_BYTES: usize = 8 + TOKEN_BYTES;
const TOKEN_BYTES: usize = 8;

/// The longest IPv4 header and a message; what is longer is not ours.
pub const PACKET_BYTES: usize = 60 + MESSAGE_BYTES;

const REQUEST: u8 = 8;
const REPLY: u8 = 0;
/// The protocol number in an IPv4 header.
const ICMP: u8 = 1;

/// An echo request; `token` tells our answers from others'.
#[must_use]
pub fn request(token: u64) -> [u8; MESSAGE_BYTES] {
    let [.., high, low] = token.to_be_bytes();
    let mut message = [0; MESSAGE_BYTES];
    message[0] = REQUEST;
    message[4..8].copy_from_slice(&[high, low, 0, 1]);
    message[8..].copy_from_slice(&token.to_be_bytes());
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// Who answered a request with this token; the packet begins with its IPv4 header.
#[must_use]
pub fn answer(packet: &[u8], token: u64) -> Option<Ipv4Addr> {
    let [first, ..] = packet else {
        return None;
    };
    let (version, length) = (first >> 4, usize::from(first & 0xf) * 4);
    if version != 4 || length < 20 || *packet.get(9)? != ICMP {
        return None;
    }
    let from = <[u8; 4]>::try_from(packet.get(12..16)?).ok()?;
    let message = packet.get(length..length + MESSAGE_BYTES)?;
    let ours = message[0] == REPLY && message[1] == 0 && message[8..] == token.to_be_bytes();
    (ours && checksum(message) == 0).then(|| from.into())
}

/// RFC 1071; 0 over a message that has its right sum in it.
fn checksum(message: &[u8]) -> u16 {
    let words = message.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOKEN: u64 = 0x0102_0304_0506_0708;
    const THERE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 5);

    /// As the kernel hands it to a raw socket.
    fn reply() -> Vec<u8> {
        let mut message = request(TOKEN);
        message[0] = REPLY;
        message[2..4].fill(0);
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut packet = vec![0x45, 0, 0, 36, 0, 0, 0, 0, 64, ICMP, 0, 0];
        packet.extend(THERE.octets());
        packet.extend([10, 0, 0, 1]);
        packet.extend(message);
        packet
    }

    #[test]
    fn a_request_is_as_rfc_792_has_it() {
        let want = [8, 0, 0xe0, 0xe2, 7, 8, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(request(TOKEN), want);
    }

    #[test]
    fn only_an_answer_to_our_question_is_one() {
        assert_eq!(answer(&reply(), TOKEN), Some(THERE));
        assert_eq!(answer(&reply(), TOKEN + 1), None);
        for length in 0..reply().len() {
            assert_eq!(answer(&reply()[..length], TOKEN), None, "{length} bytes");
        }
        for at in [0, 9, 20, 21, 22, 28, 35] {
            let mut packet = reply();
            packet[at] ^= 0x10;
            assert_eq!(answer(&packet, TOKEN), None, "byte {at}");
        }
        let mut with_options = reply();
        with_options[0] = 0x46;
        with_options.splice(20..20, [0; 4]);
        assert_eq!(answer(&with_options, TOKEN), Some(THERE));
    }

    proptest! {
        #[test]
        fn any_packet_is_survived(packet in prop::collection::vec(any::<u8>(), 0..90)) {
            let _ = answer(&packet, TOKEN);
        }
    }
}
