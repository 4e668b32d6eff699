//! How much of its image a machine has that runs already: what it says, what its silence means, and how long it still
//! needs somebody. Pure; nothing that it says is believed further than its image goes.
//!
//! Two processes of such a machine send heartbeats: one each half a minute, for ever, which says nothing of the image; and
//! one each [`FILLING_SECONDS`], as long as not all of it is there. So a heartbeat without says nothing, unless the other
//! kind has been missing for a while.

use std::time::Duration;

use ramboot_wire::heartbeat::{FILLING_SECONDS, Filling};

use super::snapshot;
use crate::text::time::span;

/// How much of its image is in a machine's RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Holding {
    /// Nobody said that it runs before all of it is.
    #[default]
    Unsaid,
    /// Not all of it, as far as was heard.
    Part(Part),
    /// All of it; heard at this time.
    Whole(Duration),
}

/// A part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Of a hundred, when its root was mounted; 0 if that was not heard.
    gate: u8,
    /// What its last heartbeat said; `None` before the first one.
    said: Option<Filling>,
    /// When that was heard.
    at: Duration,
}

/// What is to be said of a machine's image at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It is there, or nobody said anything else.
    Whole,
    /// The machine lives, and says nothing of it any more: so much of a hundred when it last did.
    Unknown(u8),
    /// It is not all there.
    Part(snapshot::Filling),
}

impl Holding {
    /// The image's init runs, with so much of a hundred.
    pub(super) const fn starts(&mut self, gate: u8, now: Duration) {
        *self = Self::Part(Part {
            gate,
            said: None,
            at: now,
        });
    }

    /// A heartbeat says it.
    pub(super) fn hears(&mut self, filling: Filling, now: Duration) {
        let gate = match self {
            // UDP may bring the last one after the report.
            Self::Whole(at) if now.saturating_sub(*at) <= PATIENCE => return,
            Self::Part(part) => part.gate,
            Self::Whole(_) | Self::Unsaid => 0,
        };
        *self = Self::Part(Part {
            gate,
            said: Some(filling),
            at: now,
        });
    }

    /// A report says that all of it is there; whether that is news.
    pub(super) fn ends(&mut self, now: Duration) -> bool {
        let news = !matches!(self, Self::Whole(_));
        *self = Self::Whole(now);
        news
    }

    /// At `now`, of a machine whose last heartbeat of either kind came `alive`; `size` is that of the image, if it is known.
    pub(super) fn look(&self, alive: Option<Duration>, size: Option<u64>, now: Duration) -> Look {
        let Self::Part(part) = self else {
            return Look::Whole;
        };
        let filling = part.filling(size, now);
        let goes_on_without = alive.is_some_and(|alive| alive.saturating_sub(part.at) > PATIENCE);
        match filling {
            // The report got lost.
            Some(filling) if goes_on_without && filling.percent == WHOLE => Look::Whole,
            Some(filling) if goes_on_without => Look::Unknown(filling.percent),
            Some(filling) => Look::Part(filling),
            None => Look::Whole,
        }
    }
}

impl Part {
    /// `None` if the image has no bytes.
    fn filling(&self, size: Option<u64>, now: Duration) -> Option<snapshot::Filling> {
        let Some(said) = self.said else {
            return Some(snapshot::Filling {
                percent: self.gate,
                resident: None,
                size,
                bytes_per_s: 0,
                independent_s: None,
                blocked_s: 0,
                heard_s: now.saturating_sub(self.at).as_secs(),
            });
        };
        // The image is as large as the manager knows, whatever the machine says.
        let size = size.unwrap_or(said.size);
        let resident = said.resident.min(size);
        let heard = now.saturating_sub(self.at);
        let left = independent_s(resident, size, said.per_second);
        Some(snapshot::Filling {
            percent: percent(resident, size)?,
            resident: Some(resident),
            size: Some(size),
            bytes_per_s: said.per_second,
            independent_s: left.map(|left| left.saturating_sub(heard.as_secs()).max(left.min(1))),
            blocked_s: (said.blocked_ms / 1000).min(MAX_BLOCKED_S),
            heard_s: heard.as_secs(),
        })
    }
}

/// What it says can be: there is an image, and not more of it than all.
pub(super) const fn is_possible(filling: &Filling) -> bool {
    filling.size > 0 && filling.resident <= filling.size
}

/// Seconds until all `size` bytes are there, at `per_second`; `None` if nothing comes, or no wire is so quick, or it would
/// take longer than anybody waits.
pub(super) fn independent_s(resident: u64, size: u64, per_second: u64) -> Option<u64> {
    if per_second == 0 || per_second > MAX_PER_SECOND {
        return None;
    }
    let seconds = size.saturating_sub(resident).div_ceil(per_second);
    (seconds <= MAX_SECONDS).then_some(seconds)
}

/// The share of a hundred, which only all of it is.
fn percent(resident: u64, size: u64) -> Option<u8> {
    let share = (u128::from(resident) * 100).checked_div(u128::from(size))?;
    u8::try_from(share.min(100)).ok()
}

/// What a machine does that runs with a part of its image: `running, 37 % resident, 12 s to independence`.
pub(super) fn sentence(filling: &snapshot::Filling) -> String {
    let more = match filling {
        _ if filling.heard_s > PATIENCE.as_secs() && filling.resident.is_some() => {
            format!(", not heard of for {}", span(filling.heard_s))
        }
        // A reader of its blocks is still written down.
        _ if filling.percent == WHOLE => ", records what it reads".to_owned(),
        snapshot::Filling {
            independent_s: Some(seconds),
            ..
        } => format!(", {} to independence", span(*seconds)),
        snapshot::Filling { resident: None, .. } => String::new(),
        _ => ", waits for the manager".to_owned(),
    };
    format!("running, {} % resident{more}", filling.percent)
}

/// All, of a hundred.
pub(super) const WHOLE: u8 = 100;
/// So long those heartbeats may be missing that say how far an image is: four may be lost.
const PATIENCE: Duration = Duration::from_secs(5 * FILLING_SECONDS);
/// A terabit.
const MAX_PER_SECOND: u64 = 125_000_000_000;
/// A day: what takes longer does not go on.
const MAX_SECONDS: u64 = 24 * 3600;
/// A month: what is longer is nonsense.
const MAX_BLOCKED_S: u64 = 30 * 24 * 3600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn independence_is_as_far_as_the_bytes_that_are_missing() {
        for (resident, size, per_second, want) in [
            (37, 100, 10, Some(7)),
            (0, 100, 100, Some(1)),
            (99, 100, 1_000_000, Some(1)),
            (100, 100, 10, Some(0)),
            (37, 100, 0, None),
            // More than all.
            (200, 100, 10, Some(0)),
            (0, u64::MAX, 1, None),
            (0, 86_400, 1, Some(86_400)),
            (0, 86_401, 1, None),
            (0, u64::MAX, u64::MAX, None),
        ] {
            let found = independent_s(resident, size, per_second);
            assert_eq!(found, want, "{resident} of {size}, {per_second} a second");
        }
    }

    #[test]
    fn only_all_of_it_is_a_hundred_percent() {
        for (resident, size, want) in [
            (0, 1, Some(0)),
            (37, 100, Some(37)),
            (999_999, 1_000_000, Some(99)),
            (u64::MAX - 1, u64::MAX, Some(99)),
            (u64::MAX, u64::MAX, Some(100)),
            (7, 1, Some(100)),
            (0, 0, None),
        ] {
            assert_eq!(percent(resident, size), want, "{resident} of {size}");
        }
    }

    #[test]
    fn what_cannot_be_is_seen() {
        for (resident, size, want) in [
            (0, 0, false),
            (2, 1, false),
            (u64::MAX, 1, false),
            (0, 1, true),
            (1, 1, true),
            (u64::MAX, u64::MAX, true),
        ] {
            let filling = Filling {
                resident,
                size,
                per_second: 0,
                blocked_ms: 0,
            };
            assert_eq!(is_possible(&filling), want, "{resident} of {size}");
        }
    }
}
