//! What a worker must make of a universe. Written from the rules, not from the code:
//!
//! - Bases are tried in turn and again, for ever. One that ends honest is enough.
//! - A fault costs one request, and at most the chunk that was on its way; what is done stays done.
//! - A chunk is done when its digest is right, and a wrong one is counted once.
//! - A base that lied is used last: as long as another one does well, each stream believes it at most once.

use ramboot_fetch::engine::{Counts, STREAMS};
use ramboot_wire::CHUNK_BYTES;
use ramboot_wire::image::CHUNK_LEN;

use crate::fault::{Cost, Fault, REFUSED};
use crate::server::Done;
use crate::universe::{End, Script, Universe};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Boots,
    /// For ever, until a server is healed.
    Waits {
        /// What may be said of each base.
        reasons: Vec<Vec<String>>,
    },
}

/// What a boot costs at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) bytes: Option<u64>,
    pub(crate) retries: Option<u64>,
    pub(crate) bad: Option<u64>,
}

pub(crate) fn predict(universe: &Universe) -> Outcome {
    let single = universe.size <= CHUNK_LEN;
    let applies = |fault: Fault, list: bool| fault.applies(!list, single && !list);
    let ends_well = |server: &Script, list: bool| match server.end {
        End::Honest => true,
        End::Dead => false,
        End::Always(fault) => !applies(fault, list),
    };
    let servers = &universe.servers;
    if servers.iter().any(|server| ends_well(server, false)) {
        return Outcome::Boots;
    }
    // On the way to its end a server may give the list, and then the worker waits for the image.
    let may = |fault: &Fault| fault.is_good() || !applies(*fault, true);
    let no_list = single || !universe.with_list;
    let has_list = no_list || servers.iter().any(|server| ends_well(server, true));
    let may_have_list = servers.iter().flat_map(|server| &server.faults).any(may);
    let stages: &[bool] = match (has_list, may_have_list) {
        (true, _) => &[false],
        (false, true) => &[true, false],
        (false, false) => &[true],
    };
    let reason = |server: &Script, list: bool| match server.end {
        End::Honest => None,
        End::Dead => Some(REFUSED.to_owned()),
        End::Always(fault) => applies(fault, list).then(|| fault.reason(list)),
    };
    let reasons = |server| {
        stages
            .iter()
            .filter_map(|list| reason(server, *list))
            .collect()
    };
    Outcome::Waits {
        reasons: servers.iter().map(reasons).collect(),
    }
}

/// Before anything ran: what scripts and ends can cost together. A lasting fault can cost any number of requests,
/// as each of them is one of the tries for ever.
pub(crate) fn limits(universe: &Universe) -> Limits {
    let streams = STREAMS as u64;
    let well = |server: &Script| server.faults.is_empty() && server.end == End::Honest;
    let spared = universe.servers.iter().any(well);
    let (mut bytes, mut retries, mut bad) = (Some(universe.size as u64), Some(0), Some(0));
    for server in &universe.servers {
        for fault in &server.faults {
            let cost = fault.cost();
            let flips = u64::from(matches!(fault, Fault::Flip { .. }));
            (bytes, bad) = (plus(bytes, Some(cost.bytes)), plus(bad, Some(flips)));
            retries = plus(retries, cost.retries);
        }
        match server.end {
            End::Honest => {}
            End::Dead => retries = None,
            End::Always(fault) => {
                let is_lie = matches!(fault, Fault::Flip { .. });
                let most = if spared && is_lie {
                    Some(streams)
                } else {
                    None
                };
                if is_lie {
                    bad = plus(bad, most);
                }
                if fault.cost().bytes > 0 {
                    bytes = plus(bytes, most.map(|chunks| chunks * CHUNK_BYTES));
                }
                retries = None;
            }
        }
    }
    Limits {
        bytes,
        retries,
        bad,
    }
}

/// Afterwards: what the faults that were met can have cost, each of those that last as often as it was met.
pub(crate) fn limits_of(universe: &Universe, done: &[Done]) -> Limits {
    let mut bytes = universe.size as u64;
    let dead = |server: &Script| server.end == End::Dead;
    let mut retries = (!universe.servers.iter().any(dead)).then_some(0);
    for (fault, of_list) in done.iter().flat_map(|done| &done.met) {
        let Cost {
            bytes: b,
            retries: r,
        } = fault.cost();
        // What Counts counts is the image. But who goes away takes other streams with him.
        if !of_list {
            bytes += b;
        }
        retries = plus(retries, r);
    }
    Limits {
        bytes: Some(bytes),
        retries,
        bad: Some(done.iter().map(|done| done.flipped).sum()),
    }
}

fn plus(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    Some(a? + b?)
}

/// What of a finished fetch is not as it must be. `retries` are those of list and image together.
pub(crate) fn judge(universe: &Universe, done: &[Done], counts: Counts) -> Result<(), String> {
    let wasted: u64 = done.iter().map(|done| done.wasted).sum();
    let least = universe.size as u64 + wasted;
    if counts.bytes < least {
        return Err(format!(
            "{} bytes, at least {least} were sent",
            counts.bytes
        ));
    }
    let flipped: u64 = done.iter().map(|done| done.flipped).sum();
    if counts.bad != flipped {
        let bad = counts.bad;
        return Err(format!("{bad} bad chunks are counted, {flipped} were sent"));
    }
    for (when, limits) in [
        ("predicted", limits(universe)),
        ("of what was met", limits_of(universe, done)),
    ] {
        for (name, is, limit) in [
            ("bytes", counts.bytes, limits.bytes),
            ("retries", counts.retries, limits.retries),
            ("bad", counts.bad, limits.bad),
        ] {
            if let Some(limit) = limit
                && is > limit
            {
                return Err(format!("{is} {name}, at most {limit} {when}"));
            }
        }
    }
    Ok(())
}
