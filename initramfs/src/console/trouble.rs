//! Trouble in plain words: the fact, and what a person can do about it. Pure.
//!
//! No sentence holds a time or a byte count, so the same trouble is the same sentence: a screen adds how long it lasts,
//! a serial line says it once.

use ramboot_fetch::event::{Bad, Event, Lie, Wait, What, standing};
use ramboot_fetch::fault::Fault;
use ramboot_wire::cmdline::CmdlineError;
use ramboot_wire::image::BadChunk;

use ramboot_wire::queue::Place;

use crate::root::lay_files::Unlaid;
use crate::root::ram::{HEADROOM, NoRoom, mib};
use crate::root::worker_files::archive::ArchiveError;

/// What is wrong, and what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sentence {
    /// `No cable: eth0 has no carrier`, without a full stop: how long follows.
    pub(super) fact: String,
    /// One or two sentences for whoever stands before the machine.
    pub(super) remedy: String,
}

/// What an event says of trouble; `None` if all is well.
#[must_use]
pub(super) fn of_event(event: &Event) -> Option<Sentence> {
    match event {
        Event::Bad(bad) => Some(of_bad(bad)),
        Event::Progress(progress) => progress
            .trouble
            .as_ref()
            .map(|(base, why)| of_base(base, why.fault)),
        Event::Wait(wait) => Some(of_wait(wait)),
    }
}

fn of_wait(wait: &Wait) -> Sentence {
    match &wait.what {
        What::Device(Some(mac)) => sentence(
            format!(
                "No network device: Linux knows no wired one, and this machine booted by {mac}"
            ),
            "Does the published image hold the driver of this device?",
        ),
        What::Device(None) => sentence(
            "No network device: Linux knows no wired one".to_owned(),
            "Is one plugged in, and does the published image hold its driver?",
        ),
        What::Carrier(links) => sentence(
            format!("No cable: {} no carrier", subject(links)),
            "Check cable and switch port.",
        ),
        What::Lease(links) => sentence(
            format!("No DHCP server has answered on {}", links.join(", ")),
            "Is `ramboot serve`, or this network's DHCP server, running? Does the switch let this port through?",
        ),
        What::ChunkList(base) | What::Files(base) | What::Source(base) => {
            let fault = wait.why.as_ref().map_or(Fault::Silent, |why| why.fault);
            match (&wait.what, fault) {
                (What::Files(_), Fault::Missing) => sentence(
                    format!(
                        "The manager at {} can not make this machine's files any more",
                        address(base)
                    ),
                    "An overlay, the config or the secret was changed. Switch this machine off and on: it gets the new files.",
                ),
                (What::Files(_), Fault::Lied) => bad_files(base),
                _ => of_base(base, fault),
            }
        }
        What::Turn { base, place } => of_turn(base, *place),
    }
}

fn of_turn(base: &str, place: Option<Place>) -> Sentence {
    sentence(
        format!(
            "Waiting for our turn{} at {}",
            standing(place),
            address(base)
        ),
        "Nothing is wrong: the manager serves some machines at a time.",
    )
}

fn of_base(base: &str, fault: Fault) -> Sentence {
    let at = address(base);
    match fault {
        Fault::Refused => sentence(
            format!("The manager at {at} does not answer (connection refused)"),
            "Is `ramboot serve` running there?",
        ),
        Fault::Silent => sentence(
            format!("The manager at {at} does not answer"),
            "Is that machine on, and the network between in order?",
        ),
        Fault::Broken => sentence(
            format!("The manager at {at} began to send and stopped"),
            "Check the network between and the load of that machine.",
        ),
        Fault::Missing => sentence(
            format!("The manager at {at} does not have this image any more"),
            "Switch this machine off and on: it boots what is published now. Or publish the image again.",
        ),
        Fault::Strange => sentence(
            format!("What answers at {at} is not the manager's answer"),
            "Is another server or a proxy at that address?",
        ),
        Fault::Lied => sentence(
            format!("{at} sent bytes that are not the image"),
            "They are not used. Check that machine's disk and memory; publish again.",
        ),
        Fault::Busy(place) => of_turn(base, place),
    }
}

fn of_bad(bad: &Bad) -> Sentence {
    let place = match &bad.what {
        Lie::Chunk(
            BadChunk::NoSuchChunk { index, .. }
            | BadChunk::Length { index, .. }
            | BadChunk::Digest { index, .. },
        ) => format!("chunk {index}"),
        Lie::List(_) => "the chunk list".to_owned(),
        Lie::Files { .. } => return bad_files(&bad.from),
    };
    let from = address(&bad.from);
    Sentence {
        fact: format!("{from} sent bytes that are not the image ({place})"),
        ..of_base(&bad.from, Fault::Lied)
    }
}

/// Nothing of the image is wrong, and to publish it again does not make these files anew.
fn bad_files(base: &str) -> Sentence {
    sentence(
        format!(
            "{} sent bytes that are not this machine's worker files",
            address(base)
        ),
        "They are not used. Check that machine's disk and memory, and start `ramboot serve` there again.",
    )
}

/// What a boot that stopped for good says.
#[must_use]
pub(super) fn of_stop(error: &anyhow::Error) -> Sentence {
    if let Some(NoRoom {
        image, available, ..
    }) = error.downcast_ref()
    {
        return sentence(
            format!(
                "This image needs {} MiB, {} MiB are free",
                mib(image.saturating_add(HEADROOM)),
                available >> 20
            ),
            "Add RAM or publish a smaller image.",
        );
    }
    let remedy = if error.downcast_ref::<CmdlineError>().is_some() {
        "Correct the kernel command line in the manager's configuration or in the boot menu."
    } else if error.is::<ArchiveError>() || error.is::<Unlaid>() {
        "Correct this machine's overlays at the manager. Switching this machine off and on gets the new worker files."
    } else {
        "Correct that and publish again. Switching this machine off and on tries anew."
    };
    sentence(format!("The boot stopped: {error:#}"), remedy)
}

fn sentence(fact: String, remedy: &str) -> Sentence {
    Sentence {
        fact,
        remedy: remedy.to_owned(),
    }
}

/// `http://10.0.0.1:8067` as people say it.
fn address(base: &str) -> &str {
    base.strip_prefix("http://").unwrap_or(base)
}

fn subject(links: &[String]) -> String {
    let verb = if links.len() == 1 { "has" } else { "have" };
    format!("{} {verb}", links.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use anyhow::{Context as _, anyhow};

    use ramboot_fetch::event::{Next, Progress};
    use ramboot_fetch::fault::Why;
    use ramboot_wire::FilesId;

    fn wait(what: What, fault: Option<Fault>) -> Event {
        Event::Wait(Wait {
            what,
            since: Duration::from_secs(12),
            why: fault.map(|fault| Why {
                fault,
                text: "after 17 of 25 bytes".to_owned(),
            }),
            next: Next::Again,
            here: None,
        })
    }

    #[test]
    fn plain_words() {
        let base = || "http://192.168.77.1:8067".to_owned();
        for (event, want) in [
            (
                wait(What::Carrier(vec!["eth0".into()]), None),
                "No cable: eth0 has no carrier | Check cable and switch port.",
            ),
            (
                wait(What::Carrier(vec!["eth0".into(), "eth1".into()]), None),
                "No cable: eth0, eth1 have no carrier | Check cable and switch port.",
            ),
            (
                wait(What::Source(base()), Some(Fault::Refused)),
                "The manager at 192.168.77.1:8067 does not answer (connection refused) | Is `ramboot serve` running there?",
            ),
            (
                wait(What::ChunkList(base()), Some(Fault::Lied)),
                "192.168.77.1:8067 sent bytes that are not the image | They are not used. Check that machine's disk and \
                 memory; publish again.",
            ),
            (
                wait(
                    What::Turn {
                        base: base(),
                        place: "3/17".parse().ok(),
                    },
                    None,
                ),
                "Waiting for our turn: 3rd of 17 at 192.168.77.1:8067 | Nothing is wrong: the manager serves some machines at a time.",
            ),
            (
                Event::Bad(Bad {
                    from: base(),
                    what: Lie::Chunk(BadChunk::NoSuchChunk {
                        index: 17,
                        count: 4,
                    }),
                }),
                "192.168.77.1:8067 sent bytes that are not the image (chunk 17) | They are not used. Check that machine's \
                 disk and memory; publish again.",
            ),
        ] {
            let said = of_event(&event).expect("trouble");
            assert_eq!(format!("{} | {}", said.fact, said.remedy), want);
        }
        // Of worker files nothing is said of the image, whoever says it.
        let lie = Lie::Files {
            found: FilesId([1; 32]),
            wanted: FilesId([2; 32]),
        };
        let want = "192.168.77.1:8067 sent bytes that are not this machine's worker files | They are not used. Check that \
                    machine's disk and memory, and start `ramboot serve` there again.";
        for event in [
            wait(What::Files(base()), Some(Fault::Lied)),
            Event::Bad(Bad {
                from: base(),
                what: lie,
            }),
        ] {
            let said = of_event(&event).expect("trouble");
            assert_eq!(format!("{} | {}", said.fact, said.remedy), want);
        }
        let well = Event::Progress(Progress {
            done: 1,
            total: 2,
            per_second: 1.0,
            trouble: None,
        });
        assert_eq!(of_event(&well), None);
    }

    #[test]
    fn a_stop_names_what_helps() {
        let room = NoRoom {
            image: 205 << 20,
            initramfs: 3 << 20,
            available: 100 << 20,
        };
        let full = of_stop(&Err::<(), _>(room).context("stage fetch").expect_err("full"));
        assert_eq!(full.fact, "This image needs 269 MiB, 100 MiB are free");
        let missing = CmdlineError::Missing("ramboot.url");
        let cmdline = of_stop(&anyhow::Error::new(missing).context("stage early"));
        assert_eq!(
            cmdline.fact,
            "The boot stopped: stage early: ramboot.url is missing on the kernel command line"
        );
        assert!(cmdline.remedy.contains("command line"), "{cmdline:?}");
        assert!(of_stop(&anyhow!("x")).remedy.contains("publish again"));
        // Whoever publishes again gets the same worker files.
        let path = ArchiveError::Path("../x".to_owned());
        let archive = anyhow::Error::new(path).context("stage files");
        let unlaid = anyhow!("there is a folder of this name");
        let unlaid = unlaid
            .context(Unlaid("etc".to_owned()))
            .context("stage handover");
        for error in [archive, unlaid] {
            let said = of_stop(&error);
            assert!(
                said.fact.contains("worker") && said.remedy.contains("overlays"),
                "{said:?}"
            );
        }
    }
}
