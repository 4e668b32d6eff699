//! What a machine runs before a kernel.

use std::process::Command;

use ramboot_wire::Arch;

use crate::process::command;

/// Of a machine.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Firmware {
    /// SeaBIOS and the NIC's own ROM.
    Bios,
    /// None that counts: kernel, initramfs and command line are in memory; the function may change the last.
    Done(fn(&str) -> String),
    /// EDK2.
    Uefi(Arch, First),
}

/// What UEFI firmware tries first. It would try all it has, a minute each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    /// PXE over IPv4.
    Pxe,
    /// HTTP Boot over IPv4.
    Http,
}

/// OVMF and AAVMF, as Debian packages EDK2: code and variables.
const OVMF: [&str; 2] = [
    "/usr/share/OVMF/OVMF_CODE_4M.fd",
    "/usr/share/OVMF/OVMF_VARS_4M.fd",
];
const AAVMF: [&str; 2] = [
    "/usr/share/AAVMF/AAVMF_CODE.fd",
    "/usr/share/AAVMF/AAVMF_VARS.fd",
];

impl Firmware {
    /// The emulator with a board that has this firmware and can boot from the network only.
    pub(crate) fn board(self) -> Command {
        let arch = match self {
            Self::Bios | Self::Done(_) | Self::Uefi(Arch::X86_64, _) => Arch::X86_64,
            Self::Uefi(Arch::Aarch64, _) => Arch::Aarch64,
        };
        let (mut qemu, [code, variables]) = match arch {
            Arch::X86_64 => {
                let mut qemu = command("qemu-system-x86_64");
                // Without graphics SeaBIOS and the NIC's ROM talk to the serial line.
                qemu.args(["-machine", "q35,graphics=off"]);
                (qemu, OVMF)
            }
            Arch::Aarch64 => {
                let mut qemu = command("qemu-system-aarch64");
                qemu.args(["-machine", "virt", "-cpu", "cortex-a72"]);
                (qemu, AAVMF)
            }
        };
        let first = match self {
            Self::Uefi(_, first) => first,
            Self::Bios => {
                qemu.args(["-boot", "n"]);
                return qemu;
            }
            Self::Done(_) => return qemu,
        };
        let flash = |unit: u8, rest: &str| format!("if=pflash,format=raw,unit={unit},{rest}");
        qemu.args(["-drive", &flash(0, &format!("readonly=on,file={code}"))])
            // What the firmware writes goes nowhere: each boot is its first.
            .args([
                "-drive",
                &flash(1, &format!("snapshot=on,file={variables}")),
            ])
            // EDK2's network stack does not start without random numbers.
            .args(["-device", "virtio-rng-pci"]);
        // Known to OVMF and AAVMF: which of their protocols are there.
        for (protocol, there) in [("IPv4", first == First::Pxe), ("IPv6", false)] {
            let there = if there { "y" } else { "n" };
            let name = format!("name=opt/org.tianocore/{protocol}PXESupport,string={there}");
            qemu.args(["-fw_cfg", &name]);
        }
        qemu
    }
}
