//! BENCHMARKS.md: the table, what is not held, and what it was measured on. What stands below the first `##` is written by
//! hand, and stays.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::plan::Plan;
use crate::process::program;
use crate::table::{Row, Style};

/// Writes all of it to `path`.
pub(crate) fn write(path: &Path, plan: &Plan) -> anyhow::Result<()> {
    let mut machine = machine()?;
    let others = plan.others()?;
    machine.push(("others", format!("had {others:.2} CPUs meanwhile")));
    let before = fs::read_to_string(path).unwrap_or_default();
    let by_hand = before.find("\n## ").map_or("", |at| &before[at..]);
    let text = text(plan, &machine) + by_hand;
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn text(plan: &Plan, machine: &[(&str, String)]) -> String {
    let (rows, rounds, took) = (&plan.rows, plan.rounds(), plan.took());
    let mut text = format!(
        "# Benchmarks\n\n\
         Written by `make bench WRITE=1`, {:.0} minutes, all of it in one session; nothing is from memory. Each line is a figure of \
         ours (the median of {rounds} rounds) and its ratio to the same figure of a peer: the median of the ratios of runs that \
         alternate, and in parentheses the least and the greatest. CPU is that of the serving processes alone. *limit* is a program \
         that writes one warm buffer in a loop, the least that serving by TCP costs (`benches/table/limit.rs`). `make bench-quick` \
         compares with this file.\n\n",
        took.as_secs_f64() / 60.0
    );
    for (name, value) in machine {
        let _ = writeln!(text, "- {name}: {value}");
    }
    let failed: Vec<_> = rows.iter().flat_map(Row::failed).collect();
    let _ = match failed.as_slice() {
        [] => writeln!(text, "\nAll bars are held.\n"),
        failed => writeln!(text, "\nNot held:\n\n- {}\n", failed.join("\n- ")),
    };
    if !plan.notes.is_empty() {
        let _ = writeln!(text, "Not measured:\n\n- {}\n", plan.notes.join("\n- "));
    }
    let _ = writeln!(text, "{}", Style::Markdown.head());
    text.extend(rows.iter().map(|row| row.render(Style::Markdown)));
    text
}

/// What the figures depend on.
fn machine() -> anyhow::Result<Vec<(&'static str, String)>> {
    Ok(vec![
        (
            "commit",
            said("git", &["describe", "--always", "--dirty", "--abbrev=12"])?,
        ),
        ("date", said("date", &["--utc", "+%F"])?),
        ("CPU", cpu()?),
        ("memory", line("/proc/meminfo", "MemTotal")),
        ("kernel", said("uname", &["--kernel-release"])?),
        ("packages", packages()?),
    ])
}

/// How many, and of what make.
pub(crate) fn cpu() -> anyhow::Result<String> {
    let cores = std::thread::available_parallelism()?;
    Ok(format!("{cores} × {}", line("/proc/cpuinfo", "model name")))
}

/// What a file of the kernel's says of `field`.
fn line(file: &str, field: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(field));
    let value = value.map(|value| value.trim_start_matches([' ', '\t', ':']).to_owned());
    value.unwrap_or_else(|| "unknown".to_owned())
}

/// Versions of what is measured against.
fn packages() -> anyhow::Result<String> {
    let mut versions = Vec::new();
    for package in ["nginx", "dnsmasq-base", "tftpd-hpa", "curl"] {
        let format = "--showformat=${Package} ${Version}";
        versions.push(said("dpkg-query", &["--show", format, package])?);
    }
    Ok(versions.join(", "))
}

/// What a program prints, on one line.
fn said(name: &str, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program(name)?)
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    anyhow::ensure!(
        output.status.success(),
        "{name} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
