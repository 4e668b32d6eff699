//! What Raspberry Pis need of an image besides its modules: firmware, device trees, overlays, config.txt and a kernel in
//! a form that firmware loads. A shell around [`crate::pi`]: it finds and reads.
//!
//! Three layouts are known: a boot partition's content in /boot/firmware or /boot; Debian's and Raspberry Pi OS's packages,
//! which keep firmware in /usr/lib/raspi-firmware and device trees in /usr/lib/linux-image-VERSION; and Ubuntu's, which
//! keep it in /usr/lib/linux-firmware-raspi and them in /lib/firmware/VERSION.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use anyhow::Context;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::boot::compressed_modules;
use super::checks::pi::Facts;
use super::kernel::{Form, kernel_form};
use super::source::Source;
use crate::formats::squashfs::grouped;
use crate::formats::squashfs::tree::Tree;
use crate::host::progress::Progress;
use crate::pi::board::{BOARDS, only_upstream};
use crate::pi::config_txt::keep;
use crate::pi::files::{MAX_FILE_BYTES, is_wanted, pack};
use crate::publish::modules::index::Index;
use crate::publish::{initrd, modules};
use crate::store::PiBoot;
use crate::store::commit::Staging;

/// A megabyte less than with 1 is worth a second, once for each kernel.
const LEVEL: u32 = 6;
const MAX_CONFIG_BYTES: u64 = 64 * 1024;
const FIRMWARE_FOLDERS: [&str; 4] = [
    "/boot/firmware",
    "/boot",
    "/usr/lib/raspi-firmware",
    "/usr/lib/linux-firmware-raspi",
];
const CONFIGS: [&str; 2] = ["/boot/firmware/config.txt", "/boot/config.txt"];

/// What an image is to one kind of board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// `4b`
    pub board: &'static str,
    /// `Pi 4B`
    pub name: &'static str,
    /// What is missing; `None` if it boots.
    pub why_not: Option<String>,
}

/// What was found out about an image and Raspberry Pis; nothing for an image that has nothing to do with them.
#[derive(Default)]
pub(super) struct Looked {
    pub(super) facts: Facts,
    /// What boards are given; `None` if none can boot it.
    give: Option<Give>,
}

/// What is made boot files of.
struct Give {
    files: Vec<u8>,
    modules: initrd::Modules,
    form: Option<Form>,
    upstream: bool,
    config: Vec<String>,
}

/// What was made for them.
#[derive(Default)]
pub(super) struct Outcome {
    /// `None` if no board can boot it.
    pub(super) boot: Option<PiBoot>,
    /// One for each board; none for an image that has nothing to do with Raspberry Pis.
    pub(super) verdicts: Vec<Verdict>,
}

/// Looks what boards can boot a kernel for aarch64.
pub(super) fn look(tree: &Tree, source: &Source<'_>, index: &Index) -> anyhow::Result<Looked> {
    let mut facts = Facts::default();
    let files = collect(tree, &source.version, &mut facts)?;
    if files.is_empty() {
        // A server of another make: there is nothing to say about Pis.
        let give = None;
        return Ok(Looked { facts, give });
    }
    let names: BTreeSet<&str> = files.keys().map(String::as_str).collect();
    facts.firmware = names
        .iter()
        .any(|name| !name.contains('/') && !name.ends_with(".dtb"));
    let upstream = only_upstream(&names);
    let plan = modules::plan(index, modules::Policy::Pi)?;
    let form = kernel_form(&source.kernel);
    let verdicts = BOARDS.iter().map(|board| {
        let checked = board.check(&names, |driver| plan.has(index, driver));
        Verdict {
            board: board.id,
            name: board.name,
            why_not: refuse_form(form, &source.path)
                .or_else(|| checked.err().map(|why| why.to_string())),
        }
    });
    facts.verdicts = verdicts.collect();
    let mut give = None;
    if facts
        .verdicts
        .iter()
        .any(|verdict| verdict.why_not.is_none())
    {
        give = Some(Give {
            config: config(tree, &mut facts)?,
            files: pack(files)?,
            modules: initrd::modules(&plan, source)?,
            form,
            upstream,
        });
    }
    Ok(Looked { facts, give })
}

/// Makes what they boot.
pub(super) fn make(
    looked: Looked,
    source: &Source<'_>,
    base: &[u8],
    staging: &Staging,
    progress: &mut Progress,
) -> anyhow::Result<Outcome> {
    let mut verdicts = looked.facts.verdicts;
    let Some(give) = looked.give else {
        let boot = None;
        return Ok(Outcome { boot, verdicts });
    };
    let archive = &give.modules.archive;
    let mut packed = compressed_modules(staging, archive, "Raspberry Pis", progress)?;
    packed.extend_from_slice(base);
    let kernel = gzipped(&source.kernel, give.form, staging, progress)?;
    if let Some(why) =
        too_large("the kernel", &kernel).or_else(|| too_large("the initramfs", &packed))
    {
        for verdict in &mut verdicts {
            verdict.why_not.get_or_insert_with(|| why.clone());
        }
        let boot = None;
        return Ok(Outcome { boot, verdicts });
    }
    let boots = verdicts.iter().filter(|verdict| verdict.why_not.is_none());
    let boot = PiBoot {
        files: staging.add_boot("pi", &give.files)?,
        kernel: staging.add_boot("vmlinuz", &kernel)?,
        initrd: staging.add_boot("initrd", &packed)?,
        upstream: give.upstream,
        config: give.config,
        boards: boots.map(|verdict| verdict.board.to_owned()).collect(),
    };
    let boot = Some(boot);
    Ok(Outcome { boot, verdicts })
}

/// Firmware unpacks gzip and nothing else, on all boards.
fn refuse_form(form: Option<Form>, path: &str) -> Option<String> {
    match form {
        Some(Form::Image | Form::Gzip) => None,
        Some(Form::Zboot) => Some(format!(
            "{path} is an EFI zboot kernel, which its firmware cannot unpack: an Image, plain or under gzip, is wanted"
        )),
        Some(Form::BzImage) | None => Some(format!("{path} is no kernel for aarch64")),
    }
}

fn too_large(what: &str, content: &[u8]) -> Option<String> {
    (content.len() > MAX_FILE_BYTES).then(|| beyond(what, content.len() as u64))
}

/// All files that firmware may ask for, by the name it does so.
///
/// Firmware comes from one folder, since start and fixup files are pairs; so do device trees, with the kernel if they
/// can, and overlays.
fn collect(
    tree: &Tree,
    version: &str,
    facts: &mut Facts,
) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let trees = [
        format!("/usr/lib/linux-image-{version}/broadcom"),
        format!("/lib/firmware/{version}/device-tree/broadcom"),
        format!("/usr/lib/firmware/{version}/device-tree/broadcom"),
        format!("/boot/dtbs/{version}/broadcom"),
        "/boot/dtbs/broadcom".to_owned(),
    ];
    let overlays = [
        format!("/usr/lib/linux-image-{version}/overlays"),
        format!("/lib/firmware/{version}/device-tree/overlays"),
        format!("/usr/lib/firmware/{version}/device-tree/overlays"),
        "/boot/firmware/overlays".to_owned(),
        "/boot/overlays".to_owned(),
        "/usr/lib/raspi-firmware/overlays".to_owned(),
    ];
    let firmware = FIRMWARE_FOLDERS.map(str::to_owned);
    let is_tree = |name: &str| name.ends_with(".dtb");
    let trees = [&trees[..], &firmware].concat();
    // README and the maps may be with the firmware while overlays are with the kernel.
    let is_overlay = |name: &str| name.ends_with(".dtbo");
    let mut found = BTreeMap::new();
    let mut take = |folders: &[String], prefix, kind: &dyn Fn(&str) -> bool| {
        take(tree, folders, prefix, kind, &mut found, facts)
    };
    take(&firmware, "", &|name| !is_tree(name))?;
    take(&trees, "", &is_tree)?;
    take(&overlays, "overlays/", &is_overlay)?;
    take(&overlays, "overlays/", &|name| !is_overlay(name))?;
    Ok(found)
}

/// Reads what is wanted of the first folder that has any of it.
fn take(
    tree: &Tree,
    folders: &[String],
    prefix: &str,
    kind: &dyn Fn(&str) -> bool,
    into: &mut BTreeMap<String, Vec<u8>>,
    facts: &mut Facts,
) -> anyhow::Result<()> {
    for folder in folders {
        let mut taken = false;
        let mut strange = Vec::new();
        for file in tree.list(folder) {
            let name = format!("{prefix}{file}");
            if !kind(&name) {
                continue;
            }
            if !is_wanted(&name) {
                strange.extend(is_strange(&name).then(|| format!("{folder}/{file}")));
                continue;
            }
            let path = format!("{folder}/{file}");
            match tree.size(&path) {
                Some(bytes) if bytes > MAX_FILE_BYTES as u64 => {
                    facts
                        .unfit
                        .push(format!("{}; take another or none", beyond(&path, bytes)));
                }
                Some(_) => {
                    if let Some(content) = tree.read(&path, MAX_FILE_BYTES as u64)? {
                        into.insert(name, content);
                        taken = true;
                    }
                }
                None => {}
            }
        }
        if taken {
            facts.strange.append(&mut strange);
            return Ok(());
        }
    }
    Ok(())
}

/// Whether somebody meant firmware to load it, and it cannot ask for a file of this name.
fn is_strange(name: &str) -> bool {
    let ending = [".dtbo", ".elf", ".dat"];
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_+/".contains(&b);
    ending.iter().any(|ending| name.ends_with(ending)) && !name.bytes().all(plain)
}

fn beyond(what: &str, bytes: u64) -> String {
    format!(
        "{what} has {} bytes, but bootloaders of before 2025-09 load {}",
        grouped(bytes),
        grouped(MAX_FILE_BYTES as u64)
    )
}

fn config(tree: &Tree, facts: &mut Facts) -> anyhow::Result<Vec<String>> {
    for path in CONFIGS {
        if let Some(text) = tree.read(path, MAX_CONFIG_BYTES)? {
            let kept = keep(&text);
            facts.config = kept.notes;
            return Ok(kept.lines);
        }
    }
    Ok(Vec::new())
}

/// The kernel under gzip. Debian's is 33 MB without, which a Pi 4 loads in ten seconds and more.
fn gzipped<'a>(
    kernel: &'a [u8],
    form: Option<Form>,
    staging: &Staging,
    progress: &mut Progress,
) -> anyhow::Result<Cow<'a, [u8]>> {
    if form == Some(Form::Gzip) {
        return Ok(Cow::Borrowed(kernel));
    }
    let mut inputs = blake3::Hasher::new();
    inputs
        .update(format!("gzip {LEVEL}").as_bytes())
        .update(kernel);
    let entry = staging.cached("kernel", &inputs.finalize());
    if let Some(packed) = entry.get() {
        return Ok(Cow::Owned(packed));
    }
    progress.step("compressing a kernel that is new here, for Raspberry Pis");
    // No name and no time in its header: the same kernel gives the same file.
    let mut packer = GzEncoder::new(Vec::new(), Compression::new(LEVEL));
    packer.write_all(kernel).context("compressing the kernel")?;
    let packed = packer.finish().context("compressing the kernel")?;
    if let Err(e) = entry.put(&packed) {
        progress.note(&format!(
            "the compressed kernel is not kept for next time: {e}"
        ));
    }
    Ok(Cow::Owned(packed))
}

/// For the summary: boards that boot it on one line, and a line for each reason why others do not.
pub(super) fn lines(verdicts: &[Verdict]) -> String {
    if verdicts.is_empty() {
        return String::new();
    }
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut boots = Vec::new();
    for verdict in verdicts {
        let Some(why) = verdict.why_not.as_deref() else {
            boots.push(verdict.name);
            continue;
        };
        match reasons.iter_mut().find(|(reason, _)| *reason == why) {
            Some((_, names)) => names.push(verdict.name),
            None => reasons.push((why, vec![verdict.name])),
        }
    }
    let boots = if boots.is_empty() {
        "none can boot it".to_owned()
    } else {
        boots.join(", ")
    };
    let mut text = format!("  Raspberry  {boots}\n");
    for (why, names) in reasons {
        text.push_str(&format!("             not {}: {why}\n", names.join(", ")));
    }
    text
}
