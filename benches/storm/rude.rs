//! Clients that hold connections without need: others do not notice, and those that say nothing are closed.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use ramboot_swarm::rig::{Lan, Manager, fill};
use ramboot_swarm::strangers::{self, Target};
use tokio::sync::watch;

use crate::Scale;
use crate::boots::{Case, STREAMS};
use crate::checks::{Bar, Checks};

const PAIRS: usize = 3;
/// The manager's, from accepting to a whole request head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// For a busy machine.
const MARGIN: Duration = Duration::from_secs(3);

/// Five hundred readers of a kilobyte a second beside sixteen machines.
pub(crate) fn slow(scale: Scale, checks: &mut Checks) -> anyhow::Result<()> {
    let readers = scale.of(500, 100);
    let case = |name| Case {
        name,
        machines: 16,
        image: scale.image(200, 50),
        megabits: None,
        prefer_wait: false,
        rush: true,
        streams: STREAMS,
        hot: None,
    };
    let state = tempfile::tempdir()?;
    let stored = fill(state.path(), case("").sizes())?;
    let lan = Lan::new()?;
    let program = Path::new(env!("CARGO_BIN_EXE_ramboot"));
    let mut manager = Manager::start(&lan, program, state.path(), &[])?;
    let target = Target {
        addr: manager.http(),
        path: stored.image,
    };
    let (mut ratios, mut held) = (Vec::new(), readers);
    for _ in 0..PAIRS {
        let alone = case("slow-without").again(&lan, &mut manager)?;
        let (ready, mut is_ready) = watch::channel(false);
        let (stop, stopped) = watch::channel(false);
        let target = target.clone();
        let thread =
            lan.client(move || strangers::slow_readers(&target, readers, &ready, &stopped));
        // Ends, too, when they cannot be made: the sender is gone then.
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let all_read = runtime.block_on(is_ready.wait_for(|ready| *ready)).is_ok();
        let beside = all_read
            .then(|| case("slow-with").again(&lan, &mut manager))
            .transpose();
        stop.send_replace(true);
        let left = thread.join();
        held = held.min(left.map_err(|_| anyhow::anyhow!("the slow readers panicked"))??);
        let beside = beside?.context("the slow readers ended")?;
        ratios.push(beside.summary.image_rate() / alone.summary.image_rate());
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN);
    checks.bar(
        "slow",
        "rate beside slow readers / without",
        median,
        "",
        Bar::AtLeast(0.9),
    );
    checks.figure(
        "slow",
        "slow readers that were still served",
        held as f64,
        "",
    );
    Ok(())
}

/// Connections that send nothing, or half a head. (That one connection too many is told to come back, and what `/init`
/// makes of that, are tests: `tests/http.rs`, `initramfs/tests`.)
pub(crate) fn idle(scale: Scale, checks: &mut Checks) -> anyhow::Result<()> {
    let count = scale.of(250, 50);
    let case = Case {
        name: "idle",
        machines: 0,
        image: 1_000_000,
        megabits: None,
        prefer_wait: false,
        rush: true,
        streams: STREAMS,
        hot: None,
    };
    let state = tempfile::tempdir()?;
    fill(state.path(), case.sizes())?;
    let lan = Lan::new()?;
    let program = Path::new(env!("CARGO_BIN_EXE_ramboot"));
    let manager = Manager::start(&lan, program, state.path(), &[])?;
    let addr = manager.http();
    let patience = HEADER_TIMEOUT + MARGIN;
    let clients = [&b""[..], b"GET / HTTP/1.1\r\nHo"]
        .map(|bytes| lan.client(move || strangers::silent(addr, count, bytes, patience)));
    for (client, what) in clients
        .into_iter()
        .zip(["silent ones kept for", "half-open ones kept for"])
    {
        let kept = client.join();
        let kept = kept.map_err(|_| anyhow::anyhow!("the strangers panicked"))??;
        // Who was not closed counts as kept for ever.
        let longest = kept
            .iter()
            .map(|kept| kept.map_or(f64::INFINITY, |kept| kept.as_secs_f64()));
        let longest = longest.fold(0.0, f64::max);
        checks.bar(
            "idle",
            what,
            longest,
            "s",
            Bar::AtMost(patience.as_secs_f64()),
        );
    }
    Ok(())
}
