//! What in the root file system would keep a worker from coming up, or make all workers one.

use super::{Check, Finding, error, some_of, warning};
use crate::build::rules::initramfs::WORTH_SAYING;

/// Longer ones are not of this world.
pub const MAX_TEXT_BYTES: u64 = 64 * 1024;

/// What stands at a place where `/init` mounts something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// As it should be; nothing at all is as good, since the layer over the image is writable.
    Good,
    /// A symbolic link, and where it leads.
    Link(String),
    /// Another kind of file.
    File,
}

/// What was read of the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The folders that `/init` mounts to.
    pub places: Vec<(&'static str, Place)>,
    /// There is a folder /tmp.
    pub tmp: bool,
    /// /etc/fstab
    pub fstab: Option<String>,
    /// /etc/machine-id
    pub machine_id: Option<String>,
    /// /etc/ssh/ssh_host_*_key
    pub host_keys: Vec<String>,
    /// Paths and bytes of initramfs in /boot that a distribution made.
    pub initramfs: Vec<(String, u64)>,
}

/// All that is wrong with it.
#[must_use]
pub fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, place) in &facts.places {
        let what = match place {
            Place::Good => continue,
            Place::Link(to) => format!("a symbolic link to {to}"),
            Place::File => "no folder".to_owned(),
        };
        let sentence = format!("{path} is {what}: /init mounts there; make it an empty folder");
        findings.push(error(Check::Root, &sentence));
    }
    if !facts.tmp {
        let sentence = "the image has no /tmp: programs expect it; make it, with mode 1777";
        findings.push(warning(Check::Root, sentence));
    }
    if let Some(text) = &facts.fstab {
        findings.extend(fstab(text));
    }
    let id = facts.machine_id.as_deref().map(str::trim);
    if let Some(id) = id.filter(|id| !matches!(*id, "" | "uninitialized")) {
        let shown: String = id.chars().take(8).collect();
        let sentence = format!(
            "/etc/machine-id has content ({shown}…), the same for all workers that get no files of their own: empty it"
        );
        findings.push(warning(Check::Identity, &sentence));
    }
    if !facts.host_keys.is_empty() {
        let sentence = format!(
            "the image has SSH host keys ({}): who can fetch it has them, and all workers are one; remove them, each worker \
             gets its own",
            some_of(&facts.host_keys)
        );
        findings.push(warning(Check::Identity, &sentence));
    }
    findings.extend(initramfs(&facts.initramfs));
    findings
}

/// Files that no worker ever reads, and each fetches and keeps in RAM.
fn initramfs(found: &[(String, u64)]) -> Option<Finding> {
    let bytes: u64 = found.iter().map(|(_, bytes)| bytes).sum();
    let paths: Vec<String> = found.iter().map(|(path, _)| path.clone()).collect();
    (bytes >= WORTH_SAYING).then(|| {
        let sentence = format!(
            "the image has {} ({} MiB): ramboot makes its own initramfs, and each worker would fetch these bytes and keep them in \
             RAM for nothing; take them out, or let \"ramboot build --fix\" do it",
            some_of(&paths),
            bytes >> 20
        );
        warning(Check::Memory, &sentence)
    })
}

/// Lines that would have a worker wait for a disk it does not have, or mount over its root.
fn fstab(text: &str) -> Option<Finding> {
    let entries: Vec<String> = text.lines().filter_map(disk).collect();
    if entries.is_empty() {
        return None;
    }
    let sentence = format!(
        "/etc/fstab mounts {}: a worker without that disk waits for it and stops; take the lines out, or let \"ramboot build \
         --fix\" do it",
        some_of(&entries)
    );
    Some(warning(Check::Root, &sentence))
}

/// `UUID=… on /boot`, if the line is of a disk that must be there, or of the root.
fn disk(line: &str) -> Option<String> {
    let mut fields = line.split_ascii_whitespace();
    let what = fields.next().filter(|what| !what.starts_with('#'))?;
    let (place, kind) = (fields.next()?, fields.next().unwrap_or_default());
    let mut options = fields.next().unwrap_or_default().split(',');
    if options.any(|option| matches!(option, "nofail" | "noauto")) {
        return None;
    }
    let tagged = ["UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "ID="];
    let is_disk = what.starts_with("/dev/") || tagged.iter().any(|tag| what.starts_with(tag));
    let is_root = place == "/" && !matches!(kind, "tmpfs" | "overlay");
    let place = if kind == "swap" { "swap" } else { place };
    (is_disk || is_root).then(|| format!("{what} on {place}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::checks::Severity;

    fn good() -> Facts {
        Facts {
            tmp: true,
            places: vec![("/run", Place::Good)],
            fstab: Some("# UNCONFIGURED FSTAB FOR BASE SYSTEM\n".to_owned()),
            machine_id: Some("\n".to_owned()),
            ..Facts::default()
        }
    }

    #[test]
    fn a_clean_image_gives_no_word() {
        assert_eq!(check(&good()), []);
        let facts = Facts {
            machine_id: Some("uninitialized\n".to_owned()),
            ..good()
        };
        assert_eq!(check(&facts), []);
    }

    #[test]
    fn an_initramfs_for_disks_is_said() {
        let initramfs = vec![
            ("/boot/initrd.img-6.1".to_owned(), 31 << 20),
            ("/boot/initramfs-6.2.img".to_owned(), 9 << 20),
        ];
        let found = check(&Facts {
            initramfs,
            ..good()
        });
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].severity, Severity::Warning);
        assert!(
            found[0].sentence.starts_with(
                "the image has /boot/initrd.img-6.1, /boot/initramfs-6.2.img (40 MiB): "
            ),
            "{found:?}"
        );
        let initramfs = vec![("/boot/initrd.img-6.1".to_owned(), 9)];
        assert_eq!(
            check(&Facts {
                initramfs,
                ..good()
            }),
            []
        );
    }

    #[test]
    fn lines_of_fstab_that_hang_a_worker() {
        for (line, want) in [
            ("UUID=1-2 / ext4 defaults 0 1", Some("UUID=1-2 on /")),
            ("/dev/sda2 none swap sw 0 0", Some("/dev/sda2 on swap")),
            (
                "PARTUUID=1 /boot/firmware vfat defaults 0 2",
                Some("PARTUUID=1 on /boot/firmware"),
            ),
            ("nas:/root / nfs ro", Some("nas:/root on /")),
            ("nas:/home /home nfs rw", None),
            ("/dev/sdb1 /scratch ext4 defaults,nofail 0 0", None),
            ("LABEL=x /mnt ext4 noauto", None),
            ("tmpfs /tmp tmpfs", None),
            ("overlay / overlay", None),
            ("#/dev/sda1 / ext4", None),
            ("/dev/sda1", None),
        ] {
            assert_eq!(disk(line).as_deref(), want, "{line}");
        }
    }

    #[test]
    fn what_init_mounts_to_must_be_a_folder() {
        let facts = Facts {
            places: vec![
                ("/run", Place::Link("/var/run".to_owned())),
                ("/proc", Place::File),
            ],
            ..good()
        };
        let found = check(&facts);
        assert!(found.iter().all(|f| f.severity == Severity::Error));
        assert_eq!(
            found[0].sentence,
            "/run is a symbolic link to /var/run: /init mounts there; make it an empty folder"
        );
        assert_eq!(found.len(), 2);
    }
}
