//! `ramboot publish` is killed at each of its steps, and each of its steps fails: a full disk, a failing one. After every
//! one of them the store is what it was or what it was to become, a `ramboot serve` that runs all the time hands out
//! nothing else, and the next publish works and clears up.
//!
//! Steps are the system calls by which the built program changes the store, found by strace(1) and faulted by it. Each
//! test runs itself again in namespaces of its own, where `serve` may open its ports and a test may mount a disk.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: tests start programs and wait with deadlines"
)]

mod bench;
mod manager;
#[path = "../small_image/mod.rs"]
mod small_image;
mod strace;

use std::collections::BTreeSet;
use std::process::Command;

use bench::{Bench, State, Story};
use strace::{Fault, Step};

/// Set where a test already runs in its namespaces.
const INSIDE: &str = "RAMBOOT_CRASH_INSIDE";

/// Runs `test`, whose name is given, as root of new user, network and mount namespaces.
fn inside(name: &str, test: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        let mut ip = Command::new("ip");
        let up = ip.args(["link", "set", "lo", "up"]).status();
        let up = up.expect("ip(8) is installed");
        assert!(up.success(), "loopback: {up}");
        return test();
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount"])
        .arg(std::env::current_exe().expect("this program"))
        .args([name, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare(1) is installed");
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    let passed = output.status.success() && said.contains("1 passed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(passed, "{}: {errors}", output.status);
}

/// Each step of each story, without those that are steps of an earlier one.
fn sweep(mut faults: impl FnMut(&mut Bench, &Step)) {
    let mut seen = BTreeSet::new();
    for story in [Story::Update, Story::First, Story::Again] {
        let mut bench = Bench::new(story);
        let steps = bench.steps();
        let all = steps.len();
        check_syncs(&steps);
        let new: Vec<Step> = steps
            .into_iter()
            .filter(|step| seen.insert(step.what.clone()))
            .collect();
        assert!(!new.is_empty(), "{story:?} has no step of its own");
        println!("{story:?}: {all} steps, {} of a new kind", new.len());
        for step in &new {
            faults(&mut bench, step);
        }
        bench.end();
    }
}

/// For what no signal can show, a loss of power: what was written is synced before it is renamed, and the folder it went to
/// before the next rename and before the end. The cache is not: its files carry a digest.
fn check_syncs(steps: &[Step]) {
    let done = steps.iter().filter(|step| !step.refused);
    let calls: Vec<Vec<&str>> = done.map(|step| step.what.split(' ').collect()).collect();
    let synced =
        |path: &str, among: &[Vec<&str>]| among.iter().any(|call| **call == ["fsync", path]);
    let mut renames = 0;
    for (at, call) in calls.iter().enumerate() {
        let [name, from, to] = call[..] else {
            continue;
        };
        if !name.starts_with("rename") || to.starts_with("/cache/") {
            continue;
        }
        renames += 1;
        for (written, call) in calls[..at].iter().enumerate() {
            if call[0] == "write" && call[1].starts_with(from) {
                let later = &calls[written..at];
                assert!(synced(call[1], later), "{} is renamed unsynced", call[1]);
            }
        }
        let (folder, _) = to.rsplit_once('/').expect("below the store");
        let next = calls[at + 1..].iter().position(|call| {
            let last = call.last().expect("a path");
            call[0].starts_with("rename") && last.rsplit_once('/').map(|(f, _)| f) != Some(folder)
        });
        let later = &calls[at + 1..next.map_or(calls.len(), |next| at + 1 + next)];
        assert!(synced(folder, later), "{to} is there, unsynced");
    }
    assert!(renames >= 2, "{calls:?}");
}

#[test]
fn killed_at_every_step() {
    inside("killed_at_every_step", || {
        let mut last = None;
        let mut ends = [0, 0];
        sweep(|bench, step| {
            let ended = bench.publish_with(step, Fault::Kill);
            assert!(ended.killed, "{step}: {ended:?}");
            let state = bench.state(&step.to_string());
            // A step that comes later finds at least what one before it found.
            let order = (bench.story, state);
            if let Some((story, before)) = last.replace(order)
                && story == bench.story
                && step.thread.is_main()
            {
                assert!(before <= state, "{step}: {before:?}, then {state:?}");
            }
            ends[usize::from(state == State::New)] += 1;
            bench.recover(&step.to_string(), state);
        });
        println!("old state {} times, new state {} times", ends[0], ends[1]);
        assert!(ends.iter().all(|&n| n > 0), "{ends:?}");
    });
}

#[test]
fn every_step_fails() {
    inside("every_step_fails", || {
        let mut ends = [0, 0];
        sweep(|bench, step| {
            for fault in step.errors() {
                let what = format!("{fault:?} at {step}");
                let ended = bench.publish_with(step, *fault);
                let state = bench.state(&what);
                bench::check_words(&what, step, *fault, &ended, state);
                if !step.what.starts_with("unlink") && !step.what.starts_with("rmdir") {
                    assert_eq!(bench.leftovers(), Vec::<String>::new(), "{what}");
                }
                ends[usize::from(state == State::New)] += 1;
                bench.recover(&what, state);
            }
        });
        println!("old state {} times, new state {} times", ends[0], ends[1]);
    });
}

/// Not injected: disks of every size from nothing to enough, and such that have no room for another file.
#[test]
fn a_disk_becomes_full() {
    inside("a_disk_becomes_full", || {
        let refused = bench::fill_disks((12..).map(|n| format!("size={}k", n * 768)));
        let by_files = bench::fill_disks((6..).map(|n| format!("nr_inodes={n}")));
        println!("{refused} sizes and {by_files} numbers of files were too small");
        assert!(refused > 3 && by_files > 3);
    });
}
