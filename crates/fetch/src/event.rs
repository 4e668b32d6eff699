//! What there is to say while a stage runs. Each [`fmt::Display`] is the line for a serial console, a log, a test.
//!
//! The parts stay apart until somebody renders them: a screen counts the seconds on by itself.

use std::fmt;
use std::time::Duration;

use ramboot_wire::FilesId;
use ramboot_wire::image::{BadChunk, ChunkListError};
use ramboot_wire::queue::Place;
use ramboot_wire::text::megabytes;

use crate::fault::Why;

/// Something to say while a stage runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A chunk that is not what was published, and from whom. Told at once, reported, kept in the log.
    Bad(Bad),
    /// Where a transfer stands. Consoles only: the kernel's log is small.
    Progress(Progress),
    /// Nothing moves, and why. Consoles only, too.
    Wait(Wait),
}

/// Something that is not what was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// The base it came from.
    pub from: String,
    /// What is wrong with it.
    pub what: Lie,
}

/// What came whole and is not what was published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lie {
    /// A chunk of the image.
    #[error(transparent)]
    Chunk(#[from] BadChunk),
    /// The chunk list.
    #[error(transparent)]
    List(#[from] ChunkListError),
    /// The worker's own files.
    #[error("worker files with digest {found}, expected {wanted}")]
    Files {
        /// Of what came.
        found: FilesId,
        /// As the kernel command line has it.
        wanted: FilesId,
    },
}

/// Where the transfer of the image stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Verified bytes.
    pub done: u64,
    /// Bytes of the image.
    pub total: u64,
    /// Verified bytes a second, since it was said last.
    pub per_second: f64,
    /// What some streams suffer from while others go on: the base, and what went wrong with it.
    pub trouble: Option<(String, Why)>,
}

/// What is waited for, since when, and what will be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// What is missing.
    pub what: What,
    /// For how long.
    pub since: Duration,
    /// What went wrong last, if anything did.
    pub why: Option<Why>,
    /// What will be done.
    pub next: Next,
    /// Verified bytes and all bytes, where part of the image is there already.
    pub here: Option<(u64, u64)>,
}

/// What a boot can wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The kernel knows no wired network device; the one of `BOOTIF`, if that is known.
    Device(Option<String>),
    /// None of these links has a carrier.
    Carrier(Vec<String>),
    /// Nobody gives an address on these links.
    Lease(Vec<String>),
    /// The worker's own files; the base asked last.
    Files(String),
    /// The chunk list; the base asked last.
    ChunkList(String),
    /// A base that should give chunks.
    Source(String),
    /// A base that serves others first, and our place among those that wait if it says.
    Turn {
        /// Which base.
        base: String,
        /// Our place.
        place: Option<Place>,
    },
}

/// What will be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The same again, all the time.
    Again,
    /// It is being tried.
    Now,
    /// Another try, after this time.
    TryIn(Duration),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad(bad) => match bad.what {
                Lie::Chunk(_) => write!(f, "bad chunk from {bad}; fetching it again"),
                Lie::List(_) => write!(f, "bad chunk list from {bad}; asking for it again"),
                Lie::Files { .. } => write!(f, "bad files from {bad}; asking for them again"),
            },
            Self::Progress(progress) => progress.fmt(f),
            Self::Wait(wait) => wait.fmt(f),
        }
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.from, self.what)
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let here = share(self.done, self.total);
        write!(f, "fetch {here} at {:.1} MB/s", self.per_second / 1e6)?;
        match &self.trouble {
            Some((base, why)) => write!(f, "; trouble with {base}: {why}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, since) = (&self.what, self.since.as_secs());
        write!(f, "waiting for {what}")?;
        if !matches!(what, What::Turn { .. }) {
            write!(f, " since {since} s")?;
        }
        match (&self.why, what) {
            (Some(why), What::ChunkList(base) | What::Files(base)) => {
                write!(f, " ({base}: {why})")?
            }
            (Some(why), _) => write!(f, " ({why})")?,
            (None, _) => {}
        }
        match (&self.next, what) {
            (Next::TryIn(time), What::Turn { .. }) => {
                write!(f, ", asking again in {} s", time.as_secs_f64().ceil())?;
            }
            (Next::Now | Next::Again, What::Turn { .. }) => f.write_str(", asking now")?,
            (Next::TryIn(time), _) => write!(f, "; next try in {:.1} s", time.as_secs_f64())?,
            (Next::Now, _) => f.write_str("; trying now")?,
            (Next::Again, What::Lease(_)) => f.write_str("; asking again until one answers")?,
            (Next::Again, _) => f.write_str("; looking again until it comes")?,
        }
        match self.here {
            Some((done, total)) => write!(f, "; {} are here", share(done, total)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(Some(mac)) => write!(
                f,
                "a wired network device ({mac} of BOOTIF; no driver, or not there)"
            ),
            Self::Device(None) => f.write_str("a wired network device (no driver, or not there)"),
            Self::Carrier(links) => write!(f, "a carrier on {} (cable, switch)", links.join(", ")),
            Self::Lease(links) => write!(f, "a DHCP server on {}", links.join(", ")),
            Self::Files(_) => f.write_str("this machine's own files"),
            Self::ChunkList(_) => f.write_str("the chunk list"),
            Self::Source(base) => f.write_str(base),
            Self::Turn { base, place } => write!(f, "our turn{} at {base}", standing(*place)),
        }
    }
}

/// `: 17th of 120`, or nothing.
#[must_use]
pub fn standing(place: Option<Place>) -> String {
    let Some(Place { place, waiting }) = place else {
        return String::new();
    };
    let ending = match (place % 10, place % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!(": {place}{ending} of {waiting}")
}

/// `45 % (62 of 139 MB)`
fn share(done: u64, total: u64) -> String {
    let percent = done.saturating_mul(100) / total.max(1);
    format!("{percent} % ({})", megabytes(done, total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    use crate::http::HttpError;

    fn wait(what: What) -> Wait {
        Wait {
            what,
            since: Duration::from_millis(12_900),
            why: None,
            next: Next::Again,
            here: None,
        }
    }

    #[test]
    fn places_are_said_as_people_say_them() {
        let said = |place| {
            standing(Some(Place {
                place,
                waiting: 200,
            }))
        };
        for (place, want) in [
            (1, ": 1st of 200"),
            (2, ": 2nd of 200"),
            (3, ": 3rd of 200"),
            (11, ": 11th of 200"),
            (113, ": 113th of 200"),
            (122, ": 122nd of 200"),
        ] {
            assert_eq!(said(place), want);
        }
        assert_eq!(standing(None), "");
    }

    #[test]
    fn lines_are_an_interface() {
        let refused = HttpError::Connect(io::ErrorKind::ConnectionRefused.into());
        let why = Why::of(&refused);
        let base = "http://10.0.0.1:8067".to_owned();
        for (event, want) in [
            (
                Event::Wait(wait(What::Carrier(vec!["eth0".into(), "eth1".into()]))),
                "waiting for a carrier on eth0, eth1 (cable, switch) since 12 s; looking again until it comes",
            ),
            (
                Event::Wait(wait(What::Device(None))),
                "waiting for a wired network device (no driver, or not there) since 12 s; looking again until it comes",
            ),
            (
                Event::Wait(wait(What::Lease(vec!["eth0".into()]))),
                "waiting for a DHCP server on eth0 since 12 s; asking again until one answers",
            ),
            (
                Event::Wait(Wait {
                    why: Some(why.clone()),
                    next: Next::TryIn(Duration::from_millis(1_234)),
                    ..wait(What::ChunkList(base.clone()))
                }),
                "waiting for the chunk list since 12 s (http://10.0.0.1:8067: connecting: connection refused); next try in 1.2 s",
            ),
            (
                Event::Wait(Wait {
                    why: Some(why.clone()),
                    next: Next::TryIn(Duration::ZERO),
                    here: Some((62_000_000, 139_000_000)),
                    ..wait(What::Source(base.clone()))
                }),
                "waiting for http://10.0.0.1:8067 since 12 s (connecting: connection refused); next try in 0.0 s; \
                 44 % (62 of 139 MB) are here",
            ),
            (
                Event::Wait(Wait {
                    next: Next::TryIn(Duration::from_millis(1_234)),
                    here: Some((62_000_000, 139_000_000)),
                    ..wait(What::Turn {
                        base: base.clone(),
                        place: "17/120".parse().ok(),
                    })
                }),
                "waiting for our turn: 17th of 120 at http://10.0.0.1:8067, asking again in 2 s; 44 % (62 of 139 MB) are here",
            ),
            (
                Event::Progress(Progress {
                    done: 300_000,
                    total: 900_000,
                    per_second: 150_000.0,
                    trouble: Some((base.clone(), why)),
                }),
                "fetch 33 % (0.3 of 0.9 MB) at 0.1 MB/s; trouble with http://10.0.0.1:8067: connecting: connection refused",
            ),
            (
                Event::Bad(Bad {
                    from: base,
                    what: Lie::Chunk(BadChunk::NoSuchChunk { index: 7, count: 7 }),
                }),
                "bad chunk from http://10.0.0.1:8067: no chunk 7: the image has 7; fetching it again",
            ),
        ] {
            assert_eq!(event.to_string(), want);
        }
    }
}
