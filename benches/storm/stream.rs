//! Waiting for all of the image, or for what is hot of it: when machines run, and when they need nobody any more.

use std::path::Path;

use ramboot_swarm::rig::{Lan, Manager, fill};
use ramboot_swarm::summary::Spread;

use crate::Scale;
use crate::boots::{Case, STREAMS};
use crate::checks::{Bar, Checks};

/// What a Debian of 200 MB reads until its network is up, in percent.
const HOT: u8 = 17;

/// One after the other, over the same link, from the same manager.
pub(crate) fn stream(scale: Scale, checks: &mut Checks) -> anyhow::Result<()> {
    let megabits = 1000;
    let case = |name, hot| Case {
        name,
        machines: scale.machines(100, 20),
        image: scale.image(200, 40),
        megabits: Some(megabits),
        prefer_wait: true,
        rush: false,
        streams: STREAMS,
        hot,
    };
    let (full, stream) = (case("full", None), case("stream", Some(HOT)));
    let state = tempfile::tempdir()?;
    fill(state.path(), full.sizes())?;
    let lan = Lan::new()?;
    lan.shape(megabits)?;
    let program = Path::new(env!("CARGO_BIN_EXE_ramboot"));
    let mut manager = Manager::start(&lan, program, state.path(), &[])?;
    let full = full.again(&lan, &mut manager)?;
    let stream = stream.again(&lan, &mut manager)?;
    for line in manager.said().iter().take(10) {
        println!("{line}");
    }
    full.check("full", checks);
    stream.check("stream", checks);
    let of = |spread: Option<Spread>, what: fn(Spread) -> f64| spread.map_or(f64::NAN, what);
    let (median, last) = (|spread: Spread| spread.p50, |spread: Spread| spread.max);
    let (full, stream) = (full.summary, stream.summary);
    for (what, found) in [
        ("full: the median runs, and has all", of(full.boot, median)),
        ("full: the last one", of(full.boot, last)),
        ("stream: the median runs", of(stream.runs, median)),
        ("stream: the last one runs", of(stream.runs, last)),
        ("stream: the median has all", of(stream.boot, median)),
        ("stream: the last one has all", of(stream.boot, last)),
        ("blocked on a chunk, median", of(stream.demands, median)),
    ] {
        checks.figure("stream", what, found, "s");
    }
    let blocked = of(stream.demands, |spread| spread.p99);
    let runs = of(stream.runs, last) / of(full.boot, last);
    let all = of(stream.boot, last) / of(full.boot, last);
    for (what, found, unit, most) in [
        ("blocked on a chunk, 99 of 100", blocked, "s", 1.0),
        ("the last one runs, stream / full", runs, "", 0.33),
        ("the last one has all, stream / full", all, "", 1.1),
    ] {
        checks.bar("stream", what, found, unit, Bar::AtMost(most));
    }
    Ok(())
}
