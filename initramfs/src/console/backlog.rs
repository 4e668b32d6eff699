//! What a slow terminal did not take yet: whole lines, bounded. Pure.

use std::collections::VecDeque;

/// Lines that wait for a slow terminal. Bounded: what comes while it is full is lost, and that is said.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    bytes: VecDeque<u8>,
    lost: u64,
}

impl Backlog {
    /// One line more, or one more lost.
    pub(super) fn put(&mut self, text: &str) {
        let mut line = format!("{text}\n");
        if self.lost > 0 {
            line = format!(
                "ramboot: {} lines were lost here: this console is slow\n{line}",
                self.lost
            );
        }
        if self.bytes.len() + line.len() > MAX_BACKLOG {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        self.lost = 0;
        self.bytes.extend(line.into_bytes());
    }

    /// Bytes to write now; empty only if there are none.
    pub(super) fn next(&self) -> &[u8] {
        let (front, back) = self.bytes.as_slices();
        if front.is_empty() { back } else { front }
    }

    /// So many of [`Self::next`] were written.
    pub(super) fn taken(&mut self, bytes: usize) {
        self.bytes.drain(..bytes.min(self.bytes.len()));
    }

    /// Nobody takes them any more.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Whether all was written.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// What a line of 115 200 bit/s takes in a second and a half.
const MAX_BACKLOG: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lost_lines_are_whole_and_counted() {
        let mut backlog = Backlog::default();
        let line = "x".repeat(999);
        for _ in 0..20 {
            backlog.put(&line);
        }
        assert_eq!((backlog.bytes.len(), backlog.lost), (16_000, 4));
        backlog.taken(8_000);
        backlog.put("here again");
        let text: Vec<u8> = backlog.bytes.iter().copied().collect();
        let text = String::from_utf8(text).expect("text");
        let said = "x\nramboot: 4 lines were lost here: this console is slow\nhere again\n";
        assert!(text.ends_with(said), "{text}");
    }

    proptest! {
        #[test]
        fn never_torn_never_too_long(puts in proptest::collection::vec(("\\PC{0,3000}", 0_usize..5000), 0..60)) {
            let mut backlog = Backlog::default();
            let mut terminal = Vec::new();
            for (text, taken) in &puts {
                backlog.put(text);
                prop_assert!(backlog.bytes.len() <= MAX_BACKLOG);
                let next = backlog.next();
                let taken = (*taken).min(next.len());
                terminal.extend_from_slice(&next[..taken]);
                backlog.taken(taken);
            }
            while !backlog.is_empty() {
                let next = backlog.next().to_vec();
                terminal.extend_from_slice(&next);
                backlog.taken(next.len());
            }
            let shown = String::from_utf8(terminal).expect("whole characters");
            let mut said = puts.iter().map(|(text, _)| text.as_str());
            for line in shown.split_terminator('\n').filter(|line| !line.ends_with("this console is slow")) {
                prop_assert!(said.any(|text| text == line), "{:?} was never said, or out of turn", line);
            }
        }
    }
}
