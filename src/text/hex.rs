//! Bytes as hexadecimal digits. Pure.

use std::fmt::Write;

/// Two lower-case digits for each byte.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // A String can always be written to.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The bytes of such text, upper case allowed; `None` if there is another character or half a byte.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| match pair {
        [high, low] => {
            let digit = |b: u8| char::from(b).to_digit(16);
            u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
        }
        _ => None,
    };
    pairs.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_there_and_back() {
        for (text, want) in [
            ("", Some(&[][..])),
            ("00ff7A", Some(&[0, 255, 0x7a])),
            ("0", None),
            ("zz", None),
            ("+1", None),
            ("é0", None),
        ] {
            assert_eq!(unhex(text).as_deref(), want, "{text}");
        }
        assert_eq!(hex(&[0, 255, 0x7a]), "00ff7a");
    }
}
