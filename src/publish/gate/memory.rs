//! How much RAM a machine must have for an image: what `/init` asks for before it fetches the first byte, and the kernel's own.

use ramboot_wire::root::{HEADROOM, mib};

use super::{Check, Finding, error, fine};

/// Code and tables of a kernel and what it allocates until `/init` runs: 60 to 70 MiB of a Debian's, without the share below.
const KERNEL: u64 = 68 << 20;
/// The kernel keeps a `struct page` of 64 bytes for each page of 4 KiB.
const PAGE_TABLE_SHARE: u64 = 64;

/// What a worker with an image needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Bytes of the image.
    pub image: u64,
    /// Bytes that the initramfs holds, unpacked, until the image's init starts.
    pub initramfs: u64,
}

impl Need {
    /// RAM of the smallest machine.
    #[must_use]
    pub fn total(self) -> u64 {
        let parts = self.image.saturating_add(self.initramfs);
        let parts = parts.saturating_add(HEADROOM + KERNEL);
        parts.saturating_add(parts / (PAGE_TABLE_SHARE - 1))
    }

    /// Of which the kernel takes so much.
    fn kernel(self) -> u64 {
        self.total()
            .saturating_sub(self.image)
            .saturating_sub(self.initramfs)
            .saturating_sub(HEADROOM)
    }

    /// All numbers, as a person adds them up.
    #[must_use]
    pub fn parts(self) -> String {
        format!(
            "image {} MiB, initramfs {} MiB, the worker's first programs {} MiB, kernel about {} MiB",
            mib(self.image),
            mib(self.initramfs),
            mib(HEADROOM),
            mib(self.kernel())
        )
    }
}

/// Whether a machine with the RAM that was named, if it was, boots the image.
#[must_use]
pub fn check(need: Need, least: Option<u64>) -> Finding {
    let needs = format!("needs {} MiB of RAM ({})", mib(need.total()), need.parts());
    match least {
        Some(least) if need.total() > least => {
            let sentence = format!(
                "a worker {needs}, --min-ram says {} MiB: make the image smaller, or name the RAM that your machines have",
                least >> 20
            );
            error(Check::Memory, &sentence)
        }
        _ => fine(Check::Memory, &format!("a worker {needs}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::gate::Severity;

    #[test]
    fn all_numbers_are_said_and_add_up() {
        let need = Need {
            image: 205_586_432,
            initramfs: 48 << 20,
        };
        let refused = check(need, Some(256 << 20));
        assert_eq!(
            (refused.severity, refused.sentence.as_str()),
            (
                Severity::Error,
                "a worker needs 383 MiB of RAM (image 197 MiB, initramfs 48 MiB, the worker's first programs 64 MiB, kernel about \
                 74 MiB), --min-ram says 256 MiB: make the image smaller, or name the RAM that your machines have"
            )
        );
        assert_eq!(check(need, Some(need.total())).severity, Severity::Fine);
        assert_eq!(
            check(need, Some(need.total() - 1)).severity,
            Severity::Error
        );
        assert_eq!(check(need, None).severity, Severity::Fine);
    }
}
