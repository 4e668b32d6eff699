//! A worker's serial console: stage lines of `/init`, then a root shell to ask questions with.

use std::io::Write;
use std::process::ChildStdin;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use ramboot_wire::stage::{Stage, StageLine};

use crate::transcript::{Heard, Line, Transcript};
use crate::{ANSWER, BOOT};

/// As images/debian sets it.
const PROMPT: &str = "worker# ";

/// Both directions of a serial line.
#[derive(Debug)]
pub(crate) struct Console {
    /// What the worker says.
    pub(crate) said: Transcript,
    keyboard: ChildStdin,
    commands: u32,
}

impl Console {
    /// A console on two pipes.
    pub(crate) fn new(said: Transcript, keyboard: ChildStdin) -> Self {
        Self {
            said,
            keyboard,
            commands: 0,
        }
    }

    /// Waits for a line with `text` in it.
    pub(crate) fn expect(&self, text: &str, limit: Duration) -> Result<Line> {
        self.said.expect(text, limit)
    }

    /// Waits until `stage` is done. Fails as soon as it or one before it failed, or the kernel died.
    pub(crate) fn stage(&self, stage: Stage, limit: Duration) -> Result<StageLine> {
        self.said.wait(&format!("stage {stage}"), limit, |heard| {
            outcome(heard, stage)
        })
    }

    /// Shows each line as it comes, until the shell of the image's own system is there.
    pub(crate) fn watch(&self, mut show: impl FnMut(&Line)) -> Result<()> {
        let mut seen = 0;
        loop {
            let (lines, prompt) = self.said.wait("a root shell", BOOT, |heard| {
                let prompt = heard.tail.ends_with(PROMPT);
                let lines = heard.lines[seen..].to_vec();
                (prompt || !lines.is_empty())
                    .then_some(Ok((lines, prompt)))
                    .or_else(|| failed(heard, Stage::Handover).map(Err))
            })?;
            seen += lines.len();
            lines.iter().for_each(&mut show);
            if prompt {
                return Ok(());
            }
        }
    }

    /// Waits for the shell of the image's own system, and takes it over.
    pub(crate) fn login(&mut self) -> Result<()> {
        self.stage(Stage::Handover, BOOT)?;
        self.take_over()
    }

    /// The same of a worker that was not booted by `/init`.
    pub(crate) fn take_over(&mut self) -> Result<()> {
        self.said.wait("a root shell", BOOT, |heard| {
            let prompt = heard.tail.ends_with(PROMPT).then_some(Ok(()));
            prompt.or_else(|| dead(heard).map(Err))
        })?;
        // A shell that edits no lines and shows no prompt; from here on the kernel keeps quiet, and systemd, too, on its
        // signal SIGRTMIN+21.
        self.send("stty -echo cols 1000; dmesg -n 1; kill -55 1; exec env PS1= PS2= sh -c 'echo \"<in\"side\">\"; exec sh'")?;
        self.expect("<inside>", ANSWER)?;
        let state = self.run_any("systemctl is-system-running --wait", ANSWER)?;
        ensure!(
            state.1.trim() == "running",
            "the worker's systemd is {:?} instead of \"running\": {}",
            state.1.trim(),
            self.run_any("systemctl --no-pager --failed --no-legend --plain; journalctl --no-pager --boot --lines=40", ANSWER)?.1
        );
        Ok(())
    }

    /// Types a line for the worker's shell and waits for nothing.
    pub(crate) fn type_line(&mut self, line: &str) -> Result<()> {
        self.send(line)
    }

    /// Runs a command in the worker; what it printed. It must succeed.
    pub(crate) fn run(&mut self, command: &str) -> Result<String> {
        self.run_within(command, ANSWER)
    }

    /// The same with a limit of its own.
    pub(crate) fn run_within(&mut self, command: &str, limit: Duration) -> Result<String> {
        let (code, printed) = self.run_any(command, limit)?;
        ensure!(
            code == 0,
            "{command:?} in the worker ended with {code} instead of 0; it printed: {printed}"
        );
        Ok(printed)
    }

    /// Runs a command in the worker; exit code, and what it printed without empty lines.
    fn run_any(&mut self, command: &str, limit: Duration) -> Result<(i32, String)> {
        self.commands += 1;
        let number = self.commands;
        // In the echo, if there is one, the marks are not whole. In braces, so that the shell has read all of it before the
        // command can take what is typed for its own, or throw it away.
        self.send(&format!(
            "{{ printf '\\n<%s {number}>\\n' begin; {command}\nprintf '\\n<%s {number} %d>\\n' end $?\n}}"
        ))?;
        let begin = format!("<begin {number}>");
        let end = format!("<end {number} ");
        let what = format!("the end of {command:?}");
        self.said.wait(&what, limit, |heard| {
            let from = heard.lines.iter().position(|line| line.text == begin)? + 1;
            let lines = &heard.lines[from..];
            let to = lines.iter().position(|line| line.text.starts_with(&end));
            let Some(to) = to else {
                return dead(heard).map(Err);
            };
            let code = lines[to].text[end.len()..].trim_end_matches('>').parse();
            let printed: Vec<_> = lines[..to].iter().map(|line| line.text.as_str()).collect();
            Some(
                code.map(|code| (code, printed.join("\n")))
                    .with_context(|| format!("reading {:?}", lines[to].text)),
            )
        })
    }

    fn send(&mut self, line: &str) -> Result<()> {
        let sent = self.keyboard.write_all(format!("{line}\n").as_bytes());
        sent.context("typing on the worker's console")
    }
}

/// The line of a stage that is done.
fn outcome(heard: &Heard, wanted: Stage) -> Option<Result<StageLine>> {
    let mut lines = heard.lines.iter().filter_map(|l| StageLine::parse(&l.text));
    lines
        .find(|line| line.stage == wanted && line.error.is_none())
        .map(Ok)
        .or_else(|| failed(heard, wanted).map(Err))
}

/// Why a stage will not come any more.
fn failed(heard: &Heard, wanted: Stage) -> Option<anyhow::Error> {
    let mut lines = heard.lines.iter().filter_map(|l| StageLine::parse(&l.text));
    lines
        .find_map(|StageLine { stage, error, .. }| {
            let error = error.filter(|_| stage <= wanted)?;
            Some(anyhow!("stage {stage} failed: {error}"))
        })
        .or_else(|| dead(heard))
}

/// Why nothing will come any more.
fn dead(heard: &Heard) -> Option<anyhow::Error> {
    let mut lines = heard.lines.iter();
    let line = lines.find(|line| line.text.contains("Kernel panic"))?;
    Some(anyhow!("the worker's kernel died: {}", line.text))
}
