use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;

use tempfile::TempDir;

use super::*;
use crate::boot::ipxe_binaries::Roms;
use crate::boot::worker_files::WorkerFiles;
use crate::config::Config;
use crate::fleet::shared::SharedFleet;
use crate::pi::files::pack;
use crate::store::commit::Staging;
use crate::store::{Generation, ImageFacts, PiBoot, Store};
use crate::tftp::Files as _;
use ramboot_wire::ImageId;

const CONFIG: &str = "[[worker]]\nserial = \"5b154510\"\nhostname = \"first\"\ncmdline = \"quiet\"\n\
                      [[worker]]\nserial = \"0000beef\"\nimage = \"elsewhere\"\n";

/// A shelf over an image for arm64, with or without files for Raspberry Pis.
fn shelf(folder: &TempDir, for_pis: bool) -> TftpFiles {
    let state = folder.path().join("state");
    let staging = Staging::begin(&state).expect("begun");
    let mut image = staging.create_image().expect("made");
    std::io::Write::write_all(&mut image, b"image").expect("written");
    let add = |kind, content: &[u8]| staging.add_boot(kind, content).expect("added");
    let firmware = BTreeMap::from([("start4.elf".to_owned(), b"start4".to_vec())]);
    let generation = Generation {
        number: 0,
        image: ImageId(*blake3::hash(b"image").as_bytes()),
        size: 5,
        kernel: add("vmlinuz", b"kernel"),
        initrd: add("initrd", b"initramfs"),
        stub: None,
        pi: for_pis.then(|| PiBoot {
            files: add("pi", &pack(firmware).expect("packed")),
            kernel: add("vmlinuz", b"kernel under gzip"),
            initrd: add("initrd", b"small initramfs"),
            upstream: false,
            config: Vec::new(),
            boards: Vec::new(),
        }),
        kernel_version: "6.1.0".to_owned(),
        arch: Arch::Aarch64,
        published: 0,
        note: String::new(),
        forced: Vec::new(),
    };
    let facts = ImageFacts {
        id: generation.image,
        size: 5,
        compressor: "zstd".to_owned(),
        block_size: 131_072,
        kernel_version: "6.1.0".to_owned(),
        arch: Arch::Aarch64,
        forced: Vec::new(),
    };
    let name = "default".parse().expect("a name");
    staging
        .commit(&facts, &[], &name, &generation)
        .expect("committed");
    fs::write(folder.path().join("undionly.kpxe"), "a ROM").expect("written");
    let updates = Updates::new(&state, Arc::default());
    let planner = Planner {
        store: Arc::new(Store::open(&state).expect("opens")),
        config: Arc::new(Config::parse(CONFIG).expect("a config")),
        roms: Arc::new(Roms::read(folder.path())),
        worker_files: Arc::new(WorkerFiles::open(&state).expect("a secret")),
        fleet: Arc::new(SharedFleet::new(Box::new(drop))),
    };
    TftpFiles::new(Arc::new(Current::new(planner)), updates)
}

/// Each from an address of its own, so that no boot is in the middle of another.
fn read(shelf: &TftpFiles, last: u8, name: &str) -> Option<String> {
    let ask = tftp::Ask {
        client: SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, last), 49_152),
        local: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 69),
        name,
    };
    let bytes = shelf.open(&ask)?.slices().concat();
    Some(String::from_utf8(bytes).expect("text"))
}

/// The words after this one on its line.
fn after<'a>(text: &'a str, word: &str) -> &'a str {
    let mut lines = text.lines();
    let rest = lines.find_map(|line| line.strip_prefix(word));
    rest.unwrap_or_else(|| panic!("no {word:?} in {text}"))
}

#[test]
fn a_rule_by_serial_number_reaches_the_pi() {
    let folder = tempfile::tempdir().expect("temp folder");
    let shelf = shelf(&folder, true);
    for (last, serial, named) in [(1, "5b154510", true), (2, "5b154511", false)] {
        let file = |name: &str| read(&shelf, last, &format!("{serial}/{name}"));
        assert_eq!(file("start4.elf").as_deref(), Some("start4"));
        let config = file("config.txt").expect("config.txt");
        let kernel = file(after(&config, "kernel="));
        assert_eq!(kernel.as_deref(), Some("kernel under gzip"));
        let cmdline = file(after(&config, "cmdline=")).expect("the command line");
        assert_eq!(
            cmdline.contains(" ramboot.hostname=first "),
            named,
            "{cmdline}"
        );
        assert_eq!(cmdline.contains("quiet"), named, "{cmdline}");
        assert!(
            cmdline.contains(" ramboot.url=http://10.0.0.1:8067 "),
            "{cmdline}"
        );
    }
}

#[test]
fn a_pi_without_an_image_gets_no_file_at_all() {
    let folder = tempfile::tempdir().expect("temp folder");
    let published = shelf(&folder, true);
    let other = tempfile::tempdir().expect("temp folder");
    let not_for_pis = shelf(&other, false);
    for name in ["start4.elf", "start.elf", "config.txt", "bootcode.bin"] {
        // Its rule names an image that is not there.
        assert_eq!(read(&published, 3, &format!("0000beef/{name}")), None);
        assert_eq!(read(&not_for_pis, 4, &format!("5b154510/{name}")), None);
        assert_eq!(read(&not_for_pis, 5, name), None, "{name} in the root");
    }
    assert_eq!(
        read(&not_for_pis, 6, "undionly.kpxe").as_deref(),
        Some("a ROM")
    );
}

#[test]
fn u_boot_finds_what_its_menu_names() {
    let folder = tempfile::tempdir().expect("temp folder");
    let shelf = shelf(&folder, false);
    let menu = read(&shelf, 7, "pxelinux.cfg/01-dc-a6-32-01-02-03").expect("a menu");
    // The server takes slashes away from the front of a name.
    let named = |word| read(&shelf, 7, after(&menu, word).trim_start_matches('/'));
    assert_eq!(named("kernel ").as_deref(), Some("kernel"));
    assert_eq!(named("initrd ").as_deref(), Some("initramfs"));
    assert!(after(&menu, "append ").contains("BOOTIF=01-dc-a6-32-01-02-03"));
    assert_eq!(read(&shelf, 7, "pxelinux.cfg/default"), None);
}
