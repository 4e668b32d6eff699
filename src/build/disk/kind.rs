//! What is in a partition, by what it begins with.

use super::ext4::Ext4;
use super::fat::Fat;
use super::remedy::Remedy;
use super::window::Window;

/// A file system, or what else there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// ext2, ext3 or ext4.
    Ext,
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// A squashfs.
    Squashfs,
    /// It has a name, but is not read here.
    Other(&'static str, Remedy),
    /// Nothing that is known.
    Unknown,
}

/// Where, what, its name, and what helps: those first that would be taken for others. From `blkid`'s sources.
const MARKS: [(u64, &[u8], &str, Remedy); 19] = [
    (0, b"LUKS\xba\xbe", "LUKS (encrypted)", Remedy::Luks),
    (3, b"-FVE-FS-", "BitLocker (encrypted)", Remedy::None),
    (3, b"NTFS    ", "NTFS (Windows)", Remedy::None),
    (3, b"EXFAT   ", "exFAT", Remedy::None),
    (536, b"LVM2 001", "LVM", Remedy::Lvm),
    (4096, b"\xfc\x4e\x2b\xa9", "Linux RAID", Remedy::Raid),
    (0, b"XFSB", "xfs", Remedy::Mount),
    (0x1_0040, b"_BHRfS_M", "btrfs", Remedy::Mount),
    (
        0x1018,
        b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
        "bcachefs",
        Remedy::Mount,
    ),
    (0x400, b"\x10\x20\xf5\xf2", "f2fs", Remedy::Mount),
    (0x400, b"\xe2\xe1\xf5\xe0", "erofs", Remedy::Mount),
    (0, b"\x45\x3d\xcd\x28", "cramfs", Remedy::Mount),
    (0, b"-rom1fs-", "romfs", Remedy::Mount),
    (0x8001, b"CD001", "ISO 9660 (a CD)", Remedy::Mount),
    (4086, b"SWAPSPACE2", "swap space", Remedy::None),
    // With pages of 16 and 64 KiB.
    (16_374, b"SWAPSPACE2", "swap space", Remedy::None),
    (65_526, b"SWAPSPACE2", "swap space", Remedy::None),
    (0, b"QFI\xfb", "qcow2", Remedy::Convert),
    (0, b"KDMV", "vmdk", Remedy::Convert),
];

/// Looks.
pub(super) fn kind(window: &Window) -> Kind {
    let is_there = |at, mark: &[u8]| {
        window
            .bytes(at, mark.len())
            .is_ok_and(|found| found == mark)
    };
    let mut marks = MARKS.iter();
    if let Some((_, _, name, remedy)) = marks.find(|(at, mark, ..)| is_there(*at, mark)) {
        return Kind::Other(name, *remedy);
    }
    if is_there(0, b"hsqs") {
        Kind::Squashfs
    } else if Ext4::is_there(window) {
        Kind::Ext
    } else if Fat::is_there(window) {
        Kind::Fat
    } else {
        Kind::Unknown
    }
}
