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

use super::kernel::{Form, kernel_form};
use super::progress::Progress;
use super::source::Source;
use crate::kmod::index::Index;
use crate::pi::board::{BOARDS, only_upstream};
use crate::pi::config_txt::keep;
use crate::pi::files::{MAX_FILE_BYTES, is_wanted, pack};
use crate::squashfs::grouped;
use crate::squashfs::tree::Tree;
use crate::store::PiBoot;
use crate::store::commit::Staging;
use crate::{initrd, kmod};

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

/// What was found out about an image and Raspberry Pis.
#[derive(Default)]
pub(super) struct Outcome {
    /// `None` if no board can boot it.
    pub(super) boot: Option<PiBoot>,
    /// One for each board; none for an image that has nothing to do with Raspberry Pis.
    pub(super) verdicts: Vec<Verdict>,
}

/// Looks what boards can boot a kernel for aarch64, and makes what they boot.
pub(super) fn boot_files(
    tree: &Tree,
    source: &Source<'_>,
    index: &Index,
    base: &[u8],
    staging: &Staging,
    progress: &mut Progress,
) -> anyhow::Result<Outcome> {
    let files = collect(tree, &source.version)?;
    if files.is_empty() {
        // A server of another make: there is nothing to say about Pis.
        return Ok(Outcome::default());
    }
    let names: BTreeSet<&str> = files.keys().map(String::as_str).collect();
    let upstream = only_upstream(&names);
    let plan = kmod::plan(index, kmod::Policy::Pi)?;
    let form = kernel_form(&source.kernel);
    let mut verdicts: Vec<Verdict> = BOARDS
        .iter()
        .map(|board| {
            let checked = board.check(&names, |driver| plan.has(index, driver));
            let why_not = refuse_form(form, &source.path)
                .or_else(|| checked.err().map(|why| why.to_string()));
            Verdict {
                board: board.id,
                name: board.name,
                why_not,
            }
        })
        .collect();
    let boots = verdicts.iter().filter(|verdict| verdict.why_not.is_none());
    let boards: Vec<String> = boots.map(|verdict| verdict.board.to_owned()).collect();
    if boards.is_empty() {
        return Ok(Outcome {
            boot: None,
            verdicts,
        });
    }
    let config = config(tree, progress)?;
    let archive = pack(files)?;
    let modules = initrd::modules(&plan, source)?;
    let mut packed =
        super::compressed_modules(staging, &modules.archive, "Raspberry Pis", progress)?;
    packed.extend_from_slice(base);
    let kernel = gzipped(&source.kernel, form, staging, progress)?;
    if let Some(why) = too_large("kernel", &kernel).or_else(|| too_large("initramfs", &packed)) {
        for verdict in &mut verdicts {
            verdict.why_not.get_or_insert_with(|| why.clone());
        }
        return Ok(Outcome {
            boot: None,
            verdicts,
        });
    }
    let boot = PiBoot {
        files: staging.add_boot("pi", &archive)?,
        kernel: staging.add_boot("vmlinuz", &kernel)?,
        initrd: staging.add_boot("initrd", &packed)?,
        upstream,
        config,
        boards,
    };
    Ok(Outcome {
        boot: Some(boot),
        verdicts,
    })
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
    (content.len() > MAX_FILE_BYTES).then(|| {
        format!(
            "the {what} has {} bytes, but bootloaders of before 2025-09 load {}",
            grouped(content.len() as u64),
            grouped(MAX_FILE_BYTES as u64)
        )
    })
}

/// All files that firmware may ask for, by the name it does so.
///
/// Firmware comes from one folder, since start and fixup files are pairs; so do device trees, with the kernel if they
/// can, and overlays.
fn collect(tree: &Tree, version: &str) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
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
    let mut found = BTreeMap::new();
    take(tree, &firmware, "", |name| !is_tree(name), &mut found)?;
    take(tree, &trees, "", is_tree, &mut found)?;
    // README and the maps may be with the firmware while overlays are with the kernel.
    let is_overlay = |name: &str| name.ends_with(".dtbo");
    take(tree, &overlays, "overlays/", is_overlay, &mut found)?;
    take(
        tree,
        &overlays,
        "overlays/",
        |name| !is_overlay(name),
        &mut found,
    )?;
    Ok(found)
}

/// Reads what is wanted of the first folder that has any of it.
fn take(
    tree: &Tree,
    folders: &[String],
    prefix: &str,
    kind: impl Fn(&str) -> bool,
    into: &mut BTreeMap<String, Vec<u8>>,
) -> anyhow::Result<()> {
    for folder in folders {
        let mut taken = false;
        for file in tree.list(folder) {
            let name = format!("{prefix}{file}");
            if !kind(&name) || !is_wanted(&name) {
                continue;
            }
            let content = tree.read(&format!("{folder}/{file}"), MAX_FILE_BYTES as u64)?;
            if let Some(content) = content {
                into.insert(name, content);
                taken = true;
            }
        }
        if taken {
            return Ok(());
        }
    }
    Ok(())
}

fn config(tree: &Tree, progress: &Progress) -> anyhow::Result<Vec<String>> {
    for path in CONFIGS {
        if let Some(text) = tree.read(path, MAX_CONFIG_BYTES)? {
            let kept = keep(&text);
            kept.notes.iter().for_each(|note| progress.note(note));
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
