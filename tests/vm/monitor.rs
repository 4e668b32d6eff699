//! QEMU's machine protocol (QMP): what a person does to a machine with the hands, such as pulling its cable.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{ANSWER, wait};

/// A connection to one machine's monitor.
#[derive(Debug)]
pub(crate) struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects to the socket that QEMU is about to make.
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let stream = wait::until("QEMU's monitor", ANSWER, || {
            Ok(UnixStream::connect(socket).ok())
        })?;
        stream.set_read_timeout(Some(ANSWER))?;
        let mut monitor = Self {
            stream: BufReader::new(stream),
        };
        monitor.line().context("QEMU's greeting")?;
        monitor.execute("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// Plugs the cable of the machine's one NIC in, or pulls it.
    pub(crate) fn set_link(&mut self, up: bool) -> Result<()> {
        self.execute("set_link", &json!({ "name": "n", "up": up }))
            .map(drop)
    }

    /// Runs a command; what it returned.
    pub(crate) fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.stream.get_mut(), "{request}")?;
        loop {
            let mut answer = self
                .line()
                .with_context(|| format!("waiting for {command}"))?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses {request}: {error}");
            }
            // An event, such as a reset.
        }
    }

    /// Waits for an event of this name. Those that came while a command ran are gone.
    pub(crate) fn event(&mut self, name: &str, limit: Duration) -> Result<Value> {
        self.stream.get_ref().set_read_timeout(Some(limit))?;
        let event = loop {
            let line = self
                .line()
                .with_context(|| format!("waiting {limit:?} for QEMU's event {name}"))?;
            if line["event"] == name {
                break line;
            }
        };
        self.stream.get_ref().set_read_timeout(Some(ANSWER))?;
        Ok(event)
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("reading {line:?}"))
    }
}
