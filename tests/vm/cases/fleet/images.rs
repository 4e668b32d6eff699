//! Two images for a hall: one for arm64 and Raspberry Pis, one for x86_64. Their files have the names publish looks for and
//! sizes of a small system; nothing of it runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::case::Case;
use crate::image::{self, Image};
use crate::manager::publish_with;

const VERSION: &str = "6.12.0-rpi-v8";
const KERNEL_BYTES: usize = 1 << 20;
/// A third to a tenth of the real ones, and the trees as they are.
const FIRMWARE: [(&str, usize); 11] = [
    ("bootcode.bin", 52_476),
    ("start.elf", 512 * 1024),
    ("fixup.dat", 7_303),
    ("start4.elf", 512 * 1024),
    ("fixup4.dat", 5_436),
    ("bcm2710-rpi-3-b.dtb", 34_203),
    ("bcm2710-rpi-3-b-plus.dtb", 34_816),
    ("bcm2711-rpi-4-b.dtb", 56_320),
    ("bcm2712-rpi-5-b.dtb", 77_804),
    ("overlays/README", 20),
    ("overlays/overlay_map.dtb", 3_344),
];
/// IMAGE_FILE_MACHINE of the PE format.
const X86_64: u16 = 0x8664;
const AARCH64: u16 = 0xaa64;

/// A store with both, and what is in it.
pub(super) struct Images {
    pub(super) store: PathBuf,
    files: BTreeMap<String, Vec<u8>>,
}

impl Images {
    /// Publishes both; all files have a `divisor`th of their size.
    pub(super) fn publish(case: &Case, divisor: usize) -> Result<Self> {
        let store = case.dir().join("store");
        fs::create_dir(&store)?;
        let firmware = FIRMWARE.map(|(name, bytes)| (name, noise(name, bytes / divisor)));
        for (name, tree) in [
            ("pi", arm64(case, &firmware, KERNEL_BYTES / divisor)?),
            ("pc", x86_64(case, KERNEL_BYTES / divisor)?),
        ] {
            let image = Image::of_tree(&tree, case.dir(), &format!("{name}.sqfs"))?;
            publish_with(&image.path, &store, &["--name", name])?;
        }
        let named = firmware.map(|(name, bytes)| (name.to_owned(), bytes));
        let mut files = BTreeMap::from(named);
        // Kernel and initramfs have names made of their content.
        for image in fs::read_dir(store.join("images"))? {
            for file in fs::read_dir(image?.path().join("boot"))? {
                let file = file?;
                let name = file.file_name().to_string_lossy().into_owned();
                files.insert(name, fs::read(file.path())?);
            }
        }
        Ok(Self { store, files })
    }

    /// What is served by this name.
    pub(super) fn get(&self, name: &str) -> Result<&[u8]> {
        let bytes = self.files.get(name).map(Vec::as_slice);
        bytes.with_context(|| format!("{name} is nobody's"))
    }
}

fn arm64(case: &Case, firmware: &[(&str, Vec<u8>)], kernel: usize) -> Result<PathBuf> {
    let tree = case.dir().join("arm64");
    // Documentation/arch/arm64/booting.rst
    system(&tree, &efi_program(AARCH64, kernel, (56, b"ARM\x64")))?;
    image::put_init(&tree, 183)?;
    let builtin = "genet smsc95xx lan78xx dwc2 macb rp1 smsc loop squashfs overlay";
    modules(&tree, builtin)?;
    for (name, bytes) in firmware {
        write(&tree, &format!("boot/firmware/{name}"), bytes)?;
    }
    stub(&tree, "aa64", AARCH64)?;
    Ok(tree)
}

fn x86_64(case: &Case, kernel: usize) -> Result<PathBuf> {
    let tree = case.dir().join("x86_64");
    // Documentation/arch/x86/boot.rst: the magic, and XLF_KERNEL_64.
    let mut kernel = efi_program(X86_64, kernel, (0x202, b"HdrS"));
    kernel[0x236] = 1;
    system(&tree, &kernel)?;
    image::put_init(&tree, 62)?;
    modules(&tree, "loop squashfs overlay virtio_net")?;
    stub(&tree, "x64", X86_64)?;
    Ok(tree)
}

fn system(tree: &Path, kernel: &[u8]) -> Result<()> {
    fs::create_dir_all(tree.join("tmp"))?;
    write(tree, &format!("boot/vmlinuz-{VERSION}"), kernel)
}

fn modules(tree: &Path, builtin: &str) -> Result<()> {
    let folder = format!("lib/modules/{VERSION}");
    let builtin = builtin.split(' ').map(|name| format!("kernel/{name}.ko\n"));
    let builtin: String = builtin.collect();
    write(
        tree,
        &format!("{folder}/modules.builtin"),
        builtin.as_bytes(),
    )?;
    write(tree, &format!("{folder}/modules.dep"), b"")
}

/// Where systemd puts it.
fn stub(tree: &Path, arch: &str, machine: u16) -> Result<()> {
    let path = format!("usr/lib/systemd/boot/efi/linux{arch}.efi.stub");
    let mut stub = efi_program(machine, 4096, (0, b"MZ"));
    // How systemd-boot knows one.
    stub.extend_from_slice(b"#### LoaderInfo: systemd-stub 252 ####");
    write(tree, &path, &stub)
}

/// A PE32+ program for UEFI without a section, its header as short as one can be, `magic` at its place, then noise.
fn efi_program(machine: u16, bytes: usize, (at, magic): (usize, &[u8])) -> Vec<u8> {
    // Behind a bzImage's header, and with room for sections.
    const PE: usize = 0x280;
    const OPTIONAL: usize = PE + 24;
    let mut file = vec![0; 1024];
    let mut put = |at: usize, value: &[u8]| file[at..at + value.len()].copy_from_slice(value);
    put(0, b"MZ");
    put(0x3c, &[0x80, 2]);
    put(PE, b"PE\0\0");
    put(PE + 4, &machine.to_le_bytes());
    // SizeOfOptionalHeader, its magic, both alignments, SizeOfHeaders, the subsystem.
    put(PE + 20, &[112, 0]);
    put(OPTIONAL, &[0x0b, 2]);
    put(OPTIONAL + 33, &[0x10]);
    put(OPTIONAL + 37, &[2]);
    put(OPTIONAL + 61, &[4]);
    put(OPTIONAL + 68, &[10]);
    put(at, magic);
    file.extend(noise("code", bytes));
    file
}

/// Bytes that do not compress, and differ between files (Numerical Recipes' generator).
fn noise(seed: &str, bytes: usize) -> Vec<u8> {
    let first = |sum: u64, byte: u8| sum.wrapping_mul(31).wrapping_add(byte.into());
    let mut state = seed.bytes().fold(7, first);
    let next = |_| {
        state = (state.wrapping_mul(1_664_525) + 1_013_904_223) & 0xffff_ffff;
        state.to_be_bytes()[4]
    };
    (0..bytes).map(next).collect()
}

fn write(tree: &Path, path: &str, content: &[u8]) -> Result<()> {
    let path = tree.join(path);
    let folder = path.parent().context("a folder")?;
    fs::create_dir_all(folder)?;
    fs::write(&path, content).with_context(|| format!("writing {}", path.display()))
}
