//! What a person sees while an image is built or published: a bar on a terminal, a line now and then in a log. On stderr.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: tells a person how time passes"
)]

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use ramboot_wire::plain;

use crate::host::terminal;

/// Characters of one.
const MAX_NOTE: usize = 1_000;
const BETWEEN_LINES: Duration = Duration::from_secs(3);

/// Progress through a known number of bytes, then through steps without one.
#[derive(Debug)]
pub(crate) struct Progress {
    doing: &'static str,
    total: u64,
    bar: Option<ProgressBar>,
    said: Instant,
}

impl Progress {
    /// Begins with `total` bytes; `doing` is what is done with them: `reading`.
    #[must_use]
    pub(crate) fn new(doing: &'static str, total: u64) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(&format!(
                "{doing} {{bar:30}} {{percent:>3}} %  {{bytes_per_sec}}"
            ));
            let bar = ProgressBar::new(total);
            match style {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        Self {
            doing,
            total,
            bar,
            said: Instant::now(),
        }
    }

    /// So many bytes are done.
    pub(crate) fn at(&mut self, done: u64) {
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None if self.said.elapsed() >= BETWEEN_LINES => {
                self.said = Instant::now();
                say(&format!("{} {} %", self.doing, percent(done, self.total)));
            }
            None => {}
        }
    }

    /// What goes on now will take seconds.
    pub(crate) fn step(&mut self, what: &str) {
        match &self.bar {
            Some(bar) => {
                if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                    bar.set_style(style);
                }
                bar.reset_elapsed();
                bar.set_message(plain::line(what, MAX_NOTE));
                bar.enable_steady_tick(Duration::from_millis(200));
            }
            None => say(what),
        }
    }

    /// Something to know, though it goes on.
    pub(crate) fn note(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.println(format!("note: {}", plain::line(what, MAX_NOTE))),
            None => say(&format!("note: {what}")),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A line of a log. Where it cannot be written (a full disk) the publish is worth more than the line.
fn say(line: &str) {
    terminal::tell(&format!("{}\n", plain::line(line, MAX_NOTE)));
}

fn percent(done: u64, total: u64) -> u64 {
    done.saturating_mul(100) / total.max(1)
}
