//! The part of the kernel's FUSE protocol that one read-only file needs (linux/fuse.h, version 7.31): bytes to requests,
//! answers to bytes. Pure. The file is the mount's root itself, so there is no directory.

/// What the kernel asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Which version, and what both can do: the kernel's minor version and flags.
    Init {
        /// Of 7.x.
        minor: u32,
        /// `FUSE_*` flags.
        flags: u32,
    },
    /// What the file is like.
    Attributes,
    /// To use it.
    Open,
    /// So many bytes from there on.
    Read {
        /// From the start of the file.
        offset: u64,
        /// Bytes.
        size: u32,
    },
    /// How full the file system is.
    Statfs,
    /// Something that is done by agreeing.
    Agree,
    /// Something that wants no answer.
    Note,
    /// Something this file cannot do.
    Other,
}

/// A request, and the number its answer carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Its number.
    pub unique: u64,
    /// What it is.
    pub ask: Ask,
}

impl Request {
    /// Reads one; `None` if it is shorter than it has to be.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let body = bytes.get(IN_HEADER..)?;
        let ask = match word(bytes, 4)? {
            OP_FORGET | OP_INTERRUPT | OP_BATCH_FORGET => Ask::Note,
            OP_GETATTR => Ask::Attributes,
            OP_OPEN => Ask::Open,
            OP_READ => Ask::Read {
                offset: long(body, 8)?,
                size: word(body, 16)?,
            },
            OP_STATFS => Ask::Statfs,
            OP_RELEASE | OP_FLUSH | OP_FSYNC | OP_DESTROY => Ask::Agree,
            OP_INIT => Ask::Init {
                minor: word(body, 4)?,
                flags: word(body, 12)?,
            },
            _ => Ask::Other,
        };
        Some(Self {
            unique: long(bytes, 8)?,
            ask,
        })
    }
}

/// The answer to a request: its head, then `body`.
#[must_use]
pub fn answer(unique: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = head(unique, body.len(), 0);
    bytes.extend_from_slice(body);
    bytes
}

/// An answer's head with room for `len` bytes behind it, and those bytes.
#[must_use]
pub fn room(unique: u64, len: usize) -> Vec<u8> {
    let mut bytes = head(unique, len, 0);
    bytes.resize(OUT_HEADER + len, 0);
    bytes
}

/// "This cannot be done" (`ENOSYS`): the kernel does without, and does not ask again.
#[must_use]
pub fn cannot(unique: u64) -> Vec<u8> {
    head(unique, 0, ENOSYS)
}

/// What this side can do, of what the kernel offers: many reads at a time, as large as they come.
#[must_use]
pub fn init(minor: u32, flags: u32) -> Vec<u8> {
    let mut body = Vec::with_capacity(64);
    for value in [7, minor.min(MINOR), READ_AHEAD, flags & WANTED] {
        body.extend(value.to_ne_bytes());
    }
    // max_background, congestion_threshold
    body.extend(BACKGROUND.to_ne_bytes());
    body.extend(BACKGROUND.to_ne_bytes());
    // max_write (the least there is), time_gran
    body.extend(4096_u32.to_ne_bytes());
    body.extend(1_u32.to_ne_bytes());
    // max_pages, map_alignment
    body.extend(MAX_PAGES.to_ne_bytes());
    body.resize(64, 0);
    body
}

/// `struct fuse_attr_out` of a read-only file of `size` bytes, true for a year.
#[must_use]
pub fn attributes(size: u64) -> Vec<u8> {
    let mut body = Vec::with_capacity(104);
    body.extend(31_536_000_u64.to_ne_bytes());
    body.extend([0; 8]);
    // ino, size, blocks; times are 0.
    for value in [1, size, size.div_ceil(512), 0, 0, 0] {
        body.extend(value.to_ne_bytes());
    }
    body.extend([0; 12]);
    // mode, nlink, uid, gid, rdev, blksize, flags
    for value in [S_IFREG | 0o400, 1, 0, 0, 0, 4096, 0_u32] {
        body.extend(value.to_ne_bytes());
    }
    body
}

/// `struct fuse_open_out`: what the kernel has read, it may keep.
#[must_use]
pub fn opened() -> Vec<u8> {
    let mut body = vec![0; 16];
    if let Some(flags) = body.get_mut(8..12) {
        flags.copy_from_slice(&FOPEN_KEEP_CACHE.to_ne_bytes());
    }
    body
}

/// `struct fuse_statfs_out`: a file system without anything free.
#[must_use]
pub fn statfs() -> Vec<u8> {
    vec![0; 80]
}

fn head(unique: u64, len: usize, error: i32) -> Vec<u8> {
    let whole = u32::try_from(OUT_HEADER + len).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(OUT_HEADER + len);
    bytes.extend(whole.to_ne_bytes());
    bytes.extend((-error).to_ne_bytes());
    bytes.extend(unique.to_ne_bytes());
    bytes
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Where an answer's body begins.
pub const OUT_HEADER: usize = 16;
/// Bytes of the largest request there can be: the kernel reads into a buffer of at least 8 KiB.
pub const MAX_REQUEST: usize = 64 * 1024;
/// Bytes that a read asks for at most.
pub const MAX_READ: u32 = MAX_PAGES as u32 * 4096;
const IN_HEADER: usize = 40;
const MINOR: u32 = 31;
const MAX_PAGES: u16 = 256;
const BACKGROUND: u16 = 256;
/// Linux's own; only of use where the loop device cannot read past the page cache.
const READ_AHEAD: u32 = 128 * 1024;
/// `FUSE_ASYNC_READ`, `FUSE_ASYNC_DIO`, `FUSE_MAX_PAGES`.
const WANTED: u32 = 1 | 1 << 15 | 1 << 22;
const FOPEN_KEEP_CACHE: u32 = 2;
const S_IFREG: u32 = 0o100_000;
const ENOSYS: i32 = 38;
const OP_FORGET: u32 = 2;
const OP_GETATTR: u32 = 3;
const OP_OPEN: u32 = 14;
const OP_READ: u32 = 15;
const OP_STATFS: u32 = 17;
const OP_RELEASE: u32 = 18;
const OP_FSYNC: u32 = 20;
const OP_FLUSH: u32 = 25;
const OP_INIT: u32 = 26;
const OP_INTERRUPT: u32 = 36;
const OP_DESTROY: u32 = 38;
const OP_BATCH_FORGET: u32 = 42;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(opcode: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(
            u32::try_from(IN_HEADER + body.len())
                .expect("short")
                .to_ne_bytes(),
        );
        bytes.extend(opcode.to_ne_bytes());
        bytes.extend(77_u64.to_ne_bytes());
        bytes.resize(IN_HEADER, 0);
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn requests_are_read() {
        let mut read = [0; 40];
        read[8..16].copy_from_slice(&(1_u64 << 40).to_ne_bytes());
        read[16..20].copy_from_slice(&131_072_u32.to_ne_bytes());
        let mut init = [0; 16];
        init[4..8].copy_from_slice(&38_u32.to_ne_bytes());
        init[12..16].copy_from_slice(&u32::MAX.to_ne_bytes());
        for (opcode, body, ask) in [
            (
                OP_READ,
                &read[..],
                Ask::Read {
                    offset: 1 << 40,
                    size: 131_072,
                },
            ),
            (
                OP_INIT,
                &init,
                Ask::Init {
                    minor: 38,
                    flags: u32::MAX,
                },
            ),
            (OP_GETATTR, &[], Ask::Attributes),
            (OP_DESTROY, &[], Ask::Agree),
            (OP_FORGET, &[], Ask::Note),
            (1, b"name\0", Ask::Other),
        ] {
            let parsed = Request::parse(&request(opcode, body)).expect("parses");
            assert_eq!(parsed, Request { unique: 77, ask });
        }
        assert_eq!(Request::parse(&request(OP_READ, &read[..19])), None);
        assert_eq!(Request::parse(&[0; 39]), None);
    }

    #[test]
    fn answers_have_the_length_they_say() {
        let bodies = [init(38, u32::MAX), attributes(5), opened(), statfs()];
        assert_eq!(bodies.each_ref().map(Vec::len), [64, 104, 16, 80]);
        for body in bodies {
            let bytes = answer(77, &body);
            assert_eq!(word(&bytes, 0), u32::try_from(bytes.len()).ok());
            assert_eq!((word(&bytes, 4), long(&bytes, 8)), (Some(0), Some(77)));
        }
        assert_eq!(room(77, 4096).len(), 4112);
        assert_eq!(word(&cannot(77), 4), Some((-38_i32).cast_unsigned()));
    }

    #[test]
    fn only_what_both_know_is_agreed_on() {
        assert_eq!(word(&init(38, u32::MAX), 4), Some(31));
        assert_eq!(word(&init(27, 1), 4), Some(27));
        assert_eq!(word(&init(27, 1), 12), Some(1));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::parse(&bytes);
        }
    }
}
