//! Gives one file what another has beside its content: owner, mode, extended attributes, time. For files nobody else changes.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{
    AtFlags, CWD, Timespec, Timestamps, XattrFlags, lgetxattr, llistxattr, lsetxattr, utimensat,
};
use rustix::io::Errno;

/// Where overlayfs keeps what it must know of its own layers.
pub const OVERLAY: &[u8] = b"trusted.overlay.";

/// Owner and mode, then of the extended attributes those whose name `keeps` wants. Links are not followed.
///
/// An attribute that this file system or this kernel does not take is left out: tmpfs has `user.*` since Linux 6.6.
///
/// # Errors
/// `to` does not take its owner or mode, or there is no room.
pub fn copy(
    from: &Path,
    to: &Path,
    like: &Metadata,
    keeps: impl Fn(&OsStr) -> bool,
) -> io::Result<()> {
    // A change of the owner takes set-user-id bits and capabilities away.
    lchown(to, Some(like.uid()), Some(like.gid()))?;
    if !like.is_symlink() {
        fs::set_permissions(to, Permissions::from_mode(like.mode() & 0o7777))?;
    }
    for name in names(from)?.into_iter().filter(|name| keeps(name)) {
        let Some(value) = value(from, &name)? else {
            continue;
        };
        match lsetxattr(to, &name, &value, XattrFlags::empty()) {
            // The last two are for labels that the policy in force does not know.
            Ok(()) | Err(Errno::NOTSUP | Errno::PERM | Errno::ACCESS | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// When `to` was last changed: as `like`.
///
/// # Errors
/// Those of the kernel.
pub fn copy_time(to: &Path, like: &Metadata) -> io::Result<()> {
    let time = Timespec {
        tv_sec: like.mtime(),
        tv_nsec: like.mtime_nsec(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Names of all extended attributes.
fn names(path: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::with_capacity(MAX_BYTES);
    match llistxattr(path, spare_capacity(&mut names)) {
        Ok(_) => {}
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    }
    let names = names.split(|byte| *byte == 0).filter(|n| !n.is_empty());
    Ok(names
        .map(|name| OsString::from_vec(name.to_vec()))
        .collect())
}

fn value(path: &Path, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
    let mut value = Vec::with_capacity(MAX_BYTES);
    match lgetxattr(path, name, spare_capacity(&mut value)) {
        Ok(_) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether overlayfs wrote the attribute for a layer of its own.
#[must_use]
pub fn is_overlay(name: &OsStr) -> bool {
    name.as_bytes().starts_with(OVERLAY)
}

/// XATTR_LIST_MAX and XATTR_SIZE_MAX (`linux/limits.h`).
pub const MAX_BYTES: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_taken_over_but_what_is_not_wanted() {
        // On a disk as a rule: tmpfs takes user.* since Linux 6.6 only.
        let folder = Path::new("/var/tmp").join(format!("ramboot-like-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("folder");
        let (from, to) = (folder.join("from"), folder.join("to"));
        fs::write(&from, "").expect("file");
        fs::write(&to, "").expect("file");
        fs::set_permissions(&from, Permissions::from_mode(0o2751)).expect("mode");
        for (name, value) in [("user.one", "1"), ("user.two", "")] {
            lsetxattr(&from, name, value.as_bytes(), XattrFlags::empty()).expect("set");
        }
        let like = fs::symlink_metadata(&from).expect("there");
        copy(&from, &to, &like, |name| name != "user.two").expect("copies");
        copy_time(&to, &like).expect("sets");
        let got = fs::symlink_metadata(&to).expect("there");
        let found = names(&to).expect("lists");
        let one = value(&to, OsStr::new("user.one")).expect("reads");
        let two = value(&to, OsStr::new("user.two")).expect("reads");
        fs::remove_dir_all(&folder).expect("clean up");
        assert_eq!(got.mode(), like.mode());
        assert_eq!(
            (got.mtime(), got.mtime_nsec()),
            (like.mtime(), like.mtime_nsec())
        );
        assert_eq!(found, ["user.one"]);
        assert_eq!((one, two), (Some(b"1".to_vec()), None));
    }

    #[test]
    fn what_overlayfs_wrote_is_known() {
        assert!(is_overlay(OsStr::new("trusted.overlay.opaque")));
        assert!(!is_overlay(OsStr::new("trusted.overlays")));
        assert!(!is_overlay(OsStr::new("security.selinux")));
    }
}
