//! Whether a kernel's modules are there, are its own, and are those that a worker's start needs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Check, Finding, error, fatal, fine, some_of, warning};
use crate::publish::modules::Plan;
use crate::publish::modules::index::Index;

/// Modules by the `vermagic` in them.
pub type Magics = BTreeMap<String, Vec<String>>;

/// What a worker's root is mounted with and the kernel does not have.
#[must_use]
pub fn root_needs(version: &str, lacking: &[&str]) -> Option<Finding> {
    if lacking.is_empty() {
        return None;
    }
    let sentence = format!(
        "the kernel has no {}, neither built in nor as a module; workers mount their root with it: take a kernel with \
         CONFIG_BLK_DEV_LOOP, CONFIG_SQUASHFS and CONFIG_OVERLAY_FS, or install all modules of {version}",
        lacking.join(" and no ")
    );
    Some(fatal(Check::Modules, &sentence))
}

/// Whether a running worker finds the modules of a kernel that was given beside the image, from this folder.
#[must_use]
pub fn of_a_worker(version: &str, folder: &Path, there: Option<&str>) -> Finding {
    match there {
        Some(there) => fine(
            Check::Modules,
            &format!("a running worker finds the modules of {version} in {there} of the image"),
        ),
        None => warning(
            Check::Modules,
            &format!(
                "the image has no /lib/modules/{version}: the initramfs has the modules that a start needs, and a running worker can load \
                 no other (no firewall, no file system, no sound); put them into the image: cp -a {} ROOT/lib/modules/",
                folder.display()
            ),
        ),
    }
}

/// Why workers cannot start the image before all of it is there, if that is known.
#[must_use]
pub fn streaming(version: &str, index: &Index) -> Option<Finding> {
    // Without modules.builtin it may be inside; a worker finds out.
    if crate::publish::modules::can_stream(index) || index.builtin.is_empty() {
        return None;
    }
    let sentence = format!(
        "the kernel {version} has no fuse, neither built in nor as a module: workers fetch all of the image before they start \
         it, also with mode = \"stream\"; take a kernel with CONFIG_FUSE_FS to stream it"
    );
    Some(fine(Check::Modules, &sentence))
}

/// Modules that modules.dep names and that are not there: `planned` are those that belong into the initramfs.
#[must_use]
pub fn holes(
    version: &str,
    index: &Index,
    planned: &Plan,
    there: &BTreeSet<String>,
) -> Vec<Finding> {
    let planned: BTreeSet<&String> = planned.files.iter().collect();
    let gone = index.modules.keys().filter(|path| !there.contains(*path));
    let (needed, others): (Vec<String>, Vec<String>) =
        gone.cloned().partition(|path| planned.contains(path));
    let name = |paths: &[String]| match paths {
        [one] => format!("modules.dep names {one}, which is not there"),
        many => format!(
            "modules.dep names {} modules that are not there ({})",
            many.len(),
            some_of(many)
        ),
    };
    let remedy = format!("run depmod -b ROOT {version} before the image is made, or put them back");
    let mut findings = Vec::new();
    if !needed.is_empty() {
        let sentence = format!(
            "{}, and belongs into the initramfs: {remedy}",
            name(&needed)
        );
        findings.push(fatal(Check::Modules, &sentence));
    }
    if !others.is_empty() {
        let sentence = format!(
            "{}; a running worker may miss them: {remedy}",
            name(&others)
        );
        findings.push(warning(Check::Modules, &sentence));
    }
    findings
}

/// Whether the modules of the initramfs were built for this kernel (kernel/module/version.c, same_magic): the first word
/// must be its version, but for modules that carry checksums of what they use.
#[must_use]
pub fn magic(version: &str, magics: &Magics) -> Option<Finding> {
    let of = |magic: &str| magic.split(' ').next().unwrap_or_default().to_owned();
    let foreign: Vec<(&String, &Vec<String>)> = magics
        .iter()
        .filter(|(magic, _)| of(magic) != version)
        .collect();
    let (magic, paths) = foreign.iter().max_by_key(|(_, paths)| paths.len())?;
    let count: usize = foreign.iter().map(|(_, paths)| paths.len()).sum();
    let all: usize = magics.values().map(Vec::len).sum();
    let first = paths.first().map(String::as_str).unwrap_or_default();
    let sentence = format!(
        "{count} of {all} modules are not for the kernel {version}: {first} is for {}; install the kernel's package again, or \
         build these modules for {version}",
        of(magic)
    );
    let by_checksum = foreign
        .iter()
        .all(|(magic, _)| magic.split(' ').any(|word| word == "modversions"));
    // Vendors' modules that are kept over updates are few.
    let few = count * 2 <= all;
    Some(if by_checksum && few {
        warning(Check::Modules, &sentence)
    } else {
        error(Check::Modules, &sentence)
    })
}

/// Whether there is a driver of any wired network card: in the initramfs, or in the kernel.
#[must_use]
pub fn cards(version: &str, index: &Index, plan: &Plan) -> Finding {
    let modules = plan
        .files
        .iter()
        .filter(|path| crate::publish::modules::is_card(path));
    let (modules, builtin) = (modules.count(), index.cards);
    if modules + builtin > 0 {
        let inside = match builtin {
            0 => String::new(),
            n => format!(", {n} built in"),
        };
        let sentence = format!("drivers of wired network cards: {modules} modules{inside}");
        return fine(Check::Network, &sentence);
    }
    let sentence = format!(
        "the kernel {version} has no driver of a wired network card, neither as a module nor built in: no worker could fetch \
         the image; install all of its modules and run depmod -b ROOT {version}"
    );
    if index.builtin.is_empty() {
        let sentence = format!("{sentence} (there is no modules.builtin, so one may be inside)");
        return warning(Check::Network, &sentence);
    }
    error(Check::Network, &sentence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::checks::Severity;
    use crate::publish::modules::Policy;
    use crate::publish::modules::index::Texts;

    const BUILTIN: &str = "kernel/loop.ko\nkernel/squashfs.ko\nkernel/overlay.ko\n";

    fn index(dep: &str, builtin: &str) -> (Index, Plan) {
        let texts = Texts {
            dep,
            builtin,
            ..Texts::default()
        };
        let index = Index::parse(&texts).expect("an index");
        let plan = crate::publish::modules::plan(&index, Policy::All).expect("a plan");
        (index, plan)
    }

    #[test]
    fn holes_stop_only_where_the_initramfs_has_them() {
        let dep = "kernel/drivers/net/ethernet/a.ko:\nkernel/sound/b.ko:\nkernel/sound/c.ko:\n";
        let (index, plan) = index(dep, BUILTIN);
        let there = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let (card, one) = ("kernel/drivers/net/ethernet/a.ko", "kernel/sound/b.ko");
        let severities = |names: &[&str]| -> Vec<Severity> {
            let found = holes("6.1", &index, &plan, &there(names));
            found.iter().map(|f| f.severity).collect()
        };
        assert_eq!(severities(&[card, one, "kernel/sound/c.ko"]), []);
        assert_eq!(severities(&[card, one]), [Severity::Warning]);
        assert_eq!(severities(&[one]), [Severity::Fatal, Severity::Warning]);
    }

    #[test]
    fn checksums_excuse_a_few_modules() {
        let magics = |rows: &[(&str, usize)]| -> Magics {
            let row = |&(magic, count): &(&str, usize)| {
                (magic.to_owned(), vec!["a.ko".to_owned(); count])
            };
            rows.iter().map(row).collect()
        };
        for (rows, want) in [
            (&[("6.1 SMP modversions ", 9)][..], None),
            (
                &[("6.1 SMP ", 9), ("6.0 SMP modversions ", 1)],
                Some(Severity::Warning),
            ),
            (&[("6.1 SMP ", 9), ("6.0 SMP ", 1)], Some(Severity::Error)),
            (&[("6.0 SMP modversions ", 9)], Some(Severity::Error)),
        ] {
            let found = magic("6.1", &magics(rows));
            assert_eq!(found.map(|f| f.severity), want, "{rows:?}");
        }
    }

    #[test]
    fn streaming_is_missed_only_where_that_is_known() {
        let fuse = "kernel/fs/fuse/fuse.ko";
        for (dep, builtin, missed) in [
            (String::new(), BUILTIN.to_owned(), true),
            (String::new(), format!("{BUILTIN}{fuse}\n"), false),
            (format!("{fuse}:\n"), BUILTIN.to_owned(), false),
        ] {
            let (index, _) = index(&dep, &builtin);
            assert_eq!(streaming("6.1", &index).is_some(), missed, "{dep}");
        }
        assert_eq!(streaming("6.1", &Index::default()), None);
    }

    #[test]
    fn a_card_may_be_built_in() {
        let card = "kernel/drivers/net/virtio_net.ko\n";
        for (dep, builtin, want) in [
            ("", format!("{BUILTIN}{card}"), Severity::Fine),
            ("", BUILTIN.to_owned(), Severity::Error),
            (
                "kernel/drivers/net/ethernet/intel/e1000/e1000.ko:\n",
                BUILTIN.to_owned(),
                Severity::Fine,
            ),
            (
                "kernel/drivers/net/phy/realtek.ko:\n",
                BUILTIN.to_owned(),
                Severity::Error,
            ),
        ] {
            let (index, plan) = index(dep, &builtin);
            assert_eq!(cards("6.1", &index, &plan).severity, want, "{dep}");
        }
    }
}
