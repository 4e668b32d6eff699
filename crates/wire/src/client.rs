//! A machine as its firmware describes it: what is known of it before it runs anything of ours.
//!
//! It travels in URLs, so that the manager need not remember it between DHCP and HTTP.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::mac::Mac;

/// An architecture a worker can have, named as `uname -m` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// PCs and servers.
    #[serde(rename = "x86_64")]
    X86_64,
    /// Raspberry Pi 3 and later, arm64 servers.
    Aarch64,
}

/// The text names no architecture a worker can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an architecture: x86_64 and aarch64 are")]
pub struct BadArch(String);

/// Product UUID, in the byte order of the text (RFC 9562 §4).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Uuid(pub [u8; 16]);

/// The text is not a UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a UUID such as 4c4c4544-0042-4810-8056-b4c04f395332")]
pub struct BadUuid(String);

/// A machine that boots; as text `52-54-00-12-34-56.x86_64.4c4c4544-0042-4810-8056-b4c04f395332`, where the last two
/// may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client {
    /// Of the NIC it boots from.
    pub mac: Mac,
    /// As its firmware says (DHCP option 93).
    pub arch: Option<Arch>,
    /// As its firmware says (DHCP option 97).
    pub uuid: Option<Uuid>,
}

/// The text names no machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not MAC[.ARCH][.UUID]")]
pub struct BadClient(String);

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        })
    }
}

impl FromStr for Arch {
    type Err = BadArch;

    fn from_str(text: &str) -> Result<Self, BadArch> {
        match text {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Aarch64),
            other => Err(BadArch(other.chars().take(80).collect())),
        }
    }
}

impl Uuid {
    /// The same sixteen bytes with the first three fields in the other byte order: SMBIOS (DSP0134 §7.2.1) keeps them
    /// little-endian; some firmware sends option 97 as it stands there, iPXE turns them round.
    #[must_use]
    pub const fn swapped(self) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = self.0;
        let [i, j, k, l, m, n, o, p] = rest;
        Self([d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p])
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uuid {
    type Err = BadUuid;

    fn from_str(text: &str) -> Result<Self, BadUuid> {
        let bad = || BadUuid(text.chars().take(80).collect());
        let dashes = |(i, byte)| matches!(i, 8 | 13 | 18 | 23) == (byte == b'-');
        if text.len() != 36 || !text.bytes().enumerate().all(dashes) {
            return Err(bad());
        }
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        let mut uuid = [0; 16];
        for (byte, pair) in uuid.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
            // from_str_radix alone would take "+f".
            if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(bad());
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
        }
        Ok(Self(uuid))
    }
}

impl From<Mac> for Client {
    /// A machine of which no more is known.
    fn from(mac: Mac) -> Self {
        Self {
            mac,
            arch: None,
            uuid: None,
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mac.hyphenated())?;
        if let Some(arch) = self.arch {
            write!(f, ".{arch}")?;
        }
        if let Some(uuid) = self.uuid {
            write!(f, ".{uuid}")?;
        }
        Ok(())
    }
}

impl FromStr for Client {
    type Err = BadClient;

    fn from_str(text: &str) -> Result<Self, BadClient> {
        let bad = || BadClient(text.chars().take(120).collect());
        let mut words = text.split('.').peekable();
        let mac: Mac = words
            .next()
            .and_then(|word| word.parse().ok())
            .ok_or_else(bad)?;
        let arch = words.peek().and_then(|word| word.parse().ok());
        if arch.is_some() {
            words.next();
        }
        let uuid = words.peek().and_then(|word| word.parse().ok());
        if uuid.is_some() {
            words.next();
        }
        match words.next() {
            None => Ok(Self { mac, arch, uuid }),
            Some(_) => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let uuid: Uuid = "4c4c4544-0042-4810-8056-b4c04f395332"
            .parse()
            .expect("a UUID");
        for arch in [None, Some(Arch::X86_64), Some(Arch::Aarch64)] {
            for uuid in [None, Some(uuid)] {
                let client = Client {
                    mac: Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
                    arch,
                    uuid,
                };
                assert_eq!(client.to_string().parse(), Ok(client), "{client}");
            }
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            ".",
            "52-54-00-12-34-56.",
            "52-54-00-12-34-56.arm",
            "52-54-00-12-34-56.x86_64.",
            "52-54-00-12-34-56.x86_64.aarch64",
            "52-54-00-12-34-56.4c4c4544-0042-4810-8056-b4c04f395332.x86_64",
            "52-54-00-12-34-56.4c4c45440042-4810-8056-b4c04f395332-",
            "52-54-00-12-34-56.+c4c4544-0042-4810-8056-b4c04f395332",
            "x86_64",
        ] {
            assert_eq!(bad.parse::<Client>(), Err(BadClient(bad.to_owned())));
        }
    }

    #[test]
    fn swapping_turns_three_fields() {
        let sent: Uuid = "44454c4c-4200-1048-8056-b4c04f395332"
            .parse()
            .expect("a UUID");
        assert_eq!(
            sent.swapped().to_string(),
            "4c4c4544-0042-4810-8056-b4c04f395332"
        );
        assert_eq!(sent.swapped().swapped(), sent);
    }
}
