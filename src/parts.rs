//! A file made of slices that need not lie side by side: a header written for one machine, a kernel in a mapping.
//!
//! Nothing is copied to put them together; cloning costs a counter a slice. Servers send the slices one after the other.

use std::ops::Range;

use bytes::Bytes;

/// Bytes in order; no slice is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    slices: Vec<Bytes>,
    len: u64,
}

impl Parts {
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

    /// Adds a slice at the end.
    pub fn push(&mut self, slice: Bytes) {
        if !slice.is_empty() {
            self.len += slice.len() as u64;
            self.slices.push(slice);
        }
    }

    /// The slices, in order.
    #[must_use]
    pub fn slices(&self) -> &[Bytes] {
        &self.slices
    }

    /// What stands in `range`, cut to what there is.
    #[must_use]
    pub fn range(&self, range: Range<u64>) -> Self {
        let mut cut = Self::default();
        let mut start = 0;
        for slice in &self.slices {
            let end = start + slice.len() as u64;
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                // Both are offsets inside a slice, which lies in memory.
                let inside = |offset: u64| usize::try_from(offset - start).unwrap_or(slice.len());
                cut.push(slice.slice(inside(from)..inside(to)));
            }
            start = end;
        }
        cut
    }

    /// Writes what stands at `offset` into `buffer` and says how many bytes that were; fewer only at the end.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let wanted = self.range(offset..offset.saturating_add(buffer.len() as u64));
        let mut done = 0;
        for slice in wanted.slices() {
            buffer[done..done + slice.len()].copy_from_slice(slice);
            done += slice.len();
        }
        done
    }
}

impl From<Bytes> for Parts {
    fn from(bytes: Bytes) -> Self {
        Self::from_iter([bytes])
    }
}

impl FromIterator<Bytes> for Parts {
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

    proptest! {
        #[test]
        fn a_range_is_what_it_is_of_the_joined_bytes(
            slices in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..6),
            from in 0_u8..60,
            len in 0_u8..60,
        ) {
            let joined: Vec<u8> = slices.concat();
            let parts: Parts = slices.into_iter().map(Bytes::from).collect();
            prop_assert_eq!(parts.len(), joined.len() as u64);
            let wanted: Vec<u8> = joined.iter().copied().skip(from.into()).take(len.into()).collect();
            let (from, space) = (u64::from(from), usize::from(len));
            let cut = parts.range(from..from + u64::from(len));
            prop_assert_eq!(cut.slices().concat(), wanted.clone());
            prop_assert!(cut.slices().iter().all(|slice| !slice.is_empty()));
            let mut buffer = vec![0; space];
            let read = parts.read_at(from, &mut buffer);
            prop_assert_eq!(&buffer[..read], wanted);
        }
    }
}
