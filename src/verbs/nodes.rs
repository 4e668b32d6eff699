//! `ramboot nodes`: the fleet in a terminal, as the manager that runs here, or the one that is named, sees it.
#![expect(clippy::disallowed_methods, reason = "shell: waits between two looks")]

pub mod args;
pub mod ask;
pub mod show;

use std::io::{IsTerminal as _, stdout};
use std::net::SocketAddrV4;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::config::DEFAULT_HTTP_PORT;
use crate::control::{self, Answer, FOLDER, Question};
use crate::fleet::snapshot::Snapshot;
use crate::host::{interface, terminal};
use crate::verbs::nodes::args::NodesArgs;

/// Prints the machines; with `--watch` again and again.
///
/// # Errors
/// No manager answers, or not in this form.
pub fn run(args: &NodesArgs) -> anyhow::Result<()> {
    print(&look(args)?, args, false)?;
    if !args.watch {
        return Ok(());
    }
    loop {
        sleep(EVERY);
        match look(args) {
            Ok(snapshot) => print(&snapshot, args, true)?,
            // A manager that is restarted is back in a moment, and who watches wants to see that.
            Err(error) => terminal::print(&format!("{error:#}\n"))?,
        }
    }
}

fn print(snapshot: &Snapshot, args: &NodesArgs, again: bool) -> anyhow::Result<()> {
    if args.json {
        return terminal::print_json(snapshot);
    }
    let before = match (again, stdout().is_terminal()) {
        // ECMA-48: to the first column of the first line, and erase what follows.
        (true, true) => "\x1b[H\x1b[J",
        (true, false) => "\n",
        (false, _) => "",
    };
    terminal::print_after(before, &show::table(snapshot))
}

fn look(args: &NodesArgs) -> anyhow::Result<Snapshot> {
    let (places, troubles) = match args.manager {
        Some(manager) => (vec![manager.0], Vec::new()),
        None => here()?,
    };
    let mut refusals = Vec::new();
    for place in &places {
        match ask::snapshot(*place) {
            Ok(snapshot) => return Ok(snapshot),
            Err(error) => refusals.push(format!("{place}: {error:#}")),
        }
    }
    if !troubles.is_empty() {
        bail!(
            "the manager that runs here cannot be asked: {}",
            troubles.join("; ")
        );
    }
    if refusals.is_empty() {
        bail!(
            "no network interface of this machine has an address: name a manager with --manager ADDRESS"
        );
    }
    bail!(
        "no manager answers ({}): start one (ramboot serve, systemctl start ramboot), or name it with --manager ADDRESS",
        refusals.join("; ")
    )
}

/// Where a manager of this machine may be: where it says so itself, to those it tells, with what it says is wrong there; then
/// wherever one is by default.
fn here() -> anyhow::Result<(Vec<SocketAddrV4>, Vec<String>)> {
    let (mut places, mut troubles) = (Vec::new(), Vec::new());
    if let Ok(Answer::About(about)) = control::ask(Path::new(FOLDER), &Question::About) {
        for one in about.interfaces {
            match one.trouble {
                None => places.push(SocketAddrV4::new(one.address, about.http_port)),
                Some(trouble) => troubles.push(trouble),
            }
        }
    }
    let all = interface::all().context("listing network interfaces")?;
    let up = all.iter().filter(|found| found.up && !found.loopback);
    for (address, _) in up.filter_map(|found| found.address) {
        let place = SocketAddrV4::new(address, DEFAULT_HTTP_PORT);
        if !places.contains(&place) {
            places.push(place);
        }
    }
    Ok((places, troubles))
}

const EVERY: Duration = Duration::from_secs(2);
