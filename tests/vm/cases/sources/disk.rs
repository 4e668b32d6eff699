//! A disk image as a vendor makes one: GPT, a FAT with boot files, ext4 with the root.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use anyhow::{Context, Result};
use tar::EntryType;

use super::tree::{Attributes, Node, Tree};
use crate::process::run;

/// What a Raspberry Pi's boot partition is known by.
const BOOT_FILES: [(&str, &str); 2] = [("config.txt", "arm_64bit=1\n"), ("cmdline.txt", "quiet\n")];

/// Makes it of a tar; what is in a worker that is made of it.
///
/// Owners are the tar's where this user may give files away: in a namespace of one user all stay root's.
pub(super) fn write(folder: &Path, tar: &Path, tree: &Tree, to: &Path) -> Result<Tree> {
    let root = folder.join("root");
    fs::create_dir(&root)?;
    let gives = chown(&root, Some(1234), Some(1234)).is_ok();
    chown(&root, Some(0), Some(0))?;
    let owner = if gives {
        "--same-owner"
    } else {
        "--no-same-owner"
    };
    let unpack = [
        "--extract",
        "--numeric-owner",
        "--preserve-permissions",
        owner,
        "--no-xattrs",
        "--exclude=opt/kept/null",
        "--exclude=opt/kept/loop",
    ];
    run(
        "tar",
        &[
            &unpack[..],
            &["--directory", shown(&root)?, "--file", shown(tar)?],
        ]
        .concat(),
    )?;

    let mut tree = tree.clone();
    let values = folder.join("values");
    fs::create_dir(&values)?;
    let mut script = String::from(DEVICES);
    for (number, (path, node)) in tree.0.iter_mut().enumerate() {
        if !gives && !path.starts_with("/opt/kept/loop") {
            node.owner = (0, 0);
        }
        for (name, value) in &node.attributes {
            let file = values.join(format!("{number}-{name}"));
            fs::write(&file, value)?;
            script += &format!("ea_set -f {} {path} {name}\n", shown(&file)?);
        }
    }
    script += "close\n";
    let file = folder.join("debugfs");
    fs::write(&file, script)?;

    let vars = [shown(to)?, shown(&root)?, shown(&file)?];
    let [firmware, config, cmdline] =
        ["boot.fat", "config.txt", "cmdline.txt"].map(|name| folder.join(name));
    fs::write(&config, BOOT_FILES[0].1)?;
    fs::write(&cmdline, BOOT_FILES[1].1)?;
    let rest = [shown(&firmware)?, shown(&config)?, shown(&cmdline)?];
    run(
        "sh",
        &[&["-euc", MAKE, "sh"], &vars[..], &rest[..]].concat(),
    )?;
    fs::remove_dir_all(&root)?;

    let mount = |kind, size, mode| Node {
        kind,
        mode,
        owner: (0, 0),
        size,
        link: None,
        attributes: Attributes::new(),
    };
    tree.0.insert(
        "/boot/firmware".to_owned(),
        mount(EntryType::Directory, 0, 0o755),
    );
    for (name, content) in BOOT_FILES {
        let size = content.len() as u64;
        tree.0.insert(
            format!("/boot/firmware/{name}"),
            mount(EntryType::Regular, size, 0o755),
        );
    }
    Ok(tree)
}

/// Only root can make them in a folder; debugfs writes them into the file system. 020666 and 060660 as it reads numbers.
const DEVICES: &str = "cd /opt/kept\nmknod null c 1 3\nmknod loop b 7 0\n\
    set_inode_field null mode 020666\nset_inode_field loop mode 060660\nset_inode_field loop gid 6\ncd /\n";

/// IMAGE ROOT SCRIPT FAT CONFIG CMDLINE.
const MAKE: &str = r#"
    PATH=$PATH:/usr/sbin:/sbin
    truncate -s 700M "$1"
    printf 'label: gpt\nstart=2048, size=65536, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7\nstart=67584, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4\n' |
        sfdisk --quiet "$1"
    truncate -s 32M "$4"
    mkfs.vfat -F 16 -n bootfs "$4" >/dev/null
    mcopy -i "$4" "$5" ::config.txt
    mcopy -i "$4" "$6" ::cmdline.txt
    mke2fs -q -t ext4 -E root_owner=0:0 -d "$2" "$1.ext4" 640M
    # It reports what went wrong and goes on.
    said=$(debugfs -w -f "$3" "$1.ext4" 2>&1 >/dev/null | grep -v '^debugfs [0-9]' || true)
    [ -z "$said" ] || { echo "debugfs: $said" >&2; exit 1; }
    dd if="$4" of="$1" bs=1M seek=1 conv=notrunc,sparse status=none
    dd if="$1.ext4" of="$1" bs=1M seek=33 conv=notrunc,sparse status=none
    rm "$1.ext4" "$4"
"#;

fn shown(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}
