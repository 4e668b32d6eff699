//! The two chips whose bootloader lies in an EEPROM; an image for one is none for the other. Pure.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::pi::id::Revision;

/// Of which kind a board or an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chip {
    /// Pi 4B, 400, CM4, CM4S
    Bcm2711,
    /// Pi 5, 500, CM5
    Bcm2712,
}

impl Chip {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Bcm2711, Self::Bcm2712];

    /// Bytes of its EEPROM, which are those of an image.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Bcm2711 => 512 * 1024,
            Self::Bcm2712 => 2 * 1024 * 1024,
        }
    }

    /// The boards that have it.
    #[must_use]
    pub const fn boards(self) -> &'static str {
        match self {
            Self::Bcm2711 => "Pi 4B, 400, CM4",
            Self::Bcm2712 => "Pi 5, 500, CM5",
        }
    }

    /// The chip of a board; `None` for boards without such an EEPROM, and for what is no revision code of the new style.
    ///
    /// Source: "Raspberry Pi revision codes", bits 12 to 15.
    #[must_use]
    pub const fn of_revision(Revision(code): Revision) -> Option<Self> {
        const NEW_STYLE: u32 = 1 << 23;
        match (code & NEW_STYLE, code >> 12 & 0xf) {
            (NEW_STYLE, 3) => Some(Self::Bcm2711),
            (NEW_STYLE, 4) => Some(Self::Bcm2712),
            _ => None,
        }
    }
}

impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bcm2711 => "BCM2711",
            Self::Bcm2712 => "BCM2712",
        })
    }
}

/// As it is printed.
impl Serialize for Chip {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revision_codes_of_real_boards() {
        for (code, want) in [
            (0xa0_3111, Some(Chip::Bcm2711)),
            (0xc0_3130, Some(Chip::Bcm2711)),
            (0xb0_3140, Some(Chip::Bcm2711)),
            (0xd0_4170, Some(Chip::Bcm2712)),
            (0xc0_4180, Some(Chip::Bcm2712)),
            (0xa0_2082, None),
            (0xa2_2042, None),
            (0x00_3111, None),
            (0x00_0010, None),
            (0, None),
            (u32::MAX, None),
        ] {
            assert_eq!(Chip::of_revision(Revision(code)), want, "{code:x}");
        }
    }
}
