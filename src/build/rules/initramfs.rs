//! The initramfs that a distribution made for booting from a disk: no worker reads it, and each would fetch it and keep it.

use super::Finding;

/// Less costs less than reading about it.
pub const WORTH_SAYING: u64 = 4 << 20;

/// Where they lie; Raspberry Pi OS has its own beside the firmware.
pub const FOLDERS: [&str; 2] = ["boot", "boot/firmware"];

/// Names of what initramfs-tools, dracut and mkinitcpio make.
#[must_use]
pub fn is_initramfs(path: &str) -> bool {
    let Some((folder, name)) = path.rsplit_once('/') else {
        return false;
    };
    let names = ["initrd.img", "initrd-", "initramfs"];
    FOLDERS.contains(&folder) && names.iter().any(|prefix| name.starts_with(prefix))
}

/// The finding for such a file of so many bytes, if it is worth a word.
#[must_use]
pub fn finding(path: &str, bytes: u64, fix: bool) -> Option<Finding> {
    let does = if fix {
        "it is left out"
    } else {
        "--fix leaves it out"
    };
    (is_initramfs(path) && bytes >= WORTH_SAYING).then(|| Finding {
        rule: "initramfs",
        place: format!("/{path}"),
        sentence: format!(
            "an initramfs for disks, {} MiB: ramboot makes its own, and each worker would fetch this one and keep it in RAM for nothing; {does}",
            bytes >> 20
        ),
        fixed: fix,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_by_folder_and_name() {
        for (path, want) in [
            ("boot/initrd.img-6.1.0-56-amd64", true),
            ("boot/initramfs-linux.img", true),
            ("boot/initrd-6.4.0-default", true),
            ("boot/firmware/initramfs8", true),
            ("boot/vmlinuz-6.1", false),
            ("boot/initrd", false),
            ("usr/share/initramfs-tools", false),
            ("initrd.img", false),
        ] {
            assert_eq!(is_initramfs(path), want, "{path}");
        }
        assert_eq!(finding("boot/initrd.img-6", WORTH_SAYING - 1, true), None);
        let found = finding("boot/initrd.img-6", 31 << 20, false).expect("large");
        assert!(
            found.sentence.contains("31 MiB") && found.sentence.ends_with("--fix leaves it out")
        );
    }
}
