//! A small boot storm against the built manager: two hundred machines at once, every chunk verified.
//!
//! The large ones are `cargo bench --bench storm`.

use std::path::Path;
use std::time::Duration;

use ramboot_swarm::rig::{Lan, Manager, Sizes, fill};
use ramboot_swarm::{Plan, run};

const MACHINES: u32 = 200;
const MIB: usize = 1 << 20;

#[test]
fn two_hundred_machines_boot() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: network namespaces for another thread need root");
        return;
    }
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
    assert!(summary.longest_wait() <= 2.0, "{summary}");
    // Four connections and one for a TFTP transfer a machine, and some of its own.
    let descriptors = peaks.most(|sample| sample.descriptors);
    assert!(descriptors <= 5 * u64::from(MACHINES) + 64, "{descriptors}");
    let own = peaks.most(|sample| sample.own);
    assert!(own <= 64 << 20, "{own} bytes beside the mapping");
    assert_eq!(manager.said(), [""; 0], "warnings");
}
