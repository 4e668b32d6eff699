//! What the kernel looks at when it starts a program: an ELF file's machine, class and loader, or a script's first line.
//!
//! Reads the beginning of a file (fs/binfmt_elf.c, fs/binfmt_script.c; ELF specification, "Program Header"). Nothing in it is
//! believed: what points outside of what was read is not there.

use ramboot_wire::Arch;

/// How much of a program's beginning is read: its headers and the loader's path are in the first hundreds of bytes.
pub const HEAD_BYTES: u64 = 64 * 1024;
/// As the kernel reads it: BINPRM_BUF_SIZE.
const SCRIPT_LINE: usize = 256;
/// The kernel's PATH_MAX.
const MAX_PATH: usize = 4096;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: usize = 1;
const DT_STRTAB: usize = 5;
/// systemd has 50 entries.
const MAX_DYNAMIC: usize = 1024;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;

/// What a file is to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// An ELF program.
    Elf {
        /// For what it was made.
        machine: Machine,
        /// The program that loads it; `None` if it is linked statically.
        loader: Option<String>,
    },
    /// A script, and the program that runs it.
    Script(String),
    /// Something else, in a few words.
    Other(&'static str),
}

/// A machine as ELF has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// `e_machine`
    pub number: u16,
    /// 64-bit.
    pub wide: bool,
}

impl Machine {
    /// What a kernel's own programs are for.
    #[must_use]
    pub const fn of(arch: Arch) -> Self {
        let number = match arch {
            Arch::X86_64 => 62,
            Arch::Aarch64 => 183,
        };
        Self { number, wide: true }
    }

    /// Whether it is the 32-bit one that kernels for `arch` can be built to run, too (IA32_EMULATION, COMPAT).
    #[must_use]
    pub fn is_older_than(self, arch: Arch) -> bool {
        let older = match arch {
            Arch::X86_64 => 3,
            Arch::Aarch64 => 40,
        };
        self == Self {
            number: older,
            wide: false,
        }
    }

    /// As people call it.
    #[must_use]
    pub fn name(self) -> String {
        match (self.number, self.wide) {
            (62, true) => "x86_64".to_owned(),
            (183, true) => "aarch64".to_owned(),
            (3, false) => "32-bit x86".to_owned(),
            (40, false) => "32-bit ARM".to_owned(),
            (243, true) => "riscv64".to_owned(),
            (21, true) => "ppc64".to_owned(),
            (22, _) => "s390".to_owned(),
            (number, true) => format!("ELF machine {number}"),
            (number, false) => format!("32-bit ELF machine {number}"),
        }
    }
}

/// Reads the beginning of a program.
#[must_use]
pub fn program(head: &[u8]) -> Program {
    if head.is_empty() {
        return Program::Other("empty");
    }
    if let Some(line) = head.strip_prefix(b"#!") {
        return script(line);
    }
    if !head.starts_with(b"\x7fELF") {
        return Program::Other("neither an ELF program nor a script that begins with #!");
    }
    elf(head).unwrap_or(Program::Other("a broken ELF file"))
}

fn script(line: &[u8]) -> Program {
    let line = &line[..line.len().min(SCRIPT_LINE)];
    let line = line.split(|&b| b == b'\n').next().unwrap_or_default();
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let line = line.trim_ascii();
    let path = line.split(blank).next().unwrap_or_default();
    match std::str::from_utf8(path) {
        Ok(path) if !path.is_empty() => Program::Script(path.to_owned()),
        _ => Program::Other("a script without an interpreter after #!"),
    }
}

fn elf(head: &[u8]) -> Option<Program> {
    let wide = match head.get(4)? {
        1 => false,
        2 => true,
        _ => return None,
    };
    // Little-endian: both architectures are.
    if *head.get(5)? != 1 {
        return Some(Program::Other("a big-endian ELF file"));
    }
    if !matches!(u16_at(head, 16)?, ET_EXEC | ET_DYN) {
        return Some(Program::Other("an ELF file, but no program"));
    }
    let machine = Machine {
        number: u16_at(head, 18)?,
        wide,
    };
    let (table, size, count) = if wide {
        (
            word_at(head, 32, true)?,
            u16_at(head, 54)?,
            u16_at(head, 56)?,
        )
    } else {
        (
            word_at(head, 28, false)?,
            u16_at(head, 42)?,
            u16_at(head, 44)?,
        )
    };
    let mut loader = None;
    for number in 0..usize::from(count) {
        let start = number.checked_mul(size.into())?.checked_add(table)?;
        let header = head.get(start..)?;
        if u32_at(header, 0)? == PT_INTERP {
            let (offset, bytes) = if wide {
                (word_at(header, 8, true)?, word_at(header, 32, true)?)
            } else {
                (word_at(header, 4, false)?, word_at(header, 16, false)?)
            };
            let path = head.get(offset..)?.get(..bytes.min(MAX_PATH))?;
            let path = path.split(|&b| b == 0).next()?;
            loader = Some(std::str::from_utf8(path).ok()?.to_owned());
            break;
        }
    }
    Some(Program::Elf { machine, loader })
}

/// Names of the libraries that a 64-bit program is linked with (ELF specification, "Dynamic Section"); none if they are not in
/// what was read of it.
#[must_use]
pub fn libraries(file: &[u8]) -> Vec<String> {
    dynamic(file).unwrap_or_default()
}

fn dynamic(file: &[u8]) -> Option<Vec<String>> {
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size, count) = (
        word_at(file, 32, true)?,
        u16_at(file, 54)?,
        u16_at(file, 56)?,
    );
    let headers: Vec<&[u8]> = (0..usize::from(count))
        .map_while(|number| file.get(number.checked_mul(size.into())?.checked_add(table)?..))
        .collect();
    let of = |kind: u32| {
        let headers = headers.iter().copied();
        headers.filter(move |header| u32_at(header, 0) == Some(kind))
    };
    let word = |header: &[u8], at: usize| word_at(header, at, true);
    // Of what is loaded: where a place in memory is in the file.
    let place = |address: usize| {
        of(PT_LOAD).find_map(|header| {
            let inside = address.checked_sub(word(header, 16)?)?;
            let offset = word(header, 8)?.checked_add(inside)?;
            (inside < word(header, 32)?).then_some(offset)
        })
    };
    let header = of(PT_DYNAMIC).next()?;
    let entries = file.get(word(header, 8)?..)?;
    let entries: Vec<(usize, usize)> = (0..MAX_DYNAMIC)
        .map_while(|number| Some((word(entries, 16 * number)?, word(entries, 16 * number + 8)?)))
        .take_while(|(tag, _)| *tag != 0)
        .collect();
    let strings = entries.iter().find(|(tag, _)| *tag == DT_STRTAB)?.1;
    let strings = file.get(place(strings)?..)?;
    let name = |at: usize| {
        let name = strings.get(at..)?.split(|&b| b == 0).next()?;
        let name = std::str::from_utf8(name.get(..name.len().min(MAX_PATH))?).ok()?;
        (!name.is_empty() && !name.contains('/')).then(|| name.to_owned())
    };
    let needed = entries.iter().filter(|(tag, _)| *tag == DT_NEEDED);
    Some(needed.filter_map(|&(_, at)| name(at)).collect())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk();
    bytes.map(|b| u16::from_le_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk();
    bytes.map(|b| u32::from_le_bytes(*b))
}

fn word_at(bytes: &[u8], at: usize, wide: bool) -> Option<usize> {
    if !wide {
        return usize::try_from(u32_at(bytes, at)?).ok();
    }
    let bytes = bytes.get(at..)?.first_chunk();
    let value = bytes.map(|b| u64::from_le_bytes(*b));
    usize::try_from(value?).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The head of a program with one program header.
    pub(crate) fn elf_program(machine: u16, loader: Option<&str>) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[16] = 2;
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[32] = 64;
        file[54] = 56;
        file[56] = 1;
        let mut header = [0_u8; 56];
        header[0] = if loader.is_some() { 3 } else { 1 };
        header[8] = 120;
        let path = loader.map_or_else(Vec::new, |path| format!("{path}\0").into_bytes());
        header[32..40].copy_from_slice(&(path.len() as u64).to_le_bytes());
        file.extend(header);
        file.extend(path);
        file
    }

    #[test]
    fn programs_are_told_apart() {
        let machine = Machine::of(Arch::X86_64);
        let loader = "/lib64/ld-linux-x86-64.so.2";
        for (head, want) in [
            (
                elf_program(62, Some(loader)),
                Program::Elf {
                    machine,
                    loader: Some(loader.to_owned()),
                },
            ),
            (
                elf_program(62, None),
                Program::Elf {
                    machine,
                    loader: None,
                },
            ),
            (
                b"#! /bin/sh -e\nexit\n".to_vec(),
                Program::Script("/bin/sh".to_owned()),
            ),
            (
                b"#!\n".to_vec(),
                Program::Other("a script without an interpreter after #!"),
            ),
            (Vec::new(), Program::Other("empty")),
            (
                b"MZ".to_vec(),
                Program::Other("neither an ELF program nor a script that begins with #!"),
            ),
            (
                b"\x7fELF\x02\x01".to_vec(),
                Program::Other("a broken ELF file"),
            ),
        ] {
            assert_eq!(program(&head), want);
        }
        let mut object = elf_program(62, None);
        object[16] = 1;
        assert_eq!(
            program(&object),
            Program::Other("an ELF file, but no program")
        );
    }

    #[test]
    fn the_program_that_runs_this_test_is_one() {
        let path = std::env::current_exe().expect("a path");
        let file = std::fs::read(path).expect("read");
        let Program::Elf { machine, loader } = program(&file[..65_536]) else {
            panic!("not ELF");
        };
        assert!(machine.wide);
        assert!(loader.expect("dynamic").contains("/ld-"));
        let libraries = libraries(&file);
        assert!(
            libraries.iter().any(|name| name == "libc.so.6"),
            "{libraries:?}"
        );
    }

    proptest! {
        #[test]
        fn never_panics(
            noise in prop::collection::vec(any::<u8>(), 0..300),
            flips in prop::collection::vec((0_usize..160, any::<u8>()), 0..8),
            cut in 0_usize..170,
        ) {
            let _ = program(&noise);
            let _ = program(&[b"\x7fELF\x01\x01", &noise[..]].concat());
            let _ = program(&[b"\x7fELF\x02\x01", &noise[..]].concat());
            let _ = program(&[b"#!", &noise[..]].concat());
            let mut lying = elf_program(62, Some("/lib64/ld-linux-x86-64.so.2"));
            for (at, value) in flips {
                if let Some(byte) = lying.get_mut(at) {
                    *byte = value;
                }
            }
            let _ = program(&lying[..cut.min(lying.len())]);
            let _ = libraries(&lying);
        }

        #[test]
        fn lying_sections_are_no_panic(
            flips in prop::collection::vec((0_usize..1024, any::<u8>()), 1..8),
            deep in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..64),
            noise in prop::collection::vec(any::<u8>(), 600),
        ) {
            let mut lying = std::fs::read("/bin/true").expect("coreutils");
            for (at, value) in flips {
                lying[at] = value;
            }
            for (at, value) in deep {
                let at = at.index(lying.len());
                lying[at] = value;
            }
            let _ = (program(&lying), libraries(&lying));
            let _ = libraries(&[b"\x7fELF\x02\x01", &noise[..]].concat());
        }
    }
}
