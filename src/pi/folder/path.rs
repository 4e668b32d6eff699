//! A path as bootloaders write it: what stands for the machine, and the file.

use ramboot_wire::Mac;
use ramboot_wire::paths::is_boot_name;

use crate::pi::choice::{CMDLINE, CONFIG};
use crate::pi::files::is_wanted;

/// Longest path a bootloader asks for: a prefix of 32, a name of 64.
const MAX_PATH_BYTES: usize = 160;

/// Files by what they say about how far a boot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// `bootcode.bin`, which only a mask ROM asks for.
    Bootcode,
    /// `start*.elf`
    StartElf,
    /// `config.txt`
    Config,
    /// Under the name that config.txt gives it, or under the one it has without.
    Cmdline,
    /// Kernel and initramfs, by names that only config.txt can have told.
    Named,
    /// Fixup files, device trees, overlays.
    Other,
}

impl Class {
    /// `None` for a file that no image has.
    pub(super) fn of(name: &str) -> Option<Self> {
        let named = |kind| name.starts_with(kind) && is_boot_name(name);
        match name {
            "bootcode.bin" => Some(Self::Bootcode),
            CONFIG => Some(Self::Config),
            CMDLINE => Some(Self::Cmdline),
            _ if named("cmdline-") => Some(Self::Cmdline),
            _ if named("vmlinuz-") || named("initrd-") => Some(Self::Named),
            _ if !is_wanted(name) => None,
            _ if name.starts_with("start") => Some(Self::StartElf),
            _ => Some(Self::Other),
        }
    }
}

/// What the first part of a path says about who asks; nothing at the root and below the operator's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named {
    /// The low 32 bits of its serial number.
    pub(super) serial: Option<u32>,
    pub(super) mac: Option<Mac>,
}

/// A path, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) by: Named,
    /// Without what stands for the machine.
    pub(super) name: String,
    /// Nothing stood for it.
    pub(super) at_root: bool,
}

impl Asked {
    /// `None` for what no bootloader asks for. Several slashes are one (a Pi 5 asks for `5b154510//config.txt`).
    pub(super) fn parse(path: &str, prefix: &str) -> Option<Self> {
        if path.len() > MAX_PATH_BYTES
            || path.ends_with('/')
            || !path.bytes().all(|b| b.is_ascii_graphic())
        {
            return None;
        }
        let parts = |path| str::split(path, '/').filter(|part| !part.is_empty());
        let all: Vec<&str> = parts(path).collect();
        let prefix: Vec<&str> = parts(prefix).collect();
        if all.is_empty() || all.iter().any(|part| matches!(*part, "." | "..")) {
            return None;
        }
        let (by, rest) = match (all.strip_prefix(prefix.as_slice()), all.as_slice()) {
            (Some(inside), _) if !prefix.is_empty() => (Named::nobody(), inside),
            (_, [first, inside @ ..]) => match Named::parse(first) {
                Some(by) => (by, inside),
                None => (Named::nobody(), all.as_slice()),
            },
            (_, all) => (Named::nobody(), all),
        };
        Some(Self {
            by,
            name: rest.join("/"),
            at_root: rest.len() == all.len(),
        })
    }
}

impl Named {
    const fn nobody() -> Self {
        Self {
            serial: None,
            mac: None,
        }
    }

    /// Eight hexadecimal digits, or a MAC with hyphens.
    fn parse(text: &str) -> Option<Self> {
        let is_serial = text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let serial = is_serial
            .then(|| u32::from_str_radix(text, 16).ok())
            .flatten();
        let mac = text.contains('-').then(|| text.parse().ok()).flatten();
        (serial.is_some() || mac.is_some()).then_some(Self { serial, mac })
    }

    /// Both say who they are, and it is not the same.
    pub(super) fn contradicts(self, other: Self) -> bool {
        matches!((self.serial, other.serial), (Some(a), Some(b)) if a != b)
            || matches!((self.mac, other.mac), (Some(a), Some(b)) if a != b)
    }
}
