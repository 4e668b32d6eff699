//! What an archive says and an image cannot keep is named; what it can is kept.

use std::fs;

use crate::archives::{Layout, entries, tar};
use crate::{Bench, paths, shell};

#[test]
fn labels_are_kept_and_acls_are_named() {
    let bench = Bench::new();
    let label = b"system_u:object_r:bin_t:s0";
    let source = tar(|archive| {
        archive.folder("usr", 0o755, (0, 0));
        archive.record("RHT.security.selinux", label);
        archive.file("usr/labelled", 0o644, (0, 0), b"x");
        archive.record("SCHILY.acl.access", b"user::rw-,user:5:r--");
        archive.file("usr/listed", 0o644, (0, 0), b"x");
        archive.record("SCHILY.acl.access", b"user::rw-,user:5:r--");
        archive.record("LIBARCHIVE.xattr.user.own", b"dg");
        archive.record("LIBARCHIVE.creationtime", b"1700000000");
        archive.file("usr/from-bsd", 0o644, (0, 0), b"x");
    });
    let (image, said) = bench.build(&bench.write("source", source), "image.sqfs", &[]);
    for want in [
        "left out: SCHILY.acl.access of 2 entries: an access control list, which a squashfs cannot hold",
        "left out: LIBARCHIVE.xattr.user.own of 1 entry: an extended attribute in a form that only bsdtar writes",
        "left out: LIBARCHIVE.creationtime of 1 entry: a record that is not known here",
    ] {
        assert!(said.contains(want), "{said}");
    }
    let kept = entries(&image);
    let kept: Vec<_> = kept.into_iter().flat_map(|(_, xattrs)| xattrs).collect();
    assert_eq!(kept, [("security.selinux".to_owned(), label.to_vec())]);
}

/// GNU tar's own incremental archives have entries of type D.
#[test]
fn an_incremental_archive_comes_over() {
    let bench = Bench::new();
    bench.write("root/usr/bin/sh", "sh");
    let script = "tar --format=gnu --incremental -C \"$1\" -c . >\"$1.tar\"";
    shell(script, &bench.path("root"));
    let (image, _) = bench.build(&bench.path("root.tar"), "image.sqfs", &[]);
    assert_eq!(paths(&image), ["usr", "usr/bin", "usr/bin/sh"]);
}

#[test]
fn a_zstd_file_that_begins_with_a_frame_to_skip_is_read() {
    let bench = Bench::new();
    let source = tar(|archive| archive.file("usr/a", 0o644, (0, 0), b"x"));
    let packed = bench.packed(&bench.write("source", source), &["zstd", "-q"]);
    // pzstd's: the length of the frame that follows (RFC 8878 §3.1.2).
    let packed = fs::read(packed).expect("read");
    let length = u32::try_from(packed.len()).expect("small").to_le_bytes();
    let frame = [&b"\x50\x2a\x4d\x18\x04\0\0\0"[..], &length].concat();
    let source = bench.write("pzstd", [frame, packed].concat());
    let (image, said) = bench.build(&source, "image.sqfs", &[]);
    assert!(said.contains("made of a tar (zstd) with"), "{said}");
    assert_eq!(paths(&image), ["usr", "usr/a"]);
}

/// systemd.git, src/basic/virt.c: any of these makes it skip mounts, udev and the clock.
#[test]
fn what_marks_a_container_is_left_out_of_every_source() {
    let bench = Bench::new();
    let marks = [".dockerenv", "run/.containerenv", "run/systemd/container"];
    let source = tar(|archive| {
        archive.folder("usr", 0o755, (0, 0));
        marks
            .iter()
            .for_each(|mark| archive.file(mark, 0o644, (0, 0), b""));
        archive.file("home/.dockerenv", 0o644, (0, 0), b"");
    });
    let source = bench.write("source", source);
    let folder = bench.path("folder");
    fs::create_dir(&folder).expect("made");
    shell("tar -xf \"$1\" -C \"$(dirname \"$1\")/folder\"", &source);
    let mut layout = Layout::default();
    layout.image("amd64", &[fs::read(&source).expect("read")]);
    let layout = layout.folder(&bench.path("oci"));
    for source in [&source, &folder, &layout] {
        let (image, said) = bench.build(source, "image.sqfs", &[]);
        for mark in marks {
            let want = format!("left out: /{mark}: a mark of ");
            assert!(said.contains(&want), "{said}");
        }
        let left = paths(&image);
        assert!(marks.iter().all(|mark| !left.contains(&(*mark).to_owned())));
        assert!(left.contains(&"home/.dockerenv".to_owned()), "{left:?}");
    }
}

#[test]
fn whiteouts_of_stored_containers_are_said_with_what_to_do() {
    let bench = Bench::new();
    let stored = "var/lib/docker/overlay2/1/diff";
    let source = tar(|archive| {
        archive.folder("usr", 0o755, (0, 0));
        archive.device(&format!("{stored}/gone"), false, (0, 0));
        archive.xattr("trusted.overlay.opaque", b"y");
        archive.folder(&format!("{stored}/emptied"), 0o755, (0, 0));
        archive.device("dev/null", false, (1, 3));
    });
    let (image, said) = bench.build(&bench.write("source", source), "image.sqfs", &[]);
    let want = "note: 2 marks of overlayfs for deleted files are in stored containers";
    assert!(said.contains(want), "{said}");
    assert!(said.contains("docker system prune --all"), "{said}");
    assert!(said.contains(&format!("/{stored}/")), "{said}");
    // They are kept: what is in an image is what was in the source.
    assert!(paths(&image).contains(&format!("{stored}/gone")));
}
