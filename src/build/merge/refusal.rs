//! Why a stack of layers cannot be taken, in sentences.

use super::{MAX_ENTRIES, MAX_KEPT_BYTES, MAX_LINKS};
use crate::build::entry::MAX_CONTENT_BYTES;
use crate::build::names::BadName;

/// Why an entry cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its name.
    #[error("the name {name:?} cannot be taken: {why}")]
    Name {
        /// As the archive has it.
        name: String,
        /// What is wrong.
        why: BadName,
    },
    /// A folder on its way is something else.
    #[error("{name:?} is below {through:?}, which is not a folder")]
    Through {
        /// As the archive has it.
        name: String,
        /// What is in the way.
        through: String,
    },
    /// Links without an end.
    #[error("{0:?} goes through more than {MAX_LINKS} symbolic links")]
    Loop(String),
    /// A hard link to nothing.
    #[error("{name:?} is a hard link to {to:?}, which {why}")]
    Hardlink {
        /// As the archive has it.
        name: String,
        /// As the archive has it.
        to: String,
        /// A clause.
        why: &'static str,
    },
    /// The root is no folder.
    #[error("{0:?} would be the root, and is not a folder")]
    Root(String),
    /// An attribute that no file system has.
    #[error(
        "{name:?} has an extended attribute of {bytes} bytes under a name of {name_bytes}; the kernel has none that large"
    )]
    Xattr {
        /// As the archive has it.
        name: String,
        /// Of the value.
        bytes: usize,
        /// Of the attribute's name.
        name_bytes: usize,
    },
    /// See [`MAX_ENTRIES`], [`MAX_KEPT_BYTES`] and [`MAX_CONTENT_BYTES`].
    #[error(
        "at {0:?} there are more than {MAX_ENTRIES} entries, {MAX_KEPT_BYTES} bytes of names, or {MAX_CONTENT_BYTES} bytes of files: no machine holds that in its RAM"
    )]
    TooMuch(String),
}
