//! What of a packet is shown to the decoder: the options this client asks for, each with a length that is possible.
//!
//! dhcproto 0.15 panics on some options nobody asked for (classless routes with a prefix above 32, lease-query
//! options of the wrong length) and stops reading at the first one it cannot read. A panic of PID 1 is the end of
//! the machine, and anybody on the network can send such a packet.

/// The packet with everything else left out; `None` if it is too short to be one.
pub(super) fn sift(packet: &[u8]) -> Option<Vec<u8>> {
    let (fixed, mut rest) = packet.split_at_checked(FIXED)?;
    let mut kept = fixed.to_vec();
    // 0 is padding without a length, 255 the end (RFC 2132 §3.1, §3.2).
    while let [code, after @ ..] = rest {
        if *code == 0 {
            rest = after;
            continue;
        }
        let Some((len, after)) = after.split_first().filter(|_| *code != END) else {
            break;
        };
        let Some((value, after)) = after.split_at_checked(usize::from(*len)) else {
            break;
        };
        if is_sound(*code, value) {
            kept.extend([*code, *len]);
            kept.extend(value);
        }
        rest = after;
    }
    kept.push(END);
    Some(kept)
}

fn is_sound(code: u8, value: &[u8]) -> bool {
    match code {
        // Subnet mask, lease time, server identifier.
        1 | 51 | 54 => value.len() == 4,
        // Routers, name servers.
        3 | 6 => !value.is_empty() && value.len().is_multiple_of(4),
        // Domain name.
        15 => value.is_ascii(),
        // MTU.
        26 => value.len() == 2,
        // Message type.
        53 => value.len() == 1,
        _ => false,
    }
}

/// Bytes before the options, with the magic cookie.
const FIXED: usize = 240;
const END: u8 = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_is_left() {
        let fixed = vec![7; FIXED];
        for (options, want) in [
            (&[][..], &[255][..]),
            (&[53, 1, 2, 255, 1, 4], &[53, 1, 2, 255]),
            (&[0, 0, 53, 1, 2], &[53, 1, 2, 255]),
            // A classless route with prefix 200, then something useful.
            (&[121, 5, 200, 1, 2, 3, 4, 53, 1, 5, 255], &[53, 1, 5, 255]),
            (&[1, 3, 255, 255, 255, 53, 1, 5], &[53, 1, 5, 255]),
            (&[53, 200, 1], &[255]),
            (&[53], &[255]),
        ] {
            let packet = [&fixed, options].concat();
            let sifted = sift(&packet).expect("long enough");
            assert_eq!(sifted[FIXED..], *want, "{options:?}");
        }
        assert_eq!(sift(&[0; FIXED - 1]), None);
    }
}
