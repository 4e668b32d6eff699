//! Downloads an image from the managers that are named and writes it to a file; every chunk was verified before.
//!
//! `cargo run -p ramboot-fetch --example download -- ID SIZE FILE http://192.168.1.2:8067…`, with id and size as `ramboot images` lists them.
#![allow(clippy::disallowed_methods, reason = "a program reads its arguments")]

use std::{env, fs};

use anyhow::Context as _;
use ramboot_fetch::chunk_list::fetch_list;
use ramboot_fetch::engine::{Counts, Pace, fetch};
use ramboot_fetch::event::Event;
use ramboot_fetch::sources::Sources;
use ramboot_wire::{Base, ImageId};

fn main() -> anyhow::Result<()> {
    let mut args = env::args().skip(1);
    let mut next = || args.next().context("usage: download ID SIZE FILE MANAGER…");
    let (id, size, file): (ImageId, u64, String) = (next()?.parse()?, next()?.parse()?, next()?);
    let managers = args
        .map(|base| base.parse())
        .collect::<Result<Vec<Base>, _>>()?;

    let pace = Pace::WORKER;
    let mut sources = Sources::new(&managers, pace.retry, pace.retry_cap);
    let tell = |event: Event| eprintln!("{event}");
    let list = fetch_list(id, size, &mut sources, pace, &tell)?;
    let mut image = vec![0; usize::try_from(size)?];
    fetch(&list, &mut sources, &mut image, pace, &tell)?;

    fs::write(&file, &image).with_context(|| format!("writing {file}"))?;
    let counts = Counts::of(&sources);
    println!(
        "{} bytes received, {} requests repeated",
        counts.bytes, counts.retries
    );
    Ok(())
}
