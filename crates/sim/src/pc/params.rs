//! Which PC is simulated: its firmware and who it says it is.

use std::fmt;
use std::time::Duration;

use crate::params::Mac;

/// What the machine's processor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PcArch {
    /// x86-64.
    X86_64,
    /// arm64.
    Arm64,
}

/// Which firmware asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PcKind {
    /// PXE ROM of a BIOS machine, as Intel's: one file by TFTP.
    BiosPxe,
    /// EDK2's PXE: one file by TFTP, whose name may come from port 4011.
    UefiPxe(PcArch),
    /// EDK2's HTTP Boot: a URL. x86-64 and arm64 say 16 and 19 in option 93.
    UefiHttp(PcArch),
    /// iPXE in a network card's ROM: a URL.
    Ipxe,
}

impl fmt::Display for PcKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BiosPxe => "BIOS PXE",
            Self::UefiPxe(PcArch::X86_64) => "UEFI PXE x86_64",
            Self::UefiPxe(PcArch::Arm64) => "UEFI PXE arm64",
            Self::UefiHttp(PcArch::X86_64) => "UEFI HTTP x86_64",
            Self::UefiHttp(PcArch::Arm64) => "UEFI HTTP arm64",
            Self::Ipxe => "iPXE",
        })
    }
}

/// One PC.
#[derive(Debug, Clone)]
pub struct PcParams {
    /// Firmware.
    pub kind: PcKind,
    /// MAC.
    pub mac: Mac,
    /// Option 97 behind its type 0: the UUID of SMBIOS; QEMU has zeros unless told.
    pub machine_id: [u8; 16],
    /// A transfer without progress ends after this.
    pub file_timeout: Duration,
    /// A file of at most so many bytes is kept whole in the outcome; of others length and digest.
    pub keep: usize,
    /// For transaction ids and ports.
    pub seed: u64,
}

impl PcParams {
    /// A PC; `n` makes MAC, UUID and seed.
    #[must_use]
    pub fn new(kind: PcKind, n: u16) -> Self {
        // Two kinds with one `n` are two machines.
        let family = match kind {
            PcKind::BiosPxe => 0x60,
            PcKind::UefiPxe(PcArch::X86_64) => 0x61,
            PcKind::UefiPxe(PcArch::Arm64) => 0x62,
            PcKind::UefiHttp(PcArch::X86_64) => 0x63,
            PcKind::UefiHttp(PcArch::Arm64) => 0x64,
            PcKind::Ipxe => 0x65,
        };
        let [hi, lo] = n.to_be_bytes();
        let mut machine_id = *b"\x4c\x4c\x45\x44\x00\x31\x36\x10\x80\x37\0\0\0\0\0\0";
        machine_id[12..].copy_from_slice(&[0, family, hi, lo]);
        Self {
            kind,
            mac: [0x52, 0x54, 0, family, hi, lo],
            machine_id,
            file_timeout: Duration::from_secs(30),
            keep: usize::MAX,
            seed: u64::from(n) << 8 | u64::from(family),
        }
    }

    /// One of each kind.
    #[must_use]
    pub fn one_of_each(n: u16) -> Vec<Self> {
        let kinds = [
            PcKind::BiosPxe,
            PcKind::UefiPxe(PcArch::X86_64),
            PcKind::UefiPxe(PcArch::Arm64),
            PcKind::UefiHttp(PcArch::X86_64),
            PcKind::UefiHttp(PcArch::Arm64),
            PcKind::Ipxe,
        ];
        kinds.map(|kind| Self::new(kind, n)).into()
    }
}
