use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use ramboot_wire::{BootArgs, ImageId};

use super::pin::{IDLE, MAX_PINS, SILENCE};
use super::*;
use crate::pi::choice::Content;
use crate::pi::files::{Files, pack};
use crate::store::{BootFile, PiBoot};

const MAC: Mac = Mac([0xdc, 0xa6, 0x32, 1, 2, 3]);
const SERIAL: u32 = 0x5b15_4510;

/// What the store would give after so many publications: every byte tells which.
fn choice(generation: u8, mac: Option<Mac>) -> PiChoice {
    let files = [
        "bootcode.bin",
        "start.elf",
        "fixup.dat",
        "start4.elf",
        "fixup4.dat",
        "start4cd.elf",
        "fixup4cd.dat",
        "bcm2710-rpi-3-b.dtb",
        "bcm2711-rpi-4-b.dtb",
        "bcm2712-rpi-5-b.dtb",
        "overlays/overlay_map.dtb",
        "overlays/vc4-kms-v3d.dtbo",
        "overlays/bcm2712d0.dtbo",
    ];
    choice_of(&files, generation, mac)
}

fn choice_of(files: &[&str], generation: u8, mac: Option<Mac>) -> PiChoice {
    let text = |what: &str| format!("{what} of {generation}").into_bytes();
    let files: BTreeMap<String, Vec<u8>> = files
        .iter()
        .map(|&name| (name.to_owned(), text(name)))
        .collect();
    let archive = Bytes::from(pack(files).expect("packed"));
    let (kernel, initrd) = (text("kernel"), text("initrd"));
    let pi = PiBoot {
        files: BootFile::of("pi", &archive),
        kernel: BootFile::of("vmlinuz", &kernel),
        initrd: BootFile::of("initrd", &initrd),
        upstream: false,
        config: vec![format!("# of {generation}")],
        boards: vec!["4b".to_owned()],
    };
    let args = BootArgs {
        image: ImageId([generation; 32]),
        size: 1000,
        bases: vec!["http://10.0.0.1:8067".parse().expect("base")],
        overlay: None,
        tmpfs: Vec::new(),
        hostname: None,
        files: None,
        debug: false,
        heartbeat: true,
        deadline: None,
        bootif: mac,
        streaming: None,
        boot: None,
    };
    let content = Content {
        files: Arc::new(Files::open(&archive.clone().into()).expect("read")),
        kernel: kernel.into(),
        initrd: initrd.into(),
    };
    PiChoice::new(&pi, content, &args, "quiet").expect("made")
}

/// A running worker that wants to start them again is told its board's own.
#[test]
fn the_command_line_names_what_this_board_boots() {
    let choice = choice(1, None);
    let read = |name| {
        let slices = choice.get(name).expect("there").slices();
        String::from_utf8_lossy(&slices.concat()).into_owned()
    };
    let (config, cmdline) = (read("config.txt"), read("cmdline.txt"));
    let args = BootArgs::parse(&cmdline).expect("a command line");
    let boot = args.boot.expect("names of boot files");
    for line in [
        format!("kernel={}", boot.kernel),
        format!("initramfs {} followkernel", boot.initrd),
    ] {
        assert!(
            config.lines().any(|other| other == line),
            "{line} in {config}"
        );
    }
}

/// A tree whose store gets a publication before every single request.
struct World {
    tree: Tree,
    published: Cell<u8>,
    now: Duration,
    address: Ipv4Addr,
}

impl World {
    fn new() -> Self {
        Self {
            tree: Tree::new("pis/".to_owned()),
            published: Cell::new(0),
            now: Duration::from_secs(1_000),
            address: Ipv4Addr::new(10, 0, 0, 51),
        }
    }

    /// Without a publication before it.
    fn quietly(&mut self, path: &str) -> Answer {
        let published = self.published.get();
        let mac_of = |serial| (serial == SERIAL).then_some(MAC);
        self.tree
            .resolve(path, self.address, self.now, |who, back| {
                let back = u8::try_from(back).map_err(|e| e.to_string())?;
                let generation = published.checked_sub(back).filter(|&g| g > 0);
                let generation = generation.ok_or("nothing is published")?;
                let mac = who.mac.or_else(|| who.serial.and_then(mac_of));
                Ok(choice(generation, mac))
            })
    }

    fn ask(&mut self, path: &str) -> Answer {
        self.published.set(self.published.get() + 1);
        self.now += Duration::from_secs(1);
        self.quietly(path)
    }

    /// Walks a script: `✗` marks what is absent, `KERNEL`, `INITRD` and `CMDLINE` stand for what config.txt named.
    /// Gives the generation each file was of.
    fn boot(&mut self, script: &str) -> Vec<(String, u8)> {
        let mut named: BTreeMap<&str, String> = BTreeMap::new();
        let mut found = Vec::new();
        for word in script.split_whitespace() {
            let (path, absent) = word
                .strip_suffix('✗')
                .map_or((word, false), |path| (path, true));
            let mut path = path.to_owned();
            for (word, name) in &named {
                path = path.replace(word, name);
            }
            match self.ask(&path) {
                Answer::Missing(why) => {
                    assert!(absent, "{path}: {why}");
                    assert!(!why.is_loud(), "{path}: {why}");
                }
                Answer::Found(parts) => {
                    assert!(!absent, "{path}");
                    let text = String::from_utf8(parts.slices().concat()).expect("text");
                    if path.ends_with("config.txt") {
                        let value = |key: &str| {
                            let line = text.lines().find_map(|line| line.strip_prefix(key));
                            line.expect(key).replace(" followkernel", "")
                        };
                        named.insert("KERNEL", value("kernel="));
                        named.insert("INITRD", value("initramfs "));
                        named.insert("CMDLINE", value("cmdline="));
                    }
                    found.push((path, generation(&text)));
                }
            }
        }
        found
    }
}

fn generation(text: &str) -> u8 {
    if let Ok(args) = BootArgs::parse(text) {
        return args.image.0[0];
    }
    let first = text.lines().next().expect("a line");
    let (_, number) = first.rsplit_once(" of ").expect(first);
    number.parse().expect(first)
}

/// pi.md §6.1: a boot ROM, then bootcode.bin, then start.elf.
const PI3: &str = "
    bootcode.bin bootsig.bin✗
    b66c4c16/start.elf
    b66c4c16/autoboot.txt✗ b66c4c16/config.txt b66c4c16/recovery.elf✗ b66c4c16/start.elf b66c4c16/fixup.dat
    b66c4c16/recovery.elf✗ b66c4c16/config.txt b66c4c16/config.txt b66c4c16/dt-blob.bin✗ b66c4c16/recovery.elf✗
    b66c4c16/config.txt b66c4c16/config.txt b66c4c16/bootcfg.txt✗
    b66c4c16/INITRD
    b66c4c16/bcm2710-rpi-3-b.dtb b66c4c16/bcm2710-rpi-3-b.dtb b66c4c16/overlays/overlay_map.dtb
    b66c4c16/overlays/overlay_map.dtb b66c4c16/config.txt b66c4c16/config.txt
    b66c4c16/overlays/vc4-kms-v3d.dtbo b66c4c16/overlays/vc4-kms-v3d.dtbo
    b66c4c16/CMDLINE b66c4c16/CMDLINE
    b66c4c16/recovery8.img✗ b66c4c16/recovery8-32.img✗ b66c4c16/recovery7.img✗ b66c4c16/recovery.img✗
    b66c4c16/KERNEL b66c4c16/armstub8-32.bin✗ b66c4c16/armstub8.bin✗ b66c4c16/KERNEL";

/// §6.2: an EEPROM, then start4.elf with a TFTP client of its own.
const PI4: &str = "
    5b154510/start4.elf 5b154510/config.txt 5b154510/vl805.sig✗ 5b154510/pieeprom.sig✗
    5b154510/recover4.elf✗ 5b154510/recovery.elf✗ 5b154510/start4.elf 5b154510/fixup4.dat
    5b154510/recovery.elf✗ 5b154510/config.txt 5b154510/config.txt 5b154510/dt-blob.bin✗ 5b154510/recovery.elf✗
    5b154510/config.txt 5b154510/config.txt 5b154510/bootcfg.txt✗
    5b154510/INITRD
    5b154510/bcm2711-rpi-4-b.dtb 5b154510/bcm2711-rpi-4-b.dtb 5b154510/overlays/overlay_map.dtb
    5b154510/overlays/rpi-poe.dtbo✗ 5b154510/config.txt 5b154510/config.txt
    5b154510/overlays/vc4-kms-v3d.dtbo 5b154510/CMDLINE 5b154510/CMDLINE 5b154510/recovery8.img✗
    5b154510/KERNEL 5b154510/armstub8-gic.bin✗ 5b154510/KERNEL";

/// §6.3: an EEPROM only; with its double slashes.
const PI5: &str = "
    5b154510/config.txt 5b154510/pieeprom.sig✗
    5b154510//config.txt 5b154510//config.txt
    5b154510/KERNEL 5b154510/INITRD
    5b154510/bcm2712-rpi-5-b.dtb 5b154510/overlays/overlay_map.dtb 5b154510/overlays/bcm2712d0.dtbo
    5b154510/overlays/hat_map.dtb✗ 5b154510//config.txt /overlays/vc4-kms-v3d.dtbo 5b154510//CMDLINE
    5b154510/armstub8-2712.bin✗ 5b154510/KERNEL";

#[test]
fn a_publish_between_any_two_requests_mixes_nothing() {
    for (script, rom) in [
        (PI3, 1),
        (PI4, 0),
        (PI5, 0),
        // gpu_mem=16 in config.txt: another start.elf is read than was looked for.
        (
            &PI4.replace(
                "start4.elf 5b154510/fixup4.dat",
                "start4cd.elf 5b154510/fixup4cd.dat",
            ),
            0,
        ),
        // The file's default name.
        (&PI4.replace("CMDLINE", "cmdline.txt"), 0),
        // A bootcode.bin on an SD card.
        (&PI3.replace("bootcode.bin bootsig.bin✗", ""), 0),
    ] {
        let mut world = World::new();
        let mut last = 0;
        for _ in 0..3 {
            let found = world.boot(script);
            let (rom, rest) = found.split_at(rom);
            let of = rest[0].1;
            assert!(
                rest.iter().all(|(_, generation)| *generation == of),
                "{rest:?}"
            );
            assert!(rom.iter().all(|(_, generation)| *generation < of));
            assert!(of > last, "the next boot is of what is published then");
            last = of;
        }
    }
}

#[test]
fn serial_mac_prefix_and_root_are_one_folder() {
    for (path, mac) in [
        ("5b154510/CMDLINE", Some(MAC)),
        ("5B154510/CMDLINE", Some(MAC)),
        ("/5b154510//CMDLINE", Some(MAC)),
        ("dc-a6-32-01-02-03/CMDLINE", Some(MAC)),
        ("pis/CMDLINE", None),
        ("/pis/CMDLINE", None),
        ("CMDLINE", None),
        ("00000001/CMDLINE", None),
    ] {
        let mut world = World::new();
        world.ask("start4.elf");
        let Answer::Found(parts) = world.quietly(&path.replace("CMDLINE", "cmdline.txt")) else {
            panic!("{path}");
        };
        let text = String::from_utf8(parts.slices().concat()).expect("text");
        let known = BootArgs::parse(&text).expect("sound").bootif;
        // What began at the root goes on as what it is.
        assert_eq!(known, None, "{path}");
        let mut world = World::new();
        world.published.set(1);
        let Answer::Found(parts) = world.quietly(&path.replace("CMDLINE", "cmdline.txt")) else {
            panic!("{path}");
        };
        let text = String::from_utf8(parts.slices().concat()).expect("text");
        assert_eq!(BootArgs::parse(&text).expect("sound").bootif, mac, "{path}");
    }
}

#[test]
fn a_machine_without_an_image_gets_nothing_and_comes_back() {
    let mut world = World::new();
    for path in [
        "bootcode.bin",
        "5b154510/start4.elf",
        "5b154510/start.elf",
        "start4.elf",
        "start.elf",
        "config.txt",
        "5b154510/config.txt",
    ] {
        let answer = world.quietly(path);
        let want = Why::NoImage("nothing is published".to_owned());
        assert_eq!(answer, Answer::Missing(want), "{path}");
    }
    assert_eq!(world.tree.pinned(), 0);
    assert_eq!(world.boot(PI4)[0].1, 1);
}

#[test]
fn what_is_missing_is_told_apart() {
    let mut world = World::new();
    let mut why = |path: &str| match world.ask(path) {
        Answer::Missing(why) => why,
        Answer::Found(_) => panic!("{path}"),
    };
    for path in [
        "5b154510/pieeprom.sig",
        "5b154510/recovery.elf",
        "5b154510/start4x.elf",
        "5b154510/bcm2710-rpi-3-b-plus.dtbo",
        "5b154510/upstream/vmlinuz-0123456789abcdef",
        "5b154510/overlays/unknown.dtbo",
        "5b154510/boot.img",
        "overlays/unknown.dtbo",
    ] {
        assert_eq!(why(path), Why::Expected, "{path}");
    }
    for path in [
        "",
        "/",
        "undionly.kpxe",
        "pieeprom.sig",
        "5b154510/",
        "5b154510/../config.txt",
        "config.txt\n",
    ] {
        assert_eq!(why(path), Why::NotOurs, "{path}");
    }
    let text = why("5b154510/initrd-0123456789abcdef").to_string();
    assert!(
        text.starts_with("config.txt named initrd-0123456789abcdef, which no stored image has"),
        "{text}"
    );
    let text = why("5b154510/bcm2711-rpi-400.dtb").to_string();
    assert_eq!(
        text,
        "the image has no device tree for a Pi 400: bcm2711-rpi-400.dtb"
    );
}

#[test]
fn a_board_gets_a_tree_that_fits_by_the_name_it_asks_for() {
    let files = [
        "bcm2837-rpi-3-b.dtb",
        "bcm2711-rpi-cm4-io.dtb",
        "bcm2837-rpi-cm3-io3.dtb",
    ];
    let choice = choice_of(&files, 1, None);
    for (asked, want) in [
        ("bcm2711-rpi-cm4.dtb", Some("bcm2711-rpi-cm4-io.dtb")),
        ("bcm2837-rpi-2-b.dtb", Some("bcm2837-rpi-3-b.dtb")),
        ("bcm2710-rpi-3-b.dtb", Some("bcm2837-rpi-3-b.dtb")),
        ("bcm2837-rpi-cm3.dtb", Some("bcm2837-rpi-cm3-io3.dtb")),
        ("bcm2837-rpi-3-b-plus.dtb", None),
    ] {
        let found = match look_up(&choice, asked) {
            Answer::Found(parts) => Some(parts.slices().concat()),
            Answer::Missing(why) => {
                assert!(why.is_loud());
                None
            }
        };
        let want = want.map(|name| format!("{name} of 1").into_bytes());
        assert_eq!(found, want, "{asked}");
    }
}

/// The manager was restarted, and something published, in the middle of a boot.
#[test]
fn names_of_earlier_publications_are_found_and_the_rest_of_the_boot_with_them() {
    let mut world = World::new();
    world.published.set(3);
    let Answer::Found(config) = world.quietly("5b154510/config.txt") else {
        panic!("there");
    };
    let text = String::from_utf8(config.slices().concat()).expect("text");
    let initrd = text
        .lines()
        .find_map(|line| line.strip_prefix("initramfs "))
        .expect("named");
    let initrd = format!("5b154510/{}", initrd.replace(" followkernel", ""));
    for (published, there) in [(3, true), (5, true), (11, true), (12, false)] {
        let mut world = World::new();
        world.published.set(published);
        let found = match world.quietly(&initrd) {
            Answer::Found(_) => true,
            Answer::Missing(why) => !why.is_loud(),
        };
        assert_eq!(found, there, "{published}");
        if there {
            let found = world.boot("5b154510/bcm2711-rpi-4-b.dtb 5b154510/cmdline.txt");
            assert!(
                found.iter().all(|(_, generation)| *generation == 3),
                "{found:?}"
            );
        }
    }
}

#[test]
fn a_boot_that_was_broken_off_does_not_pin_the_next() {
    let second = Duration::from_secs(1);
    let of = |world: &mut World, path: &str| world.boot(path)[0].1;
    // A Pi 5 switched off while it loads.
    let mut world = World::new();
    assert_eq!(of(&mut world, "5b154510/config.txt"), 1);
    world.now += SILENCE - second;
    assert_eq!(of(&mut world, "5b154510/config.txt"), 1, "the same boot");
    world.now += SILENCE;
    assert_eq!(of(&mut world, "5b154510/config.txt"), 3);
    // Others begin with start4.elf; their config.txt is none, however long a file took.
    world.now += IDLE + second;
    assert_eq!(of(&mut world, "5b154510/start4.elf"), 4);
    assert_eq!(of(&mut world, "5b154510/config.txt"), 4);
    world.now += SILENCE + second;
    assert_eq!(of(&mut world, "5b154510/config.txt"), 4);
    world.now += IDLE + second;
    assert_eq!(of(&mut world, "5b154510/config.txt"), 7);
    // Another board under the same address.
    assert_eq!(of(&mut world, "5b154511/config.txt"), 8);
}

#[test]
fn machines_do_not_share_a_pin_and_pins_are_bounded() {
    let mut world = World::new();
    for i in 0..2 * u32::try_from(MAX_PINS).expect("small") {
        world.address = Ipv4Addr::from(0x0a00_0000 + i);
        world.published.set(1);
        world.now += Duration::from_millis(1);
        assert!(matches!(
            world.quietly("5b154510/config.txt"),
            Answer::Found(_)
        ));
    }
    assert_eq!(world.tree.pinned(), MAX_PINS);
    world.published.set(2);
    assert_eq!(
        world.boot("5b154510/cmdline.txt")[0].1,
        1,
        "the last one is kept"
    );
    world.address = Ipv4Addr::from(0x0a00_0000);
    assert_eq!(
        world.boot("5b154510/config.txt")[0].1,
        4,
        "the first one was not"
    );
    world.now += 2 * IDLE;
    world.boot("5b154510/start4.elf");
    assert_eq!(world.tree.pinned(), 1);
}

proptest! {
    #[test]
    fn hostile_paths_neither_panic_nor_escape(paths in prop::collection::vec(
        prop_oneof![
            "\\PC{0,40}",
            "/?(5b154510|dc-a6-32-01-02-03|pis|\\.\\.|[0-9a-fA-F]{7,9})?/{0,3}(config\\.txt|start4?\\.elf|overlays/\\.\\./x\\.dtbo|initrd-[0-9a-f]{16}|\\.\\./|etc/passwd){1,2}",
        ],
        1..20,
    )) {
        let mut world = World::new();
        let all = choice(1, None);
        for path in paths {
            world.published.set(1);
            world.now += Duration::from_secs(7);
            if let Answer::Found(parts) = world.quietly(&path) {
                let name = path.rsplit('/').next().expect("one");
                prop_assert!(all.names().any(|known| known.rsplit('/').next() == Some(name)), "{}", path);
                prop_assert!(!path.contains(".."), "{}", path);
                prop_assert!(!parts.is_empty());
            }
        }
    }
}
