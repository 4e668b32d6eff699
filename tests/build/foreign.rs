//! Files that are no source, and sources that are too large: each is called by its name, with the command that helps.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::archives::{Layout, tar};
use crate::{Bench, content, paths, shell};

/// A place, and the bytes there.
type Mark<'a> = (u64, &'a [u8]);

/// A file with marks.
fn marked(bench: &Bench, marks: &[Mark<'_>]) -> PathBuf {
    let path = bench.path("source");
    let file = fs::File::create(&path).expect("made");
    file.set_len(1 << 20).expect("set");
    for (at, mark) in marks {
        file.write_all_at(mark, *at).expect("written");
    }
    path
}

#[test]
fn each_is_named_with_one_command() {
    let bench = Bench::new();
    let cases: [(&[Mark<'_>], &str, &str); 17] = [
        (
            &[(0, b"070701")],
            "a cpio archive",
            "bsdtar -cf root.tar @'SOURCE'",
        ),
        (
            &[(0, b"\xc7\x71")],
            "a cpio archive",
            "bsdtar -cf root.tar @'SOURCE'",
        ),
        (
            &[(0, b"\x04\x22\x4d\x18")],
            "packed with lz4",
            "lz4 -d 'SOURCE' plain",
        ),
        (
            &[(0, b"QFI\xfb")],
            "qcow2",
            "qemu-img convert -O raw 'SOURCE' disk.img",
        ),
        (
            &[(0, b"KDMV")],
            "vmdk",
            "qemu-img convert -O raw 'SOURCE' disk.img",
        ),
        (
            &[(64, b"\x7f\x10\xda\xbe")],
            "vdi",
            "qemu-img convert -O raw 'SOURCE' disk.img",
        ),
        (
            &[(0, b"vhdxfile")],
            "vhdx",
            "qemu-img convert -O raw 'SOURCE' disk.img",
        ),
        (
            &[(0, b"conectix")],
            "vhd",
            "qemu-img convert -O raw 'SOURCE' disk.img",
        ),
        (
            &[(1024, b"\xe2\xe1\xf5\xe0")],
            "it is erofs, which is not read here",
            "sudo mount -o ro,loop 'SOURCE' /mnt",
        ),
        (
            &[(0x1_0040, b"_BHRfS_M")],
            "btrfs",
            "sudo mount -o ro,loop 'SOURCE' /mnt",
        ),
        (
            &[(0, b"XFSB")],
            "xfs",
            "sudo mount -o ro,loop 'SOURCE' /mnt",
        ),
        (
            &[(0, b"LUKS\xba\xbe")],
            "LUKS",
            "--read-only 'SOURCE')\" root",
        ),
        (
            &[(536, b"LVM2 001")],
            "LVM",
            "--read-only 'SOURCE' && sudo vgchange",
        ),
        (
            &[(4096, b"\xfc\x4e\x2b\xa9")],
            "Linux RAID",
            "mdadm --assemble",
        ),
        (
            &[(0, b"LZIP")],
            "packed with lzip",
            "lzip --decompress --keep 'SOURCE'",
        ),
        (&[(0, b"Rar!\x1a\x07")], "a rar archive", "bsdtar"),
        (
            &[(0, b"\xed\xab\xee\xdb")],
            "a package",
            "not a root file system",
        ),
    ];
    for (marks, name, command) in cases {
        let source = marked(&bench, marks);
        let said = bench.refused(&source, &[]);
        let said = said.replace(source.to_str().expect("text"), "SOURCE");
        assert!(said.contains(name) && said.contains(command), "{said}");
        // The same in xz.
        let packed = bench.packed(&source, &["xz", "-0"]);
        let said = bench.refused(&packed, &[]);
        assert!(said.contains(name), "{said}");
        fs::remove_file(packed).expect("removed");
    }
}

/// ECMA-119 §8.4 and §9.1, by hand: a folder `/live` with a squashfs in it.
fn cd() -> Vec<u8> {
    let mut image = vec![0; 24 * 2048];
    let record = |name: &[u8], at: u32, flags: u8| {
        let mut bytes = vec![0; 33];
        bytes[2..6].copy_from_slice(&at.to_le_bytes());
        bytes[10..14].copy_from_slice(&2048_u32.to_le_bytes());
        bytes[25] = flags;
        bytes[32] = u8::try_from(name.len()).expect("short");
        bytes.extend(name);
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        bytes[0] = u8::try_from(bytes.len()).expect("short");
        bytes
    };
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(16 * 2048, b"\x01CD001\x01");
    put(16 * 2048 + 156, &record(b"\0", 18, 2));
    put(18 * 2048, &record(b"LIVE", 19, 2));
    put(19 * 2048, &record(b"FILESYSTEM.SQUASHFS;1", 20, 0));
    put(20 * 2048, b"hsqs");
    image
}

#[test]
fn of_a_live_cd_it_is_said_where_its_root_is() {
    let bench = Bench::new();
    // As a plain CD, and as one that also starts from a stick: with a boot sector and a partition.
    let mut image = cd();
    for hybrid in [false, true] {
        if hybrid {
            image[450] = 0x17;
            image[458] = 24;
            image[510..512].copy_from_slice(b"\x55\xaa");
        }
        let source = bench.write("live.iso", &image);
        let said = bench.refused(&source, &[]);
        let said = said.replace(source.to_str().expect("text"), "SOURCE");
        let want = "it is a CD of a live system (ISO 9660), whose root is the squashfs /live/filesystem.squashfs in it. Build from \
            that: `sudo mount -o ro,loop 'SOURCE' /mnt && ramboot build /mnt/live/filesystem.squashfs -o worker.sqfs`";
        assert!(said.contains(want), "{said}");
    }
    image[20 * 2048] = b'x';
    let said = bench.refused(&bench.write("installer.iso", &image), &[]);
    assert!(said.contains("without a squashfs in it"), "{said}");
}

#[test]
fn a_hole_of_a_terabyte_is_refused_before_anything_is_packed() {
    let bench = Bench::new();
    bench.write("root/usr/bin/sh", "sh");
    let hole = bench.write("root/var/log/lastlog", "");
    let file = fs::File::options().write(true).open(hole).expect("opened");
    file.set_len(1 << 40).expect("a hole");
    let said = bench.refused(&bench.path("root"), &[]);
    let want = "its files have 1099511627778 bytes, holes counted, and an image takes at most 274877906944. The largest is \
        /var/log/lastlog with 1099511627776 bytes: remove it, or empty it with `truncate --size 0`";
    assert!(said.contains(want), "{said}");
    // The same in the other sources.
    shell(
        "tar --sparse -C \"$1\" -cf \"$1.tar\" .",
        &bench.path("root"),
    );
    let layer = fs::read(bench.path("root.tar")).expect("read");
    let mut layout = Layout::default();
    layout.image("amd64", &[layer]);
    for source in [bench.path("root.tar"), layout.folder(&bench.path("oci"))] {
        let said = bench.refused(&source, &[]);
        assert!(said.contains("274877906944 bytes of files"), "{said}");
    }
}

#[test]
fn holes_stay_holes() {
    let bench = Bench::new();
    bench.write("root/usr/bin/sh", "sh");
    let hole = bench.write("root/hole", "begin");
    let file = fs::File::options().write(true).open(hole).expect("opened");
    file.set_len(100 << 20).expect("a hole");
    file.write_all_at(b"end", (100 << 20) - 3).expect("written");
    let (image, _) = bench.build(&bench.path("root"), "image.sqfs", &[]);
    assert!(fs::metadata(&image).expect("there").len() < 10_000);
    let script = "mkdir \"$1.d\" && unsquashfs -q -n -f -d \"$1.d\" \"$1\" >/dev/null && du -k \"$1.d/hole\" | cut -f1";
    let kilobytes: u64 = shell(script, &image).trim().parse().expect("a number");
    assert!(kilobytes < 2048, "{kilobytes}");
    let end = content(&image, "hole | tail -c 3");
    assert_eq!(end, "end");
}

/// OpenWrt's and Yocto's images: through `build` as a whole.
#[test]
fn a_disk_whose_root_is_a_squashfs_comes_over() {
    let bench = Bench::new();
    let source = tar(|archive| {
        archive.xattr("user.x", b"y");
        archive.folder("./", 0o711, (5, 6));
        archive.file("usr/a", 0o644, (1, 2), b"a");
    });
    let (root, _) = bench.build(&bench.write("source", source), "root.sqfs", &[]);
    let script = "PATH=/usr/sbin:/sbin:$PATH
        truncate -s 4M \"$1.img\"
        printf 'label: dos\\nstart=2048, size=4096, type=83\\n' | sfdisk -q \"$1.img\"
        dd if=\"$1\" of=\"$1.img\" bs=1M seek=1 conv=notrunc status=none";
    shell(script, &root);
    let before = bench.names();
    let (image, said) = bench.build(&bench.path("root.sqfs.img"), "image.sqfs", &[]);
    assert!(said.contains("made of a disk image with"), "{said}");
    assert_eq!(paths(&image), ["usr", "usr/a"]);
    assert!(fs::read(&image).expect("read") == fs::read(&root).expect("read"));
    fs::remove_file(image).expect("removed");
    assert_eq!(bench.names(), before);
}
