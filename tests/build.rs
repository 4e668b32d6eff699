//! `ramboot build` with the real tar, packers and squashfs-tools: what a source has is in the image, and in it alone.
//!
//! Images are read with sqfs2tar and GNU tar, which share no code with what made them.

#[path = "build/archives.rs"]
mod archives;
#[path = "build/containers.rs"]
mod containers;
#[path = "build/foreign.rs"]
mod foreign;
#[path = "build/left_out.rs"]
mod left_out;
#[path = "build/root_folder.rs"]
mod root_folder;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use archives::{File, Layout, entries, tar};

fn ramboot(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ramboot"));
    command.arg("build").args(args);
    command
        .env_remove("RAMBOOT_LOG")
        .env_remove("SOURCE_DATE_EPOCH");
    command
}

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, bytes).expect("written");
        path
    }

    fn run(&self, source: &Path, image: &str, more: &[&str]) -> Output {
        let image = self.path(image);
        let mut command = ramboot(&[]);
        command.arg(source).arg("-o").arg(image).args(more);
        command.output().expect("runs")
    }

    /// The image's path, and what was said.
    fn build(&self, source: &Path, image: &str, more: &[&str]) -> (PathBuf, String) {
        let output = self.run(source, image, more);
        assert!(output.status.success(), "{}", text(&output.stderr));
        (self.path(image), text(&output.stdout))
    }

    /// The one sentence of a refusal, after which nothing is left.
    fn refused(&self, source: &Path, more: &[&str]) -> String {
        let before = self.names();
        let output = self.run(source, "none.sqfs", more);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(self.names(), before, "{said}");
        said
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).expect("a folder");
        let names = names.map(|name| name.expect("a name").file_name());
        let mut names: Vec<String> = names
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn packed(&self, source: &Path, with: &[&str]) -> PathBuf {
        let mut command = Command::new(with[0]);
        command.args(&with[1..]).arg("--stdout").arg(source);
        let output = command.stderr(Stdio::inherit()).output().expect("runs");
        assert!(output.status.success());
        // A name that says nothing.
        let name = format!("form-{}", self.names().len());
        self.write(&name, output.stdout)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn shell(script: &str, argument: &Path) -> String {
    let mut command = Command::new("sh");
    command.args(["-euc", script, "sh"]).arg(argument);
    let output = command.env("TZ", "UTC").output().expect("sh runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// As GNU tar shows it: mode, owner, size or device, time, path, target.
fn listing(image: &Path) -> Vec<String> {
    let script = "sqfs2tar --root-becomes . \"$1\" | tar -tvv --numeric-owner --full-time";
    let lines = shell(script, image);
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    lines.lines().map(words).collect()
}

fn paths(image: &Path) -> Vec<String> {
    let lines = shell("sqfs2tar \"$1\" | tar -t", image);
    lines
        .lines()
        .map(|line| line.trim_end_matches('/').to_owned())
        .collect()
}

fn content(image: &Path, path: &str) -> String {
    shell(&format!("unsquashfs -cat \"$1\" {path}"), image)
}

#[test]
fn owners_modes_devices_links_and_attributes_survive() {
    let bench = Bench::new();
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let long = format!("usr/{}/{}", "d".repeat(150), "f".repeat(150));
    let source = tar(|archive| {
        archive.folder("./", 0o711, (0, 0));
        archive.folder("bin", 0o755, (0, 0));
        archive.xattr("security.capability", &capability);
        archive.xattr("user.bytes", b"a=\0\xff");
        archive.file("bin/ping", 0o755, (0, 0), b"ping");
        archive.file("bin/su", 0o4755, (0, 33), b"");
        archive.link("bin/ping6", "ping");
        archive.hard("bin/ping4", "bin/ping");
        archive.xattr("user.of-a-folder", b"x");
        archive.folder("tmp", 0o1777, (0, 0));
        archive.file("large-ids", 0o600, (3_000_000, 4_000_000_000), b"x");
        archive.device("dev/null", false, (1, 3));
        archive.device("dev/sda", true, (8, 0));
        archive.fifo("run/initctl");
        archive.file(&long, 0o644, (0, 0), b"long");
        archive.file("empty-parents/a/b", 0o644, (1, 1), b"x");
    });
    let (image, said) = bench.build(&bench.write("source", source), "image.sqfs", &[]);
    assert!(said.contains("made of a tar with 19 entries"), "{said}");
    assert!(
        said.contains(
            "
next: ramboot publish "
        ),
        "{said}"
    );
    let at = "2023-11-14 22:13:20";
    let implied = "1970-01-01 00:00:00";
    let mut got = listing(&image);
    got.sort();
    let mut want = vec![
        format!("drwx--x--x 0/0 0 {at} ./"),
        format!("drwxr-xr-x 0/0 0 {at} ./bin/"),
        // Which of two names is the first is the packer's choice.
        format!("-rwxr-xr-x 0/0 4 {at} ./bin/ping"),
        format!("hrwxr-xr-x 0/0 0 {at} ./bin/ping4 link to ./bin/ping"),
        format!("-rwsr-xr-x 0/33 0 {at} ./bin/su"),
        format!("lrwxrwxrwx 0/0 0 {at} ./bin/ping6 -> ping"),
        format!("drwxrwxrwt 0/0 0 {at} ./tmp/"),
        format!("-rw------- 3000000/4000000000 1 {at} ./large-ids"),
        format!("drwxr-xr-x 0/0 0 {implied} ./dev/"),
        format!("crw-rw-rw- 0/0 1,3 {at} ./dev/null"),
        format!("brw-rw-rw- 0/0 8,0 {at} ./dev/sda"),
        format!("drwxr-xr-x 0/0 0 {implied} ./run/"),
        format!("prw-rw-rw- 0/0 0 {at} ./run/initctl"),
        format!("drwxr-xr-x 0/0 0 {implied} ./usr/"),
        format!("drwxr-xr-x 0/0 0 {implied} ./usr/{}/", "d".repeat(150)),
        format!("-rw-r--r-- 0/0 4 {at} ./{long}"),
        format!("drwxr-xr-x 0/0 0 {implied} ./empty-parents/"),
        format!("drwxr-xr-x 0/0 0 {implied} ./empty-parents/a/"),
        format!("-rw-r--r-- 1/1 1 {at} ./empty-parents/a/b"),
    ];
    want.sort();
    let first_names = |lines: Vec<String>| -> Vec<String> {
        let swapped = |line: String| {
            line.replace("./bin/ping4 link to ./bin/ping", "both")
                .replace("./bin/ping link to ./bin/ping4", "both")
                .replace(
                    "4 2023-11-14 22:13:20 ./bin/ping4",
                    "4 2023-11-14 22:13:20 ./bin/ping",
                )
        };
        lines.into_iter().map(swapped).collect()
    };
    assert_eq!(first_names(got), first_names(want));
    assert_eq!(content(&image, &long), "long");
    let xattrs = entries(&image);
    let of = |path: &str| {
        xattrs
            .iter()
            .find(|(name, _)| name == path)
            .map(|(_, xattrs)| xattrs.clone())
    };
    let file = of("bin/ping")
        .filter(|xattrs| !xattrs.is_empty())
        .or_else(|| of("bin/ping4"));
    let want = vec![
        ("security.capability".to_owned(), capability.to_vec()),
        ("user.bytes".to_owned(), b"a=\0\xff".to_vec()),
    ];
    assert_eq!(file, Some(want));
    assert_eq!(
        of("tmp/"),
        Some(vec![("user.of-a-folder".to_owned(), b"x".to_vec())])
    );
}

fn two_layers() -> [Vec<u8>; 2] {
    let below = tar(|archive| {
        archive.folder("etc", 0o755, (0, 0));
        archive.file("etc/passwd", 0o644, (0, 0), b"old");
        archive.file("etc/gone", 0o644, (0, 0), b"");
        archive.folder("opt", 0o755, (0, 0));
        archive.file("opt/gone", 0o644, (0, 0), b"");
        archive.file("bin", 0o755, (0, 0), b"a file");
        archive.file("kept", 0o755, (0, 0), b"kept");
        archive.hard("kept-too", "kept");
        archive.folder("usr/lib", 0o755, (0, 0));
        archive.link("lib", "usr/lib");
    });
    let above = tar(|archive| {
        archive.file("etc/.wh.gone", 0o644, (0, 0), b"");
        archive.file("etc/passwd", 0o640, (0, 42), b"new");
        archive.file("opt/.wh..wh..opq", 0o644, (0, 0), b"");
        archive.file("opt/new", 0o644, (0, 0), b"");
        archive.folder("bin", 0o755, (0, 0));
        archive.file("bin/sh", 0o755, (0, 0), b"sh");
        archive.file(".wh.kept", 0o644, (0, 0), b"");
        archive.file("lib/through", 0o644, (0, 0), b"");
    });
    [below, above]
}

#[test]
fn the_same_source_makes_the_same_bytes_in_whatever_form_it_comes() {
    let bench = Bench::new();
    let source = tar(|archive| {
        archive.folder("etc", 0o755, (0, 0));
        archive.folder("usr", 0o755, (0, 0));
        archive.file("etc/a", 0o644, (0, 0), &[b'a'; 300_000]);
        archive.link("b", "etc/a");
    });
    let source = bench.write("source", source);
    let mut forms = vec![source.clone()];
    for packer in [&["gzip"][..], &["xz"], &["zstd", "-q"]] {
        forms.push(bench.packed(&source, packer));
    }
    // Packed in two parts, one after the other, as programs that work in parallel do it.
    let bytes = fs::read(&source).expect("read");
    let (begin, end) = bytes.split_at(100_000);
    for packer in [&["gzip"][..], &["xz"], &["zstd", "-q"]] {
        let mut both = fs::read(bench.packed(&bench.write("begin", begin), packer)).expect("read");
        both.extend(fs::read(bench.packed(&bench.write("end", end), packer)).expect("read"));
        forms.push(bench.write(&format!("in-two-parts-{}", packer[0]), both));
    }
    let (first, _) = bench.build(&source, "first.sqfs", &[]);
    // An image of an image is that image.
    forms.push(first.clone());
    for form in forms {
        let (again, said) = bench.build(&form, "again.sqfs", &[]);
        let same = fs::read(&first).expect("read") == fs::read(&again).expect("read");
        assert!(same, "{} became other bytes: {said}", form.display());
    }
    let pipe = fs::File::open(&source).expect("opened");
    let piped = bench.path("piped.sqfs");
    let status = ramboot(&["-", "-o"])
        .arg(&piped)
        .stdin(pipe)
        .stdout(Stdio::null())
        .status();
    assert!(status.expect("runs").success());
    assert!(fs::read(&first).expect("read") == fs::read(&piped).expect("read"));
    // A file's time is in the image; that of the build is not, and none is later than asked.
    let (clamped, _) = bench.build(
        &source,
        "clamped.sqfs",
        &["--source-date-epoch", "1000000000"],
    );
    assert!(
        listing(&clamped)
            .iter()
            .all(|line| line.contains("2001-09-09 01:46:40"))
    );
}

#[test]
fn a_folder_comes_over_but_for_sockets() {
    let bench = Bench::new();
    let root = bench.path("root");
    bench.write("root/etc/a", "a");
    fs::create_dir(bench.path("root/usr")).expect("made");
    fs::hard_link(bench.path("root/etc/a"), bench.path("root/etc/b")).expect("linked");
    symlink("nowhere", bench.path("root/dangling")).expect("linked");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        bench.path("root/fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("made");
    let _socket = std::os::unix::net::UnixListener::bind(bench.path("root/socket")).expect("bound");
    let with_xattrs = rustix::fs::setxattr(
        bench.path("root/etc/a"),
        "user.x",
        b"y",
        rustix::fs::XattrFlags::empty(),
    )
    .is_ok();
    let (image, said) = bench.build(&root, "image.sqfs", &[]);
    assert!(said.contains("left out: /socket: a socket"), "{said}");
    let mut got = paths(&image);
    got.sort();
    assert_eq!(got, ["dangling", "etc", "etc/a", "etc/b", "fifo", "usr"]);
    let about = fs::metadata(&root).expect("there");
    let owner = format!(" {}/{} ", about.uid(), about.gid());
    assert!(
        listing(&image).iter().all(|line| line.contains(&owner)),
        "{:?}",
        listing(&image)
    );
    assert!(
        listing(&image).iter().any(|line| line.starts_with('h')),
        "{:?}",
        listing(&image)
    );
    if with_xattrs {
        let xattrs: Vec<_> = entries(&image)
            .into_iter()
            .flat_map(|(_, xattrs)| xattrs)
            .collect();
        assert_eq!(xattrs, [("user.x".to_owned(), b"y".to_vec())]);
    }
    let (again, _) = bench.build(&root, "again.sqfs", &[]);
    assert!(fs::read(&image).expect("read") == fs::read(&again).expect("read"));
    // Its own output would grow in it.
    let output = bench.run(&root, "root/image.sqfs", &[]);
    assert!(text(&output.stderr).contains("the image would lie in the folder it is made of"));
    if !rustix::process::geteuid().is_root() {
        let secret = bench.write("root/etc/secret", "x");
        fs::set_permissions(secret, std::os::unix::fs::PermissionsExt::from_mode(0o0))
            .expect("set");
        let said = bench.refused(&root, &[]);
        assert!(said.contains("/etc/secret: Permission denied"), "{said}");
    }
}

#[test]
fn layers_become_one_in_each_form_of_a_container_image() {
    let bench = Bench::new();
    let layers = two_layers();
    let gzip = bench.packed(&bench.write("layer", &layers[1]), &["gzip"]);
    let zstd = bench.packed(&bench.write("layer", &layers[0]), &["zstd", "-q"]);
    let packed = [fs::read(zstd).expect("read"), fs::read(gzip).expect("read")];
    let mut layout = Layout::default();
    layout.image("amd64", &packed);
    let mut forms = vec![
        bench.write("oci.tar", layout.archive()),
        bench.write("saved.tar", archives::docker_save(&layers, &layers)),
        bench.write("saved-packed.tar", archives::docker_save(&layers, &packed)),
        layout.folder(&bench.path("oci")),
    ];
    forms.push(bench.packed(&forms[0], &["gzip"]));
    // As docker writes it since version 25: both forms in one.
    layout.extra("manifest.json", b"[]");
    forms.push(bench.write("both.tar", layout.archive()));
    let mut first = None;
    for form in forms {
        let (image, said) = bench.build(&form, "image.sqfs", &[]);
        assert!(said.contains("2 layers for amd64"), "{said}");
        let mut got = paths(&image);
        got.sort();
        let want = [
            "bin",
            "bin/sh",
            "etc",
            "etc/passwd",
            "kept-too",
            "lib",
            "opt",
            "opt/new",
            "usr",
            "usr/lib",
            "usr/lib/through",
        ];
        assert_eq!(got, want, "{}", form.display());
        assert_eq!(content(&image, "etc/passwd"), "new");
        assert_eq!(content(&image, "kept-too"), "kept");
        let bytes = fs::read(image).expect("read");
        assert!(
            *first.get_or_insert_with(|| bytes.clone()) == bytes,
            "{}",
            form.display()
        );
    }
}

#[test]
fn of_several_images_the_one_asked_for_is_taken() {
    let bench = Bench::new();
    let layer =
        |name: &str| tar(|archive| archive.file(&format!("usr/{name}"), 0o644, (0, 0), b"x"));
    let mut layout = Layout::default();
    layout.image("arm64", &[layer("arm")]);
    layout.image("riscv64", &[layer("riscv")]);
    let source = layout.folder(&bench.path("oci"));
    for (arch, want) in [("aarch64", "arm"), ("riscv64", "riscv")] {
        let (image, said) = bench.build(&source, "image.sqfs", &["--arch", arch]);
        assert_eq!(paths(&image), ["usr", &format!("usr/{want}")]);
        assert!(said.contains("--arch takes another"), "{said}");
    }
    let said = bench.refused(&source, &["--arch", "s390x"]);
    assert!(
        said.contains("no image for s390x in it, only for arm64, riscv64"),
        "{said}"
    );
    layout.image("arm64", &[layer("another")]);
    let said = bench.refused(&layout.folder(&bench.path("oci-2")), &["--arch", "arm64"]);
    assert!(
        said.contains("2 images are in it (image, image); save one alone"),
        "{said}"
    );
}

#[test]
fn a_container_image_that_is_not_what_it_says_is_refused() {
    let bench = Bench::new();
    let layers = two_layers();
    let mut layout = Layout::default();
    layout.image("amd64", &layers);
    let blob = |number: usize| format!("oci/blobs/sha256/{}", archives::sha256(&layers[number]));
    let folder = layout.folder(&bench.path("oci"));
    let mut damaged = layers[1].clone();
    *damaged.last_mut().expect("some") = 1;
    bench.write(&blob(1), &damaged);
    let said = bench.refused(&folder, &[]);
    assert!(
        said.contains("layer 2 (sha256:") && said.contains("is damaged: its SHA-256 is"),
        "{said}"
    );
    fs::remove_file(bench.path(&blob(1))).expect("removed");
    assert!(bench.refused(&folder, &[]).contains("is missing"));
    bench.write(&blob(1), &layers[1][..512]);
    assert!(
        bench
            .refused(&folder, &[])
            .contains("has 512 bytes, and the manifest says")
    );
    let lying = archives::docker_save(&layers, &[layers[0].clone(), damaged]);
    let said = bench.refused(&bench.write("lying.tar", lying), &[]);
    assert!(said.contains("is damaged: its SHA-256 is"), "{said}");
    bench.write(
        "oci/index.json",
        r#"{"manifests":[{"digest":"sha256:../../../../etc/passwd"}]}"#,
    );
    assert!(
        bench
            .refused(&folder, &[])
            .contains("is not a digest of the form sha256:")
    );
}

#[test]
fn hostile_archives_are_refused_by_name() {
    let bench = Bench::new();
    type Make = fn(&mut File);
    let cases: [(Make, &str); 8] = [
        (
            |t| t.raw("../../etc/passwd", b"x"),
            "\"../../etc/passwd\" cannot be taken: it has .. in it",
        ),
        (|t| t.raw("a/../../b", b"x"), "it has .. in it"),
        (|t| t.raw("", b"x"), "it is empty"),
        (
            |t| t.hard("a", "/etc/shadow"),
            "\"a\" is a hard link to \"/etc/shadow\", which is not there",
        ),
        (
            |t| {
                t.file("a", 0o644, (0, 0), b"");
                t.file("a/b", 0o644, (0, 0), b"");
            },
            "\"a/b\" is below \"a\"",
        ),
        (
            |t| {
                t.link("a", "a");
                t.file("a/b", 0o644, (0, 0), b"");
            },
            "more than 40 symbolic links",
        ),
        (
            |t| t.device("dev/x", true, (4096, 1)),
            "/dev/x is device 4096:1",
        ),
        (
            |t| t.size_without_content("x", 1 << 40),
            "no machine holds that in its RAM",
        ),
    ];
    for (make, want) in cases {
        let source = tar(|archive| {
            archive.folder("usr", 0o755, (0, 0));
            make(archive);
        });
        let said = bench.refused(&bench.write("hostile.tar", source), &[]);
        assert!(said.contains(want), "{said}, not {want}");
    }
    // Through a link is inside, wherever it leads.
    let outside = tar(|archive| {
        archive.folder("usr", 0o755, (0, 0));
        archive.link("out", "../../../../tmp");
        archive.file("out/x", 0o644, (0, 0), b"x");
        archive.raw("/absolute", b"x");
    });
    let (image, _) = bench.build(&bench.write("outside.tar", outside), "image.sqfs", &[]);
    let mut got = paths(&image);
    got.sort();
    assert_eq!(got, ["absolute", "out", "tmp", "tmp/x", "usr"]);
    let whole = tar(|archive| archive.file("a", 0o644, (0, 0), &[1; 4000]));
    let said = bench.refused(&bench.write("cut.tar", &whole[..2000]), &[]);
    assert!(said.contains("it is cut off"), "{said}");
    let said = bench.refused(&bench.write("cut.tar", &whole[..512 + 4096]), &[]);
    assert!(said.contains("ends without the mark of its end"), "{said}");
    let packed = fs::read(bench.packed(&bench.write("whole", &whole), &["gzip"])).expect("read");
    bench.refused(&bench.write("cut.tar.gz", &packed[..packed.len() - 4]), &[]);
}

#[test]
fn what_is_no_source_is_called_by_its_name() {
    let bench = Bench::new();
    for (bytes, want) in [
        (&b""[..], "it is empty: known are a folder"),
        (b"some words", "it is of no kind that is known"),
        (
            b"PK\x03\x04 and so on",
            "it is a zip archive: make a tar of it with `bsdtar -cf root.tar @'",
        ),
        (b"BZh91AY", "it is packed with bzip2"),
        (b"QFI\xfb", "qemu-img convert -O raw"),
    ] {
        let said = bench.refused(&bench.write("source", bytes), &[]);
        assert!(said.contains(want), "{said}");
    }
    let said = bench.refused(&bench.path("nothing"), &[]);
    assert!(
        said.contains("/nothing: No such file or directory"),
        "{said}"
    );
}

#[test]
fn a_missing_program_is_named_with_its_package() {
    let bench = Bench::new();
    let source = tar(|archive| archive.file("usr/a", 0o644, (0, 0), b"x"));
    let source = bench.write("source", source);
    let (image, _) = bench.build(&source, "image.sqfs", &[]);
    for (source, want) in [
        (
            &source,
            "mksquashfs is missing, which packs the image: apt install squashfs-tools",
        ),
        (&image, "sqfs2tar is missing"),
    ] {
        let mut command = ramboot(&["-o"]);
        command
            .arg(bench.path("none.sqfs"))
            .arg(source)
            .env("PATH", "");
        let output = command.output().expect("runs");
        assert!(
            text(&output.stderr).contains(want),
            "{}",
            text(&output.stderr)
        );
    }
    assert_eq!(bench.names(), ["image.sqfs", "source"]);
}

#[test]
fn an_image_is_replaced_when_the_new_one_is_complete_and_not_before() {
    let bench = Bench::new();
    // What does not get smaller by packing.
    let mut noise = vec![0; 400_000];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let source = tar(|archive| archive.file("usr/noise", 0o644, (0, 0), &noise));
    let source = bench.write("source", source);
    bench.write("image.sqfs", "the old one");
    let script = "trap '' XFSZ; ulimit -f 128; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args([
        "-c",
        script,
        "sh",
        env!("CARGO_BIN_EXE_ramboot"),
        "build",
        "-o",
    ]);
    command.arg(bench.path("image.sqfs")).arg(&source);
    let output = command.output().expect("runs");
    let said = text(&output.stderr);
    assert!(
        !output.status.success()
            && said.contains("mksquashfs failed")
            && said.contains("File too large"),
        "{said}"
    );
    assert_eq!(bench.names(), ["image.sqfs", "source"]);
    assert_eq!(
        fs::read(bench.path("image.sqfs")).expect("read"),
        b"the old one"
    );
    bench.build(&source, "image.sqfs", &[]);
    assert!(
        fs::read(bench.path("image.sqfs"))
            .expect("read")
            .starts_with(b"hsqs")
    );
    assert_eq!(bench.names(), ["image.sqfs", "source"]);
}

#[test]
fn what_would_hang_a_machine_is_found_and_with_fix_switched_off() {
    let bench = Bench::new();
    let fstab = "proc /proc proc defaults 0 0\nPARTUUID=1-01 /boot/firmware vfat defaults 0 2\nPARTUUID=1-02 / ext4 \
                 defaults,noatime 0 1\n/dev/sdb1 /data ext4 defaults 0 2\n/var/swap none swap sw 0 0\n";
    let source = tar(|archive| {
        archive.file("etc/fstab", 0o640, (0, 4), fstab.as_bytes());
        archive.file("etc/crypttab", 0o644, (0, 0), b"data UUID=1 none luks\n");
        let wants = "etc/systemd/system/multi-user.target.wants";
        for unit in [
            "userconfig",
            "dphys-swapfile",
            "regenerate_ssh_host_keys",
            "ssh",
        ] {
            archive.link(
                &format!("{wants}/{unit}.service"),
                &format!("/usr/lib/systemd/system/{unit}.service"),
            );
        }
        archive.link(
            "etc/systemd/system/sysinit.target.wants/rpi-resize.service",
            "x",
        );
        archive.link(
            "etc/systemd/system/local-fs.target.wants/systemd-growfs-root.service",
            "x",
        );
        archive.link("etc/rc3.d/S01resize2fs_once", "../init.d/resize2fs_once");
        archive.file(
            "usr/lib/systemd/system-generators/cloud-init-generator",
            0o755,
            (0, 0),
            b"",
        );
        archive.file(
            "boot/initrd.img-6.1.0-56-amd64",
            0o600,
            (0, 0),
            &vec![7; 5 << 20],
        );
    });
    let source = bench.write("source", source);
    let places = [
        "/boot/initrd.img-6.1.0-56-amd64",
        "/etc/crypttab line 1",
        "/etc/fstab line 2",
        "/etc/fstab line 3",
        "/etc/fstab line 4",
        "/etc/fstab line 5",
        "/etc/rc3.d/S01resize2fs_once",
        "/etc/systemd/system/local-fs.target.wants/systemd-growfs-root.service",
        "/etc/systemd/system/multi-user.target.wants/dphys-swapfile.service",
        "/etc/systemd/system/multi-user.target.wants/regenerate_ssh_host_keys.service",
        "/etc/systemd/system/multi-user.target.wants/userconfig.service",
        "/etc/systemd/system/sysinit.target.wants/rpi-resize.service",
        "/usr/lib/systemd/system-generators/cloud-init-generator",
    ];
    let (image, said) = bench.build(&source, "found.sqfs", &[]);
    for place in places {
        assert!(said.contains(&format!("found: {place}: ")), "{said}");
    }
    assert!(
        said.ends_with("nothing was changed: run again with --fix\n"),
        "{said}"
    );
    assert_eq!(content(&image, "etc/fstab"), fstab);
    assert_eq!(
        paths(&image)
            .iter()
            .filter(|path| path.contains("wants/"))
            .count(),
        6
    );

    let (image, said) = bench.build(&source, "fixed.sqfs", &["--fix", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).expect("one object");
    let findings = said["findings"].as_array().expect("a list");
    let got: Vec<&str> = findings
        .iter()
        .filter_map(|finding| finding["place"].as_str())
        .collect();
    assert_eq!(got, places);
    assert!(findings.iter().all(|finding| finding["fixed"] == true));
    assert_eq!(
        content(&image, "etc/fstab"),
        "proc /proc proc defaults 0 0\n# ramboot build: PARTUUID=1-01 /boot/firmware vfat defaults 0 2\n# ramboot build: \
         PARTUUID=1-02 / ext4 defaults,noatime 0 1\n/dev/sdb1 /data ext4 defaults,nofail 0 2\n# ramboot build: /var/swap none swap \
         sw 0 0\n"
    );
    assert!(
        listing(&image)
            .iter()
            .any(|line| line.starts_with("-rw-r----- 0/4 ") && line.ends_with("./etc/fstab"))
    );
    let left = paths(&image);
    assert!(
        left.iter()
            .filter(|path| path.contains("wants/"))
            .eq(["etc/systemd/system/multi-user.target.wants/ssh.service"])
    );
    assert!(!left.contains(&"etc/rc3.d/S01resize2fs_once".to_owned()));
    assert!(!left.contains(&"boot/initrd.img-6.1.0-56-amd64".to_owned()));
    assert!(left.contains(&"etc/cloud/cloud-init.disabled".to_owned()));
    // Nothing is left to find.
    let (_, said) = bench.build(&image, "again.sqfs", &[]);
    assert!(!said.contains("found: "), "{said}");
}

#[test]
fn gnu_tar_with_attributes_and_holes_comes_over() {
    let bench = Bench::new();
    bench.write("root/a", "a");
    fs::create_dir(bench.path("root/usr")).expect("made");
    let sparse = fs::File::create(bench.path("root/sparse")).expect("made");
    sparse.set_len(3_000_000).expect("set");
    (&sparse).write_all(b"begin").expect("written");
    let value = rustix::fs::setxattr(
        bench.path("root/a"),
        "user.x",
        b"l\n\0=%",
        rustix::fs::XattrFlags::empty(),
    );
    let mut images = Vec::new();
    for options in [
        "--format=posix --sparse --xattrs",
        "--format=posix --xattrs",
        "--format=gnu --sparse",
    ] {
        let script = format!("tar -C \"$1\" -c --sort=name {options} . ");
        let mut command = Command::new("sh");
        command
            .args(["-euc", &script, "sh"])
            .arg(bench.path("root"));
        let archive = command.output().expect("runs").stdout;
        let (image, _) = bench.build(&bench.write("source", archive), "image.sqfs", &[]);
        assert_eq!(
            shell("unsquashfs -cat \"$1\" sparse | wc -c", &image).trim(),
            "3000000"
        );
        let xattrs: Vec<_> = entries(&image)
            .into_iter()
            .flat_map(|(_, xattrs)| xattrs)
            .collect();
        if value.is_ok() && options.contains("xattrs") {
            assert_eq!(xattrs, [("user.x".to_owned(), b"l\n\0=%".to_vec())]);
            images.push(fs::read(image).expect("read"));
        }
    }
    assert!(images.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_disk_image_comes_over_packed_or_not() {
    let bench = Bench::new();
    bench.write("root/etc/fstab", "PARTUUID=1-02 / ext4 defaults 0 1\n");
    bench.write("root/etc/os-release", "");
    bench.write("root/boot/firmware/hidden", "");
    bench.write("config.txt", "arm_64bit=1\n");
    let script = "cd \"$1\"
        PATH=/usr/sbin:/sbin:$PATH
        truncate -s 24M disk.img
        mke2fs -q -t ext4 -d root root.img 8M
        mkfs.vfat -C boot.img 8192 >/dev/null
        mcopy -i boot.img config.txt ::
        printf 'label: dos\\nstart=2048, size=16384, type=c\\nstart=18432, size=16384, type=83\\n' | sfdisk -q disk.img
        dd if=boot.img of=disk.img bs=1M seek=1 conv=notrunc status=none
        dd if=root.img of=disk.img bs=1M seek=9 conv=notrunc status=none";
    let mut command = Command::new("sh");
    command.args(["-euc", script, "sh"]).arg(bench.0.path());
    let status = command.status();
    assert!(status.expect("sh runs").success());
    let plain = bench.path("disk.img");
    let mut first = None;
    for form in [
        plain.clone(),
        bench.packed(&plain, &["xz", "-0"]),
        bench.packed(&plain, &["zstd", "-q"]),
    ] {
        let before = bench.names();
        let (image, said) = bench.build(&form, "image.sqfs", &[]);
        assert!(said.contains("made of a disk image"), "{said}");
        assert!(
            said.contains("found: /etc/fstab line 1: the root on PARTUUID=1-02"),
            "{said}"
        );
        let mut got = paths(&image);
        got.sort();
        let want = [
            "boot",
            "boot/firmware",
            "boot/firmware/config.txt",
            "etc",
            "etc/fstab",
            "etc/os-release",
        ];
        assert_eq!(got, want);
        let bytes = fs::read(&image).expect("read");
        assert!(
            *first.get_or_insert_with(|| bytes.clone()) == bytes,
            "{}",
            form.display()
        );
        fs::remove_file(image).expect("removed");
        assert_eq!(bench.names(), before);
    }
}

#[test]
fn the_root_folder_is_roots_whoever_builds() {
    let bench = Bench::new();
    let source = tar(|archive| {
        archive.folder("./", 0o755, (0, 0));
        archive.folder("usr", 0o755, (0, 0));
    });
    let source = bench.write("source", source);
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(bench.0.path(), open).expect("set");
    let image = bench.path("image.sqfs");
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.arg(env!("CARGO_BIN_EXE_ramboot"));
        command
    } else {
        Command::new(env!("CARGO_BIN_EXE_ramboot"))
    };
    command.arg("build").arg(source).arg("-o").arg(&image);
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    // Where no user namespace can be had, it is said.
    if !text(&output.stdout).contains("build as root") {
        assert!(
            listing(&image)[0].starts_with("drwxr-xr-x 0/0 "),
            "{:?}",
            listing(&image)
        );
    }
}
