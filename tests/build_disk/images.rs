//! Images made by the real tools, as any user: owners, devices and attributes that only root could give come by debugfs.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs a tool that must succeed.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    feed(program, args, "")
}

/// Likewise, with something on its standard input.
pub(crate) fn feed(program: &str, args: &[&str], input: &str) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env!("PATH"));
    let mut child = Command::new(program)
        .args(args)
        .env("PATH", path)
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}: see tests/setup.sh"));
    let mut stdin = child.stdin.take().expect("its input");
    std::io::Write::write_all(&mut stdin, input.as_bytes()).expect("it takes its input");
    drop(stdin);
    let done = child.wait_with_output().expect("it ends");
    let (out, err) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(done.status.success(), "{program} {args:?}: {out}{err}");
    format!("{out}{err}")
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Writes a file, and the folders to it.
pub(crate) fn write(root: &Path, path: &str, content: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a folder")).expect("its folder");
    fs::write(path, content).expect("a file");
}

/// What `security.capability` of `cap_net_raw+ep` is (`struct vfs_cap_data`, version 2).
pub(crate) const CAPABILITY: [u8; 20] = [
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// One hundred bytes: too long for an inode.
pub(crate) fn long_target() -> String {
    "0123456789/".repeat(10)
}

/// Content that is nowhere the same.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    (0..len).map(next).collect()
}

/// A root with one of everything.
pub(crate) fn tree(root: &Path) {
    write(root, "etc/os-release", b"ID=test\n");
    write(root, "etc/empty", b"");
    write(root, "usr/bin/ping", &noise(300_000));
    write(root, "usr/bin/crowded", b"many attributes");
    fs::set_permissions(
        root.join("usr/bin/ping"),
        fs::Permissions::from_mode(0o4755),
    )
    .expect("a mode");
    fs::hard_link(root.join("usr/bin/ping"), root.join("usr/bin/ping6")).expect("a second name");
    symlink("usr/bin", root.join("bin")).expect("a link");
    symlink(long_target(), root.join("etc/long")).expect("a long link");
    let sparse = fs::File::create(root.join("sparse")).expect("a file");
    sparse.set_len(3_000_000).expect("a hole");
    sparse
        .write_all_at(b"middle", 1_500_000)
        .expect("some bytes");
    for index in 0..300 {
        write(
            root,
            &format!("many/a rather long name of file {index}"),
            b"x",
        );
    }
    fs::create_dir_all(root.join("dev")).expect("a folder");
    fs::create_dir_all(root.join("boot/firmware")).expect("a folder");
    run("mkfifo", &[text(&root.join("dev/pipe"))]);
}

/// Makes a file system of a tree; what mkfs cannot take from there comes by debugfs.
pub(crate) fn ext(image: &Path, tree: &Path, megabytes: u32, options: &[&str]) {
    let size = format!("{megabytes}M");
    let uuid = ["-U", "5c3b0f39-2e3f-4e2c-8d0c-6f1c7e1f2a11"];
    let fixed = ["-q", "-F", "-d", text(tree)];
    let args = [&fixed[..], &uuid[..], options, &[text(image), &size]].concat();
    run("mke2fs", &args);
}

/// Gives the files of [`tree`] what they must keep.
pub(crate) fn adorn(image: &Path, work: &Path) {
    let capability = work.join("capability");
    fs::write(&capability, CAPABILITY).expect("a file");
    let crowd = work.join("crowd");
    fs::write(&crowd, noise(700)).expect("a file");
    let (capability, crowd) = (text(&capability), text(&crowd));
    let script = format!(
        "ea_set /usr/bin/ping -f {capability} security.capability
         ea_set /usr/bin/crowded -f {crowd} user.crowd
         ea_set /usr/bin/crowded -f {capability} security.capability
         ea_set /usr/bin/crowded user.empty \"\"
         ea_set / user.top yes
         set_inode_field /usr/bin/ping uid 100000
         set_inode_field /usr/bin/ping gid 70000
         set_inode_field /etc/os-release mtime 20010203040506
         set_inode_field /etc/empty mtime @5000000000
         cd dev
         mknod console c 5 1
         mknod disk b 259 700
         mknod socket p
         set_inode_field socket mode 0140755
         "
    );
    let said = feed("debugfs", &["-w", "-f", "/dev/stdin", text(image)], &script);
    let bad = said.lines().find(|line| {
        line.contains("not found") || line.contains("nvalid") || line.contains("rror")
    });
    assert_eq!(bad, None, "{said}");
}

/// A FAT file system of a tree.
pub(crate) fn fat(image: &Path, tree: &Path, megabytes: u64, bits: u32) {
    let file = fs::File::create(image).expect("an image");
    file.set_len(megabytes << 20).expect("its length");
    // Sectors of a cluster, so that there are as many as make it one of these.
    let cluster = if bits == 12 { "8" } else { "1" };
    let bits = bits.to_string();
    let fixed = ["-n", "BOOTFS", "-s", cluster, "-F", &bits];
    run("mkfs.vfat", &[&fixed[..], &[text(image)]].concat());
    let mut paths: Vec<PathBuf> = fs::read_dir(tree)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    for path in paths {
        run("mcopy", &["-s", "-m", "-i", text(image), text(&path), "::"]);
    }
}

/// A disk of partitions: an sfdisk script, and for some of its lines the file that goes there.
pub(crate) fn disk(image: &Path, megabytes: u64, script: &str, parts: &[(u64, &Path)]) {
    let file = fs::File::create(image).expect("an image");
    file.set_len(megabytes << 20).expect("its length");
    feed("sfdisk", &["-q", text(image)], script);
    for (start, part) in parts {
        let bytes = fs::read(part).expect("a partition");
        file.write_all_at(&bytes, start << 20).expect("room for it");
    }
}
