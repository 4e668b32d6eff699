//! What a boot reads of its image, and when its network is as it stays: kept while it boots, told afterwards. Pure, with
//! times as arguments, in milliseconds since the mount.

use std::collections::HashSet;
use std::ops::Range;

use ramboot_wire::profile::{MAX_TOUCHED, RECORD_MS};
use ramboot_wire::{ImageId, Mac, Recording};

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Reads {
    first: Vec<(u64, u32)>,
    seen: HashSet<u64>,
    /// When something was read that had not been before.
    newest: u32,
    moments: Moments,
    /// Told, or not to be told.
    is_over: bool,
}

/// When what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moments {
    /// The image's init was started.
    pub handover: Option<u32>,
    /// The link that carries the boot, or its address, was changed last.
    pub network: Option<u32>,
    /// systemd (254 and later) said that `network-online.target` is reached.
    pub online: Option<u32>,
    /// The init said that it is up.
    pub ready: Option<u32>,
}

impl Reads {
    /// These chunks are read.
    pub fn read(&mut self, chunks: Range<u64>, at: u32) {
        for index in chunks {
            if self.seen.len() >= MAX_TOUCHED {
                return;
            }
            if self.seen.insert(index) {
                self.newest = at;
                self.first.push((index, at.min(RECORD_MS)));
            }
        }
    }

    /// Notes a moment.
    pub fn note(&mut self, note: impl FnOnce(&mut Moments)) {
        note(&mut self.moments);
    }

    /// When what happened so far.
    #[must_use]
    pub const fn moments(&self) -> Moments {
        self.moments
    }

    /// Whether there is no more to see: the worker is up, or it is late enough.
    #[must_use]
    pub const fn is_complete(&self, at: u32) -> bool {
        self.moments.ready.is_some() || at >= RECORD_MS
    }

    /// Whether the boot is over, for all one can see: it is [complete](Self::is_complete), or nothing new was read for a
    /// while. An init that is not systemd never says that it is up.
    #[must_use]
    pub const fn is_quiet(&self, at: u32) -> bool {
        self.is_complete(at)
            || (self.moments.handover.is_some() && at.saturating_sub(self.newest) >= QUIET_MS)
    }

    /// What there is to tell, once.
    pub fn end(&mut self, mac: Mac, image: ImageId) -> Option<Recording> {
        if std::mem::replace(&mut self.is_over, true) {
            return None;
        }
        let mut touched = std::mem::take(&mut self.first);
        // Two threads may have noted in another order than they looked at the clock.
        touched.sort_by_key(|(_, at)| *at);
        let moments = self.moments;
        (!touched.is_empty()).then_some(Recording {
            mac,
            image,
            online_ms: moments.settled(),
            ready_ms: moments.ready.map(|at| at.min(RECORD_MS)),
            touched,
        })
    }
}

impl Moments {
    /// When the network was as it stays. `None` if nothing says so: then a gate has to wait for all that a boot reads.
    ///
    /// A network that changes is followed by programs that look at what came of it, so some time belongs to it.
    fn settled(&self) -> Option<u32> {
        let handover = self.handover?;
        let changed = self.network.filter(|at| *at >= handover);
        let settled = changed.max(self.online)?;
        let until = self.ready.unwrap_or(RECORD_MS).min(RECORD_MS);
        Some(settled.saturating_add(SETTLE_MS).min(until))
    }
}

const SETTLE_MS: u32 = 1_000;
const QUIET_MS: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use ramboot_wire::CHUNK_BYTES;

    const MAC: Mac = Mac([2; 6]);
    const IMAGE: ImageId = ImageId([7; 32]);

    #[test]
    fn each_chunk_is_told_once_and_by_time() {
        let mut reads = Reads::default();
        reads.read(3..5, 20);
        reads.read(0..1, 10);
        reads.read(4..6, 900);
        reads.read(9..10, 70_000);
        reads.note(|m| m.handover = Some(15));
        reads.note(|m| m.ready = Some(2_000));
        let recording = reads.end(MAC, IMAGE).expect("something was read");
        assert_eq!(
            recording.touched,
            [(0, 10), (3, 20), (4, 20), (5, 900), (9, RECORD_MS)]
        );
        assert_eq!(recording.check(20 * CHUNK_BYTES), Ok(()));
        reads.read(7..8, 3_000);
        assert_eq!(reads.end(MAC, IMAGE), None, "told once");
        assert_eq!(Reads::default().end(MAC, IMAGE), None, "nothing was read");
    }

    #[test]
    fn as_many_as_a_recording_holds() {
        let mut reads = Reads::default();
        reads.read(0..u64::MAX, 1);
        let recording = reads.end(MAC, IMAGE).expect("much was read");
        assert_eq!(recording.touched.len(), MAX_TOUCHED);
    }

    #[test]
    fn when_the_network_is_as_it_stays() {
        for (handover, network, online, ready, want) in [
            // It was changed, by whom ever.
            (Some(100), Some(4_000), None, Some(9_000), Some(5_000)),
            // Before the image's init, by us.
            (Some(100), Some(90), None, Some(9_000), None),
            // systemd says so, and knows better than the last change or does not.
            (
                Some(100),
                Some(4_000),
                Some(6_000),
                Some(9_000),
                Some(7_000),
            ),
            (Some(100), None, Some(6_000), None, Some(7_000)),
            // Not later than up.
            (Some(100), Some(8_900), None, Some(9_000), Some(9_000)),
            (Some(100), Some(59_900), None, None, Some(RECORD_MS)),
            // Nothing is known.
            (Some(100), None, None, Some(9_000), None),
            (None, Some(4_000), None, None, None),
        ] {
            let moments = Moments {
                handover,
                network,
                online,
                ready,
            };
            assert_eq!(moments.settled(), want, "{moments:?}");
        }
    }

    #[test]
    fn it_is_over_when_the_worker_is_up_or_late() {
        let mut reads = Reads::default();
        assert!(!reads.is_complete(59_999) && reads.is_complete(60_000));
        reads.note(|m| m.ready = Some(5));
        assert!(reads.is_complete(6) && reads.is_quiet(6));
    }

    #[test]
    fn it_is_quiet_when_nothing_new_is_read() {
        let mut reads = Reads::default();
        assert!(!reads.is_quiet(20_000), "its init did not start yet");
        reads.note(|m| m.handover = Some(500));
        reads.read(0..3, 8_000);
        reads.read(0..3, 12_000);
        assert!(!reads.is_quiet(17_999) && reads.is_quiet(18_000));
        assert!(!reads.is_complete(18_000));
    }
}
