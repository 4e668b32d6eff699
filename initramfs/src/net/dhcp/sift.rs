//! What of a packet is shown to the decoder: the options this client asks for, each with a length that is possible.
//!
//! dhcproto 0.15 panics on some options nobody asked for (lease-query options of the wrong length), and on classless routes
//! with a prefix above 32, and stops reading at the first one it cannot read. A panic of PID 1 is the end of the machine, and
//! anybody on the network can send such a packet. It reads neither options in `file` and `sname` (option 52, RFC 2132 §9.3)
//! nor ones that were split (RFC 3396), as lists of routes and names are. So the options are gathered here.

use std::collections::BTreeMap;
use std::ops::Range;

/// A packet, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sifted {
    /// The packet with everything left out that dhcproto need not read.
    pub(super) packet: Vec<u8>,
    /// Classless static routes (option 121, RFC 3442) as they were sent; empty if there are none.
    pub(super) routes: Vec<u8>,
    /// The domain search list (option 119, RFC 3397) as it was sent; empty if there is none.
    pub(super) search: Vec<u8>,
}

/// Takes a packet apart; `None` if it is too short to be one.
pub(super) fn sift(packet: &[u8]) -> Option<Sifted> {
    let (fixed, options) = packet.split_at_checked(FIXED)?;
    let mut gathered = Gathered::new();
    gather(options, &mut gathered);
    // RFC 2131 §4.1: first the options field, then `file`, then `sname`; RFC 3396 §5 puts split options together so.
    let places = match gathered.get(&OVERLOAD).map(Vec::as_slice) {
        Some([1]) => &[FILE][..],
        Some([2]) => &[SNAME],
        Some([3]) => &[FILE, SNAME],
        _ => &[],
    };
    for place in places {
        gather(fixed.get(place.clone()).unwrap_or_default(), &mut gathered);
    }
    let mut take = |code| gathered.remove(&code).unwrap_or_default();
    let (routes, search) = (take(ROUTES), take(SEARCH));
    let mut kept = fixed.to_vec();
    for (code, mut value) in gathered {
        if is_list(code) {
            // More addresses than one option can hold are more than anybody uses.
            value.truncate(MAX_LIST);
        }
        if let (true, Ok(len)) = (is_sound(code, &value), u8::try_from(value.len())) {
            kept.extend([code, len]);
            kept.extend(value);
        }
    }
    kept.push(END);
    Some(Sifted {
        packet: kept,
        routes,
        search,
    })
}

/// By code.
type Gathered = BTreeMap<u8, Vec<u8>>;

fn gather(mut rest: &[u8], into: &mut Gathered) {
    // 0 is padding without a length, 255 the end (RFC 2132 §3.1, §3.2).
    while let [code, after @ ..] = rest {
        if *code == PAD {
            rest = after;
            continue;
        }
        let Some((len, after)) = after.split_first().filter(|_| *code != END) else {
            break;
        };
        let Some((value, after)) = after.split_at_checked(usize::from(*len)) else {
            break;
        };
        rest = after;
        match into.get_mut(code) {
            None => drop(into.insert(*code, value.to_vec())),
            Some(first) if is_list(*code) => first.extend(value),
            // Nobody splits four bytes: a server that says such an option twice is taken at its first word.
            Some(_) => {}
        }
    }
}

/// What may be longer than an option can be.
const fn is_list(code: u8) -> bool {
    matches!(code, 3 | 6 | 15 | 42 | SEARCH | ROUTES)
}

fn is_sound(code: u8, value: &[u8]) -> bool {
    match code {
        // Subnet mask, lease time, server identifier.
        1 | 51 | 54 => value.len() == 4,
        // Routers, name servers, NTP servers.
        3 | 6 | 42 => !value.is_empty() && value.len().is_multiple_of(4),
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
/// Of RFC 2131 §2's fields.
const SNAME: Range<usize> = 44..108;
const FILE: Range<usize> = 108..236;
const PAD: u8 = 0;
const OVERLOAD: u8 = 52;
const SEARCH: u8 = 119;
const ROUTES: u8 = 121;
const END: u8 = 255;
/// 63 addresses.
const MAX_LIST: usize = 252;

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of these options: those for the decoder, the routes, the search list.
    fn of(fixed: &[u8], options: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let sifted = sift(&[fixed, options].concat()).expect("long enough");
        assert_eq!(sifted.packet[..FIXED], *fixed);
        let rest = sifted.packet[FIXED..].to_vec();
        (rest, sifted.routes, sifted.search)
    }

    #[test]
    fn only_what_was_asked_for_is_left() {
        for (options, want) in [
            (&[][..], &[255][..]),
            (&[53, 1, 2, 255, 1, 4], &[53, 1, 2, 255]),
            (&[0, 0, 53, 1, 2], &[53, 1, 2, 255]),
            // A classless route with prefix 200, then something useful.
            (&[121, 5, 200, 1, 2, 3, 4, 53, 1, 5, 255], &[53, 1, 5, 255]),
            (&[1, 3, 255, 255, 255, 53, 1, 5], &[53, 1, 5, 255]),
            (&[53, 200, 1], &[255]),
            (&[53], &[255]),
            // Twice: the first one counts.
            (
                &[53, 1, 2, 53, 1, 5, 26, 2, 5, 220, 26, 1, 0],
                &[26, 2, 5, 220, 53, 1, 2, 255],
            ),
        ] {
            let (rest, ..) = of(&[7; FIXED], options);
            assert_eq!(rest, want, "{options:?}");
        }
        assert_eq!(sift(&[0; FIXED - 1]), None);
    }

    /// RFC 3396 §5, §8: a list may end in the middle of one option and go on in the next of its code.
    #[test]
    fn what_was_split_is_put_together() {
        let options = [
            121, 2, 8, 10, 119, 1, 3, 121, 3, 10, 0, 0, 119, 1, b'l', 121, 1, 1,
        ];
        let (rest, routes, search) = of(&[0; FIXED], &options);
        assert_eq!(
            (rest, routes, search),
            (vec![255], vec![8, 10, 10, 0, 0, 1], vec![3, b'l'])
        );
    }

    /// RFC 2131 §4.1, RFC 2132 §9.3.
    #[test]
    fn options_in_file_and_sname_are_read_in_this_order() {
        let mut fixed = vec![0; FIXED];
        fixed[FILE.start..FILE.start + 5].copy_from_slice(&[119, 1, b'f', 255, 9]);
        fixed[SNAME.start..SNAME.start + 6].copy_from_slice(&[119, 1, b's', 53, 1, 2]);
        for (overload, want, kind) in [
            (&[52, 1, 3][..], &b"ofs"[..], true),
            (&[52, 1, 1], b"of", false),
            (&[52, 1, 2], b"os", true),
            (&[52, 1, 4], b"o", false),
            (&[52, 2, 3, 3], b"o", false),
            (&[], b"o", false),
        ] {
            let (rest, _, search) = of(&fixed, &[overload, &[119, 1, b'o']].concat());
            assert_eq!(search, want, "{overload:?}");
            assert_eq!(rest.starts_with(&[53, 1, 2]), kind, "{overload:?}");
        }
    }

    #[test]
    fn a_list_that_one_option_cannot_hold_is_cut_between_addresses() {
        let many = [&[6, 200][..], &[9; 200]].concat();
        let (rest, ..) = of(&[0; FIXED], &many.repeat(2));
        assert_eq!((rest[..2].to_vec(), rest.len()), (vec![6, 252], 255));
    }
}
