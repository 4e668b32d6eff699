//! A squashfs of a few kilobytes that `publish` takes for a Debian: the heads of a kernel, of two modules and of an init, and
//! what names them. Nothing of it runs, and nothing in it is wrong.

use std::io::Cursor;
use std::path::Path;

use backhand::{FilesystemWriter, NodeHeader};

pub(crate) const VERSION: &str = "6.1.0-56-amd64";
pub(crate) const DEP: &str =
    "kernel/drivers/net/ethernet/e1000.ko: kernel/lib/needed.ko\nkernel/lib/needed.ko:\n";
pub(crate) const BUILTIN: &str =
    "kernel/drivers/block/loop.ko\nkernel/fs/squashfs.ko\nkernel/fs/overlay.ko\n";

/// These files, under absolute paths, as a squashfs. The same files make the same bytes.
pub(crate) fn squashfs(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = FilesystemWriter::default();
    writer.set_time(0);
    let header = NodeHeader::new(0o755, 0, 0, 0);
    writer
        .push_dir("/tmp", NodeHeader::new(0o1777, 0, 0, 0))
        .expect("folder");
    for (path, content) in files {
        let parent = Path::new(path).parent().expect("absolute");
        writer.push_dir_all(parent, header).expect("folder");
        writer
            .push_file(Cursor::new(content.clone()), path, header)
            .expect("file");
    }
    let mut out = Cursor::new(Vec::new());
    writer.write(&mut out).expect("written");
    out.into_inner()
}

/// As much of a kernel's .config as anybody asks for.
pub(crate) const CONFIG: &str = "CONFIG_BLK_DEV_INITRD=y\nCONFIG_RD_ZSTD=y\nCONFIG_DEVTMPFS=y\nCONFIG_TMPFS=y\nCONFIG_SQUASHFS=y\n\
    CONFIG_SQUASHFS_ZLIB=y\nCONFIG_SQUASHFS_XZ=y\nCONFIG_SQUASHFS_ZSTD=y\n# CONFIG_SQUASHFS_LZ4 is not set\n";

/// The head of a kernel for PCs, which says its version (Documentation/arch/x86/boot.rst).
pub(crate) fn bzimage() -> Vec<u8> {
    let mut kernel = vec![0; 4096];
    kernel[0x20e..0x210].copy_from_slice(&[0, 2]);
    kernel[0x400..0x400 + VERSION.len()].copy_from_slice(VERSION.as_bytes());
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x236] = 1;
    kernel
}

/// The head of an ELF file for this machine.
pub(crate) fn module(machine: u8) -> Vec<u8> {
    let mut file = vec![0; 64];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[18] = machine;
    file
}

/// The head of a program for this machine, linked statically.
pub(crate) fn program(machine: u8) -> Vec<u8> {
    let mut file = module(machine);
    // ET_EXEC, and no program header.
    file[16] = 2;
    file
}

pub(crate) fn debian_like() -> Vec<(String, Vec<u8>)> {
    let modules = format!("/usr/lib/modules/{VERSION}");
    vec![
        (format!("/boot/vmlinuz-{VERSION}"), bzimage()),
        (format!("{modules}/modules.dep"), DEP.into()),
        (format!("{modules}/modules.builtin"), BUILTIN.into()),
        (
            format!("{modules}/kernel/drivers/net/ethernet/e1000.ko"),
            module(62),
        ),
        (format!("{modules}/kernel/lib/needed.ko"), module(62)),
        (format!("/boot/config-{VERSION}"), CONFIG.into()),
        ("/sbin/init".to_owned(), program(62)),
    ]
}
