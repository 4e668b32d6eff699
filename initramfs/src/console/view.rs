//! What a person at a screen should know of a boot: the facts, kept up to date by what is said. Pure; bounded.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ramboot_fetch::event::{Event, Next};
use ramboot_wire::{Stage, StageLine};

use super::trouble::{Sentence, of_event};

/// All a screen shows.
#[derive(Debug)]
pub(super) struct View {
    /// `/init` started.
    pub(super) since: Instant,
    /// Host name, or the MAC of the link that carries the boot.
    pub(super) host: String,
    /// Short id and bytes of the image.
    pub(super) image: Option<(String, u64)>,
    /// The stages that ended, at most one line each.
    pub(super) ended: Vec<StageLine>,
    /// The one that runs, and since when.
    pub(super) running: Option<(Stage, Instant)>,
    /// The fetch.
    pub(super) transfer: Transfer,
    /// What is wrong.
    pub(super) trouble: Option<Trouble>,
    /// When the machine reboots (`ramboot.deadline`).
    pub(super) deadline: Option<Instant>,
}

/// Something is wrong, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// In words.
    pub(super) sentence: Sentence,
    /// Since when.
    pub(super) since: Instant,
    /// What comes next.
    pub(super) then: Then,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The same is tried all the time.
    Again,
    /// A try at this time.
    Try(Instant),
    /// Others go on meanwhile.
    Others,
    /// Nothing: the boot is over.
    Nothing,
}

/// How far the image is, and how fast it comes.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    /// Verified bytes, all bytes.
    pub(super) here: Option<(u64, u64)>,
    /// Verified bytes at some times, oldest first.
    samples: VecDeque<(Instant, u64)>,
}

impl View {
    /// Nothing is known.
    #[must_use]
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            host: String::new(),
            image: None,
            ended: Vec::new(),
            running: None,
            transfer: Transfer::default(),
            trouble: None,
            deadline: None,
        }
    }

    /// A stage begins.
    pub(super) fn begin(&mut self, stage: Stage, now: Instant) {
        self.running = Some((stage, now));
    }

    /// A stage ended, and its troubles with it.
    pub(super) fn end(&mut self, line: &StageLine) {
        self.running = None;
        self.trouble = None;
        if self.ended.len() < Stage::BOOT.len() {
            self.ended.push(line.clone());
        }
    }

    /// Something happened in a stage.
    pub(super) fn take(&mut self, event: &Event, now: Instant) {
        let here = match event {
            Event::Progress(progress) => Some((progress.done, progress.total)),
            Event::Wait(wait) => wait.here,
            Event::Bad(_) => None,
        };
        if let Some((done, total)) = here {
            self.transfer.take(done, total, now);
        }
        let (since, then) = match event {
            Event::Wait(wait) => (
                now.checked_sub(wait.since).unwrap_or(now),
                match wait.next {
                    Next::Again => Then::Again,
                    Next::Now => Then::Try(now),
                    Next::TryIn(time) => Then::Try(now + time),
                },
            ),
            Event::Bad(_) | Event::Progress(_) => (now, Then::Others),
        };
        self.trouble = match (of_event(event), self.trouble.take()) {
            (None, Some(old)) if old.lingers(now) => Some(old),
            (None, _) => None,
            // Another stream says the same again: it lasts since the first one.
            (Some(sentence), Some(old)) if then == Then::Others && old.sentence == sentence => {
                Some(old)
            }
            (Some(sentence), _) => Some(Trouble {
                sentence,
                since,
                then,
            }),
        };
    }

    /// The boot is over.
    pub(super) fn stop(&mut self, sentence: Sentence, now: Instant) {
        self.trouble = Some(Trouble {
            sentence,
            since: now,
            then: Then::Nothing,
        });
    }
}

impl Trouble {
    /// What was over at once stays long enough to be read.
    fn lingers(&self, now: Instant) -> bool {
        self.then == Then::Others && now.saturating_duration_since(self.since) < LINGER
    }
}

impl Transfer {
    fn take(&mut self, done: u64, total: u64, now: Instant) {
        self.here = Some((done, total));
        self.samples.push_back((now, done));
        let old = |at: Instant| now.saturating_duration_since(at) > WINDOW;
        while self.samples.len() > MAX_SAMPLES
            || (self.samples.len() > 2 && self.samples.front().is_some_and(|(at, _)| old(*at)))
        {
            self.samples.pop_front();
        }
    }

    /// Verified bytes a second over the last moments.
    #[must_use]
    pub(super) fn rate(&self) -> Option<f64> {
        let ((first, from), (last, to)) = (self.samples.front()?, self.samples.back()?);
        let time = last.saturating_duration_since(*first).as_secs_f64();
        (time > 0.0).then(|| to.saturating_sub(*from) as f64 / time)
    }

    /// Until all of it is here, if it goes on like this.
    #[must_use]
    pub(super) fn left(&self) -> Option<Duration> {
        let (done, total) = self.here?;
        let seconds = total.saturating_sub(done) as f64 / self.rate().filter(|rate| *rate > 1e3)?;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// The rate is that of this time: shorter jumps, longer lies.
const WINDOW: Duration = Duration::from_secs(10);
const MAX_SAMPLES: usize = 32;
/// For reading one sentence.
const LINGER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use proptest::prelude::*;
    use ramboot_fetch::event::{Progress, Wait, What};
    use ramboot_fetch::fault::{Fault, Why};

    fn progress(done: u64, trouble: Option<Fault>) -> Event {
        Event::Progress(Progress {
            done,
            total: 100_000_000,
            per_second: 0.0,
            trouble: trouble.map(|fault| {
                let text = String::new();
                ("http://10.0.0.1".to_owned(), Why { fault, text })
            }),
        })
    }

    fn refused(since: u64) -> Event {
        Event::Wait(Wait {
            what: What::Source("http://10.0.0.1".to_owned()),
            since: Duration::from_secs(since),
            why: Some(Why {
                fault: Fault::Refused,
                text: String::new(),
            }),
            next: Next::TryIn(Duration::from_secs(3)),
            here: Some((50_000_000, 100_000_000)),
        })
    }

    #[test]
    fn rate_and_remaining_time_are_those_of_the_last_moments() {
        let start = clock::now();
        let mut view = View::new(start);
        assert_eq!(view.transfer.rate(), None);
        for second in 0..=30 {
            let done = second_half(second) * 2_000_000;
            view.take(&progress(done, None), start + Duration::from_secs(second));
        }
        let rate = view.transfer.rate().expect("a rate");
        assert!((rate - 2e6).abs() < 1.0, "{rate}");
        assert_eq!(view.transfer.left(), Some(Duration::from_secs(30)));
    }

    const fn second_half(second: u64) -> u64 {
        second.saturating_sub(10)
    }

    #[test]
    fn trouble_comes_and_goes() {
        let start = clock::now();
        let at = |second| start + Duration::from_secs(second);
        let mut view = View::new(start);
        view.take(&refused(2), at(5));
        let trouble = view.trouble.clone().expect("trouble");
        assert_eq!((trouble.since, trouble.then), (at(3), Then::Try(at(8))));
        assert_eq!(view.transfer.here, Some((50_000_000, 100_000_000)));
        view.take(&progress(60_000_000, None), at(6));
        assert_eq!(view.trouble, None, "it came back");

        view.take(&progress(61_000_000, Some(Fault::Lied)), at(7));
        view.take(&progress(62_000_000, Some(Fault::Lied)), at(9));
        assert_eq!(view.trouble.as_ref().map(|t| t.since), Some(at(7)));
        view.take(&progress(63_000_000, None), at(16));
        assert!(view.trouble.is_some(), "still to be read");
        view.take(&progress(64_000_000, None), at(17));
        assert_eq!(view.trouble, None);
    }

    proptest! {
        #[test]
        fn bounded_and_never_panics(events in proptest::collection::vec((any::<u64>(), any::<u64>(), 0_u64..9), 0..200)) {
            let mut now = clock::now();
            let mut view = View::new(now);
            for (done, total, seconds) in events {
                now += Duration::from_secs(seconds);
                view.take(&Event::Progress(Progress { done, total, per_second: 0.0, trouble: None }), now);
                let _ = (view.transfer.rate(), view.transfer.left());
                prop_assert!(view.transfer.samples.len() <= MAX_SAMPLES);
            }
        }
    }
}
