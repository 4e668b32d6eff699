//! The static tarball and its installer: packed by the real script around the head of a program, unpacked, and laid below
//! a folder.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Of an ELF header, where the machine stands and what is there.
const MACHINES: [(&str, u8); 2] = [("x86_64", 62), ("aarch64", 183)];

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What `make build` makes, as small as can be.
fn manual(folder: &Path) -> PathBuf {
    let manual = folder.join("manual");
    for (path, text) in [
        ("man/ramboot.1", "1"),
        ("man/ramboot.toml.5", "5"),
        ("completions/ramboot.bash", "bash"),
        ("completions/_ramboot", "zsh"),
        ("completions/ramboot.fish", "fish"),
    ] {
        let path = manual.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    manual
}

/// Packs for `arch` and unpacks; the folder in the tarball.
fn unpacked(folder: &Path, arch: &str) -> PathBuf {
    let (_, machine) = MACHINES
        .iter()
        .find(|(name, _)| *name == arch)
        .expect("known");
    let mut head = vec![0; 64];
    head[..6].copy_from_slice(b"\x7fELF\x02\x01");
    head[18] = *machine;
    let program = folder.join("program");
    fs::write(&program, head).expect("written");
    let pack = || {
        let output = Command::new(project("packaging/tarball.sh"))
            .arg(arch)
            .arg(&program)
            .arg(manual(folder))
            .arg(folder.join("out"))
            .env("SOURCE_DATE_EPOCH", "1767225600")
            .output()
            .expect("runs");
        assert!(output.status.success(), "{output:?}");
        let path = String::from_utf8(output.stdout).expect("a path");
        fs::read(path.trim_end()).expect("the tarball")
    };
    let bytes = pack();
    // Modes and times of the checkout do not matter.
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("changed");
    assert!(bytes == pack(), "the same files make other bytes");
    let tarball = folder.join("tarball");
    fs::write(&tarball, bytes).expect("written");
    let status = Command::new("tar")
        .args(["-x", "-z", "-f"])
        .arg(&tarball)
        .arg("-C")
        .arg(folder)
        .status();
    assert!(status.expect("runs").success());
    folder.join(format!("ramboot-{}-{arch}", env!("CARGO_PKG_VERSION")))
}

fn install(tree: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(tree.join("install.sh"));
    command.args(args).output().expect("runs")
}

/// Path, mode and bytes of every file.
fn files(folder: &Path) -> BTreeMap<String, (u32, u64)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            let about = fs::symlink_metadata(&path).expect("there");
            if about.is_dir() {
                folders.push(path);
            } else {
                let name = path
                    .strip_prefix(folder)
                    .expect("below")
                    .display()
                    .to_string();
                found.insert(name, (about.permissions().mode() & 0o7777, about.len()));
            }
        }
    }
    found
}

fn this_machine() -> &'static str {
    std::env::consts::ARCH
}

#[test]
fn the_tarball_lays_itself_below_a_folder_and_keeps_what_was_edited() {
    let folder = tempfile::tempdir().expect("folder");
    let tree = unpacked(folder.path(), this_machine());
    let root = folder.path().join("root");
    let root_arg = root.display().to_string();
    let said = install(&tree, &["--dry-run", "--root", &root_arg]);
    assert!(said.status.success(), "{said:?}");
    assert!(!root.exists(), "--dry-run made something");
    let done = install(&tree, &["--root", &root_arg]);
    assert!(done.status.success(), "{done:?}");
    // What is said before is what is done.
    assert_eq!(said.stdout, done.stdout);
    let sample = fs::metadata(project("packaging/ramboot.toml"))
        .expect("there")
        .len();
    let default = fs::metadata(project("packaging/ramboot.default"))
        .expect("there")
        .len();
    let found = files(&root);
    let unit = "usr/local/lib/systemd/system/ramboot.service";
    let want: BTreeMap<_, _> = [
        ("etc/default/ramboot", 0o644, default),
        ("etc/ramboot.toml", 0o644, sample),
        ("usr/local/bin/ramboot", 0o755, 64),
        (unit, 0o644, found[unit].1),
        (
            "usr/local/share/bash-completion/completions/ramboot",
            0o644,
            4,
        ),
        (
            "usr/local/share/fish/vendor_completions.d/ramboot.fish",
            0o644,
            4,
        ),
        ("usr/local/share/man/man1/ramboot.1", 0o644, 1),
        ("usr/local/share/man/man5/ramboot.toml.5", 0o644, 1),
        ("usr/local/share/zsh/site-functions/_ramboot", 0o644, 3),
    ]
    .into_iter()
    .map(|(path, mode, size)| (path.to_owned(), (mode, size)))
    .collect();
    assert_eq!(found, want);
    let text = fs::read_to_string(root.join(unit)).expect("there");
    assert!(
        text.contains("\nExecStart=/usr/local/bin/ramboot serve"),
        "{text}"
    );

    fs::write(root.join("etc/ramboot.toml"), "# mine\n").expect("written");
    let again = install(&tree, &["--root", &root_arg]);
    assert!(again.status.success(), "{again:?}");
    let kept = fs::read_to_string(root.join("etc/ramboot.toml")).expect("there");
    assert_eq!(kept, "# mine\n");
}

#[test]
fn the_installer_refuses_what_cannot_work() {
    let folder = tempfile::tempdir().expect("folder");
    let root = folder.path().join("root").display().to_string();
    let args = ["--root", &*root];
    let (other, _) = MACHINES
        .iter()
        .find(|(name, _)| *name != this_machine())
        .expect("two");
    let foreign = unpacked(folder.path(), other);
    let own = unpacked(folder.path(), this_machine());
    let edit = |tree: &Path, file: &str, text: Option<&str>| match text {
        Some(text) => fs::write(tree.join(file), text).expect("written"),
        None => fs::remove_file(tree.join(file)).expect("removed"),
    };
    for (tree, change, want) in [
        (
            &foreign,
            None,
            format!(
                "this ramboot is for {other}, and this machine is {}",
                this_machine()
            ),
        ),
        (
            &own,
            Some(("ramboot.toml", None)),
            "there is no ramboot.toml in ".to_owned(),
        ),
        (
            &own,
            Some(("ramboot", Some("#!/bin/sh\n# no program at all\n"))),
            "is no program for x86_64 or aarch64".to_owned(),
        ),
        (
            &own,
            Some(("ramboot", None)),
            "nor the tarball's files are in ".to_owned(),
        ),
    ] {
        if let Some((file, text)) = change {
            edit(tree, file, text);
        }
        let output = install(tree, &args);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{want}: {output:?}");
        assert!(text.contains(&want), "{want}: {text}");
        assert!(!Path::new(&root).exists(), "{want}: something was made");
    }
    let output = install(&own, &["--dry"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_package_beside_the_installer_is_what_it_takes() {
    let folder = tempfile::tempdir().expect("folder");
    let script = folder.path().join("install.sh");
    fs::copy(project("packaging/install.sh"), &script).expect("copied");
    let output = Command::new("dpkg")
        .arg("--print-architecture")
        .output()
        .expect("runs");
    let arch = String::from_utf8(output.stdout).expect("a word");
    for name in [
        "ramboot_1.0-1_m68k.deb",
        &format!("ramboot_1.0-1_{}.deb", arch.trim_end()),
    ] {
        fs::write(folder.path().join(name), "").expect("written");
    }
    let output = install(folder.path(), &["--dry-run"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let want = format!(
        "apt-get install --yes ./ramboot_1.0-1_{}.deb\n",
        arch.trim_end()
    );
    assert!(
        output.status.success() && text.contains(&want),
        "{output:?}"
    );
    assert!(text.contains("Next: ramboot publish"), "{text}");
}
