//! What booted the client: one enum, told from a handful of options, and nothing else anywhere looks at them again.
//!
//! Identity comes from what a client says about itself; a MAC's vendor part only decides between a Raspberry Pi and
//! a PC, which say the same words.

use std::fmt;

use ramboot_wire::dhcp::INIT_CLASS;
use ramboot_wire::{Arch, Mac};

use crate::pi::id::{Identity, Stage};

/// Option 175, encapsulated: sub-option 19 says that this iPXE was built with HTTP.
const IPXE_FEATURE_HTTP: u8 = 0x13;

/// Sub-options of 175 from 0x10 to 0x2f are features; others (177, bus id) stand there without saying anything.
const IPXE_FEATURES: std::ops::RangeInclusive<u8> = 0x10..=0x2f;

/// What a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// PXE ROM of a PC with BIOS: option 60 `PXEClient:Arch:00000:UNDI:…`, no mark of iPXE. Takes a boot file by TFTP
    /// and runs it in real mode: `undionly.kpxe`, an iPXE that uses the ROM's own driver. Not seen on a real ROM
    /// here; the form is that of RFC 4578 and of SeaBIOS PCs' vendor ROMs (Intel Boot Agent). An iPXE built without
    /// HTTP, by its own list of features (some NIC vendors' ROMs), can no more than that, so it counts as one.
    BiosPxe,
    /// UEFI firmware's PXE. Seen: OVMF 2022.11 (option 93 = 7, option 60 `PXEClient:Arch:00007:UNDI:003001`) and AAVMF
    /// 2022.11 (11); some PCs say 9, which the registry has for x86-64 and which older documents confuse with 7. It
    /// asks with BROADCAST set. An OFFER that says `PXEClient` and names no file makes it ask again on port 4011
    /// (PXE 2.1 §2.2.5, "BINL"), where it takes a file whoever gave the address; in full mode the file stands in the
    /// OFFER. The file is an EFI program, by TFTP.
    UefiPxe(Arch),
    /// UEFI firmware's HTTP boot (UEFI 2.5 §24.7). Seen: OVMF and AAVMF 2022.11 (option 93 = 16 and 19). Takes only
    /// answers that say `HTTPClient` in option 60, and a URL as boot file; never asks on port 4011. Some firmware
    /// says 15 or 18, which the registry has for the 32-bit kinds.
    UefiHttp(Arch),
    /// iPXE that can HTTP, in a ROM or chained. Seen: QEMU's virtio-net and e1000 ROMs, its efi-virtio ROM under OVMF
    /// (option 93 = 7) and undionly.kpxe, all 1.0.0+git-20190125 (Debian 12): option 60 is the same as a plain ROM's,
    /// option 77 is the bare word `iPXE` (not the form of RFC 3004), option 175 lists features; undionly sets
    /// BROADCAST. On port 4011 option 60 is cut to `PXEClient`. Takes a URL as boot file, whatever the architecture;
    /// `None` is one that no worker can have.
    Ipxe(Option<Arch>),
    /// Boot ROM, `bootcode.bin` or EEPROM of a Raspberry Pi. Says the words of a BIOS ROM (option 93 = 0, also the Pi
    /// 5), so option 97 and the MAC tell them apart; `undionly.kpxe` would leave it hanging. Wants `Raspberry Pi Boot`
    /// in option 43 and then treats TFTP as a file system; it never asks on port 4011. Known from captures, see
    /// [`crate::pi::id`]. A Pi that runs UEFI or U-Boot says 11 or 22 and is none.
    Pi(Identity),
    /// U-Boot's `dhcp` and `pxe` commands: option 60 `U-Boot.armv8`, option 93 = 22. Loads
    /// `pxelinux.cfg/01-<mac>` by TFTP from `siaddr`. Known from its source (net/bootp.c, cmd/pxe.c). Its EFI loader
    /// (`bootefi`) says 11 and counts as UEFI PXE.
    UBoot,
    /// ramboot's `/init`: option 60 is `ramboot`. It has booted; it wants an address and nothing to boot.
    Init,
    /// An operating system, or anything else that does not ask to boot.
    System,
    /// Boots from the network on an architecture (option 93) no worker can have: 32-bit UEFI (6, 10), Itanium (2), …
    Other(u16),
}

/// What the decision is made from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Marks<'a> {
    /// Option 60.
    pub class: &'a [u8],
    /// Option 77.
    pub user_class: &'a [u8],
    /// Option 93, its first value.
    pub arch: Option<u16>,
    /// Option 97.
    pub machine_id: &'a [u8],
    /// Option 175, where it is present.
    pub ipxe: Option<&'a [u8]>,
    /// Transaction id.
    pub xid: u32,
}

impl Firmware {
    /// Tells what sent a request.
    #[must_use]
    pub fn recognise(marks: &Marks<'_>, mac: Mac) -> Self {
        if marks.class == INIT_CLASS {
            return Self::Init;
        }
        let http = marks.class.starts_with(b"HTTPClient");
        let netboot = http || marks.class.starts_with(b"PXEClient");
        let arch = marks.arch.or_else(|| arch_of(marks.class)).unwrap_or(0);
        if is_ipxe(marks) && ipxe_has_http(marks) {
            return Self::Ipxe(worker_arch(arch));
        }
        let pi = || Identity::recognise(marks.machine_id, mac, marks.xid);
        match (netboot, http, arch) {
            _ if marks.class.starts_with(b"U-Boot") || (netboot && matches!(arch, 21 | 22)) => {
                Self::UBoot
            }
            (false, ..) => Self::System,
            (true, true, 15 | 16) => Self::UefiHttp(Arch::X86_64),
            (true, true, 18 | 19) => Self::UefiHttp(Arch::Aarch64),
            (true, false, 0) => pi().map_or(Self::BiosPxe, Self::Pi),
            (true, false, 7 | 9) => Self::UefiPxe(Arch::X86_64),
            (true, false, 11) => Self::UefiPxe(Arch::Aarch64),
            (true, _, arch) => Self::Other(arch),
        }
    }

    /// The architecture of the machine, where its firmware says one that a worker can have.
    #[must_use]
    pub const fn arch(self) -> Option<Arch> {
        match self {
            Self::BiosPxe => Some(Arch::X86_64),
            Self::UefiPxe(arch) | Self::UefiHttp(arch) => Some(arch),
            Self::Ipxe(arch) => arch,
            Self::Pi(_) => Some(Arch::Aarch64),
            Self::UBoot | Self::Init | Self::System | Self::Other(_) => None,
        }
    }

    /// In one word, for who counts; a label of `ramboot_dhcp_decisions_total`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::BiosPxe => "bios-pxe",
            Self::UefiPxe(_) => "uefi-pxe",
            Self::UefiHttp(_) => "uefi-http",
            Self::Ipxe(_) => "ipxe",
            Self::Pi(_) => "raspberry-pi",
            Self::UBoot => "u-boot",
            Self::Init => "init",
            Self::System => "system",
            Self::Other(_) => "other",
        }
    }

    /// It uses the address of an OFFER at once and never sends a REQUEST, so the OFFER is the promise.
    #[must_use]
    pub const fn takes_offers(self) -> bool {
        matches!(
            self,
            Self::Pi(Identity {
                stage: Stage::Rom,
                ..
            })
        )
    }
}

/// The registry of RFC 5970 §3.3, "Processor Architecture Types", as far as workers go.
const fn worker_arch(arch: u16) -> Option<Arch> {
    match arch {
        0 | 7 | 9 | 15 | 16 => Some(Arch::X86_64),
        11 | 18 | 19 | 22 => Some(Arch::Aarch64),
        _ => None,
    }
}

/// Option 77 as iPXE writes it, or as RFC 3004 has it (a length before each word); option 175 (from the registry of
/// the Etherboot project) alone marks gPXE's heirs whose user class was changed.
fn is_ipxe(marks: &Marks<'_>) -> bool {
    let mut rest = marks.user_class;
    while let Some((&len, tail)) = rest.split_first() {
        match tail.split_at_checked(usize::from(len)) {
            Some((b"iPXE", _)) => return true,
            Some((_, next)) => rest = next,
            None => break,
        }
    }
    marks.user_class == b"iPXE" || marks.ipxe.is_some()
}

/// No list, or a list without a single feature, says nothing against HTTP.
fn ipxe_has_http(marks: &Marks<'_>) -> bool {
    let mut listed = false;
    let mut rest = marks.ipxe.unwrap_or_default();
    while let [code, len, tail @ ..] = rest {
        let Some((value, next)) = tail.split_at_checked(usize::from(*len)) else {
            break;
        };
        if *code == IPXE_FEATURE_HTTP {
            return value != [0];
        }
        listed |= IPXE_FEATURES.contains(code);
        rest = next;
    }
    !listed
}

/// `PXEClient:Arch:00007:UNDI:003016`: firmware that leaves option 93 out still says it here.
fn arch_of(class: &[u8]) -> Option<u16> {
    let digits = class.split(|byte| *byte == b':').nth(2)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BiosPxe => f.write_str("BIOS PXE"),
            Self::UefiPxe(arch) => write!(f, "UEFI PXE ({arch})"),
            Self::UefiHttp(arch) => write!(f, "UEFI HTTP boot ({arch})"),
            Self::Ipxe(_) => f.write_str("iPXE"),
            Self::Pi(identity) => identity.fmt(f),
            Self::UBoot => f.write_str("U-Boot"),
            Self::Init => f.write_str("ramboot's /init"),
            Self::System => f.write_str("a running system"),
            Self::Other(arch) => write!(f, "firmware of architecture {arch}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pi::id::Revision;

    const PC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    const PI: Mac = Mac([0xdc, 0xa6, 0x32, 1, 2, 3]);
    const BIOS: &[u8] = b"PXEClient:Arch:00000:UNDI:002001";
    /// As QEMU's virtio ROM sends it.
    const QEMU: &[u8] = &[
        0xb1, 5, 1, 0x1a, 0xf4, 0x10, 0, 0xeb, 3, 1, 0, 0, 0x17, 1, 1, 0x22, 1, 1, 0x13, 1, 1,
        0x11, 1, 1,
    ];
    const NO_HTTP: &[u8] = &[0xeb, 3, 1, 0, 0, 0x17, 1, 1, 0x22, 1, 1];

    #[test]
    fn one_row_per_firmware() {
        let marks = |class| Marks {
            class,
            ..Marks::default()
        };
        let ipxe = |user_class, ipxe| Marks {
            user_class,
            ipxe,
            ..marks(BIOS)
        };
        let pi4 = b"\0RPi4\x11\x31\xa0\0\x32\x2e\xf8\xed\x10\x45\x15\x5b";
        let reversed = b"\x004iPR\x14\x31\xd0\0\x01\x09\x02\xf7\x3d\xf0\xcd\x91";
        let ipxe_x86 = Firmware::Ipxe(Some(Arch::X86_64));
        let pi = |stage, serial, revision: Option<u32>| {
            Firmware::Pi(Identity {
                stage,
                serial,
                revision: revision.map(Revision),
            })
        };
        for (marks, mac, want) in [
            (marks(BIOS), PC, Firmware::BiosPxe),
            (marks(b"PXEClient"), PC, Firmware::BiosPxe),
            (ipxe(b"iPXE", Some(QEMU)), PC, ipxe_x86),
            (ipxe(b"iPXE", None), PC, ipxe_x86),
            (ipxe(b"\x04iPXE", None), PC, ipxe_x86),
            (ipxe(b"\x03foo\x04iPXE", None), PC, ipxe_x86),
            (ipxe(b"site", Some(QEMU)), PC, ipxe_x86),
            (ipxe(b"iPXE", Some(&[])), PC, ipxe_x86),
            (ipxe(b"iPXE", Some(&[0xeb, 3, 1, 0, 0])), PC, ipxe_x86),
            (ipxe(b"iPXE", Some(NO_HTTP)), PC, Firmware::BiosPxe),
            (ipxe(b"iPXE", Some(&[0x13, 1, 0])), PC, Firmware::BiosPxe),
            (ipxe(b"iPXE", Some(&[0x13])), PC, ipxe_x86),
            (ipxe(b"", Some(NO_HTTP)), PC, Firmware::BiosPxe),
            (ipxe(b"iPXE", None), PI, ipxe_x86),
            (ipxe(b"xiPXE", None), PC, Firmware::BiosPxe),
            (ipxe(b"\xffiPXE", None), PC, Firmware::BiosPxe),
            (marks(b"ramboot"), PC, Firmware::Init),
            (marks(b"ramboot"), PI, Firmware::Init),
            (marks(b""), PC, Firmware::System),
            (marks(b"udhcp 1.36.1"), PI, Firmware::System),
            (
                marks(b"PXEClient:Arch:00007:UNDI:003016"),
                PC,
                Firmware::UefiPxe(Arch::X86_64),
            ),
            (
                Marks {
                    arch: Some(9),
                    ..marks(b"PXEClient:Arch:00007:UNDI:003016")
                },
                PC,
                Firmware::UefiPxe(Arch::X86_64),
            ),
            (
                marks(b"PXEClient:Arch:00011:UNDI:003000"),
                PI,
                Firmware::UefiPxe(Arch::Aarch64),
            ),
            (
                Marks {
                    arch: Some(7),
                    ..ipxe(b"iPXE", Some(NO_HTTP))
                },
                PC,
                Firmware::UefiPxe(Arch::X86_64),
            ),
            (
                marks(b"HTTPClient:Arch:00016:UNDI:003001"),
                PC,
                Firmware::UefiHttp(Arch::X86_64),
            ),
            (
                Marks {
                    arch: Some(22),
                    ..marks(b"PXEClient")
                },
                PC,
                Firmware::UBoot,
            ),
            (marks(BIOS), PI, pi(Stage::Eeprom, None, None)),
            (
                Marks {
                    machine_id: pi4,
                    ..marks(BIOS)
                },
                PC,
                pi(Stage::Eeprom, Some(0x5b15_4510), Some(0xa0_3111)),
            ),
            (
                Marks {
                    machine_id: reversed,
                    ..marks(BIOS)
                },
                PC,
                pi(Stage::Eeprom, Some(0x91cd_f03d), Some(0xd0_3114)),
            ),
            (
                Marks {
                    machine_id: &[0x44; 17],
                    ..marks(BIOS)
                },
                PC,
                pi(Stage::Rom, None, None),
            ),
            (
                marks(b"HTTPClient:Arch:00019:UNDI:003000"),
                PC,
                Firmware::UefiHttp(Arch::Aarch64),
            ),
            (
                marks(b"HTTPClient:Arch:00015:UNDI:003000"),
                PC,
                Firmware::UefiHttp(Arch::X86_64),
            ),
            (marks(b"U-Boot.armv8"), PI, Firmware::UBoot),
            (
                marks(b"PXEClient:Arch:00006:UNDI:003000"),
                PC,
                Firmware::Other(6),
            ),
            (
                marks(b"HTTPClient:Arch:00017:UNDI:003000"),
                PC,
                Firmware::Other(17),
            ),
            (
                Marks {
                    arch: Some(11),
                    ..ipxe(b"iPXE", Some(QEMU))
                },
                PC,
                Firmware::Ipxe(Some(Arch::Aarch64)),
            ),
            (
                Marks {
                    arch: Some(6),
                    ..ipxe(b"iPXE", Some(QEMU))
                },
                PC,
                Firmware::Ipxe(None),
            ),
        ] {
            assert_eq!(Firmware::recognise(&marks, mac), want, "{marks:?}");
        }
    }
}
