//! A cpio archive as the kernel unpacks it ("newc", Documentation/driver-api/early-userspace/buffer-format.rst): the one
//! codec for what is written and read, an entry at a time. What may be in an archive is for its reader to say.

/// Bytes of what stands before a name: magic, then thirteen numbers of eight hexadecimal digits.
pub const HEAD_BYTES: usize = MAGIC.len() + NUMBERS * DIGITS;

/// The name of the entry that ends an archive.
pub const TRAILER: &str = "TRAILER!!!";

/// The kernel's buffer for a name, with its NUL (PATH_MAX).
pub const MAX_NAME_BYTES: usize = 4096;

/// The type of a file among the bits of its mode (S_IFMT).
pub const TYPE: u32 = 0o170_000;
/// A folder (S_IFDIR).
pub const FOLDER: u32 = 0o040_000;
/// A file (S_IFREG).
pub const FILE: u32 = 0o100_000;
/// A symbolic link (S_IFLNK).
pub const LINK: u32 = 0o120_000;
/// A character device (S_IFCHR).
pub const DEVICE: u32 = 0o020_000;

const MAGIC: &[u8] = b"070701";
const NUMBERS: usize = 13;
const DIGITS: usize = 8;
/// Bytes of [`TRAILER`] and its NUL.
const TRAILER_LEN: u32 = 11;

/// What an archive says of an entry beside its name and content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Meta {
    /// Its number in the archive.
    pub inode: u32,
    /// Type and permissions, as in `st_mode`.
    pub mode: u32,
    /// Number of its user.
    pub uid: u32,
    /// Number of its group.
    pub gid: u32,
    /// Major and minor number of the device that it is.
    pub device: (u32, u32),
}

/// What stands before a name and a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What the entry is.
    pub meta: Meta,
    /// Bytes of its name, with the NUL at the end.
    pub name_len: u32,
    /// Bytes of its content.
    pub content_len: u32,
}

/// One entry of an archive in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What it is.
    pub meta: Meta,
    /// Its name, without the NUL.
    pub name: &'a [u8],
    /// Its content; of a symbolic link, where it leads.
    pub content: &'a [u8],
}

/// Content that the format cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpioError {
    /// 4 GiB and more.
    #[error("{0} has {1} bytes; a file in an initramfs can have 4294967295")]
    File(String, usize),
    /// Longer than the kernel reads.
    #[error("a path of {0} bytes; {MAX_NAME_BYTES} are possible in an initramfs")]
    Name(usize),
}

impl Head {
    /// Reads the head that `bytes` begin with; `None` if they do not begin with one.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let digits = bytes.get(..HEAD_BYTES)?.strip_prefix(MAGIC)?;
        let mut numbers = [0; NUMBERS];
        for (number, digits) in numbers.iter_mut().zip(digits.chunks_exact(DIGITS)) {
            // from_str_radix alone would take "+f".
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            *number = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        // Links, time, the device it was on, and a checksum that this format leaves zero.
        let [
            inode,
            mode,
            uid,
            gid,
            _,
            _,
            content_len,
            _,
            _,
            major,
            minor,
            name_len,
            _,
        ] = numbers;
        Some(Self {
            meta: Meta {
                inode,
                mode,
                uid,
                gid,
                device: (major, minor),
            },
            name_len,
            content_len,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let Meta {
            inode,
            mode,
            uid,
            gid,
            device: (major, minor),
        } = self.meta;
        let links = if mode & TYPE == FOLDER { 2 } else { 1 };
        let (name_len, content_len) = (self.name_len, self.content_len);
        out.extend_from_slice(MAGIC);
        for number in [
            inode,
            mode,
            uid,
            gid,
            links,
            0,
            content_len,
            0,
            0,
            major,
            minor,
            name_len,
            0,
        ] {
            out.extend_from_slice(format!("{number:08x}").as_bytes());
        }
    }
}

/// Appends an entry to an archive.
///
/// # Errors
/// Name or content are too large for the format; nothing is appended then.
pub fn append(out: &mut Vec<u8>, name: &str, meta: Meta, content: &[u8]) -> Result<(), CpioError> {
    if name.len() >= MAX_NAME_BYTES {
        return Err(CpioError::Name(name.len()));
    }
    let too_large = |_| CpioError::File(name.to_owned(), content.len());
    let head = Head {
        meta,
        name_len: u32::try_from(name.len() + 1).unwrap_or(u32::MAX),
        content_len: u32::try_from(content.len()).map_err(too_large)?,
    };
    put(out, name, head, content);
    Ok(())
}

/// Ends an archive.
pub fn finish(out: &mut Vec<u8>) {
    let head = Head {
        meta: Meta::default(),
        name_len: TRAILER_LEN,
        content_len: 0,
    };
    put(out, TRAILER, head, &[]);
}

fn put(out: &mut Vec<u8>, name: &str, head: Head, content: &[u8]) {
    head.write(out);
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Reads an archive in memory, entry by entry.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    archive: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// At the beginning of `archive`.
    #[must_use]
    pub const fn new(archive: &'a [u8]) -> Self {
        Self { archive, at: 0 }
    }

    /// Where the next entry begins.
    #[must_use]
    pub const fn at(&self) -> usize {
        self.at
    }

    /// What was not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.archive.get(self.at..).unwrap_or_default()
    }

    /// The next entry, [`TRAILER`] too; `None` if the bytes are not one, or are cut off. Only whole entries count as read.
    pub fn entry(&mut self) -> Option<Entry<'a>> {
        let head = Head::parse(self.rest())?;
        let mut at = self.at + HEAD_BYTES;
        // A content begins at a multiple of four from the archive's beginning, and so does what follows it.
        let mut padded = |len: u32| {
            let end = at.checked_add(usize::try_from(len).ok()?)?;
            let taken = self.archive.get(at..end)?;
            at = end.checked_next_multiple_of(4)?;
            (at <= self.archive.len()).then_some(taken)
        };
        let name = padded(head.name_len)?.strip_suffix(b"\0")?;
        let content = padded(head.content_len)?;
        self.at = at;
        Some(Entry {
            meta: head.meta,
            name,
            content,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HELLO: &str = "07070100000001000081ed00000007000000080000000100000000000000050000000000000000000000050000000100000005\
                         00000000init\0\0hello\0\0\0";
    const END: &str = "07070100000000000000000000000000000000000000010000000000000000000000000000000000000000000000000000000b\
                       00000000TRAILER!!!\0\0\0\0";
    const META: Meta = Meta {
        inode: 1,
        mode: 0o100_755,
        uid: 7,
        gid: 8,
        device: (5, 1),
    };

    #[test]
    fn byte_by_byte() {
        let mut out = Vec::new();
        append(&mut out, "init", META, b"hello").expect("fits");
        finish(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), format!("{HELLO}{END}"));
        let mut reader = Reader::new(&out);
        let init = Entry {
            meta: META,
            name: b"init",
            content: b"hello",
        };
        assert_eq!(reader.entry(), Some(init));
        assert_eq!(reader.at(), HELLO.len());
        assert_eq!(reader.entry().map(|e| e.name), Some(TRAILER.as_bytes()));
        assert_eq!((reader.rest(), reader.entry()), (&[][..], None));
    }

    #[test]
    fn what_the_format_cannot_hold() {
        let mut out = Vec::new();
        let long = "a".repeat(MAX_NAME_BYTES);
        let refused = append(&mut out, &long, META, &[]);
        assert_eq!(refused, Err(CpioError::Name(MAX_NAME_BYTES)));
        assert!(out.is_empty());
        append(&mut out, &long[1..], META, &[]).expect("the longest");
    }

    #[test]
    fn heads_that_are_none() {
        let good = HELLO.as_bytes();
        for (at, byte) in [(0, b'1'), (5, b'2'), (6, b'+'), (13, b'g'), (109, b' ')] {
            let mut bad = good.to_vec();
            bad[at] = byte;
            assert_eq!(Head::parse(&bad), None, "{at}");
        }
        // A name without its NUL.
        let text = HELLO.replacen("init\0", "inits", 1);
        assert_eq!(Reader::new(text.as_bytes()).entry(), None);
        // A length that no address reaches.
        let text = HELLO.replacen("0000000500000000init", "ffffffff00000000init", 1);
        assert_eq!(Reader::new(text.as_bytes()).entry(), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_nothing_of_what_is_cut(
            entries in prop::collection::vec(("[a-z/]{1,9}", any::<[u32; 6]>(), prop::collection::vec(any::<u8>(), 0..9)), 0..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let meta = |n: [u32; 6]| Meta { inode: n[0], mode: n[1], uid: n[2], gid: n[3], device: (n[4], n[5]) };
            let mut out = Vec::new();
            let mut ends = vec![0];
            for (name, numbers, content) in &entries {
                append(&mut out, name, meta(*numbers), content).expect("fits");
                ends.push(out.len());
            }
            let mut reader = Reader::new(&out);
            for (name, numbers, content) in &entries {
                let want = Entry { meta: meta(*numbers), name: name.as_bytes(), content };
                prop_assert_eq!(reader.entry(), Some(want));
            }
            prop_assert_eq!(reader.entry(), None);
            let cut = cut.index(out.len() + 1);
            let mut reader = Reader::new(&out[..cut]);
            let whole = std::iter::from_fn(|| reader.entry()).count();
            prop_assert_eq!(whole, ends.iter().filter(|end| **end <= cut).count() - 1);
        }
    }
}
