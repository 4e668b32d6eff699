//! DHCP requests per second beside dnsmasq: real sockets over a veth pair each, the server on one core.
//!
//! Two questions: a PXE client's DISCOVER to a proxy, and a DHCPREQUEST for an address that is leased to it already.
//! Runs alternate (A B A B …) in one session; the table shows medians. CPU is that of the serving process. Needs root.
//!
//! `make bench`, or `cargo bench --bench dhcp`.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod client;
mod server;

use std::process::ExitCode;

use client::{Client, Question};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::unistd::Pid;
use server::{Mode, Server};

const PAIRS: usize = 7;
/// Answers that are waited for in one run.
const ANSWERS: u32 = 40_000;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

struct Figures {
    /// Answers per second.
    rate: f64,
    /// CPU microseconds an answer.
    cpu: f64,
}

fn run() -> anyhow::Result<()> {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        println!("DHCP: not measured: a network namespace needs root: {error}");
        return Ok(());
    }
    // The servers have the other core for themselves.
    let mut core = CpuSet::new();
    core.set(0)?;
    sched_setaffinity(Pid::from_raw(0), &core)?;
    println!(
        "DHCP, {ANSWERS} answers a run, {PAIRS} pairs of runs, one core for the server; medians\n\n\
         {:<26}{:>12}{:>14}{:>12}{:>16}{:>14}",
        "question", "ours /s", "dnsmasq /s", "ratio", "ours us CPU", "CPU ratio"
    );
    for (name, mode, question) in [
        ("proxy: DISCOVER, OFFER", Mode::Proxy, Question::Discover),
        ("full: REQUEST, ACK", Mode::Full, Question::Request),
    ] {
        let ours = Server::ramboot(mode)?;
        let dnsmasq = Server::dnsmasq(mode)?;
        let mut clients = [
            Client::new(&ours, question)?,
            Client::new(&dnsmasq, question)?,
        ];
        let mut pairs = Vec::new();
        for _ in 0..=PAIRS {
            let [to_us, to_dnsmasq] = &mut clients;
            pairs.push((measure(&ours, to_us)?, measure(&dnsmasq, to_dnsmasq)?));
        }
        // The first pair warms both.
        row(name, &pairs[1..]);
    }
    Ok(())
}

fn measure(server: &Server, client: &mut Client) -> anyhow::Result<Figures> {
    let cpu = server.cpu_seconds()?;
    let seconds = client.ask(ANSWERS)?.as_secs_f64();
    let answers = f64::from(ANSWERS);
    Ok(Figures {
        rate: answers / seconds,
        cpu: (server.cpu_seconds()? - cpu) * 1e6 / answers,
    })
}

fn row(name: &str, pairs: &[(Figures, Figures)]) {
    let of = |f: &dyn Fn(&(Figures, Figures)) -> f64| median(pairs.iter().map(f).collect());
    println!(
        "{name:<26}{:>12.0}{:>14.0}{:>11.2}x{:>16.1}{:>13.2}x",
        of(&|(ours, _)| ours.rate),
        of(&|(_, dnsmasq)| dnsmasq.rate),
        of(&|(ours, dnsmasq)| ours.rate / dnsmasq.rate),
        of(&|(ours, _)| ours.cpu),
        of(&|(ours, dnsmasq)| ours.cpu / dnsmasq.cpu),
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
