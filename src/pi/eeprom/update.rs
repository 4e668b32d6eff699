//! A new bootloader for a Raspberry Pi, by TFTP: for the boards that somebody named, and whose chip it is for. A shell over
//! the folder of offers.
//!
//! Bootloaders look for `<serial>/pieeprom.sig` at every boot, and what they find there they write into their EEPROM. Those
//! before May 2024 do that with an image for another chip, too. So it is only ever answered under a serial number, never in
//! the root or under a MAC, and only if the board with that number has said by DHCP what it is.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tracing::{debug, info, warn};

use crate::pi::boards_seen::Seen;
use crate::pi::eeprom::chip::Chip;
use crate::pi::eeprom::offers::Offers;
use crate::pi::id::Revision;
use crate::store::rope::Rope;

const SIG: &str = "pieeprom.sig";
const IMAGE: &str = "pieeprom.upd";

/// Hands out offers.
#[derive(Debug)]
pub struct Updates {
    offers: Offers,
    boards: Arc<Seen>,
}

/// A path that is about a bootloader's update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Whose; `None` where the path has none, or another name of a board.
    serial: Option<u32>,
    is_image: bool,
}

/// Why a board does not get what its serial number is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refused {
    /// It did not say.
    #[error(
        "it has not said to this \"ramboot serve\" by DHCP which board it is: switch it off and on, have DHCP served here (beside another server is enough), and leave DHCP_OPTION97 out of its settings"
    )]
    Unknown,
    /// It did.
    #[error(
        "the image is for a {offered} ({}), and the board has revision {board:06x}: offer it another one",
        offered.boards()
    )]
    OtherChip {
        /// What the image is for.
        offered: Chip,
        /// What the board said.
        board: u32,
    },
}

impl Asked {
    /// `None` for all other files. Several slashes are one, as in [`crate::pi::folder`].
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
        let is_image = match file {
            SIG => false,
            IMAGE => true,
            _ => return None,
        };
        let serial = folder.trim_matches('/');
        let is_serial = serial.len() == 8 && serial.bytes().all(|b| b.is_ascii_hexdigit());
        let serial = is_serial.then(|| u32::from_str_radix(serial, 16).ok());
        Some(Self {
            serial: serial.flatten(),
            is_image,
        })
    }
}

impl Updates {
    /// From the folder `state`, for boards that are among `boards`.
    #[must_use]
    pub fn new(state: &Path, boards: Arc<Seen>) -> Self {
        Self {
            offers: Offers::of(state),
            boards,
        }
    }

    /// What `client` gets; most boards are offered nothing, and boot as they are.
    #[must_use]
    pub fn open(&self, asked: &Asked, client: Ipv4Addr) -> Option<Rope> {
        let Some(serial) = asked.serial else {
            debug!(%client, "TFTP: a bootloader's update is only there by serial number");
            return None;
        };
        let offer = match self.offers.get(serial) {
            Ok(Some(offer)) => offer,
            Ok(None) => return None,
            Err(error) => {
                warn!(%client, "bootloader update for {serial:08x}: {error:#}");
                return None;
            }
        };
        match decide(offer.chip, self.boards.revision(serial)) {
            Ok(()) => {}
            // Once a boot: it does not go on to the image.
            Err(why) => {
                warn!(%client, "bootloader update for {serial:08x} not handed out: {why}");
                return None;
            }
        }
        let sha256 = &offer.sig.sha256;
        if asked.is_image {
            info!(%client, sha256, "bootloader update: {serial:08x} fetches it");
            return Some(offer.image.into());
        }
        debug!(%client, sha256, "bootloader update: {serial:08x} looks whether it is new");
        Some(Bytes::from(offer.sig.to_string()).into())
    }
}

fn decide(offered: Chip, board: Option<Revision>) -> Result<(), Refused> {
    match board {
        None => Err(Refused::Unknown),
        Some(revision) if Chip::of_revision(revision) == Some(offered) => Ok(()),
        Some(Revision(board)) => Err(Refused::OtherChip { offered, board }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_serial_number_is_one() {
        let asked = |serial, is_image| Some(Asked { serial, is_image });
        for (path, want) in [
            ("5b154510/pieeprom.sig", asked(Some(0x5b15_4510), false)),
            ("5b154510//pieeprom.upd", asked(Some(0x5b15_4510), true)),
            ("/5b154510/pieeprom.upd", asked(Some(0x5b15_4510), true)),
            ("5B154510/pieeprom.sig", asked(Some(0x5b15_4510), false)),
            ("pieeprom.sig", asked(None, false)),
            ("/pieeprom.upd", asked(None, true)),
            ("dc-a6-32-01-02-03/pieeprom.sig", asked(None, false)),
            ("5b15451/pieeprom.sig", asked(None, false)),
            ("+b154510/pieeprom.sig", asked(None, false)),
            ("pi/5b154510/pieeprom.sig", asked(None, false)),
            ("5b154510/x/pieeprom.sig", asked(None, false)),
            ("5b154510/../pieeprom.sig", asked(None, false)),
            ("5b154510/vl805.sig", None),
            ("5b154510/pieeprom.bin", None),
            ("5b154510/xpieeprom.sig", None),
            ("", None),
        ] {
            assert_eq!(Asked::parse(path), want, "{path}");
        }
    }

    #[test]
    fn a_board_gets_what_is_for_its_chip() {
        let said = |offered, board: Option<u32>| {
            decide(offered, board.map(Revision)).map_err(|why| why.to_string())
        };
        assert_eq!(said(Chip::Bcm2711, Some(0xa0_3111)), Ok(()));
        assert_eq!(said(Chip::Bcm2712, Some(0xd0_4170)), Ok(()));
        let other = "the image is for a BCM2711 (Pi 4B, 400, CM4), and the board has revision d04170: offer it another one";
        assert_eq!(said(Chip::Bcm2711, Some(0xd0_4170)), Err(other.to_owned()));
        // A Pi 3B has no EEPROM.
        let other = "the image is for a BCM2712 (Pi 5, 500, CM5), and the board has revision a02082: offer it another one";
        assert_eq!(said(Chip::Bcm2712, Some(0xa0_2082)), Err(other.to_owned()));
        let unknown = said(Chip::Bcm2711, None).expect_err("unknown");
        assert!(unknown.contains("by DHCP which board it is"), "{unknown}");
    }
}
