//! What a layer removes of those below, and where it has folders of its own (image-spec: layer.md, "Whiteouts").

use std::collections::BTreeSet;

use super::{IMPLIED, Merge, Node, Refusal, inside, is_folder, join};
use crate::build::entry::Kind;
use crate::build::names::{self, BadName};
use crate::build::tar_read::{Item, shown};

/// What a whiteout hides; `None` if the name is of something else.
pub(super) fn whiteout(name: &[u8]) -> Option<&[u8]> {
    let trimmed = name.strip_suffix(b"/").unwrap_or(name);
    let last = trimmed.rsplit(|byte| *byte == b'/').next()?;
    last.strip_prefix(b".wh.")
}

/// Of the whiteout of a whole folder: `.wh..wh..opq`.
const OPAQUE: &[u8] = b".wh..opq";

impl Merge {
    /// Where a lower layer has a link or a file and this one a folder, the folder is there first: what lies in it must not go
    /// through the link.
    pub(super) fn own_folders(&mut self, items: &[Item]) -> Result<(), Refusal> {
        let mut folders: BTreeSet<(usize, Vec<Vec<u8>>)> = BTreeSet::new();
        for item in items {
            let Ok(mut parts) = names::parts(&item.name) else {
                continue;
            };
            match whiteout(&item.name) {
                Some(OPAQUE) => drop(parts.pop()),
                None if item.kind == Kind::Folder => {}
                _ => continue,
            }
            let parts = parts.into_iter().map(<[u8]>::to_vec);
            let parts: Vec<Vec<u8>> = parts.collect();
            folders.insert((parts.len(), parts));
        }
        for (_, parts) in folders {
            let Some((last, parents)) = parts.split_last() else {
                continue;
            };
            let name = parts.join(&b'/');
            let parents: Vec<&[u8]> = parents.iter().map(Vec::as_slice).collect();
            // What stands in the way is refused where its entry is laid.
            let Ok(Some(parent)) = self.resolve(&name, &parents, false) else {
                continue;
            };
            let path = join(&parent, last);
            if self.node(&path).is_some_and(|node| !is_folder(node)) {
                let node = self.new_node(Node::Folder(IMPLIED));
                self.put(&name, path, node)?;
            }
        }
        Ok(())
    }

    pub(super) fn white_out(&mut self, name: &[u8]) -> Result<(), Refusal> {
        let bad = |why| Refusal::Name {
            name: shown(name),
            why,
        };
        let parts = names::parts(name).map_err(bad)?;
        let Some((last, parents)) = parts.split_last() else {
            return Ok(());
        };
        let hidden = last.strip_prefix(b".wh.").unwrap_or_default();
        if matches!(hidden, b"" | b"." | b"..") {
            let (name, why) = (shown(name), BadName::Parent);
            return Err(Refusal::Name { name, why });
        }
        let Some(parent) = self.resolve(name, parents, false)? else {
            return Ok(());
        };
        if hidden == OPAQUE {
            self.remove_inside(&parent, self.layer);
        } else if !hidden.starts_with(b".wh.") {
            // Others that begin so are aufs's own (layer.md: reserved).
            self.remove_below(&join(&parent, hidden), self.layer);
        }
        Ok(())
    }

    /// Removes what stands at a path and below, if it is of a layer under `layer`. A folder stays, as one that nobody
    /// described, when something in it does.
    pub(super) fn remove_below(&mut self, path: &[u8], layer: u32) {
        self.remove_inside(path, layer);
        let Some(name) = self
            .names
            .get(path)
            .copied()
            .filter(|name| name.layer < layer)
        else {
            return;
        };
        if inside(&self.names, path).next().is_none() {
            self.names.remove(path);
        } else if let Some(node) = self.nodes.get_mut(name.node) {
            *node = Node::Folder(IMPLIED);
        }
    }

    fn remove_inside(&mut self, path: &[u8], layer: u32) {
        // What one whiteout has removed the same layer cannot bring back as a lower one's: a second need not look.
        if layer == self.layer && !self.removed.insert(path.to_vec()) {
            return;
        }
        let doomed = inside(&self.names, path).filter(|(_, name)| name.layer < layer);
        let mut doomed: Vec<Vec<u8>> = doomed.map(|(path, _)| path.clone()).collect();
        // Deepest first, so that a folder is seen to be empty.
        doomed.reverse();
        for path in doomed {
            let node = self.names.get(&path).map(|name| name.node);
            if inside(&self.names, &path).next().is_none() {
                self.names.remove(&path);
            } else if let Some(node) = node.and_then(|node| self.nodes.get_mut(node)) {
                *node = Node::Folder(IMPLIED);
            }
        }
    }
}
