//! A store, the images that are published into it, and what must be true of it after anything.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ramboot::store::{Generation, Name, Store};

use crate::manager::Manager;
use crate::small_image::{BUILTIN, DEP, VERSION, bzimage, debian_like, module, squashfs};
use crate::strace::{self, Ended, Fault, Step};

/// More than two of the runs that `publish` reads and writes at a time, so that there is a first, a middle and a last.
const PADDED_BYTES: usize = 9 << 20;

/// What is in the store before the publish that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Story {
    /// Another image under the same name.
    Update,
    /// No store yet.
    First,
    /// The same image with another kernel.
    Again,
}

/// What a machine boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Old,
    New,
}

/// A file's digest and permissions; of a folder only the latter.
type Files = BTreeMap<PathBuf, (Option<blake3::Hash>, u32)>;

pub(crate) struct Bench {
    pub(crate) story: Story,
    folder: tempfile::TempDir,
    publish: Vec<PathBuf>,
    /// Before anything went wrong.
    before: Files,
    old: Option<Generation>,
    manager: Manager,
    /// Sorts of leftovers that a publish has cleared already.
    cleared: BTreeSet<Vec<String>>,
}

impl Bench {
    pub(crate) fn new(story: Story) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // In RAM: the order of calls is tried here, not how long a disk takes to sync.
        mount_tmpfs(folder.path(), "size=256m");
        let state = folder.path().join("state");
        let [one, two] = images(folder.path());
        if story != Story::First {
            let done = plain(&command(&one, &state));
            assert_eq!(done.0, Some(0), "{}", done.1);
        }
        let publish = match story {
            Story::Update | Story::First => command(&two, &state),
            Story::Again => [command(&one, &state), other_kernel(folder.path())].concat(),
        };
        Self {
            story,
            before: files(&state),
            old: current(&Store::open(&state).expect("opens")),
            manager: Manager::start(&state),
            publish,
            folder,
            cleared: BTreeSet::new(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The steps of a publish that works.
    pub(crate) fn steps(&mut self) -> Vec<Step> {
        let steps = strace::record(&self.publish, &self.path());
        assert_eq!(self.state("without a fault"), State::New);
        self.reset();
        steps
    }

    pub(crate) fn publish_with(&self, step: &Step, fault: Fault) -> Ended {
        strace::inject(&self.publish, &self.path(), step, fault)
    }

    /// Which state the store is in: for who opens it now, and for who has had it open and serves it. Any other panics.
    pub(crate) fn state(&self, what: &str) -> State {
        let now = files(&self.path());
        for (path, was) in &self.before {
            assert_eq!(now.get(path), Some(was), "{what}: {}", path.display());
        }
        for (path, (_, mode)) in &now {
            let visible = path.starts_with("images") || path.starts_with("names");
            assert!(
                !visible || mode & 0o444 == 0o444,
                "{what}: {} has mode {mode:o}",
                path.display()
            );
        }
        let store = Store::open(self.path()).expect("opens");
        let generation = current(&store);
        for entry in fs::read_dir(self.path().join("images"))
            .into_iter()
            .flatten()
        {
            let name = entry.expect("an entry").file_name();
            let id = name.to_str().and_then(|name| name.parse().ok());
            let image = store.image(id.unwrap_or_else(|| panic!("{what}: {name:?}")));
            let image = image.unwrap_or_else(|e| panic!("{what}: {e:#}"));
            assert!(image.is_some(), "{what}: {name:?}");
        }
        if let Some(generation) = &generation {
            check_whole(what, &store, generation);
        }
        let served = self.manager.boots().map(|(id, initrd)| {
            let (_, initrd) = initrd.rsplit_once('/').expect("a path");
            (id, initrd.to_owned())
        });
        let stored = generation
            .as_ref()
            .map(|g| (g.image, g.initrd.name.clone()));
        assert_eq!(served, stored, "{what}: served, stored");
        let old = self.old.as_ref().map_or(0, |old| old.number);
        match generation {
            generation if generation == self.old => State::Old,
            Some(new) if new.number == old + 1 => State::New,
            other => panic!("{what}: neither old nor new: {other:?}"),
        }
    }

    /// What dead publishers left.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let now = files(&self.path());
        let left = now.keys().filter(|path| {
            let in_cache = path.parent() == Some(Path::new("cache"));
            let hidden = path
                .file_name()
                .is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
            (path.starts_with("tmp") && *path != Path::new("tmp")) || (in_cache && hidden)
        });
        left.map(|path| {
            let random = |part: &OsStr| part.to_string_lossy().starts_with(".tmp");
            let parts = path.iter().map(|part| {
                if random(part) {
                    "*".into()
                } else {
                    part.to_string_lossy()
                }
            });
            parts.collect::<Vec<_>>().join("/")
        })
        .collect()
    }

    /// The next publish works whatever was left, and nothing is left after it. Then the store is made what it was.
    pub(crate) fn recover(&mut self, what: &str, state: State) {
        let mut left = self.leftovers();
        left.push(format!("{state:?} {}", files(&self.path()).len()));
        if self.cleared.insert(left) {
            let store = Store::open(self.path()).expect("opens");
            let before = current(&store).map_or(0, |generation| generation.number);
            let (code, stderr) = plain(&self.publish);
            assert_eq!(code, Some(0), "after {what}: {stderr}");
            let generation = current(&store).expect("published");
            assert_eq!(generation.number, before + 1, "after {what}");
            check_whole(what, &store, &generation);
            assert!(self.manager.boots().is_some(), "after {what}");
            assert_eq!(self.leftovers(), Vec::<String>::new(), "after {what}");
        }
        self.reset();
    }

    /// Removes what was not there before, while the machine does not look.
    fn reset(&mut self) {
        let machine = self
            .manager
            .asking
            .lock()
            .expect("the machine did not panic");
        for path in files(&self.path()).into_keys().rev() {
            if !self.before.contains_key(&path) {
                let path = self.path().join(path);
                let removed = if path.is_dir() {
                    fs::remove_dir(&path)
                } else {
                    fs::remove_file(&path)
                };
                removed.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            }
        }
        drop(machine);
    }

    pub(crate) fn end(self) {
        let (rounds, log) = self.manager.end();
        println!("{:?}: the machine asked {rounds} times", self.story);
        assert!(rounds > 20, "{rounds}");
        unmount(self.folder.path());
        let complaints: Vec<&String> = log
            .iter()
            .filter(|l| !l.contains("nothing to boot"))
            .collect();
        let complaints = complaints
            .iter()
            .filter(|l| l.contains("WARN") || l.contains("ERROR"));
        assert_eq!(complaints.count(), 0, "{log:#?}");
    }
}

/// What a person is told: exit code, one sentence with the folder and the remedy, numbers where a disk is full.
pub(crate) fn check_words(what: &str, step: &Step, fault: Fault, ended: &Ended, state: State) {
    let said = ended.stderr.lines().last().unwrap_or_default();
    if ended.code == Some(0) {
        // The cache is for the next time, and what cannot be removed now is removed then.
        let harmless = ["/cache", "/tmp/*/*", "unlink", "rmdir"];
        assert!(
            harmless.iter().any(|h| step.what.contains(h)),
            "{what}: {ended:?}"
        );
        assert_eq!(state, State::New, "{what}: {ended:?}");
        return;
    }
    assert_eq!(ended.code, Some(1), "{what}: {ended:?}");
    if step.takes_the_words() {
        return assert_eq!(state, State::Old, "{what}");
    }
    let begins = match fault {
        Fault::Io => "ramboot: a disk failed while publishing into ",
        Fault::NoSpace | Fault::Kill => "ramboot: no room in ",
    };
    assert!(said.starts_with(begins), "{what}: {said}");
    let named = ["/state/", "/state;", "/state:"]
        .iter()
        .any(|s| said.contains(s));
    assert!(named && said.contains("--state"), "{what}: {said}");
    if fault == Fault::NoSpace {
        assert!(
            said.contains("the image needs 9.4 MB") && said.contains("are free"),
            "{what}: {said}"
        );
    }
    let visible = said.contains("is there and machines boot it");
    assert_eq!(visible, state == State::New, "{what}: {said}");
}

/// Publishes to a disk of each kind until one is large enough; how many were not.
pub(crate) fn fill_disks(kinds: impl Iterator<Item = String>) -> usize {
    let folder = tempfile::tempdir().expect("a folder");
    let [one, two] = images(folder.path());
    for (kind, too_small) in kinds.zip(0..) {
        let disk = folder.path().join("disk");
        fs::create_dir_all(&disk).expect("made");
        mount_tmpfs(&disk, &kind);
        let state = disk.join("state");
        // The first image is there on disks that have room for one, so that a full disk has something to lose.
        let (first, said) = plain(&command(&one, &state));
        let store = Store::open(&state).expect("opens");
        let old = current(&store);
        assert_eq!(old.is_some(), first == Some(0), "{kind}: {said}");
        let (second, said) = if first == Some(0) {
            plain(&command(&two, &state))
        } else {
            (first, said)
        };
        let now = current(&store);
        if let Some(generation) = &now {
            check_whole(&kind, &store, generation);
        }
        let left: Vec<PathBuf> = files(&state.join("tmp")).into_keys().collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "{kind}");
        let enough = second == Some(0);
        if !enough {
            assert_eq!((second, &now), (Some(1), &old), "{kind}: {said}");
            let last = said.lines().last().unwrap_or_default();
            assert!(last.starts_with("ramboot: no room in "), "{kind}: {said}");
            let kind_said = if kind.starts_with("size") {
                "are free: remove"
            } else {
                "more files can be made (df -i)"
            };
            assert!(last.contains(kind_said), "{kind}: {said}");
        }
        drop(store);
        unmount(&disk);
        if enough {
            return too_small;
        }
    }
    unreachable!("no disk was large enough")
}

fn mount_tmpfs(folder: &Path, options: &str) {
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "tmpfs", "-o", options, "test"])
        .arg(folder);
    let done = mount.status().expect("mount(8) is installed");
    assert!(done.success(), "{options}: {done}");
}

fn unmount(folder: &Path) {
    let done = Command::new("umount").arg(folder).status();
    let done = done.expect("umount(8) is installed");
    assert!(done.success(), "{}: {done}", folder.display());
}

/// Two images of the same kernel with different modules.
fn images(folder: &Path) -> [PathBuf; 2] {
    [1, 2].map(|number| {
        let mut files = debian_like();
        for (_, content) in files.iter_mut().filter(|(path, _)| path.ends_with(".ko")) {
            content.push(number);
        }
        let mut image = squashfs(&files);
        image.resize(PADDED_BYTES, number);
        let path = folder.join(format!("image{number}.sqfs"));
        fs::write(&path, image).expect("written");
        path
    })
}

/// Options that publish an image with a kernel from beside it.
fn other_kernel(folder: &Path) -> Vec<PathBuf> {
    let modules = folder.join(VERSION);
    let put = |path: &str, content: &[u8]| {
        let path = modules.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, content).expect("written");
    };
    put("modules.dep", DEP.as_bytes());
    put("modules.builtin", BUILTIN.as_bytes());
    put(
        "kernel/drivers/net/ethernet/e1000.ko",
        &[module(62), vec![3]].concat(),
    );
    put("kernel/lib/needed.ko", &module(62));
    put("vmlinuz", &[bzimage(), vec![3]].concat());
    vec![
        "--kernel".into(),
        modules.join("vmlinuz"),
        "--modules".into(),
        modules,
    ]
}

fn command(image: &Path, state: &Path) -> Vec<PathBuf> {
    vec![
        env!("CARGO_BIN_EXE_ramboot").into(),
        "publish".into(),
        "--name=worker".into(),
        "--state".into(),
        state.to_owned(),
        image.to_owned(),
    ]
}

/// Runs a publish as it is; exit code and stderr.
fn plain(publish: &[PathBuf]) -> (Option<i32>, String) {
    let output = Command::new(&publish[0])
        .args(&publish[1..])
        .output()
        .expect("runs");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn current(store: &Store) -> Option<Generation> {
    let name: Name = "worker".parse().expect("a name");
    store.current(&name).expect("sound")
}

/// Everything a generation names is there and is what it is named after.
fn check_whole(what: &str, store: &Store, generation: &Generation) {
    let image = store.image(generation.image);
    let image = image
        .unwrap_or_else(|e| panic!("{what}: {e:#}"))
        .expect(what);
    assert_eq!(
        *blake3::hash(image.sqfs.as_ref()).as_bytes(),
        generation.image.0,
        "{what}"
    );
    for file in [&generation.kernel, &generation.initrd]
        .into_iter()
        .chain(&generation.stub)
    {
        let bytes = image.boot(&file.name);
        let bytes = bytes
            .unwrap_or_else(|e| panic!("{what}: {e:#}"))
            .expect(what);
        assert_eq!(bytes.len(), file.size, "{what}: {}", file.name);
    }
}

/// Everything below a folder, parents before what is in them.
fn files(root: &Path) -> Files {
    fn walk(root: &Path, folder: &Path, into: &mut Files) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            let metadata = fs::symlink_metadata(&path).expect("there");
            let digest = metadata
                .is_file()
                .then(|| blake3::hash(&fs::read(&path).expect("read")));
            let name = path.strip_prefix(root).expect("below").to_owned();
            into.insert(name, (digest, metadata.permissions().mode() & 0o7777));
            if metadata.is_dir() {
                walk(root, &path, into);
            }
        }
    }
    let mut files = Files::new();
    walk(root, root, &mut files);
    files
}
