//! The first digits of a digest, as people name an image.

use std::fmt;
use std::str::FromStr;

use ramboot_wire::ImageId;

/// Digits that an image must be named by at least.
const MIN_DIGITS: usize = 4;

/// The first digits of an image's digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(String);

/// The text is not the beginning of a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the beginning of an image's digest: {MIN_DIGITS} to 64 hexadecimal digits")]
pub struct BadPrefix(String);

impl FromStr for Prefix {
    type Err = BadPrefix;

    fn from_str(text: &str) -> Result<Self, BadPrefix> {
        let digits = text.bytes().all(|b| b.is_ascii_hexdigit());
        if digits && (MIN_DIGITS..=64).contains(&text.len()) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(BadPrefix(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Prefix {
    /// Whether the image's digest begins so.
    #[must_use]
    pub fn fits(&self, id: ImageId) -> bool {
        id.to_string().starts_with(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_digits() {
        for good in ["abcd", "0123456789ABCDEF", &"f".repeat(64)] {
            assert!(good.parse::<Prefix>().is_ok(), "{good}");
        }
        for bad in ["", "abc", "abcg", "../..", "é000", &"f".repeat(65)] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }
}
