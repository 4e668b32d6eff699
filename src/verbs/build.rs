//! `ramboot build`: builds, and says what came of it.

pub mod args;

use self::args::BuildArgs;
use crate::build::{build, report};
use crate::host::terminal;

/// Builds and says so on stdout.
///
/// # Errors
/// The source is refused or cannot be read, or the image cannot be written; what was there before it stays.
pub fn run(args: &BuildArgs) -> anyhow::Result<()> {
    let built = build(&args.request())?;
    if args.json {
        terminal::print_json(&built)
    } else {
        terminal::print(&report::text(&built))
    }
}
