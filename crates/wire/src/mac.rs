//! An Ethernet address (EUI-48) as DHCP's `chaddr`, PXELINUX's `BOOTIF` and people write it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Six octets; printed as `52:54:00:12:34:56`, parsed with `:` or `-` between the octets, in either case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

/// The text is not six hexadecimal octets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MAC address such as 52:54:00:12:34:56")]
pub struct BadMac(String);

impl Mac {
    /// `52-54-00-12-34-56`, the form iPXE's `:hexhyp` and PXELINUX's `BOOTIF` use.
    #[must_use]
    pub fn hyphenated(&self) -> String {
        self.joined('-')
    }

    fn joined(&self, separator: char) -> String {
        let mut text = String::with_capacity(17);
        for (i, octet) in self.0.iter().enumerate() {
            if i > 0 {
                text.push(separator);
            }
            text.push_str(&format!("{octet:02x}"));
        }
        text
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.joined(':'))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<Self, BadMac> {
        let bad = || BadMac(text.chars().take(32).collect());
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().ok_or_else(bad)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(bad());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() {
            return Err(bad());
        }
        Ok(Self(octets))
    }
}

impl TryFrom<String> for Mac {
    type Error = BadMac;

    fn try_from(text: String) -> Result<Self, BadMac> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_separators_and_either_case() {
        let want = Mac([0x52, 0x54, 0, 0x12, 0xab, 0xff]);
        for text in ["52:54:00:12:ab:ff", "52-54-00-12-AB-FF"] {
            assert_eq!(text.parse(), Ok(want), "{text}");
        }
        assert_eq!(want.to_string(), "52:54:00:12:ab:ff");
        assert_eq!(want.hyphenated(), "52-54-00-12-ab-ff");
    }

    #[test]
    fn refuses_what_is_not_six_octets() {
        for text in [
            "",
            "52:54:00:12:ab",
            "52:54:00:12:ab:ff:00",
            "52:54:00:12:ab:g0",
            "+2:54:00:12:ab:ff",
            "5254.0012.abff",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
