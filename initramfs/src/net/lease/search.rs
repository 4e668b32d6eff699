//! The domain search list (option 119, RFC 3397): names in DNS's compressed form (RFC 1035 §4.1.4). Pure.

use ramboot_wire::cmdline;

/// The names; `None` if these bytes are no list of names. One that is no host name is left out, since it will stand in files
/// that other programs read.
pub(super) fn parse(bytes: &[u8]) -> Option<Vec<String>> {
    let mut at = 0;
    let mut names = Vec::new();
    for _ in 0..MAX_NAMES {
        if at >= bytes.len() {
            break;
        }
        let (name, after) = name(bytes, at)?;
        at = after;
        if let Ok(name) = cmdline::hostname(&name)
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    Some(names)
}

/// The name that begins at `start`, and where the next one does.
fn name(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut at = start;
    // Where the next name begins, once this one goes on elsewhere.
    let mut next = None;
    // A pointer leads to what stood before the part it ends, so no chain of them is endless.
    let mut before = start;
    loop {
        let len = *bytes.get(at)?;
        match len >> 6 {
            0 if len == 0 => return Some((name, next.unwrap_or(at + 1))),
            0 => {
                let label = bytes.get(at + 1..at + 1 + usize::from(len))?;
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(std::str::from_utf8(label).ok()?);
                if name.len() > MAX_NAME {
                    return None;
                }
                at += 1 + usize::from(len);
            }
            3 => {
                let low = *bytes.get(at + 1)?;
                let to = usize::from(u16::from_be_bytes([len & 0x3f, low]));
                if to >= before {
                    return None;
                }
                next = next.or(Some(at + 2));
                (at, before) = (to, to);
            }
            // Reserved.
            _ => return None,
        }
    }
}

/// RFC 1035 §2.3.4.
const MAX_NAME: usize = 253;
/// As many as glibc knew before 2.26, and musl more or less.
const MAX_NAMES: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names() {
        // RFC 3397 §3: "eng.apple.com." and "marketing.apple.com."
        let apple = b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04";
        let long = [&[63][..], &[b'a'; 63]].concat().repeat(4);
        for (bytes, want) in [
            (&apple[..], Some("eng.apple.com marketing.apple.com")),
            (b"\x03lab\x00", Some("lab")),
            (b"\x03lab\x00\x03lab\x00\xc0\x00", Some("lab")),
            // By way of two pointers.
            (b"\x01b\x00\x01a\xc0\x00\x01x\xc0\x03", Some("b a.b x.a.b")),
            // Left out: the root, and what is no host's name.
            (b"\x00\x03lab\x00", Some("lab")),
            (b"\x04_tcp\x03lab\x00\x03lab\x00", Some("lab")),
            (b"\x05a\nb c\x00\x03lab\x00", Some("lab")),
            (b"", Some("")),
            // The seventh and later ones.
            (
                b"\x01a\x00\x01b\x00\x01c\x00\x01d\x00\x01e\x00\x01f\x00\x01g\x00",
                Some("a b c d e f"),
            ),
            // To itself, forwards, in a circle, beyond the end.
            (b"\xc0\x00", None),
            (b"\x01a\xc0\x00", None),
            (b"\xc0\x02\x01a\x00", None),
            (b"\x01a\xc0\x05\x00\x01b\xc0\x00", None),
            (b"\x01a\xc0\xff", None),
            // Cut off, reserved, no text, too long.
            (b"\x03la", None),
            (b"\x03lab", None),
            (b"\x01a\xc0", None),
            (b"\x40a\x00", None),
            (b"\x01\xff\x00", None),
            (&[&long[..], &[0]].concat(), None),
        ] {
            let got = parse(bytes).map(|names| names.join(" "));
            assert_eq!(got.as_deref(), want, "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        /// No panic, no end that does not come, and nothing but names of hosts.
        #[test]
        fn any_bytes(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0..5_u8, Just(0xc0), Just(b'a')], 0..400)) {
            for name in parse(&bytes).unwrap_or_default() {
                prop_assert_eq!(cmdline::hostname(&name), Ok(name));
            }
        }
    }
}
