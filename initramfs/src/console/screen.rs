//! One calm picture for a virtual terminal: rows from a [`View`], bytes from rows. Pure.
//!
//! Only what `vgacon` in text mode surely shows: printable ASCII, eight colours, and the few control sequences of
//! console_codes(4). Each frame is whole, so it also wipes away what the kernel scribbled over the last one.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use ramboot_wire::text::megabytes;
use ramboot_wire::{Stage, StageLine};

use super::text::{plain, seconds, whole_seconds, wrap};
use super::view::{Then, Trouble, View};

/// Columns and rows of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// Columns.
    pub(super) columns: u16,
    /// Rows.
    pub(super) rows: u16,
}

impl Size {
    /// VGA's text mode, which is also the kernel's guess for a display it does not know.
    pub(super) const VGA: Self = Self {
        columns: 80,
        rows: 25,
    };
}

/// One line of the picture.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    text: String,
    ink: Ink,
    /// Rows of a higher rank go first where there is no room.
    rank: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ink {
    Plain,
    Bold,
    Dim,
    Green,
    Red,
    Yellow,
}

/// The bytes that draw the whole picture.
#[must_use]
pub(super) fn frame(view: &View, now: Instant, size: Size) -> String {
    let (columns, rows) = usable(size);
    let mut picture = rows_of(view, now, columns);
    shrink(&mut picture, rows);
    let mut out = String::from("\x1b[?25l\x1b[0m\x1b[H");
    for row in &picture {
        let code = row.ink.code();
        // Writing to a String does not fail.
        let _ = write!(
            out,
            "\x1b[{code}m{}\x1b[0m\x1b[K\r\n",
            plain(&row.text, columns)
        );
    }
    out.push_str("\x1b[J");
    out
}

/// The bytes that leave the screen to the image's init: empty but for what a person may want to know later.
#[must_use]
pub(super) fn farewell(view: &View, init: &str, now: Instant, size: Size) -> String {
    let (columns, _) = usable(size);
    let image = view.image.as_ref().map_or_else(String::new, |(id, size)| {
        format!(" {id}, {},", megabytes(*size, *size))
    });
    let seconds = seconds(now.saturating_duration_since(view.since));
    let times: Vec<String> = view
        .ended
        .iter()
        .map(|line| format!("{} {}", line.stage, seconds_of(line)))
        .collect();
    let said = format!(
        "ramboot: image{image} is in the RAM of {} after {seconds} ({}). The manager is not needed any more; {init} starts.",
        view.host,
        times.join(", ")
    );
    let mut out = String::from("\x1b[0m\x1b[H\x1b[J");
    for row in wrap(&said, columns) {
        let _ = write!(out, "{}\r\n", plain(&row, columns));
    }
    out.push_str("\x1b[?25h");
    out
}

fn rows_of(view: &View, now: Instant, columns: usize) -> Vec<Row> {
    let mut rows = vec![Row::new(title(view, columns), Ink::Bold, 0), Row::blank()];
    rows.extend(Stage::BOOT.map(|stage| stage_row(view, stage, now)));
    rows.push(Row::blank());
    rows.extend(transfer_rows(view, columns));
    if let Some(trouble) = &view.trouble {
        rows.extend(trouble_rows(trouble, view.deadline.is_some(), now, columns));
    }
    rows.push(Row::blank());
    rows.push(Row::new(clock_row(view, now), Ink::Dim, 2));
    rows
}

fn title(view: &View, columns: usize) -> String {
    let left = format!(" ramboot  {}", view.host);
    let right = view.image.as_ref().map_or_else(String::new, |(id, size)| {
        format!("image {id}, {}", megabytes(*size, *size))
    });
    let gap = columns.saturating_sub(left.len() + right.len() + 1).max(2);
    format!("{left}{}{right}", " ".repeat(gap))
}

fn stage_row(view: &View, stage: Stage, now: Instant) -> Row {
    let row = |mark: &str, time: String, note: String| {
        format!("   {mark} {:<9} {time:>10}   {note}", stage.name())
    };
    if let Some(line) = view.ended.iter().find(|line| line.stage == stage) {
        return match &line.error {
            None => Row::new(row("[ ok ]", seconds_of(line), note(line)), Ink::Green, 4),
            Some(_) => Row::new(row("[FAIL]", seconds_of(line), String::new()), Ink::Red, 1),
        };
    }
    match view.running {
        Some((running, since)) if running == stage => {
            let time = seconds(now.saturating_duration_since(since));
            Row::new(row("[ .. ]", time, doing(stage).to_owned()), Ink::Yellow, 1)
        }
        _ => Row::new(row("[    ]", String::new(), String::new()), Ink::Dim, 5),
    }
}

/// What a stage that runs is about.
const fn doing(stage: Stage) -> &'static str {
    match stage {
        Stage::Early => "reading the command line",
        Stage::Modules => "loading drivers",
        Stage::Net => "looking for a cable",
        Stage::Dhcp => "asking for an address",
        Stage::Files => "fetching this machine's own files",
        Stage::Chunks => "fetching the list of the image's parts",
        Stage::Fetch => "fetching the image into RAM",
        Stage::Mount => "mounting the image",
        Stage::Handover => "handing over to the image",
        Stage::Untethered => "fetching the rest of the image",
    }
}

/// The facts of a stage that a person asks for.
fn note(line: &StageLine) -> String {
    let fact = |key| line.fact(key).unwrap_or("?");
    match line.stage {
        Stage::Early => format!("Linux {}", fact("kernel")),
        Stage::Modules => format!("{} drivers", fact("loaded")),
        Stage::Net => format!("{}, {}", fact("link"), fact("mac")),
        Stage::Dhcp => format!(
            "{} on {}, from {}",
            fact("addr"),
            fact("link"),
            fact("server")
        ),
        Stage::Files => format!("{} files", fact("entries")),
        Stage::Chunks => format!("{} chunks", fact("chunks")),
        Stage::Fetch => format!("{} Mbit/s", fact("mbps")),
        Stage::Mount | Stage::Handover => fact("init").to_owned(),
        Stage::Untethered => "all of the image is in RAM".to_owned(),
    }
}

fn transfer_rows(view: &View, columns: usize) -> Vec<Row> {
    let Some((done, total)) = view.transfer.here else {
        return Vec::new();
    };
    let percent = done
        .saturating_mul(100)
        .checked_div(total)
        .unwrap_or(0)
        .min(100);
    let width = columns.saturating_sub(16).clamp(4, 60);
    let full = usize::try_from(percent).unwrap_or(0) * width / 100;
    let bar = format!(
        "   [{}{}] {percent:>3} %",
        "#".repeat(full),
        "-".repeat(width - full)
    );
    let mut numbers = format!("   {}", megabytes(done, total));
    let waits = view
        .trouble
        .as_ref()
        .is_some_and(|trouble| matches!(trouble.then, Then::Try(_) | Then::Nothing));
    match (view.transfer.rate(), view.transfer.left()) {
        _ if done >= total => numbers.push_str(", verified"),
        // What came in the last moments says nothing about when the rest will.
        _ if waits => numbers.push_str(", nothing comes"),
        (Some(rate), left) => {
            let _ = write!(numbers, ", {:.1} MB/s", rate / 1e6);
            if let Some(left) = left {
                let _ = write!(numbers, ", {} left", whole_seconds(left));
            }
        }
        (None, _) => {}
    }
    vec![
        Row::new(bar, Ink::Plain, 1),
        Row::new(numbers, Ink::Plain, 1),
    ]
}

fn trouble_rows(trouble: &Trouble, reboots: bool, now: Instant, columns: usize) -> Vec<Row> {
    let glued = |time| whole_seconds(time).replace(' ', "\u{a0}");
    let lasts = glued(now.saturating_duration_since(trouble.since));
    let fact = &trouble.sentence.fact;
    let said = match trouble.then {
        Then::Again => format!("{fact} for {lasts}. The boot goes on as soon as this changes."),
        Then::Try(at) => match at.saturating_duration_since(now) {
            Duration::ZERO => format!("{fact} for {lasts}. Trying again."),
            left => {
                // A wait of 2.1 s is not over after two.
                let left = glued(left + Duration::from_millis(999));
                format!("{fact} for {lasts}. Next try in {left}.")
            }
        },
        Then::Others => format!("{fact}. The fetch goes on."),
        Then::Nothing if reboots => format!("{fact}. This machine will reboot."),
        Then::Nothing => format!("{fact}. This machine waits for somebody."),
    };
    let mut rows = vec![Row::blank()];
    let indented = |text: &str, ink: Ink, rows: &mut Vec<Row>| {
        let lines = wrap(text, columns.saturating_sub(6)).into_iter();
        // A chain of causes can be long; its end is on the serial line and in the log.
        rows.extend(
            lines
                .take(MAX_TROUBLE_ROWS)
                .map(|line| Row::new(format!("   {line}"), ink, 0)),
        );
    };
    indented(&said, Ink::Red, &mut rows);
    indented(&trouble.sentence.remedy, Ink::Bold, &mut rows);
    rows
}

fn clock_row(view: &View, now: Instant) -> String {
    let up = whole_seconds(now.saturating_duration_since(view.since));
    match view.deadline {
        Some(at) => {
            let left = whole_seconds(at.saturating_duration_since(now));
            format!("   {up} since start; reboots in {left} if it has not booted by then")
        }
        None => format!("   {up} since start"),
    }
}

impl Row {
    fn new(text: String, ink: Ink, rank: u8) -> Self {
        Self { text, ink, rank }
    }

    fn blank() -> Self {
        Self::new(String::new(), Ink::Plain, u8::MAX)
    }
}

impl Ink {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Bold => "1",
            // "2" is dark grey in text mode, hardly to be seen.
            Self::Dim => "37",
            Self::Green => "32",
            Self::Red => "1;31",
            Self::Yellow => "1;33",
        }
    }
}

/// Takes rows out until the rest fits: the least important first, of those the highest up.
fn shrink(rows: &mut Vec<Row>, room: usize) {
    while rows.len() > room {
        let least = rows.iter().map(|row| row.rank).max();
        let Some(at) = rows.iter().position(|row| Some(row.rank) == least) else {
            return;
        };
        rows.remove(at);
    }
}

/// What can be written without wrapping or scrolling. A terminal that says 0 does not know.
fn usable(size: Size) -> (usize, usize) {
    let Size { columns, rows } = size;
    let (columns, rows) = if columns == 0 || rows == 0 {
        (Size::VGA.columns, Size::VGA.rows)
    } else {
        (columns, rows)
    };
    // Each row ends with a newline, which on the last row would scroll; wider rows are harder to read.
    (
        usize::from(columns).clamp(2, 100) - 1,
        usize::from(rows).saturating_sub(1).max(1),
    )
}

fn seconds_of(line: &StageLine) -> String {
    seconds(Duration::from_millis(line.ms))
}

const MAX_TROUBLE_ROWS: usize = 5;

#[cfg(test)]
mod tests;
