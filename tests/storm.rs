//! A small boot storm against the built manager: two hundred machines at once, every chunk verified; and a hundred whose
//! manager is restarted in the midst of it.
//!
//! The large ones are `cargo bench --bench storm`.
#![allow(
    clippy::disallowed_methods,
    reason = "tests wait for facts with deadlines"
)]

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ramboot_swarm::rig::{Lan, Manager, Sizes, fill};
use ramboot_swarm::summary::Summary;
use ramboot_swarm::{Hot, Plan, run};
use ramboot_wire::CHUNK_BYTES;

const MACHINES: u32 = 200;
const MIB: usize = 1 << 20;

/// One storm at a time: each measures how long machines wait on two cores, and is to be in a certain midst.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    // Another storm that failed has said so itself.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn two_hundred_machines_boot() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: network namespaces for another thread need root");
        return;
    }
    let _alone = alone();
    let state = tempfile::tempdir().expect("folder");
    let sizes = Sizes {
        image: 4 * MIB,
        kernel: MIB,
        initrd: MIB,
    };
    fill(state.path(), sizes).expect("store");
    let lan = Lan::new().expect("a network");
    let program = Path::new(env!("CARGO_BIN_EXE_ramboot"));
    let mut manager = Manager::start(&lan, program, state.path(), &[]).expect("a manager");
    let plan = Plan {
        machines: MACHINES,
        interface: lan.interface(),
        sample: 1,
        think: Duration::from_millis(200),
        deadline: Duration::from_secs(60),
        ..Plan::default()
    };
    let storm = lan.client(move || run(plan)).join();
    let summary = storm.expect("no panic").expect("a swarm").summary();
    let (peaks, _) = manager.seen().expect("a manager that runs");
    let machines = usize::try_from(MACHINES).expect("fits");
    println!("{summary}{:#?}", manager.said());
    assert_eq!(summary.booted, machines, "{summary}");
    assert!(summary.faults.is_empty(), "{summary}");
    assert_eq!(
        summary.image_bytes,
        u64::from(MACHINES) * sizes.image as u64
    );
    // 16 chunks of 256 KiB.
    assert_eq!(summary.verified, 16 * u64::from(MACHINES));
    // Four connections and one for a TFTP transfer a machine, and some of its own.
    let descriptors = peaks.most(|sample| sample.descriptors);
    assert!(descriptors <= 5 * u64::from(MACHINES) + 64, "{descriptors}");
    let own = peaks.most(|sample| sample.own);
    assert!(own <= 64 << 20, "{own} bytes beside the mapping");
    assert_eq!(manager.said(), [""; 0], "warnings");
}

/// The manager is ended when 30 % of all bytes are out, and started again. Nobody is told; all boot.
#[test]
fn a_restart_in_the_midst_of_a_hundred_boots_loses_none() {
    const MACHINES: u64 = 100;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: network namespaces for another thread need root");
        return;
    }
    let _alone = alone();
    let state = tempfile::tempdir().expect("folder");
    let sizes = Sizes {
        image: 8 * MIB,
        kernel: MIB,
        initrd: MIB,
    };
    fill(state.path(), sizes).expect("store");
    let lan = Lan::new().expect("a network");
    let program = Path::new(env!("CARGO_BIN_EXE_ramboot"));
    let start = || Manager::start(&lan, program, state.path(), &[]).expect("a manager");
    let manager = start();
    // All have left their ROM by then, which would give up a TFTP transfer whose server is gone; from there on they are spread
    // over all stages.
    let plan = Plan {
        machines: u32::try_from(MACHINES).expect("fits"),
        interface: lan.interface(),
        sample: 1,
        within: Duration::from_millis(100),
        think: Duration::from_millis(800),
        deadline: Duration::from_secs(60),
        ..Plan::default()
    };
    let storm = lan.client(move || run(plan));
    let all = MACHINES * (sizes.image + sizes.kernel + sizes.initrd) as u64;
    let begin = Instant::now();
    let out = loop {
        let sent = manager.sent().expect("a manager that runs");
        if sent >= all / 10 * 3 {
            break sent;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{sent} bytes");
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(
        out < all / 10 * 8,
        "{out} of {all} bytes: nothing is left to be lost"
    );
    manager.end();
    let manager = start();
    let summary = storm.join().expect("no panic").expect("a swarm").summary();
    println!("{summary}{:#?}", manager.said());
    let machines = usize::try_from(MACHINES).expect("fits");
    assert_eq!(
        (summary.booted, &summary.failed),
        (machines, &[].into()),
        "{summary}"
    );
    assert!(
        !summary.faults.is_empty(),
        "it was not in the midst: {summary}"
    );
    // Each chunk once, whichever of the two managers it came from.
    let chunks = MACHINES * sizes.image.div_ceil(256 << 10) as u64;
    assert!(summary.verified >= chunks, "{summary}");
    assert_eq!(manager.said(), [""; 0], "warnings");
}

/// Twenty machines over a link that is full: who streams runs when what is hot is there, and has all no later. Both storms
/// at the same time, each on a network of its own, so that a busy machine is the same for both.
#[test]
fn who_streams_runs_long_before_who_waits_for_all() {
    const MACHINES: u32 = 20;
    const CHUNKS: u64 = 64;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: network namespaces for another thread need root");
        return;
    }
    let _alone = alone();
    let storm = |hot: Option<Hot>| {
        std::thread::spawn(move || {
            let state = tempfile::tempdir().expect("folder");
            let sizes = Sizes {
                image: 16 * MIB,
                kernel: MIB / 4,
                initrd: MIB / 4,
            };
            fill(state.path(), sizes).expect("store");
            let lan = Lan::new().expect("a network");
            lan.shape(400).expect("tests/setup.sh installs tc");
            let program = Path::new(env!("CARGO_BIN_EXE_ramboot"));
            let manager = Manager::start(&lan, program, state.path(), &[]).expect("a manager");
            let plan = Plan {
                machines: MACHINES,
                interface: lan.interface(),
                sample: 1,
                within: Duration::ZERO,
                think: Duration::ZERO,
                hot,
                demand_each: Duration::from_millis(500),
                deadline: Duration::from_secs(60),
                ..Plan::default()
            };
            let storm = lan.client(move || run(plan)).join();
            let summary = storm.expect("no panic").expect("a swarm").summary();
            assert_eq!(manager.said(), [""; 0], "warnings");
            summary
        })
    };
    let (full, stream) = (storm(None), storm(Some(Hot::Percent(17))));
    let [full, stream]: [Summary; 2] = [full, stream].map(|storm| storm.join().expect("no panic"));
    let figures = format!("full:\n{full}\nstream:\n{stream}");
    println!("{figures}");
    for summary in [&full, &stream] {
        assert_eq!(summary.booted, MACHINES as usize, "{figures}");
        assert_eq!(summary.verified, CHUNKS * u64::from(MACHINES), "{figures}");
    }
    // In bytes, not in seconds: a busy machine changes these little.
    let all = stream.image_bytes + stream.boot_bytes;
    let before = stream.received_when_all_run.expect("they stream");
    assert!(before <= all / 10 * 6, "{before} of {all} bytes: {figures}");
    assert_eq!(stream.demands_told_to_wait, 0, "{figures}");
    // A chunk goes before what waits in the NIC's queue: beside it come at most those that are demanded at the same time.
    let [median, _] = stream.beside_demands.expect("some");
    assert!(median <= 4 * CHUNK_BYTES, "{median} bytes: {figures}");
}
