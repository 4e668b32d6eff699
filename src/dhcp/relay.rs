//! Option 82, what a relay says of a request (RFC 3046): mirrored as it is, and read as far as an answer depends on it.
//!
//! Sub-options stand one after the other as code, length and data. A relay's word counts only in a packet that came
//! through a relay (`giaddr`); of a sub-option that is there twice, the first counts.

use std::net::Ipv4Addr;

/// RFC 3527 §3.
const LINK_SELECTION: u8 = 5;
/// RFC 5107 §4.
const SERVER_OVERRIDE: u8 = 11;
/// RFC 8357 §4.1.
const SOURCE_PORT: u8 = 19;

/// What a relay added to a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relay {
    /// All of option 82, to be mirrored.
    pub info: Vec<u8>,
    /// The network the client is in, where that is not the relay's own (RFC 3527).
    pub link: Option<Ipv4Addr>,
    /// The server the client is to see, so that its renewals pass the relay (RFC 5107).
    pub server: Option<Ipv4Addr>,
    /// The relay listens on the port it sent from, and not on 67 (RFC 8357).
    pub from_its_port: bool,
}

impl Relay {
    /// Reads option 82. What comes after a sub-option that does not fit is not read.
    #[must_use]
    pub fn parse(info: Vec<u8>) -> Self {
        let mut relay = Self::default();
        let mut rest = info.as_slice();
        while let [code, len, tail @ ..] = rest {
            let Some((data, next)) = tail.split_at_checked(usize::from(*len)) else {
                break;
            };
            match *code {
                LINK_SELECTION => relay.link = relay.link.or_else(|| address(data)),
                SERVER_OVERRIDE => relay.server = relay.server.or_else(|| address(data)),
                SOURCE_PORT => relay.from_its_port = true,
                _ => {}
            }
            rest = next;
        }
        relay.info = info;
        relay
    }
}

fn address(data: &[u8]) -> Option<Ipv4Addr> {
    let address = <[u8; 4]>::try_from(data).map(Ipv4Addr::from).ok()?;
    (!address.is_unspecified()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sub_options_are_found_or_left() {
        let ten_nine = Some(Ipv4Addr::new(10, 9, 0, 0));
        for (info, link, server, port) in [
            (&b""[..], None, None, false),
            (b"\x05\x04\x0a\x09\x00\x00", ten_nine, None, false),
            (b"\x01\x02ab\x05\x04\x0a\x09\x00\x00", ten_nine, None, false),
            (b"\x05\x03\x0a\x09\x00", None, None, false),
            (b"\x05\x04\x0a\x09\x00", None, None, false),
            (b"\x01\xffab\x05\x04\x0a\x09\x00\x00", None, None, false),
            (b"\x05", None, None, false),
            (b"\x0b\x04\x0a\x09\x00\x00", None, ten_nine, false),
            (
                b"\x0b\x04\0\0\0\0\x0b\x04\x0a\x09\x00\x00",
                None,
                ten_nine,
                false,
            ),
            (b"\x13\x00", None, None, true),
            (
                b"\x01\x02ab\x13\x00\x0b\x04\x0a\x09\x00\x00",
                None,
                ten_nine,
                true,
            ),
        ] {
            let relay = Relay::parse(info.to_vec());
            let found = (relay.link, relay.server, relay.from_its_port);
            assert_eq!(found, (link, server, port), "{info:?}");
            assert_eq!(relay.info, info);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(info in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(Relay::parse(info.clone()).info, info);
        }
    }
}
