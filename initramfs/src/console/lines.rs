//! Which lines a serial console gets: news soon, the same again only every other second, a bad chunk always. Pure;
//! time is an argument.

use std::mem::{Discriminant, discriminant};
use std::time::{Duration, Instant};

use ramboot_fetch::event::{Event, Progress, Wait, What};

use super::trouble::of_event;

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct Lines {
    last: Option<(Discriminant<Event>, Instant)>,
    /// Verified bytes when it was said how many.
    here: Option<(Instant, u64)>,
    /// The fact that was said, and when.
    fact: Option<(String, Instant)>,
    /// All was well since.
    well: bool,
}

impl Lines {
    /// The lines to say about an event, without `ramboot: `.
    pub(super) fn take(&mut self, event: &Event, now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        let kind = discriminant(event);
        let is_due = match self.last {
            _ if matches!(event, Event::Bad(_)) => true,
            Some((last, at)) => {
                let gap = if last == kind { EVERY } else { OTHER };
                now.saturating_duration_since(at) >= gap
            }
            None => true,
        };
        if is_due {
            lines.push(self.line(event, now));
            self.last = Some((kind, now));
        }
        lines.extend(self.sentence(event, now));
        lines
    }

    fn line(&mut self, event: &Event, now: Instant) -> String {
        let Event::Progress(progress) = event else {
            return event.to_string();
        };
        let mut progress: Progress = progress.clone();
        if let Some((at, done)) = self.here.replace((now, progress.done)) {
            let seconds = now.saturating_duration_since(at).as_secs_f64();
            if seconds > 0.0 {
                progress.per_second = progress.done.saturating_sub(done) as f64 / seconds;
            }
        }
        progress.to_string()
    }

    /// Trouble in plain words, when it is not the trouble that was said last.
    fn sentence(&mut self, event: &Event, now: Instant) -> Option<String> {
        // A turn that will come is said by the line about it, and its place changes all the time.
        let is_turn = matches!(
            event,
            Event::Wait(Wait {
                what: What::Turn { .. },
                ..
            })
        );
        let Some(trouble) = of_event(event).filter(|_| !is_turn) else {
            self.well = true;
            return None;
        };
        if let Some((fact, at)) = &self.fact {
            let ago = now.saturating_duration_since(*at);
            let is_new = *fact != trouble.fact || (self.well && ago >= AGAIN);
            if !is_new || ago < EVERY {
                return None;
            }
        }
        self.well = false;
        let said = format!("trouble: {}. {}", trouble.fact, trouble.remedy);
        self.fact = Some((trouble.fact, now));
        Some(said)
    }
}

/// Between two lines of the same kind. A line of 9600 bit/s takes a tenth of a second for each.
const EVERY: Duration = Duration::from_secs(2);
/// Between progress and waiting, which can take turns.
const OTHER: Duration = Duration::from_secs(1);
/// Trouble that comes and goes is said again after this time.
const AGAIN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use ramboot_fetch::event::{Bad, Lie, Next};
    use ramboot_fetch::fault::{Fault, Why};
    use ramboot_wire::image::BadChunk;

    fn progress(done: u64) -> Event {
        Event::Progress(Progress {
            done,
            total: 100_000_000,
            per_second: 9e9,
            trouble: None,
        })
    }

    fn wait(fault: Fault, seconds: u64) -> Event {
        Event::Wait(Wait {
            what: What::Source("http://10.0.0.1".to_owned()),
            since: Duration::from_secs(seconds),
            why: Some(Why {
                fault,
                text: "why".to_owned(),
            }),
            next: Next::TryIn(Duration::from_secs(1)),
            here: None,
        })
    }

    #[test]
    fn the_same_news_comes_every_other_second() {
        let start = clock::now();
        let mut lines = Lines::default();
        let said: Vec<String> = (0_u32..10)
            .flat_map(|half| {
                let now = start + Duration::from_millis(500) * half;
                lines.take(&progress(u64::from(half) * 1_000_000), now)
            })
            .collect();
        assert_eq!(
            said,
            [
                "fetch 0 % (0 of 100 MB) at 9000.0 MB/s",
                "fetch 4 % (4 of 100 MB) at 2.0 MB/s",
                "fetch 8 % (8 of 100 MB) at 2.0 MB/s",
            ]
        );
    }

    #[test]
    fn progress_and_waiting_that_take_turns_do_not_flood() {
        let start = clock::now();
        let mut lines = Lines::default();
        let said = (0_u32..20).flat_map(|tenth| {
            let now = start + Duration::from_millis(100) * tenth;
            let event = match tenth % 2 {
                0 => progress(1),
                _ => wait(Fault::Refused, 0),
            };
            lines.take(&event, now)
        });
        let said: Vec<String> = said.filter(|line| !line.starts_with("trouble")).collect();
        assert_eq!(said.len(), 2, "{said:?}");
    }

    #[test]
    fn trouble_is_said_in_plain_words_once() {
        let start = clock::now();
        let mut lines = Lines::default();
        let mut said = Vec::new();
        for second in 0..100 {
            let event = match second {
                0..40 => wait(Fault::Refused, second),
                40..50 => wait(Fault::Missing, second),
                50 => progress(1),
                _ => wait(Fault::Missing, second),
            };
            let now = start + Duration::from_secs(second);
            let taken = lines.take(&event, now).into_iter();
            said.extend(
                taken
                    .filter(|line| line.starts_with("trouble"))
                    .map(|line| (second, line)),
            );
        }
        let said: Vec<_> = said.iter().map(|(s, l)| (*s, l.as_str())).collect();
        let missing = "trouble: The manager at 10.0.0.1 does not have this image any more. Switch this machine off and \
                       on: it boots what is published now. Or publish the image again.";
        assert_eq!(
            said,
            [
                (
                    0,
                    "trouble: The manager at 10.0.0.1 does not answer (connection refused). Is `ramboot serve` running there?"
                ),
                (40, missing),
                (70, missing),
            ]
        );
    }

    #[test]
    fn no_bad_chunk_is_silent_and_no_two_troubles_take_turns_in_every_line() {
        let start = clock::now();
        let mut lines = Lines::default();
        let mut said = Vec::new();
        for index in 0..20 {
            let bad = Event::Bad(Bad {
                from: "http://10.0.0.1".to_owned(),
                what: Lie::Chunk(BadChunk::NoSuchChunk { index, count: 1 }),
            });
            said.extend(lines.take(&bad, start + Duration::from_millis(index * 100)));
        }
        let bad = said.iter().filter(|line| line.starts_with("bad chunk"));
        assert_eq!(bad.count(), 20);
        assert_eq!(said.len(), 21, "{said:?}");
    }
}
