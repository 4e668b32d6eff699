//! Something that is dear to make, and is made now and then however many ask for it. Pure.

use std::time::Duration;

/// The last one that was made.
#[derive(Debug)]
pub(super) struct Kept<T> {
    last: Option<(T, Duration)>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { last: None }
    }
}

impl<T: Clone> Kept<T> {
    /// The last one, or a new one where that is too old. `now` is asked again after it was made.
    ///
    /// # Errors
    /// It cannot be made; the next who asks tries again.
    pub(super) fn get<E>(
        &mut self,
        now: impl Fn() -> Duration,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let began = now();
        if let Some((kept, until)) = &self.last
            && began < *until
        {
            return Ok(kept.clone());
        }
        let made = make()?;
        let done = now();
        let rest = (done.saturating_sub(began) * SHARE).max(LEAST);
        self.last = Some((made.clone(), done + rest));
        Ok(made)
    }
}

/// Nobody reads faster.
const LEAST: Duration = Duration::from_secs(1);
/// What takes long is made less often: at most a fifth of one processor's time.
const SHARE: u32 = 4;

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use super::*;

    /// Asks at each of these milliseconds, and making one takes `takes`: how often one was made.
    fn made(asked: impl Iterator<Item = u64>, takes: u64) -> u32 {
        let (mut kept, made) = (Kept::default(), Cell::new(0));
        let clock = Cell::new(0);
        for ms in asked {
            clock.set(clock.get().max(ms));
            let make = || {
                made.set(made.get() + 1);
                clock.set(clock.get() + takes);
                Ok::<_, Infallible>(made.get())
            };
            let now = || Duration::from_millis(clock.get());
            let Ok(got) = kept.get(now, make);
            assert_eq!(got, made.get(), "the newest");
        }
        made.get()
    }

    #[test]
    fn a_thousand_who_ask_in_a_second_get_one() {
        assert_eq!(made(0..1_000, 0), 1);
        assert_eq!(made(0..2_000, 0), 2);
        assert_eq!(made((0..10_000).step_by(10), 0), 10);
    }

    #[test]
    fn what_takes_long_is_made_less_often() {
        // Two seconds, and eight of rest.
        assert_eq!(made((0..30_000).step_by(10), 2_000), 3);
    }

    #[test]
    fn what_failed_is_tried_again() {
        let mut kept = Kept::default();
        let now = || Duration::ZERO;
        assert_eq!(kept.get(now, || Err::<u8, _>("no disk")), Err("no disk"));
        assert_eq!(kept.get(now, || Ok::<_, &str>(1)), Ok(1));
    }
}
