#![expect(clippy::disallowed_methods, reason = "any moment will do as the first")]
use super::*;
use proptest::prelude::*;

fn worker(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

/// Asks and is admitted if there is room, as the shell does.
fn ask(turns: &mut Queue, number: u8, now: Instant) -> bool {
    asks(turns, number, Class::Whole, now)
}

fn asks(turns: &mut Queue, number: u8, class: Class, now: Instant) -> bool {
    turns.ask(worker(number), class, now) != Answer::Wait
        || turns.admit(now).contains(&worker(number))
}

#[test]
fn first_come_first_served_and_who_began_goes_on() {
    let (now, mut turns) = (Instant::now(), Queue::new(Instant::now()));
    for number in 1..=4 {
        assert!(ask(&mut turns, number, now));
    }
    assert!(!ask(&mut turns, 5, now));
    assert!(!ask(&mut turns, 6, now));
    assert!(ask(&mut turns, 1, now), "goes on");
    turns.gone(worker(2), now);
    assert_eq!(turns.admit(now), [worker(5)]);
    assert_eq!(turns.ask(worker(5), Class::Whole, now), Answer::Go);
    turns.gone(worker(3), now);
    assert_eq!(turns.admit(now), [worker(6)]);
    assert!(turns.line.is_empty() && !turns.is_idle());
}

#[test]
fn a_place_is_told_and_kept() {
    let (now, mut turns) = (Instant::now(), Queue::new(Instant::now()));
    for number in 1..=7 {
        ask(&mut turns, number, now);
    }
    let place = |place, waiting| Some(Place { place, waiting });
    assert_eq!(turns.leave(worker(6), now), place(2, 3));
    assert_eq!(turns.leave(worker(5), now), place(1, 3));
    assert_eq!(turns.leave(worker(1), now), None, "does not wait");
    turns.gone(worker(1), now);
    assert_eq!(turns.admit(now), [worker(7)], "the others are away");
    turns.gone(worker(2), now);
    turns.ask(worker(6), Class::Whole, now);
    turns.ask(worker(5), Class::Whole, now);
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
    let (now, mut turns) = (Instant::now(), Queue::new(Instant::now()));
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
    turns.gone(worker(1), now);
    assert!(turns.admit(later).is_empty(), "the second moves again");
}

#[test]
fn the_rest_is_behind_all_who_do_not_run_and_takes_what_they_leave() {
    use Class::{Hot, Rest, Whole};
    let (now, mut turns) = (Instant::now(), Queue::new(Instant::now()));
    let go = |turns: &mut Queue, number, class| asks(turns, number, class, now);
    for number in 1..=4 {
        assert!(go(&mut turns, number, Hot));
    }
    assert!(!go(&mut turns, 5, Rest), "came first, and is behind");
    assert!(!go(&mut turns, 6, Whole));
    assert!(!go(&mut turns, 7, Hot));
    let place = |place, waiting| Some(Place { place, waiting });
    assert_eq!(turns.leave(worker(5), now), place(3, 3));
    turns.ask(worker(5), Rest, now);
    // The first has what is hot: its turn is over, and it stands behind.
    assert!(!go(&mut turns, 1, Rest));
    assert_eq!(turns.ask(worker(6), Whole, now), Answer::Go, "was named");
    // The others have it, too, and are away for a moment.
    for number in 2..=4 {
        turns.gone(worker(number), now);
    }
    assert_eq!(turns.admit(now), [7, 5, 1].map(worker));
    assert!(go(&mut turns, 5, Rest), "goes on");
    // Two more come: they are let in at once, and those who run give way request by request, the last one first.
    assert!(go(&mut turns, 8, Whole));
    assert!(!go(&mut turns, 1, Rest));
    assert!(go(&mut turns, 5, Rest));
    assert!(go(&mut turns, 9, Whole));
    assert!(!go(&mut turns, 5, Rest));
    // It kept its place.
    turns.gone(worker(9), now);
    assert_eq!(turns.admit(now), [worker(5)]);
}

#[test]
fn what_a_running_worker_is_blocked_on_never_waits() {
    use Class::{Hot, Rest, Whole};
    let (now, mut turns) = (Instant::now(), Queue::new(Instant::now()));
    let go = |turns: &mut Queue, number, class| asks(turns, number, class, now);
    for number in 1..=9 {
        go(&mut turns, number, if number == 4 { Hot } else { Whole });
    }
    assert!(!go(&mut turns, 10, Rest));
    assert!(go(&mut turns, 10, Hot), "it waits for the rest alone");
    // Its turn was for what is hot: when its streams end it runs, before it says so.
    turns.gone(worker(4), now);
    assert_eq!(turns.admit(now), [worker(5)]);
    assert!(go(&mut turns, 4, Hot));
    // Who fetched all has not begun to run by that; who was switched off and on does not run any more.
    turns.gone(worker(1), now);
    assert_eq!(turns.admit(now), [worker(6)]);
    assert!(!go(&mut turns, 1, Hot));
    assert!(!go(&mut turns, 10, Whole));
    assert!(!go(&mut turns, 10, Hot));
}

#[test]
fn a_sixteenth_is_for_the_rest_one_after_the_other() {
    use Class::{Rest, Whole};
    let (now, mut turns) = (Instant::now(), Queue::new(Instant::now()));
    for number in 1..=4 {
        ask(&mut turns, number, now);
    }
    assert!(!asks(&mut turns, 5, Rest, now));
    assert!(!asks(&mut turns, 6, Rest, now));
    assert!(!asks(&mut turns, 7, Whole, now));
    // As much as is one request's part.
    turns.tick(background::PART << 20, now);
    assert_eq!(turns.admit(now), [worker(5)]);
    assert!(!asks(&mut turns, 5, Rest, now), "that was its share");
    turns.tick((background::PART << 20) * 2, now);
    assert_eq!(turns.admit(now), [worker(5)], "first come, first served");
    turns.gone(worker(5), now);
    turns.tick((background::PART << 20) * 3, now);
    assert_eq!(turns.admit(now), [worker(6)]);
}

/// Workers of one size over a link: when each has all, by turns and all at once.
fn race(workers: u8, link: u64, each: u64, size: u64) -> (f64, f64) {
    let step = Duration::from_millis(10);
    let begin = Instant::now();
    let (mut now, mut turns) = (begin, Queue::new(begin));
    let (mut got, mut total) = (HashMap::<IpAddr, u64>::new(), 0);
    let mut ends = Vec::new();
    for number in 1..=workers {
        turns.ask(worker(number), Class::Whole, now);
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
                turns.gone(*worker, now);
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

fn class() -> impl Strategy<Value = Class> {
    prop::sample::select(vec![Class::Hot, Class::Whole, Class::Rest])
}

proptest! {
    /// Nobody is lost: whatever happens, everybody who stays in line is named in the end.
    #[test]
    fn nobody_waits_for_ever(steps in prop::collection::vec((0_u8..5, 1_u8..30, class(), 0_u64..3000), 0..300)) {
        let mut now = Instant::now();
        let mut turns = Queue::new(now);
        let mut held: HashMap<u8, u32> = HashMap::new();
        for (what, number, class, ms) in steps {
            now += Duration::from_millis(ms);
            match what {
                0 | 1 => if turns.ask(worker(number), class, now) == Answer::Wait {
                    *held.entry(number).or_default() += 1;
                },
                2 => if held.get(&number).is_some_and(|held| *held > 0) {
                    if let Some(place) = turns.leave(worker(number), now) {
                        prop_assert!(1 <= place.place && place.place <= place.waiting);
                    }
                    held.entry(number).and_modify(|held| *held -= 1);
                },
                3 => turns.gone(worker(number), now),
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
            turns.gone(worker(number), now);
            for named in turns.admit(now) {
                let IpAddr::V4(named) = named else { unreachable!() };
                held.remove(&named.octets()[3]);
            }
        }
        // The admitted have to go, too, before the last ones are.
        while !held.is_empty() {
            let before = held.len();
            for number in 0..=255 {
                turns.gone(worker(number), now);
            }
            for named in turns.admit(now) {
                let IpAddr::V4(named) = named else { unreachable!() };
                held.remove(&named.octets()[3]);
            }
            prop_assert!(held.len() < before);
        }
    }

    /// Whoever asks what meanwhile: a worker that is blocked four times a second is never let wait.
    #[test]
    fn demand_is_let_go_at_once(steps in prop::collection::vec((2_u8..30, class(), 0_u64..500), 0..200)) {
        let mut now = Instant::now();
        let mut turns = Queue::new(now);
        turns.ask(worker(1), Class::Rest, now);
        for (number, class, ms) in steps {
            turns.ask(worker(number), class, now);
            turns.admit(now);
            turns.tick(ms << 20, now);
            now += Duration::from_millis(ms.max(250));
            prop_assert_eq!(turns.ask(worker(1), Class::Hot, now), Answer::Urgent);
        }
    }
}
