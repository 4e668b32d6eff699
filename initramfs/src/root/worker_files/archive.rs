//! A cpio archive ("newc", Documentation/driver-api/early-userspace/buffer-format.rst), as far as worker files need it:
//! bytes to entries. Pure.
//!
//! Refused, and the whole archive with it: a path that is not plain (absolute, `..`, `.`, empty parts), what is neither
//! file nor folder nor symbolic link, more than a worker takes, and bytes that are not accounted for.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use ramboot_wire::cpio::{self, FILE, FOLDER, LINK, MAX_NAME_BYTES, Reader, TRAILER};
use ramboot_wire::files::MAX_ENTRIES;

/// One file, folder or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The folder it is in, relative to the root; `.` for the root itself.
    pub folder: OsString,
    /// Its name in there.
    pub name: OsString,
    /// The lower twelve bits of `st_mode`.
    pub mode: u32,
    /// Number of its user.
    pub uid: u32,
    /// Number of its group.
    pub gid: u32,
    /// What it is.
    pub node: Node,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A folder.
    Folder,
    /// A file.
    File(Vec<u8>),
    /// A symbolic link, and where it leads.
    Link(OsString),
}

/// Why bytes are no archive for a worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// Not the format, or cut.
    #[error("worker files: no cpio archive at byte {0}")]
    Form(usize),
    /// A path that could lead out of the root, or to no file.
    #[error("worker files: {0:?} is not a plain path")]
    Path(String),
    /// A device, a pipe, a socket.
    #[error("worker files: {path:?} is neither file nor folder nor symbolic link (mode {mode:o})")]
    Kind {
        /// Which one.
        path: String,
        /// All of `st_mode`.
        mode: u32,
    },
    /// More than a worker takes.
    #[error("worker files: more than {MAX_ENTRIES} entries")]
    Entries,
}

/// Reads all of an archive.
///
/// # Errors
/// See [`ArchiveError`].
pub fn parse(archive: &[u8]) -> Result<Vec<Entry>, ArchiveError> {
    let mut reader = Reader::new(archive);
    let mut entries = Vec::new();
    loop {
        let form = ArchiveError::Form(reader.at());
        let next = reader.entry().ok_or(form)?;
        if next.name == TRAILER.as_bytes() {
            // The kernel's own unpacker takes zeros between archives; anything else would be bytes nobody looked at.
            return match reader.rest().iter().all(|byte| *byte == 0) {
                true => Ok(entries),
                false => Err(ArchiveError::Form(reader.at())),
            };
        }
        if entries.len() == MAX_ENTRIES {
            return Err(ArchiveError::Entries);
        }
        entries.push(entry(next)?);
    }
}

fn entry(read: cpio::Entry<'_>) -> Result<Entry, ArchiveError> {
    let cpio::Entry {
        meta,
        name: path,
        content,
    } = read;
    let shown = || String::from_utf8_lossy(path).chars().take(200).collect();
    let is_plain = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
    if path.len() > MAX_PATH || !path.split(|byte| *byte == b'/').all(is_plain) {
        return Err(ArchiveError::Path(shown()));
    }
    let slash = path.iter().rposition(|byte| *byte == b'/');
    let (folder, name) = match slash.and_then(|at| path.split_at_checked(at)) {
        Some((folder, name)) => (folder, name.get(1..).unwrap_or_default()),
        None => (&b"."[..], path),
    };
    let node = match meta.mode & !PERMISSIONS {
        FOLDER if content.is_empty() => Node::Folder,
        FILE => Node::File(content.to_vec()),
        // A target with a NUL would be another one to the kernel.
        LINK if !content.is_empty() && !content.contains(&0) => {
            Node::Link(OsString::from_vec(content.to_vec()))
        }
        _ => {
            return Err(ArchiveError::Kind {
                path: shown(),
                mode: meta.mode,
            });
        }
    };
    Ok(Entry {
        folder: OsString::from_vec(folder.to_vec()),
        name: OsString::from_vec(name.to_vec()),
        mode: meta.mode & PERMISSIONS,
        uid: meta.uid,
        gid: meta.gid,
        node,
    })
}

/// A path, without the NUL.
const MAX_PATH: usize = MAX_NAME_BYTES - 1;
const PERMISSIONS: u32 = 0o7777;

#[cfg(test)]
pub(in crate::root) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An archive with these paths, modes and contents, of this user.
    pub(in crate::root) fn pack(entries: &[(&str, u32, &[u8])], uid: u32, gid: u32) -> Vec<u8> {
        let mut out = Vec::new();
        for (path, mode, content) in entries.iter().chain(&[("TRAILER!!!", 0, &b""[..])]) {
            let (size, name) = (content.len(), path.len() + 1);
            let numbers = [1, *mode, uid, gid, 1, 0].map(|number| format!("{number:08x}"));
            out.extend_from_slice(b"070701");
            out.extend_from_slice(numbers.concat().as_bytes());
            out.extend_from_slice(format!("{size:08x}{:032x}{name:08x}{:08x}", 0, 0).as_bytes());
            out.extend_from_slice(path.as_bytes());
            out.push(0);
            out.resize(out.len().next_multiple_of(4), 0);
            out.extend_from_slice(content);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    }

    fn one(path: &str, mode: u32, content: &[u8]) -> Result<Vec<Entry>, ArchiveError> {
        parse(&pack(&[(path, mode, content)], 7, 8))
    }

    #[test]
    fn what_is_packed_is_read() {
        let entries = one("etc/ssh/key", 0o104_600, b"secret").expect("an archive");
        let want = Entry {
            folder: "etc/ssh".into(),
            name: "key".into(),
            mode: 0o4600,
            uid: 7,
            gid: 8,
            node: Node::File(b"secret".to_vec()),
        };
        assert_eq!(entries, [want]);
        let root = one("etc", 0o040_755, b"").expect("an archive");
        assert_eq!(
            (root[0].folder.to_str(), &root[0].node),
            (Some("."), &Node::Folder)
        );
        let link = one("a", 0o120_777, b"/b/../c").expect("an archive");
        assert_eq!(link[0].node, Node::Link("/b/../c".into()));
        assert_eq!(parse(&pack(&[], 0, 0)), Ok(Vec::new()));
    }

    #[test]
    fn hostile_archives_are_refused_whole() {
        for path in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../b",
            "a/..",
            "./a",
            "a/./b",
            "a//b",
            "a/",
            "a\0b",
        ] {
            let error = one(path, 0o100_644, b"x").expect_err(path);
            assert_eq!(error, ArchiveError::Path(path.to_owned()));
        }
        one(&"a".repeat(4096), 0o100_644, b"").expect_err("longer than the kernel takes");
        for (mode, content) in [
            (0o020_600, &b""[..]),
            (0o060_600, b""),
            (0o010_600, b""),
            (0o140_600, b""),
            (0o000_644, b""),
            (0o200_100_644, b""),
            (0o040_755, b"content"),
            (0o120_777, b""),
            (0o120_777, b"a\0b"),
        ] {
            let path = "dev/x".to_owned();
            assert_eq!(
                one(&path, mode, content),
                Err(ArchiveError::Kind { path, mode })
            );
        }
        let many = vec![("a", 0o040_755, &b""[..]); MAX_ENTRIES + 1];
        assert_eq!(parse(&pack(&many, 0, 0)), Err(ArchiveError::Entries));
        parse(&pack(&many[1..], 0, 0)).expect("as many as there can be");
    }

    #[test]
    fn every_cut_and_every_addition_is_noticed() {
        let whole = pack(
            &[("etc", 0o040_755, b""), ("etc/a", 0o100_644, b"abc")],
            0,
            0,
        );
        for cut in 0..whole.len() {
            parse(&whole[..cut]).expect_err("cut");
        }
        let mut longer = whole.clone();
        longer.extend([0; 512]);
        assert_eq!(parse(&longer), parse(&whole));
        longer.push(b'0');
        assert_eq!(parse(&longer), Err(ArchiveError::Form(whole.len())));
        let mut odd = whole;
        odd[6] = b'+';
        assert_eq!(parse(&odd), Err(ArchiveError::Form(0)));
    }

    proptest! {
        #[test]
        fn never_panics(mut archive in Just(pack(&[("a", 0o040_755, b""), ("a/b", 0o100_644, b"abc")], 1, 2)),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
            for (at, byte) in flips {
                let at = at.index(archive.len());
                archive[at] = byte;
            }
            if let Ok(entries) = parse(&archive) {
                for entry in entries {
                    let folder = entry.folder.to_string_lossy().into_owned();
                    prop_assert!(folder == "." || folder.split('/').all(|part| !part.is_empty() && part != ".."));
                    prop_assert!(!entry.name.is_empty() && entry.name != ".." && entry.name != ".");
                }
            }
        }

        #[test]
        fn never_panics_on_anything(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }
    }
}
