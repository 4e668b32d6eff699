//! How many workers may fetch at a time, found by measuring: the fewest that fill the link. Pure.
//!
//! A thousand workers that share a link all finish at its end; the same workers one after the other finish, on the mean,
//! in half that time, and the last one no later. "One after the other" is right only if one fills the link: a Raspberry
//! Pi's port takes a tenth of a server's. So the limit is doubled while that makes the sum of all faster, and halved
//! while it makes it no slower.

/// The search, from period to period.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Limit {
    now: u32,
    best: Best,
    step: Step,
}

/// The best limit known, and what all workers together got with it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Best {
    limit: u32,
    rate: f64,
}

/// What the current limit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Measured, so that there is something to compare with.
    Base,
    /// Twice the best.
    Up,
    /// Half the best.
    Down,
    /// The best, for so many periods.
    Rest(u32),
}

/// Two, so that one begins while the other's end is on its way.
const FEWEST: u32 = 2;
/// Half a rack; a link that is filled by four keeps half of it waiting for a few periods only.
const FIRST: u32 = 4;
const MOST: u32 = 1024;
/// Twice as many workers are worth it from this gain on: less is what a busy machine's rates scatter.
const WORTH: f64 = 1.15;
/// From this gain on, twice as many got nearly twice as much: the link is not full.
const DOUBLE: f64 = 1.7;
/// Half as many may cost this much.
const NO_SLOWER: f64 = 0.95;
/// Periods until it is looked again: links and workers change.
const REST: u32 = 100;

impl Limit {
    pub(super) const fn new() -> Self {
        let best = Best {
            limit: FIRST,
            rate: 0.0,
        };
        Self {
            now: FIRST,
            best,
            step: Step::Base,
        }
    }

    /// Workers that may fetch at a time.
    pub(super) const fn get(&self) -> u32 {
        self.now
    }

    /// A period went by in which as many as may were fetching and others waited; `rate` is what all of them got.
    pub(super) fn measured(&mut self, rate: f64) {
        let best = self.best.rate;
        match self.step {
            Step::Up if rate >= best * DOUBLE => self.keep(rate),
            // Faster, but not by as much as there are more: the link is full, and was filled by so many.
            Step::Up if rate >= best * WORTH => {
                self.now = filled_by(self.best.limit, rate / best);
                self.keep(rate);
                self.step = Step::Rest(REST);
                return;
            }
            // Fewer than the first are tried only while there were never more: many workers that are halved have to
            // end before half of them can be measured, and the link would be half empty meanwhile.
            Step::Up if self.best.limit <= FIRST => {
                return self.go(self.best.limit / 2, Step::Down);
            }
            Step::Down if rate >= best * NO_SLOWER => {
                self.keep(best.max(rate));
                return self.go(self.now / 2, Step::Down);
            }
            Step::Up | Step::Down => return self.go(self.best.limit, Step::Rest(REST)),
            Step::Rest(left @ 1..) => return self.step = Step::Rest(left - 1),
            Step::Base | Step::Rest(0) => self.keep(rate),
        }
        self.go(self.now.saturating_mul(2), Step::Up);
    }

    const fn keep(&mut self, rate: f64) {
        self.best = Best {
            limit: self.now,
            rate,
        };
    }

    /// The next step, if that limit is possible and another one.
    fn go(&mut self, limit: u32, step: Step) {
        let possible = limit.clamp(FEWEST, MOST);
        self.step = if possible == self.best.limit {
            Step::Rest(REST)
        } else {
            step
        };
        self.now = possible;
    }
}

/// So many times `workers`, which is between one and two times.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a few hundred, and `as` saturates"
)]
fn filled_by(workers: u32, times: f64) -> u32 {
    (f64::from(workers) * times)
        .ceil()
        .clamp(f64::from(FEWEST), f64::from(MOST)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Where the search stands most of the time on a link that `fill` workers fill.
    fn settles(fill: u32, noise: &[f64]) -> u32 {
        let mut limit = Limit::new();
        let mut seen = Vec::new();
        for period in 0..400 {
            let rate = f64::from(limit.get().min(fill)) / f64::from(fill);
            limit.measured(rate * noise[period % noise.len()]);
            seen.push(limit.get());
        }
        seen.sort_unstable();
        seen[seen.len() / 2]
    }

    #[test]
    fn as_many_as_fill_the_link() {
        for (fill, want) in [
            (1, 2),
            (2, 2),
            (3, 4),
            (4, 4),
            (10, 10),
            (100, 100),
            (1000, 1024),
        ] {
            assert_eq!(settles(fill, &[1.0]), want, "{fill} fill it");
        }
    }

    #[test]
    fn a_link_that_becomes_faster_is_found_out() {
        let mut limit = Limit::new();
        for _ in 0..100 {
            limit.measured(1.0);
        }
        assert!(limit.get() <= 4);
        for _ in 0..200 {
            limit.measured(f64::from(limit.get().min(64)));
        }
        assert!(limit.get() >= 50, "{}", limit.get());
    }

    proptest! {
        #[test]
        fn always_within_bounds(rates in prop::collection::vec(0.0..1e12_f64, 0..500)) {
            let mut limit = Limit::new();
            for rate in rates {
                limit.measured(rate);
                prop_assert!((FEWEST..=MOST).contains(&limit.get()));
            }
        }

        /// Rates that scatter by 5 % do not starve a link: what is allowed fills half of it at least.
        #[test]
        fn noise_starves_nobody(fill in 1_u32..300, noise in prop::collection::vec(0.975..1.025_f64, 37)) {
            prop_assert!(settles(fill, &noise) * 2 >= fill.min(MOST));
        }
    }
}
