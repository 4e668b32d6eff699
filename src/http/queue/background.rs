//! What is kept for those who fetch the rest while others fill the link: one byte of sixteen. Pure.
//!
//! Without it, workers that begin one after the other would keep others from ever being without need of the manager. It
//! makes the others 7 % later at most, whatever the link.

/// Bytes that may go to the rest; fewer than none after a few requests at once.
#[derive(Debug, Default)]
pub(super) struct Share(i64);

/// One of so many bytes.
pub(super) const PART: u64 = 16;
/// What one request for the rest asks for: four chunks, so that a turn can end soon.
const REQUEST: i64 = 1 << 20;
/// What is not taken in time is lost, and what was taken too much is forgotten: four requests.
const MOST: i64 = 4 * REQUEST;

impl Share {
    /// So much was sent to anybody while others filled the link.
    pub(super) fn earn(&mut self, bytes: u64) {
        let part = i64::try_from(bytes / PART).unwrap_or(MOST);
        self.0 = self.0.saturating_add(part).min(MOST);
    }

    /// Whether a request may go.
    pub(super) const fn is_due(&self) -> bool {
        self.0 >= REQUEST
    }

    /// So many went.
    pub(super) fn spend(&mut self, requests: u32) {
        let bytes = REQUEST.saturating_mul(requests.into());
        self.0 = self.0.saturating_sub(bytes).max(-MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// In the long run it is that part, neither more nor less; what one tick brings is the granularity.
        #[test]
        fn one_of_sixteen(sent in prop::collection::vec(1_u64..20_000_000, 200..400)) {
            let (mut share, mut went) = (Share::default(), 0);
            for bytes in &sent {
                share.earn(*bytes);
                while share.is_due() {
                    share.spend(1);
                    went += REQUEST;
                }
            }
            let part = i64::try_from(sent.iter().sum::<u64>() / PART).expect("small");
            prop_assert!((went - part).abs() <= MOST, "{went} of {part}");
        }

        #[test]
        fn never_overflows(steps in prop::collection::vec((any::<u64>(), any::<u32>()), 0..50)) {
            let mut share = Share::default();
            for (bytes, requests) in steps {
                share.earn(bytes);
                share.spend(requests);
                prop_assert!((-MOST..=MOST).contains(&share.0));
            }
        }
    }
}
