//! What a module's file says about itself: its machine, and the firmware it asks for.
//!
//! Reads just enough of a 64-bit little-endian ELF file. Nothing in it is believed: what points outside is not there.

use std::collections::BTreeSet;

use ramboot_wire::Arch;

const MACHINE_X86_64: u16 = 62;
const MACHINE_AARCH64: u16 = 183;
const SECTION_BYTES: usize = 64;
/// Longest path of a firmware file that is looked for.
const MAX_FIRMWARE_NAME: usize = 200;
/// A version of 64 bytes and a dozen words.
const MAX_MAGIC: usize = 200;

/// The machine this file is for; `None` if it is not for one that a worker can be.
#[must_use]
pub fn machine(file: &[u8]) -> Option<Arch> {
    let header = header(file)?;
    match u16_at(header, 18)? {
        MACHINE_X86_64 => Some(Arch::X86_64),
        MACHINE_AARCH64 => Some(Arch::Aarch64),
        _ => None,
    }
}

/// Names below /lib/firmware that the module may ask for (`firmware=` in its `.modinfo`), plain paths only.
#[must_use]
pub fn firmware(file: &[u8]) -> BTreeSet<String> {
    let info = modinfo(file).unwrap_or_default();
    info.split(|&b| b == 0)
        .filter_map(|entry| std::str::from_utf8(entry.strip_prefix(b"firmware=")?).ok())
        .filter(|name| {
            name.len() <= MAX_FIRMWARE_NAME
                && name.bytes().all(|b| b.is_ascii_graphic())
                && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
        })
        .map(str::to_owned)
        .collect()
}

/// For which kernel the module was built (`vermagic=` in its `.modinfo`).
#[must_use]
pub fn vermagic(file: &[u8]) -> Option<&str> {
    let mut info = modinfo(file)?.split(|&b| b == 0);
    let magic = info.find_map(|entry| entry.strip_prefix(b"vermagic="))?;
    let magic = magic.get(..MAX_MAGIC).unwrap_or(magic);
    std::str::from_utf8(magic).ok()
}

fn header(file: &[u8]) -> Option<&[u8]> {
    // 64-bit, little-endian.
    file.strip_prefix(b"\x7fELF\x02\x01").map(|_| file)
}

fn modinfo(file: &[u8]) -> Option<&[u8]> {
    let header = header(file)?;
    let table = usize_at(header, 40)?;
    let count = u16_at(header, 60)?.into();
    let names = u16_at(header, 62)?.into();
    let section = |number: usize| {
        let start = table.checked_add(number.checked_mul(SECTION_BYTES)?)?;
        file.get(start..)?.get(..SECTION_BYTES)
    };
    let content = |section: &[u8]| {
        let (offset, size) = (usize_at(section, 24)?, usize_at(section, 32)?);
        file.get(offset..)?.get(..size)
    };
    let names = content(section(names)?)?;
    (0..count).filter_map(section).find_map(|section| {
        let name = usize::try_from(u32_at(section, 0)?).ok()?;
        let is_it = names.get(name..)?.starts_with(b".modinfo\0");
        is_it.then(|| content(section))?
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|b| u16::from_le_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|b| u32::from_le_bytes(*b))
}

fn usize_at(bytes: &[u8], at: usize) -> Option<usize> {
    let value = bytes
        .get(at..)?
        .first_chunk()
        .map(|b| u64::from_le_bytes(*b));
    usize::try_from(value?).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A module that consists of its `.modinfo` alone.
    pub(crate) fn module(machine: u16, info: &[u8]) -> Vec<u8> {
        const NAMES: &[u8] = b"\0.shstrtab\0.modinfo\0";
        let table = 64 + NAMES.len() + info.len();
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[40..48].copy_from_slice(&(table as u64).to_le_bytes());
        file[60] = 3;
        file[62] = 1;
        file.extend_from_slice(NAMES);
        file.extend_from_slice(info);
        for (name, offset, size) in [
            (0, 0, 0),
            (1, 64, NAMES.len()),
            (11, 64 + NAMES.len(), info.len()),
        ] {
            let mut section = [0; SECTION_BYTES];
            section[0] = name;
            section[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
            section[32..40].copy_from_slice(&(size as u64).to_le_bytes());
            file.extend_from_slice(&section);
        }
        file
    }

    const INFO: &[u8] = b"license=GPL\0vermagic=6.1.0 SMP mod_unload \0firmware=rtl_nic/rtl8168g-2.fw\0firmware=../../etc/shadow\0firmware=/x\0alias=pci:*\0firmware=tigon/tg3.bin\0";

    #[test]
    fn firmware_is_named_by_plain_paths() {
        let file = module(MACHINE_X86_64, INFO);
        assert_eq!(machine(&file), Some(Arch::X86_64));
        let names: Vec<_> = firmware(&file).into_iter().collect();
        assert_eq!(vermagic(&file), Some("6.1.0 SMP mod_unload "));
        assert_eq!(names, ["rtl_nic/rtl8168g-2.fw", "tigon/tg3.bin"]);
        assert_eq!(machine(&module(MACHINE_AARCH64, b"")), Some(Arch::Aarch64));
        assert_eq!(machine(&module(40, b"")), None);
        assert_eq!(machine(b"\x7fELF\x01\x01"), None);
    }

    #[test]
    fn a_lying_file_asks_for_nothing_and_does_not_panic() {
        let file = module(MACHINE_X86_64, INFO);
        for cut in 0..file.len() {
            let cut = &file[..cut];
            let _ = (machine(cut), firmware(cut), vermagic(cut));
        }
        for at in 0..file.len() {
            for value in [0, 0x7f, 0x80, 0xff] {
                let mut lying = file.clone();
                lying[at] = value;
                let _ = (machine(&lying), firmware(&lying), vermagic(&lying));
            }
        }
    }
}
