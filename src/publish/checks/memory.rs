//! How much RAM a machine must have for an image: what `/init` asks for before it fetches the first byte, what it copies from the
//! image onto tmpfs, and the kernel's own.

use ramboot_wire::TmpfsFolder;
use ramboot_wire::root::{HEADROOM, mib};

use super::{Check, Finding, error, fine, some_of, warning};

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
    /// Bytes that are copied from the image into folders on tmpfs.
    pub tmpfs: u64,
}

/// Folders that a worker has on tmpfs itself and not on the overlay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tmpfs {
    /// Which.
    pub folders: Vec<TmpfsFolder>,
    /// Of the image's files in them, in pages.
    pub bytes: u64,
    /// What stands in the image's lists of them and cannot be one, and why.
    pub bad: Vec<String>,
}

impl Need {
    /// RAM of the smallest machine.
    #[must_use]
    pub fn total(self) -> u64 {
        let parts = self.image.saturating_add(self.initramfs);
        let parts = parts.saturating_add(self.tmpfs);
        let parts = parts.saturating_add(HEADROOM + KERNEL);
        parts.saturating_add(parts / (PAGE_TABLE_SHARE - 1))
    }

    /// Of which the kernel takes so much.
    fn kernel(self) -> u64 {
        self.total()
            .saturating_sub(self.image)
            .saturating_sub(self.initramfs)
            .saturating_sub(self.tmpfs)
            .saturating_sub(HEADROOM)
    }

    /// All numbers, as a person adds them up.
    #[must_use]
    pub fn parts(self) -> String {
        let copied = match self.tmpfs {
            0 => String::new(),
            bytes => format!("its files on tmpfs {} MiB, ", mib(bytes)),
        };
        format!(
            "image {} MiB, initramfs {} MiB, {copied}the worker's first programs {} MiB, kernel about {} MiB",
            mib(self.image),
            mib(self.initramfs),
            mib(HEADROOM),
            mib(self.kernel())
        )
    }

    /// Whether it is more than the `least` bytes of RAM that were named, if they were.
    fn exceeds(self, least: Option<u64>) -> bool {
        least.is_some_and(|least| self.total() > least)
    }

    /// What a worker does with its RAM, as a sentence without its subject; with the remedy, if `least` bytes of RAM were named and
    /// are too few.
    #[must_use]
    pub fn predicate(self, least: Option<u64>) -> String {
        let needs = format!("needs {} MiB of RAM ({})", mib(self.total()), self.parts());
        match least.filter(|_| self.exceeds(least)) {
            Some(least) => format!(
                "{needs}, --min-ram says {} MiB: make the image smaller, or name the RAM that your machines have",
                least >> 20
            ),
            None => needs,
        }
    }
}

/// Whether a machine with the RAM that was named, if it was, boots the image.
#[must_use]
pub fn check(need: Need, least: Option<u64>) -> Finding {
    let sentence = format!("a worker {}", need.predicate(least));
    if need.exceeds(least) {
        error(Check::Memory, &sentence)
    } else {
        fine(Check::Memory, &sentence)
    }
}

/// What is said of the folders on tmpfs.
#[must_use]
pub fn folders(facts: &Tmpfs) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !facts.folders.is_empty() {
        let names: Vec<String> = facts.folders.iter().map(ToString::to_string).collect();
        let sentence = format!(
            "a worker has {} on tmpfs and not on the overlay, with {} MiB of the image's files",
            some_of(&names),
            mib(facts.bytes)
        );
        findings.push(fine(Check::Memory, &sentence));
    }
    if !facts.bad.is_empty() {
        let sentence = format!("no folders for tmpfs: {}", some_of(&facts.bad));
        findings.push(warning(Check::Root, &sentence));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::checks::Severity;

    #[test]
    fn all_numbers_are_said_and_add_up() {
        let need = Need {
            image: 205_586_432,
            initramfs: 48 << 20,
            tmpfs: 0,
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

    #[test]
    fn what_is_copied_onto_tmpfs_counts() {
        let bare = Need {
            image: 205_586_432,
            initramfs: 48 << 20,
            tmpfs: 0,
        };
        let need = Need {
            tmpfs: 630 << 20,
            ..bare
        };
        assert_eq!(need.total(), bare.total() + (640 << 20));
        assert_eq!(
            check(need, None).sentence,
            "a worker needs 1023 MiB of RAM (image 197 MiB, initramfs 48 MiB, its files on tmpfs 630 MiB, the worker's first programs \
             64 MiB, kernel about 84 MiB)"
        );
        assert_eq!(check(need, Some(bare.total())).severity, Severity::Error);
    }

    #[test]
    fn folders_on_tmpfs_are_said_and_bad_lines_are_a_warning() {
        assert_eq!(folders(&Tmpfs::default()), []);
        let folder = |path: &str| path.parse().expect("a folder");
        let said = folders(&Tmpfs {
            folders: vec![folder("/srv/cache"), folder("/var/lib/docker")],
            bytes: 1,
            bad: vec!["/etc/ramboot/tmpfs.d/x: \"srv\"".to_owned()],
        });
        let said: Vec<_> = said
            .iter()
            .map(|f| (f.severity, f.sentence.as_str()))
            .collect();
        assert_eq!(
            said,
            [
                (
                    Severity::Fine,
                    "a worker has /srv/cache, /var/lib/docker on tmpfs and not on the overlay, with 1 MiB of the image's files"
                ),
                (
                    Severity::Warning,
                    "no folders for tmpfs: /etc/ramboot/tmpfs.d/x: \"srv\""
                ),
            ]
        );
    }
}
