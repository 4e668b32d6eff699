#![expect(clippy::cast_possible_truncation, reason = "small images")]

use std::io::Cursor;

use backhand::compression::Compressor;
use backhand::{FilesystemCompressor, FilesystemWriter, NodeHeader};

use super::*;

/// An image that holds these files; a content that begins with "->" is a symbolic link.
fn image(compressor: Compressor, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = FilesystemWriter::default();
    writer.set_compressor(FilesystemCompressor::new(compressor, None).expect("no options"));
    writer.set_time(0);
    let header = NodeHeader::new(0o755, 0, 0, 0);
    for (path, content) in files {
        let parent = Path::new(path).parent().expect("absolute");
        writer.push_dir_all(parent, header).expect("folder");
        match content.strip_prefix(b"->") {
            Some(to) => writer.push_symlink(OsStr::from_bytes(to), path, header),
            None => writer.push_file(Cursor::new(content.to_vec()), path, header),
        }
        .expect("pushed");
    }
    let mut out = Cursor::new(Vec::new());
    writer.write(&mut out).expect("written");
    out.into_inner()
}

fn small(compressor: Compressor) -> Vec<u8> {
    let big = vec![7; 300_000];
    image(
        compressor,
        &[
            ("/boot/vmlinuz-6.1", b"kernel"),
            ("/usr/lib/modules/6.1/modules.dep", b"a.ko:\n"),
            ("/usr/lib/modules/6.1/a.ko", &big),
            ("/lib", b"->usr/lib"),
            ("/vmlinuz", b"->/boot/vmlinuz-6.1"),
            ("/up", b"->../../../../usr/../boot"),
            ("/loop", b"->loop"),
            ("/dangling", b"->nowhere"),
            ("/usr/lib/modules.txt", b"after the folder in byte order"),
        ],
    )
}

#[test]
fn files_are_found_through_links() {
    for compressor in [Compressor::Gzip, Compressor::Xz, Compressor::Zstd] {
        let tree = Tree::open(small(compressor).into()).expect("sound");
        let read = |path: &str| tree.read(path, 1 << 20).expect("readable");
        assert_eq!(read("/vmlinuz").as_deref(), Some(&b"kernel"[..]));
        assert_eq!(
            read("/lib/modules/6.1/modules.dep").as_deref(),
            Some(&b"a.ko:\n"[..])
        );
        assert_eq!(
            read("/lib/modules/6.1/a.ko").map(|c| c.len()),
            Some(300_000)
        );
        assert_eq!(read("up/vmlinuz-6.1").as_deref(), Some(&b"kernel"[..]));
        for nothing in ["/loop", "/dangling", "/boot", "/", "", "/vmlinuz/x", "/.."] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
        assert_eq!(tree.list("/lib/modules"), ["6.1"]);
        assert_eq!(tree.list("/lib"), ["modules", "modules.txt"]);
        assert_eq!(tree.list("/up"), ["vmlinuz-6.1"]);
        assert!(tree.list("/nowhere").is_empty());
        let error = tree.read("/lib/modules/6.1/a.ko", 299_999);
        error.expect_err("larger than the limit");
        assert_eq!(tree.size("/vmlinuz"), Some(6));
    }
}

/// A disk may fail between any two reads. Whatever of it the caller makes nothing of, [`Tree::readable`] tells.
#[test]
fn what_cannot_be_read_is_told() {
    for compressor in [Compressor::Gzip, Compressor::Zstd] {
        // More than is read at a time, whatever packs it.
        let mut noise = vec![0; 600_000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let whole = image(compressor, &[("/small", b"small"), ("/noise", &noise)]);
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), &whole).expect("written");
        let open = || Packed::file(file.reopen().expect("opened"), file.path());
        let tree = Tree::open(open().expect("a length")).expect("sound");
        let same = Tree::open(whole.clone().into()).expect("sound");
        assert!(tree.has_same(Path::new("/noise"), &same));
        assert_eq!(tree.readable(), Ok(()));

        file.as_file().set_len(200).expect("shortened");
        assert!(!tree.has_same(Path::new("/noise"), &same));
        let want = format!("reading {}: it ends at byte ", file.path().display());
        let said = tree.readable().expect_err("shortened").to_string();
        assert!(said.starts_with(&want), "{said}");
        let truncated = Tree::open(open().expect("a length")).expect_err("shortened");
        assert!(matches!(truncated, BadImage::Truncated { .. }));
        assert_eq!(same.readable(), Ok(()));

        // Tables that become unreadable are not damaged ones.
        std::fs::write(file.path(), &whole).expect("written");
        let image = open().expect("a length");
        file.as_file().set_len(200).expect("shortened");
        let said = Tree::open(image).expect_err("shortened").to_string();
        assert!(said.starts_with(&want), "{said}");
    }
}

/// Reads everything a publication would read.
fn exercise(bytes: Vec<u8>) {
    if let Ok(tree) = Tree::open(bytes.into()) {
        for folder in ["/boot", "/lib/modules", "/lib/modules/6.1"] {
            for name in tree.list(folder) {
                let _ = tree.read(&format!("{folder}/{name}"), 1 << 20);
            }
        }
        let _ = tree.read("/vmlinuz", 1 << 20);
    }
}

#[test]
fn no_truncation_panics() {
    let whole = small(Compressor::Zstd);
    let used = Superblock::parse(&whole, whole.len() as u64)
        .expect("sound")
        .bytes_used as usize;
    for length in 0..used {
        let error = Tree::open(whole[..length].to_vec().into()).expect_err("cut");
        assert!(
            matches!(error, BadImage::Truncated { .. } | BadImage::Short(_)),
            "{length}: {error}"
        );
    }
}

#[test]
fn no_flipped_bit_panics() {
    for (compressor, step) in [
        (Compressor::Gzip, 13),
        (Compressor::Xz, 29),
        (Compressor::Zstd, 5),
    ] {
        let whole = small(compressor);
        for bit in (0..whole.len() * 8).step_by(step) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            exercise(bytes);
        }
    }
}

/// A compressed table hides its numbers from a flipped bit; here all blocks are stored as they are.
#[test]
fn no_lying_number_in_a_plain_table_panics() {
    let mut whole = small(Compressor::Uncompressed);
    whole[20] = 6;
    let superblock = Superblock::parse(&whole, whole.len() as u64).expect("sound");
    let pointer = |at: u64| {
        let bytes = whole[at as usize..].first_chunk().expect("inside");
        u64::from_le_bytes(*bytes)
    };
    let fragments = pointer(superblock.after_directories);
    let ids = pointer(u64::from_le_bytes(whole[48..56].try_into().expect("8")));
    let mut at = superblock.inode_table as usize;
    while at < fragments as usize {
        whole[at + 1] |= 0x80;
        at += 2 + usize::from(u16::from_le_bytes([whole[at], whole[at + 1]]) & 0x7fff);
    }
    whole[fragments as usize + 1] |= 0x80;
    whole[ids as usize + 1] |= 0x80;
    let tree = Tree::open(whole.clone().into()).expect("sound when nothing lies");
    assert_eq!(tree.list("/lib/modules"), ["6.1"]);

    for at in superblock.inode_table as usize..superblock.bytes_used as usize {
        for value in [0, 1, 0x7f, 0x80, 0xff, whole[at].wrapping_add(1)] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            exercise(bytes);
        }
    }
}
