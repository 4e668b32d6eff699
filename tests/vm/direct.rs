//! What the manager gives one machine: kernel, initramfs and command line, as firmware would get them, without firmware.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use ramboot_wire::Arch;

use crate::ANSWER;
use crate::case::Case;
use crate::lan::MANAGER;

/// Its port, unless told otherwise.
pub(crate) const PORT: u16 = 8067;

/// Fetched, and kept in the case's folder.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    pub(crate) cmdline: String,
}

impl Given {
    /// Runs the script of the machine with this MAC, as iPXE would.
    pub(crate) fn fetch(case: &Case, mac: &str) -> Result<Self> {
        Self::fetch_for(case, mac, Arch::X86_64)
    }

    /// The same of a machine of this kind.
    pub(crate) fn fetch_for(case: &Case, mac: &str, arch: Arch) -> Result<Self> {
        let path = format!("/ipxe/{}.{arch}", mac.replace(':', "-"));
        let script = String::from_utf8(get(&path)?).context("a script in UTF-8")?;
        // kernel --name NAME URL PARAMETERS || …
        let line = |command: &str| {
            let start = format!("{command} --name ");
            let mut lines = script.lines();
            let rest = lines.find_map(|line| line.strip_prefix(&start));
            let words = rest.and_then(|rest| rest.strip_suffix(" || goto failed"));
            words.with_context(|| format!("no {command} in the script: {script}"))
        };
        let (kernel, rest) = line("kernel")?.split_once(' ').context("a URL")?;
        let (kernel_url, cmdline) = rest.split_once(' ').context("a command line")?;
        let (initramfs, initramfs_url) = line("initrd")?.split_once(' ').context("a URL")?;
        let keep = |name: &str, url: &str| -> Result<PathBuf> {
            let base = format!("http://{MANAGER}:{PORT}");
            let path = url.strip_prefix(&base);
            let path = path.with_context(|| format!("{url} is not below {base}"))?;
            let file = case.dir().join(name);
            fs::write(&file, get(path)?).with_context(|| format!("writing {}", file.display()))?;
            Ok(file)
        };
        Ok(Self {
            kernel: keep(kernel, kernel_url)?,
            initramfs: keep(initramfs, initramfs_url)?,
            cmdline: cmdline.to_owned(),
        })
    }
}

/// A file of the manager in this thread's network.
pub(crate) fn get(path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect((MANAGER, PORT)).context("connecting to the manager")?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {MANAGER}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let body = answer.split_off(end.context("an answer without an end of its head")? + 4);
    let head = String::from_utf8_lossy(&answer).to_lowercase();
    let length = format!("content-length: {}\r\n", body.len());
    ensure!(
        head.starts_with("http/1.1 200 ") && head.contains(&length),
        "{path}: {} bytes after {head}",
        body.len()
    );
    Ok(body)
}
