#![expect(clippy::disallowed_methods, reason = "any moment will do as the first")]
use super::*;
use proptest::prelude::*;

fn worker(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

/// Asks and is admitted if there is room, as the shell does.
fn ask(turns: &mut Turns, number: u8, now: Instant) -> bool {
    turns.ask(worker(number), now) == Answer::Go || turns.admit(now).contains(&worker(number))
}

#[test]
fn first_come_first_served_and_who_began_goes_on() {
    let (now, mut turns) = (Instant::now(), Turns::new(Instant::now()));
    for number in 1..=4 {
        assert!(ask(&mut turns, number, now));
    }
    assert!(!ask(&mut turns, 5, now));
    assert!(!ask(&mut turns, 6, now));
    assert!(ask(&mut turns, 1, now), "goes on");
    turns.gone(worker(2));
    assert_eq!(turns.admit(now), [worker(5)]);
    assert_eq!(turns.ask(worker(5), now), Answer::Go);
    turns.gone(worker(3));
    assert_eq!(turns.admit(now), [worker(6)]);
    assert!(turns.line.is_empty() && !turns.is_idle());
}

#[test]
fn a_place_is_told_and_kept() {
    let (now, mut turns) = (Instant::now(), Turns::new(Instant::now()));
    for number in 1..=7 {
        ask(&mut turns, number, now);
    }
    let place = |place, waiting| Some(Place { place, waiting });
    assert_eq!(turns.leave(worker(6), now), place(2, 3));
    assert_eq!(turns.leave(worker(5), now), place(1, 3));
    assert_eq!(turns.leave(worker(1), now), None, "does not wait");
    turns.gone(worker(1));
    assert_eq!(turns.admit(now), [worker(7)], "the others are away");
    turns.gone(worker(2));
    turns.ask(worker(6), now);
    turns.ask(worker(5), now);
    assert_eq!(turns.admit(now), [worker(5)], "it came first");
    // Away for too long.
    turns.leave(worker(6), now);
    turns.tick(0, now + AWAY);
    assert!(!turns.line.is_empty());
    turns.tick(0, now + AWAY + PERIOD);
    assert!(turns.line.is_empty());
}

#[test]
fn who_gets_nothing_does_not_keep_others_waiting() {
    let (now, mut turns) = (Instant::now(), Turns::new(Instant::now()));
    for number in 1..=6 {
        ask(&mut turns, number, now);
    }
    let later = now + STALLED;
    turns.sent(worker(1), 1, later);
    turns.sent(worker(2), 0, later);
    turns.sent(worker(3), 5, later);
    turns.sent(worker(4), 5, later);
    assert_eq!(turns.admit(later), [worker(5)]);
    turns.sent(worker(2), 7, later);
    turns.gone(worker(1));
    assert!(turns.admit(later).is_empty(), "the second moves again");
}

/// Workers of one size over a link: when each has all, by turns and all at once.
fn race(workers: u8, link: u64, each: u64, size: u64) -> (f64, f64) {
    let step = Duration::from_millis(10);
    let begin = Instant::now();
    let (mut now, mut turns) = (begin, Turns::new(begin));
    let (mut got, mut total) = (HashMap::<IpAddr, u64>::new(), 0);
    let mut ends = Vec::new();
    for number in 1..=workers {
        turns.ask(worker(number), now);
    }
    while ends.len() < usize::from(workers) {
        for worker in turns.admit(now) {
            got.insert(worker, 0);
        }
        now += step;
        let share = (link / got.len() as u64).min(each) / 100;
        got.retain(|worker, bytes| {
            *bytes += share;
            total += share;
            turns.sent(*worker, *bytes, now);
            if *bytes >= size {
                turns.gone(*worker);
                ends.push(now.duration_since(begin).as_secs_f64());
            }
            *bytes < size
        });
        turns.tick(total, now);
    }
    let mean = ends.iter().sum::<f64>() / ends.len() as f64;
    (mean, ends.last().copied().unwrap_or_default())
}

#[test]
fn the_mean_falls_towards_half_and_the_last_is_hardly_later() {
    // The third: forty whose own ports are a tenth of the link go in fours of ten, and the last four leave it half empty.
    for (workers, link, each, size, mean_bar, last_bar) in [
        (100, 125_000_000, 125_000_000, 50_000_000, 0.6, 1.05),
        (100, 1_250_000_000, 125_000_000, 200_000_000, 0.65, 1.1),
        (40, 125_000_000, 12_500_000, 200_000_000, 0.75, 1.2),
        (200, 125_000_000, 125_000_000, 5_000_000, 0.6, 1.1),
    ] {
        let at_once = f64::from(workers) * size as f64 / link as f64;
        let (mean, last) = race(workers, link, each, size);
        let figures =
            format!("{workers}: mean {mean:.1} s, last {last:.1} s, all at once {at_once:.1} s");
        assert!(
            mean <= mean_bar * at_once && last <= last_bar * at_once,
            "{figures}"
        );
    }
}

proptest! {
    /// Nobody is lost: whatever happens, everybody who stays in line is named in the end.
    #[test]
    fn nobody_waits_for_ever(steps in prop::collection::vec((0_u8..5, 1_u8..30, 0_u64..3000), 0..300)) {
        let mut now = Instant::now();
        let mut turns = Turns::new(now);
        let mut held: HashMap<u8, u32> = HashMap::new();
        for (what, number, ms) in steps {
            now += Duration::from_millis(ms);
            match what {
                0 | 1 => if turns.ask(worker(number), now) == Answer::Wait {
                    *held.entry(number).or_default() += 1;
                },
                2 => if held.get(&number).is_some_and(|held| *held > 0) {
                    if let Some(place) = turns.leave(worker(number), now) {
                        prop_assert!(1 <= place.place && place.place <= place.waiting);
                    }
                    held.entry(number).and_modify(|held| *held -= 1);
                },
                3 => turns.gone(worker(number)),
                _ => turns.tick(ms, now),
            }
            for named in turns.admit(now) {
                let IpAddr::V4(named) = named else { unreachable!() };
                prop_assert!(held.remove(&named.octets()[3]).is_some_and(|held| held > 0));
            }
            prop_assert_eq!(turns.line.len(), turns.waiting.len());
        }
        held.retain(|_, held| *held > 0);
        for number in 0..=255 {
            turns.gone(worker(number));
            for named in turns.admit(now) {
                let IpAddr::V4(named) = named else { unreachable!() };
                held.remove(&named.octets()[3]);
            }
        }
        // The admitted have to go, too, before the last ones are.
        while !held.is_empty() {
            let before = held.len();
            for number in 0..=255 {
                turns.gone(worker(number));
            }
            for named in turns.admit(now) {
                let IpAddr::V4(named) = named else { unreachable!() };
                held.remove(&named.octets()[3]);
            }
            prop_assert!(held.len() < before);
        }
    }
}
