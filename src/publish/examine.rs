//! Everything that is found out about an image before anything of it becomes visible: what is made of it, and what the gate
//! says. A shell: it reads, [`super::checks`] and [`crate::publish::modules`] decide.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::bail;
use bytes::Bytes;
use ramboot_wire::root::PAGE;

use super::checks::compressor::Reads;
use super::checks::config::{Config, Value};
use super::checks::memory::Need;
use super::checks::{self, Check, Finding, Report};
use super::kernel::{NoKernel, kernel_arch};
use super::request::Request;
use super::source::Source;
use super::{pi, read_facts, stub};
use crate::formats::elf::Program;
use crate::formats::squashfs::tree::Tree;
use crate::publish::embedded_init;
use crate::publish::initrd::{self, Files};
use crate::publish::modules::index::Index;
use crate::publish::modules::{self, Policy};
use ramboot_wire::Arch;

/// Options of the kernel's parts that a root is mounted or streamed with, for kernels without modules.builtin.
const ROOT_OPTIONS: [(&str, &str); 4] = [
    ("loop", "BLK_DEV_LOOP"),
    ("squashfs", "SQUASHFS"),
    ("overlay", "OVERLAY_FS"),
    ("fuse", "FUSE_FS"),
];

/// What is known of an image.
pub(super) struct Examined<'a> {
    pub(super) report: Report,
    /// What it is booted with; `None` if nothing can be made of it, which the report says.
    pub(super) parts: Option<Parts<'a>>,
}

/// What is to be made boot files of.
pub(super) struct Parts<'a> {
    pub(super) source: Source<'a>,
    pub(super) arch: Arch,
    pub(super) modules: initrd::Modules,
    /// The archive that belongs to this `ramboot`, not compressed.
    pub(super) base: Vec<u8>,
    pub(super) stub: Option<stub::Found>,
    pub(super) pi: pi::Looked,
    pub(super) need: Need,
}

/// Looks at the whole image, of `bytes` bytes; `note` hears what a person may want to know and no check asks for.
///
/// # Errors
/// This program cannot do it for any image.
pub(super) fn examine<'a>(
    request: &Request,
    tree: &'a Tree,
    bytes: u64,
    note: &mut dyn FnMut(&str),
) -> anyhow::Result<Examined<'a>> {
    let init = read_facts::init(tree);
    let mut kernel = Kernel {
        script: matches!(
            init.chosen().and_then(|step| step.program.as_ref()),
            Some(Program::Script(_))
        ),
        ..Kernel::default()
    };
    let parts = kernel.examine(request, tree, bytes, note)?;
    let mut findings = checks::init::check(&init, kernel.arch, kernel.compat);
    findings.append(&mut kernel.findings);
    findings.extend(checks::system::check(&read_facts::system(tree)));
    let report = Report::new(findings);
    let parts = parts.filter(|_| !report.is_fatal());
    Ok(Examined { report, parts })
}

/// What is found out about the kernel and what belongs to it.
#[derive(Default)]
struct Kernel {
    findings: Vec<Finding>,
    script: bool,
    arch: Option<Arch>,
    /// It runs 32-bit programs.
    compat: Option<bool>,
}

impl Kernel {
    /// The value, or a fatal finding and nothing.
    fn or_fatal<T>(&mut self, check: Check, result: anyhow::Result<T>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        self.findings
            .push(checks::fatal(check, &format!("{error:#}")));
        None
    }

    fn examine<'a>(
        &mut self,
        request: &Request,
        tree: &'a Tree,
        bytes: u64,
        note: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Option<Parts<'a>>> {
        let source = match (&request.kernel, &request.modules) {
            (Some(kernel), Some(modules)) => Source::beside(tree, kernel, modules),
            _ => Source::in_image(tree, request.kernel_version.as_deref()),
        };
        let Some(source) = self.or_fatal(Check::Kernel, source) else {
            return Ok(None);
        };
        let arch = kernel_arch(&source.kernel);
        let unknown = || NoKernel::Unknown(source.path.clone()).into();
        let Some(arch) = self.or_fatal(Check::Kernel, arch.ok_or_else(unknown)) else {
            return Ok(None);
        };
        self.arch = Some(arch);
        let told = checks::kernel::told(&source.kernel);
        self.findings
            .push(checks::kernel::check(&source.path, &source.version, &told));
        self.findings.extend(checks::kernel::several(
            &source.version,
            source.instead_of.as_ref(),
        ));
        if let Some(folder) = source.folder() {
            let there = source.modules_in_image();
            let finding = checks::modules::of_a_worker(&source.version, folder, there.as_deref());
            self.findings.push(finding);
        }
        let Some(mut index) = self.or_fatal(Check::Modules, source.index()) else {
            return Ok(None);
        };
        let config = config(&source, &index, told.config);
        self.configured(&source, &mut index, config.as_ref(), tree);
        let Some(modules) = self.modules(&source, &index, arch) else {
            return Ok(None);
        };
        let Some(init) = embedded_init::init(arch) else {
            bail!(
                "this ramboot has no /init for {arch}: it was built without the Rust target for it"
            );
        };
        let base = initrd::base(init)?;
        let pi = match arch {
            Arch::Aarch64 => pi::look(tree, &source, &index),
            Arch::X86_64 => Ok(pi::Looked::default()),
        };
        let Some(pi) = self.or_fatal(Check::Pi, pi) else {
            return Ok(None);
        };
        self.findings.extend(checks::pi::check(&pi.facts));
        let tmpfs = read_facts::tmpfs(tree);
        self.findings.extend(checks::memory::folders(&tmpfs));
        let need = Need {
            image: bytes,
            tmpfs: tmpfs.bytes,
            initramfs: modules.held + (init.len() as u64).next_multiple_of(PAGE),
        };
        let least = request.min_ram;
        self.findings.push(checks::memory::check(need, least));
        Ok(Some(Parts {
            stub: self.stub(tree, arch, &source.kernel, &base, note),
            source,
            arch,
            modules,
            base,
            pi,
            need,
        }))
    }

    /// What the kernel was built with, as far as that can be found out.
    fn configured(
        &mut self,
        source: &Source<'_>,
        index: &mut Index,
        config: Option<&Config>,
        tree: &Tree,
    ) {
        let version = &source.version;
        let mut reads = None;
        if let Some(config) = config {
            let built_in = |(_, option): &&(&str, &str)| config.get(option) == Some(Value::Yes);
            let names = ROOT_OPTIONS.iter().filter(built_in);
            index
                .builtin
                .extend(names.map(|(name, _)| (*name).to_owned()));
            self.compat = match self.arch {
                Some(Arch::X86_64) => config.get("IA32_EMULATION"),
                _ => config.get("COMPAT"),
            }
            .map(|value| value == Value::Yes);
            self.findings
                .extend(checks::config::check(version, config, self.script));
            reads = Reads::by_config(config);
        }
        let filters = checks::compressor::filters(version, tree.xz_filters(), config);
        self.findings.extend(filters);
        let reads = reads.or_else(|| {
            let path = index.path_of("squashfs")?;
            let packed = source.module(path).ok()??;
            Reads::by_module(&initrd::unpacked(path, packed).ok()?)
        });
        let image = tree.superblock().compressor;
        self.findings
            .push(checks::compressor::check(version, image, reads.as_ref()));
    }

    /// What goes into the initramfs, if it can be made.
    fn modules(
        &mut self,
        source: &Source<'_>,
        index: &Index,
        arch: Arch,
    ) -> Option<initrd::Modules> {
        let version = &source.version;
        let lacking = modules::lacking(index);
        if let Some(finding) = checks::modules::root_needs(version, &lacking) {
            self.findings.push(finding);
            return None;
        }
        let plan = modules::plan(index, Policy::All).map_err(Into::into);
        let plan = self.or_fatal(Check::Modules, plan)?;
        self.findings
            .push(checks::modules::cards(version, index, &plan));
        self.findings
            .extend(checks::modules::streaming(version, index));
        let there: BTreeSet<String> = source.files(index);
        let holes = checks::modules::holes(version, index, &plan, &there);
        let fatal = holes
            .iter()
            .any(|hole| hole.severity == checks::Severity::Fatal);
        self.findings.extend(holes);
        if fatal {
            return None;
        }
        let modules = self.or_fatal(Check::Modules, initrd::modules(&plan, source))?;
        if let Some(of_modules) = modules.arch.filter(|&of_modules| of_modules != arch) {
            let why = NoKernel::Machines(source.path.clone(), arch, of_modules);
            self.findings
                .push(checks::error(Check::Modules, &why.to_string()));
        }
        match checks::modules::magic(version, &modules.magics) {
            Some(finding) => self.findings.push(finding),
            None => {
                let sentence = format!("{} for {version} go into the initramfs", modules.count);
                self.findings.push(checks::fine(Check::Modules, &sentence));
            }
        }
        if !modules.left_out.is_empty() {
            let sentence = format!(
                "firmware left out of the initramfs, which would become too large: {}",
                modules.left_out.join(" ")
            );
            self.findings
                .push(checks::warning(Check::Network, &sentence));
        }
        Some(modules)
    }

    /// The EFI stub, tried with an initramfs that has no modules: whether it fits does not depend on them.
    fn stub(
        &mut self,
        tree: &Tree,
        arch: Arch,
        kernel: &Bytes,
        base: &[u8],
        note: &mut dyn FnMut(&str),
    ) -> Option<stub::Found> {
        let mut said = |text: &str| {
            note(text);
            self.findings.push(checks::fine(Check::Uefi, text));
        };
        let base = Bytes::copy_from_slice(base);
        match stub::find(tree, Path::new("/"), arch, kernel, &base, &mut said) {
            Ok(found) => found,
            Err(error) => {
                let sentence = format!("{error:#}; take it out, or install systemd-boot-efi again");
                self.findings.push(checks::error(Check::Uefi, &sentence));
                None
            }
        }
    }
}

/// The kernel's .config: beside it, in its module `configs`, or inside.
fn config(source: &Source<'_>, index: &Index, inside: Option<Vec<u8>>) -> Option<Config> {
    if let Some((text, origin)) = source.config() {
        return Config::parse(&text, &origin);
    }
    let of_module = index.path_of("configs").and_then(|path| {
        let packed = source.module(path).ok()??;
        checks::kernel::ikconfig(&initrd::unpacked(path, packed).ok()?)
    });
    Config::parse(&of_module.or(inside)?, "the config inside the kernel")
}
