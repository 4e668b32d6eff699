//! Whether all loops that answer machines take their turns; systemd's watchdog is fed only while they do.
//!
//! What it finds: a loop that spins or waits for a lock that is never given back, in a serving task or in the main one, and a
//! runtime all of whose threads are stuck in such. What it does not: a loop that takes its turns and is wrong.
#![expect(clippy::disallowed_methods, reason = "shell: reads the clock")]

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tracing::error;

/// How often a loop shows that it turns, and, without a watchdog, how often somebody looks.
const BEAT: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_secs(15);

/// All loops that are to turn. One that was ended, with the interface it was for, say, is not waited for.
pub(super) struct Pulses {
    epoch: Instant,
    loops: Vec<(String, Weak<AtomicU64>)>,
}

impl Pulses {
    pub(super) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            loops: Vec::new(),
        }
    }

    /// The task as it is, with a pulse: it beats in the same task, so it stands still when that does.
    pub(super) fn with_pulse<F: Future>(
        &mut self,
        name: String,
        task: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        let epoch = self.epoch;
        let at = Arc::new(AtomicU64::new(millis(epoch.elapsed())));
        self.loops.retain(|(_, at)| at.strong_count() > 0);
        self.loops.push((name, Arc::downgrade(&at)));
        async move {
            let mut task = pin!(task);
            let mut clock = tokio::time::interval(BEAT);
            loop {
                tokio::select! {
                    done = &mut task => return done,
                    _ = clock.tick() => at.store(millis(epoch.elapsed()), Ordering::Relaxed),
                }
            }
        }
    }

    /// The first loop that did not turn for so long.
    fn stuck(&self, now: Duration, patience: Duration) -> Option<(&str, Duration)> {
        let age = |at: &Weak<AtomicU64>| {
            let at = Duration::from_millis(at.upgrade()?.load(Ordering::Relaxed));
            Some(now.saturating_sub(at))
        };
        let mut ages = self
            .loops
            .iter()
            .filter_map(|(name, at)| Some((name.as_str(), age(at)?)));
        ages.find(|(_, age)| *age > patience)
    }
}

/// Feeds the watchdog; it lives in the main task, which is thereby watched, too.
pub(super) struct Keeper {
    clock: tokio::time::Interval,
    /// How old a pulse may be.
    patience: Duration,
    watched: bool,
}

impl Keeper {
    /// With the interval in which systemd wants to hear of us, if it does.
    pub(super) fn new(watchdog: Option<Duration>) -> Self {
        let half = watchdog.map_or(LOOK, |interval| interval / 2);
        Self {
            clock: tokio::time::interval(half.max(Duration::from_millis(1))),
            patience: half.max(2 * BEAT),
            watched: watchdog.is_some(),
        }
    }

    /// When it is time to look.
    pub(super) async fn tick(&mut self) {
        self.clock.tick().await;
    }

    /// Looks, and says so to systemd if all is well.
    pub(super) fn look(&self, pulses: &Pulses) {
        let now = pulses.epoch.elapsed();
        match pulses.stuck(now, self.patience) {
            Some((name, age)) => error!(
                "{name} has not taken its turn for {} s{}",
                age.as_secs(),
                if self.watched {
                    ": no sign of life to systemd, which starts the manager anew"
                } else {
                    ": restart the manager, and please report this"
                }
            ),
            None if self.watched => {
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
            }
            None => {}
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_task_that_blocks_is_seen_and_named() {
        let mut pulses = Pulses::new();
        let good = pulses.with_pulse("good".to_owned(), std::future::pending::<()>());
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        let (is_stuck, stuck) = tokio::sync::oneshot::channel();
        let bad = pulses.with_pulse("bad".to_owned(), async move {
            is_stuck.send(()).expect("waits");
            let _ = held.recv();
        });
        let good = tokio::spawn(good);
        let bad = tokio::spawn(bad);
        stuck.await.expect("begun");
        let patience = Duration::from_millis(1500);
        tokio::time::sleep(2 * BEAT).await;
        let now = pulses.epoch.elapsed();
        let (name, _) = pulses.stuck(now, patience).expect("one is stuck");
        assert_eq!(name, "bad");
        // One that has ended needs no pulse, however it ended.
        drop(let_go);
        bad.await.expect("ends");
        assert_eq!(pulses.stuck(pulses.epoch.elapsed(), patience), None);
        good.abort();
        assert!(good.await.expect_err("aborted").is_cancelled());
        let much_later = pulses.epoch.elapsed() + 100 * patience;
        assert_eq!(pulses.stuck(much_later, patience), None);
        // Its first pulse is its beginning, however long the manager runs by then.
        let late = pulses.with_pulse("late".to_owned(), std::future::pending::<()>());
        let now = pulses.epoch.elapsed();
        assert_eq!(pulses.stuck(now, Duration::from_secs(1)), None);
        assert_eq!(pulses.loops.len(), 1);
        drop(late);
    }
}
