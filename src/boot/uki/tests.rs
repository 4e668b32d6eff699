#![expect(clippy::cast_possible_truncation, reason = "small files")]

use proptest::prelude::*;

use super::*;

/// A PE32+ image as systemd's stubs are laid out, with these sections of one byte each and room for `room` more.
fn program(machine: u16, sections: &[&str], room: usize, body: &[u8]) -> Vec<u8> {
    let table = 0x80 + 24 + 240;
    let head = (table + 40 * (sections.len() + room)).next_multiple_of(512);
    let mut file = vec![0; head];
    let mut put = |at: usize, value: &[u8]| file[at..at + value.len()].copy_from_slice(value);
    put(0, b"MZ");
    put(0x3c, &0x80_u32.to_le_bytes());
    put(0x80, b"PE\0\0");
    put(0x84, &machine.to_le_bytes());
    put(0x86, &(sections.len() as u16).to_le_bytes());
    put(0x94, &240_u16.to_le_bytes());
    let optional = 0x98;
    put(optional, &0x20b_u16.to_le_bytes());
    put(optional + 32, &4096_u32.to_le_bytes());
    put(optional + 36, &512_u32.to_le_bytes());
    put(optional + 60, &(head as u32).to_le_bytes());
    put(optional + 64, &0xdead_u32.to_le_bytes());
    put(optional + 68, &10_u16.to_le_bytes());
    put(optional + 108, &16_u32.to_le_bytes());
    put(optional + 112 + 4 * 8, &[0xff; 8]);
    for (i, name) in sections.iter().enumerate() {
        let at = table + 40 * i;
        put(at, &Name::new(name).0);
        put(at + 8, &(body.len() as u32).to_le_bytes());
        put(at + 12, &(0x4000 + 0x1000 * i as u32).to_le_bytes());
        put(
            at + 16,
            &(body.len().next_multiple_of(512) as u32).to_le_bytes(),
        );
        put(at + 20, &(head as u32).to_le_bytes());
    }
    file.extend(body);
    file.resize(file.len().next_multiple_of(512), 0);
    file.extend(b"symbols, which are no part of the image");
    file
}

/// A stub as a distribution would ship it.
pub(crate) fn stub_file(arch: Arch) -> Vec<u8> {
    program(
        machine_type(arch),
        &[".text", ".sdmagic"],
        5,
        b"#### LoaderInfo: systemd-stub 252.39-1~deb12u2 ####\0",
    )
}

const fn machine_type(arch: Arch) -> u16 {
    match arch {
        Arch::X86_64 => 0x8664,
        Arch::Aarch64 => 0xaa64,
    }
}

fn stub(arch: Arch) -> Stub {
    Stub::parse(stub_file(arch).into()).expect("a stub")
}

/// A kernel that is an EFI program.
pub(crate) fn kernel(arch: Arch) -> Bytes {
    program(machine_type(arch), &[".text"], 0, &[0x90; 5000]).into()
}

fn payload(arch: Arch) -> Payload<'static> {
    Payload {
        cmdline: "ramboot.image=x quiet",
        uname: "6.1.0-56-amd64",
        kernel: kernel(arch).into(),
        initrd: vec![0x42; 12_345].into(),
    }
}

/// Name, address, bytes in memory, offset, bytes in the file: read by a second reader of this format.
pub(crate) fn sections(file: &[u8]) -> Vec<(String, u32, u32, u32, u32)> {
    let word = |at: usize| u32::from_le_bytes(*file[at..].first_chunk().expect("a field"));
    let pe = word(0x3c) as usize;
    let count = u16::from_le_bytes([file[pe + 6], file[pe + 7]]);
    let table = pe + 24 + usize::from(u16::from_le_bytes([file[pe + 20], file[pe + 21]]));
    (0..usize::from(count))
        .map(|i| table + 40 * i)
        .map(|at| {
            let name = String::from_utf8_lossy(&file[at..at + 8]);
            let name = name.trim_end_matches('\0').to_owned();
            (
                name,
                word(at + 12),
                word(at + 8),
                word(at + 20),
                word(at + 16),
            )
        })
        .collect()
}

#[test]
fn sections_hold_what_they_should_and_the_stub_stays_as_it_is() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let payload = payload(arch);
        let file = stub_file(arch);
        let uki = stub(arch).compose(&payload).expect("composed");
        let made = uki.slices().concat();
        assert_eq!(uki.len(), made.len() as u64);
        let found = sections(&made);
        let names: Vec<&str> = found.iter().map(|section| section.0.as_str()).collect();
        assert_eq!(
            names,
            [
                ".text", ".sdmagic", ".uname", ".cmdline", ".initrd", ".linux"
            ]
        );
        let [kernel, initrd] =
            [&payload.kernel, &payload.initrd].map(|parts| parts.slices().concat());
        for (name, content) in [
            (".uname", payload.uname.as_bytes()),
            (".cmdline", payload.cmdline.as_bytes()),
            (".initrd", &initrd),
            (".linux", &kernel),
        ] {
            let section = found
                .iter()
                .find(|section| section.0 == name)
                .expect("there");
            let (_, address, memory, offset, len) = section;
            assert_eq!(*memory as usize, content.len(), "{name}");
            assert_eq!(
                &made[*offset as usize..][..content.len()],
                content,
                "{name}"
            );
            assert_eq!(
                (address % 4096, offset % 512, len % 512),
                (0, 0, 0),
                "{name}"
            );
        }
        for pair in found[1..].windows(2) {
            assert!(pair[0].1 + pair[0].2 <= pair[1].1, "in memory: {pair:?}");
            assert!(pair[0].3 + pair[0].4 <= pair[1].3, "in the file: {pair:?}");
        }
        let last = found.last().expect("sections");
        assert_eq!((last.3 + last.4) as usize, made.len());
        let word = |at: usize| u32::from_le_bytes(*made[at..].first_chunk().expect("a field"));
        assert_eq!(
            word(0x98 + 56),
            (last.1 + last.2).next_multiple_of(4096),
            "SizeOfImage"
        );
        assert_eq!(word(0x98 + 64), 0, "CheckSum");
        assert_eq!(made[0x98 + 112 + 32..][..8], [0; 8], "signatures");
        let head = word(0x98 + 60) as usize;
        let code = found[0].3 as usize..(found[1].3 + found[1].4) as usize;
        assert_eq!(made[head..code.end], file[head..code.end]);
        assert_eq!(found[2].3 as usize, code.end, "no symbols between");
    }
}

#[test]
fn kernel_and_initramfs_are_not_copied() {
    let payload = payload(Arch::X86_64);
    let uki = stub(Arch::X86_64).compose(&payload).expect("composed");
    for content in [&payload.kernel, &payload.initrd] {
        assert!(
            uki.slices()
                .iter()
                .any(|slice| slice.as_ptr() == content.slices()[0].as_ptr())
        );
    }
    let written = uki.len() - payload.kernel.len() - payload.initrd.len();
    assert!(written < 8192, "{written} bytes that are neither");
}

#[test]
fn what_cannot_boot_is_refused_with_a_reason() {
    let changed = |at: usize, value: &[u8]| {
        let mut file = stub_file(Arch::X86_64);
        file[at..at + value.len()].copy_from_slice(value);
        file
    };
    let full = program(
        0x8664,
        &[".text", ".linux"],
        5,
        b"#### LoaderInfo: systemd-stub 252 ####",
    );
    let other = program(0x8664, &[".text"], 5, b"some other EFI program");
    for (file, want) in [
        (Vec::new(), "does not begin with MZ"),
        (b"MZ".to_vec(), "past the headers"),
        (changed(0, b"ZM"), "does not begin with MZ"),
        (changed(0x3c, &[0xff; 4]), "there is no PE header"),
        (changed(0x80, b"NE"), "there is no PE header"),
        (changed(0x84, &[0x4c, 1]), "machine type 0x14c"),
        (changed(0x94, &[111, 0]), "SizeOfOptionalHeader is 0x6f"),
        (changed(0x94, &[0xff, 0xff]), "past the headers"),
        (changed(0x98, &[0x0b, 1]), "not of the 64-bit kind"),
        (changed(0x98 + 32, &[0, 0, 0, 0]), "SectionAlignment is 0x0"),
        (
            changed(0x98 + 32, &[0, 0, 0, 0x80]),
            "SectionAlignment is 0x80000000",
        ),
        (changed(0x98 + 36, &[3, 0, 0, 0]), "FileAlignment is 0x3"),
        (
            changed(0x98 + 60, &[0xff; 4]),
            "SizeOfHeaders is 0xffffffff",
        ),
        (changed(0x98 + 60, &[0, 1, 0, 0]), "past the headers"),
        (changed(0x98 + 68, &[11, 0]), "not an EFI application"),
        (changed(0x86, &[0xff, 0xff]), "past the headers"),
        (
            changed(0x188 + 8, &[0xff; 8]),
            "VirtualAddress is 0xffffffff",
        ),
        (
            changed(0x188 + 20, &[0xff; 4]),
            "PointerToRawData is 0xffffffff",
        ),
        (full, "a section .linux already"),
        (other, "not systemd's"),
        (vec![0; MAX_STUB_BYTES as usize + 1], "4194304 are possible"),
    ] {
        let error = Stub::parse(file.into()).expect_err(want).to_string();
        assert!(error.contains(want), "{error:?} says nothing of {want:?}");
    }
}

#[test]
fn a_payload_that_cannot_boot_is_refused_with_a_reason() {
    let stub_x86 = stub(Arch::X86_64);
    let arm = stub_x86
        .compose(&payload(Arch::Aarch64))
        .expect_err("another machine");
    assert_eq!(arm, UkiError::KernelMachine(0xaa64, Arch::X86_64));
    let packed = Payload {
        kernel: Bytes::from_static(b"\x1f\x8b\x08 and so on").into(),
        ..payload(Arch::Aarch64)
    };
    let error = stub(Arch::Aarch64)
        .compose(&packed)
        .expect_err("packed")
        .to_string();
    assert!(error.contains("not packed by gzip"), "{error}");
    let tight = program(0x8664, &[".text"], 0, MARK);
    let tight = Stub::parse(tight.into()).expect("a stub");
    let error = tight
        .compose(&payload(Arch::X86_64))
        .expect_err("tight")
        .to_string();
    assert!(
        error.contains("room for 2 more sections, 4 are needed"),
        "{error}"
    );
}

/// Debian's own stub, where it is installed.
#[test]
fn the_stub_of_this_machine() {
    let path = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
    let Ok(file) = std::fs::read(path) else {
        eprintln!("no {path}: nothing to test");
        return;
    };
    let stub = Stub::parse(file.into()).expect("a stub");
    assert_eq!(stub.arch, Arch::X86_64);
    let uki = stub.compose(&payload(Arch::X86_64)).expect("composed");
    let found = sections(&uki.slices().concat());
    for pair in found.windows(2) {
        assert!(pair[0].1 + pair[0].2 <= pair[1].1, "in memory: {pair:?}");
    }
    let again = Stub::parse(Bytes::from(uki.slices().concat())).expect_err("no stub any more");
    assert!(matches!(again, UkiError::Full(_)), "{again}");
}

proptest! {
    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Stub::parse(bytes.into());
    }

    /// Whatever one field says: refused, or a file whose sections lie inside it.
    #[test]
    fn a_lying_header_is_refused_or_harmless(at in 0_usize..1024, value in any::<u32>(), x86 in any::<bool>()) {
        let arch = if x86 { Arch::X86_64 } else { Arch::Aarch64 };
        let mut file = stub_file(arch);
        let at = at.min(file.len() - 4);
        file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let payload = payload(arch);
        if let Ok(uki) = Stub::parse(file.clone().into()).and_then(|stub| stub.compose(&payload)) {
            let most = file.len() as u64 + payload.kernel.len() + payload.initrd.len() + 8 * 65_536;
            prop_assert!(uki.len() <= most);
            let made = uki.slices().concat();
            for (name, _, _, offset, len) in sections(&made).into_iter().rev().take(4) {
                prop_assert!(u64::from(offset) + u64::from(len) <= uki.len(), "{}", name);
            }
        }
        file.truncate(at);
        let _ = Stub::parse(file.into());
    }

    #[test]
    fn any_lengths_fit(kernel in 0_usize..9000, initrd in 0_usize..9000, cmdline in "[a-z =.]{1,1500}") {
        let mut program = self::kernel(Arch::X86_64).to_vec();
        program.resize(program.len() + kernel, 7);
        let payload = Payload {
            cmdline: &cmdline,
            uname: "",
            kernel: program.into(),
            initrd: vec![1; initrd].into(),
        };
        let made = stub(Arch::X86_64).compose(&payload).expect("composed").slices().concat();
        let [kernel, initrd] = [&payload.kernel, &payload.initrd].map(|parts| parts.slices().concat());
        for (section, content) in sections(&made)[2..].iter().zip([&b""[..], cmdline.as_bytes(), &initrd, &kernel]) {
            prop_assert_eq!(&made[section.3 as usize..][..section.2 as usize], content);
        }
    }
}
