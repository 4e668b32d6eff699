//! `ramboot publish`: publishes, or only checks, and says what came of it.

pub mod args;

use std::io::{IsTerminal as _, stderr, stdout};

use anyhow::{bail, ensure};

use self::args::PublishArgs;
use crate::host::terminal;
use crate::publish::checks::{Refused, Severity};
use crate::publish::outcome::Examination;
use crate::publish::request::Request;
use crate::publish::summary::summary;
use crate::publish::{dry_run, publish};

/// Columns of a report on a terminal; in a file or pipe a sentence stays on one line.
const WIDTH: usize = 100;

/// Publishes and says so on stdout; or says there what would be published.
///
/// # Errors
/// The image is refused, or a file cannot be read or written; the store is as it was.
pub fn run(args: &PublishArgs) -> anyhow::Result<()> {
    let request = args.request();
    if args.dry_run {
        return run_dry(args, &request);
    }
    match publish(&request) {
        Ok(published) if args.json => terminal::print_json(&published),
        Ok(published) => terminal::print(&summary(&published, &args.state)),
        Err(error) => match error.downcast_ref::<Refused>() {
            Some(refused) => refuse(args, refused),
            None => Err(error),
        },
    }
}

fn run_dry(args: &PublishArgs, request: &Request) -> anyhow::Result<()> {
    let (report, needs_ram) = dry_run(request)?;
    let image = args.image.display();
    let publishable = report.passes(args.force);
    if args.json {
        let examination = Examination::of(&args.image, &report, needs_ram, args.force);
        terminal::print_json(&examination)?;
    } else {
        let text = report.text(Severity::Fine, width(stdout().is_terminal()));
        let would = if publishable { "would" } else { "would not" };
        terminal::print(&format!(
            "{image} {would} be published: {}\n{text}",
            report.count()
        ))?;
    }
    ensure!(
        publishable,
        "{image} would not be published: {}",
        report.count()
    );
    Ok(())
}

/// Says all that is wrong, and then, as any error is said, that nothing was published.
fn refuse(args: &PublishArgs, refused: &Refused) -> anyhow::Result<()> {
    let Refused { image, report } = refused;
    if args.json {
        terminal::print_json(&Examination::of(&args.image, report, None, args.force))?;
    } else {
        let text = report.text(Severity::Warning, width(stderr().is_terminal()));
        terminal::tell(&text);
    }
    let remedy = if report.is_fatal() {
        "nothing was changed"
    } else {
        "nothing was changed; --force publishes it all the same"
    };
    bail!("{image} is not published: {}; {remedy}", report.count())
}

const fn width(terminal: bool) -> usize {
    if terminal { WIDTH } else { usize::MAX }
}
