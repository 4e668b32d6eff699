use super::*;
use crate::params::Date;

/// Runs a script over a table of files; gives what it asked for, and how it ended.
fn run(params: &Params, stage: Stage, files: &[(&str, &str)]) -> (Vec<String>, Next) {
    let (mut answers, mut asked) = (Vec::new(), Vec::new());
    loop {
        match next(params, stage, &answers) {
            Next::Ask(ask) => {
                let found = files.iter().find(|(name, _)| *name == ask.path);
                let mark = match (found, ask.purpose) {
                    (None, _) => "-",
                    (_, Purpose::Probe) => "?",
                    (_, Purpose::Read) => "",
                };
                asked.push(format!("{mark}{}", ask.path));
                answers.push(match (found, ask.purpose) {
                    (None, _) => Answer::Absent,
                    (_, Purpose::Probe) => Answer::Found,
                    (Some((_, text)), Purpose::Read) => Answer::File(Arc::new(File {
                        len: text.len() as u64,
                        digest: 0,
                        bytes: Some(text.as_bytes().into()),
                    })),
                });
            }
            end => return (asked, end),
        }
    }
}

fn started(end: Next) -> Loaded {
    match end {
        Next::Start(loaded) => *loaded,
        other => panic!("{other:?}"),
    }
}

/// pipxe's log of October 2021, with a kernel of a given name and an initramfs.
#[test]
fn a_four_asks_in_this_order() {
    let files = [
        ("5b400001/start4.elf", ""),
        ("5b400001/fixup4.dat", ""),
        (
            "5b400001/config.txt",
            "kernel=k\ninitramfs i followkernel\ndtoverlay=o",
        ),
        ("5b400001/i", ""),
        ("5b400001/bcm2711-rpi-4-b.dtb", ""),
        ("5b400001/overlays/o.dtbo", ""),
        ("5b400001/cmdline.txt", "quiet"),
        ("5b400001/k", ""),
    ];
    let (asked, end) = run(&Params::pi4(1, Date(2023, 1, 11)), Stage::Eeprom, &files);
    let short: Vec<_> = asked.iter().map(|it| it.replace("5b400001/", "")).collect();
    let expected = "?start4.elf config.txt -vl805.sig -pieeprom.sig -recover4.elf -recovery.elf start4.elf fixup4.dat \
                    -recovery.elf ?config.txt config.txt -dt-blob.bin -recovery.elf ?config.txt config.txt -bootcfg.txt \
                    i ?bcm2711-rpi-4-b.dtb bcm2711-rpi-4-b.dtb -overlays/overlay_map.dtb ?config.txt config.txt \
                    ?overlays/o.dtbo overlays/o.dtbo ?cmdline.txt cmdline.txt -recovery8.img -recovery8-32.img \
                    -recovery7.img -recovery.img ?k -armstub8-gic.bin k";
    assert_eq!(short.join(" "), expected);
    let loaded = started(end);
    assert_eq!((&*loaded.kernel, &*loaded.cmdline), ("5b400001/k", "quiet"));
    assert_eq!(loaded.violations, []);
}

#[test]
fn a_five_asks_in_this_order() {
    let files = [
        ("e1500001/config.txt", "auto_initramfs=1\ndtoverlay=o"),
        ("e1500001//config.txt", "auto_initramfs=1\ndtoverlay=o"),
        ("e1500001/initramfs8", ""),
        ("e1500001/bcm2712-rpi-5-b.dtb", ""),
        ("e1500001/overlays/o.dtbo", ""),
        ("e1500001//cmdline.txt", "quiet"),
        ("e1500001/kernel8.img", ""),
    ];
    let (asked, end) = run(&Params::pi5(1, Date(2026, 1, 1)), Stage::Eeprom, &files);
    let short: Vec<_> = asked
        .iter()
        .map(|it| it.replacen("e1500001/", "", 1))
        .collect();
    let expected = "config.txt -pieeprom.sig ?bcm2712-rpi-5-b.dtb ?/config.txt /config.txt -kernel_2712.img ?kernel8.img \
                    initramfs8 ?bcm2712-rpi-5-b.dtb bcm2712-rpi-5-b.dtb -overlays/overlay_map.dtb \
                    -overlays/hat_map.dtb /config.txt overlays/o.dtbo /cmdline.txt -armstub8-2712.bin kernel8.img";
    assert_eq!(short.join(" "), expected);
    assert_eq!(started(end).initramfs, ["e1500001/initramfs8"]);
}

/// Whoever finds a digest fetches what it is of, and boots.
#[test]
fn an_update_is_fetched_where_there_is_one() {
    let files = [
        ("e1500001/config.txt", "os_check=0"),
        ("e1500001//config.txt", "os_check=0"),
        ("e1500001/pieeprom.sig", "digest"),
        ("e1500001/pieeprom.upd", "image"),
        ("e1500001/bcm2712-rpi-5-b.dtb", ""),
        ("e1500001//cmdline.txt", "quiet"),
        ("e1500001/kernel8.img", ""),
    ];
    let (asked, end) = run(&Params::pi5(1, Date(2026, 1, 1)), Stage::Eeprom, &files);
    assert_eq!(
        asked[1..3],
        ["e1500001/pieeprom.sig", "e1500001/pieeprom.upd"]
    );
    assert_eq!(started(end).kernel, "e1500001/kernel8.img");
}

/// Without its folder a Pi asks for everything in the root.
#[test]
fn the_root_is_the_fallback() {
    let files = [
        ("start.elf", ""),
        ("fixup.dat", ""),
        ("config.txt", "upstream_kernel=1"),
        ("bcm2837-rpi-3-b-plus.dtb", ""),
        ("cmdline.txt", ""),
        ("kernel8.img", ""),
    ];
    let (asked, end) = run(&Params::pi3b_plus(1), Stage::Bootcode, &files);
    assert_eq!(asked[0], "-52310001/start.elf");
    assert!(asked[1..].iter().all(|path| !path.contains("52310001")));
    assert_eq!(started(end).device_tree, "bcm2837-rpi-3-b-plus.dtb");
}

/// The folder is found by start.elf, whatever variant is then loaded.
#[test]
fn little_memory_for_the_gpu_chooses_the_cut_down_start_elf() {
    let mut files = vec![
        ("start.elf", ""),
        ("start_cd.elf", ""),
        ("fixup_cd.dat", ""),
        ("start4.elf", ""),
        ("start4cd.elf", ""),
        ("fixup4cd.dat", ""),
        ("config.txt", "gpu_mem=16"),
        ("bcm2710-rpi-3-b.dtb", ""),
        ("bcm2711-rpi-4-b.dtb", ""),
        ("cmdline.txt", ""),
        ("kernel8.img", ""),
    ];
    for (params, stage, start) in [
        (Params::pi3b(1), Stage::Bootcode, "start_cd.elf"),
        (
            Params::pi4(1, Date(2023, 1, 11)),
            Stage::Eeprom,
            "start4cd.elf",
        ),
    ] {
        let (_, end) = run(&params, stage, &files);
        let loaded = started(end);
        assert!(loaded.files.contains_key(start));
        let without = files.iter().position(|(name, _)| *name == start);
        files.remove(without.expect("just listed"));
        let (_, end) = run(&params, stage, &files);
        assert!(matches!(end, Next::Fail(Failure::Missing { path, .. }) if path == start));
    }
}

#[test]
fn includes_and_os_prefix_are_followed() {
    let mut files = vec![
        ("start4.elf", ""),
        ("fixup4.dat", ""),
        (
            "config.txt",
            "kernel=no\ninclude more.txt\n[pi5]\nkernel=no\n",
        ),
        ("more.txt", "os_prefix=a/\n[pi4]\nkernel=k\ndtoverlay=o\n"),
        ("a/bcm2711-rpi-4-b.dtb", ""),
        ("a/overlays/README", ""),
        ("a/overlays/o.dtbo", ""),
        ("a/cmdline.txt", ""),
        ("a/k", ""),
    ];
    let (_, end) = run(&Params::pi4(1, Date(2023, 1, 11)), Stage::Eeprom, &files);
    let loaded = started(end);
    assert_eq!(
        (&*loaded.kernel, &loaded.overlays[..]),
        ("a/k", &["a/overlays/o.dtbo".to_owned()][..])
    );
    files[3] = ("more.txt", "include more.txt");
    let (_, end) = run(&Params::pi4(1, Date(2023, 1, 11)), Stage::Eeprom, &files);
    assert!(
        matches!(end, Next::Fail(Failure::BadText { .. })),
        "{end:?}"
    );
}

#[test]
fn prefixes_are_the_eeproms() {
    use crate::params::Prefix;
    let mut params = Params::pi4(1, Date(2023, 1, 11));
    params.serial = 0x0b15_4510;
    assert_eq!(params.folder(), "0b154510/");
    params.prefix = Prefix::Mac;
    assert_eq!(params.folder(), "dc-a6-32-40-00-01/");
    params.prefix = Prefix::Text("lab/".to_owned());
    assert_eq!(params.folder(), "lab/");
}
