//! PE32+ images, as far as adding sections to one needs: headers in, headers with more sections out.
//!
//! Source: Microsoft PE/COFF specification §3 and §4; UEFI 2.10 §2.1.1 for what of it firmware reads. A file is untrusted:
//! every number is looked at before it is an offset, and no more than [`MAX_HEADER_BYTES`] are ever copied.

use std::fmt;

/// Headers of systemd's stubs have 1 and 4 KiB, those of Linux up to 64.
pub const MAX_HEADER_BYTES: u32 = 64 * 1024;
/// What the specification lets a loader insist on.
const MAX_SECTIONS: u16 = 96;
const MAX_SECTION_ALIGNMENT: u32 = 2 * 1024 * 1024;
const MAX_FILE_ALIGNMENT: u32 = 64 * 1024;
/// Sections of their own pages, whatever the image itself does: firmware protects memory by the page.
const PAGE: u32 = 4096;

const COFF_BYTES: usize = 20;
/// Up to the data directories.
const OPTIONAL_BYTES: usize = 112;
const SECTION_BYTES: usize = 40;
const PE32_PLUS: u16 = 0x20b;
const EFI_APPLICATION: u16 = 10;
/// The directory of signatures (Authenticode); they lie behind the last section.
const SECURITY_DIRECTORY: u32 = 4;
/// IMAGE_SCN_CNT_INITIALIZED_DATA, IMAGE_SCN_MEM_READ.
const DATA_READ: u32 = 0x4000_0040;

/// Why a file is not one to add sections to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeError {
    /// Not this kind of file at all.
    #[error("it is no EFI program: {0}")]
    NotPe(&'static str),
    /// A number in the headers that cannot be.
    #[error("it is a damaged EFI program: {what} is {found:#x}, {want}")]
    Damaged {
        /// Which number.
        what: &'static str,
        /// What it is.
        found: u64,
        /// What it could be.
        want: &'static str,
    },
    /// The headers are as large as they were made.
    #[error("its headers have room for {0} more sections, {1} are needed")]
    NoRoom(usize, usize),
    /// PE counts in 32 bits.
    #[error("with {0} bytes it would be larger than a PE image can be, 4 GiB")]
    TooLarge(u64),
}

/// The headers of a PE32+ image that is an EFI application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    /// IMAGE_FILE_MACHINE_…: 0x8664 is x86-64, 0xaa64 is arm64.
    pub machine: u16,
    /// Of all sections, in order.
    pub names: Vec<Name>,
    /// Where the last section's bytes in the file end. What comes after (symbols, signatures) is not part of the image.
    pub file_end: u32,
    bytes: Vec<u8>,
    coff: usize,
    file_alignment: u32,
    section_alignment: u32,
    memory_end: u64,
}

/// The name of a section; no longer names in images.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name(pub [u8; 8]);

impl Name {
    /// The name with zeroes behind it; what is past eight bytes is cut, as the format does.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut name = [0; 8];
        name.iter_mut()
            .zip(text.bytes())
            .for_each(|(to, from)| *to = from);
        Self(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.0.iter().position(|b| *b == 0).unwrap_or(8);
        write!(f, "{}", self.0[..len].escape_ascii())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Headers that name more sections, and where in the file these begin, in the order they were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// To stand in place of the first bytes of the file.
    pub headers: Vec<u8>,
    /// Offsets in the file; each is aligned as the image wants it.
    pub offsets: Vec<u32>,
    /// Bytes of the whole file, the last section padded.
    pub file_len: u32,
}

impl Headers {
    /// Reads the headers at the start of `file`, which is all of the file.
    ///
    /// # Errors
    /// See [`PeError`].
    pub fn parse(file: &[u8]) -> Result<Self, PeError> {
        Self::of_head(file, file.len() as u64)
    }

    /// Reads the headers at the start of a file of `len` bytes; `file` is all of it or its first [`MAX_HEADER_BYTES`].
    ///
    /// # Errors
    /// See [`PeError`].
    pub fn of_head(file: &[u8], len: u64) -> Result<Self, PeError> {
        if !file.starts_with(b"MZ") {
            return Err(PeError::NotPe("it does not begin with MZ"));
        }
        let pe = index(u32_at(file, 0x3c)?);
        if file.get(pe..).and_then(|rest| rest.first_chunk()) != Some(b"PE\0\0") {
            return Err(PeError::NotPe("there is no PE header"));
        }
        let coff = pe + 4;
        let (optional, table) = (coff + COFF_BYTES, table_at(file, coff)?);
        if u16_at(file, optional)? != PE32_PLUS {
            return Err(PeError::NotPe("it is not of the 64-bit kind"));
        }
        if u16_at(file, optional + 68)? != EFI_APPLICATION {
            return Err(PeError::NotPe("it is not an EFI application"));
        }
        let section_alignment = u32_at(file, optional + 32)?;
        alignment("SectionAlignment", section_alignment, MAX_SECTION_ALIGNMENT)?;
        let file_alignment = u32_at(file, optional + 36)?;
        alignment("FileAlignment", file_alignment, MAX_FILE_ALIGNMENT)?;
        let size = u32_at(file, optional + 60)?;
        let bytes = file
            .get(..index(size))
            .filter(|_| size <= MAX_HEADER_BYTES)
            .ok_or_else(|| damaged("SizeOfHeaders", size, "64 KiB and the file are the limits"))?;
        let mut headers = Self {
            machine: u16_at(file, coff)?,
            names: Vec::new(),
            file_end: size,
            bytes: bytes.to_vec(),
            coff,
            file_alignment,
            section_alignment,
            memory_end: u64::from(size),
        };
        for i in 0..usize::from(u16_at(file, coff + 2)?) {
            headers.section(len, table + i * SECTION_BYTES)?;
        }
        Ok(headers)
    }

    fn section(&mut self, file_len: u64, at: usize) -> Result<(), PeError> {
        let header = &self.bytes;
        let name = header.get(at..).and_then(|rest| rest.first_chunk());
        let name = Name(*name.ok_or_else(|| outside("section header", at))?);
        let (in_memory, address) = (u32_at(header, at + 8)?, u32_at(header, at + 12)?);
        let (in_file, offset) = (u32_at(header, at + 16)?, u32_at(header, at + 20)?);
        let memory_end = u64::from(address) + u64::from(in_memory.max(in_file));
        if memory_end > u64::from(u32::MAX) {
            let want = "the section would end past 4 GiB";
            return Err(damaged("VirtualAddress", address, want));
        }
        self.memory_end = self.memory_end.max(memory_end);
        if in_file > 0 {
            let end = offset.checked_add(in_file);
            let end = end.filter(|end| u64::from(*end) <= file_len);
            let want = "the section would end past the file";
            let end = end.ok_or_else(|| damaged("PointerToRawData", offset, want))?;
            self.file_end = self.file_end.max(end);
        }
        self.names.push(name);
        Ok(())
    }

    /// Headers with `sections` behind those that are there, of these names and lengths.
    ///
    /// The checksum becomes 0, which firmware does not look at; symbols and signatures are no longer pointed to.
    ///
    /// # Errors
    /// There is no room for them.
    pub fn append(&self, sections: &[(Name, u64)]) -> Result<Appended, PeError> {
        let mut headers = self.bytes.clone();
        let table = table_at(&headers, self.coff)?;
        let there = table + self.names.len() * SECTION_BYTES;
        let room = headers.len().saturating_sub(there) / SECTION_BYTES;
        let most = usize::from(MAX_SECTIONS).saturating_sub(self.names.len());
        if sections.len() > room.min(most) {
            return Err(PeError::NoRoom(room.min(most), sections.len()));
        }
        let mut file_end = align(u64::from(self.file_end), self.file_alignment);
        let mut memory_end = self.memory_end;
        let (mut offsets, mut data) = (Vec::new(), 0);
        for (i, (name, len)) in sections.iter().enumerate() {
            let address = align(memory_end, self.section_alignment.max(PAGE));
            let in_file = align(*len, self.file_alignment);
            memory_end = address.saturating_add(*len);
            let at = there + i * SECTION_BYTES;
            put(&mut headers, at, &name.0);
            for (field, value) in [*len, address, in_file, file_end].into_iter().enumerate() {
                put32(&mut headers, at + 8 + field * 4, value)?;
            }
            put(&mut headers, at + 24, &[0; 12]);
            put(&mut headers, at + 36, &DATA_READ.to_le_bytes());
            offsets.push(narrow(file_end)?);
            file_end = file_end.saturating_add(in_file);
            data += in_file;
        }
        self.patch(&mut headers, sections.len(), memory_end, data)?;
        Ok(Appended {
            headers,
            offsets,
            file_len: narrow(file_end)?,
        })
    }

    fn patch(
        &self,
        headers: &mut [u8],
        more: usize,
        memory_end: u64,
        data: u64,
    ) -> Result<(), PeError> {
        let optional = self.coff + COFF_BYTES;
        let count = u16::try_from(self.names.len() + more).unwrap_or(u16::MAX);
        put(headers, self.coff + 2, &count.to_le_bytes());
        // PointerToSymbolTable, NumberOfSymbols.
        put(headers, self.coff + 8, &[0; 8]);
        let initialized = u64::from(u32_at(headers, optional + 8)?) + data;
        put32(headers, optional + 8, initialized)?;
        let size = align(memory_end, self.section_alignment);
        put32(headers, optional + 56, size)?;
        // CheckSum.
        put32(headers, optional + 64, 0)?;
        if u32_at(headers, optional + 108)? > SECURITY_DIRECTORY {
            let entry = optional + OPTIONAL_BYTES + 8 * index(SECURITY_DIRECTORY);
            if entry + 8 <= table_at(headers, self.coff)? {
                put(headers, entry, &[0; 8]);
            }
        }
        Ok(())
    }
}

/// Where the section headers begin: behind the optional header, which says its own size.
fn table_at(file: &[u8], coff: usize) -> Result<usize, PeError> {
    let size = u16_at(file, coff + 16)?;
    if usize::from(size) < OPTIONAL_BYTES {
        let want = "a 64-bit image has 112 at least";
        return Err(damaged("SizeOfOptionalHeader", size.into(), want));
    }
    Ok(coff + COFF_BYTES + usize::from(size))
}

fn alignment(what: &'static str, found: u32, most: u32) -> Result<(), PeError> {
    if found.is_power_of_two() && found <= most {
        Ok(())
    } else {
        Err(damaged(what, found, "a small power of two is wanted"))
    }
}

fn align(value: u64, to: u32) -> u64 {
    value
        .checked_next_multiple_of(to.into())
        .unwrap_or(u64::MAX)
}

fn damaged(what: &'static str, found: u32, want: &'static str) -> PeError {
    PeError::Damaged {
        what,
        found: found.into(),
        want,
    }
}

fn outside(what: &'static str, at: usize) -> PeError {
    PeError::Damaged {
        what,
        found: at as u64,
        want: "that is past the headers",
    }
}

/// An offset inside a file that lies in memory; one that does not fit is past its end, too.
fn index(offset: u32) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

fn narrow(value: u64) -> Result<u32, PeError> {
    u32::try_from(value).map_err(|_| PeError::TooLarge(value))
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, PeError> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field
        .map(|field| u16::from_le_bytes(*field))
        .ok_or_else(|| outside("offset of a field", at))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, PeError> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field
        .map(|field| u32::from_le_bytes(*field))
        .ok_or_else(|| outside("offset of a field", at))
}

/// Callers write where they have read, or have seen that there is room.
fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(field) = bytes.get_mut(at..at.saturating_add(value.len())) {
        field.copy_from_slice(value);
    }
}

fn put32(bytes: &mut [u8], at: usize, value: u64) -> Result<(), PeError> {
    put(bytes, at, &narrow(value)?.to_le_bytes());
    Ok(())
}
