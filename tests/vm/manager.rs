//! `ramboot` itself: the built binary, run as a user runs it.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::ANSWER;
use crate::case::Case;
use crate::lan::{BRIDGE, POOL};
use crate::process::{Process, command, run};
use crate::transcript::Transcript;
use crate::wait;

/// The built program.
pub(crate) const RAMBOOT: &str = env!("CARGO_BIN_EXE_ramboot");
/// A worker is followed on its serial line.
const CONFIG: &str = "[boot]\ncmdline = \"console=ttyS0\"\n\
    [[worker]]\narch = \"aarch64\"\ncmdline = \"console=ttyAMA0\"\n";

/// A manager that serves.
#[derive(Debug)]
pub(crate) struct Manager {
    /// What it logs.
    pub(crate) log: Transcript,
    process: Process,
}

/// `ramboot publish` into a store; what it printed.
pub(crate) fn publish(image: &Path, store: &Path) -> Result<String> {
    publish_with(image, store, &[])
}

/// The same with more flags.
pub(crate) fn publish_with(image: &Path, store: &Path, flags: &[&str]) -> Result<String> {
    let path = |path: &Path| path.to_str().map(str::to_owned).context("a path in UTF-8");
    let (image, store) = (path(image)?, path(store)?);
    let args = [&["publish", &image, "--state", &store], flags].concat();
    run(RAMBOOT, &args)
}

impl Manager {
    /// Serves as the only DHCP server.
    pub(crate) fn full(case: &Case, store: &Path) -> Result<Self> {
        Self::serve(case, store, CONFIG, &["--dhcp", "full", "--pool", POOL])
    }

    /// The same with iPXE from this folder, which may be empty.
    pub(crate) fn full_with_ipxe(case: &Case, store: &Path, folder: &Path) -> Result<Self> {
        let folder = folder.to_str().context("a path in UTF-8")?;
        let args = ["--dhcp", "full", "--pool", POOL, "--ipxe-dir", folder];
        Self::serve(case, store, CONFIG, &args)
    }

    /// Serves beside another DHCP server.
    pub(crate) fn proxy(case: &Case, store: &Path) -> Result<Self> {
        Self::serve(case, store, CONFIG, &["--dhcp", "proxy"])
    }

    /// Serves, and is ready when it says so to its service manager.
    pub(crate) fn serve(case: &Case, store: &Path, config: &str, args: &[&str]) -> Result<Self> {
        // A socket's path has at most 107 bytes: not in the case's folder, which may lie deep.
        let folder = tempfile::tempdir()?;
        let address = folder.path().join("notify");
        let notify = UnixDatagram::bind(&address)?;
        notify.set_read_timeout(Some(Duration::from_millis(50)))?;
        let file = case.dir().join("ramboot.toml");
        fs::write(&file, config).with_context(|| format!("writing {}", file.display()))?;
        let mut process = Process::spawn(
            "ramboot serve",
            command(RAMBOOT)
                .arg("serve")
                .arg("--state")
                .arg(store)
                .arg("--config")
                .arg(&file)
                .args(["--interface", BRIDGE])
                .args(args)
                .env("NOTIFY_SOCKET", &address)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped()),
        )?;
        let log = Transcript::follow(
            "ramboot serve",
            process.stderr()?,
            Some(case.file("manager.log")?),
        );
        wait::until("READY=1 from ramboot serve", ANSWER, || {
            let mut message = [0; 4096];
            match notify.recv(&mut message) {
                Ok(n) if message[..n].split(|b| *b == b'\n').any(|l| l == b"READY=1") => {
                    Ok(Some(()))
                }
                _ => match process.ended()? {
                    None => Ok(None),
                    Some(status) => bail!("ramboot serve has ended: {status}"),
                },
            }
        })
        .or_else(|e| {
            log.wait::<()>("a reason", Duration::ZERO, |_| None)
                .context(e)
        })?;
        Ok(Self { log, process })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// SIGKILL.
    pub(crate) fn kill(self) -> Result<()> {
        self.process.kill()
    }

    /// SIGTERM; it must end well.
    pub(crate) fn terminate(self) -> Result<()> {
        self.process.terminate()
    }
}
