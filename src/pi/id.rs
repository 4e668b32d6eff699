//! Who a Raspberry Pi says it is, in DHCP option 97: serial number, board revision, and which of its three network
//! clients asks. Pure.
//!
//! Sources: captures in raspberrypi/firmware#859, #934, #1265 (boot ROM), raspberrypi/rpi-eeprom#58, #69, #183 (EEPROM),
//! and "Raspberry Pi revision codes" of the documentation.

use std::fmt;

use ramboot_wire::Mac;

use super::board;

/// Vendor parts of Raspberry Pi's MAC addresses, as seen on boards up to the Pi 5.
const OUIS: [[u8; 3]; 7] = [
    [0xb8, 0x27, 0xeb],
    [0xdc, 0xa6, 0x32],
    [0xe4, 0x5f, 0x01],
    [0x28, 0xcd, 0xc1],
    [0xd8, 0x3a, 0xdd],
    [0x2c, 0xcf, 0x67],
    [0x88, 0xa2, 0x9e],
];

/// The transaction id of every request of every boot ROM and every bootcode.bin.
const ROM_XID: u32 = 0x26f3_0339;

/// What one request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Which of its network clients asks.
    pub stage: Stage,
    /// The low 32 bits of the serial number: the TFTP folder `5b154510/`.
    pub serial: Option<u32>,
    /// The board.
    pub revision: Option<Revision>,
}

/// The three network clients of Raspberry Pis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Mask ROM of Pi 2B v1.2, 3B, 3B+, CM3, or the `bootcode.bin` it has loaded. Takes an OFFER and never sends a
    /// REQUEST.
    Rom,
    /// SPI flash of Pi 4 and later: a full DHCP exchange.
    Eeprom,
}

/// A board revision code of the new style.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision(pub u32);

impl Identity {
    /// Reads option 97 (type byte and 16 bytes) of a request whose option 93 is 0; `None` if no Raspberry Pi sent it.
    #[must_use]
    pub fn recognise(machine_id: &[u8], mac: Mac, xid: u32) -> Option<Self> {
        let words = words(machine_id);
        let known = OUIS.iter().any(|oui| mac.0.starts_with(oui));
        let identity = |stage, serial, revision| {
            Some(Self {
                stage,
                serial,
                revision,
            })
        };
        match words {
            // The Pi 3B's ROM does not know its own serial number.
            Some([a, b, c, d]) if [a, b, c, d] == [0x4444_4444; 4] => {
                identity(Stage::Rom, None, None)
            }
            // "RPi4", "RPi5" and what comes after, in either byte order.
            Some([magic, revision, _, serial]) if is_magic(magic) => {
                identity(Stage::Eeprom, Some(serial), Some(Revision(revision)))
            }
            // A Pi 3's bootcode.bin, or an EEPROM with DHCP_OPTION97=0.
            Some([a, b, c, d]) if known && a == b && b == c && c == d && a != 0 => {
                let stage = if xid == ROM_XID {
                    Stage::Rom
                } else {
                    Stage::Eeprom
                };
                identity(stage, Some(a), None)
            }
            _ if known && xid == ROM_XID => identity(Stage::Rom, None, None),
            // DHCP_OPTION97 can be any number.
            Some([_, revision, _, serial]) if known => {
                identity(Stage::Eeprom, Some(serial), Some(Revision(revision)))
            }
            None if known => identity(Stage::Eeprom, None, None),
            _ => None,
        }
    }
}

/// Four little-endian numbers.
fn words(machine_id: &[u8]) -> Option<[u32; 4]> {
    let id: &[u8; 16] = machine_id.get(1..)?.try_into().ok()?;
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(id.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    Some(words)
}

fn is_magic(word: u32) -> bool {
    let bytes = word.to_le_bytes();
    bytes.starts_with(b"RPi") || bytes.ends_with(b"iPR")
}

impl Revision {
    /// MiB of RAM.
    #[must_use]
    pub const fn memory(self) -> u32 {
        256 << (self.0 >> 20 & 7)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Raspberry Pi")?;
        let known = |revision: Revision| (revision, board::of_revision(revision.0));
        match self.revision.map(known) {
            Some((revision, Some(board))) => {
                let name = board.name.trim_start_matches("Pi ");
                let memory = revision.memory();
                if memory < 1024 {
                    write!(f, " {name} with {memory} MB")?;
                } else {
                    write!(f, " {name} with {} GB", memory / 1024)?;
                }
            }
            Some((revision, None)) => write!(f, " of revision {:06x}", revision.0)?,
            None if self.stage == Stage::Rom => f.write_str(" boot ROM")?,
            None => {}
        }
        match self.serial {
            Some(serial) => write!(f, ", serial {serial:08x}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    const PI: Mac = Mac([0xdc, 0xa6, 0x32, 1, 2, 3]);
    const PI3: Mac = Mac([0xb8, 0x27, 0xeb, 0x6c, 0x4c, 0x16]);

    #[test]
    fn one_row_per_form() {
        let said = |id: &[u8], mac, xid| {
            Identity::recognise(id, mac, xid).map(|identity| identity.to_string())
        };
        let pi4 = b"\0RPi4\x11\x31\xa0\0\x32\x2e\xf8\xed\x10\x45\x15\x5b";
        let reversed = b"\x004iPR\x14\x31\xd0\0\x01\x09\x02\xf7\x3d\xf0\xcd\x91";
        let pi5 = b"\0RPi5\x70\x41\xd0\0\x32\x2e\xf8\xed\x01\x00\x00\x0a";
        let serial = b"\0\x16\x4c\x6c\xb6\x16\x4c\x6c\xb6\x16\x4c\x6c\xb6\x16\x4c\x6c\xb6";
        let custom = b"\0site\x11\x31\xc0\0\x32\x2e\xf8\xed\x10\x45\x15\x5b";
        let mut rom = [0x44; 17];
        rom[0] = 0;
        for (id, mac, xid, want) in [
            (
                &pi4[..],
                PC,
                1,
                Some("Raspberry Pi 4B with 1 GB, serial 5b154510"),
            ),
            (
                reversed,
                PI,
                1,
                Some("Raspberry Pi 4B with 8 GB, serial 91cdf03d"),
            ),
            (
                pi5,
                PC,
                1,
                Some("Raspberry Pi 5 with 8 GB, serial 0a000001"),
            ),
            (&rom, PC, 1, Some("Raspberry Pi boot ROM")),
            (&rom, PI3, ROM_XID, Some("Raspberry Pi boot ROM")),
            (
                serial,
                PI3,
                ROM_XID,
                Some("Raspberry Pi boot ROM, serial b66c4c16"),
            ),
            (serial, PI, 7, Some("Raspberry Pi, serial b66c4c16")),
            (serial, PC, ROM_XID, None),
            (
                custom,
                PI,
                7,
                Some("Raspberry Pi 4B with 4 GB, serial 5b154510"),
            ),
            (custom, PC, 7, None),
            (b"", PI, 7, Some("Raspberry Pi")),
            (b"", PI3, ROM_XID, Some("Raspberry Pi boot ROM")),
            (b"", PC, ROM_XID, None),
            (&[0; 17], PC, 7, None),
        ] {
            assert_eq!(said(id, mac, xid).as_deref(), want, "{id:x?}");
        }
    }
}
