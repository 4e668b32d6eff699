//! Writes tar headers as mksquashfs reads them: ustar, and a pax header in front for what does not fit.

use std::path::Path;

use tar::{EntryType, Header};

use super::entry::{Entry, Kind};
use super::names;

/// Linux's, and squashfs's: 12 and 20 bits.
const MAX_MAJOR: u32 = (1 << 12) - 1;
const MAX_MINOR: u32 = (1 << 20) - 1;
/// The largest number of an eight-byte field in octal.
const MAX_OCTAL: u64 = 0o7_777_777;
/// And of one of twelve bytes.
const MAX_LONG_OCTAL: u64 = 0o77_777_777_777;
/// Of a name field. ustar can split a longer name in two; pax need not.
const NAME_BYTES: usize = 100;
/// Squashfs has 32 bits for a time.
const MAX_TIME: u64 = u32::MAX as u64;

/// What no tar or squashfs can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unpackable {
    /// A device number.
    #[error(
        "/{path} is device {major}:{minor}; Linux and squashfs have {MAX_MAJOR}:{MAX_MINOR} at most"
    )]
    Device {
        /// The entry's path.
        path: String,
        /// As given.
        major: u32,
        /// As given.
        minor: u32,
    },
}

/// Whether a squashfs can hold an attribute of this name (its `xattr.h`: three prefixes). POSIX ACLs have another.
#[must_use]
pub fn holds(xattr: &[u8]) -> bool {
    let prefixes = [&b"user."[..], b"trusted.", b"security."];
    // mksquashfs takes what stands before the first `=` for the name.
    prefixes.iter().any(|prefix| xattr.starts_with(prefix)) && !xattr.contains(&b'=')
}

/// The header of an entry, with the pax header before it if one is needed. Content and [`padding`] follow.
///
/// # Errors
/// See [`Unpackable`].
pub fn header(entry: &Entry) -> Result<Vec<u8>, Unpackable> {
    let Entry { path, kind, meta } = entry;
    let mut pax = Vec::new();
    let mut header = Header::new_ustar();
    let mut name = names::bytes(path).to_vec();
    if *kind == Kind::Folder {
        name.push(b'/');
    }
    set_name(&mut header, &name, &mut pax);
    header.set_mode(meta.mode & 0o7777);
    let mtime = meta.mtime.min(MAX_TIME);
    header.set_mtime(mtime);
    for (key, id, set) in [
        ("uid", meta.uid, Header::set_uid as fn(&mut Header, u64)),
        ("gid", meta.gid, Header::set_gid),
    ] {
        let id = u64::from(id);
        set(&mut header, id.min(MAX_OCTAL));
        if id > MAX_OCTAL {
            record(&mut pax, key.as_bytes(), id.to_string().as_bytes());
        }
    }
    let mut size = 0;
    let entry_type = match kind {
        Kind::Folder => EntryType::Directory,
        Kind::File { size: bytes } => {
            size = *bytes;
            EntryType::Regular
        }
        Kind::Symlink { target } => {
            set_link(&mut header, names::bytes(target), &mut pax);
            EntryType::Symlink
        }
        Kind::Hardlink { to } => {
            set_link(&mut header, names::bytes(to), &mut pax);
            EntryType::Link
        }
        Kind::Device {
            block,
            major,
            minor,
        } => {
            set_device(&mut header, path, *major, *minor)?;
            if *block {
                EntryType::Block
            } else {
                EntryType::Char
            }
        }
        Kind::Fifo => EntryType::Fifo,
    };
    header.set_entry_type(entry_type);
    header.set_size(size.min(MAX_LONG_OCTAL));
    if size > MAX_LONG_OCTAL {
        record(&mut pax, b"size", size.to_string().as_bytes());
    }
    for (key, value) in meta.xattrs.iter().filter(|(key, _)| holds(key)) {
        record(&mut pax, &[b"SCHILY.xattr.", &key[..]].concat(), value);
    }
    header.set_cksum();
    let mut bytes = Vec::new();
    if !pax.is_empty() {
        bytes.extend(pax_header(&pax).as_bytes());
        bytes.extend(&pax);
        bytes.extend(padding(pax.len() as u64));
    }
    bytes.extend(header.as_bytes());
    Ok(bytes)
}

/// Zeros up to the end of the block.
#[must_use]
pub fn padding(size: u64) -> &'static [u8] {
    const BLOCK: [u8; 512] = [0; 512];
    let part = (size % 512) as usize;
    if part == 0 {
        &[]
    } else {
        BLOCK.get(part..).unwrap_or_default()
    }
}

/// What ends an archive.
pub const END: [u8; 1024] = [0; 1024];

fn pax_header(records: &[u8]) -> Header {
    let mut header = Header::new_ustar();
    set_field(&mut header.as_old_mut().name, b"PaxHeader");
    header.set_entry_type(EntryType::XHeader);
    header.set_size(records.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    header
}

/// `LENGTH KEY=VALUE\n`, the length being that of all of it.
fn record(pax: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + digits(length) {
        length = rest + digits(length);
    }
    pax.extend(length.to_string().as_bytes());
    pax.extend([b" ", key, b"=", value, b"\n"].concat());
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

fn set_name(header: &mut Header, name: &[u8], pax: &mut Vec<u8>) {
    set_field(&mut header.as_old_mut().name, name);
    if name.len() > NAME_BYTES {
        record(pax, b"path", name);
    }
}

fn set_link(header: &mut Header, target: &[u8], pax: &mut Vec<u8>) {
    set_field(&mut header.as_old_mut().linkname, target);
    if target.len() > NAME_BYTES {
        record(pax, b"linkpath", target);
    }
}

fn set_field(field: &mut [u8; NAME_BYTES], bytes: &[u8]) {
    for (to, from) in field.iter_mut().zip(bytes) {
        *to = *from;
    }
}

fn set_device(header: &mut Header, path: &Path, major: u32, minor: u32) -> Result<(), Unpackable> {
    let refused = || Unpackable::Device {
        path: path.display().to_string(),
        major,
        minor,
    };
    if major > MAX_MAJOR || minor > MAX_MINOR {
        return Err(refused());
    }
    let set = header.set_device_major(major);
    set.and_then(|()| header.set_device_minor(minor))
        .map_err(|_| refused())
}

#[cfg(test)]
mod tests;
