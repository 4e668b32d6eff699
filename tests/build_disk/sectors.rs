//! Disks with sectors of 4 096 bytes. sfdisk makes tables for a file with 512 only, so these are written here.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::images::{run, text, write};
use crate::{Work, refused, taken};

const SECTOR: u64 = 4096;
const MIB: u64 = 1 << 20;

/// A partition's type, start and length, in MiB.
type Part = (u8, u64, u64);

/// The sector with four entries (UEFI 2.10 §5.2.1), counted in `SECTOR` from `base`.
fn boot_record(parts: &[Part], base: u64) -> [u8; 512] {
    let mut sector = [0; 512];
    for (entry, (kind, start, len)) in sector[446..510].chunks_mut(16).zip(parts) {
        entry[4] = *kind;
        let start = u32::try_from((start * MIB - base) / SECTOR).expect("small");
        let len = u32::try_from(len * MIB / SECTOR).expect("small");
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..16].copy_from_slice(&len.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn image(work: &Work, records: &[(u64, [u8; 512])], parts: &[(u64, &Path)]) -> PathBuf {
    let image = work.path("disk.img");
    let file = fs::File::create(&image).expect("an image");
    file.set_len(64 * MIB).expect("its length");
    for (at, record) in records {
        file.write_all_at(record, *at).expect("written");
    }
    for (start, part) in parts {
        let bytes = fs::read(part).expect("a partition");
        file.write_all_at(&bytes, start * MIB).expect("room");
    }
    image
}

fn firmware(work: &Work) -> PathBuf {
    let files = work.path("bootfs");
    write(&files, "config.txt", b"arm_64bit=1\n");
    let boot = work.path("boot.fat");
    let file = fs::File::create(&boot).expect("an image");
    file.set_len(40 * MIB).expect("its length");
    run(
        "mkfs.vfat",
        &["-S", "4096", "-s", "1", "-F", "16", text(&boot)],
    );
    let config = files.join("config.txt");
    run("mcopy", &["-i", text(&boot), text(&config), "::"]);
    boot
}

#[test]
fn an_mbr_of_a_disk_with_large_sectors_is_read() {
    let work = Work::new();
    let root = work.small("root.ext4", &["-t", "ext4"]);
    let boot = firmware(&work);
    let record = boot_record(&[(0xc, 1, 40), (0x83, 41, 4)], 0);
    let image = image(&work, &[(0, record)], &[(1, &boot), (41, &root)]);
    let (kept, notes) = taken(&image);
    assert_eq!(kept.get("etc/os-release").2, b"ID=small\n");
    assert_eq!(kept.get("boot/firmware/config.txt").2, b"arm_64bit=1\n");
    assert_eq!(notes, [""; 0]);
}

#[test]
fn logical_partitions_of_large_sectors_are_read() {
    let work = Work::new();
    let root = work.small("root.ext4", &["-t", "ext4"]);
    let first = boot_record(&[(0x5, 2, 20)], 0);
    let logical = boot_record(&[(0x83, 3, 4)], 2 * MIB);
    let image = image(&work, &[(0, first), (2 * MIB, logical)], &[(3, &root)]);
    assert!(taken(&image).0.has("etc/os-release"));
}

/// Nothing known with either: what is said counts in 512, as nearly all disks do.
#[test]
fn without_a_file_system_sectors_are_small() {
    let work = Work::new();
    let record = boot_record(&[(0x83, 8, 8)], 0);
    let image = image(&work, &[(0, record)], &[]);
    let said = refused(&image);
    assert!(said.contains("partition 1 (nothing known, 2 MB)"), "{said}");
}

/// And a disk of 512 stays one, whatever lies where 4 096 would lead.
#[test]
fn small_sectors_that_make_sense_are_taken() {
    let work = Work::new();
    let root = work.small("root.ext4", &["-t", "ext4"]);
    write(&work.root, "etc/other", b"");
    let other = work.small("other.ext4", &["-t", "ext4"]);
    let record = boot_record(&[(0x83, 8, 32)], 0);
    let image = image(&work, &[(0, record)], &[(1, &root), (8, &other)]);
    assert!(!taken(&image).0.has("etc/other"));
}

/// UEFI 2.10 §5.3.2: the header is in the second sector, however long that is.
#[test]
fn a_gpt_of_a_disk_with_large_sectors_is_read() {
    let work = Work::new();
    let root = work.small("root.ext4", &["-t", "ext4"]);
    let crc = |bytes: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum().to_le_bytes()
    };
    let mut entries = vec![0; 128 * 128];
    entries[..16].fill(7);
    entries[32..40].copy_from_slice(&(MIB / SECTOR).to_le_bytes());
    entries[40..48].copy_from_slice(&(5 * MIB / SECTOR - 1).to_le_bytes());
    let mut header = [0; 512];
    header[..8].copy_from_slice(b"EFI PART");
    header[10] = 1;
    header[12] = 92;
    header[72] = 2;
    header[80] = 128;
    header[84] = 128;
    header[88..92].copy_from_slice(&crc(&entries));
    let sum = crc(&header[..92]);
    header[16..20].copy_from_slice(&sum);
    let protective = boot_record(&[(0xee, 0, 64)], 0);
    let image = image(&work, &[(0, protective), (SECTOR, header)], &[(1, &root)]);
    let file = fs::File::options().write(true).open(&image).expect("it");
    file.write_all_at(&entries, 2 * SECTOR).expect("written");
    assert!(taken(&image).0.has("etc/os-release"));
}
