//! The consoles of this machine: where lines go, where a picture goes, and nothing of it waits for a terminal.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::termios::{QueueSelector, tcflush, tcgetwinsize};

use super::backlog::Backlog;
use super::screen::Size;
use crate::clock;

/// All consoles that could be opened.
#[derive(Debug)]
pub(super) struct Outputs {
    lines: Vec<Line>,
    /// Virtual terminals that show a picture.
    pub(super) screens: Arc<Vec<File>>,
}

/// A console for whole lines.
#[derive(Debug)]
struct Line {
    file: File,
    backlog: Backlog,
}

impl Outputs {
    /// Opens what the kernel writes its own messages to, and the screen if nobody listed it: `console=ttyS0` is meant
    /// to add a serial line, not to leave the monitor black. `pictures`: screens show those instead of lines.
    pub(super) fn open(pictures: bool) -> Self {
        let active = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
        let mut lines = Vec::new();
        let mut screens = Vec::new();
        for name in consoles(&active) {
            let Ok(file) = open(&name) else { continue };
            if pictures && is_screen(&name) {
                screens.push(file);
            } else {
                let backlog = Backlog::default();
                lines.push(Line { file, backlog });
            }
        }
        Self {
            lines,
            screens: Arc::new(screens),
        }
    }

    /// Whether nobody listens.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.screens.is_empty()
    }

    /// Writes a line where lines go, as far as it goes now.
    pub(super) fn line(&mut self, text: &str) {
        for line in &mut self.lines {
            line.backlog.put(text);
            line.flush();
        }
    }

    /// Writes more of what did not go yet. `true` if that was all.
    pub(super) fn flush(&mut self) -> bool {
        self.lines.iter_mut().for_each(Line::flush);
        self.lines.iter().all(|line| line.backlog.is_empty())
    }

    /// Screens that show no picture any more show lines.
    pub(super) fn end_pictures(&mut self) {
        let screens = std::mem::take(&mut self.screens);
        let files = screens.iter().filter_map(|file| file.try_clone().ok());
        self.lines.extend(files.map(|file| Line {
            file,
            backlog: Backlog::default(),
        }));
    }

    /// Gives slow lines until `until` to take what was said, and forgets the rest: closing a terminal that takes
    /// nothing would block for up to 30 s (`closing_wait`, setserial(8)).
    pub(super) fn drain(&mut self, until: Instant) {
        while !self.flush() {
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() {
                break;
            }
            self.wait_for_room(left);
        }
        for line in self.lines.iter().filter(|line| !line.backlog.is_empty()) {
            tcflush(&line.file, QueueSelector::OFlush).ok();
        }
    }

    fn wait_for_room(&self, time: Duration) {
        let waiting = self.lines.iter().filter(|line| !line.backlog.is_empty());
        let mut fds: Vec<PollFd<'_>> = waiting
            .map(|line| PollFd::new(&line.file, PollFlags::OUT))
            .collect();
        let timeout = Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        };
        poll(&mut fds, Some(&timeout)).ok();
    }
}

impl Line {
    fn flush(&mut self) {
        while !self.backlog.is_empty() {
            match self.file.write(self.backlog.next()) {
                Ok(0) => return,
                Ok(written) => self.backlog.taken(written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Hung up, or gone: it may come back.
                Err(_) => return self.backlog.clear(),
            }
        }
    }
}

/// Shows a frame. What does not go is dropped: the next one is whole again.
pub(super) fn paint(screen: &File, frame: &str) {
    rustix::io::write(screen, frame.as_bytes()).ok();
}

/// How large a terminal is.
pub(super) fn size(screen: &File) -> Size {
    tcgetwinsize(screen).map_or(Size::VGA, |size| Size {
        columns: size.ws_col,
        rows: size.ws_row,
    })
}

/// `O_NONBLOCK`: neither opening a serial line without a carrier nor writing to one that takes nothing may wait.
fn open(name: &str) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new()
        .write(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
        .open(format!("/dev/{name}"))
}

/// The names in `/sys/class/tty/console/active` (`tty0 ttyS0`), and `tty0` if no screen is among them.
fn consoles(active: &str) -> Vec<String> {
    let is_name = |name: &&str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        name.len() <= 32 && name.chars().all(plain)
    };
    let mut names: Vec<String> = active
        .split_ascii_whitespace()
        .filter(is_name)
        .take(MAX_CONSOLES)
        .map(str::to_owned)
        .collect();
    if !names.iter().any(|name| is_screen(name)) {
        names.push("tty0".to_owned());
    }
    names
}

/// A virtual terminal: `tty0` (the one in front), `tty1`, …; serial lines have letters there.
fn is_screen(name: &str) -> bool {
    name.strip_prefix("tty").is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

/// How much the kernel says on all consoles, as it was before the boot took the screen.
#[derive(Debug)]
pub(super) struct Loglevel(String);

impl Loglevel {
    /// Only errors and worse from now on, as with `quiet`; `dmesg` keeps all. `None` if it was so before.
    pub(super) fn lower() -> Option<Self> {
        let text = fs::read_to_string(PRINTK).ok()?;
        let before = loglevel(&text).filter(|level| *level > QUIET)?;
        fs::write(PRINTK, format!("{QUIET}\n")).ok()?;
        Some(Self(format!("{before}\n")))
    }

    /// As it was.
    pub(super) fn restore(self) {
        fs::write(PRINTK, self.0).ok();
    }
}

/// The first of the four numbers (proc_sys_kernel(5)), which is also the only one that a shorter text sets.
fn loglevel(printk: &str) -> Option<u32> {
    printk.split_ascii_whitespace().next()?.parse().ok()
}

const PRINTK: &str = "/proc/sys/kernel/printk";
/// CONSOLE_LOGLEVEL_QUIET.
const QUIET: u32 = 4;
const MAX_CONSOLES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_console_and_always_the_screen() {
        for (active, want) in [
            ("tty0\n", "tty0"),
            ("ttyS0\n", "ttyS0 tty0"),
            ("tty0 ttyS0\n", "tty0 ttyS0"),
            ("tty1 ttyAMA0", "tty1 ttyAMA0"),
            ("", "tty0"),
            ("../../sda hvc0 a/b", "hvc0 tty0"),
            ("a b c d e f g h i j", "a b c d e f g h tty0"),
        ] {
            assert_eq!(consoles(active).join(" "), want, "{active:?}");
        }
        for (name, want) in [
            ("tty0", true),
            ("tty63", true),
            ("tty", false),
            ("ttyS0", false),
            ("hvc0", false),
        ] {
            assert_eq!(is_screen(name), want, "{name}");
        }
    }

    #[test]
    fn the_loglevel() {
        for (text, want) in [("7\t4\t1\t7\n", Some(7)), ("", None), ("x 4", None)] {
            assert_eq!(loglevel(text), want);
        }
    }

    #[test]
    fn a_terminal_that_takes_nothing_delays_nothing() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        rustix::io::ioctl_fionbio(&file, true).expect("as the consoles are opened");
        let (backlog, screens) = (Backlog::default(), Arc::default());
        let lines = vec![Line { file, backlog }];
        let mut outputs = Outputs { lines, screens };
        // A pipe takes 64 KiB at most, the backlog keeps 16 KiB, the rest is lost; none of it waits.
        for number in 0..2_000 {
            outputs.line(&format!("{number:0>99}"));
        }
        outputs.drain(clock::now());
        assert!(!outputs.flush(), "the pipe is full");

        let mut taken = vec![0; 64 * 1024];
        let len = io::Read::read(&mut reader, &mut taken).expect("what the pipe took");
        taken.truncate(len);
        let rest = std::thread::spawn(move || {
            io::Read::read_to_end(&mut reader, &mut taken).map(|_| taken)
        });
        outputs.line("here again");
        outputs.drain(clock::now() + Duration::from_secs(20));
        assert!(outputs.flush(), "all of it went");
        drop(outputs);
        let taken = rest.join().expect("no panic").expect("the rest");
        let text = String::from_utf8(taken).expect("text");
        let (kept, after) = text
            .split_once("ramboot: ")
            .expect("a word about lost lines");
        for (number, line) in kept.lines().enumerate() {
            assert_eq!(line, format!("{number:0>99}"));
        }
        let lost = 2_000 - kept.lines().count();
        assert_eq!(
            after,
            format!("{lost} lines were lost here: this console is slow\nhere again\n")
        );
    }
}
