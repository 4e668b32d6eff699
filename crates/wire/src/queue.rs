//! Waiting for one's turn: how a worker says that it would wait, and how a manager tells it where it stands.
//!
//! A worker that asks with `Prefer: wait=<seconds>` (RFC 7240 §4.3) may be let wait that long for the first byte, and be
//! answered `503` with `Retry-After` (RFC 9110 §10.2.3) and [`FIELD`] when its turn has not come by then. Who does not
//! say that it would wait is served at once.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The header field of a `503` that holds a [`Place`].
pub const FIELD: &str = "ramboot-queue";

/// How long a worker waits for an answer's head: shorter than the two seconds after which a person wonders.
pub const WAIT: Duration = Duration::from_secs(1);

/// A place in a queue: `3/17` is the third of seventeen that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The first is 1.
    pub place: u32,
    /// How many wait, this one included.
    pub waiting: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.place, self.waiting)
    }
}

/// Not `<place>/<waiting>` with 1 ≤ place ≤ waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPlace;

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a place in a queue, as 3/17 is")
    }
}

impl std::error::Error for NoPlace {}

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let number = |text: &str| {
            // `parse` alone takes a sign.
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten().ok_or(NoPlace)
        };
        let (place, waiting) = text.split_once('/').ok_or(NoPlace)?;
        let (place, waiting) = (number(place)?, number(waiting)?);
        if 1 <= place && place <= waiting {
            Ok(Self { place, waiting })
        } else {
            Err(NoPlace)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_place_is_inside_its_queue() {
        let place = Place {
            place: 3,
            waiting: 17,
        };
        assert_eq!("3/17".parse(), Ok(place));
        for text in [
            "",
            "/",
            "3",
            "3/",
            "/17",
            "0/17",
            "18/17",
            "+3/17",
            "3/17/",
            " 3/17",
            "3/99999999999",
        ] {
            assert_eq!(text.parse::<Place>(), Err(NoPlace), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(place in 1..=u32::MAX, more in any::<u32>()) {
            let place = Place { place, waiting: place.saturating_add(more) };
            prop_assert_eq!(place.to_string().parse(), Ok(place));
        }

        #[test]
        fn never_panics(text in ".{0,20}") {
            let _ = text.parse::<Place>();
        }
    }
}
