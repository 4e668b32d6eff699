use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::*;

/// Bytes that no compressor makes smaller, other ones for each seed.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    let mut reader = blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof();
    reader.fill(&mut out);
    out
}

/// What mksquashfs makes of these files.
fn image(files: &[(&str, Vec<u8>)], options: &[&str]) -> (Tree, u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    for (path, content) in files {
        let path: PathBuf = root.join(path);
        fs::create_dir_all(path.parent().expect("inside")).expect("made");
        fs::write(path, content).expect("written");
    }
    let image = folder.path().join("image.sqfs");
    let made = Command::new("mksquashfs")
        .args([&root, &image])
        .args(["-noappend", "-quiet", "-no-progress", "-all-root", "-nopad"])
        .args(options)
        .status()
        .expect("mksquashfs, from squashfs-tools");
    assert!(made.success());
    let bytes = fs::read(image).expect("there");
    let size = bytes.len() as u64;
    (Tree::open(bytes.into()).expect("sound"), size)
}

fn chunks_of(tree: &Tree, path: &str) -> Vec<u64> {
    let laid = tree.laid_at(Path::new(path)).expect("there");
    let mut all: Vec<u64> = laid
        .blocks
        .iter()
        .flat_map(|(_, packed)| chunks(packed))
        .collect();
    all.dedup();
    all
}

/// The profile of an image of `size` bytes of which these chunks are hot, the first first.
fn hot(size: u64, hot: &[u64]) -> Profile {
    let mut wants = Wants::new(size).0;
    for (index, place) in hot.iter().zip(0..) {
        wants[usize::try_from(*index).expect("small")] = Want::Hot(place);
    }
    Profile::new(wants)
}

fn carried(old: &(Tree, u64), profile: &Profile, new: &(Tree, u64)) -> Carried {
    let from = From {
        image: ImageId([1; 32]),
        tree: &old.0,
        profile,
    };
    carry(from, &new.0, new.1, 9)
}

/// Chunks that are hot in any image: the first, and those of the tables.
fn always((tree, size): &(Tree, u64)) -> Vec<u64> {
    let tables = tree.superblock().inode_table..*size;
    [0].into_iter().chain(chunks(&tables)).collect()
}

const MIB: usize = 1 << 20;

#[test]
fn a_file_is_hot_wherever_it_lies_in_the_new_image() {
    let (a, b) = (noise(1, 3 * MIB), noise(2, 2 * MIB));
    let old = image(&[("a", a.clone()), ("m", b.clone())], &["-comp", "zstd"]);
    // Other files around it, another block size, another compressor.
    let new = image(
        &[
            ("0", noise(4, 5 * MIB)),
            ("a", a),
            ("m", b),
            ("z", noise(3, MIB)),
        ],
        &["-comp", "gzip", "-b", "256K"],
    );
    let read = chunks_of(&old.0, "/m");
    let carried = carried(&old, &hot(old.1, &read), &new);
    assert_eq!(
        (carried.files, carried.bytes, carried.lost),
        (1, 2 << 20, 0)
    );
    let mut want = always(&new);
    want.extend(chunks_of(&new.0, "/m"));
    want.sort_unstable();
    want.dedup();
    let mut found = carried.hot.clone();
    found.sort_unstable();
    assert_eq!(found, want);
    assert!(!want.contains(&chunks_of(&new.0, "/a")[1]), "a is cold");
    assert!(carried.warm.is_empty());
}

#[test]
fn a_part_of_a_file_that_was_read_is_that_part_of_the_new_one() {
    let a = noise(1, 8 * MIB);
    let old = image(&[("a", a.clone())], &[]);
    let new = image(&[("0", noise(2, 3 * MIB)), ("a", a)], &["-b", "512K"]);
    // The third and the fourth MiB of it, in that order backwards.
    let read: Vec<u64> = (8..16).rev().collect();
    let carried = carried(&old, &hot(old.1, &read), &new);
    let laid = new.0.laid_at(Path::new("/a")).expect("there");
    // A block that lies partly in a chunk that was not read was not read: the ends may be missing, no more.
    let middle: Vec<u64> = laid
        .blocks
        .iter()
        .filter(|(content, _)| content.start >= 5 * 512 * 1024 && content.end <= 7 * 512 * 1024)
        .flat_map(|(_, packed)| chunks(packed))
        .collect();
    assert!(middle.len() >= 4);
    for index in &middle {
        assert!(carried.hot.contains(index), "{index} in {:?}", carried.hot);
    }
    let at_most = 8 + 4 + always(&new).len();
    assert!(carried.hot.len() <= at_most, "{:?}", carried.hot);
    let place = |index: &u64| carried.hot.iter().position(|hot| hot == index);
    assert!(
        place(&middle[0]) > place(&middle[middle.len() - 1]),
        "order is kept"
    );
}

#[test]
fn what_changed_is_lost_and_the_end_of_a_small_file_is_found_among_others() {
    let small = |seed| noise(seed, 5_000);
    let old = image(
        &[
            ("changed", noise(1, MIB)),
            ("gone", noise(2, MIB)),
            ("small", small(3)),
        ],
        &[],
    );
    let new = image(
        &[
            ("0", noise(9, 4 * MIB)),
            // The last byte only.
            ("changed", [&noise(1, MIB)[..MIB - 1], b"x"].concat()),
            ("other", small(4)),
            ("small", small(3)),
            ("t", noise(5, 3 * MIB)),
        ],
        &[],
    );
    let all: Vec<u64> = (0..chunk_count(old.1)).collect();
    let carried = carried(&old, &hot(old.1, &all), &new);
    assert_eq!((carried.files, carried.bytes, carried.lost), (1, 5_000, 2));
    let laid = new.0.laid_at(Path::new("/small")).expect("there");
    assert_eq!(laid.blocks.len(), 1, "it is in a block with others");
    assert_eq!(laid.blocks[0].0, 0..5_000);
    let mut want = always(&new);
    want.extend(chunks_of(&new.0, "/small"));
    want.sort_unstable();
    want.dedup();
    let mut found = carried.hot;
    found.sort_unstable();
    assert_eq!(found, want);
}

#[test]
fn holes_have_no_place_and_nothing_that_was_read_is_nothing() {
    let mut sparse = vec![0; 4 * MIB];
    sparse[2 * MIB..3 * MIB].copy_from_slice(&noise(1, MIB));
    let files = [("a", sparse)];
    let (old, new) = (image(&files, &[]), image(&files, &["-b", "1M"]));
    let laid = new.0.laid_at(Path::new("/a")).expect("there");
    assert_eq!(laid.blocks.len(), 1, "{laid:?}");
    assert_eq!(laid.blocks[0].0, 2 << 20..3 << 20);
    let all: Vec<u64> = (0..chunk_count(old.1)).collect();
    let read = carried(&old, &hot(old.1, &all), &new);
    assert_eq!((read.files, read.lost), (1, 0));
    let nothing = carried(&old, &hot(old.1, &[]), &new);
    assert_eq!((nothing.files, nothing.lost), (0, 0));
    let mut want = always(&new);
    want.sort_unstable();
    want.dedup();
    assert_eq!(nothing.hot, want);
}
