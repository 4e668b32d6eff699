//! Reads FAT12, FAT16 and FAT32 with long names, whoever made them.
//!
//! After Microsoft's "FAT: General Overview of On-Disk Format" 1.03. A reader of its own: `fatfs` 0.3 wants to write as
//! well, and its arithmetic panics on numbers of clusters that are not there. What a mounted vfat of Linux shows is given:
//! short names in the case that Windows NT noted, and no volume label.

mod names;

use std::io::{self, Read};

use anyhow::{Context, bail, ensure};

use super::le::{array, le16, le32};
use super::window::Window;
pub(super) use names::{Entry, names};

/// A file system.
#[derive(Debug)]
pub(super) struct Fat {
    window: Window,
    shape: Shape,
}

/// Where things are; in bytes but for clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shape {
    bits: u32,
    fat_at: u64,
    root: Root,
    data_at: u64,
    cluster: u32,
    /// How many there are; the first has number 2.
    clusters: u32,
    len: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    Fixed { at: u64, len: u32 },
    Chain(u32),
}

/// A folder has no more entries (65536 of 32 bytes).
const MOST_FOLDER: u64 = 2 << 20;

impl Fat {
    /// Whether there is one.
    pub(super) fn is_there(window: &Window) -> bool {
        window
            .array(0)
            .is_ok_and(|sector| Shape::parse(&sector).is_some())
    }

    /// Reads its first sector.
    pub(super) fn open(window: Window) -> anyhow::Result<Self> {
        let sector = window.array(0).context("reading its first sector")?;
        let shape = Shape::parse(&sector).context("its first sector is damaged")?;
        let (len, there) = (shape.len, window.len());
        ensure!(
            len <= there,
            "it has {len} bytes, and {there} are there: copy or download the image again"
        );
        Ok(Self { window, shape })
    }

    /// In bytes.
    pub(super) fn len(&self) -> u64 {
        self.shape.len
    }

    /// What is in the root folder, and how many bytes it has.
    pub(super) fn root(&self) -> anyhow::Result<(Vec<Entry>, u64)> {
        match self.shape.root {
            Root::Fixed { at, len } => {
                let bytes = self.window.bytes(at, len as usize)?;
                Ok((names(&bytes)?, len.into()))
            }
            Root::Chain(cluster) => self.folder(cluster),
        }
    }

    /// What is in a folder that begins at this cluster, and how many bytes it has.
    pub(super) fn folder(&self, cluster: u32) -> anyhow::Result<(Vec<Entry>, u64)> {
        let mut bytes = Vec::new();
        let mut at = Some(cluster);
        let part = self.shape.cluster as usize;
        while let Some(cluster) = at {
            ensure!(
                (bytes.len() + part) as u64 <= MOST_FOLDER.max(part as u64),
                "the folder has more than {MOST_FOLDER} bytes"
            );
            bytes.extend(self.window.bytes(self.shape.place(cluster)?, part)?);
            at = self.next(cluster)?;
        }
        Ok((names(&bytes)?, bytes.len() as u64))
    }

    /// The bytes of a file.
    pub(super) fn content(&self, entry: &Entry) -> Content<'_> {
        Content {
            fat: self,
            cluster: entry.cluster,
            given: 0,
            left: u64::from(entry.size),
        }
    }

    /// The cluster after this one.
    fn next(&self, cluster: u32) -> anyhow::Result<Option<u32>> {
        let Shape { bits, fat_at, .. } = self.shape;
        let at = fat_at + u64::from(cluster) * u64::from(bits) / 8;
        let (next, end) = match bits {
            12 => {
                let both = u16::from_le_bytes(self.window.array(at)?);
                let next = if cluster.is_multiple_of(2) {
                    both & 0xfff
                } else {
                    both >> 4
                };
                (u32::from(next), 0xff8)
            }
            16 => (
                u32::from(u16::from_le_bytes(self.window.array(at)?)),
                0xfff8,
            ),
            _ => (
                u32::from_le_bytes(self.window.array(at)?) & 0x0fff_ffff,
                0x0fff_fff8,
            ),
        };
        Ok((next < end).then_some(next))
    }
}

impl Shape {
    /// `None` if this is no FAT, or none that makes sense.
    fn parse(sector: &[u8; 512]) -> Option<Self> {
        let (bytes, reserved) = (le16(sector, 11)?, le16(sector, 14)?);
        let [per_cluster] = array(sector, 13)?;
        let [fats] = array(sector, 16)?;
        let (root_entries, media) = (le16(sector, 17)?, array(sector, 21)?);
        let either = |short: u16, long: u32| if short == 0 { long } else { short.into() };
        let fat = either(le16(sector, 22)?, le32(sector, 36)?);
        let all = either(le16(sector, 19)?, le32(sector, 32)?);
        let signature: [u8; 2] = array(sector, 510)?;
        let sensible = signature == [0x55, 0xaa]
            && bytes.is_power_of_two()
            && (512..=4096).contains(&bytes)
            && per_cluster.is_power_of_two()
            && (1..=2).contains(&fats)
            && reserved > 0
            && fat > 0
            && (media == [0xf0] || media >= [0xf8]);
        if !sensible {
            return None;
        }
        let sector_len = u64::from(bytes);
        let root_len = u32::from(root_entries) * 32;
        let root_at = u64::from(reserved) + u64::from(fats) * u64::from(fat);
        let data_at = root_at + u64::from(root_len).div_ceil(sector_len);
        let data = u64::from(all).checked_sub(data_at)?;
        let clusters = u32::try_from(data / u64::from(per_cluster)).ok()?;
        let bits = match clusters {
            // The number of clusters is what decides; but FAT32 alone has no root of fixed length.
            _ if root_entries == 0 => 32,
            0..4085 => 12,
            4085..65525 => 16,
            _ => return None,
        };
        // Of numbers that the table has no room for, there is none.
        let room = u64::from(fat) * sector_len * 8 / u64::from(bits);
        let clusters = clusters.min(u32::try_from(room).ok()?.checked_sub(2)?);
        Some(Self {
            bits,
            fat_at: u64::from(reserved) * sector_len,
            root: if bits == 32 {
                Root::Chain(le32(sector, 44)?)
            } else {
                let at = root_at * sector_len;
                Root::Fixed { at, len: root_len }
            },
            data_at: data_at * sector_len,
            cluster: u32::from(bytes) * u32::from(per_cluster),
            clusters,
            len: u64::from(all) * sector_len,
        })
    }

    /// Where a cluster begins.
    fn place(&self, cluster: u32) -> anyhow::Result<u64> {
        let clusters = self.clusters;
        match cluster.checked_sub(2).filter(|index| *index < clusters) {
            Some(index) => Ok(self.data_at + u64::from(index) * u64::from(self.cluster)),
            None => bail!("cluster {cluster} is wanted, and there are {clusters} from 2 on"),
        }
    }
}

/// Reads one file from its start to its end.
#[derive(Debug)]
pub(super) struct Content<'a> {
    fat: &'a Fat,
    cluster: u32,
    /// Bytes of `cluster` that were given.
    given: u32,
    /// Bytes of the file that were not.
    left: u64,
}

impl Content<'_> {
    fn place(&mut self) -> anyhow::Result<u64> {
        if self.given == self.fat.shape.cluster {
            let next = self.fat.next(self.cluster)?;
            let left = self.left;
            self.cluster = next.with_context(|| format!("{left} bytes of it have no cluster"))?;
            self.given = 0;
        }
        Ok(self.fat.shape.place(self.cluster)? + u64::from(self.given))
    }
}

impl Read for Content<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() || self.left == 0 {
            return Ok(0);
        }
        let at = self
            .place()
            .map_err(|error| io::Error::other(format!("{error:#}")))?;
        let most = u64::from(self.fat.shape.cluster - self.given).min(self.left);
        let len = usize::try_from(most).unwrap_or(usize::MAX).min(into.len());
        self.fat.window.read(at, &mut into[..len])?;
        self.given += u32::try_from(len).unwrap_or(u32::MAX);
        self.left -= len as u64;
        Ok(len)
    }
}
