//! The GUID partition table: UEFI 2.10 §5.3.

use anyhow::{Context, bail, ensure};

use super::crc::crc32;
use super::le::{array, le32, le64};
use super::table::{Partition, Table};
use super::window::Window;

/// Bytes of a sector: nearly all disks have the first.
const SECTORS: [u64; 2] = [512, 4096];
/// Tables have 128 entries; Linux makes nodes for 256.
const MOST_ENTRIES: u32 = 1024;

/// Reads the first table, or the one at the end of the disk if that is damaged.
pub(super) fn read(image: &Window) -> anyhow::Result<Table> {
    let mut first = None;
    for sector in SECTORS {
        match header(image, sector, sector) {
            Ok(partitions) => {
                return Ok(Table {
                    partitions,
                    notes: Vec::new(),
                });
            }
            Err(error) => first = first.or(Some(error)),
        }
    }
    let error = first.context("there is no GPT")?;
    for sector in SECTORS {
        let last = image.len().saturating_sub(sector);
        if let Ok(partitions) = header(image, last, sector) {
            let note =
                format!("the GPT at its start is damaged ({error:#}); the one at its end is taken");
            return Ok(Table {
                partitions,
                notes: vec![note],
            });
        }
    }
    Err(error.context(
        "its GPT is damaged, and at its end there is no second one: copy or download it again",
    ))
}

/// The partitions that the header at a byte says.
fn header(image: &Window, at: u64, sector: u64) -> anyhow::Result<Vec<Partition>> {
    let bytes: [u8; 512] = image.array(at).context("reading the header")?;
    let cut = "the header is cut short";
    if !bytes.starts_with(b"EFI PART") {
        bail!("no header at byte {at}");
    }
    let len = le32(&bytes, 12).context(cut)? as usize;
    let mut zeroed = bytes
        .get(..len)
        .filter(|_| len >= 92)
        .context(cut)?
        .to_vec();
    if let Some(field) = zeroed.get_mut(16..20) {
        field.fill(0);
    }
    check("header", le32(&bytes, 16).context(cut)?, crc32(&zeroed))?;

    let entries_at = le64(&bytes, 72).and_then(|block| block.checked_mul(sector));
    let entries_at = entries_at.context("the entries are too far away")?;
    let (count, size) = (
        le32(&bytes, 80).context(cut)?,
        le32(&bytes, 84).context(cut)?,
    );
    ensure!(
        count <= MOST_ENTRIES && (128..=4096).contains(&size),
        "there are {count} entries of {size} bytes"
    );
    let entries = image
        .bytes(entries_at, (count * size) as usize)
        .context("reading the entries")?;
    check("entries", le32(&bytes, 88).context(cut)?, crc32(&entries))?;

    let mut partitions = Vec::new();
    for (number, entry) in (1..).zip(entries.chunks_exact(size as usize)) {
        let guid: [u8; 16] = array(entry, 0).context(cut)?;
        if guid == [0; 16] {
            continue;
        }
        let (first, last) = (le64(entry, 32).context(cut)?, le64(entry, 40).context(cut)?);
        let blocks = last.checked_sub(first).and_then(|more| more.checked_add(1));
        let len = blocks.and_then(|blocks| blocks.checked_mul(sector));
        let start = first.checked_mul(sector);
        let place = || format!("partition {number} is from block {first} to block {last}");
        partitions.push(Partition {
            number,
            start: start.with_context(place)?,
            len: len.with_context(place)?,
            guid: Some(guid),
        });
    }
    Ok(partitions)
}

fn check(what: &str, kept: u32, found: u32) -> anyhow::Result<()> {
    ensure!(
        kept == found,
        "the checksum of its {what} is {kept:08x}, that of the bytes {found:08x}"
    );
    Ok(())
}

/// A GUID's bytes as they are on disk: the first three fields are little-endian.
pub(super) const fn guid(text: u128) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = text.to_be_bytes();
    let [i, j, k, l, m, n, o, p] = rest;
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}
