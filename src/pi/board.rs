//! The boards that boot from their wired network: what each needs from an image, and why an image cannot boot it. Pure.
//!
//! Zero, A and Zero 2 W have no wired network card; Pi 1 and the first Pi 2 cannot run a 64-bit kernel.

use std::collections::BTreeSet;

/// What runs before the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// `bootcode.bin` and `start.elf`, from the server.
    Bootcode,
    /// In the EEPROM; `start4.elf` from the server.
    Start4,
    /// All in the EEPROM.
    Eeprom,
}

impl Firmware {
    /// Files without which such a board does not get as far as the kernel.
    #[must_use]
    pub const fn files(self) -> &'static [&'static str] {
        match self {
            Self::Bootcode => &["bootcode.bin", "start.elf", "fixup.dat"],
            Self::Start4 => &["start4.elf", "fixup4.dat"],
            Self::Eeprom => &[],
        }
    }
}

/// Drivers without which there is no network: all of them, each under any of its names.
type Drivers = &'static [&'static [&'static str]];

/// LAN9514 behind the SoC's USB controller, whose driver is `dwc_otg` in Raspberry Pi's kernels and `dwc2` in others.
const SMSC: Drivers = &[&["smsc95xx"], &["dwc2", "dwc_otg"]];
/// LAN7515, likewise.
const LAN78XX: Drivers = &[&["lan78xx"], &["dwc2", "dwc_otg"]];
const GENET: Drivers = &[&["genet"]];
/// Cadence GEM in the RP1, which is a PCIe device: `rp1` (mfd) in Raspberry Pi's kernels, `rp1_pci` in Linux since 6.17.
const RP1: Drivers = &[&["macb"], &["rp1", "rp1_pci"]];

/// One kind of board.
#[derive(Debug, PartialEq, Eq)]
pub struct Board {
    /// How a publication names it: `4b`.
    pub id: &'static str,
    /// As people call it.
    pub name: &'static str,
    /// Bits 4 to 11 of a new-style revision code, which a bootloader's option 97 carries.
    pub types: &'static [u8],
    /// What it needs before the kernel.
    pub firmware: Firmware,
    /// Device trees it asks for: by Raspberry Pi's name, then by that of Linux (`upstream_kernel=1`).
    asks: &'static [&'static str],
    /// Device trees of other names that fit, too.
    fits: &'static [&'static str],
    drivers: Drivers,
}

/// All that an image may boot.
pub static BOARDS: [Board; 10] = [
    Board {
        id: "2b",
        name: "Pi 2 v1.2",
        types: &[0x04],
        firmware: Firmware::Bootcode,
        asks: &["bcm2710-rpi-2-b.dtb", "bcm2837-rpi-2-b.dtb"],
        // Linux before 6.14 has no tree for the second Pi 2, which is a Pi 3 without radio.
        fits: &["bcm2837-rpi-3-b.dtb"],
        drivers: SMSC,
    },
    Board {
        id: "3b",
        name: "Pi 3B",
        types: &[0x08],
        firmware: Firmware::Bootcode,
        asks: &["bcm2710-rpi-3-b.dtb", "bcm2837-rpi-3-b.dtb"],
        fits: &[],
        drivers: SMSC,
    },
    Board {
        id: "3b+",
        name: "Pi 3B+",
        types: &[0x0d],
        firmware: Firmware::Bootcode,
        asks: &["bcm2710-rpi-3-b-plus.dtb", "bcm2837-rpi-3-b-plus.dtb"],
        fits: &[],
        drivers: LAN78XX,
    },
    Board {
        id: "cm3",
        name: "CM3",
        types: &[0x0a, 0x10],
        firmware: Firmware::Bootcode,
        asks: &["bcm2710-rpi-cm3.dtb", "bcm2837-rpi-cm3.dtb"],
        // Linux names compute modules with the board they sit on.
        fits: &["bcm2837-rpi-cm3-io3.dtb"],
        // Whatever the carrier board has; those that boot from the network have Pi 3B's chip.
        drivers: SMSC,
    },
    Board {
        id: "4b",
        name: "Pi 4B",
        types: &[0x11],
        firmware: Firmware::Start4,
        asks: &["bcm2711-rpi-4-b.dtb"],
        fits: &[],
        drivers: GENET,
    },
    Board {
        id: "400",
        name: "Pi 400",
        types: &[0x13],
        firmware: Firmware::Start4,
        asks: &["bcm2711-rpi-400.dtb"],
        fits: &[],
        drivers: GENET,
    },
    Board {
        id: "cm4",
        name: "CM4",
        types: &[0x14],
        firmware: Firmware::Start4,
        asks: &["bcm2711-rpi-cm4.dtb"],
        fits: &["bcm2711-rpi-cm4-io.dtb"],
        drivers: GENET,
    },
    Board {
        id: "5",
        name: "Pi 5",
        types: &[0x17],
        firmware: Firmware::Eeprom,
        asks: &["bcm2712-rpi-5-b.dtb"],
        fits: &[],
        drivers: RP1,
    },
    Board {
        id: "cm5",
        name: "CM5",
        types: &[0x18, 0x1a],
        firmware: Firmware::Eeprom,
        asks: &["bcm2712-rpi-cm5-cm5io.dtb", "bcm2712-rpi-cm5l-cm5io.dtb"],
        fits: &[],
        drivers: RP1,
    },
    Board {
        id: "500",
        name: "Pi 500",
        types: &[0x19],
        firmware: Firmware::Eeprom,
        asks: &["bcm2712-rpi-500.dtb"],
        fits: &[],
        drivers: RP1,
    },
];

/// Why an image does not boot a board. The first thing that is missing; there may be more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhyNot {
    /// A file of the firmware.
    #[error("{0} is not in the image: install raspi-firmware, or copy it to /boot/firmware")]
    Firmware(&'static str),
    /// No device tree.
    #[error("the image has no device tree for it ({0})")]
    Tree(String),
    /// No driver of the network card.
    #[error("the kernel has no driver for its network card ({0}){hint}", hint = hint(.0))]
    Driver(String),
}

/// Where people look for a Pi 5's driver in vain: Debian 13 has its macb, but not what that stands on.
fn hint(drivers: &str) -> &'static str {
    if drivers.starts_with("rp1") {
        "; Raspberry Pi OS's kernels have it, and Linux since 6.18"
    } else {
        ""
    }
}

impl Board {
    /// Device trees that boot it, the best first.
    pub fn trees(&self) -> impl Iterator<Item = &'static str> {
        self.asks.iter().chain(self.fits).copied()
    }

    /// Whether an image with these files, whose kernel has the drivers that `driver` knows (as a module of the
    /// initramfs or built in), boots this board.
    ///
    /// # Errors
    /// What is missing first.
    pub fn check(
        &self,
        files: &BTreeSet<&str>,
        driver: impl Fn(&str) -> bool,
    ) -> Result<(), WhyNot> {
        let mut firmware = self.firmware.files().iter();
        if let Some(file) = firmware.find(|file| !files.contains(**file)) {
            return Err(WhyNot::Firmware(file));
        }
        if !self.trees().any(|name| files.contains(name)) {
            let names: Vec<&str> = self.trees().collect();
            return Err(WhyNot::Tree(names.join(" or ")));
        }
        let lacking = self
            .drivers
            .iter()
            .find(|names| !names.iter().any(|n| driver(n)));
        lacking.map_or(Ok(()), |names| Err(WhyNot::Driver(names.join(" or "))))
    }
}

/// The board with this revision code (the second word of a bootloader's option 97); `None` for one that is not in the
/// table, and for a code of the old style, which only Pi 1 have.
#[must_use]
pub fn of_revision(code: u32) -> Option<&'static Board> {
    const NEW_STYLE: u32 = 1 << 23;
    /// Bits 12 to 15 of a BCM2836, the 32-bit chip of the first Pi 2.
    const BCM2836: u32 = 1;
    let [kind, ..] = (code >> 4).to_le_bytes();
    if code & NEW_STYLE == 0 || (code >> 12) & 0xf == BCM2836 {
        return None;
    }
    BOARDS.iter().find(|board| board.types.contains(&kind))
}

/// The board that asks for a device tree of this name.
#[must_use]
pub fn of_tree(name: &str) -> Option<&'static Board> {
    BOARDS.iter().find(|board| board.asks.contains(&name))
}

/// Whether a device tree of Raspberry Pi's own naming is missing where Linux's is there: firmware looks for the
/// latter only if config.txt says `upstream_kernel=1`.
#[must_use]
pub fn only_upstream(files: &BTreeSet<&str>) -> bool {
    let begins = |prefix| files.iter().any(|name| name.starts_with(prefix));
    begins("bcm2837-") && !begins("bcm2710-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(id: &str) -> &'static Board {
        BOARDS.iter().find(|board| board.id == id).expect(id)
    }

    #[test]
    fn one_row_per_reason() {
        let three = "bootcode.bin start.elf fixup.dat bcm2837-rpi-3-b.dtb";
        let four = "start4.elf fixup4.dat bcm2711-rpi-4-b.dtb";
        for (id, files, drivers, want) in [
            ("3b", three, "smsc95xx dwc2", ""),
            ("3b", three, "smsc95xx dwc_otg", ""),
            ("2b", three, "smsc95xx dwc2", ""),
            (
                "cm4",
                "start4.elf fixup4.dat bcm2711-rpi-cm4-io.dtb",
                "genet",
                "",
            ),
            ("4b", four, "genet", ""),
            ("5", "bcm2712-rpi-5-b.dtb", "macb rp1_pci", ""),
            ("5", "bcm2712-rpi-5-b.dtb", "macb rp1", ""),
            (
                "3b",
                "bootcode.bin start.elf bcm2837-rpi-3-b.dtb",
                "smsc95xx dwc2",
                "fixup.dat is not in the image: install raspi-firmware, or copy it to /boot/firmware",
            ),
            (
                "4b",
                three,
                "genet",
                "start4.elf is not in the image: install raspi-firmware, or copy it to /boot/firmware",
            ),
            (
                "3b+",
                three,
                "lan78xx dwc2",
                "the image has no device tree for it (bcm2710-rpi-3-b-plus.dtb or bcm2837-rpi-3-b-plus.dtb)",
            ),
            (
                "3b",
                three,
                "smsc95xx",
                "the kernel has no driver for its network card (dwc2 or dwc_otg)",
            ),
            (
                "4b",
                four,
                "",
                "the kernel has no driver for its network card (genet)",
            ),
            (
                "5",
                "bcm2712-rpi-5-b.dtb",
                "macb",
                "the kernel has no driver for its network card (rp1 or rp1_pci); Raspberry Pi OS's kernels have it, and Linux since 6.18",
            ),
        ] {
            let files = files.split(' ').collect();
            let drivers: Vec<&str> = drivers.split(' ').collect();
            let found = board(id).check(&files, |name| drivers.contains(&name));
            let found = found.map_or_else(|why| why.to_string(), |()| String::new());
            assert_eq!(found, want, "{id}");
        }
    }

    #[test]
    fn revision_codes_of_real_boards() {
        assert_eq!(of_tree("bcm2711-rpi-cm4.dtb"), Some(board("cm4")));
        assert_eq!(of_tree("bcm2837-rpi-3-b.dtb"), Some(board("3b")));
        assert_eq!(of_tree("bcm2711-rpi-cm4-io.dtb"), None);
        for (code, want) in [
            (0xa0_3111, Some("4b")),
            (0xd0_3114, Some("4b")),
            (0xa0_2082, Some("3b")),
            (0xa0_20d3, Some("3b+")),
            (0xa2_2042, Some("2b")),
            (0xa0_1041, None),
            (0xc0_3130, Some("400")),
            (0xb0_3140, Some("cm4")),
            (0xd0_4170, Some("5")),
            (0xc0_4180, Some("cm5")),
            (0x90_2120, None),
            (0x00_0010, None),
            (0, None),
            (u32::MAX, None),
        ] {
            assert_eq!(of_revision(code).map(|board| board.id), want, "{code:x}");
        }
    }

    #[test]
    fn linux_names_are_asked_for_only_if_there_are_no_others() {
        let of = |names: &[&'static str]| only_upstream(&names.iter().copied().collect());
        assert!(of(&["bcm2711-rpi-4-b.dtb", "bcm2837-rpi-3-b.dtb"]));
        assert!(!of(&["bcm2710-rpi-3-b.dtb", "bcm2837-rpi-3-b.dtb"]));
        assert!(!of(&["bcm2711-rpi-4-b.dtb"]));
    }
}
