//! What is wrong with a machine, in one sentence, and what a person can do about it. Pure.

use std::time::Duration;

use ramboot_wire::Stage;
use ramboot_wire::heartbeat::{INTERVAL_SECONDS, JITTER_SECONDS};

use super::event::Part;
use super::snapshot::Filling;
use super::streaming::WHOLE;
use super::worker::{State, Worker};
use crate::text::time::span;

/// Something went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What.
    pub sentence: Box<str>,
    /// What helps.
    pub remedy: &'static str,
    /// When; since the manager's start.
    pub at: Duration,
}

/// There is nothing to boot: the sentence itself says what would change that.
pub const NOTHING: &str = "The machine asks again by itself: nobody need go there.";

/// What helps when a stage failed.
#[must_use]
pub const fn of_stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Early => {
            "Firmware or a loader changed the kernel's command line, or the kernel lacks devtmpfs: look at the machine's screen."
        }
        Stage::Modules | Stage::Net => {
            "The image lacks the driver of this machine's network card, or no cable is in: `ramboot publish --dry-run IMAGE` names missing drivers."
        }
        Stage::Dhcp => {
            "Is a DHCP server there that knows this machine? `ramboot doctor` shows who answers."
        }
        Stage::Files => {
            "An overlay, the config or the secret was changed while it booted: switch the machine off and on."
        }
        Stage::Chunks | Stage::Fetch => {
            "What was sent is not the image, or does not fit into RAM: `ramboot doctor --deep` reads the store again; bytes that are wrong are never used."
        }
        Stage::Mount => {
            "The image's kernel cannot mount it: `ramboot publish --dry-run IMAGE` says what is missing."
        }
        Stage::Handover => {
            "The image's own init did not start: `ramboot publish --dry-run IMAGE` checks it."
        }
        Stage::Untethered => {
            "The machine runs, and needs a manager that has its image until all of it is there: `ramboot images` shows what one has."
        }
    }
}

/// One that runs waits for what only a manager has. `None` while it gets it.
#[must_use]
pub fn of_wait(worker: &Worker, filling: &Filling, now: Duration) -> Option<Problem> {
    if filling.blocked_s < BLOCKED_S {
        return None;
    }
    let image = worker
        .image
        .map_or_else(String::new, |id| format!(" {}", id.short()));
    Some(Problem {
        sentence: format!(
            "a program of this machine has waited {} for a part of the image{image}",
            span(filling.blocked_s)
        )
        .into(),
        remedy: "Start a manager that has this image (`ramboot images` shows what one has), or mend the network between: the program goes on by itself.",
        at: now.saturating_sub(Duration::from_secs(filling.blocked_s)),
    })
}

/// What a long silence means, or an endless question. `None` while all goes on. `filling` is of one that runs with a part
/// of its image.
#[must_use]
pub fn of_silence(worker: &Worker, filling: Option<&Filling>, now: Duration) -> Option<Problem> {
    let quiet = now.saturating_sub(worker.seen);
    let since = now.saturating_sub(worker.since);
    let (sentence, remedy) = match worker.state {
        State::Asking(asks) if asks >= MANY_ASKS && since > ASKING && quiet < STALLED => (
            format!(
                "asked for an address {asks} times in {} s and took no answer",
                since.as_secs()
            ),
            if worker.pi.is_some() {
                "Another DHCP server may answer this Raspberry Pi with something it does not take, or the switch port opens late (spanning tree: set portfast). `ramboot doctor` shows what is offered."
            } else {
                "Another DHCP server may be quicker, or a firewall may be in the way of UDP 69 and the HTTP port. `ramboot doctor` looks at both."
            },
        ),
        State::Loading(part) if quiet > STALLED => (
            format!(
                "has not gone on with {} for {} s",
                part.name(),
                quiet.as_secs()
            ),
            match part {
                Part::Loader => {
                    "Is it still on? Its own screen says what it waits for; `ramboot doctor` tries the same."
                }
                _ => {
                    "Is it still on, and the network between in order? Its own screen says what it waits for."
                }
            },
        ),
        State::Starting if quiet > STALLED => (
            format!(
                "loaded kernel and initramfs, and /init was not heard of for {} s",
                quiet.as_secs()
            ),
            "Look at its screen: the kernel may not start on this machine, or lack the driver of its network card.",
        ),
        State::Booting(stage) if quiet > STALLED => (
            format!(
                "was not heard of for {} s, in the stage {stage}",
                quiet.as_secs()
            ),
            "Is it still on, and the cable in? Its own screen says what it waits for; it goes on by itself.",
        ),
        State::Up => match (filling.filter(|it| it.resident.is_some()), worker.vitals) {
            (Some(part), _) if part.percent < WHOLE && quiet > STALLED => (
                format!(
                    "was up with {} % of its image, and has sent no heartbeat for {}",
                    part.percent,
                    span(quiet.as_secs())
                ),
                "Is it still on, and the cable in? If it runs, its programs wait for what is missing of the image, and go on when a manager that has it can be reached.",
            ),
            (_, Some(vitals)) if now.saturating_sub(vitals.at) > SILENT => (
                format!(
                    "was up, and has sent no heartbeat for {} min",
                    quiet.as_secs() / 60
                ),
                "Is it still on, and the cable in? A machine that was switched off on purpose is forgotten after a week.",
            ),
            _ => return None,
        },
        _ => return None,
    };
    Some(Problem {
        sentence: sentence.into(),
        remedy,
        at: worker.seen,
    })
}

const MANY_ASKS: u32 = 4;
/// A Pi 3's ROM asks five times in 25 s, and then never again.
const ASKING: Duration = Duration::from_secs(20);
/// Firmware gives up sooner; /init reports sooner unless it waits.
const STALLED: Duration = Duration::from_secs(60);
/// Three heartbeats may be lost before anybody is told.
const SILENT: Duration = Duration::from_secs(3 * (INTERVAL_SECONDS + JITTER_SECONDS));
/// A chunk that was lost on the way comes sooner.
const BLOCKED_S: u64 = 5;
