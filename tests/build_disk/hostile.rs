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
    let options = Options::default();
    read(File::open(image)?, image, options, &mut sink, &mut |_| ()).map(drop)
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
    let zeros = |at: usize| bytes[at..].iter().take(16).all(|byte| *byte == 0);
    let blocks = (0..bytes.len()).step_by(512);
    let used = blocks.filter(|at| bytes[*at..][..512] != [0; 512]);
    for at in used.flat_map(|at| at..at + 512) {
        let byte = &bytes[at];
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if !(seed >> 16).is_multiple_of(step) || zeros(at) {
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
    let kinds: [&[&str]; 4] = [
        &[
            "-t",
            "ext4",
            "-b",
            "1024",
            "-I",
            "256",
            "-O",
            "inline_data,^metadata_csum,^has_journal",
            "-N",
            "32",
        ],
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
        let damaged = each_byte_damaged(&whole, 23);
        assert!(damaged > 300, "{damaged}");
    }
}

/// What is said of a small root after debugfs did something to it.
fn spoiled(options: &[&str], commands: &[&str]) -> String {
    let work = tempfile::tempdir().expect("a folder");
    let tree = work.path().join("root");
    root(&tree);
    let image = work.path().join("root.ext");
    ext(
        &image,
        &tree,
        2,
        &[&["-t", "ext4", "-b", "1024"], options].concat(),
    );
    for command in commands {
        run("debugfs", &["-w", "-R", command, text(&image)]);
    }
    let said = taken(&image).expect_err("it is refused");
    format!("{said:#}").replace(text(&image), "IMAGE")
}

#[test]
fn malice_is_named() {
    let begin = "reading disk image IMAGE: its file system: reading";
    assert_eq!(
        spoiled(&[], &["link usr etc/usr"]),
        format!("{begin} usr: the folder is in another place as well")
    );
    assert_eq!(
        spoiled(&[], &["set_inode_field sparse size 0x40000000000"]),
        format!(
            "{begin} sparse: 4398046511104 bytes are more than a worker takes, holes counted (274877906944 for all \
             files): remove or shorten it"
        )
    );
    assert_eq!(
        spoiled(&[], &["set_inode_field long size 1000000000"]),
        format!("{begin} long: it has 1000000000 bytes, and at most 4096 are allowed")
    );
    assert_eq!(
        spoiled(&[], &["set_inode_field usr size 1073741824"]),
        format!("{begin} usr: the folder has 1073741824 bytes, and at most 67108864 are allowed")
    );
    assert_eq!(
        spoiled(&[], &["set_inode_field usr/bin/tool mode 0"]),
        format!("{begin} usr/bin/other: it is of kind 0, which there is not")
    );
    assert_eq!(
        spoiled(
            &["-O", "inline_data", "-I", "256"],
            &["set_inode_field etc/os-release size 5000"]
        ),
        format!(
            "{begin} etc/os-release: it has 5000 bytes in its inode (inline_data), and 60 are there"
        )
    );
}

#[test]
fn a_flipped_bit_is_found_by_its_checksum() {
    let work = tempfile::tempdir().expect("a folder");
    let tree = work.path().join("root");
    root(&tree);
    let image = work.path().join("root.ext");
    ext(&image, &tree, 2, &["-t", "ext4", "-b", "1024"]);
    let bytes = fs::read(&image).expect("the image");
    let file = File::options().write(true).open(&image).expect("the image");
    // The name of a file in its folder.
    let name = bytes
        .windows(9)
        .position(|bytes| bytes == b"os-releas")
        .expect("a name");
    file.write_all_at(b"x", name as u64).expect("damage");
    let said = format!("{:#}", taken(&image).expect_err("it is refused"));
    assert!(
        said.contains("the folder is damaged: the checksum in it is "),
        "{said}"
    );
}

#[test]
fn a_loop_of_clusters_ends() {
    let work = tempfile::tempdir().expect("a folder");
    let boot = work.path().join("boot");
    write(&boot, "config.txt", b"");
    for index in 0..40 {
        write(&boot, &format!("overlays/{index}"), b"");
    }
    let part = work.path().join("boot.fat");
    fat(&part, &boot, 8, 16);
    let tree = work.path().join("root");
    root(&tree);
    let root = work.path().join("root.ext");
    ext(&root, &tree, 1, &["-t", "ext2", "-b", "1024", "-N", "32"]);
    let image = work.path().join("disk.img");
    let script = "label: dos\nstart=1MiB, size=8MiB, type=c\nstart=9MiB, size=1MiB\n";
    disk(&image, 10, script, &[(1, &part), (9, &root)]);
    taken(&image).expect("it is whole");

    // The folder has clusters 2, 3 and so on, each of one sector; the last leads back to the first.
    let bytes = fs::read(&part).expect("the image");
    let fat_at = 512 * usize::from(u16::from_le_bytes([bytes[14], bytes[15]]));
    let value = |cluster: usize| {
        let at = fat_at + 2 * cluster;
        u16::from_le_bytes([bytes[at], bytes[at + 1]])
    };
    let last = (2..)
        .find(|cluster| value(*cluster) >= 0xfff8)
        .expect("an end");
    assert!(last > 2);
    let file = File::options().write(true).open(&image).expect("the image");
    file.write_all_at(&[2, 0], (1 << 20) + (fat_at + 2 * last) as u64)
        .expect("damage");
    let said = format!("{:#}", taken(&image).expect_err("it is refused"));
    assert!(
        said.ends_with("reading boot/firmware/overlays: the folder has more than 2097152 bytes"),
        "{said}"
    );
}
