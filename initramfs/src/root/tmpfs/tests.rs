use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use super::*;

/// Removed when dropped.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ramboot-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("folder");
        Self(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, text).expect("file");
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

const ROOM: u64 = HEADROOM + (1 << 20);

fn chosen_in(root: &Root, named: &[&str], room: u64) -> Vec<(String, u64)> {
    let named = named.iter().map(|path| path.parse().expect("a folder"));
    let folders = choose(&root.0, &named.collect::<Vec<_>>(), room).expect("opens");
    let shown = |folder: &Folder| (folder.path.to_string(), folder.bytes);
    folders.iter().map(shown).collect()
}

#[test]
fn an_image_is_asked_for_programs_folders_and_lists() {
    let root = Root::new("choose");
    root.write("usr/bin/bash", "");
    assert_eq!(chosen_in(&root, &[], ROOM), []);
    // As `apt install podman` leaves it.
    root.write("usr/bin/podman", "");
    root.write("var/lib/docker/a/b", "five!");
    root.write(
        "etc/ramboot/tmpfs.d/farm",
        "# builds\n/srv/cache\nno path\n/run/x\n",
    );
    root.write("etc/ramboot/tmpfs.d/.hidden", "/hidden\n");
    // Outside of the image, if the link were followed there.
    symlink("/etc/ramboot/tmpfs.d/../../../data", root.0.join("srv")).expect("link");
    root.write("data/cache/file", "");
    root.write("etc/file", "");
    let want = [
        ("/etc/file/x", 0),
        ("/opt/x", 0),
        ("/srv/cache", 0),
        ("/var/lib/containers", 0),
        ("/var/lib/docker", 4096),
    ];
    let want = want.map(|(path, bytes)| (path.to_owned(), bytes));
    // A file is in the way of the first: it is left out.
    assert_eq!(
        chosen_in(&root, &["/etc/file/x", "/opt/x"], ROOM),
        want[1..]
    );
    // Too little RAM for what is in the last.
    assert_eq!(chosen_in(&root, &[], HEADROOM + 4095), want[2..4]);
    assert_eq!(chosen_in(&root, &[], HEADROOM + 4096), want[2..]);
}

#[test]
fn a_folder_is_copied_with_all_that_is_in_it() {
    let root = Root::new("copy");
    root.write("from/a/b/file", "text");
    let from = root.0.join("from");
    fs::hard_link(from.join("a/b/file"), from.join("again")).expect("link");
    symlink("/nowhere", from.join("link")).expect("link");
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    mode(&from.join("a/b/file"), 0o4711).expect("mode");
    mode(&from.join("a/b"), 0o1700).expect("mode");
    mode(&from, 0o711).expect("mode");
    mknod(&from.join("pipe"), FileType::Fifo);
    // As overlayfs leaves what was deleted.
    mknod(&from.join("whiteout"), FileType::CharacterDevice);
    let old = File::open(from.join("a")).expect("opens");
    let past = std::time::UNIX_EPOCH + std::time::Duration::from_secs(86_400);
    old.set_modified(past).expect("sets");
    let to = root.0.join("to");
    fs::create_dir(&to).expect("folder");
    tree::copy(&from, &to).expect("copies");
    for path in [
        "", "a", "a/b", "a/b/file", "again", "link", "pipe", "whiteout",
    ] {
        let [from, to] =
            [&from, &to].map(|root| fs::symlink_metadata(root.join(path)).expect("there"));
        assert_eq!(
            (
                from.mode(),
                from.uid(),
                from.nlink(),
                from.mtime(),
                from.rdev()
            ),
            (to.mode(), to.uid(), to.nlink(), to.mtime(), to.rdev()),
            "{path}"
        );
    }
    assert_eq!(fs::read(to.join("again")).expect("reads"), b"text");
    assert_eq!(
        fs::read_link(to.join("link")).expect("reads"),
        Path::new("/nowhere")
    );
    assert_eq!(tree::bytes(&to).expect("reads"), 2 * 4096);
}

fn mknod(path: &Path, kind: FileType) {
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, Mode::RUSR, 0).expect("made");
}

#[test]
fn what_is_not_there_is_made_inside_the_root() {
    let root = Root::new("made");
    fs::create_dir_all(root.0.join("real")).expect("folder");
    symlink("/real", root.0.join("var")).expect("link");
    let handle = File::open(&root.0).expect("opens");
    folder_in(&handle, "/var/lib/docker").expect("made");
    folder_in(&handle, "/var/lib/docker").expect("there");
    let mode = |path: &str| fs::metadata(root.0.join(path)).expect("there").mode() & 0o777;
    assert_eq!([mode("real/lib"), mode("real/lib/docker")], [0o755, 0o711]);
    root.write("real/file", "");
    let error = folder_in(&handle, "/var/file/x")
        .expect_err("a file")
        .kind();
    assert_eq!(error, io::ErrorKind::NotADirectory);
}
