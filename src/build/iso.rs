//! Images of CDs: where a live system's squashfs is in one.
//!
//! Reads folders of ISO 9660 (ECMA-119) with the names of Rock Ridge (IEEE P1282, `NM`), as Linux shows them. Everything is
//! counted: an image may be anybody's.

use std::collections::{BTreeSet, VecDeque};

/// Bytes of a logical sector.
const SECTOR: u64 = 2048;
/// Where the primary volume descriptor is, and its mark.
const DESCRIPTOR: u64 = 16 * SECTOR;
/// Folders, bytes of one, and files that are looked at.
const MOST_FOLDERS: usize = 4096;
const MOST_FOLDER_BYTES: u32 = 1 << 20;
const MOST_FILES: u32 = 100_000;
/// Folders below each other.
const MOST_DEPTH: usize = 16;

/// A squashfs in an image: its path there, and its bytes.
pub type Found = (String, u64);

/// All of them, the largest first. `read` fills a buffer from a byte on, or says that it cannot.
#[must_use]
pub fn squashfs(read: &dyn Fn(u64, &mut [u8]) -> bool) -> Vec<Found> {
    let mut found = Vec::new();
    let mut descriptor = [0; 190];
    if !read(DESCRIPTOR, &mut descriptor) || !descriptor.starts_with(b"\x01CD001") {
        return found;
    }
    let mut seen = BTreeSet::new();
    let mut files = 0;
    let mut folders = VecDeque::new();
    if let Some(root) = Record::parse(descriptor.get(156..).unwrap_or_default()) {
        folders.push_back((String::new(), root));
    }
    while let Some((path, folder)) = folders.pop_front() {
        if seen.len() >= MOST_FOLDERS || !seen.insert(folder.at) {
            continue;
        }
        let mut bytes = vec![0; folder.len.min(MOST_FOLDER_BYTES) as usize];
        if !read(u64::from(folder.at) * SECTOR, &mut bytes) {
            continue;
        }
        for record in records(&bytes) {
            files += 1;
            if files > MOST_FILES {
                return found;
            }
            let path = format!("{path}/{}", record.name);
            if record.is_folder {
                if path.matches('/').count() <= MOST_DEPTH {
                    folders.push_back((path, record));
                }
                continue;
            }
            let mut begin = [0; 4];
            if read(u64::from(record.at) * SECTOR, &mut begin) && begin == *b"hsqs" {
                found.push((path, u64::from(record.len)));
            }
        }
    }
    found.sort_by(|(a, more), (b, less)| less.cmp(more).then_with(|| a.cmp(b)));
    found
}

/// ECMA-119 §9.1, as far as it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    /// Sector.
    at: u32,
    /// Bytes.
    len: u32,
    is_folder: bool,
    name: String,
}

/// All of a folder but the first two, which are itself and the one above. None goes over a sector's end.
fn records(bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    for sector in bytes.chunks(usize::try_from(SECTOR).unwrap_or(usize::MAX)) {
        let mut rest = sector;
        while let Some(len) = rest.first().map(|len| usize::from(*len)) {
            let (true, Some((record, after))) = (len > 0, rest.split_at_checked(len)) else {
                break;
            };
            let record = Record::parse(record);
            records.extend(record.filter(|record| !matches!(&record.name[..], "\0" | "\u{1}")));
            rest = after;
        }
    }
    records
}

impl Record {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let bytes = bytes.get(at..)?.first_chunk()?;
            Some(u32::from_le_bytes(*bytes))
        };
        let name_len = usize::from(*bytes.get(32)?);
        let plain = bytes.get(33..33 + name_len)?;
        // What the system uses begins at an even place.
        let used = bytes.get(33 + name_len + usize::from(name_len % 2 == 0)..);
        Some(Self {
            at: word(2)?,
            len: word(10)?,
            is_folder: bytes.get(25)? & 2 != 0,
            name: rock_ridge(used.unwrap_or_default()).unwrap_or_else(|| as_linux(plain)),
        })
    }
}

/// The name that Rock Ridge gives, if it does: `NM`, length, version, flags, a part of the name.
fn rock_ridge(mut fields: &[u8]) -> Option<String> {
    let mut name = Vec::new();
    while let Some(len) = fields.get(2).map(|len| usize::from(*len)) {
        let (true, Some((field, after))) = (len >= 4, fields.split_at_checked(len)) else {
            break;
        };
        // With one of these flags it is the name of the folder itself, or of the one above.
        if field.starts_with(b"NM") && field.get(4).is_some_and(|flags| flags & 6 == 0) {
            name.extend(field.get(5..).unwrap_or_default());
        }
        fields = after;
    }
    let text = String::from_utf8_lossy(&name).into_owned();
    Some(text).filter(|name| !name.is_empty() && !name.contains('/'))
}

/// `isofs` shows `LIVE.SQU;1` as `live.squ` (mount option `map=normal`).
fn as_linux(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name).to_ascii_lowercase();
    let text = text.split(';').next().unwrap_or_default();
    text.strip_suffix('.').unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(name: &[u8], rock_ridge: &str, at: u32, len: u32, flags: u8) -> Vec<u8> {
        let mut bytes = vec![0; 33];
        bytes[2..6].copy_from_slice(&at.to_le_bytes());
        bytes[10..14].copy_from_slice(&len.to_le_bytes());
        bytes[25] = flags;
        bytes[32] = u8::try_from(name.len()).expect("short");
        bytes.extend(name);
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        if !rock_ridge.is_empty() {
            bytes.extend(*b"RR\x05\x01\x08");
            bytes.extend([
                b'N',
                b'M',
                5 + u8::try_from(rock_ridge.len()).expect("short"),
                1,
                0,
            ]);
            bytes.extend(rock_ridge.as_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        bytes[0] = u8::try_from(bytes.len()).expect("short");
        bytes
    }

    /// A CD with `/live` in sector 19, two squashfs in it, and one at the top without Rock Ridge.
    fn cd() -> Vec<u8> {
        let mut image = vec![0; 24 * 2048];
        let mut put = |sector: usize, at: usize, bytes: &[u8]| {
            let at = sector * 2048 + at;
            image[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(16, 0, b"\x01CD001\x01");
        put(16, 156, &record(b"\0", "", 18, 2048, 2));
        let dots = [
            record(b"\0", "", 18, 2048, 2),
            record(b"\x01", "", 18, 2048, 2),
        ]
        .concat();
        let top = [
            record(b"LIVE", "live", 19, 2048, 2),
            record(b"TOP.SQU;1", "", 20, 10, 0),
            record(b"README.;1", "", 23, 10, 0),
        ];
        put(18, 0, &[dots.clone(), top.concat()].concat());
        let live = [
            record(b"FILESYST.SQU;1", "filesystem.squashfs", 21, 9000, 0),
            record(b"SMALL.SQU;1", "small.squashfs", 22, 900, 0),
            // A folder in itself.
            record(b"LOOP", "loop", 19, 2048, 2),
        ];
        put(19, 0, &[dots, live.concat()].concat());
        for sector in 20..23 {
            put(sector, 0, b"hsqs");
        }
        image
    }

    fn look(image: &[u8]) -> Vec<Found> {
        squashfs(&|at, into| {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            match image.get(at..).and_then(|rest| rest.get(..into.len())) {
                Some(bytes) => into.copy_from_slice(bytes),
                None => return false,
            }
            true
        })
    }

    #[test]
    fn every_squashfs_is_found_and_called_as_linux_calls_it() {
        let want = [
            ("/live/filesystem.squashfs", 9000),
            ("/live/small.squashfs", 900),
            ("/top.squ", 10),
        ];
        let want: Vec<Found> = want.map(|(path, len)| (path.to_owned(), len)).into();
        assert_eq!(look(&cd()), want);
        assert_eq!(look(&[0; 40_000]), []);
    }

    proptest! {
        /// Whatever is written over it: it ends.
        #[test]
        fn a_damaged_cd_is_read_to_some_end(
            damage in proptest::collection::vec((16 * 2048_usize..20 * 2048, any::<u8>()), 0..40),
        ) {
            let mut image = cd();
            for (at, byte) in damage { image[at] = byte; }
            let _ = look(&image);
        }
    }
}
