//! Names in a folder of FAT: short ones, and long ones in pieces before them.

use anyhow::{Context, bail, ensure};
use time::{Date, Month, Time, UtcDateTime};

use crate::build::disk::le::{array, le16, le32};

/// A file or a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As Linux shows it.
    pub(crate) name: String,
    /// Not a file.
    pub(crate) is_folder: bool,
    /// Seconds since 1970. FAT notes the time of day where it was written; with Linux that is UTC unless told otherwise.
    pub(crate) mtime: u64,
    /// The first; 0 of an empty file.
    pub(crate) cluster: u32,
    /// Bytes of content.
    pub(crate) size: u32,
}

/// Of each entry.
const LEN: usize = 32;
/// Attributes: a label, a folder, and all four of a piece of a long name.
const LABEL: u8 = 0x08;
const FOLDER: u8 = 0x10;
const LONG: u8 = 0x0f;

/// All but `.`, `..`, the label and what was deleted.
///
/// # Errors
/// A name that no Linux could show.
pub(crate) fn names(bytes: &[u8]) -> anyhow::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut long = Long::default();
    for raw in bytes.chunks_exact(LEN) {
        let cut = "an entry is cut short";
        let [first] = array(raw, 0).context(cut)?;
        let [attributes, case] = array(raw, 11).context(cut)?;
        match first {
            0 => break,
            0xe5 => {
                long = Long::default();
                continue;
            }
            _ => {}
        }
        if attributes & 0x3f == LONG {
            long.add(raw).context(cut)?;
            continue;
        }
        let short: [u8; 11] = array(raw, 0).context(cut)?;
        let pieces = std::mem::take(&mut long);
        if attributes & LABEL != 0 || short.starts_with(b".") {
            continue;
        }
        let name = match pieces.name(&short) {
            Some(name) => name,
            None => short_name(short, case)?,
        };
        let bad = name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']);
        ensure!(!bad, "the folder has the name {name:?}");
        let high = le16(raw, 20).context(cut)?;
        let low = le16(raw, 26).context(cut)?;
        entries.push(Entry {
            name,
            is_folder: attributes & FOLDER != 0,
            mtime: mtime(le16(raw, 24).context(cut)?, le16(raw, 22).context(cut)?),
            cluster: u32::from(high) << 16 | u32::from(low),
            size: le32(raw, 28).context(cut)?,
        });
    }
    Ok(entries)
}

/// Pieces of a long name, the last first.
#[derive(Debug, Default)]
struct Long {
    /// Which piece came last; 0 for none.
    number: u8,
    /// Of the short name that they belong to.
    sum: u8,
    units: Vec<u16>,
}

impl Long {
    fn add(&mut self, raw: &[u8]) -> Option<()> {
        let [order] = array(raw, 0)?;
        let [sum] = array(raw, 13)?;
        let number = order & 0x3f;
        let last = order & 0x40 != 0;
        // Names have 255 units, 13 in each piece.
        if !(1..=20).contains(&number) || (!last && (number + 1 != self.number || sum != self.sum))
        {
            *self = Self::default();
            return Some(());
        }
        if last {
            self.units.clear();
        }
        let places = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
        let mut units = Vec::with_capacity(places.len() + self.units.len());
        for at in places {
            units.push(le16(raw, at)?);
        }
        units.append(&mut self.units);
        *self = Self { number, sum, units };
        Some(())
    }

    /// `None` if they do not belong to this short name.
    fn name(self, short: &[u8; 11]) -> Option<String> {
        let sum = short
            .iter()
            .fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        if self.number != 1 || self.sum != sum {
            return None;
        }
        let units = self.units.into_iter().take_while(|unit| *unit != 0);
        char::decode_utf16(units)
            .collect::<Result<String, _>>()
            .ok()
    }
}

/// Eight and three, filled with spaces; Windows NT notes in two bits that they were written in small letters.
fn short_name(short: [u8; 11], case: u8) -> anyhow::Result<String> {
    let (stem, ending) = short.split_at(8);
    let part = |bytes: &[u8], small: bool| {
        let text = bytes.trim_ascii_end();
        let text = str::from_utf8(text).ok().filter(|text| text.is_ascii())?;
        Some(if small {
            text.to_ascii_lowercase()
        } else {
            text.to_owned()
        })
    };
    let (Some(stem), Some(ending)) = (part(stem, case & 0x08 != 0), part(ending, case & 0x10 != 0))
    else {
        bail!(
            "the folder has the short name {:?}, which is not ASCII",
            String::from_utf8_lossy(&short)
        );
    };
    Ok(if ending.is_empty() {
        stem
    } else {
        format!("{stem}.{ending}")
    })
}

/// Days since 1980 in fields, and pairs of seconds; what is no date is 1970.
fn mtime(date: u16, time: u16) -> u64 {
    let byte = |value: u16| u8::try_from(value).unwrap_or(u8::MAX);
    let year = 1980 + i32::from(date >> 9);
    let month = Month::try_from(byte(date >> 5 & 0xf)).ok();
    let day = month.and_then(|month| Date::from_calendar_date(year, month, byte(date & 0x1f)).ok());
    let second = byte((time & 0x1f) * 2);
    let of_day = Time::from_hms(byte(time >> 11), byte(time >> 5 & 0x3f), second).ok();
    let (Some(day), Some(of_day)) = (day, of_day) else {
        return 0;
    };
    u64::try_from(UtcDateTime::new(day, of_day).unix_timestamp()).unwrap_or(0)
}
