//! `ramboot publish` from outside: images made here with a squashfs writer, the built program, and the store as `serve`
//! sees it. With a real image at `target/images/debian.sqfs` (or where `RAMBOOT_TEST_IMAGE` says) the promises on size
//! and time are checked, too.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: a test waits for another process"
)]

mod small_image;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use ramboot::publish::request::Request;
use ramboot::publish::{Origin, publish};
use ramboot::store::{Name, Store};
use ramboot_wire::Arch;
use small_image::{BUILTIN, DEP, VERSION, bzimage, debian_like, module, program, squashfs};

/// A folder with an image, and a store beside it.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("temp folder");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn image(&self, files: &[(String, Vec<u8>)]) -> PathBuf {
        let path = self.path("image.sqfs");
        fs::write(&path, squashfs(files)).expect("written");
        path
    }

    fn args(&self, image: &Path) -> Request {
        Request {
            image: image.to_owned(),
            name: "worker".to_owned(),
            state: self.path("state"),
            kernel: None,
            kernel_version: None,
            modules: None,
            note: String::new(),
            min_ram: None,
            profile: None,
            force: false,
        }
    }

    fn store(&self) -> Store {
        Store::open(self.path("state")).expect("opens")
    }

    /// Every file of the store but the cache.
    fn files(&self) -> Vec<PathBuf> {
        fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.expect("entry").path();
                if path.is_dir() && !path.ends_with("cache") {
                    walk(&path, into);
                }
                into.push(path);
            }
        }
        let mut files = Vec::new();
        for part in ["images", "names", "tmp"] {
            walk(&self.path("state").join(part), &mut files);
        }
        files
    }
}

/// A PE32+ EFI application with no section and 1 KiB of headers, with these bytes behind them.
fn efi_program(machine: u16, mark: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 1024];
    let mut put = |at: usize, value: &[u8]| file[at..at + value.len()].copy_from_slice(value);
    put(0, b"MZ");
    // Behind where a bzImage has its own header.
    put(0x3c, &[0, 3]);
    put(0x300, b"PE\0\0");
    put(0x304, &machine.to_le_bytes());
    put(0x314, &[112, 0]);
    put(0x318, &[0x0b, 2]);
    put(0x318 + 33, &[0x10]);
    put(0x318 + 37, &[2]);
    put(0x318 + 61, &[4]);
    put(0x318 + 68, &[10]);
    file.extend(mark);
    file
}

fn uefi_kernel() -> Vec<u8> {
    let mut kernel = efi_program(0x8664, b"code");
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x236] = 1;
    kernel
}

/// As the superblock says; what follows is padding.
fn bytes_used(image: &[u8]) -> usize {
    let field = image[40..48].try_into().expect("eight bytes");
    usize::try_from(u64::from_le_bytes(field)).expect("small")
}

fn refusal(bench: &Bench, args: &Request) -> String {
    let before = bench.files();
    let error = format!("{:#}", publish(args).expect_err("refused"));
    let after: Vec<_> = bench
        .files()
        .into_iter()
        .filter(|f| !before.contains(f))
        .collect();
    let only_folders = after.iter().all(|f| {
        ["images", "names", "tmp"]
            .iter()
            .any(|name| f.ends_with(name))
    });
    assert!(only_folders, "{error}: left {after:?}");
    error
}

#[test]
fn what_is_published_can_be_served() {
    let bench = Bench::new();
    let image = bench.image(&debian_like());
    let published = publish(&bench.args(&image)).expect("published");
    assert_eq!((published.generation, published.modules), (1, 2));
    assert_eq!(published.kernel_version, VERSION);
    assert_eq!(published.arch, Arch::X86_64);

    let store = bench.store();
    let name: Name = "worker".parse().expect("a name");
    let generation = store.current(&name).expect("sound").expect("there");
    let opened = store
        .image(generation.image)
        .expect("sound")
        .expect("there");
    let bytes = fs::read(&image).expect("there");
    assert_eq!(opened.sqfs.bytes(), bytes);
    assert_eq!(generation.image.0, *blake3::hash(&bytes).as_bytes());
    let kernel = opened.boot(&generation.kernel.name).expect("sound");
    assert_eq!(kernel.expect("there").bytes(), bzimage());
    let initrd = opened
        .boot(&generation.initrd.name)
        .expect("sound")
        .expect("there")
        .bytes();
    assert_eq!(initrd.len() as u64, generation.initrd.size);
    let unpacked = zstd::decode_all(&initrd[..]).expect("zstd frames");
    let text = String::from_utf8_lossy(&unpacked);
    for path in [
        "modules.table\0",
        "modules/kernel/drivers/net/ethernet/e1000.ko\0",
        "init\0",
        "dev/console\0",
        "dev/null\0",
    ] {
        assert!(text.contains(path), "{path:?}");
    }

    let again = publish(&bench.args(&image)).expect("published");
    assert_eq!(again.generation, 2);
    assert_eq!(again.initrd, published.initrd, "same input, same bytes");
}

#[test]
fn padding_is_part_of_the_image() {
    let bench = Bench::new();
    let image = bench.image(&debian_like());
    let plain = publish(&bench.args(&image)).expect("published");
    let mut bytes = fs::read(&image).expect("there");
    bytes.extend_from_slice(&[0; 300_000]);
    fs::write(&image, &bytes).expect("written");
    let padded = publish(&bench.args(&image)).expect("published");
    assert_ne!(plain.image, padded.image);
    assert_eq!(padded.image.0, *blake3::hash(&bytes).as_bytes());
    assert_eq!(padded.size, bytes.len() as u64);
}

#[test]
fn an_image_without_a_kernel_takes_one_from_beside() {
    let bench = Bench::new();
    let image = bench.image(&[("/sbin/init".to_owned(), program(62))]);
    let mut args = bench.args(&image);
    let error = refusal(&bench, &args);
    assert!(
        error.contains("no kernel in the image: expected one in /boot, of any name,"),
        "{error}"
    );

    let folder = bench.path(&format!("lib/modules/{VERSION}"));
    fs::create_dir_all(folder.join("kernel/lib")).expect("made");
    fs::create_dir_all(folder.join("kernel/drivers/net/ethernet")).expect("made");
    fs::write(bench.path("kernel"), bzimage()).expect("written");
    args.kernel = Some(bench.path("kernel"));
    args.modules = Some(folder.clone());
    let error = refusal(&bench, &args);
    assert!(error.contains("there is no modules.dep"), "{error}");
    fs::write(folder.join("modules.dep"), DEP).expect("written");
    let error = refusal(&bench, &args);
    assert!(
        error.contains(
            "the kernel has no loop and no squashfs and no overlay, neither built in nor as a module"
        ),
        "{error}"
    );
    fs::write(folder.join("modules.builtin"), BUILTIN).expect("written");
    fs::write(
        folder.join("kernel/drivers/net/ethernet/e1000.ko"),
        module(62),
    )
    .expect("written");
    let error = refusal(&bench, &args);
    assert!(
        error.contains("modules.dep names kernel/lib/needed.ko, which is not there"),
        "{error}"
    );
    fs::write(folder.join("kernel/lib/needed.ko"), module(62)).expect("written");
    for given in [folder, bench.path("lib/modules")] {
        args.modules = Some(given);
        assert_eq!(publish(&args).expect("published").kernel_version, VERSION);
    }
    args.kernel = None;
    let error = refusal(&bench, &args);
    assert!(error.contains("--modules belongs to --kernel"), "{error}");
}

#[test]
fn refusals_leave_nothing() {
    let bench = Bench::new();
    let image = bench.path("image.sqfs");
    let args = bench.args(&image);
    assert!(refusal(&bench, &args).contains("No such file"));
    for (content, want) in [
        (vec![], "it is no squashfs: 0 bytes"),
        (
            vec![b'x'; 500],
            "it begins with xxxx, a squashfs with \"hsqs\"",
        ),
    ] {
        fs::write(&image, content).expect("written");
        let error = refusal(&bench, &args);
        assert!(error.contains(want), "{error}");
    }

    let change = |from: &str, to: &str| -> Vec<(String, Vec<u8>)> {
        let files = debian_like().into_iter();
        files
            .map(|(path, content)| (path.replace(from, to), content))
            .collect()
    };
    bench.image(&change("modules/6.1.0-56", "modules/6.1.0-57"));
    let error = refusal(&bench, &args);
    assert!(
        error.contains("there are 6.1.0-56-amd64, but modules 6.1.0-57-amd64"),
        "{error}"
    );

    let mut files = debian_like();
    files[3].1 = module(183);
    files[4].1 = module(183);
    bench.image(&files);
    let error = refusal(&bench, &args);
    assert!(
        error.contains("is for x86_64, but its modules are for aarch64"),
        "{error}"
    );
    files[0].1 = b"not a kernel".to_vec();
    bench.image(&files);
    assert!(refusal(&bench, &args).contains("is no Linux kernel"));

    bench.image(&debian_like());
    let whole = fs::read(&image).expect("there");
    let used = bytes_used(&whole);
    for cut in [95, 96, used / 2, used - 1] {
        fs::write(&image, &whole[..cut]).expect("cut");
        assert!(
            refusal(&bench, &args).contains("image.sqfs: it is"),
            "{cut}"
        );
    }
    for at in (96..used).step_by(7) {
        let mut broken = whole.clone();
        broken[at] ^= 0x55;
        fs::write(&image, &broken).expect("written");
        // Accepted where only a file's content or padding is hit; the point is that it ends.
        let _ = publish(&args);
    }
    let mut bad_name = bench.args(&image);
    bad_name.name = "../worker".to_owned();
    assert!(refusal(&bench, &bad_name).contains("\"../worker\" is not a name"));
}

fn ramboot(args: &Request, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ramboot"));
    command
        .arg("publish")
        .arg(&args.image)
        .args(["--name", &args.name, "--state"])
        .arg(&args.state)
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

#[test]
fn the_program_speaks_plainly() {
    let bench = Bench::new();
    let image = bench.image(&debian_like());
    let args = bench.args(&image);
    let Output { status, stdout, .. } = ramboot(&args, &["--json"]).output().expect("runs");
    assert!(status.success());
    let json: serde_json::Value = serde_json::from_slice(&stdout).expect("one object");
    assert_eq!(json["generation"], 1);
    let output = ramboot(&args, &[]).output().expect("runs");
    let said = text(&output.stdout);
    assert!(
        said.starts_with("published worker, generation 2, in "),
        "{said}"
    );
    assert!(
        said.ends_with(&format!(
            "next: ramboot serve --state {}\n",
            args.state.display()
        )),
        "{said}"
    );

    let whole = fs::read(&image).expect("there");
    fs::write(&image, &whole[..bytes_used(&whole) - 1]).expect("cut");
    let output = ramboot(&args, &[]).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.starts_with("ramboot: ") && said.contains("it is truncated: its superblock says"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// Killed while it copies: nothing is visible, and the next publication clears up.
#[test]
fn a_killed_publisher_leaves_the_old_state() {
    let bench = Bench::new();
    let image = bench.image(&debian_like());
    let args = bench.args(&image);
    let first = publish(&args).expect("published");
    let small = fs::metadata(&image).expect("there").len();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&image)
        .expect("opens");
    file.set_len(2 << 30).expect("a long tail of zeros");

    let mut child = ramboot(&args, &[]).spawn().expect("runs");
    let deadline = Instant::now() + Duration::from_secs(20);
    let copying = || {
        let tmp = fs::read_dir(args.state.join("tmp")).expect("there");
        let copies = tmp.filter_map(|e| fs::metadata(e.ok()?.path().join("image/image.sqfs")).ok());
        copies.map(|m| m.len()).sum::<u64>() > 0
    };
    while !copying() {
        assert!(Instant::now() < deadline, "it never began to copy");
        std::thread::yield_now();
    }
    child.kill().expect("killed");
    assert!(!child.wait().expect("ended").success());

    let name: Name = "worker".parse().expect("a name");
    let current = bench.store().current(&name).expect("sound").expect("there");
    assert_eq!((current.number, current.image), (1, first.image));
    let tmp = args.state.join("tmp");
    assert_eq!(fs::read_dir(&tmp).expect("there").count(), 1, "a leftover");
    file.set_len(small).expect("as before");
    assert_eq!(publish(&args).expect("published").generation, 2);
    assert_eq!(fs::read_dir(&tmp).expect("there").count(), 0, "cleared");
}

/// What README promises of Debian's amd64 kernel.
#[test]
fn a_real_image_keeps_the_promises() {
    let image = std::env::var_os("RAMBOOT_TEST_IMAGE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/images/debian.sqfs"),
        PathBuf::from,
    );
    if !image.exists() {
        println!("skipped: there is no image at {}", image.display());
        return;
    }
    let bench = Bench::new();
    let first = publish(&bench.args(&image)).expect("published");
    let second = publish(&bench.args(&image)).expect("published");
    println!(
        "{} MB: {} s, then {} s; initramfs {} bytes, {} modules",
        first.size / 1_000_000,
        first.seconds,
        second.seconds,
        first.initrd.size,
        first.modules
    );
    assert_eq!(first.initrd, second.initrd);
    assert!(
        first.initrd.size <= 10_000_000,
        "{} bytes",
        first.initrd.size
    );
}

const PI_VERSION: &str = "6.12.107+deb13-arm64";

fn gzip(content: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut packed = Vec::new();
    let mut packer = flate2::read::GzEncoder::new(content, flate2::Compression::fast());
    packer.read_to_end(&mut packed).expect("packed");
    packed
}

fn arm64_image() -> Vec<u8> {
    let mut kernel = vec![0; 70_000];
    kernel[56..60].copy_from_slice(b"ARM\x64");
    kernel
}

/// An image with a kernel for aarch64 whose modules are these; nothing for Raspberry Pis yet.
fn arm64_like(drivers: &[&str]) -> Vec<(String, Vec<u8>)> {
    let modules = format!("/usr/lib/modules/{PI_VERSION}");
    let mut files = vec![
        (format!("/boot/vmlinuz-{PI_VERSION}"), arm64_image()),
        (format!("{modules}/modules.builtin"), BUILTIN.into()),
        ("/sbin/init".to_owned(), program(183)),
    ];
    let mut dep = String::new();
    for driver in drivers {
        let folder = if *driver == "dwc2" { "usb/dwc2" } else { "net" };
        let path = format!("kernel/drivers/{folder}/{driver}.ko");
        dep.push_str(&format!("{path}:\n"));
        files.push((format!("{modules}/{path}"), module(183)));
    }
    // What no Pi needs.
    dep.push_str("kernel/drivers/net/ethernet/e1000.ko:\n");
    files.push((
        format!("{modules}/kernel/drivers/net/ethernet/e1000.ko"),
        module(183),
    ));
    files.push((format!("{modules}/modules.dep"), dep.into()));
    files
}

const FIRMWARE: [&str; 6] = [
    "bootcode.bin",
    "start.elf",
    "fixup.dat",
    "start4.elf",
    "start4cd.elf",
    "fixup4.dat",
];

fn put(files: &mut Vec<(String, Vec<u8>)>, folder: &str, names: &[&str]) {
    let named = names.iter().map(|name| {
        (
            format!("{folder}/{name}"),
            format!("{folder} {name}").into(),
        )
    });
    files.extend(named);
}

/// The firmware files of what was published, and the publication.
fn pi_files(bench: &Bench) -> (ramboot::store::Generation, ramboot::pi::files::Files) {
    let store = bench.store();
    let name: Name = "worker".parse().expect("a name");
    let generation = store.current(&name).expect("sound").expect("there");
    let image = store
        .image(generation.image)
        .expect("sound")
        .expect("there");
    let pi = generation.pi.clone().expect("for Raspberry Pis");
    let archive = image.boot(&pi.files.name).expect("sound").expect("there");
    let files = ramboot::pi::files::Files::open(&archive.into()).expect("sound");
    (generation, files)
}

#[test]
fn three_layouts_of_raspberry_pi_images() {
    const DRIVERS: [&str; 7] = [
        "genet", "smsc95xx", "lan78xx", "dwc2", "macb", "rp1", "smsc",
    ];
    let debian_trees = format!("/usr/lib/linux-image-{PI_VERSION}/broadcom");
    let ubuntu_trees = format!("/usr/lib/firmware/{PI_VERSION}/device-tree");
    let linux = [
        "bcm2711-rpi-4-b.dtb",
        "bcm2837-rpi-3-b.dtb",
        "bcm2837-rpi-3-b-plus.dtb",
        "bcm2712-rpi-5-b.dtb",
    ];
    let pis = [
        "bcm2711-rpi-4-b.dtb",
        "bcm2710-rpi-3-b.dtb",
        "bcm2712-rpi-5-b.dtb",
    ];
    let overlays = ["README", "overlay_map.dtb", "vc4-kms-v3d.dtbo"];

    let mut debian = arm64_like(&DRIVERS);
    put(&mut debian, "/usr/lib/raspi-firmware", &FIRMWARE);
    put(&mut debian, &debian_trees, &linux);
    let mut raspberry = arm64_like(&DRIVERS);
    let partition = "/boot/firmware";
    put(&mut raspberry, partition, &FIRMWARE);
    put(&mut raspberry, partition, &pis);
    put(
        &mut raspberry,
        partition,
        &[
            "kernel8.img",
            "initramfs8",
            "cmdline.txt",
            "LICENCE.broadcom",
        ],
    );
    put(&mut raspberry, &format!("{partition}/overlays"), &overlays);
    raspberry.push((
        format!("{partition}/config.txt"),
        b"dtparam=audio=on\nkernel=kernel8.img\n[pi4]\narm_boost=1\n".into(),
    ));
    // Older releases, and whoever copies a boot partition to where the kernel is.
    let mut old: Vec<_> = raspberry.clone();
    for (path, content) in &mut old {
        *path = path.replace(partition, "/boot");
        if content.starts_with(partition.as_bytes()) {
            content.drain("/boot".len()..partition.len());
        }
    }
    let mut ubuntu = arm64_like(&DRIVERS);
    let ubuntu_firmware = "/usr/lib/linux-firmware-raspi";
    put(&mut ubuntu, ubuntu_firmware, &FIRMWARE);
    put(&mut ubuntu, &format!("{ubuntu_trees}/broadcom"), &pis);
    put(
        &mut ubuntu,
        &format!("{ubuntu_trees}/overlays"),
        &["vc4-kms-v3d.dtbo"],
    );
    // Overlays of another kernel, whose maps are better than none.
    put(&mut ubuntu, "/boot/firmware/overlays", &overlays);
    // Half of another firmware, of which no file may be taken.
    put(
        &mut debian,
        ubuntu_firmware,
        &["start4x.elf", "fixup4x.dat"],
    );

    for (image, folders, upstream, config, boards) in [
        (
            debian,
            ["/usr/lib/raspi-firmware", &debian_trees, ""],
            true,
            vec![],
            "2b 3b 3b+ 4b 5",
        ),
        (
            raspberry,
            [partition, partition, "/boot/firmware/overlays"],
            false,
            vec!["dtparam=audio=on", "[pi4]", "arm_boost=1"],
            "3b 4b 5",
        ),
        (
            old,
            ["/boot", "/boot", "/boot/overlays"],
            false,
            vec!["dtparam=audio=on", "[pi4]", "arm_boost=1"],
            "3b 4b 5",
        ),
        (
            ubuntu,
            [
                ubuntu_firmware,
                &format!("{ubuntu_trees}/broadcom"),
                &format!("{ubuntu_trees}/overlays"),
            ],
            false,
            vec![],
            "3b 4b 5",
        ),
    ] {
        let bench = Bench::new();
        let args = bench.args(&bench.image(&image));
        let published = publish(&args).expect("published");
        let (generation, files) = pi_files(&bench);
        let pi = generation.pi.expect("there");
        assert_eq!(published.pi.as_ref(), Some(&pi));
        assert_eq!(
            (pi.upstream, pi.boards.join(" ").as_str()),
            (upstream, boards)
        );
        assert_eq!(pi.config, config);
        let [firmware, trees, overlays] = folders;
        for name in files.names() {
            let (folder, file) = match name.strip_prefix("overlays/") {
                Some(file) if file.ends_with(".dtbo") => (overlays, file),
                Some(file) if firmware == "/boot" => ("/boot/overlays", file),
                Some(file) => ("/boot/firmware/overlays", file),
                None if name.ends_with(".dtb") => (trees, name),
                None => (firmware, name),
            };
            let want = format!("{folder} {file}");
            let found = files.get(name).expect("there").slices();
            assert_eq!(found.concat(), want.as_bytes());
        }
        let many = files
            .names()
            .filter(|name| name.starts_with("overlays/"))
            .count();
        assert_eq!(many, if overlays.is_empty() { 0 } else { 3 });
        assert_eq!(
            files
                .names()
                .filter(|name| !name.contains('/') && !name.ends_with(".dtb"))
                .count(),
            FIRMWARE.len()
        );

        let store = bench.store();
        let image = store
            .image(generation.image)
            .expect("sound")
            .expect("there");
        let boot = |name: &str| image.boot(name).expect("sound").expect("there").bytes();
        assert_eq!(boot(&generation.kernel.name), arm64_image());
        assert_eq!(
            boot(&pi.kernel.name),
            &boot(
                &publish(&args)
                    .expect("again")
                    .pi
                    .expect("there")
                    .kernel
                    .name
            )
        );
        let mut unpacked = Vec::new();
        std::io::Read::read_to_end(
            &mut flate2::read::GzDecoder::new(&boot(&pi.kernel.name)[..]),
            &mut unpacked,
        )
        .expect("gzip");
        assert_eq!(unpacked, arm64_image());
        let text = |name: &str| {
            let unpacked = zstd::decode_all(&boot(name)[..]).expect("zstd frames");
            String::from_utf8_lossy(&unpacked).into_owned()
        };
        assert!(text(&generation.initrd.name).contains("ethernet/e1000.ko\0"));
        let small = text(&pi.initrd.name);
        assert!(!small.contains("e1000.ko\0"));
        for path in [
            "init\0",
            "modules.table\0",
            "modules/kernel/drivers/net/genet.ko\0",
            "modules/kernel/drivers/net/smsc.ko\0",
        ] {
            assert!(small.contains(path), "{path:?}");
        }
    }
}

#[test]
fn boards_that_cannot_boot_are_told_why() {
    let trees = format!("/usr/lib/linux-image-{PI_VERSION}/broadcom");
    let said = |files: &[(String, Vec<u8>)]| {
        let bench = Bench::new();
        let args = bench.args(&bench.image(files));
        let Output {
            status,
            stdout,
            stderr,
        } = ramboot(&args, &[]).output().expect("runs");
        assert!(status.success(), "{}", text(&stderr));
        let lines = text(&stdout);
        let lines = lines.lines().skip_while(|line| !line.contains("Raspberry"));
        let lines: Vec<String> = lines
            .take_while(|line| !line.starts_with("next"))
            .map(|line| line.trim().to_owned())
            .collect();
        (lines, bench)
    };
    let (lines, _) = said(&arm64_like(&["genet"]));
    assert_eq!(lines, [""; 0], "nothing of it is for a Pi");

    let mut files = arm64_like(&["genet", "macb"]);
    put(
        &mut files,
        &trees,
        &[
            "bcm2711-rpi-4-b.dtb",
            "bcm2712-rpi-5-b.dtb",
            "bcm2837-rpi-3-b.dtb",
        ],
    );
    let (lines, bench) = said(&files);
    assert_eq!(
        lines[..3],
        [
            "Raspberry  none can boot it",
            "not Pi 2 v1.2, Pi 3B, Pi 3B+, CM3: bootcode.bin is not in the image: install raspi-firmware, or copy it to /boot/firmware",
            "not Pi 4B, Pi 400, CM4: start4.elf is not in the image: install raspi-firmware, or copy it to /boot/firmware",
        ]
    );
    assert_eq!(
        lines[3],
        "not Pi 5: the kernel has no driver for its network card (rp1 or rp1_pci); Raspberry Pi OS's kernels have it, and Linux since 6.18"
    );
    let name: Name = "worker".parse().expect("a name");
    let generation = bench.store().current(&name).expect("sound").expect("there");
    assert_eq!(generation.pi, None);

    put(&mut files, "/usr/lib/raspi-firmware", &FIRMWARE);
    let (lines, _) = said(&files);
    assert_eq!(lines[0], "Raspberry  Pi 4B");
    assert_eq!(
        lines[1],
        "not Pi 2 v1.2, Pi 3B: the kernel has no driver for its network card (smsc95xx)"
    );
    assert_eq!(
        lines[3],
        "not CM3: the image has no device tree for it (bcm2710-rpi-cm3.dtb or bcm2837-rpi-cm3.dtb or bcm2837-rpi-cm3-io3.dtb)"
    );

    // Kept as it is, or refused.
    files[0].1 = gzip(&arm64_image());
    let (lines, bench) = said(&files);
    assert_eq!(lines[0], "Raspberry  Pi 4B");
    let (generation, _) = pi_files(&bench);
    assert_eq!(generation.pi.expect("there").kernel, generation.kernel);
    let mut zboot = vec![0; 0x80];
    zboot[..2].copy_from_slice(b"MZ");
    zboot[4..8].copy_from_slice(b"zimg");
    zboot[0x3c] = 0x40;
    zboot[0x40..0x46].copy_from_slice(b"PE\0\0\x64\xaa");
    files[0].1 = zboot;
    let bench = Bench::new();
    let error = refusal(&bench, &bench.args(&bench.image(&files)));
    let want = format!(
        "no Raspberry Pi can boot it: Pi 2 v1.2: /boot/vmlinuz-{PI_VERSION} in the image is an EFI zboot kernel, which its \
         firmware cannot unpack: an Image, plain or under gzip, is wanted"
    );
    assert!(error.contains(&want), "{error}");
}

#[test]
fn lines_of_config_txt_that_firmware_would_not_read_are_named() {
    let bench = Bench::new();
    let mut files = arm64_like(&["genet"]);
    put(&mut files, "/boot/firmware", &FIRMWARE);
    put(&mut files, "/boot/firmware", &["bcm2711-rpi-4-b.dtb"]);
    files.push((
        "/boot/firmware/config.txt".to_owned(),
        "dtparam=\u{e9}\ngpu_mem=16\ninclude user.txt\n".into(),
    ));
    let output = ramboot(&bench.args(&bench.image(&files)), &[])
        .output()
        .expect("runs");
    let said = text(&output.stdout);
    for line in [
        "warning    config.txt line 1 is left out: firmware stops reading at what is not printable ASCII\n",
        "warning    config.txt line 3 is left out: include is not taken over\n",
    ] {
        assert!(said.contains(line), "{said}");
    }
    assert_eq!(pi_files(&bench).0.pi.expect("there").config, ["gpu_mem=16"]);
}

/// What README promises of Debian's arm64 kernel with raspi-firmware.
#[test]
fn a_real_arm64_image_is_small_enough_for_a_pi() {
    let image = std::env::var_os("RAMBOOT_TEST_IMAGE_ARM64").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/images/raspberry-pi.sqfs"),
        PathBuf::from,
    );
    if !image.exists() {
        println!("skipped: there is no image at {}", image.display());
        return;
    }
    let bench = Bench::new();
    let first = publish(&bench.args(&image)).expect("published");
    let second = publish(&bench.args(&image)).expect("published");
    let pi = first.pi.clone().expect("for Raspberry Pis");
    println!(
        "{}: {} s, then {} s; files {} bytes, kernel {} bytes, initramfs {} bytes; boards {}",
        first.kernel_version,
        first.seconds,
        second.seconds,
        pi.files.size,
        pi.kernel.size,
        pi.initrd.size,
        pi.boards.join(" ")
    );
    assert_eq!(first.pi, second.pi, "same input, same bytes");
    assert!(pi.initrd.size <= 3_000_000, "{} bytes", pi.initrd.size);
    assert!(pi.kernel.size <= 16_000_000, "{} bytes", pi.kernel.size);
    for board in ["3b", "3b+", "4b"] {
        assert!(
            pi.boards.iter().any(|known| known == board),
            "{:?}",
            first.boards
        );
    }
}

#[test]
fn a_strict_umask_keeps_nobody_out() {
    let bench = Bench::new();
    let image = bench.image(&debian_like());
    let output = Command::new("sh")
        .args(["-euc", "umask 077; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_ramboot"))
        .args(["publish", "--name", "worker", "--state"])
        .arg(bench.path("state"))
        .arg(image)
        .output()
        .expect("runs");
    assert!(output.status.success(), "{output:?}");
    // `serve` may run as another user: all it reads is for everybody, and nothing but the publisher's own is not.
    for path in bench.files() {
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        let want = if path.is_dir() { 0o755 } else { 0o444 };
        assert_eq!(mode & 0o777, want, "{}", path.display());
    }
}

/// An image with a kernel for UEFI and this file in the place of its EFI stub.
fn with_stub(stub: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files = debian_like();
    for (path, content) in &mut files {
        if path.starts_with("/boot/vmlinuz") {
            *content = uefi_kernel();
        }
    }
    let path = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
    files.push((path.to_owned(), stub.to_vec()));
    files
}

#[test]
fn the_efi_stub_of_the_image_is_taken_along() {
    let bench = Bench::new();
    // The section table begins at 0x388 and the headers end at 0x400: three would fit, so there is made room for more.
    let mut stub = efi_program(0x8664, b"");
    stub[0x318 + 61] = 8;
    stub.resize(2048, 0);
    stub.extend(b"#### LoaderInfo: systemd-stub 252 ####");
    let image = bench.image(&with_stub(&stub));
    let published = publish(&bench.args(&image)).expect("published");
    let uki = published.uki.expect("a stub");
    assert_eq!(uki.origin, Origin::Image);
    assert!(uki.size > published.kernel.size + published.initrd.size);
    let store = bench.store();
    let name: Name = "worker".parse().expect("a name");
    let generation = store.current(&name).expect("read").expect("there");
    assert_eq!(generation.stub, Some(uki.stub.clone()));
    let image = store.image(published.image).expect("read").expect("there");
    let stored = image.boot(&uki.stub.name).expect("read").expect("there");
    assert_eq!(stored.bytes(), stub);
}

#[test]
fn an_efi_stub_that_is_none_is_refused_and_nothing_is_published() {
    for (stub, want) in [
        (b"".to_vec(), "does not begin with MZ"),
        (efi_program(0x8664, b"an EFI shell"), "it is not systemd's"),
        (
            efi_program(0xaa64, b"#### LoaderInfo: systemd-stub 252"),
            "it is for aarch64, the kernel for x86_64",
        ),
        (
            efi_program(0x8664, b"#### LoaderInfo: systemd-stub 252"),
            "room for 3 more sections, 4 are needed",
        ),
    ] {
        let bench = Bench::new();
        let image = bench.image(&with_stub(&stub));
        let error = publish(&bench.args(&image)).expect_err(want);
        let error = format!("{error:#}");
        assert!(
            error.contains(want) && error.contains("linuxx64.efi.stub in the image"),
            "{error}"
        );
        assert!(
            bench
                .files()
                .iter()
                .all(|file| !file.ends_with("image.sqfs"))
        );
    }
}
