//! The fetch of a boot without the boot: chunk list and image from one base into a tmpfs on a folder, with
//! every check /init makes. Mounting wants root and a mount namespace of its own (`unshare --mount`).
//!
//! `fetch BASE ID SIZE FOLDER`, for `cargo bench --bench fetch`, which measures it beside curl.
#![allow(
    clippy::disallowed_methods,
    reason = "the outermost shell: reads its arguments"
)]

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use ramboot_fetch::chunk_list::fetch_list;
use ramboot_fetch::engine::{Counts, Pace, fetch};
use ramboot_fetch::sources::Sources;
use ramboot_init::root::ram;
use ramboot_init::root::sys::Room;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fetch: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [base, id, size, folder] = args.as_slice() else {
        bail!("usage: fetch BASE ID SIZE FOLDER");
    };
    let (id, size) = (id.parse().context("ID")?, size.parse().context("SIZE")?);
    let pace = Pace::WORKER;
    let mut sources = Sources::new(&[base.parse().context("BASE")?], pace.retry, pace.retry_cap);
    let tell = |event| eprintln!("fetch: {event}");
    let list = fetch_list(id, size, &mut sources, pace, &tell)?;
    let mut image = ram::image_file(Path::new(folder), size, Room::Now)?;
    fetch(&list, &mut sources, image.bytes_mut(), pace, &tell)?;
    image.into_file()?;
    println!("{:?}", Counts::of(&sources));
    Ok(())
}
