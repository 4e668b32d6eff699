//! Files of the store as bytes in memory, without copying them: for handing to the kernel. What this program reads itself it
//! reads from the file, as touching a page that cannot be read is SIGBUS.
//!
//! Takes an open file that is complete and that nobody modifies any more; gives bytes that stay valid when the file is
//! unlinked. The only `unsafe` code of the manager.
#![expect(
    unsafe_code,
    reason = "a mapping is as immutable as its file: see the justification"
)]

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use memmap2::{Advice, Mmap};

/// What is read in at a time, and handed to a socket at a time: 1 MiB is a disk's seek in 10 ms at 100 MB/s, and a
/// socket buffer a few times over.
pub const WINDOW_BYTES: usize = 1 << 20;

/// Windows that the kernel is asked to read ahead while one is read.
const AHEAD: usize = 8;

/// A mapped file that knows which parts of it were read in.
///
/// A page that is not in memory stops the thread that touches it until the disk has answered, and a thread that serves a
/// thousand sockets must not stop. So a window is read in elsewhere first. A page that the kernel drops later, because
/// memory is short, does stop a thread: rarely, and shorter than reading everything in again each time would.
#[derive(Clone)]
pub struct Mapping(Arc<Inner>);

struct Inner {
    mmap: Mmap,
    /// One for each window: it was read in, and its pages are in the page table.
    present: Box<[AtomicBool]>,
}

impl Mapping {
    /// Maps all of `file`.
    ///
    /// # Errors
    /// The kernel refuses the mapping; mmap(2) refuses an empty file.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        // SAFETY: `Mmap::map` asks that the file be neither modified nor truncated while the mapping lives. Files of the
        // store are written in a folder with a random name, and what they are renamed to is 0444 and only ever unlinked,
        // which leaves the pages of a mapping alone. Who changes them as root behind our back gets SIGBUS or other
        // bytes, and other bytes do not pass a worker's digests.
        // JUSTIFICATION: there is no safe interface to mmap(2). Reading instead would need as much memory as the images
        // that are being served; a thousand workers share one page cache this way.
        let mmap = unsafe { Mmap::map(file)? };
        let windows = mmap.len().div_ceil(WINDOW_BYTES);
        let present = (0..windows).map(|_| AtomicBool::new(false)).collect();
        Ok(Self(Arc::new(Inner { mmap, present })))
    }

    /// All of it.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }

    /// Whether somebody beside one owner has it or bytes of it: an answer is under way.
    pub(super) fn is_lent(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// How much of the beginning of `slice`, which is not empty and of this mapping, lies in its first window, and that
    /// window's number if it was not read in yet. What is of another place is as it is.
    #[must_use]
    pub fn first_window(&self, slice: &[u8]) -> (usize, Option<usize>) {
        let offset = slice
            .as_ptr()
            .addr()
            .checked_sub(self.0.mmap.as_ptr().addr());
        let Some(offset) = offset.filter(|offset| *offset < self.0.mmap.len()) else {
            return (slice.len(), None);
        };
        let window = offset / WINDOW_BYTES;
        let len = slice.len().min((window + 1) * WINDOW_BYTES - offset);
        let present = self.0.present.get(window);
        let absent = present.is_some_and(|present| !present.load(Ordering::Relaxed));
        (len, absent.then_some(window))
    }

    /// Whether a window was read in.
    pub(super) fn was_read_in(&self, window: usize) -> bool {
        let present = self.0.present.get(window);
        present.is_some_and(|present| present.load(Ordering::Relaxed))
    }

    /// Reads a window in and waits for the disk.
    ///
    /// # Errors
    /// The disk's.
    pub fn read_in(&self, window: usize) -> io::Result<()> {
        let Some(present) = self.0.present.get(window) else {
            return Ok(());
        };
        let ahead = self.range(window + 1..window + 1 + AHEAD);
        if !ahead.is_empty() {
            // Only a wish.
            let _ = self
                .0
                .mmap
                .advise_range(Advice::WillNeed, ahead.start, ahead.len());
        }
        let here = self.range(window..window + 1);
        match self
            .0
            .mmap
            .advise_range(Advice::PopulateRead, here.start, here.len())
        {
            // Linux before 5.14 has no MADV_POPULATE_READ: pages are read when they are sent.
            Err(error) if error.raw_os_error() != Some(EINVAL) => Err(error),
            _ => {
                present.store(true, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    fn range(&self, windows: Range<usize>) -> Range<usize> {
        let len = self.0.mmap.len();
        let offset = |window: usize| window.saturating_mul(WINDOW_BYTES).min(len);
        offset(windows.start)..offset(windows.end)
    }
}

const EINVAL: i32 = rustix::io::Errno::INVAL.raw_os_error();

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        &self.0.mmap
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({} bytes)", self.0.mmap.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("temp file");
        file.write_all(content).expect("written");
        file
    }

    #[test]
    fn bytes_outlive_the_name() {
        let file = file(b"content");
        let bytes = Mapping::of(file.as_file()).expect("mapped").bytes();
        file.close().expect("unlinked");
        assert_eq!(bytes, "content");
    }

    #[test]
    fn each_window_is_read_in_once() {
        let file = file(&vec![7; 2 * WINDOW_BYTES + 5]);
        let mapping = Mapping::of(file.as_file()).expect("mapped");
        let bytes = mapping.bytes();
        assert_eq!(mapping.first_window(&bytes), (WINDOW_BYTES, Some(0)));
        let inside = &bytes[WINDOW_BYTES - 3..];
        assert_eq!(mapping.first_window(inside), (3, Some(0)));
        assert_eq!(
            mapping.first_window(&bytes[WINDOW_BYTES..][..9]),
            (9, Some(1))
        );
        for window in [0, 2, 3] {
            mapping.read_in(window).expect("read in");
        }
        assert_eq!(mapping.first_window(inside), (3, None));
        assert_eq!(mapping.first_window(&bytes[2 * WINDOW_BYTES..]), (5, None));
        assert_eq!(mapping.first_window(&bytes[WINDOW_BYTES..]).1, Some(1));
    }

    #[test]
    fn what_is_elsewhere_is_as_it_is() {
        let file = file(b"content");
        let mapping = Mapping::of(file.as_file()).expect("mapped");
        assert_eq!(mapping.first_window(b"elsewhere"), (9, None));
    }

    /// A file that became shorter behind our back is an error here and not the end of the process.
    #[test]
    fn a_disk_that_fails_is_an_error() {
        let file = file(&vec![7; 2 * WINDOW_BYTES]);
        let mapping = Mapping::of(file.as_file()).expect("mapped");
        file.as_file().set_len(5).expect("truncated");
        mapping.read_in(1).expect_err("nothing is there");
        assert_eq!(
            mapping.first_window(&mapping.as_ref()[WINDOW_BYTES..]).1,
            Some(1)
        );
    }
}
