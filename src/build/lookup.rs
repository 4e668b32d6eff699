//! Where the parts of a container image lie: in a folder, or in a tar.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, ensure};

use super::entry::Kind;
use super::names;
use super::oci::Lookup;
use super::tar_read::{Reader, shown};
use super::unpack::Part;

/// Files of an archive that may be a container image.
const MAX_FILES: usize = 100_000;

/// A container image as a folder.
pub(super) struct InFolder<'a>(pub(super) &'a Path);

impl Lookup for InFolder<'_> {
    fn part(&self, path: &str) -> anyhow::Result<Option<Part>> {
        // docker save's manifest names paths; none leads out.
        let Ok(parts) = names::parts(path.as_bytes()) else {
            return Ok(None);
        };
        let full = self.0.join(names::path(&parts.join(&b'/')));
        if !full.is_file() {
            return Ok(None);
        }
        let file = File::open(&full).with_context(|| format!("opening {}", full.display()))?;
        Ok(Some(Part::whole(file)?))
    }
}

/// The same as a plain tar.
pub(super) struct InTar {
    archive: Part,
    files: BTreeMap<Vec<u8>, (u64, u64)>,
    /// Docker before 25 wrote a layer that came twice as a link.
    links: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl InTar {
    pub(super) fn read(archive: Part) -> anyhow::Result<Self> {
        let mut found = Self {
            archive: archive.clone(),
            files: BTreeMap::new(),
            links: BTreeMap::new(),
        };
        let mut reader = Reader::new(archive.clone().unpacked()?);
        while let Some(item) = reader.next_item()? {
            let Ok(parts) = names::parts(&item.name) else {
                continue;
            };
            let path = parts.join(&b'/');
            match item.kind {
                Kind::File { size } if reader.is_plain() => {
                    found.files.insert(path, (reader.position(), size));
                }
                Kind::Symlink { target } => {
                    found.links.insert(path, names::bytes(&target).to_vec());
                }
                Kind::Hardlink { to } => {
                    let to = names::parts(names::bytes(&to)).unwrap_or_default();
                    found
                        .links
                        .insert(path, [b"/", &to.join(&b'/')[..]].concat());
                }
                _ => {}
            }
            let count = found.files.len() + found.links.len();
            ensure!(
                count <= MAX_FILES,
                "more than {MAX_FILES} files in {}",
                shown(&item.name)
            );
        }
        Ok(found)
    }
}

impl Lookup for InTar {
    fn part(&self, path: &str) -> anyhow::Result<Option<Part>> {
        let Ok(parts) = names::parts(path.as_bytes()) else {
            return Ok(None);
        };
        let path = parts.join(&b'/');
        let target = self.links.get(&path).map(|target| beside(&path, target));
        let found = self.files.get(&target.unwrap_or(path));
        Ok(found.map(|(at, length)| Part {
            file: self.archive.file.clone(),
            at: self.archive.at + at,
            length: *length,
        }))
    }
}

/// Where a link leads.
fn beside(path: &[u8], target: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = match target.first() {
        Some(b'/') => Vec::new(),
        _ => path.split(|byte| *byte == b'/').collect(),
    };
    parts.pop();
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_beside_itself() {
        for (path, target, want) in [
            ("a/layer.tar", "../b/layer.tar", "b/layer.tar"),
            ("a/layer.tar", "/b/layer.tar", "b/layer.tar"),
            ("layer.tar", "other.tar", "other.tar"),
            ("a", "../../../b", "b"),
        ] {
            assert_eq!(beside(path.as_bytes(), target.as_bytes()), want.as_bytes());
        }
    }
}
