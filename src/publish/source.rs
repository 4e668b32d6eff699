//! Where a kernel and its modules come from: the image, or files beside it. A shell: it finds and reads, [`choose`] decides.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;

use super::checks;
use super::checks::config::MAX_CONFIG_BYTES;
use super::choose::{self, Candidate, Choice, Facts, Why};
use super::kernel::{Form, NoKernel, kernel_arch, kernel_form};
use crate::formats::squashfs::tree::Tree;
use crate::publish::initrd::Files;
use crate::publish::modules::index::{Index, MAX_INDEX_BYTES, Texts};

/// Debian's amd64 kernel has 8 MB, its arm64 one 33 MB, one with everything built in 60 MB.
const MAX_KERNEL_BYTES: u64 = 256 * 1024 * 1024;
/// Packed or not; see also what a module may have unpacked.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Where distributions keep modules. /lib is a link to usr/lib in most, and need not be there.
const MODULE_FOLDERS: [&str; 2] = ["/lib/modules", "/usr/lib/modules"];
/// Links to the kernel that is to be booted, as distributions keep them.
const LINKS: [&str; 5] = [
    "/vmlinuz",
    "/boot/vmlinuz",
    "/boot/Image",
    "/boot/bzImage",
    "/boot/kernel",
];
/// dpkg's list of what is installed; a large desktop has 5 MB.
const PACKAGES: &str = "/var/lib/dpkg/status";
const MAX_PACKAGES_BYTES: u64 = 32 * 1024 * 1024;
/// A bzImage's version lies in its first 64 KiB and a half (Documentation/arch/x86/boot.rst, kernel_version).
const KERNEL_HEAD_BYTES: u64 = 66 * 1024;
const FIRMWARE_FOLDERS: [&str; 2] = ["/lib/firmware", "/usr/lib/firmware"];

/// A kernel, and where its modules are.
pub(super) struct Source<'a> {
    pub(super) version: String,
    pub(super) kernel: Bytes,
    /// Where the kernel was: for messages.
    pub(super) path: String,
    modules: Modules,
    /// Where the kernel's .config may be: in the image, or on this machine.
    configs: Vec<PathBuf>,
    /// Kernels of the same release that it was taken instead of.
    pub(super) instead_of: Option<(Vec<String>, Why)>,
    tree: &'a Tree,
}

enum Modules {
    Image(String),
    Folder(PathBuf),
}

impl<'a> Source<'a> {
    /// The newest kernel in the image, or the one of this version.
    pub(super) fn in_image(tree: &'a Tree, wanted: Option<&str>) -> anyhow::Result<Self> {
        let facts = facts(tree, wanted);
        let Choice {
            path,
            version,
            instead_of,
        } = choose::choose(&facts)?;
        let folder = facts.base;
        let kernel = tree.read(&path, MAX_KERNEL_BYTES)?;
        // Alpine's vmlinuz-lts has a config-lts.
        let suffix = path
            .rsplit('/')
            .next()
            .and_then(|name| name.split_once('-'));
        let beside = suffix.map(|(_, suffix)| format!("/boot/config-{suffix}").into());
        let mut configs = vec![
            format!("/boot/config-{version}").into(),
            format!("{folder}/{version}/config").into(),
        ];
        configs.extend(beside);
        Ok(Self {
            kernel: kernel.ok_or(NoKernel::Missing)?.into(),
            modules: Modules::Image(format!("{folder}/{version}")),
            path: format!("{path} in the image"),
            configs,
            instead_of,
            version,
            tree,
        })
    }

    /// A kernel that was named, with its folder of modules. Firmware still comes from the image.
    pub(super) fn beside(tree: &'a Tree, kernel: &Path, folder: &Path) -> anyhow::Result<Self> {
        let content = read_file(kernel, MAX_KERNEL_BYTES)?
            .with_context(|| format!("--kernel {} is not there", kernel.display()))?;
        let folder = module_folder(folder)?;
        let version = folder.file_name().and_then(|name| name.to_str());
        let version = version.with_context(|| {
            format!(
                "--modules {}: the folder's name is to be the kernel's version",
                folder.display()
            )
        })?;
        Ok(Self {
            version: version.to_owned(),
            kernel: content.into(),
            path: kernel.display().to_string(),
            configs: vec![
                kernel.with_file_name(format!("config-{version}")),
                folder.join("config"),
            ],
            modules: Modules::Folder(folder),
            instead_of: None,
            tree,
        })
    }

    /// What depmod wrote beside the modules.
    pub(super) fn index(&self) -> anyhow::Result<Index> {
        let text = |name: &str| -> anyhow::Result<String> {
            let content = self.read(name, MAX_INDEX_BYTES)?.unwrap_or_default();
            String::from_utf8(content).with_context(|| format!("reading {name}"))
        };
        let (dep, builtin) = (text("modules.dep")?, text("modules.builtin")?);
        let (softdep, alias) = (text("modules.softdep")?, text("modules.alias")?);
        let texts = Texts {
            dep: &dep,
            builtin: &builtin,
            softdep: &softdep,
            alias: &alias,
        };
        Ok(Index::parse(&texts)?)
    }

    /// The kernel's .config and where it was found. One that cannot be read is as good as none.
    pub(super) fn config(&self) -> Option<(Vec<u8>, String)> {
        self.configs.iter().find_map(|path| {
            let text = match &self.modules {
                Modules::Image(_) => self.tree.read(path.to_str()?, MAX_CONFIG_BYTES).ok()?,
                Modules::Folder(_) => read_file(path, MAX_CONFIG_BYTES).ok()?,
            };
            Some((text?, path.display().to_string()))
        })
    }

    /// Those of modules.dep's modules that are there.
    pub(super) fn files(&self, index: &Index) -> BTreeSet<String> {
        let all = index.modules.keys();
        match &self.modules {
            // A link that leads nowhere (weak-updates of a driver that was removed) is no module.
            Modules::Image(folder) => all
                .filter(|path| self.tree.size(&format!("{folder}/{path}")).is_some())
                .cloned()
                .collect(),
            Modules::Folder(folder) => all
                .filter(|path| folder.join(path).is_file())
                .cloned()
                .collect(),
        }
    }

    /// Where a running worker finds the modules of a kernel that is not the image's, if it does.
    pub(super) fn modules_in_image(&self) -> Option<String> {
        let folders = MODULE_FOLDERS.into_iter();
        let mut folders = folders.map(|folder| format!("{folder}/{}", self.version));
        folders.find(|folder| self.tree.size(&format!("{folder}/modules.dep")).is_some())
    }

    /// The modules are a folder of this machine.
    pub(super) const fn folder(&self) -> Option<&PathBuf> {
        match &self.modules {
            Modules::Folder(folder) => Some(folder),
            Modules::Image(_) => None,
        }
    }

    fn read(&self, path: &str, limit: u64) -> anyhow::Result<Option<Vec<u8>>> {
        match &self.modules {
            Modules::Image(folder) => Ok(self.tree.read(&format!("{folder}/{path}"), limit)?),
            Modules::Folder(folder) => read_file(&folder.join(path), limit),
        }
    }
}

/// What is to be known of an image's kernels.
fn facts(tree: &Tree, wanted: Option<&str>) -> Facts {
    let base = MODULE_FOLDERS
        .into_iter()
        .find(|folder| !tree.list(folder).is_empty())
        .unwrap_or(MODULE_FOLDERS[0]);
    let (modules, unindexed): (Vec<String>, Vec<String>) = tree
        .list(base)
        .into_iter()
        .partition(|v| tree.size(&format!("{base}/{v}/modules.dep")).is_some());
    let versions = [modules.as_slice(), unindexed.as_slice()].concat();
    let beside = versions.iter().map(|version| format!("{base}/{version}"));
    let folders = std::iter::once("/boot".to_owned()).chain(beside);
    let kernels = folders.flat_map(|folder| {
        let names = tree.list(&folder);
        names
            .into_iter()
            .map(move |name| format!("{folder}/{name}"))
    });
    let kernels: Vec<Candidate> = kernels
        .filter_map(|path| candidate(tree, path, &versions))
        .collect();
    // By where both lead: a kernel in /boot may be a link, too (openSUSE), and /lib is one.
    let leads_to = |path: &str| tree.resolve(path);
    let named = LINKS.into_iter().filter(|path| tree.link(path).is_some());
    let linked = named.filter_map(leads_to).find_map(|to| {
        let mut kernels = kernels
            .iter()
            .filter(|kernel| !LINKS.contains(&kernel.path.as_str()));
        let kernel = kernels.find(|kernel| leads_to(&kernel.path).as_ref() == Some(&to));
        kernel.map(|kernel| kernel.path.clone())
    });
    let status = tree.read(PACKAGES, MAX_PACKAGES_BYTES).ok().flatten();
    Facts {
        kernels,
        base: base.to_owned(),
        modules,
        unindexed,
        linked,
        packages: choose::packages(&String::from_utf8_lossy(&status.unwrap_or_default())),
        wanted: wanted.map(str::to_owned),
    }
}

/// The kernel at a path, if one is there.
fn candidate(tree: &Tree, path: String, versions: &[String]) -> Option<Candidate> {
    let head = tree.head(&path, KERNEL_HEAD_BYTES).ok()??;
    let named = versions
        .iter()
        .any(|version| path.ends_with(&format!("-{version}")));
    let says = match kernel_form(&head) {
        Some(Form::BzImage) => checks::kernel::told(&head).version,
        // What an arm64 kernel says lies anywhere in 30 MB, often packed.
        Some(_) if !named => {
            let kernel = tree.read(&path, MAX_KERNEL_BYTES).ok()??;
            checks::kernel::told(&kernel).version
        }
        Some(_) => None,
        // No kernel for any worker, and to be refused by its name.
        None if named && kernel_arch(&head).is_none() && path.contains("/vmlinuz-") => None,
        None => return None,
    };
    Some(Candidate { path, says })
}

impl Files for Source<'_> {
    fn module(&self, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
        self.read(path, MAX_FILE_BYTES)
    }

    fn firmware_size(&self, path: &str) -> Option<u64> {
        FIRMWARE_FOLDERS
            .into_iter()
            .find_map(|folder| self.tree.size(&format!("{folder}/{path}")))
    }

    fn firmware(&self, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
        for folder in FIRMWARE_FOLDERS {
            if let Some(content) = self
                .tree
                .read(&format!("{folder}/{path}"), MAX_FILE_BYTES)?
            {
                return Ok(Some(content));
            }
        }
        Ok(None)
    }
}

/// `/lib/modules/VERSION`, also when /lib/modules was given and holds one version only.
fn module_folder(given: &Path) -> anyhow::Result<PathBuf> {
    let reading = || format!("reading --modules {}", given.display());
    let folder = given.canonicalize().with_context(reading)?;
    if folder.join("modules.dep").is_file() {
        return Ok(folder);
    }
    let mut versions = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(reading)? {
        let path = entry.with_context(reading)?.path();
        if path.join("modules.dep").is_file() {
            versions.push(path);
        }
    }
    match versions.as_slice() {
        [one] => Ok(one.clone()),
        [] => bail!(
            "--modules {}: there is no modules.dep; the folder /lib/modules/VERSION is wanted, after depmod",
            given.display()
        ),
        several => bail!(
            "--modules {}: there are {} versions; name the folder of one",
            given.display(),
            several.len()
        ),
    }
}

fn read_file(path: &Path, limit: u64) -> anyhow::Result<Option<Vec<u8>>> {
    let reading = || format!("reading {}", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(reading),
    };
    ensure!(
        file.metadata().with_context(reading)?.is_file(),
        "{} is not a plain file",
        path.display()
    );
    let mut content = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut content)
        .with_context(reading)?;
    ensure!(
        content.len() as u64 <= limit,
        "{} has more than {limit} bytes",
        path.display()
    );
    Ok(Some(content))
}
