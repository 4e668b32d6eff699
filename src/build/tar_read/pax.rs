//! Extended headers of POSIX.1-2001 (pax), and what GNU tar and star add to them.

use std::collections::BTreeMap;

/// What is said of the next entry beside its header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    pub(super) name: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<u64>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// GNU tar's `--selinux`.
    label: Option<Vec<u8>>,
    others: Vec<Vec<u8>>,
    pub(super) sparse_major: Option<u64>,
    pub(super) sparse_name: Option<Vec<u8>>,
    pub(super) sparse_size: Option<u64>,
    pub(super) sparse_map: Option<Vec<(u64, u64)>>,
}

impl Extensions {
    /// Takes the records `LENGTH KEY=VALUE\n`; a value may hold any byte. `None` if they are no such records.
    pub(super) fn read_pax(&mut self, mut bytes: &[u8]) -> Option<()> {
        // Form 0.0 of sparse files says OFFSET and NUMBYTES in turn.
        let mut offset = None;
        while !bytes.is_empty() {
            let space = bytes.iter().position(|byte| *byte == b' ')?;
            let length: usize = number(bytes.get(..space)?)?.try_into().ok()?;
            let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
            bytes = bytes.get(length..)?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            let (key, value) = (record.get(..equals)?, record.get(equals + 1..)?);
            match key {
                b"GNU.sparse.offset" => offset = Some(number(value)?),
                b"GNU.sparse.numbytes" => {
                    let part = (offset.take()?, number(value)?);
                    self.sparse_map.get_or_insert_default().push(part);
                }
                _ => self.record(key, value)?,
            }
        }
        Some(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.name = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?.try_into().ok()?),
            b"gid" => self.gid = Some(number(value)?.try_into().ok()?),
            b"mtime" => self.mtime = Some(seconds(value)?),
            b"GNU.sparse.major" => self.sparse_major = Some(number(value)?),
            b"GNU.sparse.name" => self.sparse_name = Some(value.to_vec()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse_size = Some(number(value)?),
            b"GNU.sparse.map" => {
                let numbers = value.split(|byte| *byte == b',').map(number);
                let numbers: Vec<u64> = numbers.collect::<Option<_>>()?;
                let (pairs, rest) = numbers.as_chunks::<2>();
                let pairs = pairs.iter().map(|[offset, length]| (*offset, *length));
                self.sparse_map = rest.is_empty().then(|| pairs.collect());
            }
            b"RHT.security.selinux" => self.label = Some(value.to_vec()),
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.insert(without_escapes(name), value.to_vec());
                } else if !says_nothing(key) && self.others.len() < MAX_OTHERS {
                    self.others.push(key.to_vec());
                }
            }
        }
        Some(())
    }

    /// Extended attributes. The label is one, and where the archive has it in both forms, that of the attribute counts.
    pub(super) fn take_xattrs(&mut self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut xattrs = std::mem::take(&mut self.xattrs);
        if let Some(label) = self.label.take() {
            xattrs.entry(b"security.selinux".to_vec()).or_insert(label);
        }
        xattrs
    }

    /// Keys of records that say something which no squashfs can hold, or which is not known here. bsdtar writes attributes
    /// twice, in star's form and in its own.
    pub(super) fn not_kept(&self) -> impl Iterator<Item = &[u8]> {
        let kept = |key: &&[u8]| {
            let own = key.strip_prefix(b"LIBARCHIVE.xattr.");
            own.is_some_and(|name| self.xattrs.contains_key(&without_escapes(name)))
        };
        let keys = self.others.iter().map(Vec::as_slice);
        keys.filter(move |key| !kept(key))
    }
}

/// Of one entry.
const MAX_OTHERS: usize = 64;

/// Records that are of the archive, of other times or names than an image has, or read elsewhere.
fn says_nothing(key: &[u8]) -> bool {
    let names: [&[u8]; 16] = [
        b"atime",
        b"ctime",
        b"comment",
        b"charset",
        b"hdrcharset",
        b"uname",
        b"gname",
        b"SCHILY.dev",
        b"SCHILY.ino",
        b"SCHILY.nlink",
        b"SCHILY.filetype",
        b"SCHILY.realsize",
        b"SCHILY.tarfiletype",
        b"SCHILY.archtype",
        b"SCHILY.release",
        b"SCHILY.volhdr",
    ];
    key.starts_with(b"GNU.") || names.contains(&key)
}

/// GNU tar writes `%3D` and `%25` for `=` and `%` in an attribute's name.
fn without_escapes(mut name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    while let Some((first, rest)) = name.split_first() {
        let (byte, rest) = match (first, rest.first_chunk()) {
            (b'%', Some(b"3D")) => (b'=', rest.get(2..)),
            (b'%', Some(b"25")) => (b'%', rest.get(2..)),
            _ => (*first, Some(rest)),
        };
        plain.push(byte);
        name = rest.unwrap_or_default();
    }
    plain
}

/// Digits and nothing else.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits)?;
    text.parse().ok()
}

/// Whole seconds; what is before 1970 becomes 0.
fn seconds(text: &[u8]) -> Option<u64> {
    let whole = text.split(|byte| *byte == b'.').next()?;
    match whole.strip_prefix(b"-") {
        Some(before) => number(before).map(|_| 0),
        None => number(whole),
    }
}
