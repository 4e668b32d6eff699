//! Programs a test starts: none outlives the thread that started it, however that ends.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait;

/// How long a program may take to end when it was asked to.
const TO_END: Duration = Duration::from_secs(20);

/// A running program, ended by its own pid when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
}

/// A command whose program dies with the thread that starts it, even if this test is killed: setpriv sets the parent
/// death signal and becomes the program, so the pid is the program's.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command
}

/// Runs a program to its end; what it printed is in the error if it failed.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<String> {
    let out = command(program)
        .args(args)
        .output()
        .with_context(|| format!("running {program}"))?;
    let stderr = String::from_utf8_lossy(&out.stderr);
    ensure!(
        out.status.success(),
        "{program} {}: {}: {}",
        args.join(" "),
        out.status,
        stderr.trim()
    );
    String::from_utf8(out.stdout).with_context(|| format!("reading what {program} printed"))
}

impl Process {
    /// Starts `command`.
    pub(crate) fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        let child = command
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
        })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The pipe to its standard input; to be taken once, and only if the command asked for one.
    pub(crate) fn stdin(&mut self) -> Result<ChildStdin> {
        let pipe = self.child.stdin.take();
        pipe.with_context(|| format!("{} has no pipe for input", self.name))
    }

    /// The pipe from its standard output.
    pub(crate) fn stdout(&mut self) -> Result<ChildStdout> {
        let pipe = self.child.stdout.take();
        pipe.with_context(|| format!("{} has no pipe for output", self.name))
    }

    /// The pipe from its standard error.
    pub(crate) fn stderr(&mut self) -> Result<ChildStderr> {
        let pipe = self.child.stderr.take();
        pipe.with_context(|| format!("{} has no pipe for errors", self.name))
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.try_wait();
        status.with_context(|| format!("asking after {}", self.name))
    }

    /// SIGKILL: the program can do nothing about it. It must have been running until now.
    pub(crate) fn kill(mut self) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!("{} should be running but has ended: {status}", self.name);
        }
        self.child
            .kill()
            .with_context(|| format!("killing {}", self.name))?;
        let status = self.child.wait()?;
        ensure!(
            status.signal() == Some(Signal::SIGKILL as i32),
            "{} ended by itself when it was to be killed: {status}",
            self.name
        );
        Ok(())
    }

    /// SIGTERM, and exit code 0 is expected.
    pub(crate) fn terminate(mut self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, Signal::SIGTERM).with_context(|| format!("ending {}", self.name))?;
        let what = format!("{} to end after SIGTERM", self.name);
        let status = wait::until(&what, TO_END, || self.ended())?;
        ensure!(
            status.success(),
            "{} ended with {status} after SIGTERM instead of success",
            self.name
        );
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the process is gone and reaped, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
