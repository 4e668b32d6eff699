//! How commands write: results to stdout, what is said beside them to stderr. The one way, and nothing in it acts on a
//! terminal: names in an image and the answers of another machine are shown, and do nothing.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};

use anyhow::Context as _;
use ramboot_wire::plain;
use serde::Serialize;

/// Writes lines to stdout.
///
/// # Errors
/// They cannot be written.
pub fn print(text: &str) -> anyhow::Result<()> {
    print_after("", text)
}

/// Writes lines to stdout, after what only moves the cursor.
///
/// # Errors
/// They cannot be written.
pub fn print_after(moves: &'static str, text: &str) -> anyhow::Result<()> {
    write(format!("{moves}{}", plain::lines(text)).as_bytes())
}

/// Writes a value as one line of JSON to stdout.
///
/// # Errors
/// It has no JSON, or that cannot be written.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string(value).context("writing JSON")?;
    write((plain::json(&text) + "\n").as_bytes())
}

/// The same over many lines.
///
/// # Errors
/// It has no JSON, or that cannot be written.
pub fn print_json_pretty(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value).context("writing JSON")?;
    write((plain::json(&text) + "\n").as_bytes())
}

/// Writes a file's content to stdout: as it is where a program reads it, and made safe for a terminal.
///
/// # Errors
/// It cannot be written.
pub fn print_file(bytes: &[u8]) -> anyhow::Result<()> {
    if stdout().is_terminal() {
        print(&String::from_utf8_lossy(bytes))
    } else {
        write(bytes)
    }
}

/// Writes lines to stderr at once, so that no other line gets between. Where they cannot be written (a log on a disk that is
/// full) the work is worth more than the lines.
pub fn tell(text: &str) {
    let _ = stderr().write_all(plain::lines(text).as_bytes());
}

fn write(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = stdout();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .context("writing to stdout")
}
