//! Names as untrusted archives have them become paths below the root, or are refused.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Linux's `PATH_MAX`, less the slash in front.
pub const MAX_PATH_BYTES: usize = 4095;
/// Linux's `NAME_MAX`; squashfs has one more.
pub const MAX_NAME_BYTES: usize = 255;
/// Folders above each other: what people pack has fewer than 60.
pub const MAX_DEPTH: usize = 256;

/// Why a name cannot be a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing.
    #[error("it is empty")]
    Empty,
    /// Leads upward.
    #[error("it has .. in it")]
    Parent,
    /// No name can have it.
    #[error("it has a NUL byte in it")]
    Nul,
    /// See [`MAX_PATH_BYTES`], [`MAX_NAME_BYTES`] and [`MAX_DEPTH`].
    #[error(
        "it is longer than {MAX_PATH_BYTES} bytes, has a part longer than {MAX_NAME_BYTES}, or more than {MAX_DEPTH} parts"
    )]
    Long,
}

/// The parts of a name below the root: without leading slashes, as tar itself takes it, and without `.`; none for the root.
///
/// # Errors
/// See [`BadName`].
pub fn parts(name: &[u8]) -> Result<Vec<&[u8]>, BadName> {
    if name.is_empty() {
        return Err(BadName::Empty);
    }
    if name.contains(&0) {
        return Err(BadName::Nul);
    }
    let parts = name.split(|byte| *byte == b'/');
    let parts: Vec<&[u8]> = parts.filter(|part| !matches!(*part, b"" | b".")).collect();
    if parts.contains(&&b".."[..]) {
        return Err(BadName::Parent);
    }
    let long = parts.iter().any(|part| part.len() > MAX_NAME_BYTES);
    if long || name.len() > MAX_PATH_BYTES || parts.len() > MAX_DEPTH {
        return Err(BadName::Long);
    }
    Ok(parts)
}

/// Bytes as a path.
#[must_use]
pub fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

/// A path's bytes.
#[must_use]
pub fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_parts_or_is_refused() {
        let etc: Vec<&[u8]> = vec![b"etc", b"x"];
        for name in ["etc/x", "./etc/x", "/etc/x", "//etc/./x/"] {
            assert_eq!(parts(name.as_bytes()), Ok(etc.clone()), "{name}");
        }
        for root in [".", "./", "/"] {
            assert_eq!(parts(root.as_bytes()), Ok(vec![]), "{root}");
        }
        let deep = "a/".repeat(MAX_DEPTH + 1);
        for (name, why) in [
            ("", BadName::Empty),
            ("..", BadName::Parent),
            ("etc/../../x", BadName::Parent),
            ("etc\0x", BadName::Nul),
            (&"n".repeat(256), BadName::Long),
            (&deep, BadName::Long),
        ] {
            assert_eq!(parts(name.as_bytes()), Err(why), "{name}");
        }
        assert!(parts(b"...").is_ok_and(|parts| parts == [b"..."]));
    }
}
