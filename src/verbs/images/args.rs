//! What the verbs about published images are told.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use crate::store::prefix::Prefix;

/// Where the store is.
#[derive(Debug, Args)]
pub struct StateArg {
    /// Where images are kept.
    #[arg(
        long = "state",
        env = "RAMBOOT_STATE",
        default_value = "/var/lib/ramboot",
        value_name = "DIR"
    )]
    pub path: PathBuf,
}

/// `ramboot images`
#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Only this name, with all its generations.
    pub name: Option<String>,
    /// All generations of all names; the one that machines boot now has a star.
    #[arg(long, conflicts_with = "name")]
    pub all: bool,
    /// Where the store is.
    #[command(flatten)]
    pub state: StateArg,
    /// Print all of it as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `ramboot profile`
#[derive(Debug, Args)]
#[command(after_long_help = PROFILE_EXAMPLES)]
pub struct ProfileArgs {
    /// The name whose current image is meant; or the first digits of an image's digest, at least four.
    pub name: String,
    /// Write a map of the image's chunks, too: which boots read, and when.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Where the store is.
    #[command(flatten)]
    pub state: StateArg,
    /// Print all of it as one JSON object.
    #[arg(long)]
    pub json: bool,
}

const PROFILE_EXAMPLES: &str = "\
Examples:
  ramboot profile worker
  ramboot profile worker --svg worker.svg
  ramboot profile worker --json | jq .hot.bytes
  ramboot publish new.sqfs --name worker --profile worker";

/// `ramboot rollback`
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The name to roll back.
    pub name: String,
    /// The image to go to: the first digits of its digest, at least four, as "ramboot images NAME" shows them. Without it:
    /// what machines booted before the current generation, so that a second rollback undoes the first.
    pub digest: Option<Prefix>,
    /// Where the store is.
    #[command(flatten)]
    pub state: StateArg,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `ramboot unpublish`
#[derive(Debug, Args)]
pub struct UnpublishArgs {
    /// The name to take away.
    pub name: String,
    /// Where the store is.
    #[command(flatten)]
    pub state: StateArg,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `ramboot gc`
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Generations of each name to keep, the current one among them.
    #[arg(long, default_value = "3", value_name = "N")]
    pub keep: NonZeroUsize,
    /// Only say what would be removed.
    #[arg(long)]
    pub dry_run: bool,
    /// Where the store is.
    #[command(flatten)]
    pub state: StateArg,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
}
