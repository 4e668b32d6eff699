//! The root folder keeps what it has: mode, owner, time and extended attributes, such as its SELinux label.

use std::fs;
use std::path::Path;
use std::process::Command;

use ramboot::build::entry::Meta;
use ramboot::build::tar_read::Reader;

use crate::archives::{File, Layout, entries, tar};
use crate::{Bench, content, listing, paths};

const LABEL: &[u8] = b"system_u:object_r:root_t:s0\0";

/// As squashfs-tools-ng reads it.
fn root(image: &Path) -> Meta {
    let mut command = Command::new("sqfs2tar");
    command.args(["--root-becomes", "."]).arg(image);
    let output = command.output().expect("runs");
    let mut reader = Reader::new(&output.stdout[..]);
    let item = reader.next_item().expect("read").expect("the root");
    assert!(matches!(&item.name[..], b"./" | b"."), "{item:?}");
    item.meta
}

fn source(archive: &mut File, files: usize) {
    archive.xattr("security.selinux", LABEL);
    archive.xattr("user.x", b"y");
    archive.folder("./", 0o1711, (5, 6));
    archive.file("usr/bin/a", 0o755, (0, 0), b"a");
    archive.hard("usr/bin/b", "usr/bin/a");
    archive.link("bin", "usr/bin");
    for number in 0..files {
        archive.file(&format!("usr/many/{number}"), 0o644, (0, 0), b"x");
    }
}

#[test]
fn the_root_keeps_owner_mode_and_attributes() {
    let bench = Bench::new();
    // Tables of one block of metadata, of several, and where the last inode goes from one into the next.
    for files in [0, 240, 241, 242, 243, 244, 245, 246, 247, 248, 249, 3000] {
        let bytes = tar(|archive| source(archive, files));
        let (image, said) = bench.build(&bench.write("source", bytes), "image.sqfs", &[]);
        assert!(!said.contains("left out"), "{said}");
        let meta = root(&image);
        assert_eq!((meta.mode, meta.uid, meta.gid), (0o1711, 5, 6), "{files}");
        assert_eq!(meta.mtime, 1_700_000_000);
        assert_eq!(meta.xattrs.len(), 2);
        assert_eq!(meta.xattrs[&b"security.selinux"[..]], LABEL);
        let left = paths(&image);
        assert_eq!(left.len(), files + usize::from(files > 0) + 5, "{files}");
        assert!(left.iter().all(|path| !path.starts_with("r/")), "{left:?}");
        assert_eq!(content(&image, "usr/bin/b"), "a");
        assert!(listing(&image).iter().any(|line| line.starts_with('h')));
        if files < 241 {
            // An image of an image is that image.
            let (again, _) = bench.build(&image, "again.sqfs", &[]);
            assert!(fs::read(&image).expect("read") == fs::read(&again).expect("read"));
        }
    }
}

#[test]
fn it_does_so_from_every_kind_of_source() {
    let bench = Bench::new();
    let layer = tar(|archive| source(archive, 1));
    let mut layout = Layout::default();
    layout.image("amd64", &[layer]);
    let mut sources = vec![layout.folder(&bench.path("oci"))];

    bench.write("root/usr/bin/a", "a");
    bench.write("root/etc/os-release", "ID=x\n");
    let folder = bench.path("root");
    let nothing = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(&folder, "user.x", b"y", nothing).is_ok() {
        sources.push(folder.clone());
    }
    let script = "PATH=/usr/sbin:/sbin:$PATH
        mke2fs -q -t ext4 -d \"$1\" \"$1.img\" 8M
        debugfs -w -R 'ea_set / user.x y' \"$1.img\" 2>/dev/null";
    crate::shell(script, &folder);
    sources.push(bench.path("root.img"));
    for source in sources {
        let (image, said) = bench.build(&source, "image.sqfs", &[]);
        let meta = root(&image);
        assert_eq!(
            meta.xattrs.get(&b"user.x"[..]),
            Some(&b"y".to_vec()),
            "{said}"
        );
        assert!(paths(&image).contains(&"usr/bin/a".to_owned()));
    }
}

/// The reader of `ramboot publish` takes such an image, too.
#[test]
fn such_an_image_can_be_published() {
    let bench = Bench::new();
    let bytes = tar(|archive| source(archive, 300));
    let (image, _) = bench.build(&bench.write("source", bytes), "image.sqfs", &[]);
    let bytes = fs::read(&image).expect("read");
    let tree = ramboot::formats::squashfs::tree::Tree::open(bytes.into()).expect("opened");
    assert_eq!(tree.size("usr/many/299"), Some(1));
    assert_eq!(tree.list(""), ["bin", "usr"]);
    assert_eq!(entries(&image).len(), 306);
}
