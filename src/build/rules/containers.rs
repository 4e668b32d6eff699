//! What containers leave in a root file system that is no container's any more.

/// Files by which systemd (`virt.c`, `detect_container_files`), Upstart and OpenRC take a machine for a container, and whose
/// they are: then file systems are not mounted, udev does not start, and no clock is set.
const MARKS: [(&str, &str); 9] = [
    (".dockerenv", "Docker"),
    (".dockerinit", "Docker"),
    (".containerenv", "Podman"),
    ("run/.containerenv", "Podman"),
    ("run/.toolboxenv", "Toolbx"),
    ("run/container_type", "LXC"),
    ("run/host/container-manager", "systemd-nspawn"),
    ("run/host/container-uuid", "systemd-nspawn"),
    ("run/systemd/container", "systemd-nspawn"),
];

/// Why a file of this path is left out, if it is.
#[must_use]
pub fn mark(path: &str) -> Option<String> {
    let (_, whose) = MARKS.iter().find(|(mark, _)| path == *mark)?;
    Some(format!(
        "/{path}: a mark of {whose}, by which init systems take a machine for a container"
    ))
}

/// What overlayfs keeps of deleted files: devices 0/0, and attributes of folders (Documentation/filesystems/overlayfs.rst,
/// "whiteouts and opaque directories"). A worker's root is an overlayfs, and takes them for its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Whiteouts {
    count: u64,
    first: String,
}

impl Whiteouts {
    /// Sees one.
    pub fn see(&mut self, path: &str) {
        if self.count == 0 {
            path.clone_into(&mut self.first);
        }
        self.count += 1;
    }

    /// What is to be said of all of them.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let Self { count, first } = self;
        let (marks, is) = match count {
            0 => return None,
            1 => ("mark", "is"),
            _ => ("marks", "are"),
        };
        Some(format!(
            "{count} {marks} of overlayfs for deleted files {is} in stored containers (device 0/0 or trusted.overlay attribute; the \
             first: /{first}). A worker's root is an overlayfs, too, and takes them for its own, so deleted files come back in \
             those containers. Remove the containers from the source, for example with `docker system prune --all` or `podman \
             system reset`, and pull or load them on the worker"
        ))
    }
}

/// Whether an extended attribute is one of these marks.
#[must_use]
pub fn is_whiteout_xattr(key: &[u8]) -> bool {
    let prefixes = [&b"trusted.overlay."[..], b"user.overlay."];
    let name = prefixes.iter().find_map(|prefix| key.strip_prefix(*prefix));
    name.is_some_and(|name| matches!(name, b"opaque" | b"whiteout" | b"redirect" | b"metacopy"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_known_by_its_whole_path() {
        for path in [".dockerenv", "run/.containerenv", "run/systemd/container"] {
            let said = mark(path).expect(path);
            assert!(said.starts_with(&format!("/{path}: a mark of ")), "{said}");
        }
        for path in ["home/.dockerenv", "run/systemd/containers", "dockerenv", ""] {
            assert_eq!(mark(path), None, "{path}");
        }
    }

    #[test]
    fn whiteouts_are_said_once() {
        let mut seen = Whiteouts::default();
        assert_eq!(seen.note(), None);
        seen.see("var/lib/docker/a");
        let one = seen.note().expect("a note");
        assert!(one.starts_with("1 mark of overlayfs"), "{one}");
        seen.see("var/lib/docker/b");
        let two = seen.note().expect("a note");
        assert!(
            two.contains("2 marks") && two.contains("the first: /var/lib/docker/a"),
            "{two}"
        );
        assert!(is_whiteout_xattr(b"trusted.overlay.opaque"));
        for key in [
            &b"trusted.overlay.origin"[..],
            b"user.opaque",
            b"trusted.overlay",
        ] {
            assert!(!is_whiteout_xattr(key));
        }
    }
}
