use std::collections::BTreeMap;
use std::io::Cursor;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

type Files = Vec<(String, Vec<u8>)>;

fn all(bytes: &[u8]) -> Result<Files, TarError> {
    let mut reader = Reader::new(Cursor::new(bytes));
    let mut all = Vec::new();
    while let Some(item) = reader.next_item()? {
        let mut content = Vec::new();
        reader.content().read_to_end(&mut content)?;
        all.push((String::from_utf8_lossy(&item.name).into_owned(), content));
    }
    Ok(all)
}

/// What GNU tar makes of a folder.
fn gnu_tar(folder: &std::path::Path, options: &[&str]) -> Vec<u8> {
    let output = Command::new("tar")
        .args(["--sort=name", "--create", "--file=-"])
        .args(options)
        .arg("--directory")
        .arg(folder)
        .arg(".")
        .stderr(Stdio::inherit())
        .output()
        .expect("tar runs");
    assert!(output.status.success());
    output.stdout
}

#[test]
fn reads_what_gnu_tar_writes_in_each_of_its_ways() {
    let folder = tempfile::tempdir().expect("a folder");
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    std::fs::create_dir(folder.path().join("d".repeat(120))).expect("made");
    std::fs::write(folder.path().join(&long), b"deep").expect("written");
    // More pieces than one block of the old form's map holds.
    let mut holes = vec![0; 60 * 65_536];
    for piece in holes.chunks_mut(2 * 65_536) {
        piece[..10].copy_from_slice(b"0123456789");
    }
    let sparse = std::fs::File::create(folder.path().join("sparse")).expect("made");
    for (at, piece) in holes.chunks(65_536).enumerate() {
        if piece.iter().any(|byte| *byte != 0) {
            std::os::unix::fs::FileExt::write_all_at(&sparse, &piece[..10], at as u64 * 65_536)
                .expect("written");
        }
    }
    sparse.set_len(holes.len() as u64).expect("set");
    let ways: [&[&str]; 7] = [
        &["--format=gnu"],
        &["--format=posix"],
        &["--format=v7", "--exclude=./ddd*"],
        &["--format=gnu", "--sparse"],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &["--format=posix", "--sparse", "--sparse-version=1.0"],
    ];
    for options in ways {
        let bytes = gnu_tar(folder.path(), options);
        let got = all(&bytes).expect("read");
        let content = |name: &str| {
            let found = got.iter().find(|(found, _)| found == name);
            found.map(|(_, content)| content.clone())
        };
        assert!(content("./sparse") == Some(holes.clone()), "{options:?}");
        if !options.contains(&"--format=v7") {
            assert_eq!(
                content(&format!("./{long}")),
                Some(b"deep".to_vec()),
                "{options:?}"
            );
        }
        let is_smaller = bytes.len() < holes.len();
        assert_eq!(
            is_smaller,
            options.contains(&"--sparse"),
            "{options:?}: sparse indeed"
        );
    }
}

/// A header with its checksum, and what follows it.
fn entry(kind: u8, name: &str, change: impl FnOnce(&mut [u8; BLOCK]), content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::new(kind));
    header.set_path(name).expect("a name");
    header.set_mode(0o640);
    header.set_size(content.len() as u64);
    let mut block = *header.as_bytes();
    block[108..124].fill(b' ');
    change(&mut block);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = [&block[..], content].concat();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn one(bytes: &[u8]) -> Item {
    let mut reader = Reader::new(Cursor::new(bytes));
    reader.next_item().expect("read").expect("one")
}

/// POSIX.1-2017 pax, "ustar Interchange Format", and what GNU tar 1.34 and libarchive make of the same bytes.
#[test]
fn numbers_that_are_missing_or_negative_are_read_as_others_read_them() {
    let item = one(&entry(b'0', "a", |block| block[100..124].fill(0), b"x"));
    assert_eq!((item.meta.mode, item.meta.uid, item.meta.gid), (0, 0, 0));
    let before_1970 = entry(b'0', "a", |block| block[136..148].fill(0xff), b"");
    assert_eq!(one(&before_1970).meta.mtime, 0);
    let late = entry(
        b'0',
        "a",
        |block| {
            block[136..148].fill(0);
            block[136] = 0x80;
            block[143..148].fill(1);
        },
        b"",
    );
    assert_eq!(one(&late).meta.mtime, 0x01_0101_0101);
    let mut empty_device = entry(b'3', "a", |block| block[329..345].fill(0), b"");
    let device = one(&empty_device).kind;
    let (block, major, minor) = (false, 0, 0);
    assert_eq!(
        device,
        Kind::Device {
            block,
            major,
            minor
        }
    );
    // With bytes above 0x7f, the sum of signed bytes is another.
    empty_device[0] = 0xe4;
    let signed = empty_device[..BLOCK].iter().enumerate();
    let signed = signed.map(|(at, byte)| match at {
        148..156 => 32,
        _ => i32::from(byte.cast_signed()),
    });
    let signed = format!("{:06o}\0 ", signed.sum::<i32>());
    empty_device[148..156].copy_from_slice(signed.as_bytes());
    assert!(is_tar(&empty_device));
    assert_eq!(one(&empty_device).name, b"\xe4");
    // No size can be negative.
    let bytes = entry(b'0', "a", |block| block[124..136].fill(0xff), b"");
    let refused = all(&bytes).expect_err("no size");
    assert_eq!(refused.to_string(), "\"a\" has no valid size");
}

/// GNU tar's manual, "Dumpdir": the content of a type D entry is names, not a file's.
#[test]
fn a_folder_of_an_incremental_archive_is_a_folder() {
    let bytes = [
        entry(b'D', "d/", |_| {}, b"Yfile\0\0"),
        entry(b'0', "d/file", |_| {}, b"content"),
        vec![0; 1024],
    ]
    .concat();
    assert_eq!(one(&bytes).kind, Kind::Folder);
    let got = all(&bytes).expect("read");
    assert_eq!(
        got,
        [
            ("d/".to_owned(), vec![]),
            ("d/file".to_owned(), b"content".to_vec())
        ]
    );
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("sub")).expect("made");
    std::fs::write(folder.path().join("sub/file"), b"x").expect("written");
    let bytes = gnu_tar(folder.path(), &["--format=gnu", "--incremental"]);
    assert!(bytes[156] == b'D');
    let got = all(&bytes).expect("read");
    assert_eq!(got.last(), Some(&("./sub/file".to_owned(), b"x".to_vec())));
}

fn records(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest + 1..).find(|length| rest + length.to_string().len() == *length);
        let length = length.expect("a length").to_string();
        bytes.extend([length.as_bytes(), b" ", key.as_bytes(), b"=", value, b"\n"].concat());
    }
    entry(b'x', "PaxHeader", |_| {}, &bytes)
}

#[test]
fn labels_are_attributes_and_what_is_not_kept_is_counted() {
    let label = b"system_u:object_r:bin_t:s0";
    let attribute = "SCHILY.xattr.security.selinux";
    let of = |said: &[(&str, &[u8])]| {
        let bytes = [records(said), entry(b'0', "a", |_| {}, b"")].concat();
        let mut reader = Reader::new(Cursor::new(&bytes));
        let item = reader.next_item().expect("read").expect("one");
        (item.meta.xattrs, reader.unknown().clone())
    };
    let labelled = BTreeMap::from([(b"security.selinux".to_vec(), label.to_vec())]);
    assert_eq!(of(&[("RHT.security.selinux", label)]).0, labelled);
    let both: [(&str, &[u8]); 2] = [("RHT.security.selinux", b"other"), (attribute, label)];
    assert_eq!(of(&both).0, labelled);
    let both: [(&str, &[u8]); 2] = [(attribute, label), ("RHT.security.selinux", b"other")];
    assert_eq!(of(&both).0, labelled);
    let (xattrs, unknown) = of(&[
        ("SCHILY.xattr.user.both", b"v"),
        ("LIBARCHIVE.xattr.user.both", b"dg"),
        ("LIBARCHIVE.xattr.user.own", b"dg"),
        ("LIBARCHIVE.creationtime", b"1"),
        ("SCHILY.acl.access", b"user::rw-"),
        ("atime", b"1.5"),
        ("SCHILY.ino", b"1"),
    ]);
    assert_eq!(xattrs.len(), 1);
    let unknown: Vec<_> = unknown
        .keys()
        .map(|key| String::from_utf8_lossy(key))
        .collect();
    assert_eq!(
        unknown,
        [
            "LIBARCHIVE.creationtime",
            "LIBARCHIVE.xattr.user.own",
            "SCHILY.acl.access"
        ]
    );
}

#[test]
fn the_last_block_need_not_be_full() {
    let whole = entry(b'0', "a", |_| {}, &[7; 700]);
    let cut = &whole[..BLOCK + 700];
    let want = [("a".to_owned(), vec![7; 700])];
    assert_eq!(all(cut).expect("read"), want);
    let mut reader = Reader::new(Cursor::new(cut));
    while reader.next_item().expect("read").is_some() {}
    assert!(!reader.ended());
    // Content is another matter.
    all(&whole[..BLOCK + 699]).expect_err("cut off");
}

fn archive() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("f"), vec![7; 700]).expect("written");
    gnu_tar(folder.path(), &["--format=posix"])
}

#[test]
fn an_archive_that_is_cut_off_is_found_out() {
    let whole = archive();
    all(&whole).expect("read");
    for length in 1..whole.len() {
        let mut reader = Reader::new(Cursor::new(&whole[..length]));
        let mut failed = false;
        loop {
            match reader.next_item() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => {
                    failed = true;
                    break;
                }
            }
        }
        // The mark of the end is zeros, and a block of them is enough.
        let content = whole.iter().rposition(|byte| *byte != 0).expect("some");
        assert!(
            failed || !reader.ended() || length > content,
            "{length} of {}",
            whole.len()
        );
    }
}

#[test]
fn what_describes_an_entry_has_a_limit() {
    for kind in [
        EntryType::XHeader,
        EntryType::GNULongName,
        EntryType::GNULongLink,
    ] {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(1 << 40);
        header.set_cksum();
        let refused = all(header.as_bytes()).expect_err("too large");
        assert!(matches!(refused, TarError::Extension(_)), "{refused}");
    }
}

#[test]
fn a_map_that_contradicts_itself_is_refused() {
    let sparse = |pieces: &[(u64, u64)], size| Sparse::new(pieces.to_vec(), Some(size));
    assert!(sparse(&[(0, 4), (4, 4), (10, 0)], 10).is_some());
    for (pieces, size) in [
        (&[(4, 4), (0, 4)][..], 10),
        (&[(0, 5), (4, 4)], 10),
        (&[(8, 4)], 10),
        (&[(u64::MAX, 2)], u64::MAX),
    ] {
        assert_eq!(sparse(pieces, size), None, "{pieces:?}");
    }
}

proptest! {
    #[test]
    fn bytes_of_any_kind_are_read_or_refused(
        at in proptest::collection::vec((0_usize..4096, any::<u8>()), 0..8), fix_sums: bool,
    ) {
        let mut bytes = archive();
        for (at, byte) in at {
            if let Some(there) = bytes.get_mut(at) { *there = byte; }
        }
        if fix_sums {
            for block in bytes.as_chunks_mut::<BLOCK>().0.iter_mut().step_by(2) {
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
                let sum = format!("{sum:06o}\0 ");
                block[148..156].copy_from_slice(sum.as_bytes());
            }
        }
        let _ = all(&bytes);
    }
}
