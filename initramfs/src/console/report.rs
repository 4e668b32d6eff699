//! Tells the manager how the boot goes: one POST a stage, from a thread of its own. Nobody waits for it, and a manager
//! that is away costs a boot nothing: what cannot be told is dropped, the console has it all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use ramboot_fetch::http::{Connection, HttpError, Patience};
use ramboot_wire::paths::REPORT;
use ramboot_wire::stage::MAX_REPORT_BYTES;
use ramboot_wire::{Base, Report};

use crate::clock;

/// The queue to the thread.
#[derive(Debug)]
pub struct Reporter {
    queue: SyncSender<Vec<u8>>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    pending: AtomicUsize,
    /// The last report found no manager.
    away: AtomicBool,
}

impl Reporter {
    /// Starts the thread; without one, nothing is reported.
    #[must_use]
    pub fn start(bases: Vec<Base>) -> Option<Self> {
        let (queue, reports) = sync_channel(QUEUE);
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::Builder::new()
            .name("report".to_owned())
            .spawn(move || work(&bases, &reports, &shared))
            .ok()?;
        Some(Self { queue, state })
    }

    /// Queues one report. A full queue drops it.
    pub fn send(&self, report: &Report) {
        let Some(json) = encode(report) else { return };
        self.state.pending.fetch_add(1, Ordering::SeqCst);
        if self.queue.try_send(json).is_err() {
            self.state.pending.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Lets what is queued go out before exec ends the thread: for a moment, and not at all if the manager was
    /// away.
    pub fn linger(&self) {
        self.linger_for(LINGER);
    }

    /// Likewise, for so long.
    pub fn linger_for(&self, time: Duration) {
        let until = clock::now() + time;
        while self.state.pending.load(Ordering::SeqCst) > 0
            && !self.state.away.load(Ordering::SeqCst)
            && clock::now() < until
        {
            clock::sleep(Duration::from_millis(2));
        }
    }
}

fn work(bases: &[Base], reports: &Receiver<Vec<u8>>, state: &State) {
    let mut slot = None;
    for json in reports {
        let told = bases
            .iter()
            .any(|base| tell(&mut slot, base, &json).is_ok());
        state.away.store(!told, Ordering::SeqCst);
        state.pending.fetch_sub(1, Ordering::SeqCst);
    }
}

fn tell(slot: &mut Option<(Base, Connection)>, base: &Base, json: &[u8]) -> Result<(), HttpError> {
    let kept = slot
        .take()
        .filter(|(to, connection)| to == base && connection.is_reusable());
    let mut connection = match kept {
        Some((_, connection)) => connection,
        None => Connection::open(base, PATIENCE)?,
    };
    connection.post(REPORT, json)?;
    *slot = Some((base.clone(), connection));
    Ok(())
}

/// A report that would be too long loses its facts and its waterfall, then the end of its error.
fn encode(report: &Report) -> Option<Vec<u8>> {
    let json = serde_json::to_vec(report).ok()?;
    if json.len() <= MAX_REPORT_BYTES {
        return Some(json);
    }
    let mut report = report.clone();
    report.line.facts.clear();
    report.waterfall.clear();
    report.line.error = report
        .line
        .error
        // JSON writes a control character as six bytes; a character has at most four.
        .map(|error| error.chars().take(MAX_REPORT_BYTES / 8).collect());
    serde_json::to_vec(&report)
        .ok()
        .filter(|json| json.len() <= MAX_REPORT_BYTES)
}

/// More than a boot has stages, so that only a flood of bad chunks is cut.
const QUEUE: usize = 32;
const LINGER: Duration = Duration::from_millis(150);
/// Short: the manager is in the same network, or its report is not worth much.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(1),
    stall: Duration::from_secs(2),
    piece: Duration::from_secs(2),
};

#[cfg(test)]
mod tests {
    use super::*;
    use ramboot_wire::{ImageId, Mac, Stage, StageLine};

    #[test]
    fn a_report_always_fits() {
        for (error, facts) in [
            (None, 200),
            (Some("x".repeat(9000)), 0),
            (Some("\u{1}".repeat(9000)), 500),
        ] {
            let facts = (0..facts).map(|i| (format!("key{i}"), "v".repeat(20)));
            let report = Report {
                mac: Mac([2; 6]),
                image: ImageId([3; 32]),
                line: StageLine {
                    stage: Stage::Fetch,
                    error,
                    facts: facts.collect(),
                    ms: 1,
                },
                waterfall: Vec::new(),
            };
            let json = encode(&report).expect("fits");
            assert!(json.len() <= MAX_REPORT_BYTES, "{}", json.len());
            serde_json::from_slice::<Report>(&json).expect("is a report");
        }
    }
}
