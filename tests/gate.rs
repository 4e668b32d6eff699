//! The gate in front of publishing: each script in `tests/gate/` breaks a good image in one way, and its first line is the
//! sentence by which `ramboot publish` must refuse it (a `*` there stands for digits).
//!
//! Images are real: a tree on the disk, packed by mksquashfs. Lines that begin with `# mksquashfs:`, `# ramboot:`, `# tree:`,
//! `# host:` or `# cut` say what else a script wants: options of those programs, another tree to begin with, a host whose
//! programs it can take, only the image's first kilobyte.

mod small_image;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use small_image::{BUILTIN, CONFIG, DEP, VERSION, bzimage, debian_like, program, squashfs};

const ARM64: &str = "6.12.1-arm64";

/// A folder with a tree, its image and a store.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(tree: &str) -> Self {
        let bench = Self {
            folder: tempfile::tempdir().expect("temp folder"),
        };
        match tree {
            "arm64" => arm64(&bench.tree()),
            _ => debian(&bench.tree()),
        }
        bench
    }

    fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image.sqfs")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn run(&self, script: &str) -> &Self {
        let output = Command::new("sh")
            .args(["-euc", script])
            .current_dir(self.tree())
            .output()
            .expect("sh runs");
        assert!(output.status.success(), "{script}: {output:?}");
        self
    }

    fn pack(&self, options: &str) -> &Self {
        let options = if options.is_empty() {
            "-comp zstd"
        } else {
            options
        };
        let output = Command::new("mksquashfs")
            .args([self.tree(), self.image()])
            .args(["-quiet", "-no-progress", "-noappend", "-all-root"])
            .args(options.split(' '))
            .output()
            .expect("tests/setup.sh installs squashfs-tools");
        assert!(output.status.success(), "{options}: {output:?}");
        self
    }

    fn publish(&self, options: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ramboot"))
            .args(["publish", "--name", "worker", "--state"])
            .args([self.state(), self.image()])
            .args(options)
            .output()
            .expect("runs")
    }

    fn images(&self, options: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_ramboot"))
            .args(["images", "--state"])
            .arg(self.state())
            .args(options)
            .output()
            .expect("runs");
        text(&output.stdout)
    }

    /// What is visible in the store.
    fn visible(&self) -> usize {
        let names = ["images", "names"].map(|part| fs::read_dir(self.state().join(part)));
        names.into_iter().flatten().flatten().count()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

/// Sentences of these severities, in order.
fn sentences(json: &Value, severities: &[&str]) -> Vec<String> {
    let findings = json["findings"].as_array().expect("a list").iter();
    let of = findings.filter(|f| severities.contains(&f["severity"].as_str().expect("a word")));
    let sentence = |f: &Value| f["sentence"].as_str().expect("a sentence").to_owned();
    of.map(sentence).collect()
}

const ERRORS: [&str; 2] = ["fatal", "error"];

fn write(tree: &Path, path: &str, content: &[u8]) {
    let path = tree.join(path);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(&path, content).expect("written");
}

fn write_program(tree: &Path, path: &str, content: &[u8]) {
    write(tree, path, content);
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(tree.join(path), mode).expect("mode");
}

/// A program with a loader (ELF specification, "Program Header": PT_INTERP).
fn dynamic(loader: &str) -> Vec<u8> {
    let mut file = program(62);
    file[32] = 64;
    file[54] = 56;
    file[56] = 1;
    let mut header = [0_u8; 56];
    header[0] = 3;
    header[8] = 120;
    header[32] = u8::try_from(loader.len() + 1).expect("short");
    file.extend(header);
    file.extend(format!("{loader}\0").as_bytes());
    file
}

/// A kernel module that is its `.modinfo` alone.
fn module(machine: u8, version: &str) -> Vec<u8> {
    const NAMES: &[u8] = b"\0.shstrtab\0.modinfo\0";
    let info = format!("license=GPL\0vermagic={version} SMP preempt mod_unload \0");
    let mut file = small_image::module(machine);
    let table = file.len() + NAMES.len() + info.len();
    file[40] = u8::try_from(table).expect("short");
    file[60] = 3;
    file[62] = 1;
    let sections = [
        (0, 0, 0),
        (1, 64, NAMES.len()),
        (11, 64 + NAMES.len(), info.len()),
    ];
    file.extend(NAMES);
    file.extend(info.as_bytes());
    for (name, offset, size) in sections {
        let mut section = [0_u8; 64];
        section[0] = name;
        section[24] = u8::try_from(offset).expect("short");
        section[32] = u8::try_from(size).expect("short");
        file.extend(section);
    }
    file
}

fn skeleton(tree: &Path) {
    for folder in [
        "usr/bin",
        "usr/sbin",
        "usr/lib",
        "usr/lib64",
        "etc",
        "dev",
        "proc",
        "sys",
        "run",
        "tmp",
    ] {
        fs::create_dir_all(tree.join(folder)).expect("made");
    }
    for folder in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{folder}"), tree.join(folder)).expect("linked");
    }
    symlink("/lib/systemd/systemd", tree.join("sbin/init")).expect("linked");
    write(tree, "etc/fstab", b"# UNCONFIGURED FSTAB FOR BASE SYSTEM\n");
    write(tree, "etc/machine-id", b"");
}

/// What a Debian 12 for x86-64 has, as far as anybody here looks.
fn debian(tree: &Path) {
    skeleton(tree);
    let loader = "/lib64/ld-linux-x86-64.so.2";
    write_program(tree, "lib/systemd/systemd", &dynamic(loader));
    write_program(tree, "bin/dash", &dynamic(loader));
    symlink("dash", tree.join("bin/sh")).expect("linked");
    write_program(tree, &loader[1..], &program(62));
    write(tree, &format!("boot/vmlinuz-{VERSION}"), &bzimage());
    write(tree, &format!("boot/config-{VERSION}"), CONFIG.as_bytes());
    let modules = format!("lib/modules/{VERSION}");
    write(tree, &format!("{modules}/modules.dep"), DEP.as_bytes());
    write(
        tree,
        &format!("{modules}/modules.builtin"),
        BUILTIN.as_bytes(),
    );
    for path in ["drivers/net/ethernet/e1000", "lib/needed"] {
        let path = format!("{modules}/kernel/{path}.ko");
        write(tree, &path, &module(62, VERSION));
    }
}

/// What a Raspberry Pi OS has.
fn arm64(tree: &Path) {
    skeleton(tree);
    write_program(tree, "lib/systemd/systemd", &program(183));
    let mut kernel = vec![0; 64];
    kernel[56..60].copy_from_slice(b"ARM\x64");
    kernel.extend(format!("Linux version {ARM64} (x)").as_bytes());
    write(tree, &format!("boot/vmlinuz-{ARM64}"), &kernel);
    write(tree, &format!("boot/config-{ARM64}"), CONFIG.as_bytes());
    let modules = format!("lib/modules/{ARM64}");
    let builtin =
        format!("{BUILTIN}kernel/drivers/net/usb/smsc95xx.ko\nkernel/drivers/usb/dwc2/dwc2.ko\n");
    let card = "kernel/drivers/net/ethernet/broadcom/genet/genet.ko";
    write(
        tree,
        &format!("{modules}/modules.dep"),
        format!("{card}:\n").as_bytes(),
    );
    write(
        tree,
        &format!("{modules}/modules.builtin"),
        builtin.as_bytes(),
    );
    write(tree, &format!("{modules}/{card}"), &module(183, ARM64));
    for file in [
        "bootcode.bin",
        "start.elf",
        "fixup.dat",
        "bcm2710-rpi-3-b.dtb",
        "start4.elf",
        "fixup4.dat",
        "bcm2711-rpi-4-b.dtb",
    ] {
        write(tree, &format!("boot/firmware/{file}"), file.as_bytes());
    }
}

/// A `*` in `want` stands for digits and blanks between them.
fn is_like(said: &str, want: &str) -> bool {
    match want.split_once('*') {
        None => said == want,
        Some((before, after)) => said.strip_prefix(before).is_some_and(|rest| {
            let digits = |c: char| c.is_ascii_digit() || c == ' ';
            let number = rest.len() - rest.trim_start_matches(digits).len();
            (1..=number).any(|number| is_like(&rest[number..], after))
        }),
    }
}

/// One broken image: what is wrong with how it is refused, if anything.
fn refused(script: &Path) -> Result<(), String> {
    let text_of_script = fs::read_to_string(script).expect("read");
    let mut lines = text_of_script.lines();
    let want = lines
        .next()
        .and_then(|line| line.strip_prefix("# "))
        .expect("a sentence");
    let option = |name: &str| {
        let mut lines = text_of_script.lines();
        lines.find_map(|line| line.strip_prefix(&format!("# {name}")))
    };
    if option("host: ").is_some_and(|arch| arch != std::env::consts::ARCH) {
        return Ok(());
    }
    let bench = Bench::new(option("tree: ").unwrap_or("debian"));
    bench.run(&text_of_script);
    bench.pack(option("mksquashfs: ").unwrap_or_default());
    if option("cut").is_some() {
        let image = fs::File::options()
            .write(true)
            .open(bench.image())
            .expect("opens");
        image.set_len(1024).expect("cut");
    }
    let mut options = vec!["--json"];
    options.extend(
        option("ramboot: ")
            .unwrap_or_default()
            .split_ascii_whitespace(),
    );
    let output = bench.publish(&options);
    let said = if output.stdout.is_empty() {
        // No squashfs at all: there is nothing to report on.
        let said = text(&output.stderr);
        let said = said
            .trim_end()
            .split_once(": ")
            .and_then(|(_, said)| said.split_once(": "));
        vec![said.map(|(_, said)| said.to_owned()).unwrap_or_default()]
    } else {
        sentences(&json(&output), &ERRORS)
    };
    if output.status.code() != Some(1) || bench.visible() > 0 {
        return Err(format!("{output:?}, {} visible", bench.visible()));
    }
    match said.as_slice() {
        [one] if is_like(one, want) => Ok(()),
        _ => Err(format!("wanted {want:?},\n    said {said:#?}")),
    }
}

/// Real images differ from Debian's in names; each of these boots, and the publish says what is to be known.
#[test]
fn kernels_go_by_what_they_say_and_the_rest_is_said() {
    for (script, options, want) in [
        (
            "mv boot/vmlinuz-$V boot/vmlinuz-lts",
            "",
            "6.1.0-56-amd64, as /boot/vmlinuz-lts in the image says itself",
        ),
        (
            "mv boot/vmlinuz-$V boot/bzImage",
            "",
            "6.1.0-56-amd64, as /boot/bzImage in the image says itself",
        ),
        (
            "mv boot/vmlinuz-$V lib/modules/$V/vmlinuz; mv boot/config-$V lib/modules/$V/config",
            "",
            "6.1.0-56-amd64, as /lib/modules/6.1.0-56-amd64/vmlinuz in the image says itself",
        ),
        (
            RT,
            "",
            "6.1.0-56-amd64 and 6.1.0-56-rt-amd64 are of one release, and neither /vmlinuz nor a package names one: 6.1.0-56-amd64 is taken; --kernel-version picks another",
        ),
        (
            // As openSUSE has it: all names are links to the file beside the modules.
            "mv boot/vmlinuz-$V lib/modules/$V/vmlinuz; ln -s ../usr/lib/modules/$V/vmlinuz boot/vmlinuz-$V; ln -s vmlinuz-$V boot/vmlinuz
            mkdir lib/modules/6.1.0-56-a; cp lib/modules/$V/modules.* lib/modules/6.1.0-56-a; cp -r lib/modules/$V/kernel lib/modules/6.1.0-56-a
            sed s/$V/6.1.0-56-a/ lib/modules/$V/vmlinuz | tr -d '\\r' >lib/modules/6.1.0-56-a/vmlinuz",
            "",
            "6.1.0-56-amd64 is taken instead of 6.1.0-56-a, as /vmlinuz leads to it; --kernel-version picks another",
        ),
        (
            RT,
            "--kernel-version 6.1.0-56-amd64",
            "6.1.0-56-amd64, as /boot/vmlinuz-6.1.0-56-amd64 in the image says itself",
        ),
        (
            "mkdir lib/modules/$V/weak-updates; ln -s /lib/modules/gone/x.ko lib/modules/$V/weak-updates; echo weak-updates/x.ko: >>lib/modules/$V/modules.dep",
            "",
            "modules.dep names weak-updates/x.ko, which is not there; a running worker may miss them: run depmod -b ROOT 6.1.0-56-amd64 before the image is made, or put them back",
        ),
        (
            "head -c 31000000 /dev/urandom >boot/initrd.img-$V",
            "",
            "the image has /boot/initrd.img-6.1.0-56-amd64 (29 MiB): ramboot makes its own initramfs, and each worker would fetch these bytes and keep them in RAM for nothing; take them out, or let \"ramboot build --fix\" do it",
        ),
        (
            // The kernel follows up to 4 095 bytes.
            "ln -s \"$(printf '%04000d' 0)\" etc/long",
            "",
            "6.1.0-56-amd64, as /boot/vmlinuz-6.1.0-56-amd64 in the image says itself",
        ),
    ] {
        let bench = Bench::new("debian");
        bench.run(&format!("V={VERSION}\n{script}")).pack("");
        let mut arguments = vec!["--dry-run", "--json"];
        arguments.extend(options.split_ascii_whitespace());
        let output = bench.publish(&arguments);
        assert!(output.status.success(), "{script}: {output:?}");
        let said = sentences(&json(&output), &["warning", "fine"]);
        assert!(said.contains(&want.to_owned()), "{script}: {said:#?}");
    }
}

/// A second kernel of the release, with modules.
const RT: &str = "sed s/$V/6.1.0-56-rt-amd64/ boot/vmlinuz-$V >boot/vmlinuz-6.1.0-56-rt-amd64
cp -a lib/modules/$V lib/modules/6.1.0-56-rt-amd64";

#[test]
fn a_worker_of_a_foreign_kernel_is_told_whether_it_has_modules() {
    let bench = Bench::new("debian");
    bench.run(&format!(
        "cp boot/vmlinuz-{VERSION} ../kernel; cp -a lib/modules/{VERSION} ..; rm -r boot lib/modules"
    ));
    bench.pack("");
    let beside = |name: &str| bench.folder.path().join(name).display().to_string();
    let (kernel, modules) = (beside("kernel"), beside(VERSION));
    let output = bench.publish(&[
        "--dry-run",
        "--json",
        "--kernel",
        &kernel,
        "--modules",
        &modules,
    ]);
    let said = sentences(&json(&output), &["warning"]);
    let want = format!(
        "the image has no /lib/modules/{VERSION}: the initramfs has the modules that a start needs"
    );
    assert!(said.iter().any(|said| said.starts_with(&want)), "{said:#?}");
}

#[test]
fn each_broken_image_is_refused_by_its_sentence() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gate");
    let scripts = fs::read_dir(folder).expect("there");
    let mut scripts: Vec<PathBuf> = scripts.map(|entry| entry.expect("read").path()).collect();
    scripts.sort();
    assert!(scripts.len() >= 20, "{scripts:?}");
    let wrong: Vec<String> = scripts
        .iter()
        .filter_map(|script| Some((script, refused(script).err()?)))
        .map(|(script, why)| format!("{}: {why}", script.file_name().expect("a name").display()))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_unbroken_trees_pass_without_a_word() {
    for tree in ["debian", "arm64"] {
        let bench = Bench::new(tree);
        let output = bench.pack("").publish(&["--json"]);
        assert!(output.status.success(), "{output:?}");
        let said = sentences(&json(&output), &["fatal", "error", "warning"]);
        assert_eq!(said, Vec::<String>::new(), "{tree}");
        assert_eq!(bench.visible(), 2);
    }
    // Nor does the image that other tests and benches publish.
    let bench = Bench::new("debian");
    fs::write(bench.image(), squashfs(&debian_like())).expect("written");
    let examination = json(&bench.publish(&["--dry-run", "--json"]));
    let said = sentences(&examination, &["fatal", "error", "warning"]);
    assert_eq!(said, Vec::<String>::new());
}

#[test]
fn a_dry_run_says_all_and_changes_nothing() {
    let bench = Bench::new("debian");
    bench.pack("");
    let good = bench.publish(&["--dry-run"]);
    assert!(good.status.success(), "{good:?}");
    let said = text(&good.stdout);
    assert!(
        said.contains(" would be published: no errors, no warnings\n"),
        "{said}"
    );
    assert!(
        said.contains(
            "\n  fine     init       /sbin/init (a link to /usr/lib/systemd/systemd), for x86_64\n"
        ),
        "{said}"
    );

    bench.run("rm sbin/init lib/systemd/systemd; rmdir run; ln -s /x run; rm -r tmp");
    bench.pack("");
    let bad = bench.publish(&["--dry-run", "--json"]);
    assert_eq!(bad.status.code(), Some(1), "{bad:?}");
    let examination = json(&bad);
    assert_eq!(examination["publishable"], false);
    assert_eq!(
        examination["needs_ram"].as_u64().map(|n| n > 64 << 20),
        Some(true)
    );
    assert_eq!(sentences(&examination, &ERRORS).len(), 2, "{examination}");
    assert_eq!(
        sentences(&examination, &["warning"]).len(),
        1,
        "{examination}"
    );
    let stderr = text(&bad.stderr);
    assert!(
        stderr.ends_with(" would not be published: 2 errors, 1 warning\n"),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    let left: Vec<_> = fs::read_dir(bench.folder.path()).expect("there").collect();
    assert_eq!(left.len(), 2, "a tree and an image: {left:?}");
}

#[test]
fn warnings_are_said_and_stop_nothing() {
    let bench = Bench::new("debian");
    bench.run(
        "echo 'UUID=1-2 /boot vfat defaults 0 2' >etc/fstab
         echo 0123456789abcdef0123456789abcdef >etc/machine-id
         mkdir etc/ssh; : >etc/ssh/ssh_host_ed25519_key",
    );
    let output = bench.pack("").publish(&[]);
    assert!(output.status.success(), "{output:?}");
    let said = text(&output.stdout);
    for line in [
        "  warning    /etc/fstab mounts UUID=1-2 on /boot: a worker without that disk waits for it and stops; take the lines out, \
         or let \"ramboot build --fix\" do it\n",
        "  warning    /etc/machine-id has content (01234567…), the same for all workers that get no files of their own: empty \
         it\n",
        "  warning    the image has SSH host keys (ssh_host_ed25519_key): who can fetch it has them, and all workers are one; \
         remove them, each worker gets its own\n",
    ] {
        assert!(said.contains(line), "{said}");
    }
}

#[test]
fn several_errors_are_said_at_once() {
    let bench = Bench::new("debian");
    bench.run("chmod 644 lib/systemd/systemd; rmdir run; ln -s /x run; sed -i s/RD_ZSTD=y/RD_ZSTD=n/ boot/config-*");
    let output = bench.pack("").publish(&[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 4, "{said}");
    for (line, check) in lines.iter().zip(["init", "config", "root"]) {
        assert!(line.starts_with(&format!("  error    {check} ")), "{line}");
    }
    let last =
        " is not published: 3 errors; nothing was changed; --force publishes it all the same";
    assert!(
        lines[3].starts_with("ramboot: ") && lines[3].ends_with(last),
        "{said}"
    );
    assert_eq!((output.stdout.len(), bench.visible()), (0, 0));
}

#[test]
fn force_is_recorded_and_not_for_everything() {
    let bench = Bench::new("debian");
    bench.pack("");
    let clean = bench.publish(&[]);
    assert!(clean.status.success(), "{clean:?}");
    bench.run("rmdir run; ln -s /x run");
    bench.pack("");
    assert_eq!(bench.publish(&[]).status.code(), Some(1));
    let forced = bench.publish(&["--force", "--json"]);
    assert!(forced.status.success(), "{forced:?}");
    let forced = json(&forced);
    let want = "/run is a symbolic link to /x: /init mounts there; make it an empty folder";
    assert_eq!(forced["forced"], serde_json::json!([want]));

    let listed: Value = serde_json::from_str(&bench.images(&["--json"])).expect("JSON");
    let generations = &listed["names"][0]["generations"];
    assert_eq!(generations[0]["forced"], serde_json::json!([want]));
    assert_eq!(generations[1]["forced"], Value::Null);
    for options in [&[][..], &["worker"]] {
        let said = bench.images(options);
        assert!(said.contains(&format!("forced: {want}\n")), "{said}");
    }
    let read = |path: String| -> Value {
        let text = fs::read_to_string(bench.state().join(path)).expect("read");
        serde_json::from_str(&text).expect("JSON")
    };
    let id = forced["image"].as_str().expect("an id");
    assert_eq!(read(format!("images/{id}/image.json"))["forced"][0], want);
    assert_eq!(read("names/worker/2.json".to_owned())["forced"][0], want);

    // The same image again with another fault: its file stays as it is, the generation has its own.
    let again = bench.publish(&["--force", "--json", "--min-ram", "64M"]);
    let again = json(&again);
    assert_eq!(again["forced"].as_array().map(Vec::len), Some(2), "{again}");
    let facts = read(format!("images/{id}/image.json"));
    assert_eq!(facts["forced"].as_array().map(Vec::len), Some(1));
    let generation = read("names/worker/3.json".to_owned());
    assert_eq!(generation["forced"], again["forced"]);

    bench.run(&format!("rm boot/vmlinuz-{VERSION}"));
    let never = bench.pack("").publish(&["--force"]);
    assert_eq!(never.status.code(), Some(1), "{never:?}");
    let said = text(&never.stderr);
    assert!(said.ends_with("; nothing was changed\n"), "{said}");
}
