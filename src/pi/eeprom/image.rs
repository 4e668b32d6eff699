//! An image of a bootloader's EEPROM (`pieeprom.bin`): which files are in it, and the same image with another
//! `bootconf.txt`. Pure.
//!
//! A chain of sections, each a magic number and a length (big-endian), at multiples of eight bytes, until zeros or ones. Files
//! that may be changed have a 4 KiB sector of their own, where a padding section fills what they leave. The last 4 KiB are the
//! bootloader's. Since 2025 a BCM2712's has 64 KiB that stay and two partitions; a published image has all in the first one.
//! Source: `rpi-eeprom-config` of raspberrypi/rpi-eeprom, and ports of it by Raspberry Pi Ltd. What it writes is written
//! here. It does not check lengths; here one that runs out, or a file that would reach the next section, is refused.

use std::ops::Range;

use super::chip::Chip;

const MAGIC: u32 = 0x55aa_f00f;
const MAGIC_MASK: u32 = 0xffff_f00f;
const PADDING: u32 = 0x55aa_feef;
const FILE: u32 = 0x55aa_f11f;
/// Magic number and length.
const HEAD: usize = 8;
/// Of a file, behind the head.
const NAME: usize = 12;
/// From the beginning of a file's section to its content: head, name, and four bytes that are left as they are.
const CONTENT: usize = HEAD + NAME + 4;
/// What the flash erases at once.
const SECTOR: usize = 4096;
/// So that a padding section of eight bytes and more always fits behind a file in its sector.
const MAX_CONF: usize = SECTOR - CONTENT - 2 * HEAD;
/// The settings, and their signature.
const CONF: &str = "bootconf.txt";
const SIGNATURE: &str = "bootconf.sig";
/// When an image was made to be an update, where there are partitions.
const TIME: &str = "updatetime";
/// Of a BCM2712's EEPROM: what stays, and the first of two partitions, which is where the settings are.
const FIRST_PARTITION: Range<usize> = 64 * 1024..(64 + 988) * 1024;

/// An image whose chain of sections is whole, and that has one `bootconf.txt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    bytes: Vec<u8>,
    chip: Chip,
    sections: Vec<Section>,
    /// Which of them is `bootconf.txt`.
    conf: usize,
}

/// One link of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Section {
    magic: u32,
    offset: usize,
    /// As the head says it: without the head.
    len: usize,
    /// Of a file.
    name: Option<String>,
}

/// A file in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File<'a> {
    /// Up to twelve characters.
    pub name: &'a str,
    /// Where its section begins.
    pub offset: usize,
    /// What is in it.
    pub content: &'a [u8],
}

/// Why bytes are no such image, or cannot get such a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadImage {
    /// Neither EEPROM has that size.
    #[error(
        "it has {0} bytes; an image of a bootloader's EEPROM has 524288 (BCM2711: Pi 4B, 400, CM4) or 2097152 (BCM2712: Pi 5, 500, CM5)"
    )]
    Size(usize),
    /// The chain breaks.
    #[error(
        "at offset {offset:#x} stands {found:#010x} and not 0x55aaf..f, with which a section begins: it is no image, or damaged"
    )]
    Magic {
        /// From the beginning.
        offset: usize,
        /// What stands there.
        found: u32,
    },
    /// A section is longer than what is left.
    #[error(
        "the section at offset {offset:#x} says it has {len} bytes, and {left} are left: it is no image, or damaged"
    )]
    Length {
        /// From the beginning.
        offset: usize,
        /// What its head says.
        len: usize,
        /// Bytes behind its head.
        left: usize,
    },
    /// A file without room for its name.
    #[error(
        "the file at offset {offset:#x} says it has {len} bytes, and its name alone has 16: it is no image, or damaged"
    )]
    Name {
        /// From the beginning.
        offset: usize,
        /// What its head says.
        len: usize,
    },
    /// There are no settings to change.
    #[error("there is no bootconf.txt among its {0} sections")]
    NoConf(usize),
    /// It would not be known which one counts.
    #[error(
        "there are two bootconf.txt in it, at offsets {0:#x} and {1:#x}: which one counts is not known"
    )]
    TwoConfs(usize, usize),
    /// With other settings the signature is wrong.
    #[error(
        "its bootconf.txt is signed (bootconf.sig has an RSA signature), and a board with secure boot takes no other: sign the new one with rpi-eeprom-digest and rpi-eeprom-config"
    )]
    Signed,
    /// It does not fit.
    #[error("the settings have {bytes} bytes, and {room} are possible in this image")]
    TooLong {
        /// Of the new settings.
        bytes: usize,
        /// How many there may be.
        room: usize,
    },
}

impl Image {
    /// Reads the chain.
    ///
    /// # Errors
    /// The bytes are no image, or one whose settings cannot be told.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BadImage> {
        let chip = Chip::ALL.into_iter().find(|c| c.bytes() == bytes.len());
        let chip = chip.ok_or(BadImage::Size(bytes.len()))?;
        let sections = sections(&bytes)?;
        let room = room(chip);
        let here = |section: &Section| section.is(CONF) && room.contains(&section.offset);
        let mut confs = (0..).zip(&sections).filter(|(_, section)| here(section));
        let conf = match (confs.next(), confs.next()) {
            (Some((conf, _)), None) => conf,
            (Some((_, first)), Some((_, second))) => {
                return Err(BadImage::TwoConfs(first.offset, second.offset));
            }
            (None, _) => return Err(BadImage::NoConf(sections.len())),
        };
        Ok(Self {
            bytes,
            chip,
            sections,
            conf,
        })
    }

    /// All of it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Which boards it is for.
    #[must_use]
    pub const fn chip(&self) -> Chip {
        self.chip
    }

    /// The settings as they stand in it.
    #[must_use]
    pub fn conf(&self) -> &[u8] {
        self.content(&self.sections[self.conf])
    }

    /// The files that may be changed, in order.
    pub fn files(&self) -> impl Iterator<Item = File<'_>> {
        self.sections.iter().filter_map(|section| {
            Some(File {
                name: section.name.as_deref()?,
                offset: section.offset,
                content: self.content(section),
            })
        })
    }

    /// Whether the settings have an RSA signature. Without secure boot the file is there, too, and empty.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        let mut signatures = self.files().filter(|file| file.name == SIGNATURE);
        signatures.any(|file| file.content.windows(8).any(|text| text == b"rsa2048:"))
    }

    /// When it was made to be an update (seconds since 1970), if somebody wrote that into it; a bootloader does, when it
    /// updates itself.
    #[must_use]
    pub fn updated(&self) -> Option<u32> {
        let mut files = self.files();
        let file = files.find(|file| file.name == TIME);
        let place = file.map(|file| file.content.first_chunk::<8>());
        let [a, b, c, d, e, f, g, h] = *place.unwrap_or_else(|| self.bytes.last_chunk::<8>())?;
        let complement = u32::from_le_bytes([a, b, c, d]);
        let time = u32::from_le_bytes([e, f, g, h]);
        (time == !complement).then_some(time)
    }

    /// The same image with other settings. All else is as it was, the time of the update among it.
    ///
    /// # Errors
    /// The settings are signed, or too long.
    pub fn with_conf(&self, conf: &[u8]) -> Result<Self, BadImage> {
        if self.is_signed() {
            return Err(BadImage::Signed);
        }
        let section = &self.sections[self.conf];
        let behind = &self.sections[self.conf + 1..];
        let next = behind.iter().find(|section| section.magic != PADDING);
        let border = next.map_or_else(|| room(self.chip).end, |next| next.offset);
        let start = section.offset + CONTENT;
        let room = border.checked_sub(start + 2 * HEAD);
        if room.is_none_or(|room| conf.len() > room.min(MAX_CONF)) {
            return Err(BadImage::TooLong {
                bytes: conf.len(),
                room: room.unwrap_or(0).min(MAX_CONF),
            });
        }
        let mut bytes = self.bytes.clone();
        put(&mut bytes, section.offset + 4, NAME + 4 + conf.len());
        let end = start + conf.len();
        bytes[start..end].copy_from_slice(conf);
        let erased = if behind.is_empty() {
            // By convention there is no padding at the end of the chain: ones end it.
            let old_end = section.offset + HEAD + section.len;
            let last = end.max(old_end) + 2 * HEAD;
            last.next_multiple_of(SECTOR).min(border)
        } else {
            border
        };
        bytes[end..erased].fill(0xff);
        if !behind.is_empty() {
            let padding = end.next_multiple_of(HEAD);
            bytes[padding..padding + 4].copy_from_slice(&PADDING.to_be_bytes());
            put(&mut bytes, padding + 4, border - padding - HEAD);
        }
        Self::parse(bytes)
    }

    /// Nothing of a section is outside of the image.
    fn content(&self, section: &Section) -> &[u8] {
        &self.bytes[section.offset + CONTENT..section.offset + HEAD + section.len]
    }
}

impl Section {
    fn is(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name)
    }
}

/// Where settings can be: not in the bootloader's own sector, nor outside of the first partition.
const fn room(chip: Chip) -> Range<usize> {
    match chip {
        Chip::Bcm2711 => 0..chip.bytes() - SECTOR,
        Chip::Bcm2712 => FIRST_PARTITION,
    }
}

fn sections(bytes: &[u8]) -> Result<Vec<Section>, BadImage> {
    let mut sections = Vec::new();
    let mut offset = 0;
    while let (Some(magic), Some(len)) = (word(bytes, offset), word(bytes, offset + 4)) {
        let end = matches!(magic, 0 | u32::MAX);
        // An image that begins with its end is an erased flash.
        if end && offset > 0 {
            break;
        }
        if magic & MAGIC_MASK != MAGIC {
            return Err(BadImage::Magic {
                offset,
                found: magic,
            });
        }
        let left = bytes.len() - offset - HEAD;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > left {
            return Err(BadImage::Length { offset, len, left });
        }
        let mut name = None;
        if magic == FILE {
            if len < CONTENT - HEAD {
                return Err(BadImage::Name { offset, len });
            }
            let bytes = &bytes[offset + HEAD..offset + HEAD + NAME];
            name = Some(String::from_utf8_lossy(bytes).replace('\0', ""));
        }
        sections.push(Section {
            magic,
            offset,
            len,
            name,
        });
        offset = (offset + HEAD + len).next_multiple_of(8);
    }
    Ok(sections)
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

/// A length, which is one of something inside an image: at most 2 MiB.
fn put(bytes: &mut [u8], offset: usize, len: usize) {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    bytes[offset..offset + 4].copy_from_slice(&len.to_be_bytes());
}

#[cfg(test)]
pub(crate) mod tests;
