//! Images that somebody made, or that fell from a shelf: an error or something, but no panic, no loop, no flood.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ramboot::build::disk::{Options, read};
use ramboot::build::entry::{Entry, Sink};
use tempfile::TempDir;

use crate::images::{CAPABILITY, disk, ext, fat, noise, run, text, write};

/// Reads all content, and no more than a small image can have.
struct Bounded {
    entries: u32,
    bytes: u64,
}

impl Sink for Bounded {
    fn entry(&mut self, _: &Entry, content: &mut dyn Read) -> anyhow::Result<()> {
        self.entries += 1;
        assert!(self.entries < 10_000, "an image of a dozen files");
        // A size is believed: what a flipped bit adds is a hole.
        self.bytes += io::copy(&mut content.take(1 << 20), &mut io::sink())?;
        Ok(())
    }
}

fn taken(image: &Path) -> anyhow::Result<()> {
    let mut sink = Bounded {
        entries: 0,
        bytes: 0,
    };
    let options = Options { partition: None };
    read(image, options, &mut sink, &mut |_| ()).map(drop)
}

fn root(tree: &Path) {
    write(tree, "etc/os-release", b"ID=small\n");
    write(tree, "usr/bin/tool", &noise(14_000));
    fs::hard_link(tree.join("usr/bin/tool"), tree.join("usr/bin/other")).expect("a second name");
    std::os::unix::fs::symlink("/a".repeat(40), tree.join("long")).expect("a link");
    let sparse = File::create(tree.join("sparse")).expect("a file");
    for index in 0..6 {
        sparse
            .write_all_at(b"x", index * 20_000)
            .expect("an extent");
    }
}

fn attributes(image: &Path, work: &TempDir) {
    let capability = work.path().join("capability");
    fs::write(&capability, CAPABILITY).expect("a file");
    let large = work.path().join("large");
    fs::write(&large, noise(300)).expect("a file");
    let set = |name: &str, value: &Path| {
        let command = format!("ea_set /usr/bin/tool -f {} {name}", text(value));
        run("debugfs", &["-w", "-R", &command, text(image)]);
    };
    set("user.large", &large);
    set("security.capability", &capability);
}

/// In each run of bytes that are not all zero, each byte is damaged in three ways, alone.
fn each_byte_damaged(image: &Path, step: usize) -> usize {
    taken(image).expect("it is whole");
    let bytes = fs::read(image).expect("the image");
    let file = File::options().write(true).open(image).expect("the image");
    let mut damaged = 0;
    let mut seed = 1_usize;
    for (at, byte) in bytes.iter().enumerate() {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let near = &bytes[at.saturating_sub(8)..(at + 8).min(bytes.len())];
        if near.iter().all(|byte| *byte == 0) || !(seed >> 16).is_multiple_of(step) {
            continue;
        }
        for worse in [
            byte ^ 0xff,
            byte ^ 1 << (seed >> 8 & 7),
            byte.wrapping_add(1),
        ] {
            file.write_all_at(&[worse], at as u64).expect("damage");
            drop(taken(image));
            damaged += 1;
        }
        file.write_all_at(&[*byte], at as u64).expect("repair");
    }
    damaged
}

#[test]
fn damaged_ext_gives_no_panic() {
    // Without checksums every byte counts; small blocks give deep trees.
    let kinds: [&[&str]; 3] = [
        &[
            "-t",
            "ext4",
            "-b",
            "1024",
            "-O",
            "^metadata_csum,^has_journal",
            "-N",
            "32",
        ],
        &["-t", "ext2", "-b", "1024", "-I", "128", "-N", "32"],
        &["-t", "ext4", "-b", "1024", "-O", "^has_journal", "-N", "32"],
    ];
    for options in kinds {
        let work = tempfile::tempdir().expect("a folder");
        let tree = work.path().join("root");
        root(&tree);
        let image = work.path().join("root.ext");
        ext(&image, &tree, 1, options);
        attributes(&image, &work);
        let damaged = each_byte_damaged(&image, 5);
        assert!(damaged > 1000, "{damaged}");
    }
}

#[test]
fn damaged_fat_gives_no_panic() {
    for bits in [12, 16, 32] {
        let work = tempfile::tempdir().expect("a folder");
        let tree = work.path().join("root");
        root(&tree);
        let boot = work.path().join("boot");
        write(&boot, "config.txt", b"arm_64bit=1\n");
        write(&boot, "overlays/a rather long name.dtbo", &noise(1500));
        write(&boot, "overlays/deep/er/file", b"x");
        let root = work.path().join("root.ext");
        ext(&root, &tree, 1, &["-t", "ext2", "-b", "1024", "-N", "32"]);
        let image = work.path().join("boot.fat");
        let megabytes = if bits == 32 { 34 } else { 4 };
        fat(&image, &boot, megabytes, bits);
        let whole = work.path().join("disk.img");
        let size = megabytes + 3;
        let script =
            format!("label: gpt\nstart=1MiB, size=1MiB\nstart=2MiB, size={megabytes}MiB, type=U\n");
        disk(&whole, size, &script, &[(1, &root), (2, &image)]);
        // What is before the content: tables of partitions, the first sector, both FATs and folders.
        let damaged = each_byte_damaged(&whole, 11);
        assert!(damaged > 500, "{damaged}");
    }
}
