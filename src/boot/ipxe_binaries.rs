//! iPXE's binaries, as this machine's packages have them: what firmware runs that can do no more than load one small file.
//!
//! Read once, when the manager starts. An installed or updated package counts from the next start on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ramboot_wire::Arch;
use tracing::warn;

/// Where Debian's package `ipxe` puts them.
pub const FOLDER: &str = "/usr/lib/ipxe";
/// What BIOS ROMs run: it drives the NIC by the ROM's own code.
pub const BIOS: &str = "undionly.kpxe";
/// What x86_64 UEFI runs: `snponly` drives the NIC by the firmware's own code, whatever NIC it is, and is a sixth of the size.
const X86_64: [&str; 2] = ["snponly.efi", "ipxe.efi"];
/// By iPXE's build folders, and as Debian 13 (1.21.1+git20250501) names the one it has. Debian 12 has none.
const AARCH64: [&str; 4] = [
    "arm64-efi/snponly.efi",
    "snponly-arm64.efi",
    "arm64-efi/ipxe.efi",
    "ipxe-arm64.efi",
];
/// The largest, with all drivers, has 1 MB.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// iPXE for each kind of firmware, as far as there is one.
#[derive(Debug, Clone, Default)]
pub struct Roms {
    files: BTreeMap<&'static str, Bytes>,
    folder: PathBuf,
}

impl Roms {
    /// Reads what is in `folder`; BIOS machines depend on it, so the log says when theirs is missing.
    #[must_use]
    pub fn read(folder: &Path) -> Self {
        let mut roms = Self {
            files: BTreeMap::new(),
            folder: folder.to_owned(),
        };
        for name in [BIOS].iter().chain(&X86_64).chain(&AARCH64) {
            let path = folder.join(name);
            match read(&path) {
                Ok(bytes) => {
                    roms.files.insert(name, bytes);
                }
                Err(error) if *name == BIOS => warn!(
                    "BIOS machines without iPXE in their ROM cannot boot: reading {}: {error} (apt install ipxe, or --ipxe-dir)",
                    path.display()
                ),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => warn!("left out: reading {}: {error}", path.display()),
            }
        }
        roms
    }

    /// The file of this name, if it is one of those above.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.files.get(name)
    }

    /// What UEFI firmware of this architecture runs.
    #[must_use]
    pub fn efi(&self, arch: Arch) -> Option<&Bytes> {
        names(arch).iter().find_map(|name| self.get(name))
    }

    /// What there should be for this architecture, for a message.
    #[must_use]
    pub fn wanted(&self, arch: Arch) -> String {
        format!("{} in {}", names(arch).join(" or "), self.folder.display())
    }
}

/// Names of what UEFI firmware of this architecture can run, the best first.
#[must_use]
pub const fn names(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::X86_64 => &X86_64,
        Arch::Aarch64 => &AARCH64,
    }
}

fn read(path: &Path) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.is_empty() || bytes.len() as u64 > MAX_BYTES {
        let text = format!("1 to {MAX_BYTES} bytes are wanted");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_firmware_gets_the_best_there_is() {
        let folder = tempfile::tempdir().expect("temp folder");
        std::fs::create_dir(folder.path().join("arm64-efi")).expect("made");
        for name in ["ipxe.efi", "ipxe-arm64.efi", "other.efi"] {
            std::fs::write(folder.path().join(name), name).expect("written");
        }
        std::fs::write(folder.path().join("snponly.efi"), "").expect("written");
        let roms = Roms::read(folder.path());
        assert_eq!(roms.efi(Arch::X86_64).expect("there"), "ipxe.efi");
        assert_eq!(roms.efi(Arch::Aarch64).expect("there"), "ipxe-arm64.efi");
        for name in [BIOS, "other.efi", "", "../ipxe.efi"] {
            assert_eq!(roms.get(name), None, "{name}");
        }
        let better = folder.path().join("arm64-efi/snponly.efi");
        std::fs::write(better, "better").expect("written");
        let roms = Roms::read(folder.path());
        assert_eq!(roms.efi(Arch::Aarch64).expect("there"), "better");
    }

    #[test]
    fn without_a_folder_there_is_nothing() {
        let roms = Roms::read(Path::new("/nonexistent"));
        assert_eq!(roms.efi(Arch::X86_64), None);
        assert!(roms.wanted(Arch::X86_64).contains("snponly.efi"));
    }
}
