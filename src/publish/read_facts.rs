//! What the gate wants to know of an image's root, read from its tree. A shell: it reads, [`super::checks`] decides.

use ramboot_wire::TmpfsFolder;
use ramboot_wire::root::{INITS, MOUNT_POINTS, PAGE};
use ramboot_wire::tmpfs::{LISTS, MAX_LIST_BYTES, MAX_LISTS, chosen, lines};

use super::checks::{init, memory, system};
use crate::build::rules;
use crate::formats::elf::{self, HEAD_BYTES, Program};
use crate::formats::squashfs::tree::{Kind, Spot, Tree};

/// systemd has 100 KB, busybox 2 MB. What is beyond is not looked at.
const MAX_PROGRAM_BYTES: u64 = 4 * 1024 * 1024;
/// systemd has four.
const MAX_LIBRARIES: usize = 32;

/// What `/init` would start, and all that the kernel needs for it.
pub(super) fn init(tree: &Tree) -> init::Facts {
    let mut facts = init::Facts {
        candidates: INITS.into_iter().map(|path| step(tree, path)).collect(),
        ..init::Facts::default()
    };
    let mut program = facts.chosen().and_then(|step| step.program.clone());
    while let Some(needs) = program.take().and_then(needs) {
        if facts.then.len() == init::MAX_DEPTH {
            break;
        }
        let step = step(tree, &needs);
        program.clone_from(&step.program);
        facts.then.push(step);
    }
    facts.lacks = lacks(tree, &facts);
    facts
}

/// Libraries that nothing in the image has the name of. Of what is started first only: a script's shell, or init itself.
fn lacks(tree: &Tree, facts: &init::Facts) -> Vec<String> {
    let steps = facts.chosen().into_iter().chain(&facts.then);
    let mut dynamic = steps.filter(|step| {
        let program = step.program.as_ref();
        matches!(
            program,
            Some(Program::Elf {
                loader: Some(_),
                ..
            })
        )
    });
    let file = dynamic
        .next()
        .and_then(|step| tree.head(&step.path, MAX_PROGRAM_BYTES).ok()?);
    let mut libraries = elf::libraries(&file.unwrap_or_default());
    libraries.truncate(MAX_LIBRARIES);
    tree.strike_names(&mut libraries);
    libraries
}

/// The program that a program is started with.
fn needs(program: Program) -> Option<String> {
    match program {
        Program::Elf { loader, .. } => loader,
        Program::Script(by) => by.starts_with('/').then_some(by),
        Program::Other(_) => None,
    }
}

fn step(tree: &Tree, path: &str) -> init::Step {
    let spot = tree.look(path);
    let is_file = matches!(
        spot,
        Ok(Spot {
            kind: Kind::File(_),
            ..
        })
    );
    let program = is_file.then(|| match tree.head(path, HEAD_BYTES) {
        Ok(head) => elf::program(&head.unwrap_or_default()),
        Err(_) => Program::Other("a file that cannot be read"),
    });
    init::Step {
        path: path.to_owned(),
        link: link(tree, path),
        spot,
        program,
    }
}

/// Where the last part of a path leads, if that is a link itself; the folders before it may be links, too.
fn link(tree: &Tree, path: &str) -> Option<String> {
    let (folder, name) = path.rsplit_once('/')?;
    let folder = tree.look(folder).ok()?.path;
    let link = tree.link(folder.join(name).to_str()?)?;
    Some(link.display().to_string())
}

/// The rest of the root.
pub(super) fn system(tree: &Tree) -> system::Facts {
    let text = |path: &str| {
        let content = tree.head(path, system::MAX_TEXT_BYTES).ok().flatten();
        content.map(|content| String::from_utf8_lossy(&content).into_owned())
    };
    let is_key = |name: &String| name.starts_with("ssh_host_") && name.ends_with("_key");
    let is_folder = |path: &str| matches!(tree.look(path), Ok(spot) if spot.kind == Kind::Folder);
    let place = |path: &'static str| {
        let place = match tree.link(path) {
            Some(to) => system::Place::Link(to.display().to_string()),
            None if is_folder(path) || tree.look(path).is_err() => system::Place::Good,
            None => system::Place::File,
        };
        (path, place)
    };
    system::Facts {
        places: MOUNT_POINTS.into_iter().map(place).collect(),
        tmp: is_folder("/tmp"),
        fstab: text("/etc/fstab"),
        machine_id: text("/etc/machine-id"),
        initramfs: initramfs(tree),
        host_keys: tree.list("/etc/ssh").into_iter().filter(is_key).collect(),
    }
}

/// Folders on a worker's tmpfs, as `/init` will find them.
pub(super) fn tmpfs(tree: &Tree) -> memory::Tmpfs {
    let mut facts = memory::Tmpfs::default();
    let mut named = Vec::new();
    let mut lists = tree.list(LISTS);
    lists.retain(|name| !name.starts_with('.'));
    lists.truncate(MAX_LISTS);
    for name in lists {
        let path = format!("{LISTS}/{name}");
        let text = tree.head(&path, MAX_LIST_BYTES).ok().flatten();
        let text = text.unwrap_or_default();
        for line in lines(&String::from_utf8_lossy(&text)) {
            match line {
                Ok(folder) => named.push(folder),
                Err((line, why)) => facts.bad.push(format!("{path}: {line:?}: {why}")),
            }
        }
    }
    facts.folders = chosen(|path| tree.resolve(path).is_some(), named);
    let bytes = |folder: &TmpfsFolder| tree.bytes_below(folder.as_str(), PAGE);
    facts.bytes = facts.folders.iter().map(bytes).fold(0, u64::saturating_add);
    facts
}

/// Paths and bytes of initramfs for disks.
fn initramfs(tree: &Tree) -> Vec<(String, u64)> {
    let folders = rules::initramfs::FOLDERS.into_iter();
    let paths = folders.flat_map(|folder| {
        let names = tree.list(&format!("/{folder}"));
        names
            .into_iter()
            .map(move |name| format!("{folder}/{name}"))
    });
    paths
        .filter(|path| rules::initramfs::is_initramfs(path))
        .map(|path| format!("/{path}"))
        .filter(|path| tree.link(path).is_none())
        .filter_map(|path| Some((path.clone(), tree.size(&path)?)))
        .collect()
}
