//! One table of what serving costs, each row a ratio of runs that alternate in one session; see [`pairs`].
//!
//! `make bench`, or some of its rows: `make bench ROWS='http veth 64 whole, tftp'`, `cargo bench --bench table -- http veth 64`.
//! All of it runs in network namespaces of its own, which takes root or a user namespace (`make` cares for it).
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod async_tftp;
mod bars;
mod client;
mod cold;
mod dhcp;
mod fetch;
mod growth;
mod http;
mod images;
mod lan;
mod latency;
mod limit;
mod noise;
mod pairs;
mod plan;
mod process;
mod quick;
mod report;
mod servers;
mod table;
mod tftp;
mod wanted;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use plan::Plan;
use wanted::Wanted;

/// Beside the one that warms.
const ROUNDS: usize = 7;
const USAGE: &str = "usage: [--rounds N] [--write FILE] [WORD …[,WORD …]…] | quick BASELINE | limit ADDRESS | async-tftp ADDRESS FOLDER";

fn main() -> ExitCode {
    // Cargo adds --bench.
    let args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let args: Vec<_> = args.collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["limit", address] => limit::serve(address),
        ["async-tftp", _address, _folder] => async_tftp::main(),
        ["quick", baseline] => compare(baseline),
        args => table(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn table(args: &[&str]) -> anyhow::Result<()> {
    let (mut rounds, mut write, mut words) = (ROUNDS, None, Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match *arg {
            "--rounds" => rounds = args.next().context(USAGE)?.parse().context(USAGE)?,
            "--write" => write = args.next().map(Path::new),
            _ if arg.starts_with('-') => anyhow::bail!(USAGE),
            _ => words.push(*arg),
        }
    }
    let mut plan = Plan::new(Wanted::parse(&words.join(" ")), rounds)?;
    measure(&mut plan)?;
    println!("\n{rounds} rounds, {}", ended(&plan)?);
    for bar in plan.rows.iter().flat_map(table::Row::failed) {
        println!("not held: {bar}");
    }
    write.map_or(Ok(()), |path| report::write(path, &plan))
}

fn ended(plan: &Plan) -> anyhow::Result<String> {
    let (seconds, others) = (plan.took().as_secs_f64(), plan.others()?);
    Ok(format!(
        "{seconds:.0} s; others had {others:.2} CPUs meanwhile"
    ))
}

fn compare(baseline: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(baseline)
        .with_context(|| format!("reading {baseline}, which `make bench WRITE=1` makes"))?;
    let (mut compared, mut others) = compare_rows(quick::ROWS, quick::ROUNDS, &text)?;
    let again = quick::worse_rows(&compared);
    if !again.is_empty() {
        let rounds = quick::MORE_ROUNDS;
        println!(
            "\nThe figure of {rounds} rounds counts where that of {} is worse:",
            quick::ROUNDS
        );
        (compared, others) = compare_rows(&again, rounds, &text)?;
    }
    println!("{}", quick::judge(&compared, others)?);
    Ok(())
}

/// Measures `rows` and compares them with `baseline`; how many CPUs others had meanwhile.
fn compare_rows(
    rows: &str,
    rounds: usize,
    baseline: &str,
) -> anyhow::Result<(Vec<quick::Compared>, f64)> {
    let mut plan = Plan::new(Wanted::parse(rows), rounds)?.beside(&quick::PEERS);
    measure(&mut plan)?;
    let compared = quick::compare(&plan.rows, baseline, &report::cpu()?)?;
    println!("\n{}", ended(&plan)?);
    for one in &compared {
        println!("{}", one.line());
    }
    Ok((compared, plan.others()?))
}

fn measure(plan: &mut Plan) -> anyhow::Result<()> {
    http::rows(plan)?;
    tftp::rows(plan)?;
    dhcp::rows(plan)?;
    fetch::rows(plan)?;
    growth::rows(plan)?;
    anyhow::ensure!(!plan.rows.is_empty(), "no row has these words");
    Ok(())
}
