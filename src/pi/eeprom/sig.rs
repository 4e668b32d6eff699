//! `pieeprom.sig`: the digest of an image and when it was offered, as `rpi-eeprom-digest` writes them. Pure.
//!
//! A bootloader takes an image whose time is later than that of the one it wrote last; without a time it takes none
//! (gokrazy/gokrazy#332).

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::text::hex::hex;

/// Digest and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sig {
    /// SHA-256 of the image, as hexadecimal digits.
    pub sha256: String,
    /// Seconds since 1970.
    pub time: u64,
}

/// The text is not one that [`Sig`] writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is not 64 hexadecimal digits and a line \"ts: SECONDS\"")]
pub struct BadSig;

impl Sig {
    /// Of `image`, offered at `time`.
    #[must_use]
    pub fn of(image: &[u8], time: u64) -> Self {
        let digest = Sha256::digest(image);
        let sha256 = hex(&digest);
        Self { sha256, time }
    }
}

impl fmt::Display for Sig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\nts: {}", self.sha256, self.time)
    }
}

impl FromStr for Sig {
    type Err = BadSig;

    fn from_str(text: &str) -> Result<Self, BadSig> {
        let (sha256, rest) = text.split_once('\n').ok_or(BadSig)?;
        let time = rest.strip_prefix("ts: ").ok_or(BadSig)?;
        let time = time.trim_end_matches('\n').parse().map_err(|_| BadSig)?;
        if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(BadSig);
        }
        Ok(Self {
            sha256: sha256.to_owned(),
            time,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_rpi_eeprom_digest_writes() {
        // printf abc | sha256sum
        let text =
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\nts: 1700000000\n";
        let sig = Sig::of(b"abc", 1_700_000_000);
        assert_eq!(sig.to_string(), text);
        assert_eq!(text.parse(), Ok(sig));
        for bad in [
            "",
            "abc\nts: 1\n",
            &text[..64],
            &text.replace("ts: ", "ts:"),
            &text.replace('b', "x"),
            &text.replace("1700000000", "-1"),
        ] {
            assert_eq!(bad.parse::<Sig>(), Err(BadSig), "{bad:?}");
        }
    }
}
