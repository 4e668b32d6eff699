//! Tar archives on top of each other as a source: read twice, once for what they amount to, once for the files.

use std::collections::BTreeMap;
use std::io::{self, Read, empty};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, anyhow, bail, ensure};
use sha2::{Digest, Sha256};

use super::entry::{Entry, Kind, Sink};
use super::merge::{Merge, Plan};
use super::outline::Outline;
use super::tar_read::{Reader, shown};
use super::unpack::Part;
use crate::text::hex::hex;

/// Where a tar comes from.
#[derive(Debug)]
pub(super) enum Stored {
    /// A file or part of one, maybe packed.
    Part(Part),
    /// A squashfs, which sqfs2tar reads. It is the one reader that gives extended attributes out as they are.
    Squashfs(PathBuf),
}

/// One of the archives.
#[derive(Debug)]
pub(super) struct Layer {
    /// For messages.
    pub(super) name: String,
    pub(super) stored: Stored,
    /// What the bytes must hash to.
    pub(super) promise: Option<Promise>,
}

/// A SHA-256 digest that a manifest promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Promise {
    /// In hexadecimal.
    pub(super) sha256: String,
    /// Of the unpacked tar, not of the bytes as they are stored.
    pub(super) unpacked: bool,
}

/// The archives, and what is to be taken from each.
#[derive(Debug)]
pub(super) struct Layers {
    layers: Vec<Layer>,
    plan: Plan,
    /// Records of tar headers that are not kept, and of how many entries.
    not_kept: BTreeMap<Vec<u8>, u64>,
    /// The first that has neither a digest nor the mark of its end.
    cut_off: Option<String>,
}

impl Layers {
    /// Checks digests and reads all headers.
    ///
    /// # Errors
    /// An archive is damaged, not what its manifest promises, or has names that cannot be taken.
    pub(super) fn new(layers: Vec<Layer>, whiteouts: bool) -> anyhow::Result<Self> {
        let mut merge = Merge::new(whiteouts);
        let mut cut_off = None;
        let mut not_kept = BTreeMap::new();
        for layer in &layers {
            layer.keep_promise()?;
            let reading = || format!("reading {}", layer.name);
            let mut reader = Reader::new(layer.open()?);
            while let Some(item) = reader.next_item().with_context(reading)? {
                merge.add(item).with_context(reading)?;
            }
            merge.end_layer().with_context(reading)?;
            for (key, count) in reader.unknown() {
                *not_kept.entry(key.clone()).or_default() += count;
            }
            // What has no digest may be cut off between two entries.
            if !reader.ended() && layer.promise.is_none() {
                cut_off.get_or_insert_with(|| layer.name.clone());
            }
            finish(reader.into_inner()).with_context(reading)?;
        }
        Ok(Self {
            layers,
            plan: merge.plan(),
            not_kept,
            cut_off,
        })
    }

    /// Itself, if no archive ends before its end.
    ///
    /// # Errors
    /// One does.
    pub(super) fn whole(self) -> anyhow::Result<Self> {
        match &self.cut_off {
            None => Ok(self),
            Some(name) => bail!("{name} ends without the mark of its end: it is cut off"),
        }
    }

    /// Whether there is a file that container images in archives have at their top.
    pub(super) fn may_be_image(&self) -> bool {
        let has = |name: &str| self.plan.files.values().any(|path| path == Path::new(name));
        has("manifest.json") || has("oci-layout")
    }

    pub(super) fn outline(&self) -> Outline {
        let mut outline = Outline {
            root: self.plan.folders.first().map(|root| root.meta.clone()),
            newest: self.plan.newest,
            bytes: self.plan.bytes,
            left_out: self.not_kept.iter().map(not_kept).collect(),
            ..Outline::default()
        };
        let entries = self.plan.folders.iter().chain(&self.plan.others);
        let paths = entries.map(|entry| &entry.path);
        for path in paths.chain(self.plan.files.values()) {
            outline.top.see(path);
        }
        outline
    }

    /// Gives all of it to a sink.
    ///
    /// # Errors
    /// An archive cannot be read any more.
    pub(super) fn read(&self, sink: &mut dyn Sink) -> anyhow::Result<()> {
        for folder in &self.plan.folders {
            sink.entry(folder, &mut empty())?;
        }
        for (number, layer) in self.layers.iter().enumerate() {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            self.files(number, layer, sink)
                .with_context(|| format!("reading {}", layer.name))?;
        }
        for other in &self.plan.others {
            sink.entry(other, &mut empty())?;
        }
        Ok(())
    }

    fn files(&self, number: u32, layer: &Layer, sink: &mut dyn Sink) -> anyhow::Result<()> {
        let mut wanted = self.plan.files.range((number, 0)..=(number, u32::MAX));
        let Some(mut next) = wanted.next() else {
            return Ok(());
        };
        let mut reader = Reader::new(layer.open()?);
        let mut ordinal = 0;
        while let Some(item) = reader.next_item()? {
            let ((_, place), path) = next;
            ordinal += 1;
            if ordinal - 1 != *place {
                continue;
            }
            ensure!(
                matches!(item.kind, Kind::File { .. }),
                "it was changed while it was read"
            );
            let entry = Entry {
                path: path.clone(),
                kind: item.kind,
                meta: item.meta,
            };
            sink.entry(&entry, &mut reader.content())?;
            match wanted.next() {
                Some(more) => next = more,
                None => return Ok(()),
            }
        }
        bail!("it was changed while it was read")
    }
}

impl Layer {
    /// A tar that is all there is; messages call it by its path.
    pub(super) fn alone(path: &Path, part: Part) -> Self {
        Self {
            name: path.display().to_string(),
            stored: Stored::Part(part),
            promise: None,
        }
    }

    fn open(&self) -> anyhow::Result<Box<dyn Read>> {
        let opened = match &self.stored {
            Stored::Part(part) => part.unpacked(),
            Stored::Squashfs(path) => return sqfs2tar(path),
        };
        opened.with_context(|| format!("reading {}", self.name))
    }

    fn keep_promise(&self) -> anyhow::Result<()> {
        let (Some(promise), Stored::Part(part)) = (&self.promise, &self.stored) else {
            return Ok(());
        };
        let mut bytes: Box<dyn Read> = if promise.unpacked {
            self.open()?
        } else {
            Box::new(part.clone())
        };
        let sha256 = sha256(&mut bytes).with_context(|| format!("reading {}", self.name))?;
        ensure!(
            sha256 == promise.sha256,
            "{} is damaged: its SHA-256 is {sha256}, and the manifest says {}",
            self.name,
            promise.sha256
        );
        Ok(())
    }
}

/// A sentence on records that are not kept.
fn not_kept((key, count): (&Vec<u8>, &u64)) -> String {
    let plural = if *count == 1 { "entry" } else { "entries" };
    let shown = shown(key).escape_debug().to_string();
    let why = if key.starts_with(b"SCHILY.acl.") {
        "an access control list, which a squashfs cannot hold"
    } else if key.starts_with(b"LIBARCHIVE.xattr.") {
        "an extended attribute in a form that only bsdtar writes; GNU tar's --xattrs writes one that is kept"
    } else {
        "a record that is not known here"
    };
    format!("{shown} of {count} {plural}: {why}")
}

/// In hexadecimal.
pub(super) fn sha256(bytes: &mut dyn Read) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut block = vec![0; 1 << 17];
    loop {
        match bytes.read(&mut block)? {
            0 => break,
            got => digest.update(block.get(..got).unwrap_or_default()),
        }
    }
    Ok(hex(&digest.finalize()))
}

/// Reads to the end: only there a packed stream's checksum, or a program's exit status, says that all was well.
fn finish(mut rest: Box<dyn Read>) -> io::Result<()> {
    io::copy(&mut rest, &mut io::sink()).map(drop)
}

/// A program's output; its end is one only if it ended well.
struct Output {
    child: Child,
    pipe: ChildStdout,
    name: PathBuf,
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.pipe.read(buffer)?;
        if got == 0 && !buffer.is_empty() && !self.child.wait()?.success() {
            let said = format!(
                "sqfs2tar cannot read {}: it is damaged, or packed in a way that sqfs2tar does not know",
                self.name.display()
            );
            return Err(io::Error::other(said));
        }
        Ok(got)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sqfs2tar(image: &Path) -> anyhow::Result<Box<dyn Read>> {
    let mut command = Command::new("sqfs2tar");
    // The root's own entry comes with it, as "./".
    command.args(["--root-becomes", "."]).arg(image);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            anyhow!("sqfs2tar is missing, which reads a squashfs with its extended attributes: apt install squashfs-tools-ng")
        } else {
            anyhow!("starting sqfs2tar: {error}")
        }
    })?;
    let pipe = child.stdout.take().context("starting sqfs2tar")?;
    let name = image.to_owned();
    let output = Output { child, pipe, name };
    Ok(Box::new(io::BufReader::with_capacity(1 << 17, output)))
}
