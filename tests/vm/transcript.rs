//! What a program or a serial line says, line by line with times, and waiting for it to say something.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// Lines an error shows.
const SHOWN: usize = 40;

/// One line, without escape sequences.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// Since the start of the transcript.
    pub(crate) at: Duration,
    /// What it says.
    pub(crate) text: String,
}

/// A growing list of lines; clones see the same.
#[derive(Debug, Clone)]
pub(crate) struct Transcript {
    name: String,
    started: Instant,
    heard: Arc<(Mutex<Heard>, Condvar)>,
}

/// All that was said so far.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Finished lines.
    pub(crate) lines: Vec<Line>,
    /// The unfinished one: a prompt, perhaps.
    pub(crate) tail: String,
    ended: bool,
    escape: Escape,
}

/// Where in a terminal's escape sequence the stream stands.
#[derive(Debug, Default, Clone, Copy)]
enum Escape {
    #[default]
    None,
    Began,
    Control,
}

impl Transcript {
    /// Reads `from` to its end on a thread of its own, copying every byte into `log`.
    pub(crate) fn follow(
        name: &str,
        mut from: impl Read + Send + 'static,
        mut log: Option<File>,
    ) -> Self {
        let this = Self {
            name: name.to_owned(),
            started: Instant::now(),
            heard: Arc::default(),
        };
        let writer = this.clone();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // A pipe's read fails only when the other side is gone, too.
            while let Ok(n @ 1..) = from.read(&mut bytes) {
                if let Some(Err(e)) = log.as_mut().map(|log| log.write_all(&bytes[..n])) {
                    eprintln!("keeping what {} says: {e}", writer.name);
                    log = None;
                }
                let at = writer.started.elapsed();
                let mut heard = writer.heard();
                String::from_utf8_lossy(&bytes[..n])
                    .chars()
                    .for_each(|c| heard.hear(c, at));
                writer.heard.1.notify_all();
            }
            writer.heard().ended = true;
            writer.heard.1.notify_all();
        });
        this
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        let (mutex, _) = &*self.heard;
        mutex.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits until `look` finds something in all that was said so far, or finds that it is in vain.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut(&Heard) -> Option<Result<T>>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        let mut heard = self.heard();
        loop {
            let ended = heard.ended;
            if let Some(found) = look(&heard) {
                return found.map_err(|e| anyhow!("{e:#}\n{}", self.last_lines(&heard)));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if ended || left.is_zero() {
                let why = if ended {
                    "ended before"
                } else {
                    "did not show"
                };
                return Err(anyhow!(
                    "{} {why} {what} (waiting at most {limit:?})\n{}",
                    self.name,
                    self.last_lines(&heard)
                ));
            }
            let (_, condvar) = &*self.heard;
            heard = match condvar.wait_timeout(heard, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Waits for a line with `text` in it, said at any time.
    pub(crate) fn expect(&self, text: &str, limit: Duration) -> Result<Line> {
        self.expect_times(1, text, limit)
    }

    /// Waits until `count` lines had `text` in them; gives the last of these.
    pub(crate) fn expect_times(&self, count: usize, text: &str, limit: Duration) -> Result<Line> {
        self.wait(&format!("{text:?} ({count} ×)"), limit, |heard| {
            let mut found = heard.lines.iter().filter(|line| line.text.contains(text));
            found.nth(count - 1).cloned().map(Ok)
        })
    }

    /// Whether a line said so far has `text` in it.
    pub(crate) fn has(&self, text: &str) -> bool {
        self.heard().lines.iter().any(|l| l.text.contains(text))
    }

    /// All lines said so far.
    pub(crate) fn texts(&self) -> Vec<String> {
        let heard = self.heard();
        heard.lines.iter().map(|line| line.text.clone()).collect()
    }

    fn last_lines(&self, heard: &Heard) -> String {
        let mut text = format!("--- last lines of {}:\n", self.name);
        for line in &heard.lines[heard.lines.len().saturating_sub(SHOWN)..] {
            let _ = writeln!(text, "{:8.3}  {}", line.at.as_secs_f64(), line.text);
        }
        let _ = write!(text, "          {}\n---", heard.tail);
        text
    }
}

impl Heard {
    fn hear(&mut self, c: char, at: Duration) {
        self.escape = match (self.escape, c) {
            (_, '\x1b') => Escape::Began,
            (Escape::Began, '[') => Escape::Control,
            // Firmware draws its screen by moving the cursor: what follows is a new line.
            (Escape::Control, 'H' | 'J') => {
                self.end_line(at);
                Escape::None
            }
            (Escape::Control, '\x40'..='\x7e') | (Escape::Began, _) => Escape::None,
            (Escape::Control, _) => Escape::Control,
            (Escape::None, '\n') => {
                self.end_line(at);
                Escape::None
            }
            (Escape::None, c) => {
                if !c.is_control() || c == '\t' {
                    self.tail.push(c);
                }
                Escape::None
            }
        };
    }

    fn end_line(&mut self, at: Duration) {
        let text = std::mem::take(&mut self.tail);
        let text = text.trim_end();
        if !text.is_empty() {
            self.lines.push(Line {
                at,
                text: text.to_owned(),
            });
        }
    }
}
