//! What a source has: the Debian image without drivers of screens and the like, and a folder of rarities; and how a worker's
//! programs would list it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tar::{Archive, Builder, EntryType, Header};

use crate::process::command;

/// Folders that are compared: no boot writes there.
pub(super) const WHERE: &str = "/usr /opt /boot";

/// Lists them: kind, mode, owner, for files number of names and size, path, and where a link leads.
pub(super) const LIST: &str = "(find /usr /opt /boot -xdev -type f -printf '%p f %m %U:%G %n %s\\n'; \
    find /usr /opt /boot -xdev -type l -printf '%p l %U:%G %l\\n'; \
    find /usr /opt /boot -xdev ! -type f ! -type l -printf '%p %y %m %U:%G\\n') | LC_ALL=C sort";

/// What stat says of the two devices.
pub(super) const DEVICES: &str = "character special file 1:3 666 0:0 /opt/kept/null\n\
    block special file 7:0 660 0:6 /opt/kept/loop";

/// `cap_net_raw=ep` as `security.capability` (struct vfs_cap_data, version 2).
const CAPABILITY: [u8; 20] = [
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// Attributes by name.
pub(super) type Attributes = BTreeMap<String, Vec<u8>>;

/// One file, folder or other thing.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) kind: EntryType,
    pub(super) mode: u32,
    pub(super) owner: (u64, u64),
    pub(super) size: u64,
    /// Where a link leads, or the path a hard link is a name of.
    pub(super) link: Option<String>,
    pub(super) attributes: Attributes,
}

/// All of them, by absolute path.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree(pub(super) BTreeMap<String, Node>);

impl Tree {
    /// As [`LIST`] prints it.
    pub(super) fn listing(&self) -> String {
        let mut names: BTreeMap<&str, u32> = BTreeMap::new();
        for (path, node) in &self.0 {
            *names.entry(self.file_of(path, node)).or_default() += 1;
        }
        let mut lines = Vec::new();
        for (path, node) in self.compared() {
            let file = self.file_of(path, node);
            let Some(of) = self.0.get(file) else { continue };
            let Node {
                mode,
                owner: (uid, gid),
                size,
                ..
            } = of;
            let mut line = String::new();
            let written = match node.kind {
                EntryType::Regular | EntryType::Link => {
                    write!(line, "{path} f {mode:o} {uid}:{gid} {} {size}", names[file])
                }
                EntryType::Symlink => {
                    write!(
                        line,
                        "{path} l {uid}:{gid} {}",
                        of.link.as_deref().unwrap_or_default()
                    )
                }
                EntryType::Directory => write!(line, "{path} d {mode:o} {uid}:{gid}"),
                EntryType::Char => write!(line, "{path} c {mode:o} {uid}:{gid}"),
                EntryType::Block => write!(line, "{path} b {mode:o} {uid}:{gid}"),
                _ => write!(line, "{path} p {mode:o} {uid}:{gid}"),
            };
            if written.is_ok() {
                lines.push(line + "\n");
            }
        }
        lines.sort_unstable();
        lines.concat()
    }

    /// Attributes by path, of those that have any.
    pub(super) fn attributes(&self) -> BTreeMap<String, Attributes> {
        let all = self.compared().filter_map(|(path, node)| {
            let of = self.0.get(self.file_of(path, node))?;
            (!of.attributes.is_empty()).then(|| (path.clone(), of.attributes.clone()))
        });
        all.collect()
    }

    /// Paths of those with capabilities, in order.
    pub(super) fn capable(&self) -> impl Iterator<Item = &String> {
        self.compared()
            .filter(|(_, node)| node.attributes.contains_key("security.capability"))
            .map(|(path, _)| path)
    }

    fn compared(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.0.iter().filter(|(path, _)| {
            let path = format!("{path}/");
            WHERE
                .split(' ')
                .any(|folder| path.starts_with(&format!("{folder}/")))
        })
    }

    /// The first name of the same file.
    fn file_of<'a>(&'a self, path: &'a str, node: &'a Node) -> &'a str {
        match (node.kind, &node.link) {
            (EntryType::Link, Some(link)) => link,
            _ => path,
        }
    }
}

/// Makes a tar of `image`, less what makes it large and no boot needs, with [`rarities`]; what is in it.
pub(super) fn write_tar(image: &Path, to: &Path) -> Result<Tree> {
    let mut unpacker = command("sqfs2tar")
        .arg(image)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting sqfs2tar")?;
    let output = unpacker.stdout.take().context("its output")?;
    let mut tar = Builder::new(BufWriter::new(File::create(to)?));
    let mut tree = Tree::default();
    for entry in Archive::new(BufReader::new(output)).entries()? {
        let mut entry = entry?;
        let path = entry
            .path()?
            .to_str()
            .context("a path in UTF-8")?
            .to_owned();
        let path = path.trim_matches('/');
        if path.is_empty() || is_left_out(path) {
            continue;
        }
        let mut header = entry.header().clone();
        let link = entry.link_name()?;
        let link = link.map(|link| link.to_str().map(str::to_owned).context("a link in UTF-8"));
        let attributes = attributes_in(&mut entry)?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        if path.ends_with("/modules.dep") {
            content = dependencies(&content);
            header.set_size(content.len() as u64);
        }
        put(
            &mut tar,
            &mut tree,
            path,
            header,
            link.transpose()?,
            attributes,
            &content,
        )?;
    }
    ensure!(unpacker.wait()?.success(), "sqfs2tar {}", image.display());
    rarities(&mut tar, &mut tree)?;
    tar.into_inner()?.flush()?;
    Ok(tree)
}

/// What is rarely in an image, and must not get lost all the same.
fn rarities(tar: &mut Builder<impl Write>, tree: &mut Tree) -> Result<()> {
    let named = |name: &str, value: &[u8]| Attributes::from([(name.to_owned(), value.to_vec())]);
    let mut capable = named("security.capability", &CAPABILITY);
    capable.extend(named("user.origin", b"a\0b=c\n"));
    let none = Attributes::new();
    let mut add = |path: &str,
                   kind,
                   mode,
                   owner: (u64, u64),
                   device: Option<(u32, u32)>,
                   link: Option<&str>,
                   attributes: Attributes,
                   content: &[u8]| {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner.0);
        header.set_gid(owner.1);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        if let Some((major, minor)) = device {
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
        }
        put(
            tar,
            tree,
            path,
            header,
            link.map(str::to_owned),
            attributes,
            content,
        )
    };
    use EntryType as T;
    add(
        "opt/kept",
        T::Directory,
        0o755,
        (0, 0),
        None,
        None,
        none.clone(),
        b"",
    )?;
    add(
        "opt/kept/capable",
        T::Regular,
        0o755,
        (0, 0),
        None,
        None,
        capable,
        b"#!/bin/sh\n",
    )?;
    add(
        "opt/kept/setuid",
        T::Regular,
        0o4755,
        (1234, 5678),
        None,
        None,
        none.clone(),
        b"two names",
    )?;
    add(
        "opt/kept/twin",
        T::Link,
        0o4755,
        (1234, 5678),
        None,
        Some("opt/kept/setuid"),
        none.clone(),
        b"",
    )?;
    add(
        "opt/kept/large-owner",
        T::Regular,
        0o640,
        (2_000_000, 2_000_001),
        None,
        None,
        none.clone(),
        b"x",
    )?;
    add(
        "opt/kept/sticky",
        T::Directory,
        0o1777,
        (0, 0),
        None,
        None,
        named("user.note", b"folder"),
        b"",
    )?;
    add(
        "opt/kept/pipe",
        T::Fifo,
        0o600,
        (0, 0),
        None,
        None,
        none.clone(),
        b"",
    )?;
    add(
        "opt/kept/null",
        T::Char,
        0o666,
        (0, 0),
        Some((1, 3)),
        None,
        none.clone(),
        b"",
    )?;
    add(
        "opt/kept/loop",
        T::Block,
        0o660,
        (0, 6),
        Some((7, 0)),
        None,
        none,
        b"",
    )
}

/// One entry into both.
pub(super) fn put(
    tar: &mut Builder<impl Write>,
    tree: &mut Tree,
    path: &str,
    mut header: Header,
    link: Option<String>,
    attributes: Attributes,
    content: &[u8],
) -> Result<()> {
    let kind = header.entry_type();
    let hard = kind == EntryType::Link;
    let node = Node {
        kind,
        mode: header.mode()? & 0o7777,
        owner: (header.uid()?, header.gid()?),
        size: content.len() as u64,
        link: link.as_ref().map(|link| {
            if hard {
                format!("/{}", link.trim_matches('/'))
            } else {
                link.clone()
            }
        }),
        attributes: attributes.clone(),
    };
    let names: Vec<String> = attributes
        .keys()
        .map(|name| format!("SCHILY.xattr.{name}"))
        .collect();
    let pax = names
        .iter()
        .map(String::as_str)
        .zip(attributes.values().map(Vec::as_slice));
    if !attributes.is_empty() {
        tar.append_pax_extensions(pax)?;
    }
    match link {
        Some(link) => tar.append_link(&mut header, path, link)?,
        None => tar.append_data(&mut header, path, content)?,
    }
    tree.0.insert(format!("/{path}"), node);
    Ok(())
}

fn attributes_in(entry: &mut tar::Entry<'_, impl Read>) -> Result<Attributes> {
    let mut attributes = Attributes::new();
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        if let Some(name) = extension.key()?.strip_prefix("SCHILY.xattr.") {
            attributes.insert(name.to_owned(), extension.value_bytes().to_vec());
        }
    }
    Ok(attributes)
}

/// Devices, which systemd makes, and what is large and no worker in QEMU has: most drivers, and most of Perl.
fn is_left_out(path: &str) -> bool {
    const KEPT: [&str; 8] = [
        "crypto/",
        "drivers/block/",
        "drivers/net/",
        "drivers/virtio/",
        "fs/overlayfs/",
        "fs/squashfs/",
        "lib/",
        "net/core/",
    ];
    let driver = path.ends_with(".ko").then(|| path.split_once("kernel/"));
    let is_foreign = |(_, place): (&str, &str)| {
        place.starts_with("drivers/net/wireless/")
            || !KEPT.iter().any(|kept| place.starts_with(kept))
    };
    path.starts_with("dev/")
        || path.starts_with("usr/share/perl")
        || driver.flatten().is_some_and(is_foreign)
}

/// modules.dep without them.
fn dependencies(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let kept = text
        .lines()
        .filter(|line| !line.split([' ', ':']).any(is_left_out));
    kept.map(|line| format!("{line}\n"))
        .collect::<String>()
        .into_bytes()
}

/// What getfattr printed.
pub(super) fn attributes_of(text: &str) -> BTreeMap<String, Attributes> {
    let mut all: BTreeMap<String, Attributes> = BTreeMap::new();
    let mut path = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# file: ") {
            path = name.to_owned();
        } else if let Some((name, value)) = line.split_once("=0x") {
            let digits = value
                .as_bytes()
                .chunks(2)
                .filter_map(|two| std::str::from_utf8(two).ok());
            let bytes = digits
                .filter_map(|two| u8::from_str_radix(two, 16).ok())
                .collect();
            all.entry(path.clone())
                .or_default()
                .insert(name.to_owned(), bytes);
        }
    }
    all
}

/// As sha256sum prints it.
pub(super) fn sha256(text: &str) -> Result<String> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), text)?;
    let path = file.path().to_str().context("a path in UTF-8")?;
    let sum = crate::process::run("sha256sum", &[path])?;
    Ok(sum.split(' ').next().unwrap_or_default().to_owned())
}
