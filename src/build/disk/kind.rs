//! What is in a partition, by what it begins with.

use super::ext4::Ext4;
use super::fat::Fat;
use super::window::Window;

/// A file system, or what else there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// ext2, ext3 or ext4.
    Ext,
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// It has a name, but is not read here.
    Other(&'static str),
    /// Nothing that is known.
    Unknown,
}

/// Where and what: those first that would be taken for others. From `blkid`'s sources.
const MARKS: [(u64, &[u8], &str); 17] = [
    (0, b"LUKS\xba\xbe", "LUKS (encrypted)"),
    (3, b"-FVE-FS-", "BitLocker (encrypted)"),
    (3, b"NTFS    ", "NTFS (Windows)"),
    (3, b"EXFAT   ", "exFAT"),
    (536, b"LVM2 001", "LVM"),
    (4096, b"\xfc\x4e\x2b\xa9", "Linux RAID"),
    (0, b"XFSB", "xfs"),
    (0x1_0040, b"_BHRfS_M", "btrfs"),
    (
        0x1018,
        b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
        "bcachefs",
    ),
    (0x400, b"\x10\x20\xf5\xf2", "f2fs"),
    (0x400, b"\xe2\xe1\xf5\xe0", "erofs"),
    (0, b"hsqs", "squashfs"),
    (0x8001, b"CD001", "ISO 9660 (a CD)"),
    (4086, b"SWAPSPACE2", "swap space"),
    // With pages of 16 and 64 KiB.
    (16_374, b"SWAPSPACE2", "swap space"),
    (65_526, b"SWAPSPACE2", "swap space"),
    (
        0,
        b"QFI\xfb",
        "qcow2 (`qemu-img convert -O raw` makes a plain image of it)",
    ),
];

/// Looks.
pub(super) fn kind(window: &Window) -> Kind {
    let is_there = |at, mark: &[u8]| {
        window
            .bytes(at, mark.len())
            .is_ok_and(|found| found == mark)
    };
    if let Some((_, _, name)) = MARKS.iter().find(|(at, mark, _)| is_there(*at, mark)) {
        return Kind::Other(name);
    }
    if Ext4::is_there(window) {
        Kind::Ext
    } else if Fat::is_there(window) {
        Kind::Fat
    } else {
        Kind::Unknown
    }
}
