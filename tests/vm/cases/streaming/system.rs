//! Workers' systems for streaming: a shell on the console, what it takes to look at itself, and noise in several files, so that
//! a fetch has a middle and a program something to wait for.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ramboot::store::Store;
use ramboot_wire::{Arch, ImageId, Mac, Recording};

use crate::case::{Case, stored_image};
use crate::image::{Image, sum_of};
use crate::manager::publish_with;
use crate::process::run;

/// Files of noise in a system.
pub(super) const NOISES: u64 = 12;
/// All that lies in the image, below its root.
const ALL: [&str; 2] = ["noise", "usr"];

/// One image.
#[derive(Debug, Clone)]
pub(super) struct System {
    /// A store in which it is published as `default`.
    pub(super) store: PathBuf,
    /// Bytes.
    pub(super) size: u64,
    /// sha256 of the image.
    pub(super) digest: String,
    /// sha256 of what [`System::list`] prints.
    pub(super) listing: String,
    /// sha256 of the last file of noise.
    pub(super) last_noise: String,
}

/// Where the kernel of a system comes from.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Its file.
    pub(super) file: PathBuf,
    /// The folder of its modules.
    pub(super) modules: PathBuf,
}

impl Kernel {
    /// The one below a root, or below `boot` and `usr` of one.
    pub(super) fn below(root: &Path) -> Result<Self> {
        let folder = root.join("usr/lib/modules");
        let version = fs::read_dir(&folder)
            .with_context(|| format!("reading {}", folder.display()))?
            .next()
            .context("a kernel's version")??
            .file_name();
        let version = version.to_str().context("a version in UTF-8")?;
        Ok(Self {
            file: root.join(format!("boot/vmlinuz-{version}")),
            modules: folder.join(version),
        })
    }
}

impl System {
    /// One of so many MiB of noise, with the kernel of the Debian image for `arch` or another one. To be asked for before the
    /// case has its own network.
    pub(super) fn of(
        case: &Case,
        arch: Arch,
        mebibytes: u64,
        kernel: Option<&Kernel>,
    ) -> Result<Self> {
        let folder = case.dir().join(format!("system-{arch}-{mebibytes}"));
        let (whole, tree) = (folder.join("debian"), folder.join("tree"));
        fs::create_dir_all(&folder)?;
        let image = match arch {
            Arch::X86_64 => Image::debian()?,
            Arch::Aarch64 => Image::raspberry_pi()?,
        };
        let programs = programs(arch);
        let mut parts: Vec<&str> = programs.iter().map(String::as_str).collect();
        if kernel.is_none() {
            parts.extend(["boot", "usr/lib/modules"]);
        }
        image.unpack(&whole, &parts)?;
        plant(&whole, &tree, &programs, mebibytes)?;
        let found = kernel
            .is_none()
            .then(|| Kernel::below(&whole))
            .transpose()?;
        let kernel = kernel.or(found.as_ref()).context("a kernel")?;

        let image = Image::of_tree(&tree, &folder, "image.sqfs")?;
        let store = folder.join("store");
        let flags = [
            "--kernel",
            text(&kernel.file)?,
            "--modules",
            text(&kernel.modules)?,
        ];
        publish_with(&image.path, &store, &flags)?;
        let sum = |command: &str| -> Result<String> {
            let printed = run(
                "sh",
                &["-euc", &format!("cd '{}'; {command}", text(&tree)?)],
            )?;
            Ok(printed.split(' ').next().unwrap_or_default().to_owned())
        };
        let system = Self {
            store,
            size: image.size()?,
            digest: sum(&format!("sha256sum <'{}'", text(&image.path)?))?,
            listing: sum(&format!("{} | sha256sum", sum_of(&ALL)))?,
            last_noise: sum(&format!("sha256sum <noise/{}", NOISES - 1))?,
        };
        // A worker records what nobody knows anything of for a minute: this system has no systemd that says when it is up.
        let id = stored_image(&system.store)?;
        let id: ImageId = id
            .file_name()
            .and_then(|name| name.to_str())
            .context("an image's folder")?
            .parse()?;
        let recording = Recording {
            mac: Mac([2; 6]),
            image: id,
            online_ms: None,
            ready_ms: None,
            // As few as are believed.
            touched: (0..=system.size / super::CHUNK / 100)
                .map(|chunk| (chunk, 0))
                .collect(),
        };
        let profiles = Store::open(&system.store)?;
        profiles.profiles().add(
            id,
            system.size,
            (std::net::Ipv4Addr::LOCALHOST, recording),
            1,
        )??;
        fs::remove_dir_all(&tree)?;
        fs::remove_dir_all(&whole)?;
        fs::remove_file(&image.path)?;
        Ok(system)
    }

    /// The command that prints one digest of all its files, in a worker.
    pub(super) fn list() -> String {
        format!("cd /; {} | sha256sum", sum_of(&ALL))
    }
}

/// Of the Debian image, and what they are linked to.
fn programs(arch: Arch) -> Vec<String> {
    let (triplet, loader) = match arch {
        Arch::X86_64 => ("x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
        Arch::Aarch64 => ("aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
    };
    let programs = [
        "cat",
        "dash",
        "dd",
        "find",
        "sha256sum",
        "sort",
        "tr",
        "xargs",
    ];
    let libraries = [
        loader,
        "libc.so.6",
        "libcrypto.so.3",
        "libm.so.6",
        "libpcre2-8.so.0*",
        "libselinux.so.1",
    ];
    let programs = programs.map(|name| format!("usr/bin/{name}"));
    let libraries = libraries.map(|name| format!("usr/lib/{triplet}/{name}"));
    [&programs[..], &libraries[..]].concat()
}

/// What runs in the worker, and noise that no compression makes smaller.
fn plant(whole: &Path, tree: &Path, programs: &[String], mebibytes: u64) -> Result<()> {
    let script = format!(
        "cd '{whole}'
         mkdir -p '{tree}/usr/sbin' '{tree}/noise'
         for folder in dev proc sys run tmp; do mkdir '{tree}/'$folder; done
         cp -a --parents {programs} '{tree}/'
         cd '{tree}'
         for folder in bin sbin lib lib64; do [ -d usr/$folder ] || mkdir usr/$folder; ln -s usr/$folder $folder; done
         for loader in usr/lib/*-linux-gnu/ld-linux-*; do ln -s \"../../$loader\" usr/lib64/; ln -s \"../../$loader\" usr/lib/; done
         ln -s dash usr/bin/sh
         for number in $(seq -w 0 {last}); do head -c {kibibytes}K /dev/urandom >noise/$number; done",
        whole = whole.display(),
        tree = tree.display(),
        programs = programs.join(" "),
        last = NOISES - 1,
        kibibytes = mebibytes * 1024 / NOISES,
    );
    run("sh", &["-euc", &script])?;
    let init = tree.join("usr/sbin/init");
    fs::write(&init, INIT)?;
    run("chmod", &["755", text(&init)?]).map(drop)
}

/// Says what its root is, and gives whoever is at the console a shell for ever.
const INIT: &str = "#!/bin/sh
echo worker: init runs
while read -r what where type rest; do
    [ \"$where\" = / ] && echo \"worker: / is $type\"
done </proc/mounts
export PS1= PS2=
echo worker: shell
while :; do sh; done
";

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}
