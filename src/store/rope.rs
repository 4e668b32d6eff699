//! A file made of slices that need not lie side by side: a header written for one machine, a kernel of the store.
//!
//! Nothing is copied to put them together; cloning costs a counter a slice. Servers send the slices one after the other.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use crate::store::Stored;

/// Bytes in order; no slice is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rope {
    slices: Vec<Slice>,
    len: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Slice {
    Memory(Bytes),
    /// Offsets in it.
    Stored(Stored, Range<u64>),
}

impl Slice {
    fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Stored(_, range) => range.end - range.start,
        }
    }

    /// `range` is inside.
    fn cut(&self, range: Range<u64>) -> Self {
        match self {
            Self::Memory(bytes) => Self::Memory(bytes.slice(in_memory(&range, bytes.len()))),
            Self::Stored(file, whole) => Self::Stored(
                file.clone(),
                whole.start + range.start..whole.start + range.end,
            ),
        }
    }
}

/// Offsets inside something that lies in memory.
fn in_memory(range: &Range<u64>, len: usize) -> Range<usize> {
    let index = |offset: u64| usize::try_from(offset).map_or(len, |offset| offset.min(len));
    index(range.start)..index(range.end)
}

impl Rope {
    /// How many bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// There is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds bytes at the end.
    pub fn push(&mut self, bytes: Bytes) {
        self.add(Slice::Memory(bytes));
    }

    /// Adds others at the end.
    pub fn append(&mut self, others: Self) {
        others.slices.into_iter().for_each(|slice| self.add(slice));
    }

    fn add(&mut self, slice: Slice) {
        if slice.len() > 0 {
            self.len += slice.len();
            self.slices.push(slice);
        }
    }

    /// The slices, in order, for handing to the kernel: see [`Stored::bytes`].
    #[must_use]
    pub fn slices(&self) -> Vec<Bytes> {
        let slices = self.slices.iter();
        let bytes = |slice: &Slice| match slice {
            Slice::Memory(bytes) => bytes.clone(),
            Slice::Stored(file, range) => {
                let bytes = file.bytes();
                bytes.slice(in_memory(range, bytes.len()))
            }
        };
        slices.map(bytes).collect()
    }

    /// What stands in `range`, cut to what there is.
    #[must_use]
    pub fn range(&self, range: Range<u64>) -> Self {
        let mut cut = Self::default();
        self.inside(range, |slice, range| {
            cut.add(slice.cut(range));
            true
        });
        cut
    }

    /// Writes what stands at `offset` into `buffer` and says how many bytes that were; fewer only at the end. Waits for a disk.
    ///
    /// # Errors
    /// The disk's, with the file's name.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut failed = None;
        let read = self.copy(offset, buffer, |file, offset, to| {
            failed = file.read_at(offset, to).err();
            failed.is_none()
        });
        failed.map_or_else(|| Ok(read.unwrap_or(0)), Err)
    }

    /// As [`Rope::read_at`] if all of it is in memory; `None` if a disk would have to be waited for, or fails.
    pub fn read_now(&self, offset: u64, buffer: &mut [u8]) -> Option<usize> {
        self.copy(offset, buffer, Stored::read_now)
    }

    fn copy(
        &self,
        offset: u64,
        buffer: &mut [u8],
        mut read: impl FnMut(&Stored, u64, &mut [u8]) -> bool,
    ) -> Option<usize> {
        let (mut done, mut whole) = (0, true);
        let wanted = offset..offset.saturating_add(buffer.len() as u64);
        self.inside(wanted, |slice, range| {
            let left = &mut buffer[done..];
            let len = in_memory(&(0..range.end - range.start), left.len()).end;
            let to = &mut left[..len];
            done += len;
            whole = match slice {
                Slice::Memory(bytes) => {
                    to.copy_from_slice(&bytes[in_memory(&range, bytes.len())]);
                    true
                }
                Slice::Stored(file, place) => read(file, place.start + range.start, to),
            };
            whole
        });
        whole.then_some(done)
    }

    /// Each slice that has bytes in `range`, and which of its own, until `each` says no.
    fn inside(&self, range: Range<u64>, mut each: impl FnMut(&Slice, Range<u64>) -> bool) {
        let mut start = 0;
        for slice in &self.slices {
            let end = start + slice.len();
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to && !each(slice, from - start..to - start) {
                return;
            }
            start = end;
        }
    }
}

impl From<Bytes> for Rope {
    fn from(bytes: Bytes) -> Self {
        Self::from_iter([bytes])
    }
}

impl From<Vec<u8>> for Rope {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<Stored> for Rope {
    fn from(file: Stored) -> Self {
        let mut parts = Self::default();
        let range = 0..file.len();
        parts.add(Slice::Stored(file, range));
        parts
    }
}

impl FromIterator<Bytes> for Rope {
    fn from_iter<I: IntoIterator<Item = Bytes>>(slices: I) -> Self {
        let mut parts = Self::default();
        slices.into_iter().for_each(|slice| parts.push(slice));
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored(content: &[u8]) -> Rope {
        let folder = tempfile::tempdir().expect("temp folder");
        let path = folder.path().join("file");
        std::fs::write(&path, content).expect("written");
        Stored::open(&path).expect("opened").expect("there").into()
    }

    proptest! {
        /// Each second slice lies in a file, with bytes before and behind that are none of it.
        #[test]
        fn a_range_is_what_it_is_of_the_joined_bytes(
            slices in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..6),
            in_files in any::<bool>(),
            from in 0_u8..60,
            len in 0_u8..60,
        ) {
            let joined: Vec<u8> = slices.concat();
            let mut parts = Rope::default();
            for (number, slice) in slices.into_iter().enumerate() {
                if in_files && number % 2 == 1 {
                    let end = 3 + slice.len() as u64;
                    let whole = [&b"abc"[..], &slice, b"de"].concat();
                    parts.append(stored(&whole).range(3..end));
                } else {
                    parts.push(Bytes::from(slice));
                }
            }
            prop_assert_eq!(parts.len(), joined.len() as u64);
            let wanted: Vec<u8> = joined.iter().copied().skip(from.into()).take(len.into()).collect();
            let (from, space) = (u64::from(from), usize::from(len));
            let cut = parts.range(from..from + u64::from(len));
            prop_assert_eq!(cut.slices().concat(), wanted.clone());
            prop_assert!(cut.slices().iter().all(|slice| !slice.is_empty()));
            let mut buffer = vec![0; space];
            let read = parts.read_at(from, &mut buffer).expect("read");
            prop_assert_eq!(&buffer[..read], &wanted);
            buffer.fill(0);
            let read = parts.read_now(from, &mut buffer).expect("it was read just now");
            prop_assert_eq!(&buffer[..read], &wanted);
        }
    }
}
