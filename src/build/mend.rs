//! Applies [`super::rules`] to entries on their way to the packer: looks, and with `--fix` changes.

use std::collections::BTreeSet;
use std::io::{Cursor, Read, empty};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::entry::{Entry, Kind, Meta, Sink};
use super::rules::containers::{self, Whiteouts};
use super::rules::initramfs;
use super::rules::{self, CLOUD_INIT_DISABLED, CloudInit, Finding, table};

/// A table in `/etc`: larger is none.
const MAX_TABLE_BYTES: u64 = 1 << 20;

/// A sink in front of another.
pub(super) struct Mend<'a> {
    sink: &'a mut dyn Sink,
    fix: bool,
    /// For what is added.
    epoch: u64,
    cloud_init: CloudInit,
    folders: BTreeSet<&'static str>,
    findings: Vec<Finding>,
    left_out: Vec<String>,
    whiteouts: Whiteouts,
}

/// What is to be said of a whole source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Mended {
    /// By the rules.
    pub(super) findings: Vec<Finding>,
    /// One sentence each.
    pub(super) left_out: Vec<String>,
    /// One sentence each.
    pub(super) notes: Vec<String>,
}

impl<'a> Mend<'a> {
    /// Looks, and changes only with `fix`.
    pub(super) fn new(sink: &'a mut dyn Sink, fix: bool, epoch: u64) -> Self {
        Self {
            sink,
            fix,
            epoch,
            cloud_init: CloudInit::default(),
            folders: BTreeSet::new(),
            findings: Vec::new(),
            left_out: Vec::new(),
            whiteouts: Whiteouts::default(),
        }
    }

    /// Adds what is to be added, and says what was found.
    ///
    /// # Errors
    /// The sink's.
    pub(super) fn finish(mut self) -> anyhow::Result<Mended> {
        if let Some(finding) = self.cloud_init.finding(self.fix) {
            self.findings.push(finding);
            if self.fix {
                self.add()?;
            }
        }
        self.findings.sort_by(|a, b| a.place.cmp(&b.place));
        Ok(Mended {
            findings: self.findings,
            left_out: self.left_out,
            notes: self.whiteouts.note().into_iter().collect(),
        })
    }

    /// The file that keeps cloud-init from starting, with its folders if there are none.
    fn add(&mut self) -> anyhow::Result<()> {
        let entry = |path: &str, kind, mode| Entry {
            path: PathBuf::from(path),
            kind,
            meta: Meta {
                mode,
                uid: 0,
                gid: 0,
                mtime: self.epoch,
                xattrs: std::collections::BTreeMap::new(),
            },
        };
        for folder in ADDED_TO
            .iter()
            .filter(|folder| !self.folders.contains(*folder))
        {
            self.sink
                .entry(&entry(folder, Kind::Folder, 0o755), &mut empty())?;
        }
        let file = entry(CLOUD_INIT_DISABLED, Kind::File { size: 0 }, 0o644);
        self.sink.entry(&file, &mut empty())
    }
}

const ADDED_TO: [&str; 2] = ["etc", "etc/cloud"];

impl Sink for Mend<'_> {
    fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> anyhow::Result<()> {
        let Some(path) = entry.path.to_str() else {
            return self.sink.entry(entry, content);
        };
        self.cloud_init.see(path);
        let marked = entry.meta.xattrs.keys();
        let mut marked = marked.filter(|key| containers::is_whiteout_xattr(key));
        if is_whiteout(&entry.kind) || marked.next().is_some() {
            self.whiteouts.see(path);
        }
        if entry.kind == Kind::Folder {
            let known = ADDED_TO.iter().find(|folder| path == **folder);
            self.folders.extend(known);
            return self.sink.entry(entry, content);
        }
        if let Some(said) = containers::mark(path) {
            self.left_out.push(said);
            return Ok(());
        }
        if let Some(unit) = rules::started(path) {
            self.findings.push(rules::unit(path, unit, self.fix));
            if self.fix {
                return Ok(());
            }
        }
        if let Kind::File { size } = entry.kind
            && let Some(found) = initramfs::finding(path, size, self.fix)
        {
            self.findings.push(found);
            if self.fix {
                return Ok(());
            }
        }
        let rule = match path {
            "etc/fstab" => table::fstab,
            "etc/crypttab" => table::crypttab,
            _ => return self.sink.entry(entry, content),
        };
        match entry.kind {
            Kind::File { size } if size <= MAX_TABLE_BYTES => {
                let read = read(&entry.path, size, content)?;
                let mended = rule(&read, self.fix);
                self.findings.extend(mended.findings);
                let content = if self.fix { mended.content } else { read };
                let mut entry = entry.clone();
                entry.kind = Kind::File {
                    size: content.len() as u64,
                };
                self.sink.entry(&entry, &mut Cursor::new(content))
            }
            _ => self.sink.entry(entry, content),
        }
    }
}

fn is_whiteout(kind: &Kind) -> bool {
    let (block, major, minor) = (false, 0, 0);
    *kind
        == Kind::Device {
            block,
            major,
            minor,
        }
}

fn read(path: &Path, size: u64, content: &mut dyn Read) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    content
        .take(size)
        .read_to_end(&mut bytes)
        .with_context(|| format!("reading /{}", path.display()))?;
    Ok(bytes)
}
