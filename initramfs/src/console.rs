//! What a boot says: lines for serial consoles and tests, one calm picture for a screen, and in /dev/kmsg so that
//! `dmesg` and the journal keep it.
//!
//! Nothing here can fail, and nothing blocks: a worker without a console, or with a dead one, boots all the same.

mod backlog;
pub mod journal;
mod lines;
mod outputs;
pub mod record;
pub mod report;
mod screen;
mod text;
mod trouble;
mod view;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ramboot_fetch::event::{Event, Wait};
use ramboot_wire::{Stage, StageLine, plain};

use crate::clock;
use lines::Lines;
use outputs::{Loglevel, Outputs};
use view::View;

/// Opens the consoles, and a picture on the screens among them; with `debug`, lines everywhere, and more of them.
/// What was said before went to /dev/console alone.
pub fn open(debug: bool) {
    DEBUG.store(debug, Ordering::Relaxed);
    let outputs = Outputs::open(!debug);
    if outputs.is_empty() {
        return;
    }
    let has_pictures = !outputs.screens.is_empty();
    *lock() = Some(Console {
        outputs,
        view: View::new(clock::now()),
        lines: Lines::default(),
        changed: true,
        loglevel: None,
        painter: None,
        is_over: false,
    });
    let painter = thread::Builder::new()
        .name("console".to_owned())
        .spawn(work);
    with(|console| match painter {
        Ok(painter) => {
            console.painter = Some(painter);
            console.loglevel = has_pictures.then(Loglevel::lower).flatten();
        }
        Err(_) => console.outputs.end_pictures(),
    });
}

/// Leaves the consoles to the image's init: the picture goes, one sentence stays, and the kernel speaks as before.
pub fn hand_over(init: &str) {
    let painter = show(|console| {
        console.is_over = true;
        console.painter.take()
    });
    if let Some(painter) = painter.flatten() {
        painter.join().ok();
    }
    with(|console| {
        let now = clock::now();
        for screen in console.outputs.screens.iter() {
            let text = screen::farewell(&console.view, init, now, outputs::size(screen));
            outputs::paint(screen, &text);
        }
        console.outputs.end_pictures();
        console.outputs.drain(now + DRAIN);
        if let Some(loglevel) = console.loglevel.take() {
            loglevel.restore();
        }
    });
}

/// One line that does nothing to a terminal or to a log, whatever servers and files put into it.
fn one(text: &str) -> String {
    plain::line(text, MAX_LINE)
}

/// Writes one line to the consoles and to the kernel's log.
pub fn say(text: &str) {
    let text = &one(text);
    progress(text);
    if let Some(kmsg) = KMSG.get() {
        // Debug level: the consoles, which show what is more urgent than that, have the line already.
        let line = format!("<7>{text}\n");
        let mut kmsg: &File = kmsg;
        kmsg.write_all(line.as_bytes()).ok();
    }
}

/// Writes one line to the kernel's log as something to be noticed: for when the consoles belong to the image.
pub fn log(text: &str) {
    if let Some(kmsg) = KMSG.get() {
        let line = format!("<5>{}\n", one(text));
        let mut kmsg: &File = kmsg;
        kmsg.write_all(line.as_bytes()).ok();
    }
}

/// Writes one line to the consoles only.
pub fn progress(text: &str) {
    let text = &one(text);
    if PANICKED.load(Ordering::SeqCst) {
        // Some thread, perhaps this one, holds the lock for ever.
        let mut outputs = Outputs::open(false);
        outputs.line(text);
        outputs.drain(clock::now() + DRAIN);
    } else if with(|console| console.outputs.line(text)).is_none() {
        let mut out = std::io::stdout().lock();
        out.write_all(format!("{text}\n").as_bytes())
            .and_then(|()| out.flush())
            .ok();
    }
}

/// Says what happens in the middle of a stage. Bad chunks go to the kernel's log, too.
pub fn event(event: &Event) {
    let now = clock::now();
    let lines = show(|console| {
        console.view.take(event, now);
        console.lines.take(event, now)
    });
    for line in lines.unwrap_or_else(|| vec![event.to_string()]) {
        let line = format!("ramboot: {line}");
        match event {
            Event::Bad(_) => say(&line),
            Event::Progress(_) | Event::Wait(_) => progress(&line),
        }
    }
}

/// Says what is waited for.
pub fn wait(wait: Wait) {
    event(&Event::Wait(wait));
}

/// A stage begins: for the picture.
pub fn begin(stage: Stage) {
    let now = clock::now();
    show(|console| console.view.begin(stage, now));
}

/// A stage ended.
pub fn end(line: &StageLine) {
    say(&line.to_string());
    show(|console| console.view.end(line));
}

/// What the picture calls this machine: its name, or a MAC until it has one.
pub fn call_host(name: &str) {
    show(|console| name.clone_into(&mut console.view.host));
}

/// Which image is booted: its short id, and bytes.
pub fn call_image(id: &str, size: u64) {
    show(|console| console.view.image = Some((id.to_owned(), size)));
}

/// The machine reboots at this time.
pub fn deadline(at: Instant) {
    show(|console| console.view.deadline = Some(at));
}

/// The boot is over: says in plain words why, and what helps.
pub fn stop(error: &anyhow::Error) {
    let sentence = trouble::of_stop(error);
    let now = clock::now();
    progress(&format!(
        "ramboot: trouble: {}. {}",
        sentence.fact, sentence.remedy
    ));
    show(|console| console.view.stop(sentence, now));
}

/// From now on nothing here waits for anybody: a thread panicked, perhaps while it painted.
pub fn panicked() {
    PANICKED.store(true, Ordering::SeqCst);
}

/// Writes one line to the consoles if `ramboot.debug` stands on the command line.
pub fn debug(text: impl FnOnce() -> String) {
    if DEBUG.load(Ordering::Relaxed) {
        progress(&format!("ramboot: debug: {}", text()));
    }
}

/// Starts to write to the kernel's log.
pub fn open_kmsg() {
    // "ratelimit", the default, drops lines of user space after ten in five seconds.
    std::fs::write("/proc/sys/kernel/printk_devkmsg", "on\n").ok();
    if let Ok(file) = OpenOptions::new().write(true).open("/dev/kmsg") {
        KMSG.set(file).ok();
    }
}

/// What is shown, and where.
struct Console {
    outputs: Outputs,
    view: View,
    lines: Lines,
    /// Since the picture was painted last.
    changed: bool,
    loglevel: Option<Loglevel>,
    painter: Option<JoinHandle<()>>,
    /// The image's init gets the consoles.
    is_over: bool,
}

/// The thread that paints, and that writes to slow lines what they did not take at once.
fn work() {
    let mut painted = None;
    let mut guard = lock();
    loop {
        let Some(console) = guard.as_mut() else {
            return;
        };
        if console.is_over || PANICKED.load(Ordering::SeqCst) {
            return;
        }
        let is_flushed = console.outputs.flush();
        let now = clock::now();
        let time = until_due(painted, console.changed, now);
        if time.is_zero() {
            (painted, console.changed) = (Some(now), false);
            let screens = std::sync::Arc::clone(&console.outputs.screens);
            let frames: Vec<String> = screens
                .iter()
                .map(|screen| screen::frame(&console.view, now, outputs::size(screen)))
                .collect();
            drop(guard);
            for (screen, frame) in screens.iter().zip(&frames) {
                outputs::paint(screen, frame);
            }
            guard = lock();
            continue;
        }
        let time = if is_flushed { time } else { time.min(SLOW) };
        guard = CHANGED
            .wait_timeout(guard, time)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

/// How long the next painting can wait: news are shown soon, clocks tick each second, and the kernel's scribbles do
/// not stay.
fn until_due(painted: Option<Instant>, changed: bool, now: Instant) -> Duration {
    let gap = if changed { SOON } else { TICK };
    painted.map_or(Duration::ZERO, |at| {
        gap.saturating_sub(now.saturating_duration_since(at))
    })
}

/// Changes what the picture shows.
fn show<T>(change: impl FnOnce(&mut Console) -> T) -> Option<T> {
    let result = with(|console| {
        console.changed = true;
        change(console)
    });
    CHANGED.notify_all();
    result
}

/// `None` before [`open`], and after a panic.
fn with<T>(action: impl FnOnce(&mut Console) -> T) -> Option<T> {
    if PANICKED.load(Ordering::SeqCst) {
        return None;
    }
    lock().as_mut().map(action)
}

fn lock() -> MutexGuard<'static, Option<Console>> {
    CONSOLE.lock().unwrap_or_else(PoisonError::into_inner)
}

static CONSOLE: Mutex<Option<Console>> = Mutex::new(None);
static CHANGED: Condvar = Condvar::new();
static DEBUG: AtomicBool = AtomicBool::new(false);
static PANICKED: AtomicBool = AtomicBool::new(false);
static KMSG: OnceLock<File> = OnceLock::new();
/// Between two pictures if there is news.
/// Characters of a line.
const MAX_LINE: usize = 4_096;
const SOON: Duration = Duration::from_millis(250);
/// Between two pictures if there is none.
const TICK: Duration = Duration::from_secs(1);
/// Between two looks at a line that did not take all.
const SLOW: Duration = Duration::from_millis(100);
/// A line of 115 200 bit/s prints 5 kB in this time: all stage lines.
const DRAIN: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_painted_four_times_a_second_at_most() {
        let now = clock::now();
        let ago = |ms| now.checked_sub(Duration::from_millis(ms));
        for (painted, changed, want) in [
            (None, false, 0),
            (ago(100), true, 150),
            (ago(300), true, 0),
            (ago(300), false, 700),
            (ago(1_000), false, 0),
        ] {
            let want = Duration::from_millis(want);
            assert_eq!(until_due(painted, changed, now), want, "{painted:?}");
        }
    }
}
