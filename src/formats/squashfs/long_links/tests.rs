use std::path::Path;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::formats::squashfs::tree::{Kind, Tree};

/// Paths of links and the lengths of their targets.
const LINKS: [(&str, usize); 6] = [
    ("short", 255),
    ("long", 256),
    ("a/longer", 1000),
    ("a/longest", MAX_TARGET_BYTES),
    ("z/long", 300),
    ("z/short", 3),
];

fn target_of(length: usize) -> String {
    "/a".repeat(length.div_ceil(2)).split_off(0)[..length].to_owned()
}

/// An image by mksquashfs with these links, a few hundred files and other inodes beside them.
fn image(how: &str, links: &[(&str, usize)]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("folder");
    let root = folder.path().join("root");
    for (path, length) in links {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::os::unix::fs::symlink(target_of(*length), path).expect("a link");
    }
    for number in 0..400 {
        std::fs::write(
            root.join(format!("z/{number}")),
            number.to_string().repeat(9),
        )
        .expect("written");
    }
    std::fs::write(root.join("a/large"), vec![7; 300_000]).expect("written");
    let out = folder.path().join("image.sqfs");
    let made = Command::new("mksquashfs")
        .arg(&root)
        .arg(&out)
        .args(["-quiet", "-no-progress", "-b", "64K"])
        .args(["-p", "pipe i 644 0 0 f", "-p", "null c 666 0 0 1 3"])
        .args(how.split(' '))
        .output()
        .expect("tests/setup.sh installs mksquashfs");
    assert!(made.status.success(), "{made:?}");
    std::fs::read(out).expect("an image")
}

#[test]
fn links_as_long_as_a_kernel_follows_are_read() {
    for how in [
        "-comp zstd",
        "-comp gzip -no-exports",
        "-comp xz",
        "-comp zstd -noI -no-fragments",
    ] {
        let tree = Tree::open(image(how, &LINKS).into()).expect(how);
        for (path, length) in LINKS {
            let link = tree.link(&format!("/{path}"));
            assert_eq!(link, Some(Path::new(&target_of(length))), "{how}: {path}");
        }
        let large = tree.read("/a/large", 1 << 20).expect("readable");
        assert_eq!(large, Some(vec![7; 300_000]), "{how}");
        for number in [0, 77, 399] {
            let content = tree.read(&format!("/z/{number}"), 100).expect("readable");
            assert_eq!(content, Some(number.to_string().repeat(9).into()), "{how}");
        }
        let null = tree.look("/null").expect("there");
        assert_eq!(null.kind, Kind::Special);
    }
}

#[test]
fn an_image_without_long_links_is_left_as_it_is() {
    let image = image("-comp zstd", &[("a/short", 255), ("z/short", 3)]);
    let superblock = Superblock::parse(&image, image.len() as u64).expect("sound");
    assert!(mended(&superblock, &image.into()).expect("sound").is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn never_panics(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        static IMAGE: std::sync::LazyLock<Vec<u8>> =
            std::sync::LazyLock::new(|| image("-comp gzip -noI", &LINKS));
        let mut image = IMAGE.clone();
        // Data is not what is read here: the tables are the last tenth.
        let from = image.len() * 9 / 10;
        for (at, value) in flips {
            let at = from + at.index(image.len() - from);
            image[at] = value;
        }
        let _ = Tree::open(image.into());
    }
}
