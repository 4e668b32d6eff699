//! `ramboot serve --dhcp=full` on the manager's side, watched.

use std::io::{BufRead, BufReader};
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::{ChildStderr, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, bail};

use super::lan::{Lan, MANAGER, SERVER_END};
use super::process::Process;
use super::watch::{Peaks, Watch, cpu_seconds, sample};

/// Two thousand addresses.
const POOL: &str = "10.98.1.0-10.98.8.255";
const HTTP_PORT: u16 = 8067;

/// A manager that answers; ended when dropped.
#[derive(Debug)]
pub struct Manager {
    process: Process,
    said: Arc<Mutex<Vec<String>>>,
    watching: Option<Watch>,
    cpu: f64,
}

impl Manager {
    /// Starts `program` on a store that [`super::fill`] filled, and waits until it serves.
    ///
    /// # Errors
    /// It does not.
    pub fn start(lan: &Lan, program: &Path, state: &Path, more: &[&str]) -> anyhow::Result<Self> {
        let pool = format!("--pool={POOL}");
        let full = ["--dhcp=full", &pool];
        Self::serve(lan, program, state, &[&full, more].concat())
    }

    /// The same beside a DHCP server that is somewhere: it need not look for one first.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn beside(lan: &Lan, program: &Path, state: &Path) -> anyhow::Result<Self> {
        Self::serve(lan, program, state, &["--dhcp=proxy"])
    }

    fn serve(lan: &Lan, program: &Path, state: &Path, more: &[&str]) -> anyhow::Result<Self> {
        let mut command = lan.server_command(&program.to_string_lossy());
        command.args(["--log=warn,ramboot::serve=info", "serve"]);
        command.args([format!("--interface={SERVER_END}")]);
        command.args([format!("--http-port={HTTP_PORT}")]);
        command.arg("--state").arg(state);
        command.arg("--run-dir").arg(state.join("run"));
        command.arg("--ipxe-dir").arg(state.join("ipxe"));
        command.args(more).stderr(Stdio::piped());
        let mut process = Process::spawn(&mut command)?;
        let stderr = process.0.stderr.take().context("a pipe")?;
        let said = follow(stderr)?;
        // setpriv, nsenter and the manager are one process after the other, with one id.
        let mut manager = Self {
            process,
            said,
            watching: None,
            cpu: 0.0,
        };
        manager.watch()?;
        Ok(manager)
    }

    /// Where it answers HTTP.
    #[must_use]
    pub const fn http(&self) -> SocketAddrV4 {
        SocketAddrV4::new(MANAGER, HTTP_PORT)
    }

    /// Watches it from now on.
    ///
    /// # Errors
    /// It is gone.
    pub fn watch(&mut self) -> anyhow::Result<()> {
        self.cpu = cpu_seconds(self.process.id())?;
        self.watching = Some(Watch::start(self.process.id(), SERVER_END));
        Ok(())
    }

    /// What it held since it was watched, and the CPU seconds it took.
    ///
    /// # Errors
    /// It is gone.
    pub fn seen(&mut self) -> anyhow::Result<(Peaks, f64)> {
        let watch = self.watching.take().context("it is not watched")?;
        let cpu = cpu_seconds(self.process.id())? - self.cpu;
        Ok((watch.end().context("the manager is gone")?, cpu))
    }

    /// Bytes that left its interface since the network is there.
    ///
    /// # Errors
    /// It is gone.
    pub fn sent(&self) -> anyhow::Result<u64> {
        Ok(sample(self.process.id(), SERVER_END)?.sent)
    }

    /// Ends it by SIGTERM, as `systemctl restart` does, and waits until it is gone.
    pub fn end(self) {
        drop(self.process);
    }

    /// The process's number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// All lines of its log so far that have `text` in them.
    #[must_use]
    pub fn lines(&self, text: &str) -> Vec<String> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter()
            .filter(|line| line.contains(text))
            .cloned()
            .collect()
    }

    /// Warnings, errors and panics so far.
    #[must_use]
    pub fn said(&self) -> Vec<String> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let words = ["WARN", "ERROR", "panicked at "];
        let trouble = |line: &&String| words.iter().any(|word| line.contains(word));
        said.iter().filter(trouble).cloned().collect()
    }
}

/// Waits for the line that says it serves, and reads on.
fn follow(stderr: ChildStderr) -> anyhow::Result<Arc<Mutex<Vec<String>>>> {
    let said = Arc::new(Mutex::new(Vec::new()));
    let mut lines = BufReader::new(stderr).lines();
    loop {
        let Some(line) = lines.next().transpose()? else {
            let said = said.lock().unwrap_or_else(PoisonError::into_inner);
            bail!("the manager ended: {}", said.join("\n"));
        };
        let ready = line.contains("serving on");
        said.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
        if ready {
            break;
        }
    }
    let more = Arc::clone(&said);
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let mut said = more.lock().unwrap_or_else(PoisonError::into_inner);
            if said.len() < MAX_LINES {
                said.push(line);
            }
        }
    });
    Ok(said)
}

const MAX_LINES: usize = 1000;
