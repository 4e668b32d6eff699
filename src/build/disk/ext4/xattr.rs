//! Extended attributes: behind the inode's own fields, in one more block, and large ones in an inode of their own.
//!
//! `Documentation/filesystems/ext4/attributes.rst` and `fs/ext4/xattr.h` of the kernel. Access control lists are kept in a
//! form of their own (`fs/ext4/acl.h`) and become what `getxattr(2)` gives.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};

use super::Ext4;
use super::inode::{EA_INODE, Inode};
use crate::build::disk::crc::crc32c;
use crate::build::disk::le::{array, le16, le32};

const MAGIC: u32 = 0xea02_0000;
/// `struct ext4_xattr_header`
const HEADER: usize = 32;
/// `struct ext4_xattr_entry`, without its name.
const ENTRY: usize = 16;
/// Of one value: `XATTR_SIZE_MAX`.
const MOST_VALUE: u32 = 65_536;
/// Of all names and values of one inode: `llistxattr(2)` gives no more names either.
const MOST_BYTES: usize = 1 << 20;

impl Ext4 {
    /// By full name.
    pub(crate) fn xattrs(&self, inode: &Inode) -> anyhow::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut raw = Vec::new();
        if le32(&inode.tail, 0) == Some(MAGIC) {
            // Values count from the first entry.
            let area = inode.tail.get(4..).unwrap_or_default();
            parse(area, 0, &mut raw)?;
        }
        let block;
        if inode.acl_block != 0 {
            block = self.block(inode.acl_block)?;
            self.check_xattrs(inode.acl_block, &block)?;
            parse(&block, HEADER, &mut raw)?;
        }
        let mut bytes = 0;
        let mut xattrs = BTreeMap::new();
        for Raw { index, name, value } in raw {
            let Some(full) = full_name(index, name) else {
                continue;
            };
            let told = || format!("reading {}", String::from_utf8_lossy(&full));
            let value = match value {
                Value::Here(value) => value.to_vec(),
                Value::Inode { number, size } => {
                    self.large_value(number, size).with_context(told)?
                }
            };
            let value = match index {
                ACL_ACCESS | ACL_DEFAULT => acl(&value).with_context(told)?,
                _ => value,
            };
            bytes += full.len() + value.len();
            ensure!(
                bytes <= MOST_BYTES,
                "its extended attributes have more than {MOST_BYTES} bytes"
            );
            xattrs.insert(full, value);
        }
        Ok(xattrs)
    }

    fn check_xattrs(&self, number: u64, block: &[u8]) -> anyhow::Result<()> {
        let (magic, blocks) = (le32(block, 0), le32(block, 8));
        ensure!(
            magic == Some(MAGIC) && blocks == Some(1),
            "block {number} holds no extended attributes"
        );
        if let Some(seed) = self.superblock.seed {
            let kept = le32(block, 16).unwrap_or_default();
            let mut zeroed = block.to_vec();
            if let Some(field) = zeroed.get_mut(16..20) {
                field.fill(0);
            }
            let found = crc32c(crc32c(seed, &number.to_le_bytes()), &zeroed);
            ensure!(
                kept == found,
                "block {number} of extended attributes is damaged: the checksum in it is {kept:08x}, that of its \
                 bytes {found:08x}"
            );
        }
        Ok(())
    }

    fn large_value(&self, number: u32, size: u32) -> anyhow::Result<Vec<u8>> {
        let inode = self.inode(number)?;
        ensure!(
            inode.has(EA_INODE) && inode.size == u64::from(size),
            "inode {number} is not its value of {size} bytes"
        );
        self.whole(&inode, MOST_VALUE.into())
    }
}

/// What an inode with `inline_data` holds itself: where blocks would be told, and an attribute with the rest
/// (`Documentation/filesystems/ext4/inlinedata.rst` of the kernel).
pub(super) fn inline(inode: &Inode) -> anyhow::Result<(&[u8], &[u8])> {
    let mut raw = Vec::new();
    if le32(&inode.tail, 0) == Some(MAGIC) {
        parse(inode.tail.get(4..).unwrap_or_default(), 0, &mut raw)?;
    }
    let rest = raw.into_iter().find_map(|raw| match raw.value {
        Value::Here(value) if raw.index == SYSTEM && raw.name == b"data" => Some(value),
        _ => None,
    });
    Ok((&inode.block, rest.unwrap_or_default()))
}

/// An attribute as it is kept.
struct Raw<'a> {
    index: u8,
    name: &'a [u8],
    value: Value<'a>,
}

enum Value<'a> {
    Here(&'a [u8]),
    Inode { number: u32, size: u32 },
}

/// Entries from `first` on; values count from the start of `area`.
fn parse<'a>(area: &'a [u8], first: usize, raw: &mut Vec<Raw<'a>>) -> anyhow::Result<()> {
    let cut = "its extended attributes are cut short";
    let mut at = first;
    // Four zero bytes end them.
    while le32(area, at).context(cut)? != 0 {
        let [name_len, index] = array(area, at).context(cut)?;
        let (number, size) = (
            le32(area, at + 4).context(cut)?,
            le32(area, at + 8).context(cut)?,
        );
        let offset = usize::from(le16(area, at + 2).context(cut)?);
        let name_at = at + ENTRY;
        let name_end = name_at + usize::from(name_len);
        let name = area.get(name_at..name_end).context(cut)?;
        ensure!(
            size <= MOST_VALUE,
            "an extended attribute has {size} bytes, and at most {MOST_VALUE} are allowed"
        );
        let value = if number == 0 {
            let end = offset + size as usize;
            Value::Here(area.get(offset..end).context(cut)?)
        } else {
            Value::Inode { number, size }
        };
        raw.push(Raw { index, name, value });
        at = name_end.next_multiple_of(4);
    }
    Ok(())
}

const ACL_ACCESS: u8 = 2;
const ACL_DEFAULT: u8 = 3;
const SYSTEM: u8 = 7;

/// What `listxattr(2)` calls it; `None` for what it does not list: contexts of encryption, contents of small files, and
/// what no kernel of today knows.
fn full_name(index: u8, name: &[u8]) -> Option<Vec<u8>> {
    let prefix = match index {
        1 => "user.",
        ACL_ACCESS => "system.posix_acl_access",
        ACL_DEFAULT => "system.posix_acl_default",
        4 => "trusted.",
        6 => "security.",
        SYSTEM if name != b"data" => "system.",
        8 => "system.richacl",
        _ => return None,
    };
    Some([prefix.as_bytes(), name].concat())
}

/// From `struct ext4_acl_header` and its entries to `struct posix_acl_xattr_header` and its entries.
fn acl(kept: &[u8]) -> anyhow::Result<Vec<u8>> {
    let cut = "the access control list is cut short";
    let version = le32(kept, 0).context(cut)?;
    ensure!(
        version == 1,
        "the access control list has version {version}, not 1"
    );
    let mut given = 2_u32.to_le_bytes().to_vec();
    let mut rest = kept.get(4..).context(cut)?;
    while !rest.is_empty() {
        let tag = le16(rest, 0).context(cut)?;
        let (id, len) = match tag {
            // A user or a group with a number.
            0x2 | 0x8 => (le32(rest, 4).context(cut)?, 8),
            0x1 | 0x4 | 0x10 | 0x20 => (u32::MAX, 4),
            _ => bail!("the access control list has an entry of kind {tag:#x}"),
        };
        let (entry, after) = rest.split_at_checked(len).context(cut)?;
        given.extend_from_slice(entry.get(..4).context(cut)?);
        given.extend_from_slice(&id.to_le_bytes());
        rest = after;
    }
    Ok(given)
}
