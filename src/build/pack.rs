//! Packs entries: mksquashfs of squashfs-tools gets them as one tar stream, and its output takes the image's name when all is
//! well.
//!
//! Another packer would be a second truth about compression; and the one that is linked into this program, for reading, writes
//! no extended attributes, so that file capabilities would be lost.

mod root;

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::thread::JoinHandle;

use anyhow::{Context, anyhow, bail, ensure};
use tempfile::TempPath;

use super::entry::{Entry, Kind, Meta, Sink};
use super::tar_write::{self, END, header, padding};
use crate::host::progress::Progress;

/// As the images of the recipes: what the kernel unpacks fast, in blocks that waste little of a small read.
const PACKING: [&str; 6] = ["-comp", "zstd", "-Xcompression-level", "15", "-b", "256K"];

/// Bytes of what mksquashfs says; it says little, but for wrong options.
const MAX_SAID_BYTES: u64 = 1 << 16;

/// A running mksquashfs. Dropped before [`Packer::finish`], it is ended and nothing is left.
#[derive(Debug)]
pub(super) struct Packer {
    child: Child,
    input: Option<BufWriter<ChildStdin>>,
    said: Option<JoinHandle<String>>,
    made: Option<TempPath>,
    progress: Progress,
    packed: Packed,
    /// Everything is packed below one folder, which becomes the root: see [`root`].
    lifted: bool,
}

/// Counts of what was packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Packed {
    /// Folders, files and all else.
    pub(super) entries: u64,
    /// Bytes of all files.
    pub(super) bytes: u64,
    /// Attributes that a squashfs cannot hold.
    pub(super) lost_xattrs: u64,
    /// Bytes of the image.
    pub(super) image: u64,
    /// The root folder belongs to whoever built it.
    pub(super) foreign_root: bool,
}

impl Packer {
    /// Starts. The root's own entry in a tar is ignored by mksquashfs: what it has is given here. No time in the image will be later
    /// than `epoch`, and the image says that it was made then: the same entries make the same bytes.
    ///
    /// # Errors
    /// There is no mksquashfs, or the output cannot be written.
    pub(super) fn start(
        out: &Path,
        root: &Meta,
        epoch: u64,
        progress: Progress,
    ) -> anyhow::Result<Self> {
        let (mut command, foreign_root) = program()?;
        let made = super::beside(out)?.into_temp_path();
        command.arg("-").arg(&made);
        command.args(["-tar", "-noappend", "-quiet", "-no-progress"]);
        command.args(PACKING);
        command.arg("-root-mode").arg(format!("{:o}", root.mode));
        command.arg("-root-uid").arg(root.uid.to_string());
        command.arg("-root-gid").arg(root.gid.to_string());
        // For all times at once. Options would be -mkfs-time and, since 4.6 only, -root-time.
        command.env("SOURCE_DATE_EPOCH", epoch.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        command.stderr(Stdio::piped());
        let lifted = root.xattrs.keys().any(|key| tar_write::holds(key));
        let mut child = command.spawn().context("starting mksquashfs")?;
        let input = child.stdin.take();
        let input = input.map(|pipe| BufWriter::with_capacity(1 << 20, pipe));
        let said = child
            .stderr
            .take()
            .map(|pipe| std::thread::spawn(|| listen(pipe)));
        Ok(Self {
            child,
            input,
            said,
            made: Some(made),
            progress,
            packed: Packed {
                foreign_root: foreign_root && !lifted,
                ..Packed::default()
            },
            lifted,
        })
    }

    /// Waits for the rest, and gives the image its name.
    ///
    /// # Errors
    /// mksquashfs failed, or the name cannot be given; what was there under it stays.
    pub(super) fn finish(mut self, out: &Path) -> anyhow::Result<Packed> {
        self.write(&END)?;
        let flushed = self.input.as_mut().map_or(Ok(()), Write::flush);
        drop(self.input.take());
        let status = self.child.wait().context("waiting for mksquashfs")?;
        if !status.success() || flushed.is_err() {
            return Err(self.failure());
        }
        let naming = || format!("writing {}", out.display());
        let made = self.made.take().with_context(naming)?;
        let file = File::options().read(true).write(true).open(&made);
        let file = file.with_context(naming)?;
        if self.lifted {
            root::lift(&file).context("reading what mksquashfs wrote")?;
        }
        self.packed.image = file.metadata().with_context(naming)?.len();
        file.sync_all().with_context(naming)?;
        made.persist(out)
            .map_err(|error| error.error)
            .with_context(naming)?;
        Ok(self.packed)
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let input = self.input.as_mut().context("writing to mksquashfs")?;
        input.write_all(bytes).map_err(|_| self.failure())
    }

    fn copy(&mut self, path: &Path, size: u64, content: &mut dyn Read) -> anyhow::Result<()> {
        let mut buffer = vec![0; 1 << 17];
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let wanted = buffer.len().min(most);
            let got = content
                .read(buffer.get_mut(..wanted).unwrap_or_default())
                .with_context(|| format!("reading /{}", path.display()))?;
            ensure!(
                got > 0,
                "/{} was changed while it was read: it had {size} bytes, then {}",
                path.display(),
                size - left
            );
            self.write(buffer.get(..got).unwrap_or_default())?;
            left = left.saturating_sub(got as u64);
            self.packed.bytes += got as u64;
            self.progress.at(self.packed.bytes);
        }
        self.write(padding(size))
    }

    /// It ended before its time, or badly: what it said is why.
    fn failure(&mut self) -> anyhow::Error {
        drop(self.input.take());
        let status = self.child.wait();
        let said = self.said.take().and_then(|thread| thread.join().ok());
        let how = match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        anyhow!(cause(&said.unwrap_or_default())).context(format!("mksquashfs failed ({how})"))
    }
}

impl Sink for Packer {
    fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> anyhow::Result<()> {
        let xattrs = entry.meta.xattrs.keys();
        self.packed.lost_xattrs += xattrs.filter(|key| !tar_write::holds(key)).count() as u64;
        self.packed.entries += 1;
        if self.lifted {
            self.write(&header(&below(entry))?)?;
        } else if entry.path.as_os_str().is_empty() {
            return Ok(());
        } else {
            self.write(&header(entry)?)?;
        }
        match entry.kind {
            Kind::File { size } => self.copy(&entry.path, size, content),
            _ => Ok(()),
        }
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same entry in the folder that becomes the root.
fn below(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    entry.path = match entry.path.as_os_str().is_empty() {
        true => PathBuf::from(root::NAME),
        false => Path::new(root::NAME).join(&entry.path),
    };
    if let Kind::Hardlink { to } = &mut entry.kind {
        *to = Path::new(root::NAME).join(&to);
    }
    entry
}

/// mksquashfs, and whether the root folder will belong to this user: up to 4.5.1 at least, what reads a tar gives it to its
/// own user, whatever -root-uid says. So it is made to believe that it is root, in a user namespace of its own.
fn program() -> anyhow::Result<(Command, bool)> {
    let quiet = |command: &mut Command| {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null()).status()
    };
    if let Err(error) = quiet(Command::new("mksquashfs").arg("-version")) {
        if error.kind() == ErrorKind::NotFound {
            bail!(
                "mksquashfs is missing, which packs the image: apt install squashfs-tools (4.5 or newer)"
            );
        }
        return Err(error).context("starting mksquashfs");
    }
    let plain = Command::new("mksquashfs");
    if rustix::process::geteuid().is_root() {
        return Ok((plain, false));
    }
    let as_root = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user"]);
        command
    };
    if !quiet(as_root().arg("true")).is_ok_and(|status| status.success()) {
        return Ok((plain, true));
    }
    let mut command = as_root();
    command.arg("mksquashfs");
    Ok((command, false))
}

fn listen(mut pipe: ChildStderr) -> String {
    let mut said = Vec::new();
    // Cut off or not, what there is of it says more than nothing.
    let _ = pipe.by_ref().take(MAX_SAID_BYTES).read_to_end(&mut said);
    let _ = io::copy(&mut pipe, &mut io::sink());
    String::from_utf8_lossy(&said).into_owned()
}

/// The line that says why. For a wrong option, mksquashfs 4.5 prints that first and then its whole manual.
fn cause(said: &str) -> String {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let telling = |line: &&str| {
        let line = line.to_lowercase();
        ["error", "invalid", "failed"]
            .iter()
            .any(|word| line.contains(word))
    };
    let telling: Vec<&str> = lines().filter(telling).take(3).collect();
    match (telling.is_empty(), lines().next_back()) {
        (false, _) => telling.join("; "),
        (true, Some(last)) => last.to_owned(),
        (true, None) => "it did not say why".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_a_line_or_three() {
        for (said, want) in [
            ("", "it did not say why"),
            ("some\nwords\n", "words"),
            (
                "Write failed because No space left on device\nFATAL ERROR: Failed to write to output\n",
                "Write failed because No space left on device; FATAL ERROR: Failed to write to output",
            ),
            (
                "mksquashfs: -tar is an invalid option\n\nSYNTAX:mksquashfs source1 source2\n-b <size>\n",
                "mksquashfs: -tar is an invalid option",
            ),
        ] {
            assert_eq!(cause(said), want);
        }
    }
}
