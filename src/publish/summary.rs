//! What a person is told when an image was published. Pure.

use std::path::Path;

use super::checks::Severity;
use super::outcome::{Published, Uki};
use super::{Origin, pi, profile_transfer};
use crate::formats::squashfs::grouped;
use ramboot_wire::Arch;

/// What a person is told of an image that was published.
#[must_use]
pub fn summary(published: &Published, state: &Path) -> String {
    let Published {
        name,
        generation,
        image,
        kernel_version,
        arch,
        modules,
        firmware,
        seconds,
        ..
    } = published;
    let with_firmware = match firmware {
        0 => String::new(),
        n => format!(", {n} firmware files"),
    };
    let serve = if state == Path::new("/var/lib/ramboot") {
        String::new()
    } else {
        format!(" --state {}", state.display())
    };
    format!(
        "published {name}, generation {generation}, in {seconds} s\n  \
         image      {image}\n             {}\n  \
         kernel     {kernel_version} for {arch}, {}\n  \
         initramfs  {}, {modules} modules{with_firmware}\n  \
         UEFI       {}\n  \
         RAM        {}\n\
         {}{}next: ramboot serve{serve}\n",
        size(published.size),
        size(published.kernel.size),
        size(published.initrd.size),
        uefi(published.uki.as_ref(), *arch),
        published.need.predicate(published.min_ram),
        pi::lines(&published.boards),
        remarks(published),
    )
}

/// What was passed over, and what may go wrong.
fn remarks(published: &Published) -> String {
    let line = |word: &str, sentence: &str| format!("  {word:<10} {sentence}\n");
    let forced = published.forced.iter();
    let forced = forced.map(|sentence| line("forced", sentence));
    let warnings = published.findings.sentences(Severity::Warning);
    let carried = published
        .carried
        .iter()
        .map(|carried| line("profile", &taken_over(carried)));
    carried
        .chain(forced)
        .chain(warnings.map(|sentence| line("warning", sentence)))
        .collect()
}

/// What `--profile` found.
fn taken_over(carried: &profile_transfer::Summary) -> String {
    let profile_transfer::Summary {
        from,
        files,
        bytes,
        lost,
        hot,
    } = carried;
    let tenths = |bytes: u64| format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10);
    format!(
        "{files} files that boots of image {} read ({} unpacked) are the same here, {lost} are not; {} ({} %) are hot",
        from.short(),
        tenths(*bytes),
        tenths(hot.bytes),
        hot.percent
    )
}

/// How UEFI machines will boot what was published.
fn uefi(uki: Option<&Uki>, arch: Arch) -> String {
    let of = match uki.map(|uki| uki.origin) {
        Some(Origin::Image) => "of the image",
        Some(Origin::Host) => "of this machine",
        None => {
            return format!(
                "by iPXE: no systemd-stub for {arch} that makes a UKI of this kernel; apt install systemd-boot-efi in the \
                 image or here, and publish again"
            );
        }
    };
    format!("HTTP Boot: UKI with the stub {of}")
}

/// Bytes as people compare them, and as they are.
pub(super) fn size(bytes: u64) -> String {
    let tenths = bytes.saturating_add(50_000) / 100_000;
    format!(
        "{}.{} MB ({} bytes)",
        tenths / 10,
        tenths % 10,
        grouped(bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_twice() {
        assert_eq!(size(205_586_432), "205.6 MB (205 586 432 bytes)");
        assert_eq!(size(999), "0.0 MB (999 bytes)");
        assert_eq!(size(49_950_000), "50.0 MB (49 950 000 bytes)");
    }
}
