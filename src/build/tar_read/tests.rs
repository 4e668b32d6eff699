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
                let sum = format!("{:06o}\0 ", checksum(block));
                block[148..156].copy_from_slice(sum.as_bytes());
            }
        }
        let _ = all(&bytes);
    }
}
