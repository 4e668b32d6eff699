//! Storms in simulated time: workers over a link that all share whose turn it is.
#![expect(clippy::disallowed_methods, reason = "any moment will do as the first")]
use super::*;

const STEP: Duration = Duration::from_millis(10);
/// A request for the rest is of four chunks; `/init` has four streams.
const REQUEST: u64 = 1 << 20;
const MB: u64 = 1_000_000;

/// A worker that came, and what it got.
struct One {
    came: f64,
    hot: u64,
    got: u64,
    /// Bytes that it was let go and does not have yet.
    on_its_way: u64,
    waits: bool,
    runs: Option<f64>,
    all: Option<f64>,
}

/// So many workers of one size, one each `apart`; when each runs and when it has all.
struct Storm {
    workers: u8,
    apart: f64,
    link: u64,
    hot: u64,
    size: u64,
}

impl Storm {
    fn run(&self, until: f64) -> Vec<One> {
        let begin = Instant::now();
        let (mut turns, mut total) = (Queue::new(begin), 0);
        let mut ones: Vec<One> = Vec::new();
        for step in 0_u32.. {
            let (now, seconds) = (begin + STEP * step, f64::from(step) * 0.01);
            while ones.len() < usize::from(self.workers)
                && ones.len() as f64 * self.apart <= seconds
            {
                ones.push(One {
                    came: seconds,
                    hot: self.hot,
                    got: 0,
                    on_its_way: 0,
                    waits: false,
                    runs: None,
                    all: None,
                });
            }
            if seconds > until || ones.iter().all(|one| one.all.is_some()) {
                return ones;
            }
            self.ask(&mut ones, &mut turns, now);
            total += self.send(&mut ones, &mut turns, seconds, now);
            turns.tick(total, now);
        }
        ones
    }

    /// Each asks as soon as one of its four streams has nothing to do, unless it waits.
    fn ask(&self, ones: &mut [One], turns: &mut Queue, now: Instant) {
        for (one, number) in ones.iter_mut().zip(1..) {
            let worker = worker(number);
            let (class, end) = self.wants(one);
            let left = (end - one.got - one.on_its_way).div_ceil(REQUEST);
            let streams = 4_u64.saturating_sub(one.on_its_way.div_ceil(REQUEST));
            for _ in 0..streams.min(left) {
                if !one.waits && turns.ask(worker, class, now) == Answer::Go {
                    one.on_its_way += REQUEST.min(end - one.got - one.on_its_way);
                } else {
                    one.waits = true;
                }
            }
        }
        for named in turns.admit(now) {
            let IpAddr::V4(named) = named else { continue };
            if let Some(one) = ones.get_mut(usize::from(named.octets()[3]) - 1) {
                one.on_its_way += REQUEST.min(self.wants(one).1 - one.got - one.on_its_way);
                one.waits = false;
            }
        }
    }

    fn wants(&self, one: &One) -> (Class, u64) {
        match one.runs {
            None if self.hot < self.size => (Class::Hot, one.hot),
            None => (Class::Whole, self.size),
            Some(_) => (Class::Rest, self.size),
        }
    }

    /// All share the link.
    fn send(&self, ones: &mut [One], turns: &mut Queue, seconds: f64, now: Instant) -> u64 {
        let mut room = self.link / 100;
        while let busy @ 1.. = ones.iter().filter(|one| one.on_its_way > 0).count() as u64
            && room >= busy
        {
            let share = room / busy;
            for one in ones.iter_mut() {
                let bytes = share.min(one.on_its_way);
                one.on_its_way -= bytes;
                one.got += bytes;
                room -= bytes;
            }
        }
        for (one, number) in ones.iter_mut().zip(1..) {
            turns.sent(worker(number), one.got, now);
            let ends = |at: &mut Option<f64>, bytes| {
                let ends = at.is_none() && one.got >= bytes;
                if ends {
                    *at = Some(seconds - one.came);
                }
                ends
            };
            // Its streams end, and begin anew.
            if ends(&mut one.runs, one.hot) | ends(&mut one.all, self.size) {
                turns.gone(worker(number), now);
            }
        }
        self.link / 100 - room
    }
}

fn worker(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

fn median_and_last(times: impl Iterator<Item = Option<f64>>) -> (f64, f64) {
    let mut times: Vec<f64> = times.map(|time| time.expect("an end")).collect();
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() - 1])
}

/// A hundred workers of 200 MB over 1 Gbit/s, of which 35 MB are hot.
#[test]
fn a_hundred_run_before_any_has_all() {
    let storm = |hot| Storm {
        workers: 100,
        apart: 0.0,
        link: 125 * MB,
        hot,
        size: 200 * MB,
    };
    let full = storm(200 * MB).run(1000.0);
    let stream = storm(35 * MB).run(1000.0);
    let runs = median_and_last(stream.iter().map(|one| one.runs));
    let all = median_and_last(stream.iter().map(|one| one.all));
    let full = median_and_last(full.iter().map(|one| one.all));
    let figures = format!("full {full:.1?} s; stream: runs {runs:.1?} s, has all {all:.1?} s");
    // 28 s are 100 × 35 MB; a sixteenth of the link is the rest's meanwhile.
    assert!(runs.0 <= 16.0 && runs.1 <= 28.0 * 1.1, "{figures}");
    assert!((155.0..176.0).contains(&full.1), "{figures}");
    assert!(all.1 <= full.1 * 1.05, "{figures}");
}

/// Newcomers fill the link for ever: 35 MB each 0.27 s. The first ones have all of their image nevertheless.
#[test]
fn the_rest_comes_although_newcomers_fill_the_link() {
    let storm = Storm {
        workers: 250,
        apart: 0.27,
        link: 125 * MB,
        hot: 35 * MB,
        size: 65 * MB,
    };
    // After 60 s, 220 have come.
    let ones = storm.run(60.0);
    let all = ones.iter().filter(|one| one.all.is_some()).count() as f64;
    let bytes = 60.0 * 125.0 / background::PART as f64;
    assert!(
        all * 30.0 >= bytes * 0.8,
        "{all} of {} have all, {bytes:.0} MB were their share",
        ones.len()
    );
    // 35 MB take 0.28 s, and a sixteenth is not theirs: of 60 s of newcomers, 54 s' are served, the others wait.
    let slow = ones.iter().filter_map(|one| one.runs).fold(0.0, f64::max);
    assert!(slow <= 7.5, "newcomers run within {slow:.1} s");
}
