//! `make demo`: one boot from the power switch to a shell, and what is left when the manager is gone.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use ramboot_wire::stage::{Stage, StageLine};

use crate::case::Case;
use crate::image::{Image, parse, sum_of};
use crate::lan::{BRIDGE, Lan, MANAGER};
use crate::machine::Machine;
use crate::manager::{Manager, publish};
use crate::transcript::Line;

const STEPS: usize = 6;
/// Megabytes of the worker's memory.
const MEMORY: u32 = 1024;
/// Columns of a line that is shown for a moment only.
const COLUMNS: usize = 100;
/// Folders no boot has read whole.
const UNTOUCHED: [&str; 2] = ["usr/share/perl5", "usr/lib/modules/*/kernel/fs"];

/// What the user sees, and the times for the table.
struct Screen {
    colour: bool,
    step: usize,
    since: Instant,
    times: Vec<(String, Duration)>,
}

/// Runs the demo.
pub(crate) fn main() -> ExitCode {
    let mut screen = Screen {
        colour: io::stdout().is_terminal(),
        step: 0,
        since: Instant::now(),
        times: Vec::new(),
    };
    // The network belongs to the thread that makes it.
    let done = thread::scope(|scope| scope.spawn(|| run(&mut screen)).join());
    match done.unwrap_or_else(|_| Err(anyhow!("the demo panicked"))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            screen.clear();
            println!(
                "\n{}: {e:#}",
                screen.paint("1;31", &format!("step {} failed", screen.step))
            );
            println!("logs are in target/vm/demo");
            ExitCode::FAILURE
        }
    }
}

fn run(screen: &mut Screen) -> Result<()> {
    let begun = Instant::now();
    crate::tools()?;
    let case = Case::new("demo")?;

    screen.step("Build a worker's image: Debian with kernel and systemd");
    let image = Image::debian()?;
    screen.say(&format!(
        "target/images/debian.sqfs, {} MB",
        (image.size()? + 500_000) / 1_000_000
    ));

    screen.step("Publish it: checked, digested, kernel and initramfs made");
    let store = case.fresh_store_with_old_cache()?;
    let printed = publish(&image.path, &store)?;
    printed.lines().for_each(|line| screen.say(line));
    screen.time("publish");

    screen.step("Serve it on a private network");
    let lan = Lan::new()?;
    let manager = Manager::full(&case, &store)?;
    screen.say(&format!(
        "ramboot serve --dhcp full on {BRIDGE}, {MANAGER}; nothing else is there"
    ));

    screen.step(&format!(
        "Switch a machine on: {MEMORY} MB, one NIC, no disk"
    ));
    let mut worker = Machine::bios(MEMORY).boot(&case, &lan)?;
    let mut kernel = None;
    let mut handover = None;
    worker.console.watch(|line| {
        if line.text.contains("Linux version") && kernel.is_none() {
            kernel = Some(line.at);
            screen.record("firmware to kernel", line.at);
        }
        if let Some(stage) = StageLine::parse(&line.text) {
            if let (Stage::Early, Some(kernel)) = (stage.stage, kernel) {
                let kernel_to_init = line.at.saturating_sub(Duration::from_millis(stage.ms));
                screen.record("kernel to /init", kernel_to_init.saturating_sub(kernel));
            }
            if handover.is_none() {
                screen.stage(line, &stage);
            }
            if stage.stage == Stage::Handover {
                handover = Some(line.at);
            }
        } else {
            screen.moment(line);
        }
    })?;
    let handover = handover.context("a shell, but no stage=handover on the console")?;
    let ready = screen.since.elapsed();
    worker.console.login()?;
    screen.record("handover to shell", ready.saturating_sub(handover));
    screen.record("power switch to shell", ready);
    screen.say("a root shell of the image's own systemd");

    screen.step("Kill the manager: SIGKILL");
    manager.kill()?;
    screen.say("gone; nobody else is on the network");

    screen.step("The worker works on");
    for command in ["uname -sr", "findmnt -no FSTYPE,SOURCE /", "uptime -p"] {
        let printed = worker.console.run(command)?;
        screen.say(&format!("$ {command}"));
        printed.lines().for_each(|line| screen.more(line));
    }
    worker.console.run("echo 3 >/proc/sys/vm/drop_caches")?;
    let expected = image.digests(case.dir(), &UNTOUCHED)?;
    let read = parse(
        &worker
            .console
            .run(&format!("cd /; {}", sum_of(&UNTOUCHED)))?,
    )?;
    ensure!(
        read == expected,
        "{} files read in the worker differ from {} in the image",
        read.len(),
        expected.len()
    );
    screen.say(&format!(
        "{} files it never touched before read with caches dropped: every digest is that of the image",
        read.len()
    ));

    screen.record("all of this", begun.elapsed());
    screen.table();
    Ok(())
}

impl Screen {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// The next step begins.
    fn step(&mut self, title: &str) {
        self.clear();
        self.step += 1;
        self.since = Instant::now();
        let number = self.paint("1;36", &format!("[{}/{STEPS}]", self.step));
        println!("\n{number} {}", self.paint("1", title));
    }

    /// Something to know about the step.
    fn say(&self, text: &str) {
        self.clear();
        let at = format!("{:7.1} s", self.since.elapsed().as_secs_f64());
        println!("{}  {text}", self.paint("2", &at));
    }

    /// More of it.
    fn more(&self, text: &str) {
        println!("           {text}");
    }

    /// A stage of the boot is done.
    fn stage(&mut self, line: &Line, stage: &StageLine) {
        self.clear();
        let at = self.paint("2", &format!("{:7.1} s", line.at.as_secs_f64()));
        let facts: Vec<_> = stage
            .facts
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        println!(
            "{at}  {:<9} {:>6} ms  {}",
            self.paint("32", &format!("{:<9}", stage.stage.name())),
            stage.ms,
            self.paint("2", &facts.join(" "))
        );
        self.record(
            &format!("  {}", stage.stage),
            Duration::from_millis(stage.ms),
        );
    }

    /// Something to look at until the next line comes; only a terminal can take it back.
    fn moment(&self, line: &Line) {
        if self.colour {
            let text: String = line.text.chars().take(COLUMNS).collect();
            print!("\r\x1b[2K\x1b[2m           {text}\x1b[0m");
            let _ = io::stdout().flush();
        }
    }

    fn clear(&self) {
        if self.colour {
            print!("\r\x1b[2K");
        }
    }

    /// The step's time goes into the table.
    fn time(&mut self, what: &str) {
        self.record(what, self.since.elapsed());
    }

    fn record(&mut self, what: &str, time: Duration) {
        self.times.push((what.to_owned(), time));
    }

    fn table(&self) {
        self.clear();
        println!("\n{}", self.paint("1", "Times"));
        for (what, time) in &self.times {
            println!("  {what:<24} {:>8.2} s", time.as_secs_f64());
        }
        println!(
            "\n{}",
            self.paint("1;32", "The worker runs from RAM and needs nobody.")
        );
    }
}
