//! The EFI stub that an image's unified kernel images are made with: the image's own, else that of this machine. A shell:
//! it finds and tries, [`crate::boot::uki`] decides.
//!
//! One that does not fit is found out here and not when a machine boots: the image's is refused, this machine's left out.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::bail;
use bytes::Bytes;
use ramboot_wire::Arch;
use ramboot_wire::cmdline::MAX_CMDLINE_BYTES;
use serde::Serialize;

use crate::boot::uki::{MAX_STUB_BYTES, Payload, Stub, UkiError};
use crate::formats::squashfs::tree::Tree;

/// Where a stub was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// In the image.
    Image,
    /// On the machine that published.
    Host,
}

/// A stub that makes a sound program of this kernel and initramfs.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) bytes: Bytes,
    pub(super) origin: Origin,
}

impl Found {
    /// Bytes of the whole program, with a command line of the longest kind.
    ///
    /// # Errors
    /// It would be too large.
    pub(super) fn uki_bytes(&self, kernel: &Bytes, initrd: &Bytes) -> anyhow::Result<u64> {
        let stub = Stub::parse(self.bytes.clone())?;
        Ok(stub.compose(&longest(kernel, initrd))?.len())
    }
}

fn longest<'a>(kernel: &Bytes, initrd: &Bytes) -> Payload<'a> {
    const LONGEST: [u8; MAX_CMDLINE_BYTES] = [b'x'; MAX_CMDLINE_BYTES];
    Payload {
        cmdline: std::str::from_utf8(&LONGEST).unwrap_or_default(),
        uname: "",
        kernel: kernel.clone().into(),
        initrd: initrd.clone().into(),
    }
}

/// Finds a stub for `arch` and tries it with a command line of the longest kind; `note` hears why there is none.
///
/// # Errors
/// The image's own stub is there and is none.
pub(super) fn find(
    tree: &Tree,
    host: &Path,
    arch: Arch,
    kernel: &Bytes,
    initrd: &Bytes,
    note: &mut dyn FnMut(&str),
) -> anyhow::Result<Option<Found>> {
    let path = path(arch);
    let (bytes, origin) = if let Some(bytes) = tree.read(&path, MAX_STUB_BYTES)? {
        (bytes, Origin::Image)
    } else if let Some(bytes) = on_host(&host.join(path.trim_start_matches('/')), note) {
        (bytes, Origin::Host)
    } else {
        return Ok(None);
    };
    let bytes = Bytes::from(bytes);
    let tried = Stub::parse(bytes.clone()).and_then(|stub| {
        if stub.arch != arch {
            return Err(UkiError::StubMachine(stub.arch, arch));
        }
        stub.compose(&longest(kernel, initrd))
    });
    match (tried, origin) {
        (Ok(_), _) => Ok(Some(Found { bytes, origin })),
        (Err(e @ (UkiError::Kernel(_) | UkiError::KernelMachine(..))), _) => {
            note(&format!(
                "UEFI machines cannot boot this kernel by HTTP alone: {e}"
            ));
            Ok(None)
        }
        (Err(e), Origin::Image) => bail!("{path} in the image: {e}"),
        (Err(e), Origin::Host) => {
            note(&format!("{path} of this machine is left out: {e}"));
            Ok(None)
        }
    }
}

fn on_host(path: &Path, note: &mut dyn FnMut(&str)) -> Option<Vec<u8>> {
    let too_large = |m: &fs::Metadata| !m.is_file() || m.len() > MAX_STUB_BYTES;
    match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        Ok(metadata) if too_large(&metadata) => {
            note(&format!("{} is left out: it is no stub", path.display()));
            return None;
        }
        _ => {}
    }
    match fs::read(path) {
        Ok(bytes) => Some(bytes),
        Err(e) => {
            note(&format!("{} is left out: {e}", path.display()));
            None
        }
    }
}

/// Where systemd and its packages in all distributions put it.
fn path(arch: Arch) -> String {
    let arch = match arch {
        Arch::X86_64 => "x64",
        Arch::Aarch64 => "aa64",
    };
    format!("/usr/lib/systemd/boot/efi/linux{arch}.efi.stub")
}
