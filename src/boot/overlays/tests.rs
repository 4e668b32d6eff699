use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use proptest::prelude::*;

use super::read::tree;
use super::*;
use crate::boot::identity::{Key, Secret};

struct Plain;

impl Secrets for Plain {
    fn shared(&self, label: &str) -> String {
        format!("shared-{label}")
    }

    fn own(&self, label: &str) -> String {
        format!("own-{label}")
    }
}

fn words() -> Words {
    Words::default().with("hostname", Some("node-1"))
}

fn archive(tree: &Tree) -> Result<Vec<u8>, FilesError> {
    tree.archive(&words(), &Arc::new(Plain))
}

fn entry(mode: u32, node: Node) -> Entry {
    Entry {
        mode,
        owner: Owner { uid: 7, gid: 8 },
        node,
    }
}

fn file(text: &str) -> Entry {
    entry(0o644, Node::File(text.into()))
}

fn paths(tree: &Tree) -> Vec<&str> {
    tree.0.keys().map(String::as_str).collect()
}

fn put(folder: &Path, path: &str, text: &str, mode: u32) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
}

/// Read as this user: what is his belongs to root on the worker.
#[test]
fn a_folder_is_read_as_it_lies() {
    let folder = tempfile::tempdir().expect("folder");
    put(folder.path(), "etc/secret", "x", 0o4700);
    put(folder.path(), "etc/motd.j2", "{{ hostname }}\n", 0o640);
    symlink("/run/x", folder.path().join("etc/link.j2")).expect("link");
    let read = tree(folder.path()).expect("read").expect("there");
    assert_eq!(
        paths(&read),
        ["etc", "etc/link.j2", "etc/motd", "etc/secret"]
    );
    let secret = &read.0["etc/secret"];
    assert_eq!((secret.mode, secret.owner), (0o4700, Owner::default()));
    let link = Node::Link("/run/x".to_owned());
    assert_eq!(read.0["etc/link.j2"].node, link);
    let bytes = archive(&read).expect("made");
    let text = String::from_utf8_lossy(&bytes);
    for part in ["etc/motd\0", "node-1\n", "/run/x"] {
        assert!(text.contains(part), "{part:?}");
    }
    assert_eq!(archive(&read).expect("again"), bytes);
    assert_eq!(tree(&folder.path().join("nobody")).expect("none"), None);
}

#[test]
fn what_a_worker_cannot_get_is_named() {
    let make = |what: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().expect("folder");
        what(folder.path());
        format!("{:#}", tree(folder.path()).expect_err("refused"))
    };
    let mkfifo = |path: &Path| {
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.expect("mkfifo").success());
    };
    for (error, want) in [
        (
            make(&|at| mkfifo(&at.join("pipe"))),
            "/pipe is neither file nor folder nor symbolic link",
        ),
        (
            make(&|at| {
                put(at, "etc/a", "", 0o644);
                put(at, "etc/a.j2", "", 0o644);
            }),
            "with and without .j2 it is the same file",
        ),
        (make(&|at| put(at, "etc/.j2", "", 0o644)), "it has no name"),
        (
            make(&|at| put(at, "TRAILER!!!", "", 0o644)),
            "no file can have this name there",
        ),
        (
            make(&|at| fs::write(at.join("a.j2"), b"\xff").expect("written")),
            "/a.j2 is no text",
        ),
        (
            make(&|at| {
                let file = fs::File::create(at.join("large")).expect("made");
                file.set_len(MAX_FILES_BYTES + 1).expect("long");
            }),
            "/large: with it there are more than 16777216 bytes",
        ),
        (
            make(&|at| {
                use std::os::unix::ffi::OsStrExt as _;
                fs::write(at.join(std::ffi::OsStr::from_bytes(b"\xff")), "").expect("made");
            }),
            "its name is not UTF-8",
        ),
        (
            make(&|at| {
                let deep = at.join("d/".repeat(64));
                fs::create_dir_all(deep).expect("folders");
            }),
            "lies deeper than 64 folders",
        ),
        (
            make(&|at| {
                for number in 0..=MAX_ENTRIES {
                    fs::write(at.join(number.to_string()), "").expect("made");
                }
            }),
            "more than 4096 files, folders and links",
        ),
    ] {
        assert!(error.contains(want), "{want}: {error}");
    }
}

#[test]
fn later_ones_lie_over_earlier_ones() {
    let folder = || entry(0o755, Node::Folder);
    let tree = |list: &[(&str, Entry)]| -> Tree {
        list.iter()
            .map(|(path, entry)| ((*path).to_owned(), entry.clone()))
            .collect()
    };
    let mut under = tree(&[
        ("a", folder()),
        ("a/b", file("1")),
        ("a/c", file("1")),
        ("d", folder()),
        ("d/e", file("1")),
        ("d-f", file("1")),
        ("g", file("1")),
    ]);
    under.lay(tree(&[
        ("a", entry(0o700, Node::Folder)),
        ("a/b", file("2")),
        ("d", file("2")),
        ("g", folder()),
        ("g/h", file("2")),
    ]));
    let want = tree(&[
        ("a", entry(0o700, Node::Folder)),
        ("a/b", file("2")),
        ("a/c", file("1")),
        ("d", file("2")),
        ("d-f", file("1")),
        ("g", folder()),
        ("g/h", file("2")),
    ]);
    assert_eq!(under, want);
}

#[test]
fn a_worker_that_would_be_half_configured_gets_nothing() {
    let template = |source: &str| {
        let node = Node::Template {
            origin: "overlays/common/etc/x.j2".to_owned(),
            source: source.to_owned(),
        };
        Tree::from_iter([
            ("etc/a".to_owned(), file("whole")),
            ("etc/x".to_owned(), entry(0o644, node)),
        ])
    };
    let error = archive(&template("a\n{{ serial }}\n"))
        .expect_err("not known")
        .to_string();
    assert_eq!(error, "undefined value (in overlays/common/etc/x.j2:2)");
    template("{{ serial }}").check().expect("a template");
    template("{% if %}").check().expect_err("none");
}

#[test]
fn too_much_is_said_with_both_numbers() {
    let large = |bytes: usize| entry(0o644, Node::File(vec![0; bytes]));
    let half = 8 * 1024 * 1024;
    let tree = |names: &[&str], bytes: usize| -> Tree {
        names
            .iter()
            .map(|name| ((*name).to_owned(), large(bytes)))
            .collect()
    };
    archive(&tree(&["a"], half)).expect("half of it");
    let sum = archive(&tree(&["a", "b", "c"], half));
    assert_eq!(sum, Err(FilesError::Bytes(3 * half)));
    let heads = archive(&tree(&["a", "b"], half)).expect_err("heads count, too");
    assert!(heads.to_string().contains("16777216"), "{heads}");
    let many: Tree = (0..=MAX_ENTRIES)
        .map(|number| (number.to_string(), file("")))
        .collect();
    assert_eq!(archive(&many), Err(FilesError::Entries(MAX_ENTRIES + 1)));
}

#[test]
fn identity_comes_first_and_without_folders() {
    let secret = Secret::new([1; 32]);
    let identity = secret.identity(Key::Serial(1));
    let mut files = identity_files(&identity).expect("made");
    assert_eq!(
        paths(&files),
        [
            "etc/machine-id",
            "etc/rancher/node/password",
            "etc/ssh/ssh_host_ed25519_key",
            "etc/ssh/ssh_host_ed25519_key.pub"
        ]
    );
    assert_eq!(files.0["etc/ssh/ssh_host_ed25519_key"].mode, 0o600);
    files.lay(Tree::from_iter([(
        "etc/machine-id".to_owned(),
        file("mine"),
    )]));
    assert_eq!(files.0["etc/machine-id"], file("mine"));
}

proptest! {
    /// `/init` reads what is written here: nothing is lost, and no two trees are one archive.
    #[test]
    fn the_archive_says_all(
        list in prop::collection::btree_map("[a-z]{1,3}(/[a-z]{1,3}){0,2}", ("[a-z]{0,9}", 0_u32..0o10000), 0..8),
        other in prop::collection::btree_map("[a-z]{1,3}(/[a-z]{1,3}){0,2}", ("[a-z]{0,9}", 0_u32..0o10000), 0..8),
    ) {
        let tree = |list: BTreeMap<String, (String, u32)>| -> Tree {
            list.into_iter().map(|(path, (text, mode))| (path, entry(mode, Node::File(text.into())))).collect()
        };
        let (a, b) = (tree(list), tree(other));
        prop_assert_eq!(a == b, archive(&a).expect("made") == archive(&b).expect("made"));
    }
}
