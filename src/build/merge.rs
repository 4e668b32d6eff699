//! Decides what a stack of layers amounts to: for each path, which layer's entry stands there in the end.
//!
//! Takes the headers of all entries in order, keeps names and all that is small, and gives a [`Plan`] for a second reading that
//! copies the files. The rules are those of the OCI image specification (layer.md): later wins; `.wh.NAME` removes NAME and
//! `.wh..wh..opq` the whole content of its folder, both in the layers below only. A hard link is one more name of the file
//! its target was at that moment, whatever becomes of the target. A single tar is a stack of one, without whiteouts.
//!
//! A path may lead through a symbolic link: it is followed inside the root, as container runtimes do it, and never out. A folder
//! that a layer brings or makes opaque is one of its own, whatever the layers below have under its name.
//!
//! In what order a layer has its whiteouts and all else does not matter (layer.md, "Whiteouts"): a layer is kept until its end.

mod refusal;
mod whiteouts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use super::entry::{Entry, Kind, MAX_CONTENT_BYTES, Meta};
use super::names::{self, BadName, MAX_DEPTH, MAX_PATH_BYTES};
use super::tar_read::{Item, shown};
pub use refusal::Refusal;
use whiteouts::whiteout;

/// Entries in all layers together; a Debian with a desktop has 300 000.
const MAX_ENTRIES: usize = 5_000_000;
/// Bytes of all that is kept: names of all entries; attributes and targets of what is not a file.
const MAX_KEPT_BYTES: usize = 1 << 29;
/// Bytes of the entries of one layer, until its end: half a million of a hundred bytes have a quarter.
const MAX_WAITING_BYTES: usize = 1 << 29;
/// As the kernel follows.
const MAX_LINKS: usize = 40;
/// The kernel's `XATTR_SIZE_MAX` and `XATTR_NAME_MAX`.
const MAX_XATTR_BYTES: usize = 1 << 16;
const MAX_XATTR_NAME_BYTES: usize = 255;

/// Of a folder that no entry describes.
const IMPLIED: Meta = Meta {
    mode: 0o755,
    uid: 0,
    gid: 0,
    mtime: 0,
    xattrs: BTreeMap::new(),
};

/// Where an entry stands: layer, and number in it.
pub type Place = (u32, u32);

/// What to pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// All folders, the root first, each before what is in it.
    pub folders: Vec<Entry>,
    /// Where the files stand that are to be copied, and as what.
    pub files: BTreeMap<Place, PathBuf>,
    /// Links, devices, pipes and, last, further names; to be given after the files.
    pub others: Vec<Entry>,
    /// Bytes of all files.
    pub bytes: u64,
    /// The newest time.
    pub newest: u64,
}

/// The stack so far.
#[derive(Debug)]
pub struct Merge {
    whiteouts: bool,
    layer: u32,
    ordinal: u32,
    root: Meta,
    names: BTreeMap<Vec<u8>, Name>,
    nodes: Vec<Node>,
    /// What this layer's whiteouts have removed already.
    removed: BTreeSet<Vec<u8>>,
    /// Entries of this layer, if it may have whiteouts.
    waiting: Vec<Item>,
    waiting_bytes: usize,
    kept_bytes: usize,
    content: u64,
}

#[derive(Debug, Clone, Copy)]
struct Name {
    node: usize,
    layer: u32,
}

#[derive(Debug)]
enum Node {
    Folder(Meta),
    File { place: Place, size: u64, mtime: u64 },
    Other(Kind, Meta),
}

impl Merge {
    /// No layer yet; `whiteouts` says whether the names `.wh.*` mean something.
    #[must_use]
    pub fn new(whiteouts: bool) -> Self {
        Self {
            whiteouts,
            layer: 0,
            ordinal: 0,
            root: IMPLIED,
            names: BTreeMap::new(),
            nodes: Vec::new(),
            removed: BTreeSet::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            kept_bytes: 0,
            content: 0,
        }
    }

    /// Takes the next entry of this layer.
    ///
    /// # Errors
    /// See [`Refusal`]; the stack is of no use then.
    pub fn add(&mut self, item: Item) -> Result<(), Refusal> {
        if !self.whiteouts {
            return self.lay(item);
        }
        self.check_xattrs(&item.name, &item.meta)?;
        self.waiting_bytes += size_of::<Item>() + item.name.len() + xattr_bytes(&item.meta);
        if let Kind::Symlink { target } | Kind::Hardlink { to: target } = &item.kind {
            self.waiting_bytes += names::bytes(target).len();
        }
        if self.waiting_bytes > MAX_WAITING_BYTES {
            return Err(Refusal::TooMuch(shown(&item.name)));
        }
        self.waiting.push(item);
        Ok(())
    }

    /// Ends this layer: what follows lies over it.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn end_layer(&mut self) -> Result<(), Refusal> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        self.own_folders(&waiting)?;
        let is_whiteout = |item: &&Item| whiteout(&item.name).is_some();
        let mut hidden: Vec<&Item> = waiting.iter().filter(is_whiteout).collect();
        // A link that is hidden itself is not followed by those below its name.
        hidden.sort_by_key(|item| item.name.split(|byte| *byte == b'/').count());
        for item in hidden {
            self.white_out(&item.name)?;
        }
        for item in waiting {
            if is_whiteout(&&item) {
                self.ordinal = self.ordinal.saturating_add(1);
            } else {
                self.lay(item)?;
            }
        }
        self.layer += 1;
        self.ordinal = 0;
        self.removed.clear();
        Ok(())
    }

    fn lay(&mut self, item: Item) -> Result<(), Refusal> {
        let place = (self.layer, self.ordinal);
        self.ordinal = self.ordinal.saturating_add(1);
        let Item { name, kind, meta } = item;
        self.check_xattrs(&name, &meta)?;
        let bad = |why| Refusal::Name {
            name: shown(&name),
            why,
        };
        let parts = names::parts(&name).map_err(bad)?;
        let Some((last, parents)) = parts.split_last() else {
            if kind != Kind::Folder {
                return Err(Refusal::Root(shown(&name)));
            }
            self.keep(&name, xattr_bytes(&meta))?;
            self.root = meta;
            return Ok(());
        };
        let Some(parent) = self.resolve(&name, parents, true)? else {
            return Ok(());
        };
        let path = join(&parent, last);
        if path.len() > MAX_PATH_BYTES {
            return Err(bad(BadName::Long));
        }
        let node = match kind {
            Kind::Folder => {
                self.keep(&name, xattr_bytes(&meta))?;
                Node::Folder(meta)
            }
            Kind::File { size } => {
                self.content = self.content.saturating_add(size);
                let mtime = meta.mtime;
                Node::File { place, size, mtime }
            }
            Kind::Hardlink { to } => return self.hardlink(&name, path, names::bytes(&to)),
            Kind::Symlink { ref target } => {
                self.keep(&name, xattr_bytes(&meta) + names::bytes(target).len())?;
                if names::bytes(target).len() > MAX_PATH_BYTES {
                    return Err(bad(BadName::Long));
                }
                Node::Other(kind, meta)
            }
            Kind::Device { .. } | Kind::Fifo => {
                self.keep(&name, xattr_bytes(&meta))?;
                Node::Other(kind, meta)
            }
        };
        let folder_is_there = self.node(&path).is_some_and(is_folder);
        if !(folder_is_there && is_folder(&node)) {
            self.remove_below(&path, u32::MAX);
        }
        let node = self.new_node(node);
        self.put(&name, path, node)
    }

    /// What all of it comes to.
    #[must_use]
    pub fn plan(self) -> Plan {
        let root = Entry {
            path: PathBuf::new(),
            kind: Kind::Folder,
            meta: self.root,
        };
        let mut plan = Plan {
            newest: root.meta.mtime,
            folders: vec![root],
            files: BTreeMap::new(),
            others: Vec::new(),
            bytes: 0,
        };
        let mut first: BTreeMap<usize, PathBuf> = BTreeMap::new();
        let mut links = Vec::new();
        for (path, name) in self.names {
            let path = names::path(&path);
            let Some(node) = self.nodes.get(name.node) else {
                continue;
            };
            if let Some(to) = first.get(&name.node) {
                links.push((path, to.clone()));
                continue;
            }
            let entry = |kind: &Kind, meta: &Meta| Entry {
                path: path.clone(),
                kind: kind.clone(),
                meta: meta.clone(),
            };
            let mtime = match node {
                Node::Folder(meta) => {
                    plan.folders.push(entry(&Kind::Folder, meta));
                    meta.mtime
                }
                Node::File { place, size, mtime } => {
                    plan.files.insert(*place, path.clone());
                    plan.bytes = plan.bytes.saturating_add(*size);
                    *mtime
                }
                Node::Other(kind, meta) => {
                    plan.others.push(entry(kind, meta));
                    meta.mtime
                }
            };
            plan.newest = plan.newest.max(mtime);
            if !is_folder(node) {
                first.insert(name.node, path);
            }
        }
        plan.others
            .extend(links.into_iter().map(|(path, to)| Entry {
                path,
                kind: Kind::Hardlink { to },
                meta: IMPLIED,
            }));
        plan
    }

    fn hardlink(&mut self, name: &[u8], path: Vec<u8>, to: &[u8]) -> Result<(), Refusal> {
        let refused = |why| Refusal::Hardlink {
            name: shown(name),
            to: shown(to),
            why,
        };
        let parts = names::parts(to).map_err(|_| refused("no file can be called"))?;
        let Some((last, parents)) = parts.split_last() else {
            return Err(refused("is the root"));
        };
        let parent = self.resolve(name, parents, false)?;
        let target = parent.map(|parent| join(&parent, last));
        let found = target.as_ref().and_then(|target| self.names.get(target));
        let Some(&Name { node, .. }) = found else {
            return Err(refused("is not there"));
        };
        if self.nodes.get(node).is_none_or(is_folder) {
            return Err(refused("is a folder"));
        }
        if target.as_ref() == Some(&path) {
            return Err(refused("is itself"));
        }
        self.remove_below(&path, u32::MAX);
        self.put(name, path, node)
    }

    /// Where a folder really is. Folders that are missing are made, or there is `None`.
    fn resolve(
        &mut self,
        name: &[u8],
        parents: &[&[u8]],
        make: bool,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let mut todo: VecDeque<Vec<u8>> = parents.iter().map(|part| part.to_vec()).collect();
        let mut at: Vec<u8> = Vec::new();
        let mut depth = 0;
        let mut links = 0;
        while let Some(part) = todo.pop_front() {
            if part == b".." {
                let up = at.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                at.truncate(up);
                continue;
            }
            let next = join(&at, &part);
            depth += 1;
            if next.len() > MAX_PATH_BYTES || depth > MAX_DEPTH * MAX_LINKS {
                let (name, why) = (shown(name), BadName::Long);
                return Err(Refusal::Name { name, why });
            }
            match self.node(&next) {
                Some(Node::Folder(_)) => at = next,
                Some(Node::Other(Kind::Symlink { target }, _)) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Refusal::Loop(shown(name)));
                    }
                    let target = names::bytes(target);
                    if target.starts_with(b"/") {
                        at.clear();
                    }
                    let parts = target.split(|byte| *byte == b'/').rev();
                    for part in parts.filter(|part| !matches!(*part, b"" | b".")) {
                        todo.push_front(part.to_vec());
                    }
                }
                Some(_) => {
                    return Err(Refusal::Through {
                        name: shown(name),
                        through: shown(&next),
                    });
                }
                None if make => {
                    let node = self.new_node(Node::Folder(IMPLIED));
                    self.put(name, next.clone(), node)?;
                    at = next;
                }
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    fn node(&self, path: &[u8]) -> Option<&Node> {
        let name = self.names.get(path)?;
        self.nodes.get(name.node)
    }

    fn new_node(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn put(&mut self, name: &[u8], path: Vec<u8>, node: usize) -> Result<(), Refusal> {
        self.keep(name, path.len())?;
        let layer = self.layer;
        self.names.insert(path, Name { node, layer });
        Ok(())
    }

    fn check_xattrs(&self, name: &[u8], meta: &Meta) -> Result<(), Refusal> {
        let large = |(key, value): &(&Vec<u8>, &Vec<u8>)| {
            key.len() > MAX_XATTR_NAME_BYTES || value.len() > MAX_XATTR_BYTES
        };
        match meta.xattrs.iter().find(large) {
            None => Ok(()),
            Some((key, value)) => Err(Refusal::Xattr {
                name: shown(name),
                bytes: value.len(),
                name_bytes: key.len(),
            }),
        }
    }

    fn keep(&mut self, name: &[u8], bytes: usize) -> Result<(), Refusal> {
        self.kept_bytes = self.kept_bytes.saturating_add(bytes);
        let fits = self.kept_bytes <= MAX_KEPT_BYTES
            && self.nodes.len() <= MAX_ENTRIES
            && self.content <= MAX_CONTENT_BYTES;
        if fits {
            Ok(())
        } else {
            Err(Refusal::TooMuch(shown(name)))
        }
    }
}

fn is_folder(node: &Node) -> bool {
    matches!(node, Node::Folder(_))
}

/// All below a folder; all there is below the root.
fn inside<'a>(
    names: &'a BTreeMap<Vec<u8>, Name>,
    path: &[u8],
) -> impl Iterator<Item = (&'a Vec<u8>, &'a Name)> {
    let mut begin = path.to_vec();
    if !begin.is_empty() {
        begin.push(b'/');
    }
    names
        .range(begin.clone()..)
        .take_while(move |(path, _)| path.starts_with(&begin))
}

fn join(parent: &[u8], part: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        part.to_vec()
    } else {
        [parent, b"/", part].concat()
    }
}

fn xattr_bytes(meta: &Meta) -> usize {
    let pairs = meta.xattrs.iter();
    pairs.map(|(key, value)| key.len() + value.len()).sum()
}

#[cfg(test)]
mod tests;
