//! That an image is being served, said to other programs: a shared flock(2) on its `image.sqfs`.
//!
//! Who removes images tries an exclusive lock and passes over those it does not get. That works for several managers on
//! one store and for a manager that runs as another user (locking asks for no more than reading does), and one that dies
//! leaves nothing behind. A worker asks for a hundred ranges, waits for its turn between them, and may have lost its cable
//! for minutes: so a mark stays for [`LINGER`] after the last request, and while an answer runs.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::files;

/// How long an image is kept for a worker that does not ask. Longer than `/init` pauses between two tries (30 s), than
/// firmware needs from kernel to image, and than a switch takes to start anew.
pub const LINGER: Duration = Duration::from_secs(600);

/// Between two looks at the marks, so that a mark goes between [`LINGER`] and this much later.
pub const TICK: Duration = Duration::from_secs(30);

/// One image's mark.
#[derive(Debug, Default)]
pub(super) struct Mark {
    lock: Lock,
    idle: Idle,
}

#[derive(Debug, Default)]
enum Lock {
    /// Nobody asked for long, or who removes images was looking at it just then.
    #[default]
    Off,
    On(#[expect(dead_code, reason = "the lock ends when it is closed")] File),
    /// The file system has no such locks: it was said once.
    Impossible,
}

impl Mark {
    /// Somebody asks for the image at `path`: it is marked if it is not.
    ///
    /// # Errors
    /// It cannot be marked, now or later. Said once; serving goes on.
    pub(super) fn asked(&mut self, path: &Path) -> anyhow::Result<()> {
        self.idle.asked = true;
        if let Lock::Off = self.lock {
            let locked = lock(path, FlockOperation::NonBlockingLockShared);
            self.lock = Lock::Impossible;
            self.lock = locked?.map_or(Lock::Off, Lock::On);
        }
        Ok(())
    }

    /// Somebody asks for the image; `false` if it is not marked, and a mark can be tried.
    pub(super) fn is_on(&mut self) -> bool {
        self.idle.asked = true;
        !matches!(self.lock, Lock::Off)
    }

    /// Time goes by; `lent`: an answer with the image is running.
    pub(super) fn tick(&mut self, lent: bool, now: Instant) {
        if self.idle.is_over(lent, now)
            && let Lock::On(_) = self.lock
        {
            self.lock = Lock::Off;
        }
    }
}

/// How long nobody wants an image.
#[derive(Debug, Default)]
struct Idle {
    /// Since the last tick.
    asked: bool,
    /// The last tick at which somebody did.
    wanted: Option<Instant>,
}

impl Idle {
    /// Whether nobody has wanted it for [`LINGER`]. Asked at each tick.
    fn is_over(&mut self, lent: bool, now: Instant) -> bool {
        if std::mem::take(&mut self.asked) || lent {
            self.wanted = Some(now);
        }
        let since = self.wanted.map(|then| now.saturating_duration_since(then));
        since.is_none_or(|since| since >= LINGER)
    }
}

/// Locks a file of the store; `None` if it is not there, or another program has a lock that does not go with this one.
fn lock(path: &Path, operation: FlockOperation) -> anyhow::Result<Option<File>> {
    let Some(file) = files::open(path)? else {
        return Ok(None);
    };
    match rustix::fs::flock(&file, operation) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(e).with_context(|| format!("locking {}", path.display())),
    }
}

/// Takes an image that nobody serves; `Ok(None)` if somebody does. An image without its file is nobody's.
///
/// # Errors
/// Whether it is served cannot be found out.
pub(super) fn take(path: &Path) -> anyhow::Result<Option<Taken>> {
    let Some(file) = files::open(path)? else {
        return Ok(Some(Taken(None)));
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Taken(Some(file)))),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(e).with_context(|| format!("locking {}", path.display())),
    }
}

/// Nobody serves the image, and who begins to finds it unmarkable until this is dropped.
#[derive(Debug)]
pub(super) struct Taken(
    #[expect(dead_code, reason = "the lock ends when it is closed")] Option<File>,
);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any moment will do")]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn file() -> tempfile::NamedTempFile {
        tempfile::NamedTempFile::new().expect("a file")
    }

    fn is_free(path: &Path) -> bool {
        take(path).expect("locks").is_some()
    }

    #[test]
    fn a_mark_lingers_after_the_last_request() {
        let start = Instant::now();
        // Minutes, whether it was asked for or lent since the last row, and whether the mark is gone then.
        for rows in [
            &[
                (0, true, false, false),
                (9, false, false, false),
                (10, false, false, true),
            ][..],
            &[
                (0, true, false, false),
                (9, true, false, false),
                (18, false, false, false),
                (19, false, false, true),
            ],
            // One range over a very slow wire.
            &[
                (0, true, false, false),
                (30, false, true, false),
                (39, false, false, false),
                (40, false, false, true),
            ],
            // The machine slept.
            &[
                (0, true, false, false),
                (5000, true, false, false),
                (5001, false, false, false),
            ],
        ] {
            let mut idle = Idle::default();
            for &(minutes, asked, lent, over) in rows {
                idle.asked |= asked;
                assert_eq!(
                    idle.is_over(lent, start + minutes * MINUTE),
                    over,
                    "{rows:?}: {minutes}"
                );
            }
        }
    }

    #[test]
    fn who_removes_passes_over_what_is_marked() {
        let (file, start) = (file(), Instant::now());
        let path = file.path();
        let (mut one, mut two) = (Mark::default(), Mark::default());
        assert!(is_free(path));
        one.asked(path).expect("marked");
        two.asked(path).expect("two managers");
        one.asked(path).expect("as it was");
        one.tick(false, start);
        assert!(!is_free(path));
        one.tick(false, start + LINGER);
        assert!(!is_free(path), "the other one serves it");
        drop(two);
        assert!(is_free(path));
        one.asked(path).expect("marked anew");
        assert!(!is_free(path));
    }

    #[test]
    fn a_mark_that_came_too_late_is_tried_again() {
        let file = file();
        let taken = take(file.path()).expect("locks").expect("free");
        let mut mark = Mark::default();
        mark.asked(file.path()).expect("goes on");
        drop(taken);
        assert!(is_free(file.path()));
        mark.asked(file.path()).expect("marked");
        assert!(!is_free(file.path()));
    }

    #[test]
    fn what_cannot_be_marked_is_said_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut mark = Mark::default();
        mark.asked(folder.path()).expect_err("not a file");
        mark.asked(folder.path()).expect("said already");
        assert!(is_free(&folder.path().join("missing")), "nobody serves it");
    }
}
