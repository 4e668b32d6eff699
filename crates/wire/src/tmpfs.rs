//! Folders that lie on a worker's tmpfs itself and not on the overlay over its image: `/init` makes them, and a manager counts
//! their RAM when an image is published.
//!
//! Programs that run containers mount overlays of their own, and the kernel takes no folder of an overlay as the writable layer of
//! another (`Documentation/filesystems/overlayfs.rst`, "upperdir"; ovl_mount's "not supported as upperdir").

use std::fmt;
use std::str::FromStr;

use crate::root::MOUNT_POINTS;

/// What keeps containers, and who uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Absolute.
    pub folder: &'static str,
    /// Names in [`PROGRAM_FOLDERS`]. Packages seldom bring the folder: the program makes it when it first runs.
    pub programs: &'static [&'static str],
}

/// The list.
pub const KNOWN: [Known; 5] = [
    Known {
        folder: "/var/lib/containerd",
        programs: &["containerd"],
    },
    Known {
        folder: "/var/lib/containers",
        programs: &["podman", "buildah", "crio"],
    },
    Known {
        folder: "/var/lib/docker",
        programs: &["dockerd"],
    },
    Known {
        folder: "/var/lib/kubelet",
        programs: &["kubelet", "k3s", "rke2"],
    },
    Known {
        folder: "/var/lib/rancher",
        programs: &["k3s", "rke2"],
    },
];

/// Where programs are looked for.
pub const PROGRAM_FOLDERS: [&str; 6] = [
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/bin",
    "/sbin",
];

/// Files of the image that name more folders, one a line.
pub const LISTS: &str = "/etc/ramboot/tmpfs.d";

/// Of these files, in the order of their names; the rest is not read.
pub const MAX_LISTS: usize = 64;

/// Bytes of one that are read.
pub const MAX_LIST_BYTES: u64 = 16 * 1024;

/// How many folders a command line names at most.
pub const MAX_NAMED: usize = 16;

/// How many a worker has at most.
pub const MAX_FOLDERS: usize = 64;

/// Longest path.
const MAX_PATH_BYTES: usize = 200;

/// An absolute path of plain names. Neither the root nor one of the folders that `/init` mounts by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TmpfsFolder(String);

/// Why a text is not the path of such a folder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTmpfsFolder {
    /// No absolute path, or one that has to be thought about.
    #[error(
        "an absolute path such as /var/lib/docker is wanted, without // . or .., of letters, digits and . - _ + @ :, at most {MAX_PATH_BYTES} bytes"
    )]
    Path,
    /// These are mounts of their own in every worker.
    #[error("/, and what is in {} cannot be on the writable tmpfs: name a folder that is on the disk of other machines", MOUNT_POINTS.join(", "))]
    Mounted,
}

impl TmpfsFolder {
    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it lies in `other`, at any depth.
    fn is_below(&self, other: &Self) -> bool {
        let rest = self.0.strip_prefix(&other.0);
        rest.is_some_and(|rest| rest.starts_with('/'))
    }
}

impl fmt::Display for TmpfsFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TmpfsFolder {
    type Err = BadTmpfsFolder;

    fn from_str(text: &str) -> Result<Self, BadTmpfsFolder> {
        let names = text.strip_prefix('/').ok_or(BadTmpfsFolder::Path)?;
        let names = names.strip_suffix('/').unwrap_or(names);
        if names.is_empty() {
            return Err(BadTmpfsFolder::Mounted);
        }
        // None of these has a meaning on a kernel command line, in iPXE or in a list.
        let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_+@:".contains(&b);
        let good = |name: &str| !matches!(name, "" | "." | "..") && name.bytes().all(plain);
        if names.len() >= MAX_PATH_BYTES || !names.split('/').all(good) {
            return Err(BadTmpfsFolder::Path);
        }
        let folder = Self(format!("/{names}"));
        let mounts = MOUNT_POINTS.map(|mount| Self(mount.to_owned()));
        if mounts
            .iter()
            .any(|mount| folder == *mount || folder.is_below(mount))
        {
            return Err(BadTmpfsFolder::Mounted);
        }
        Ok(folder)
    }
}

/// The lines of one file of [`LISTS`]: paths, or why a line is none. Empty ones and those that begin with `#` say nothing.
pub fn lines(text: &str) -> impl Iterator<Item = Result<TmpfsFolder, (&str, BadTmpfsFolder)>> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.parse().map_err(|error| (line, error)))
}

/// Which folders a worker has: of [`KNOWN`] those that the image has, or a program that uses them; and those that are `named`.
/// What lies in another one is there with it.
pub fn chosen(
    mut is_there: impl FnMut(&str) -> bool,
    named: impl IntoIterator<Item = TmpfsFolder>,
) -> Vec<TmpfsFolder> {
    let known = KNOWN.iter().filter(|known| {
        is_there(known.folder)
            || known.programs.iter().any(|program| {
                PROGRAM_FOLDERS
                    .iter()
                    .any(|folder| is_there(&format!("{folder}/{program}")))
            })
    });
    let known = known.map(|known| TmpfsFolder(known.folder.to_owned()));
    let mut all: Vec<TmpfsFolder> = known.chain(named).collect();
    all.sort_unstable();
    all.dedup();
    let mut outer: Vec<TmpfsFolder> = Vec::new();
    for folder in all {
        if !outer.iter().any(|other| folder.is_below(other)) {
            outer.push(folder);
        }
    }
    outer.truncate(MAX_FOLDERS);
    outer
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folders(paths: &[&str]) -> Vec<TmpfsFolder> {
        let folder = |path: &&str| path.parse().expect("a folder");
        paths.iter().map(folder).collect()
    }

    #[test]
    fn known_folders_are_chosen_by_themselves_or_by_who_uses_them() {
        let chosen = |there: &[&str], named: &[&str]| {
            let found = chosen(|path| there.contains(&path), folders(named));
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(chosen(&["/usr/bin/bash", "/var/lib"], &[]), [""; 0]);
        assert_eq!(
            chosen(&["/usr/bin/podman"], &[]),
            ["/var/lib/containers"],
            "apt install podman makes no folder"
        );
        assert_eq!(chosen(&["/var/lib/docker"], &[]), ["/var/lib/docker"]);
        assert_eq!(
            chosen(&["/usr/local/bin/k3s", "/usr/sbin/dockerd"], &["/srv/x/"]),
            [
                "/srv/x",
                "/var/lib/docker",
                "/var/lib/kubelet",
                "/var/lib/rancher"
            ]
        );
        assert_eq!(
            chosen(
                &["/var/lib/docker"],
                &[
                    "/var/lib/docker",
                    "/var/lib/docker/volumes",
                    "/var/lib/docker-x"
                ]
            ),
            ["/var/lib/docker", "/var/lib/docker-x"]
        );
    }

    #[test]
    fn what_is_no_such_folder_is_refused() {
        for (text, error) in [
            ("", BadTmpfsFolder::Path),
            ("var/lib/docker", BadTmpfsFolder::Path),
            ("/var//lib", BadTmpfsFolder::Path),
            ("/var/../etc", BadTmpfsFolder::Path),
            ("/var/./lib", BadTmpfsFolder::Path),
            ("/var/lib/a b", BadTmpfsFolder::Path),
            ("/a,/b", BadTmpfsFolder::Path),
            ("/a\"", BadTmpfsFolder::Path),
            ("/", BadTmpfsFolder::Mounted),
            ("/run", BadTmpfsFolder::Mounted),
            ("/dev/shm", BadTmpfsFolder::Mounted),
        ] {
            assert_eq!(text.parse::<TmpfsFolder>(), Err(error), "{text}");
        }
        let long = format!("/{}", "x".repeat(MAX_PATH_BYTES));
        assert_eq!(long.parse::<TmpfsFolder>(), Err(BadTmpfsFolder::Path));
        assert_eq!(folders(&["/running"])[0].as_str(), "/running");
    }

    #[test]
    fn a_list_has_a_path_a_line() {
        let found: Vec<_> =
            lines("# for the build farm\n\n /srv/cache/ \r\nsrv\n/var/lib/x").collect();
        assert_eq!(
            found,
            [
                Ok(folders(&["/srv/cache"]).remove(0)),
                Err(("srv", BadTmpfsFolder::Path)),
                Ok(folders(&["/var/lib/x"]).remove(0)),
            ]
        );
    }

    proptest! {
        #[test]
        fn no_chosen_folder_lies_in_another(named in proptest::collection::vec("(/[ab]){1,4}", 0..12)) {
            let named = folders(&named.iter().map(String::as_str).collect::<Vec<_>>());
            let outer = chosen(|_| false, named.clone());
            for folder in &named {
                let over = outer.iter().filter(|other| folder == *other || folder.is_below(other));
                prop_assert_eq!(over.count(), 1, "{}", folder);
            }
        }

        #[test]
        fn any_text_is_refused_or_read_back(text in "\\PC{0,20}|(/[a-z.]{0,3}){1,6}") {
            if let Ok(folder) = text.parse::<TmpfsFolder>() {
                prop_assert_eq!(folder.to_string().parse::<TmpfsFolder>(), Ok(folder));
            }
        }
    }
}
