//! Partitions of an image: GPT ([`super::gpt`]) or MBR with its logical ones, numbered as Linux numbers them.

use anyhow::{Context, ensure};

use super::gpt;
use super::kind::{Kind, kind};
use super::le::{array, le32};
use super::window::Window;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Partition {
    /// From 1 on; logical ones from 5 on.
    pub(super) number: u32,
    /// Byte of the image.
    pub(super) start: u64,
    /// In bytes.
    pub(super) len: u64,
    /// Type, as GPT writes it.
    pub(super) guid: Option<[u8; 16]>,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// By number.
    pub(super) partitions: Vec<Partition>,
    /// What the user should know: one sentence each.
    pub(super) notes: Vec<String>,
}

/// What an MBR counts in: the disk's own sectors, of which it does not say how long they are.
const SECTORS: [u64; 2] = [512, 4096];
/// More logical partitions than Linux makes nodes for by default.
const MOST_LOGICAL: u32 = 60;

/// `None` if there is no table.
///
/// # Errors
/// It is damaged, or leaves the image.
pub(super) fn read(image: &Window) -> anyhow::Result<Option<Table>> {
    let Some(mbr) = image.array(0).ok().and_then(|sector| entries(&sector)) else {
        return Ok(None);
    };
    let table = if mbr.iter().any(|entry| entry.kind == PROTECTIVE) {
        gpt::read(image)?
    } else if mbr.iter().any(|entry| entry.kind != 0) {
        Table {
            partitions: in_sectors(image, &mbr)?,
            notes: Vec::new(),
        }
    } else {
        return Ok(None);
    };
    for Partition {
        number, start, len, ..
    } in &table.partitions
    {
        let there = image.len();
        let end = start.saturating_add(*len);
        ensure!(
            end <= there,
            "partition {number} ends at byte {end}, and the image has {there} bytes: copy or download it again"
        );
    }
    Ok(Some(table))
}

/// Stands for the GPT behind it.
const PROTECTIVE: u8 = 0xee;
/// They hold logical partitions: by cylinders, by sectors, Linux's own.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// In sectors.
#[derive(Debug, Clone, Copy)]
struct Entry {
    kind: u8,
    start: u32,
    len: u32,
}

/// `None` if this is no partition sector: the signature alone also stands on FAT, whose code is where entries would be.
fn entries(sector: &[u8; 512]) -> Option<[Entry; 4]> {
    if array(sector, 510)? != [0x55, 0xaa] {
        return None;
    }
    let mut entries = [Entry {
        kind: 0,
        start: 0,
        len: 0,
    }; 4];
    for (index, entry) in entries.iter_mut().enumerate() {
        let at = 446 + 16 * index;
        let [active, _, _, _, kind] = array(sector, at)?;
        let (start, len) = (le32(sector, at + 8)?, le32(sector, at + 12)?);
        if active & 0x7f != 0 {
            return None;
        }
        let kind = if len == 0 { 0 } else { kind };
        *entry = Entry { kind, start, len };
    }
    Some(entries)
}

/// With sectors of 512 bytes; or of 4096, if only then something known is in them.
fn in_sectors(image: &Window, primary: &[Entry; 4]) -> anyhow::Result<Vec<Partition>> {
    let [usual, large] = SECTORS.map(|sector| classic(image, primary, sector));
    let is_known = |partition: &Partition| {
        let window = image.part(partition.start, partition.len);
        window.is_some_and(|window| kind(&window) != Kind::Unknown)
    };
    let any_known = |partitions: &Vec<Partition>| partitions.iter().any(is_known);
    match large {
        Ok(large) if any_known(&large) && !usual.as_ref().is_ok_and(any_known) => Ok(large),
        _ => usual,
    }
}

fn classic(image: &Window, primary: &[Entry; 4], sector: u64) -> anyhow::Result<Vec<Partition>> {
    let mut partitions = Vec::new();
    for (number, entry) in (1..).zip(primary) {
        if entry.kind != 0 && !EXTENDED.contains(&entry.kind) {
            partitions.push(partition(number, 0, *entry, sector));
        }
    }
    let extended = primary.iter().find(|entry| EXTENDED.contains(&entry.kind));
    if let Some(extended) = extended {
        logical(image, u64::from(extended.start), sector, &mut partitions)?;
    }
    Ok(partitions)
}

/// A chain of sectors like the first, each with one partition, from its own place, and the next, from the first's.
fn logical(
    image: &Window,
    first: u64,
    sector_len: u64,
    partitions: &mut Vec<Partition>,
) -> anyhow::Result<()> {
    let mut at = first;
    let mut number = 5;
    for _ in 0..MOST_LOGICAL {
        let sector = image
            .array(at * sector_len)
            .with_context(|| format!("reading logical partition {number}"))?;
        let [entry, next, ..] = entries(&sector)
            .with_context(|| format!("logical partition {number} has no partition sector"))?;
        if entry.kind != 0 {
            partitions.push(partition(number, at, entry, sector_len));
            number += 1;
        }
        if !EXTENDED.contains(&next.kind) {
            return Ok(());
        }
        at = first + u64::from(next.start);
    }
    anyhow::bail!("there are more than {MOST_LOGICAL} logical partitions")
}

fn partition(number: u32, base: u64, entry: Entry, sector: u64) -> Partition {
    Partition {
        number,
        start: (base + u64::from(entry.start)) * sector,
        len: u64::from(entry.len) * sector,
        guid: None,
    }
}
