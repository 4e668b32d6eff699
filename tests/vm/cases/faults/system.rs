//! Workers' systems for faults: a shell, what it takes to look at itself, and noise that no compression makes smaller, so
//! that a fetch has a middle. The kernel is the Debian image's.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result};

use crate::case::Case;
use crate::image::Image;
use crate::manager::publish_with;
use crate::process::run;

/// Images of one system with different noise.
#[derive(Debug, Clone)]
pub(super) struct Systems {
    /// A store with `long` and `short` in it, under these names.
    pub(super) store: PathBuf,
    /// Ten seconds at 40 Mbit/s.
    pub(super) long: System,
    /// As long, with other noise; not published.
    pub(super) other: System,
    /// What a very bad wire carries in half a minute.
    pub(super) short: System,
}

/// One image.
#[derive(Debug, Clone)]
pub(super) struct System {
    name: &'static str,
    path: PathBuf,
    modules: String,
    kernel: String,
    /// Bytes of the image.
    pub(super) size: u64,
    /// sha256 of its noise.
    pub(super) noise: String,
}

impl Systems {
    /// Made once for all cases of a run. To be asked for before the case has its own network.
    pub(super) fn of(case: &Case) -> Result<Self> {
        static SYSTEMS: OnceLock<Result<Systems, String>> = OnceLock::new();
        let systems = SYSTEMS.get_or_init(|| make(case).map_err(|e| format!("{e:#}")));
        systems.clone().map_err(anyhow::Error::msg)
    }
}

impl System {
    /// Bytes of its kernel.
    pub(super) fn kernel_size(&self) -> Result<u64> {
        Ok(fs::metadata(&self.kernel)?.len())
    }

    /// Publishes it as `name`.
    pub(super) fn publish(&self, name: &str, store: &Path) -> Result<()> {
        let flags = ["--kernel", &self.kernel, "--modules", &self.modules];
        publish_with(&self.path, store, &[&flags[..], &["--name", name]].concat()).map(drop)
    }
}

fn make(case: &Case) -> Result<Systems> {
    // Other cases look for it here, too.
    let folder = case.dir().with_file_name("systems");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("emptying {}", folder.display()))?;
    }
    let (whole, tree) = (folder.join("debian"), folder.join("tree"));
    fs::create_dir_all(&folder)?;
    Image::debian()?.unpack(
        &whole,
        &[&["boot", "usr/lib/modules"], &PROGRAMS[..]].concat(),
    )?;
    let version = run(
        "sh",
        &[
            "-c",
            &format!("cd '{}/usr/lib/modules'; echo *", whole.display()),
        ],
    )?;
    let version = version.trim();
    let kernel = text(&whole.join(format!("boot/vmlinuz-{version}")))?;
    let modules = text(&whole.join("usr/lib/modules").join(version))?;
    plant(&whole, &tree)?;

    let system = |name: &'static str, mebibytes: u64| -> Result<System> {
        let noise = text(&tree.join("noise"))?;
        let fill = format!("head -c {mebibytes}M /dev/urandom >'{noise}'; sha256sum <'{noise}'");
        let sum = run("sh", &["-euc", &fill])?;
        let image = Image::of_tree(&tree, &folder, &format!("{name}.sqfs"))?;
        Ok(System {
            name,
            size: image.size()?,
            path: image.path,
            modules: modules.clone(),
            kernel: kernel.clone(),
            noise: sum.split(' ').next().unwrap_or_default().to_owned(),
        })
    };
    let systems = Systems {
        store: folder.join("store"),
        long: system("long", 48)?,
        other: system("other", 48)?,
        short: system("short", 1)?,
    };
    for system in [&systems.long, &systems.short] {
        system.publish(system.name, &systems.store)?;
    }
    Ok(systems)
}

/// Programs of the Debian image, and what they are linked to.
const PROGRAMS: [&str; 7] = [
    "usr/bin/cat",
    "usr/bin/dash",
    "usr/bin/date",
    "usr/bin/sha256sum",
    "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "usr/lib/x86_64-linux-gnu/libc.so.6",
    "usr/lib/x86_64-linux-gnu/libcrypto.so.3",
];

/// What runs in the worker.
fn plant(whole: &Path, tree: &Path) -> Result<()> {
    let script = format!(
        "cd '{}'
         mkdir -p '{tree}/usr/sbin'
         for folder in dev proc sys run tmp; do mkdir '{tree}/'$folder; done
         cp -a --parents {} '{tree}/'
         mkdir -p '{tree}/usr/lib64'
         ln -s ../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 '{tree}/usr/lib64/'
         for folder in bin sbin lib lib64; do ln -s usr/$folder '{tree}/'$folder; done
         ln -s dash '{tree}/usr/bin/sh'",
        whole.display(),
        PROGRAMS.join(" "),
        tree = tree.display(),
    );
    run("sh", &["-euc", &script])?;
    let init = tree.join("usr/sbin/init");
    fs::write(&init, INIT)?;
    run("chmod", &["755", &text(&init)?]).map(drop)
}

/// Says what it finds; the last line is the last.
const INIT: &str = "#!/bin/sh
while read -r what where type rest; do
    [ \"$where\" = / ] && echo \"worker: / is $type\"
done </proc/mounts
echo \"worker: noise is $(sha256sum </noise)\"
echo \"worker: the clock says $(date +%s)\"
# On one line: its words, without the white space between them.
set -f
echo worker: boot.json is $(cat /run/ramboot/boot.json)
echo \"worker: this is all\"
while :; do read -r line || :; done
";

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).context("a path in UTF-8")
}
