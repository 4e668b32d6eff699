//! What other readers make of the same images: ext4-view and fatfs, as far as they tell.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use ext4_view::Ext4;
use fatfs::{FileSystem, FsOptions};

/// Kind, permissions, owner, time, and content or where a link leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: char,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: i64,
    pub(crate) content: Vec<u8>,
}

/// All of an ext2, ext3 or ext4, by path, but the root, what is in `lost+found`, and `but`.
pub(crate) fn ext(image: &Path, but: &[&str]) -> BTreeMap<PathBuf, Seen> {
    let system = Ext4::load_from_path(image).expect("a file system");
    let mut seen = BTreeMap::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in system.read_dir(&format!("{folder}/")).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = entry.file_name();
            let name = name.as_str().expect("a name in UTF-8");
            if [".", "..", "lost+found"].contains(&name) || but.contains(&name) {
                continue;
            }
            let path = format!("{folder}/{name}");
            let facts = system.symlink_metadata(&path).expect("its facts");
            let kind = facts.file_type();
            let (kind, content) = if kind.is_dir() {
                folders.push(path.clone());
                ('d', Vec::new())
            } else if kind.is_symlink() {
                let target = system.read_link(&path).expect("a link");
                ('l', target.to_str().expect("UTF-8").as_bytes().to_vec())
            } else if kind.is_regular_file() {
                ('f', system.read(&path).expect("a file"))
            } else if kind.is_socket() {
                continue;
            } else {
                let kinds = [(kind.is_char_dev(), 'c'), (kind.is_block_dev(), 'b')];
                let device = kinds.iter().find(|(is, _)| *is);
                (device.map_or('p', |(_, kind)| *kind), Vec::new())
            };
            let of = Seen {
                kind,
                mode: u32::from(facts.mode()) & 0o7777,
                owner: (facts.uid(), facts.gid()),
                mtime: facts.modified().seconds(),
                content,
            };
            seen.insert(PathBuf::from(path.trim_start_matches('/')), of);
        }
    }
    seen
}

/// All files of a FAT, by path, and folders with `None`.
pub(crate) fn fat(image: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let bytes = Cursor::new(std::fs::read(image).expect("an image"));
    let system = FileSystem::new(bytes, FsOptions::new()).expect("a file system");
    let mut seen = BTreeMap::new();
    let mut folders = vec![(PathBuf::new(), system.root_dir())];
    while let Some((at, folder)) = folders.pop() {
        for entry in folder.iter() {
            let entry = entry.expect("an entry");
            let name = entry.file_name();
            if name == "." || name == ".." {
                continue;
            }
            let path = at.join(name);
            if entry.is_dir() {
                folders.push((path.clone(), entry.to_dir()));
                seen.insert(path, None);
            } else {
                let mut content = Vec::new();
                let mut file = entry.to_file();
                file.read_to_end(&mut content).expect("its content");
                seen.insert(path, Some(content));
            }
        }
    }
    seen
}
