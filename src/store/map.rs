//! Files of the store as bytes in memory, without reading them.
//!
//! Takes an open file that is complete and that nobody modifies any more; gives bytes that stay valid when the file is
//! unlinked. The only `unsafe` code of the manager.
#![expect(
    unsafe_code,
    reason = "a mapping is as immutable as its file: see the justification"
)]

use std::fs::File;
use std::io;

use bytes::Bytes;

/// Maps all of `file`.
///
/// # Errors
/// The kernel refuses the mapping.
pub(crate) fn map(file: &File) -> io::Result<Bytes> {
    // mmap(2) refuses a length of zero.
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: `Mmap::map` asks that the file be neither modified nor truncated while the mapping lives. Files of the
    // store are written in a folder with a random name, and what they are renamed to is 0444 and only ever unlinked,
    // which leaves the pages of a mapping alone. Who changes them as root behind our back gets SIGBUS or other bytes,
    // and other bytes do not pass a worker's digests.
    // JUSTIFICATION: there is no safe interface to mmap(2). Reading instead would need as much memory as the images
    // that are being served; a thousand workers share one page cache this way.
    let mapping = unsafe { memmap2::Mmap::map(file)? };
    Ok(Bytes::from_owner(mapping))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn bytes_outlive_the_name() {
        let mut file = tempfile::NamedTempFile::new().expect("temp file");
        file.write_all(b"content").expect("written");
        let bytes = map(file.as_file()).expect("mapped");
        file.close().expect("unlinked");
        assert_eq!(bytes, "content");
    }

    #[test]
    fn an_empty_file_is_no_bytes() {
        let file = tempfile::tempfile().expect("temp file");
        assert!(map(&file).expect("mapped").is_empty());
    }
}
