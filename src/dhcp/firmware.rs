//! What booted the client: one enum, told from a handful of options, and nothing else anywhere looks at them again.
//!
//! Identity comes from what a client says about itself; a MAC's vendor part only decides between a Raspberry Pi and
//! a PC, which say the same words.

use std::fmt;

use ramboot_wire::Mac;

/// Option 60 of `/init`'s own DHCP client.
pub const INIT_CLASS: &[u8] = b"ramboot";

/// Option 175, encapsulated: sub-option 19 says that this iPXE was built with HTTP.
const IPXE_FEATURE_HTTP: u8 = 0x13;

/// Sub-options of 175 from 0x10 to 0x2f are features; others (177, bus id) stand there without saying anything.
const IPXE_FEATURES: std::ops::RangeInclusive<u8> = 0x10..=0x2f;

/// Vendor parts of Raspberry Pi's MAC addresses, as seen on boards up to the Pi 5.
const PI_OUIS: [[u8; 3]; 7] = [
    [0xb8, 0x27, 0xeb],
    [0xdc, 0xa6, 0x32],
    [0xe4, 0x5f, 0x01],
    [0x28, 0xcd, 0xc1],
    [0xd8, 0x3a, 0xdd],
    [0x2c, 0xcf, 0x67],
    [0x88, 0xa2, 0x9e],
];

/// What a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// PXE ROM of a PC with BIOS: option 60 `PXEClient:Arch:00000:UNDI:…`, no mark of iPXE. Takes a boot file by TFTP
    /// and runs it in real mode: `undionly.kpxe`, an iPXE that uses the ROM's own driver. Not seen on a real ROM
    /// here; the form is that of RFC 4578 and of SeaBIOS PCs' vendor ROMs (Intel Boot Agent).
    BiosPxe,
    /// iPXE that can HTTP, in a ROM or chained. Seen: QEMU's virtio-net and e1000 ROMs, its efi-virtio ROM under OVMF
    /// (option 93 = 7) and undionly.kpxe, all 1.0.0+git-20190125 (Debian 12): option 60 is the same as a plain ROM's,
    /// option 77 is the bare word `iPXE` (not the form of RFC 3004), option 175 lists features; undionly sets
    /// BROADCAST. On port 4011 option 60 is cut to `PXEClient`. Takes a URL as boot file, whatever the architecture.
    Ipxe,
    /// iPXE built without HTTP, by its own list of features (some NIC vendors' ROMs). It does what a plain ROM does,
    /// so it gets the same: an iPXE that can.
    IpxeWithoutHttp,
    /// ramboot's `/init`: option 60 is `ramboot`. It has booted; it wants an address and nothing to boot.
    Init,
    /// An operating system, or anything else that does not ask to boot.
    System,
    /// Boots from the network by what this version does not serve.
    Later(Later),
}

/// Firmware that is told apart, so that the log can say why it is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Later {
    /// UEFI PXE, option 93 = 6, 7, 9, 10, 11, …: seen on OVMF 2022.11 (7).
    Uefi(u16),
    /// UEFI HTTP boot: option 60 begins with `HTTPClient`.
    UefiHttp(u16),
    /// Raspberry Pi boot ROM or EEPROM. Says the words of a BIOS ROM (arch 0, also the Pi 5), so option 97 and the
    /// MAC tell them apart; `undionly.kpxe` would leave it hanging.
    RaspberryPi,
    /// A PXE client of another architecture (option 93), such as U-Boot's 21 and 22.
    Arch(u16),
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
        if is_ipxe(marks) {
            return match (ipxe_has_http(marks), arch) {
                (true, _) => Self::Ipxe,
                (false, 0) => Self::IpxeWithoutHttp,
                (false, arch) => Self::Later(Later::of(arch)),
            };
        }
        match (netboot, http, arch) {
            (false, ..) => Self::System,
            (true, true, arch) => Self::Later(Later::UefiHttp(arch)),
            (true, false, 0) if is_pi(marks.machine_id, mac) => Self::Later(Later::RaspberryPi),
            (true, false, 0) => Self::BiosPxe,
            (true, false, arch) => Self::Later(Later::of(arch)),
        }
    }

    /// It asks for something to boot.
    #[must_use]
    pub const fn boots(self) -> bool {
        !matches!(self, Self::Init | Self::System)
    }
}

impl Later {
    /// The registry of RFC 5970 §3.3, "Processor Architecture Types".
    const fn of(arch: u16) -> Self {
        match arch {
            2 | 6..=11 | 25 | 27 | 29 | 33..=37 | 39 => Self::Uefi(arch),
            15..=19 | 26 | 28 | 30 | 38 | 40 => Self::UefiHttp(arch),
            41 => Self::RaspberryPi,
            _ => Self::Arch(arch),
        }
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

/// EEPROM of Pi 4 and 5: a four-letter code after the type byte, in either byte order. Pi 3 mask ROM: sixteen 0x44.
/// Older boards and `DHCP_OPTION97=0`: the serial number four times, which needs the MAC's vendor part beside it.
fn is_pi(machine_id: &[u8], mac: Mac) -> bool {
    let id = machine_id.get(1..).unwrap_or_default();
    let code = id.get(..4).unwrap_or_default();
    let coded = code.starts_with(b"RPi") || code.ends_with(b"iPR");
    let mask_rom = id.len() == 16 && id.iter().all(|byte| *byte == 0x44);
    coded || mask_rom || PI_OUIS.iter().any(|oui| mac.0.starts_with(oui))
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BiosPxe => f.write_str("BIOS PXE"),
            Self::Ipxe => f.write_str("iPXE"),
            Self::IpxeWithoutHttp => f.write_str("iPXE without HTTP"),
            Self::Init => f.write_str("ramboot's /init"),
            Self::System => f.write_str("a running system"),
            Self::Later(later) => later.fmt(f),
        }
    }
}

impl fmt::Display for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uefi(arch) => write!(f, "UEFI PXE (architecture {arch})"),
            Self::UefiHttp(arch) => write!(f, "UEFI HTTP boot (architecture {arch})"),
            Self::RaspberryPi => f.write_str("Raspberry Pi"),
            Self::Arch(arch) => write!(f, "PXE of architecture {arch}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let later = Firmware::Later;
        for (marks, mac, want) in [
            (marks(BIOS), PC, Firmware::BiosPxe),
            (marks(b"PXEClient"), PC, Firmware::BiosPxe),
            (ipxe(b"iPXE", Some(QEMU)), PC, Firmware::Ipxe),
            (ipxe(b"iPXE", None), PC, Firmware::Ipxe),
            (ipxe(b"\x04iPXE", None), PC, Firmware::Ipxe),
            (ipxe(b"\x03foo\x04iPXE", None), PC, Firmware::Ipxe),
            (ipxe(b"site", Some(QEMU)), PC, Firmware::Ipxe),
            (ipxe(b"iPXE", Some(&[])), PC, Firmware::Ipxe),
            (ipxe(b"iPXE", Some(&[0xeb, 3, 1, 0, 0])), PC, Firmware::Ipxe),
            (ipxe(b"iPXE", Some(NO_HTTP)), PC, Firmware::IpxeWithoutHttp),
            (
                ipxe(b"iPXE", Some(&[0x13, 1, 0])),
                PC,
                Firmware::IpxeWithoutHttp,
            ),
            (ipxe(b"iPXE", Some(&[0x13])), PC, Firmware::Ipxe),
            (ipxe(b"", Some(NO_HTTP)), PC, Firmware::IpxeWithoutHttp),
            (ipxe(b"iPXE", None), PI, Firmware::Ipxe),
            (ipxe(b"xiPXE", None), PC, Firmware::BiosPxe),
            (ipxe(b"\xffiPXE", None), PC, Firmware::BiosPxe),
            (marks(b"ramboot"), PC, Firmware::Init),
            (marks(b"ramboot"), PI, Firmware::Init),
            (marks(b""), PC, Firmware::System),
            (marks(b"udhcp 1.36.1"), PI, Firmware::System),
            (
                marks(b"PXEClient:Arch:00007:UNDI:003016"),
                PC,
                later(Later::Uefi(7)),
            ),
            (
                Marks {
                    arch: Some(9),
                    ..marks(b"PXEClient:Arch:00007:UNDI:003016")
                },
                PC,
                later(Later::Uefi(9)),
            ),
            (
                marks(b"PXEClient:Arch:00011:UNDI:003000"),
                PI,
                later(Later::Uefi(11)),
            ),
            (
                Marks {
                    arch: Some(7),
                    ..ipxe(b"iPXE", Some(NO_HTTP))
                },
                PC,
                later(Later::Uefi(7)),
            ),
            (
                marks(b"HTTPClient:Arch:00016:UNDI:003001"),
                PC,
                later(Later::UefiHttp(16)),
            ),
            (
                Marks {
                    arch: Some(22),
                    ..marks(b"PXEClient")
                },
                PC,
                later(Later::Arch(22)),
            ),
            (marks(BIOS), PI, later(Later::RaspberryPi)),
            (
                Marks {
                    machine_id: pi4,
                    ..marks(BIOS)
                },
                PC,
                later(Later::RaspberryPi),
            ),
            (
                Marks {
                    machine_id: reversed,
                    ..marks(BIOS)
                },
                PC,
                later(Later::RaspberryPi),
            ),
            (
                Marks {
                    machine_id: &[0x44; 17],
                    ..marks(BIOS)
                },
                PC,
                later(Later::RaspberryPi),
            ),
        ] {
            assert_eq!(Firmware::recognise(&marks, mac), want, "{marks:?}");
        }
    }
}
