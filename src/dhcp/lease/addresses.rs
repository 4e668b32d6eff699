//! A set of IPv4 addresses as bits, so that the next address that is in one set and not in another is found by looking at
//! words of 64 addresses, however full a pool is.

use std::collections::HashMap;
use std::net::Ipv4Addr;

/// Addresses in one word.
pub(super) const WORD: u32 = u64::BITS;

/// Words in one page.
const PAGE: u32 = 16;

/// The set. Memory is bounded by the addresses in it: a page is dropped with its last one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    pages: HashMap<u32, [u64; PAGE as usize]>,
}

impl Addresses {
    pub(super) fn insert(&mut self, address: Ipv4Addr) {
        let (page, word, bit) = place(address);
        self.pages.entry(page).or_default()[word] |= bit;
    }

    pub(super) fn remove(&mut self, address: Ipv4Addr) {
        let (page, word, bit) = place(address);
        let Some(words) = self.pages.get_mut(&page) else {
            return;
        };
        words[word] &= !bit;
        if words.iter().all(|word| *word == 0) {
            self.pages.remove(&page);
        }
    }

    /// The addresses `64 * index` to `64 * index + 63`, the lowest bit first.
    pub(super) fn word(&self, index: u32) -> u64 {
        let page = self.pages.get(&(index / PAGE));
        page.map_or(0, |words| words[(index % PAGE) as usize])
    }
}

/// Page, word in it, and bit in that.
const fn place(address: Ipv4Addr) -> (u32, usize, u64) {
    let number = address.to_bits();
    let word = number / WORD;
    (word / PAGE, (word % PAGE) as usize, 1 << (number % WORD))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn it_holds_what_a_set_holds(steps in prop::collection::vec((any::<bool>(), 0_u32..3000), 0..200)) {
            let mut bits = Addresses::default();
            let mut set = HashSet::new();
            for (adds, number) in steps {
                if adds {
                    bits.insert(number.into());
                    set.insert(number);
                } else {
                    bits.remove(number.into());
                    set.remove(&number);
                }
            }
            for number in 0..3000_u32 {
                let bit = bits.word(number / WORD) >> (number % WORD) & 1;
                prop_assert_eq!(bit == 1, set.contains(&number), "{}", number);
            }
            prop_assert_eq!(bits.pages.is_empty(), set.is_empty());
        }
    }
}
