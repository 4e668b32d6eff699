//! The page cache cold: every byte comes from the disk.
//!
//! posix_fadvise(2) evicts no page that is mapped, so a server that maps its images must not run meanwhile. Before each
//! run the server is stopped, the file's pages are evicted, `fincore` says that none is left, and the server is started
//! anew: nginx as ours. Only the fetching counts, not the start.

use std::fs::File;
use std::process::Command;

use anyhow::{Context as _, ensure};
use rustix::fs::{Advice, fadvise};

use crate::client::Shape;
use crate::http::{Store, load, serve};
use crate::images::Image;
use crate::lan::Lan;
use crate::pairs::{Contender, Reading};
use crate::process::program;
use crate::servers::{Kind, Server};

/// Ours and nginx; the limit reads no file.
pub(crate) fn contenders<'a>(
    lan: &'a Lan,
    store: &'a Store,
    connections: usize,
) -> Vec<Contender<'a>> {
    let contender =
        |kind: Kind| Contender::new(kind.name(), move || run(kind, lan, store, connections));
    [Kind::Ramboot, Kind::Nginx].map(contender).into()
}

fn run(kind: Kind, lan: &Lan, store: &Store, connections: usize) -> anyhow::Result<Vec<Reading>> {
    let image = store.image(connections, Shape::Whole);
    evict(image)?;
    let server = Server::start(kind, lan, store.path())?;
    let mut load = load(&server, store, connections, Shape::Whole);
    // A second body would be warm.
    load.requests = 1;
    serve(lan, &server, &load)
}

fn evict(image: &Image) -> anyhow::Result<()> {
    let file = File::open(&image.file)?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    let mut command = Command::new(program("fincore")?);
    command.args(["--bytes", "--noheadings", "--output", "RES"]);
    let output = command
        .arg(&image.file)
        .output()
        .context("running fincore")?;
    let left = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(
        left == "0",
        "{left} bytes of {} stay in the page cache",
        image.file.display()
    );
    Ok(())
}
