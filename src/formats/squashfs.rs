//! What a squashfs 4.0 says about itself, checked before any table of it is read.
//!
//! Takes the first 96 bytes and the file's length, and gives a [`Superblock`] whose offsets lie inside the file and in
//! order, and whose counts fit the space they claim: a parser that trusts it cannot be made to allocate without bound.
//! [`packed`] reads an image; [`tree`] reads its tables; [`layout`] tells where files lie; [`long_links`] helps the library over links it refuses.
//!
//! The layout is that of the kernel's `fs/squashfs/squashfs_fs.h`.

pub mod layout;
mod long_links;
pub mod packed;
pub mod tree;

use std::fmt;

/// Bytes of the superblock at the start of the file.
pub const SUPERBLOCK_BYTES: usize = 96;

/// A metadata block holds at most this much, uncompressed.
pub(crate) const METADATA_BYTES: u64 = 8192;

/// In the superblock: this table does not exist.
pub(crate) const NO_TABLE: u64 = u64::MAX;

const MAGIC: [u8; 4] = *b"hsqs";
const MAGIC_BIG_ENDIAN: [u8; 4] = *b"sqsh";
const FLAG_EXPORTABLE: u16 = 0x80;
const FLAG_OPTIONS: u16 = 0x400;
/// A header of 16 bytes and a link count: a pipe or a socket.
pub(crate) const SMALLEST_INODE: u64 = 20;
const FRAGMENT_BYTES: u64 = 16;
const ID_BYTES: u64 = 4;

/// How an image's blocks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compressor {
    /// zlib.
    Gzip,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
}

impl fmt::Display for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        })
    }
}

/// A checked superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// Files, folders and the rest, the root included.
    pub inodes: u32,
    /// Bytes of a data block: a power of two from 4 KiB to 1 MiB.
    pub block_size: u32,
    /// How blocks are compressed.
    pub compressor: Compressor,
    /// Bytes of the file system; what follows in the file is padding.
    pub bytes_used: u64,
    pub(crate) inode_table: u64,
    pub(crate) directory_table: u64,
    /// Where the table is whose first block ends the directory table.
    pub(crate) after_directories: u64,
}

/// Why a file is not a squashfs that workers can boot from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadImage {
    /// Shorter than a superblock.
    #[error("it is no squashfs: {0} bytes, and the superblock alone has {SUPERBLOCK_BYTES}")]
    Short(u64),
    /// Another kind of file.
    #[error("it is no squashfs: it begins with {}, a squashfs with \"hsqs\"", .0.escape_ascii())]
    Magic([u8; 4]),
    /// Made on or for a big-endian machine, before squashfs 4.0.
    #[error("it is a big-endian squashfs of a version before 4.0; make it anew")]
    BigEndian,
    /// Not 4.0.
    #[error("it is a squashfs {major}.{minor}; 4.0 is the version that kernels mount")]
    Version {
        /// As found.
        major: u16,
        /// As found.
        minor: u16,
    },
    /// Not one of those the format has or we can read.
    #[error(
        "it is compressed with {0}; gzip, xz and zstd can be published: mksquashfs ROOT image.sqfs -comp zstd makes an image that the kernels of all distributions read (Raspberry Pi's read no lz4)"
    )]
    Compressor(String),
    /// Not a power of two between 4 KiB and 1 MiB, or the two spellings of it disagree.
    #[error(
        "its block size is {size} (2 to the power of {log} in the second place); a power of two from 4096 to 1048576 is wanted, twice the same"
    )]
    BlockSize {
        /// As found.
        size: u32,
        /// Its binary logarithm, as found.
        log: u16,
    },
    /// The file ends before the file system does.
    #[error("it is truncated: its superblock says {} bytes, the file has {}", grouped(*.used), grouped(*.file))]
    Truncated {
        /// What the superblock says.
        used: u64,
        /// What there is.
        file: u64,
    },
    /// A table begins where it cannot.
    #[error("its {table} is at byte {}, but it must lie between {} and {}", grouped(*.at), grouped(*.from), grouped(*.to))]
    Table {
        /// Which one.
        table: &'static str,
        /// Where the superblock says it is.
        at: u64,
        /// Lowest possible place.
        from: u64,
        /// First impossible place.
        to: u64,
    },
    /// More entries than there is room for.
    #[error("it claims {} {what}, but there is room for {} at most", grouped(*.claimed), grouped(*.room))]
    Count {
        /// Entries of what.
        what: &'static str,
        /// As the superblock says.
        claimed: u64,
        /// As the space says.
        room: u64,
    },
    /// The blocks of a table do not end where the next table begins, or one is too long.
    #[error("its {table} is broken at byte {}", grouped(*.at))]
    Metadata {
        /// Which one.
        table: &'static str,
        /// Where in the file.
        at: u64,
    },
    /// More than is read into memory.
    #[error("its {what} would take {} bytes to read; {} are the limit", grouped(*.bytes), grouped(*.limit))]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How much it is.
        bytes: u64,
        /// How much is accepted.
        limit: u64,
    },
    /// The tables contradict themselves or each other.
    #[error("its tables are damaged: {0}")]
    Tables(String),
    /// It may be sound: the disk fails, or the file became shorter. The text names the file.
    #[error("{0}")]
    Unreadable(String),
}

impl Superblock {
    /// Checks the beginning of a file of `file_bytes` bytes.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(head: &[u8], file_bytes: u64) -> Result<Self, BadImage> {
        let Some(head) = head.first_chunk::<SUPERBLOCK_BYTES>() else {
            return Err(BadImage::Short(file_bytes));
        };
        match [head[0], head[1], head[2], head[3]] {
            MAGIC => {}
            MAGIC_BIG_ENDIAN => return Err(BadImage::BigEndian),
            other => return Err(BadImage::Magic(other)),
        }
        let (major, minor) = (u16_at(head, 28), u16_at(head, 30));
        if (major, minor) != (4, 0) {
            return Err(BadImage::Version { major, minor });
        }
        let (size, log) = (u32_at(head, 12), u16_at(head, 22));
        if !(12..=20).contains(&log) || size != 1 << log {
            return Err(BadImage::BlockSize { size, log });
        }
        let compressor = compressor(u16_at(head, 20))?;
        let used = u64_at(head, 40);
        if used > file_bytes {
            return Err(BadImage::Truncated {
                used,
                file: file_bytes,
            });
        }
        let tables = Tables::read(head, used)?;
        tables.check_counts(head)?;
        Ok(Self {
            inodes: u32_at(head, 4),
            block_size: size,
            compressor,
            bytes_used: used,
            inode_table: tables.inode,
            directory_table: tables.directory,
            after_directories: tables.after_directories(),
        })
    }
}

/// Where the tables are. Those of fragments, exports and ids are lists of pointers to blocks which stand before them.
struct Tables {
    inode: u64,
    directory: u64,
    fragment: Option<u64>,
    export: Option<u64>,
    id: u64,
    /// Where the list of ids must have ended.
    id_end: u64,
}

impl Tables {
    fn read(head: &[u8; SUPERBLOCK_BYTES], used: u64) -> Result<Self, BadImage> {
        let optional = |exists: bool, offset: usize| {
            Some(u64_at(head, offset)).filter(|&at| exists && at != NO_TABLE)
        };
        let xattr = optional(true, 56);
        let tables = Self {
            inode: u64_at(head, 64),
            directory: u64_at(head, 72),
            fragment: optional(u32_at(head, 16) > 0, 80),
            export: optional(u16_at(head, 24) & FLAG_EXPORTABLE != 0, 88),
            id: u64_at(head, 48),
            id_end: xattr.unwrap_or(used),
        };
        let in_order = [
            ("inode table", Some(tables.inode)),
            ("directory table", Some(tables.directory)),
            ("fragment table", tables.fragment),
            ("export table", tables.export),
            ("id table", Some(tables.id)),
            ("xattr table", xattr),
        ];
        let mut from = SUPERBLOCK_BYTES as u64;
        for (table, at) in in_order {
            let Some(at) = at else { continue };
            if at < from || at >= used {
                return Err(BadImage::Table {
                    table,
                    at,
                    from,
                    to: used,
                });
            }
            from = at;
        }
        Ok(tables)
    }

    const fn after_directories(&self) -> u64 {
        match (self.fragment, self.export) {
            (Some(at), _) | (None, Some(at)) => at,
            (None, None) => self.id,
        }
    }

    fn check_counts(&self, head: &[u8; SUPERBLOCK_BYTES]) -> Result<(), BadImage> {
        // The smallest block is a length and one byte, and grows to 8 KiB when it is uncompressed.
        let blocks = (self.directory - self.inode).div_ceil(3);
        let room = blocks * METADATA_BYTES / SMALLEST_INODE;
        count("inodes", u32_at(head, 4).into(), room)?;
        if let Some(at) = self.fragment {
            let end = self.export.unwrap_or(self.id);
            let room = entries(end - at, FRAGMENT_BYTES);
            count("fragments", u32_at(head, 16).into(), room)?;
        }
        let room = entries(self.id_end - self.id, ID_BYTES);
        count("user and group ids", u16_at(head, 26).into(), room)
    }
}

/// How many entries a list of pointers of `span` bytes can lead to.
const fn entries(span: u64, entry_bytes: u64) -> u64 {
    (span / 8).saturating_mul(METADATA_BYTES / entry_bytes)
}

fn count(what: &'static str, claimed: u64, room: u64) -> Result<(), BadImage> {
    if claimed > room {
        Err(BadImage::Count {
            what,
            claimed,
            room,
        })
    } else {
        Ok(())
    }
}

fn compressor(number: u16) -> Result<Compressor, BadImage> {
    let unreadable = match number {
        1 => return Ok(Compressor::Gzip),
        4 => return Ok(Compressor::Xz),
        6 => return Ok(Compressor::Zstd),
        2 => "lzma".to_owned(),
        3 => "lzo".to_owned(),
        5 => "lz4".to_owned(),
        number => format!("an unknown method (number {number})"),
    };
    Err(BadImage::Compressor(unreadable))
}

/// Options of xz in a metadata block: its length, dictionary size, filters.
const XZ_OPTIONS_BYTES: usize = 10;

/// `executable_filters` of the options that follow the superblock of an image packed with xz (a block that is stored as it
/// is: dictionary size, filters); 0 without such.
fn xz_filters(superblock: &Superblock, image: &[u8]) -> u32 {
    const STORED: u16 = 0x8008;
    let options = || {
        let head = image.first_chunk::<SUPERBLOCK_BYTES>()?;
        let has_options = u16_at(head, 24) & FLAG_OPTIONS != 0;
        let block = image
            .get(SUPERBLOCK_BYTES..)?
            .first_chunk::<XZ_OPTIONS_BYTES>()?;
        let [a, b, .., w, x, y, z] = *block;
        (has_options && u16::from_le_bytes([a, b]) == STORED)
            .then_some(u32::from_le_bytes([w, x, y, z]))
    };
    match superblock.compressor {
        Compressor::Xz => options().unwrap_or(0),
        Compressor::Gzip | Compressor::Zstd => 0,
    }
}

/// Digits in groups of three, as file sizes are read by people.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn u16_at(head: &[u8; SUPERBLOCK_BYTES], at: usize) -> u16 {
    u16::from_le_bytes([head[at], head[at + 1]])
}

fn u32_at(head: &[u8; SUPERBLOCK_BYTES], at: usize) -> u32 {
    u32::from(u16_at(head, at)) | u32::from(u16_at(head, at + 2)) << 16
}

fn u64_at(head: &[u8; SUPERBLOCK_BYTES], at: usize) -> u64 {
    u64::from(u32_at(head, at)) | u64::from(u32_at(head, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A superblock as mksquashfs 4.6 writes it for a 205 MB image of Debian 12.
    fn good() -> [u8; SUPERBLOCK_BYTES] {
        let mut head = [0; SUPERBLOCK_BYTES];
        head[..4].copy_from_slice(b"hsqs");
        let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
        put(4, &15_796_u32.to_le_bytes());
        put(12, &131_072_u32.to_le_bytes());
        put(16, &2536_u32.to_le_bytes());
        put(20, &6_u16.to_le_bytes());
        put(22, &17_u16.to_le_bytes());
        put(26, &7_u16.to_le_bytes());
        put(28, &4_u16.to_le_bytes());
        for (at, offset) in [
            (40, 205_586_148_u64),
            (48, 205_586_100),
            (56, 205_586_124),
            (64, 205_200_000),
            (72, 205_350_000),
            (80, 205_580_000),
            (88, NO_TABLE),
        ] {
            put(at, &offset.to_le_bytes());
        }
        head
    }

    fn with(at: usize, bytes: &[u8]) -> [u8; SUPERBLOCK_BYTES] {
        let mut head = good();
        head[at..at + bytes.len()].copy_from_slice(bytes);
        head
    }

    #[test]
    fn a_good_one_is_read() {
        let superblock = Superblock::parse(&good(), 205_586_432).expect("good");
        assert_eq!(superblock.inodes, 15_796);
        assert_eq!(superblock.compressor, Compressor::Zstd);
        assert_eq!(superblock.block_size, 131_072);
        assert_eq!(superblock.after_directories, 205_580_000);
    }

    #[test]
    fn each_lie_is_one_sentence() {
        let far = 1_u64 << 40;
        for (head, want) in [
            (
                with(0, b"\x7fELF"),
                "it is no squashfs: it begins with \\x7fELF, a squashfs with \"hsqs\"",
            ),
            (
                with(0, b"sqsh"),
                "it is a big-endian squashfs of a version before 4.0; make it anew",
            ),
            (
                with(28, &[3]),
                "it is a squashfs 3.0; 4.0 is the version that kernels mount",
            ),
            (
                with(20, &[5]),
                "it is compressed with lz4; gzip, xz and zstd can be published: mksquashfs ROOT image.sqfs -comp zstd makes an \
                 image that the kernels of all distributions read (Raspberry Pi's read no lz4)",
            ),
            (
                with(22, &[16]),
                "its block size is 131072 (2 to the power of 16 in the second place); a power of two from 4096 to 1048576 is wanted, twice the same",
            ),
            (
                with(40, &far.to_le_bytes()),
                "it is truncated: its superblock says 1 099 511 627 776 bytes, the file has 205 586 432",
            ),
            (
                with(64, &far.to_le_bytes()),
                "its inode table is at byte 1 099 511 627 776, but it must lie between 96 and 205 586 148",
            ),
            (
                with(72, &96_u64.to_le_bytes()),
                "its directory table is at byte 96, but it must lie between 205 200 000 and 205 586 148",
            ),
            (
                with(4, &u32::MAX.to_le_bytes()),
                "it claims 4 294 967 295 inodes, but there is room for 20 480 000 at most",
            ),
            (
                with(16, &u32::MAX.to_le_bytes()),
                "it claims 4 294 967 295 fragments, but there is room for 390 144 at most",
            ),
            (
                with(26, &u16::MAX.to_le_bytes()),
                "it claims 65 535 user and group ids, but there is room for 6 144 at most",
            ),
        ] {
            let error = Superblock::parse(&head, 205_586_432).expect_err(want);
            assert_eq!(error.to_string(), want);
        }
        assert_eq!(Superblock::parse(&[0; 95], 95), Err(BadImage::Short(95)));
    }

    #[test]
    fn no_flipped_bit_panics() {
        for bit in 0..SUPERBLOCK_BYTES * 8 {
            let mut head = good();
            head[bit / 8] ^= 1 << (bit % 8);
            let _ = Superblock::parse(&head, 205_586_432);
        }
    }
}
