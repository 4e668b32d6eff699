use super::*;
use crate::publish::modules::elf::tests::module;
use crate::publish::modules::index::{Index, Texts};
use crate::publish::modules::{Policy, plan};

const X86: u16 = 62;
const ARM: u16 = 183;

struct Fake {
    modules: BTreeMap<&'static str, Vec<u8>>,
    firmware: BTreeMap<&'static str, Vec<u8>>,
}

impl Files for Fake {
    fn module(&self, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(self.modules.get(path).cloned())
    }

    fn firmware_size(&self, path: &str) -> Option<u64> {
        self.firmware.get(path).map(|content| content.len() as u64)
    }

    fn firmware(&self, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(self.firmware.get(path).cloned())
    }
}

fn fake() -> (Plan, Fake) {
    let info =
        b"firmware=tigon/tg3.bin\0firmware=big.bin\0firmware=missing.bin\0firmware=packed.bin\0";
    let packed = zstd::encode_all(module(X86, info).as_slice(), 3).expect("packed");
    let fake = Fake {
        modules: BTreeMap::from([
            ("kernel/drivers/net/ethernet/tg3.ko.zst", packed),
            ("kernel/lib/needed.ko", module(X86, b"")),
        ]),
        firmware: BTreeMap::from([
            ("tigon/tg3.bin", vec![1; 10]),
            ("packed.bin.xz", vec![2; 20]),
            ("big.bin", vec![3; 5 << 20]),
        ]),
    };
    let index = Index::parse(&Texts {
        dep: "kernel/drivers/net/ethernet/tg3.ko.zst: kernel/lib/needed.ko\nkernel/lib/needed.ko:\n",
        builtin: "loop.ko\nsquashfs.ko\noverlay.ko\n",
        ..Texts::default()
    });
    (
        plan(&index.expect("sound"), Policy::All).expect("planned"),
        fake,
    )
}

#[test]
fn modules_table_and_firmware() {
    let (plan, files) = fake();
    let modules = modules(&plan, &files).expect("made");
    assert_eq!((modules.count, modules.firmware), (2, 2));
    assert_eq!(modules.arch, Some(Arch::X86_64));
    assert_eq!(modules.left_out, ["big.bin"]);
    let text = String::from_utf8_lossy(&modules.archive);
    for path in [
        "lib/firmware/packed.bin.xz\0",
        "lib/firmware/tigon/tg3.bin\0",
        "modules.table\0",
        "modules/kernel/drivers/net/ethernet/tg3.ko\0",
        "ramboot-modules 1\nm kernel/lib/needed.ko\nm kernel/drivers/net/ethernet/tg3.ko 0\n",
    ] {
        assert!(text.contains(path), "{path:?}");
    }
}

#[test]
fn what_is_missing_or_of_another_machine_is_named() {
    let (plan, mut files) = fake();
    files
        .modules
        .insert("kernel/lib/needed.ko", module(ARM, b""));
    let error = modules(&plan, &files)
        .expect_err("two machines")
        .to_string();
    assert_eq!(
        error,
        "kernel/drivers/net/ethernet/tg3.ko.zst is for x86_64, but kernel/lib/needed.ko is for aarch64"
    );
    files.modules.remove("kernel/lib/needed.ko");
    let error = modules(&plan, &files).expect_err("missing").to_string();
    assert_eq!(
        error,
        "modules.dep names kernel/lib/needed.ko, which is not there"
    );
}

#[test]
fn the_same_input_gives_the_same_bytes_on_any_number_of_cores() {
    let (plan, files) = fake();
    let once = modules(&plan, &files).expect("made").archive;
    assert_eq!(once, modules(&plan, &files).expect("made").archive);
    let large: Vec<u8> = once.iter().copied().cycle().take(20 << 20).collect();
    let one = compress(&large, 1).expect("packed");
    assert_eq!(one, compress(&large, 3).expect("packed"));
    assert_eq!(zstd::decode_all(one.as_slice()).expect("a frame"), large);
}

#[test]
fn the_base_has_a_console_and_init() {
    let bytes = base(b"\x7fELF").expect("made");
    let text = String::from_utf8_lossy(&bytes);
    for path in [
        "dev\0",
        "dev/console\0",
        "dev/null\0",
        "init\0",
        "newroot\0",
        "proc\0",
        "run\0",
        "sys\0",
    ] {
        assert!(text.contains(path), "{path:?}");
    }
    assert_eq!(bytes, base(b"\x7fELF").expect("made"));
}
