//! Which kernel modules go into an initramfs, and in which order they can be loaded.
//!
//! Takes the text files that depmod writes; gives a [`Plan`]: modules with dependencies first, what is loaded always, and
//! the device aliases of exactly these modules. Pure. The files come out of an image somebody else made: a path that
//! leaves the folder, a dependency that is not there or a loop is refused by name.

pub mod elf;
pub mod index;
mod policy;

use std::collections::{BTreeMap, BTreeSet};

use index::Index;
pub use policy::{Policy, is_card};
use ramboot_wire::modules::{Module, ModuleTable};

/// As many as `/init` reads.
const MAX_MODULES: usize = 16_384;
/// A worker's root needs all three; nothing boots without.
const ROOT_NEEDS: [&str; 3] = ["loop", "squashfs", "overlay"];
/// A worker that streams reads its image through it; one whose kernel has none fetches all of it first.
const STREAM_NEEDS: &str = "fuse";

/// Why no initramfs can be made of these modules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KmodError {
    /// A line that depmod does not write.
    #[error("{file} line {line}: {what}")]
    Line {
        /// Which of the files.
        file: &'static str,
        /// 1-based.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// Modules need each other.
    #[error("modules.dep: {0} needs itself, by way of {1}")]
    Loop(String, String),
    /// The kernel cannot mount a worker's root.
    #[error(
        "the kernel has no {0}, neither built in nor as a module; workers mount their root with it"
    )]
    RootNeeds(&'static str),
    /// Too many.
    #[error("{0} modules would go into the initramfs; {MAX_MODULES} are possible")]
    TooMany(usize),
}

/// What goes into an initramfs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Paths as depmod has them (`….ko`, `….ko.xz`), in the order of the table's modules.
    pub files: Vec<String>,
    /// What `/init` reads.
    pub table: ModuleTable,
}

impl Plan {
    /// Whether the driver of this name is in the initramfs, or inside the kernel itself.
    #[must_use]
    pub fn has(&self, index: &Index, name: &str) -> bool {
        let plain = index::module_name(name);
        index.builtin.contains(&plain)
            || self
                .files
                .iter()
                .any(|path| index::module_name(path) == plain)
    }
}

/// What a worker mounts its root with and this kernel does not have.
#[must_use]
pub fn lacking(index: &Index) -> Vec<&'static str> {
    let lacks = |name: &&str| index.path_of(name).is_none() && !index.builtin.contains(*name);
    ROOT_NEEDS.into_iter().filter(lacks).collect()
}

/// Whether workers with this kernel can start an image before they have all of it.
#[must_use]
pub fn can_stream(index: &Index) -> bool {
    index.path_of(STREAM_NEEDS).is_some() || index.builtin.contains(STREAM_NEEDS)
}

/// Chooses modules for the machines that `policy` says, and puts them in order.
///
/// # Errors
/// See [`KmodError`].
pub fn plan(index: &Index, policy: Policy) -> Result<Plan, KmodError> {
    let mut wanted: BTreeSet<&str> = index
        .modules
        .keys()
        .map(String::as_str)
        .filter(|path| policy::is_wanted(policy, path))
        .collect();
    let mut always = Vec::new();
    for name in ROOT_NEEDS {
        match index.path_of(name) {
            Some(path) => always.push(path),
            None if index.builtin.contains(name) => {}
            None => return Err(KmodError::RootNeeds(name)),
        }
    }
    always.extend(index.path_of(STREAM_NEEDS));
    wanted.extend(&always);

    let needs = with_soft_needs(index, policy, &wanted);
    let order = sort(&needs, &wanted)?;
    if order.len() > MAX_MODULES {
        return Err(KmodError::TooMany(order.len()));
    }
    Ok(Plan {
        table: table(index, &needs, &order, &always),
        files: order.into_iter().map(str::to_owned).collect(),
    })
}

type Needs<'a> = BTreeMap<&'a str, Vec<&'a str>>;

/// All dependencies of `modules.dep`, and the `pre:` ones of `modules.softdep` for what is reached from `wanted`.
///
/// A soft dependency is a hint (r8169 works badly without its PHY driver `realtek`, which nothing else would load: there
/// is no modprobe in the initramfs). One that is not there, or would close a loop, is left out.
fn with_soft_needs<'a>(index: &'a Index, policy: Policy, wanted: &BTreeSet<&'a str>) -> Needs<'a> {
    let mut needs: Needs<'a> = index
        .modules
        .iter()
        .map(|(path, needs)| (path.as_str(), needs.iter().map(String::as_str).collect()))
        .collect();
    let mut seen: BTreeSet<&str> = wanted.clone();
    let mut pending: Vec<&str> = wanted.iter().copied().collect();
    while let Some(path) = pending.pop() {
        let ours = policy::loads_before(policy, &index::module_name(path));
        let ours = ours.iter().filter_map(|name| index.path_of(name));
        for soft in index.soft_needs(path).chain(ours) {
            let known = needs.get(path).is_some_and(|needs| needs.contains(&soft));
            if !known && !reaches(&needs, soft, path) {
                needs.entry(path).or_default().push(soft);
            }
        }
        let next = needs.get(path).into_iter().flatten().copied();
        pending.extend(next.filter(|next| seen.insert(next)));
    }
    needs
}

fn reaches(needs: &Needs<'_>, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut pending = vec![from];
    while let Some(path) = pending.pop() {
        if path == to {
            return true;
        }
        let next = needs.get(path).into_iter().flatten().copied();
        pending.extend(next.filter(|next| seen.insert(next)));
    }
    false
}

/// `wanted` and all it needs, dependencies first: depth first without recursion, each module entered once.
fn sort<'a>(needs: &Needs<'a>, wanted: &BTreeSet<&'a str>) -> Result<Vec<&'a str>, KmodError> {
    let mut order = Vec::new();
    let mut done = BTreeSet::new();
    let mut open = BTreeSet::new();
    for &start in wanted {
        let mut stack = vec![(start, 0)];
        while let Some((path, next)) = stack.pop() {
            if next == 0 && (done.contains(path) || !open.insert(path)) {
                continue;
            }
            let Some(&need) = needs.get(path).and_then(|needs| needs.get(next)) else {
                open.remove(path);
                done.insert(path);
                order.push(path);
                continue;
            };
            if open.contains(need) {
                return Err(KmodError::Loop(need.to_owned(), path.to_owned()));
            }
            stack.push((path, next + 1));
            stack.push((need, 0));
        }
    }
    Ok(order)
}

fn table(index: &Index, needs: &Needs<'_>, order: &[&str], always: &[&str]) -> ModuleTable {
    let numbers: BTreeMap<&str, usize> = order.iter().copied().zip(0..).collect();
    let modules = order.iter().map(|path| {
        let needs = needs.get(path).into_iter().flatten();
        let mut needs: Vec<usize> = needs.map(|need| numbers[need]).collect();
        needs.sort_unstable();
        needs.dedup();
        Module {
            path: index::uncompressed(path).to_owned(),
            needs,
        }
    });
    let names: BTreeMap<String, usize> = order
        .iter()
        .map(|path| (index::module_name(path), numbers[path]))
        .collect();
    let aliases = index.aliases.iter().filter_map(|(pattern, module)| {
        // Device aliases name a bus; the others (`fs-squashfs`, `net-pf-17`) are asked for by modprobe.
        let device = pattern.contains(':') && !pattern.starts_with("devname:");
        let number = *names.get(module)?;
        device.then(|| (pattern.clone(), number))
    });
    ModuleTable {
        modules: modules.collect(),
        always: always.iter().map(|path| numbers[path]).collect(),
        aliases: aliases.collect(),
    }
}

#[cfg(test)]
mod tests;
