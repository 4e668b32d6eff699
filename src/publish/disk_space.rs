//! Room for an image in the store: too little is refused before a byte is copied, and a disk that becomes full
//! nevertheless is told in numbers.
//!
//! Only the image is counted beforehand. How large its boot files become is known when they are made, and a disk with
//! room for the one and not for the other is found full then.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::io::Errno;

use super::summary::size;

/// A publish makes about twenty files and folders.
const MANY_FILES: u64 = 32;

/// What a file system still takes from who is not root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Free {
    pub(super) bytes: u64,
    /// Files and folders; `None` where they are not counted (btrfs).
    pub(super) files: Option<u64>,
}

/// What the file system of `folder` has left.
///
/// # Errors
/// The kernel does not say.
pub(super) fn free(folder: &Path) -> anyhow::Result<Free> {
    let stat = rustix::fs::statvfs(folder)
        .with_context(|| format!("asking for the free space of {}", folder.display()))?;
    Ok(Free {
        bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        files: (stat.f_files > 0).then_some(stat.f_favail),
    })
}

/// The store cannot take the image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no room in {}: the image needs {} there, its kernel and initramfs some more; {}",
    state.display(),
    size(*image),
    Left(*free, *image)
)]
pub(super) struct NoRoom {
    state: PathBuf,
    image: u64,
    free: Free,
}

/// What there is, and so what to do.
struct Left(Free, u64);

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(free, image) = *self;
        let bytes = size(free.bytes);
        let other = "name a folder on another disk by --state";
        match free.files {
            Some(files @ ..MANY_FILES) => write!(
                f,
                "{bytes} are free, but only {files} more files can be made (df -i): remove some, or {other}"
            ),
            // Boot files of three times a usual kernel's: whoever has so much left was stopped by something else.
            _ if free.bytes > image.saturating_add(256 << 20) => write!(
                f,
                "{bytes} are free, so a quota may be the limit, or another program took the room meanwhile: publish again, \
                 or {other}"
            ),
            _ => write!(
                f,
                "{bytes} are free: remove what nobody boots any more, or {other}"
            ),
        }
    }
}

/// Whether an image of so many bytes can be copied at all.
///
/// # Errors
/// It cannot.
pub(super) fn check(state: &Path, image: u64, free: Free) -> Result<(), NoRoom> {
    if image <= free.bytes {
        return Ok(());
    }
    Err(NoRoom {
        state: state.to_owned(),
        image,
        free,
    })
}

/// Puts what a person can do before an error that says only what the kernel said.
///
/// `free` is asked after everything of the failed publish is removed: what can be had for the next one.
pub(super) fn explain(
    error: anyhow::Error,
    state: &Path,
    image: u64,
    free: impl FnOnce() -> anyhow::Result<Free>,
) -> anyhow::Error {
    match Fault::of(&error) {
        Some(Fault::Full) => match free() {
            Ok(free) => error.context(NoRoom {
                state: state.to_owned(),
                image,
                free,
            }),
            Err(_) => error.context(format!("no room in {}", state.display())),
        },
        Some(Fault::Broken) => error.context(format!(
            "a disk failed while publishing into {}; the kernel says which (dmesg); repair it, or name a folder on another \
             disk by --state",
            state.display()
        )),
        None => error,
    }
}

/// What disks answer that a person can do something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// ENOSPC, EDQUOT
    Full,
    /// EIO
    Broken,
}

impl Fault {
    /// The fault among the causes of an error, if it is one.
    fn of(error: &anyhow::Error) -> Option<Self> {
        error.chain().find_map(|cause| {
            let errno = cause.downcast_ref::<Errno>();
            if let Some(&errno) = errno {
                return Self::of_io(&errno.into());
            }
            Self::of_io(cause.downcast_ref()?)
        })
    }

    fn of_io(error: &io::Error) -> Option<Self> {
        match error.kind() {
            // tempfile keeps the kind of an error and not its number.
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(Self::Full),
            _ if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => Some(Self::Broken),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;
    use std::io;

    const GIB: u64 = 1 << 30;

    fn free(bytes: u64, files: Option<u64>) -> Free {
        Free { bytes, files }
    }

    #[test]
    fn an_image_larger_than_the_disk_is_not_begun() {
        let state = Path::new("/srv/boot");
        assert_eq!(check(state, 100, free(100, None)), Ok(()));
        assert_eq!(check(state, 100, free(GIB, Some(9))), Ok(()));
        let refused = check(state, 205_586_432, free(12_300_000, None)).expect_err("too little");
        assert_eq!(
            refused.to_string(),
            "no room in /srv/boot: the image needs 205.6 MB (205 586 432 bytes) there, its kernel and initramfs some \
             more; 12.3 MB (12 300 000 bytes) are free: remove what nobody boots any more, or name a folder on another disk \
             by --state"
        );
    }

    #[test]
    fn a_full_disk_is_told_in_numbers_and_by_its_kind() {
        let full = |errno: i32, free: Free| {
            let error = io::Error::from_raw_os_error(errno);
            let error = Err::<(), _>(error)
                .context("writing x")
                .expect_err("an error");
            format!("{:#}", explain(error, Path::new("/s"), GIB, || Ok(free)))
        };
        let (nospc, dquot) = (Errno::NOSPC.raw_os_error(), Errno::DQUOT.raw_os_error());
        for (errno, left, want) in [
            (
                nospc,
                free(7, Some(99)),
                "0.0 MB (7 bytes) are free: remove what",
            ),
            (
                nospc,
                free(GIB, Some(0)),
                "only 0 more files can be made (df -i)",
            ),
            (dquot, free(9 * GIB, None), "a quota may be the limit"),
        ] {
            let said = full(errno, left);
            assert!(
                said.starts_with("no room in /s: the image needs 1073.7 MB"),
                "{said}"
            );
            assert!(
                said.contains(want) && said.contains(": writing x: "),
                "{said}"
            );
        }
        let said = full(Errno::IO.raw_os_error(), free(7, None));
        assert!(
            said.starts_with("a disk failed while publishing into /s;"),
            "{said}"
        );
        let said = full(Errno::ACCESS.raw_os_error(), free(7, None));
        assert!(said.starts_with("writing x: Permission denied"), "{said}");
    }

    #[test]
    fn errors_of_both_kinds_are_looked_for_behind_their_contexts() {
        let error = anyhow::Error::from(Errno::NOSPC)
            .context("renaming")
            .context("publishing");
        assert_eq!(Fault::of(&error), Some(Fault::Full));
        let wrapped = io::Error::new(io::ErrorKind::StorageFull, "as tempfile does");
        assert_eq!(Fault::of(&wrapped.into()), Some(Fault::Full));
        assert_eq!(Fault::of(&anyhow!("the image is empty")), None);
        let unknown = explain(error, Path::new("/s"), 1, || Err(anyhow!("gone")));
        assert!(format!("{unknown:#}").starts_with("no room in /s: publishing: renaming"));
    }
}
