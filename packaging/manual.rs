//! Writes what can be generated of the manual: `cargo run --example manual -- DIR` makes DIR/man, DIR/completions and
//! DIR/configuration.md, of the program's own definitions and of packaging/ramboot.toml.
#![allow(
    clippy::disallowed_methods,
    reason = "a generator: its arguments and SOURCE_DATE_EPOCH are all it goes by"
)]

#[path = "manual/pages.rs"]
mod pages;
#[path = "manual/reference.rs"]
mod reference;
#[path = "manual/sample.rs"]
mod sample;

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;
use ramboot::cli::Cli;

fn main() -> Result<()> {
    let folder = env::args_os().nth(1).context("usage: manual DIR")?;
    let folder = PathBuf::from(folder);
    let sections = sample::parse(SAMPLE)?;
    let command = Cli::command();
    let date = date(env::var("SOURCE_DATE_EPOCH").ok().as_deref())?;
    for (name, page) in pages::all(&command, &sections, &date)? {
        write(&folder.join("man").join(name), &page)?;
    }
    for (shell, name) in SHELLS {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command.clone(), "ramboot", &mut script);
        write(&folder.join("completions").join(name), &script)?;
    }
    let epoch = env::var("SOURCE_DATE_EPOCH").ok();
    write(
        &folder.join("changelog"),
        changelog(epoch.as_deref())?.as_bytes(),
    )?;
    let page = reference::markdown(&sections, &command);
    write(&folder.join("configuration.md"), page.as_bytes())
}

/// The day of these seconds since 1970, for the feet of the pages.
fn date(epoch: Option<&str>) -> Result<String> {
    let date = day(epoch)?;
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    Ok(format!("{year:04}-{month:02}-{day:02}"))
}

/// What Debian asks of a package: its version and day, as deb-changelog(5) has it.
fn changelog(epoch: Option<&str>) -> Result<String> {
    let date = day(epoch)?;
    let (weekday, month) = (date.weekday().to_string(), date.month().to_string());
    Ok(format!(
        "ramboot ({}-1) unstable; urgency=medium\n\n  * What changed, the log of the source says.\n\n \
         -- {MAINTAINER}  {}, {:02} {} {} 00:00:00 +0000\n",
        env!("CARGO_PKG_VERSION"),
        &weekday[..3],
        date.day(),
        &month[..3],
        date.year()
    ))
}

fn day(epoch: Option<&str>) -> Result<time::Date> {
    let seconds = epoch.unwrap_or("0").parse().context("SOURCE_DATE_EPOCH")?;
    Ok(time::OffsetDateTime::from_unix_timestamp(seconds)?.date())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(path, bytes))
        .with_context(|| format!("writing {}", path.display()))
}

/// As in Cargo.toml.
const MAINTAINER: &str = "The ramboot authors <ramboot@localhost>";

/// With the names that the shells look for.
const SHELLS: [(Shell, &str); 3] = [
    (Shell::Bash, "ramboot.bash"),
    (Shell::Fish, "ramboot.fish"),
    (Shell::Zsh, "_ramboot"),
];

const SAMPLE: &str = include_str!("ramboot.toml");

#[cfg(test)]
#[path = "manual/tests.rs"]
mod tests;
