//! Chance from a seed (splitmix64): the same seed, the same storm.

use std::time::Duration;

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// One stream for each machine of a storm.
    pub(crate) const fn new(seed: u64, machine: u32) -> Self {
        Self(seed ^ (machine as u64).wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub(crate) const fn word(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.next().to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// Anything below `most`, all equally likely.
    pub(crate) fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(f64::from(self.word()) / f64::from(u32::MAX))
    }

    /// Within a quarter of `about`, either way.
    pub(crate) fn around(&mut self, about: Duration) -> Duration {
        about.mul_f64(0.75) + self.up_to(about.mul_f64(0.5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_storm() {
        let numbers = |seed, machine| {
            let mut random = Random::new(seed, machine);
            [random.next(), random.next()]
        };
        assert_eq!(numbers(1, 2), numbers(1, 2));
        assert_ne!(numbers(1, 2), numbers(1, 3));
        assert_ne!(numbers(1, 2), numbers(2, 2));
        let mut random = Random::new(7, 7);
        let about = Duration::from_secs(4);
        for _ in 0..1000 {
            let time = random.around(about);
            assert!((3.0..=5.0).contains(&time.as_secs_f64()), "{time:?}");
        }
    }
}
