//! Ten thousand universes of servers that fail, stall and lie, and what a worker must make of each of them.
//!
//! `RAMBOOT_UNIVERSES` is their number, `RAMBOOT_SEED` the seed of the first; each one's seed is one more than that of
//! the one before. A universe that fails is told with its seed, and with a simpler one that fails, too.
#![expect(
    clippy::disallowed_methods,
    reason = "a shell's test: sockets, threads, waiting"
)]

mod answer;
mod chance;
mod fault;
mod image;
mod predict;
mod run;
mod server;
mod universe;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::num::ParseIntError;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use predict::{Outcome, limits, predict};
use universe::Universe;

#[test]
fn ten_thousand_universes() {
    let seed = number("RAMBOOT_SEED").unwrap_or_else(|| u64::from(ramboot_fetch::clock::chance()));
    let count = number("RAMBOOT_UNIVERSES").unwrap_or(UNIVERSES);
    say(&format!("universes: {count} from RAMBOOT_SEED={seed}"));
    let before = open();
    let all = (0..count).map(|number| Universe::new(seed.wrapping_add(number)));
    // Those that stall run by themselves and sleep most of the time, so that no thread waits for its turn for as long
    // as it takes to call somebody stalled.
    let (slow, quick): (Vec<_>, Vec<_>) = all.partition(Universe::is_slow);
    let (boot, wait): (Vec<_>, Vec<_>) = quick
        .into_iter()
        .partition(|universe| predict(universe) == Outcome::Boots);
    let (met, mut failed) = (Met::default(), Vec::new());
    for (kind, universes, most) in [("boot", boot, 16), ("wait", wait, 16), ("stall", slow, 40)] {
        let since = Instant::now();
        failed.extend(side_by_side(&universes, most, &met));
        let (number, took) = (universes.len(), since.elapsed());
        say(&format!("universes: {number} that {kind} in {took:.1?}"));
        if !failed.is_empty() {
            break;
        }
    }
    failed.sort_by_key(|(universe, _)| universe.seed);
    if let Some((first, _)) = failed.first() {
        let all: String = failed.iter().map(|(u, why)| tell(u, why)).collect();
        let simpler = simplest(first).map(|(u, why)| format!("simpler: {}", tell(&u, &why)));
        panic!("{all}{}", simpler.unwrap_or_default());
    }
    let met = met.into_inner().expect("lock");
    say(&format!("universes: faults met: {met:?}"));
    assert!(
        count < ENOUGH || met.len() == fault::KINDS,
        "a kind of fault was never met"
    );
    let until = Instant::now() + Duration::from_secs(10);
    while open().iter().zip(before).any(|(now, before)| *now > before) {
        assert!(
            Instant::now() < until,
            "threads and files before: {before:?}, and after: {:?}",
            open()
        );
        thread::yield_now();
    }
}

/// How many requests met a fault, by its name.
type Met = Mutex<BTreeMap<String, u64>>;

/// Runs all of them, `most` at a time, until one fails.
fn side_by_side(universes: &[Universe], most: usize, met: &Met) -> Vec<(Universe, String)> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..most {
            scope.spawn(|| {
                while let Some(universe) = universes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match run::run(universe) {
                        Ok(faults) => {
                            let mut met = met.lock().expect("lock");
                            for fault in faults {
                                *met.entry(fault.name()).or_default() += 1;
                            }
                        }
                        Err(why) => {
                            next.store(universes.len(), Ordering::Relaxed);
                            failed.lock().expect("lock").push((universe.clone(), why));
                        }
                    }
                }
            });
        }
    });
    failed.into_inner().expect("lock")
}

fn tell(universe: &Universe, why: &str) -> String {
    let (seed, outcome) = (universe.seed, predict(universe));
    let limits = limits(universe);
    format!(
        "RAMBOOT_SEED={seed} RAMBOOT_UNIVERSES=1: {universe}\n  predicted: {outcome:?}, {limits:?}\n  but: {why}\n"
    )
}

/// The simplest universe that fails as well, if one is found in time. Not reached by a seed: it is there to be read.
fn simplest(universe: &Universe) -> Option<(Universe, String)> {
    let until = Instant::now() + SIMPLER;
    let mut found: Option<(Universe, String)> = None;
    loop {
        let from = found.as_ref().map_or(universe, |(simpler, _)| simpler);
        let next = from
            .simpler()
            .into_iter()
            .take_while(|_| Instant::now() < until)
            .find_map(|simpler| run::run(&simpler).err().map(|why| (simpler, why)));
        if next.is_none() {
            return found;
        }
        found = next;
    }
}

/// Threads and open files of this process.
fn open() -> [usize; 2] {
    let count = |folder: &str| std::fs::read_dir(folder).expect("proc").count();
    ["/proc/self/task", "/proc/self/fd"].map(count)
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number: Result<u64, ParseIntError> = text.parse();
    Some(number.unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// On standard error even of a test that passes: whoever reads the log of a run that failed elsewhere needs the seed.
fn say(text: &str) {
    writeln!(std::io::stderr(), "{text}").ok();
}

const UNIVERSES: u64 = 10_000;
/// Among so many each kind of fault is met, the rare slow ones, too.
const ENOUGH: u64 = 2000;
/// For making one simpler.
const SIMPLER: Duration = Duration::from_secs(10);
