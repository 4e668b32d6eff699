//! Answers that must not come at once, in the order they are due.

use std::collections::BTreeMap;
use std::time::Duration;

/// Answers that wait at once; each is an Ethernet frame's worth.
pub const MAX_DELAYED: usize = 1024;

/// A bounded queue by time; of two that are due at once, the one that came first.
#[derive(Debug)]
pub struct Delayed<T> {
    by_due: BTreeMap<(Duration, u64), T>,
    count: u64,
}

impl<T> Default for Delayed<T> {
    fn default() -> Self {
        Self {
            by_due: BTreeMap::new(),
            count: 0,
        }
    }
}

impl<T> Delayed<T> {
    /// Keeps an answer until it is due.
    ///
    /// # Errors
    /// The queue is full; here it is again.
    pub fn push(&mut self, due: Duration, answer: T) -> Result<(), T> {
        if self.by_due.len() >= MAX_DELAYED {
            return Err(answer);
        }
        self.count += 1;
        self.by_due.insert((due, self.count), answer);
        Ok(())
    }

    /// One that is due.
    pub fn pop(&mut self, now: Duration) -> Option<T> {
        let first = self.by_due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// When the next one is due.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        self.by_due.first_key_value().map(|((due, _), _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_order_they_are_due_and_no_more_than_fit() {
        let mut delayed = Delayed::default();
        let second = Duration::from_secs;
        assert_eq!(delayed.next(), None);
        for (due, answer) in [(2, 'b'), (1, 'a'), (2, 'c'), (9, 'd')] {
            assert_eq!(delayed.push(second(due), answer), Ok(()));
        }
        assert_eq!(delayed.next(), Some(second(1)));
        assert_eq!(delayed.pop(Duration::ZERO), None);
        let mut due = Vec::new();
        while let Some(answer) = delayed.pop(second(2)) {
            due.push(answer);
        }
        assert_eq!(due, ['a', 'b', 'c']);
        for _ in 1..MAX_DELAYED {
            assert_eq!(delayed.push(second(9), 'e'), Ok(()));
        }
        assert_eq!(delayed.push(second(1), 'f'), Err('f'));
    }
}
