//! Unified kernel images: one EFI program that holds kernel, initramfs and command line, put together for one machine.
//!
//! Takes systemd's EFI stub (systemd-stub(7)) and adds sections to it, as ukify and objcopy do. Kernel and initramfs are
//! not copied: what comes out is a list of slices, of which only headers and command line are written anew. So one store
//! holds one kernel, and each machine gets a file that carries its own command line.
//!
//! The stub reads `.cmdline`, `.linux` and `.initrd` from its own image in memory and asks no file system for anything, so
//! it starts from HTTP and TFTP. Seen: systemd-stub 252.39 (Debian 12) on OVMF and AAVMF 2022.11. Where Secure Boot is off,
//! a stub prefers load options of the firmware to `.cmdline`. EDK2's boot manager passes none for entries it made by
//! itself; firmware that does makes `/init` say which of its keys are missing. The command line always begins with the
//! image's id, so it is never empty, and `init=/init` is not needed to make it so (the kernel runs the initramfs's
//! `/init` by itself, and would keep the word for the image's own init to wonder about).

use bytes::Bytes;
use ramboot_wire::Arch;

use crate::formats::pe::{Headers, MAX_HEADER_BYTES, Name, PeError};
use crate::store::rope::Rope;

/// What all of systemd's stubs have in them, with the version behind it.
const MARK: &[u8] = b"#### LoaderInfo: systemd-stub ";
/// Those of systemd 252 and 257 have 80 to 150 KB.
pub const MAX_STUB_BYTES: u64 = 4 * 1024 * 1024;
/// FileAlignment is 64 KiB at most.
static ZEROES: [u8; 64 * 1024] = [0; 64 * 1024];

/// Why there is no unified kernel image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UkiError {
    /// It cannot be read as an EFI program, or sections cannot be added to it.
    #[error("EFI stub: {0}")]
    Stub(#[from] PeError),
    /// Some other EFI program.
    #[error("EFI stub: it is not systemd's (no \"{}\" in it)", MARK.escape_ascii())]
    NoMark,
    /// Larger than any stub.
    #[error("EFI stub: {0} bytes, {MAX_STUB_BYTES} are possible")]
    StubSize(usize),
    /// A machine no worker can be.
    #[error(
        "EFI stub: it is for machine type {0:#x}; 0x8664 (x86_64) and 0xaa64 (aarch64) are known"
    )]
    Machine(u16),
    /// A stub of another architecture than the image.
    #[error("EFI stub: it is for {0}, the kernel for {1}")]
    StubMachine(Arch, Arch),
    /// Then the stub would take what it finds first.
    #[error("EFI stub: it has a section {0} already")]
    Full(Name),
    /// The stub hands the kernel to the firmware, which starts EFI programs and nothing else.
    #[error(
        "kernel: {0} (UEFI wants one built with CONFIG_EFI_STUB, and on arm64 not packed by gzip)"
    )]
    Kernel(PeError),
    /// The disk does not give it.
    #[error("kernel: {0}")]
    Unread(String),
    /// Kernel and stub are for different machines.
    #[error("kernel: it is for machine type {0:#x}, the EFI stub for {1}")]
    KernelMachine(u16, Arch),
}

/// systemd's EFI stub for one architecture.
#[derive(Debug, Clone)]
pub struct Stub {
    /// The machines it runs on.
    pub arch: Arch,
    file: Bytes,
    headers: Headers,
}

/// What a stub is to start.
#[derive(Debug, Clone)]
pub struct Payload<'a> {
    /// The kernel's command line.
    pub cmdline: &'a str,
    /// The kernel's version, as `uname -r` prints it.
    pub uname: &'a str,
    /// x86: a bzImage. arm64: an Image, or one packed as EFI zboot.
    pub kernel: Rope,
    /// As the kernel unpacks it.
    pub initrd: Rope,
}

impl Stub {
    /// Reads a stub as a distribution ships it.
    ///
    /// # Errors
    /// See [`UkiError`].
    pub fn parse(file: Bytes) -> Result<Self, UkiError> {
        if file.len() as u64 > MAX_STUB_BYTES {
            return Err(UkiError::StubSize(file.len()));
        }
        let headers = Headers::parse(&file)?;
        let arch = machine(headers.machine).ok_or(UkiError::Machine(headers.machine))?;
        // In a section .sdmagic on x86, among the data on arm64.
        if !file.windows(MARK.len()).any(|window| window == MARK) {
            return Err(UkiError::NoMark);
        }
        for name in [".linux", ".initrd", ".cmdline"].map(Name::new) {
            if headers.names.contains(&name) {
                return Err(UkiError::Full(name));
            }
        }
        Ok(Self {
            arch,
            file,
            headers,
        })
    }

    /// The EFI program that starts `payload`.
    ///
    /// # Errors
    /// The kernel cannot be started this way, or all of it does not fit.
    pub fn compose(&self, payload: &Payload<'_>) -> Result<Rope, UkiError> {
        let mut head = vec![0; MAX_HEADER_BYTES as usize];
        let read = payload.kernel.read_at(0, &mut head);
        let read = read.map_err(|error| UkiError::Unread(error.to_string()))?;
        let kernel = Headers::of_head(&head[..read], payload.kernel.len());
        let kernel = kernel.map_err(UkiError::Kernel)?;
        if machine(kernel.machine) != Some(self.arch) {
            return Err(UkiError::KernelMachine(kernel.machine, self.arch));
        }
        // In ukify's order.
        let sections: [(&str, Rope); 4] = [
            (".uname", payload.uname.as_bytes().to_vec().into()),
            (".cmdline", payload.cmdline.as_bytes().to_vec().into()),
            (".initrd", payload.initrd.clone()),
            (".linux", payload.kernel.clone()),
        ];
        let named: Vec<(Name, u64)> = sections
            .iter()
            .map(|(name, content)| (Name::new(name), content.len()))
            .collect();
        let appended = self.headers.append(&named)?;
        let head = appended.headers.len();
        let mut parts = Rope::from(Bytes::from(appended.headers));
        parts.push(
            self.file
                .slice(head..usize::try_from(self.headers.file_end).unwrap_or(head)),
        );
        for (offset, (_, content)) in appended.offsets.into_iter().zip(sections) {
            pad(&mut parts, offset);
            parts.append(content);
        }
        pad(&mut parts, appended.file_len);
        Ok(parts)
    }
}

/// Zeroes up to an aligned offset.
fn pad(parts: &mut Rope, to: u32) {
    let missing = u64::from(to).saturating_sub(parts.len());
    let missing = usize::try_from(missing).unwrap_or(0).min(ZEROES.len());
    parts.push(Bytes::from_static(&ZEROES[..missing]));
}

fn machine(machine: u16) -> Option<Arch> {
    match machine {
        0x8664 => Some(Arch::X86_64),
        0xaa64 => Some(Arch::Aarch64),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
