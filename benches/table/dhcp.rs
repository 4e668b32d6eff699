//! DHCP answers beside dnsmasq's: real sockets over a veth pair each, the server on a core of its own.
//!
//! Two questions: a PXE client's DISCOVER to a proxy, and a DHCPREQUEST for an address that is leased to it already.

mod client;
mod server;

use std::cell::RefCell;
use std::thread;

use anyhow::Context as _;
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::unistd::Pid;

use crate::pairs::{Contender, Reading};
use crate::plan::Plan;
use client::{Client, Question};
use server::{Mode, Server};

const ROWS: [(&str, Mode, Question); 2] = [
    ("dhcp proxy discover", Mode::Proxy, Question::Discover),
    ("dhcp full request", Mode::Full, Question::Request),
];
/// Answers that are waited for in one run.
const ANSWERS: u32 = 40_000;

/// The rows of this section that are wanted.
pub(crate) fn rows(plan: &mut Plan) -> anyhow::Result<()> {
    for (name, mode, question) in ROWS {
        if plan.wants(name) {
            // A thread of its own: network namespace and core are a thread's, and what it starts has them from it.
            let joined =
                thread::scope(|scope| scope.spawn(|| row(plan, name, mode, question)).join());
            joined.map_err(|_| anyhow::anyhow!("{name}: panicked"))??;
        }
    }
    Ok(())
}

fn row(plan: &mut Plan, name: &str, mode: Mode, question: Question) -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace (root is needed)")?;
    let mut core = CpuSet::new();
    core.set(0)?;
    sched_setaffinity(Pid::from_raw(0), &core)?;
    let ours = asked(Server::ramboot(mode)?, question)?;
    let dnsmasq = asked(Server::dnsmasq(mode)?, question)?;
    let run =
        |(server, client): &(Server, RefCell<Client>)| measure(server, &mut client.borrow_mut());
    plan.measure(
        name.to_owned(),
        vec![
            Contender::new("ramboot", || run(&ours)),
            Contender::new("dnsmasq", || run(&dnsmasq)),
        ],
    )
}

fn asked(server: Server, question: Question) -> anyhow::Result<(Server, RefCell<Client>)> {
    let client = Client::new(&server, question)?;
    Ok((server, RefCell::new(client)))
}

fn measure(server: &Server, client: &mut Client) -> anyhow::Result<Vec<Reading>> {
    let before = server.process.cpu_seconds()?;
    let seconds = client.ask(ANSWERS)?.as_secs_f64();
    let cpu = server.process.cpu_seconds()? - before;
    let answers = f64::from(ANSWERS);
    let reading = |what, unit, value| Reading { what, unit, value };
    Ok(vec![
        reading("rate", "answers/s", answers / seconds),
        reading("CPU", "us/answer", cpu * 1e6 / answers),
        reading("RSS", "MB", server.process.rss()?),
    ])
}
