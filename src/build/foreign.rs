//! What is no source, by its first bytes: its name, and the one command that makes a source of it.

/// What it is, and what to do; `None` if that is not known. `file` is its path as a shell takes it. `packing` is how all of it is
/// packed, if it is: these are then its first bytes unpacked.
pub(super) fn name(begin: &[u8], file: &str, packing: Option<&str>) -> Option<String> {
    let is = |(at, magic): &(usize, &[u8])| {
        let rest = begin.get(*at..);
        rest.is_some_and(|rest| rest.starts_with(magic))
    };
    let (_, what, remedy) = KNOWN.iter().find(|(marks, ..)| marks.iter().any(is))?;
    let unpack = match (remedy, packing) {
        // It unpacks these itself.
        (Remedy::Bsdtar | Remedy::None(_), _) | (_, None) => "",
        (_, Some(_)) => "first unpack it; then ",
    };
    let file = if unpack.is_empty() { file } else { "FILE" };
    Some(match remedy {
        Remedy::Run(command) => {
            format!(
                "it is {what}: {unpack}run `{}`",
                command.replace("FILE", file)
            )
        }
        Remedy::Convert => format!(
            "it is {what}: {unpack}make a plain disk image of it with `qemu-img convert -O raw {file} disk.img`"
        ),
        Remedy::Bsdtar => format!(
            "it is {what}: make a tar of it with `bsdtar -cf root.tar @{file}` (Debian: libarchive-tools)"
        ),
        Remedy::None(why) => format!("it is {what}, {why}"),
    })
}

enum Remedy {
    /// With the file's name for FILE.
    Run(&'static str),
    /// QEMU reads it.
    Convert,
    /// libarchive reads it, and keeps owners without being root.
    Bsdtar,
    /// There is none, and why.
    None(&'static str),
}

/// A place and the bytes there.
type Mark = (usize, &'static [u8]);

/// Any of the marks makes it that. From file(1), `qemu/block` and libarchive's readers.
const KNOWN: [(&[Mark], &str, Remedy); 20] = [
    (&[(0, b"PK\x03\x04")], "a zip archive", Remedy::Bsdtar),
    (
        &[(0, b"7z\xbc\xaf\x27\x1c")],
        "a 7z archive",
        Remedy::Bsdtar,
    ),
    (&[(0, b"Rar!\x1a\x07")], "a rar archive", Remedy::Bsdtar),
    (
        // newc, with checksums, POSIX's; binary in both orders of bytes.
        &[
            (0, b"070701"),
            (0, b"070702"),
            (0, b"070707"),
            (0, b"\xc7\x71"),
            (0, b"\x71\xc7"),
        ],
        "a cpio archive (an initramfs?)",
        Remedy::Bsdtar,
    ),
    (
        &[(0, b"BZh")],
        "packed with bzip2",
        Remedy::Run("bunzip2 --keep FILE"),
    ),
    (
        &[(0, b"\x04\x22\x4d\x18"), (0, b"\x02\x21\x4c\x18")],
        "packed with lz4",
        Remedy::Run("lz4 -d FILE plain"),
    ),
    (
        &[(0, b"LZIP")],
        "packed with lzip",
        Remedy::Run("lzip --decompress --keep FILE"),
    ),
    (
        &[(0, b"\x89LZO\0\r\n\x1a\n")],
        "packed with lzop",
        Remedy::Run("lzop --decompress FILE"),
    ),
    (
        &[(0, b"\x5d\0\0")],
        "packed with lzma",
        Remedy::Run("xz --format=lzma --decompress --keep --suffix=.lzma FILE"),
    ),
    (
        &[(0, b"\x1f\x9d")],
        "packed with compress",
        Remedy::Run("gzip --decompress --keep FILE"),
    ),
    (
        &[(0, b"QFI\xfb")],
        "a disk of QEMU (qcow2)",
        Remedy::Convert,
    ),
    (&[(0, b"QED\0")], "a disk of QEMU (qed)", Remedy::Convert),
    (
        &[(0, b"KDMV"), (0, b"COWD"), (0, b"# Disk DescriptorFile")],
        "a disk of VMware (vmdk)",
        Remedy::Convert,
    ),
    (
        &[(64, b"\x7f\x10\xda\xbe")],
        "a disk of VirtualBox (vdi)",
        Remedy::Convert,
    ),
    (
        &[(0, b"vhdxfile")],
        "a disk of Hyper-V (vhdx)",
        Remedy::Convert,
    ),
    (
        &[(0, b"conectix")],
        "a disk of Hyper-V (vhd)",
        Remedy::Convert,
    ),
    (
        &[(0, b"WithoutFreeSpace"), (0, b"WithouFreSpacExt")],
        "a disk of Parallels",
        Remedy::Convert,
    ),
    (
        &[(0, b"!<arch>\n"), (0, b"\xed\xab\xee\xdb")],
        "a package",
        Remedy::None("not a root file system"),
    ),
    (
        &[(0, b"\x7fELF")],
        "a program",
        Remedy::None("not a root file system"),
    ),
    (
        &[(0, b"\xd0\x0d\xfe\xed")],
        "a device tree or a FIT image of U-Boot",
        Remedy::None("which holds a kernel and not a root file system"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_known_by_its_first_bytes_and_has_one_command() {
        for (bytes, want) in [
            (
                &b"070701000"[..],
                "it is a cpio archive (an initramfs?): make a tar of it with `bsdtar -cf root.tar @'x'` (Debian: libarchive-tools)",
            ),
            (
                b"KDMV\x01",
                "it is a disk of VMware (vmdk): make a plain disk image of it with `qemu-img convert -O raw 'x' disk.img`",
            ),
            (
                b"\x04\x22\x4d\x18",
                "it is packed with lz4: run `lz4 -d 'x' plain`",
            ),
            (
                b"!<arch>\ndebian",
                "it is a package, not a root file system",
            ),
        ] {
            assert_eq!(name(bytes, "'x'", None).as_deref(), Some(want));
        }
        let mut vdi = vec![0; 70];
        vdi[64..68].copy_from_slice(b"\x7f\x10\xda\xbe");
        let said = name(&vdi, "'x'", Some("xz")).expect("known");
        assert!(
            said.contains("first unpack it; then make a plain disk image of it with `qemu-img convert -O raw FILE disk.img`"),
            "{said}"
        );
        for bytes in [&b""[..], b"some words", b"QF"] {
            assert_eq!(name(bytes, "'x'", None), None);
        }
    }
}
