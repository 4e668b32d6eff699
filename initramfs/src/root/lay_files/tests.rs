use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use super::super::worker_files::archive::{parse, tests::pack};
use super::*;

/// A root with a folder beside it that nothing may reach, and what a Debian has: links for folders.
struct Roots {
    all: PathBuf,
    root: PathBuf,
}

impl Roots {
    fn new(name: &str) -> Self {
        let all = std::env::temp_dir().join(format!("ramboot-lay-{name}-{}", std::process::id()));
        let root = all.join("root");
        for folder in ["outside", "root/etc/ssh", "root/usr/lib", "root/root"] {
            fs::create_dir_all(all.join(folder)).expect("folders");
        }
        fs::write(all.join("outside/passwd"), "outside").expect("file");
        fs::set_permissions(root.join("root"), Permissions::from_mode(0o700)).expect("mode");
        symlink("usr/lib", root.join("lib")).expect("link");
        Self { all, root }
    }

    /// Whoever runs this owns what is laid in: another owner takes root.
    fn lay(&self, entries: &[(&str, u32, &[u8])]) -> anyhow::Result<Laid> {
        let own = fs::metadata(&self.root).expect("there");
        lay(&self.root, &parse(&pack(entries, own.uid(), own.gid()))?)
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }

    fn mode(&self, path: &str) -> u32 {
        let metadata = fs::symlink_metadata(self.root.join(path)).expect(path);
        metadata.mode() & 0o7777
    }

    fn outside(&self) -> Vec<String> {
        let names = fs::read_dir(self.all.join("outside")).expect("there");
        let names = names.map(|entry| entry.expect("entry").file_name());
        names
            .map(|name| name.into_string().expect("UTF-8"))
            .collect()
    }
}

impl Drop for Roots {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.all).ok();
    }
}

#[test]
fn files_folders_and_links_with_their_modes() {
    let roots = Roots::new("modes");
    fs::write(roots.root.join("etc/old"), "old").expect("file");
    symlink("old", roots.root.join("etc/link")).expect("link");
    let done = roots
        .lay(&[
            ("etc", 0o040_700, b""),
            ("etc/link", 0o100_644, b"a file now"),
            ("etc/new", 0o040_750, b""),
            ("etc/new/su", 0o104_711, b"program"),
            ("etc/old", 0o100_400, b"new"),
            ("etc/to", 0o120_777, b"/run/x"),
            ("lib", 0o040_700, b""),
            ("lib/unit", 0o100_644, b"through the link"),
            ("root", 0o040_755, b""),
            ("root/.ssh", 0o040_700, b""),
            ("root/.ssh/authorized_keys", 0o100_600, b"key"),
        ])
        .expect("laid");
    assert_eq!((done.laid, done.left_out), (11, Vec::new()));
    let modes = ["etc/new", "etc/new/su", "etc/old", "root/.ssh"].map(|path| roots.mode(path));
    assert_eq!(modes, [0o750, 0o4711, 0o400, 0o700]);
    // What the image has keeps its own: a folder of an overlay has the mode that some editor's umask gave it.
    assert_eq!((roots.mode("root"), roots.mode("usr/lib")), (0o700, 0o755));
    let texts = ["etc/link", "etc/old", "usr/lib/unit"].map(|path| roots.read(path));
    let want = ["a file now", "new", "through the link"];
    assert_eq!(texts, want.map(|text| Some(text.to_owned())));
    let link = fs::read_link(roots.root.join("etc/to")).expect("a link");
    assert_eq!(link, Path::new("/run/x"));
    assert!(roots.root.join("lib").is_symlink());
}

#[test]
fn what_has_no_folder_is_left_out() {
    let roots = Roots::new("left");
    fs::write(roots.root.join("etc/rancher"), "a file").expect("file");
    let done = roots
        .lay(&[
            ("etc/machine-id", 0o100_444, b"id"),
            ("etc/rancher/node/password", 0o100_600, b"p"),
            ("etc/ssh/key", 0o100_600, b"k"),
            ("opt/x", 0o100_644, b"x"),
        ])
        .expect("laid");
    assert_eq!(done.laid, 2);
    assert_eq!(done.left_out, ["/etc/rancher/node/password", "/opt/x"]);
    assert_eq!(roots.read("etc/ssh/key").as_deref(), Some("k"));
}

#[test]
fn nothing_leads_out_of_the_root() {
    let roots = Roots::new("out");
    let outside = roots.all.join("outside");
    // Of the image: links that lead out, were they followed as this program sees them.
    symlink(&outside, roots.root.join("absolute")).expect("link");
    symlink("../outside", roots.root.join("relative")).expect("link");
    symlink("../../../../outside", roots.root.join("etc/far")).expect("link");
    symlink(outside.join("passwd"), roots.root.join("etc/passwd")).expect("link");
    let done = roots
        .lay(&[
            ("absolute/x", 0o100_644, b"x"),
            ("etc/far/x", 0o100_644, b"x"),
            ("etc/passwd", 0o100_644, b"mine"),
            ("own", 0o120_777, b"../outside"),
            ("own/x", 0o100_644, b"x"),
            ("relative", 0o040_755, b""),
            ("relative/passwd", 0o100_644, b"mine"),
        ])
        .expect("laid");
    assert_eq!(roots.outside(), ["passwd"]);
    let passwd = fs::read_to_string(outside.join("passwd")).expect("there");
    assert_eq!(passwd, "outside");
    // `relative` led nowhere inside the root, so it is a folder now.
    assert_eq!(roots.read("relative/passwd").as_deref(), Some("mine"));
    assert!(!roots.root.join("etc/passwd").is_symlink());
    assert_eq!(roots.read("etc/passwd").as_deref(), Some("mine"));
    assert_eq!(done.left_out, ["/absolute/x", "/etc/far/x", "/own/x"]);
}

#[test]
fn a_link_inside_is_followed_as_the_image_would() {
    let roots = Roots::new("inside");
    fs::create_dir_all(roots.root.join("outside")).expect("folder");
    symlink("/outside", roots.root.join("a")).expect("link");
    symlink("../../../../outside", roots.root.join("b")).expect("link");
    roots
        .lay(&[("a/x", 0o100_644, b"1"), ("b/y", 0o100_644, b"2")])
        .expect("laid");
    assert_eq!(roots.outside(), ["passwd"]);
    let inside = ["outside/x", "outside/y"].map(|path| roots.read(path));
    assert_eq!(inside, [Some("1".to_owned()), Some("2".to_owned())]);
}

#[test]
fn a_folder_is_not_thrown_away_for_a_file() {
    let roots = Roots::new("folder");
    for (entry, want) in [
        (("etc/ssh", 0o100_644, &b"x"[..]), "/etc/ssh"),
        (("etc", 0o120_777, b"/usr"), "/etc"),
    ] {
        let error = format!("{:#}", roots.lay(&[entry]).expect_err("a folder"));
        assert!(error.contains(&format!("laying {want} of")), "{error}");
        assert!(error.ends_with("there is a folder of this name"), "{error}");
    }
    assert!(roots.root.join("etc/ssh").is_dir());
}

#[test]
fn a_folder_takes_the_place_of_a_file() {
    let roots = Roots::new("file");
    fs::write(roots.root.join("etc/x"), "file").expect("file");
    roots
        .lay(&[("etc/x", 0o040_755, b""), ("etc/x/y", 0o100_644, b"y")])
        .expect("laid");
    assert_eq!(roots.read("etc/x/y").as_deref(), Some("y"));
}

#[test]
fn hostile_archives_lay_nothing() {
    let roots = Roots::new("hostile");
    for path in [
        "../outside/x",
        "/outside/x",
        "etc/../../outside/x",
        "etc/..",
    ] {
        let entries: [(&str, u32, &[u8]); 2] =
            [("etc/good", 0o100_644, b"x"), (path, 0o100_644, b"x")];
        roots.lay(&entries).expect_err(path);
    }
    assert_eq!(roots.outside(), ["passwd"]);
    assert_eq!(roots.read("etc/good"), None, "all or nothing");
}
