//! An office's PC that becomes the manager: a Debian on a disk (tests/vm/office), and a stick with files for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::case::Case;
use crate::lan::Lan;
use crate::machine::{Worker, switch_on};
use crate::process::{command, run};

/// A PC that is switched off.
#[derive(Debug)]
pub(crate) struct Office {
    /// What its recipe made; nothing is written there.
    folder: PathBuf,
    stick: PathBuf,
}

/// What the root of the stick is on the PC.
pub(crate) const STICK: &str = "/media";

impl Office {
    /// With these files on the stick. Asked for before the case has its own network: the disk may have to be built.
    pub(crate) fn with(case: &Case, files: &[&Path]) -> Result<Self> {
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = project.join("target/images");
        let status = command("tests/vm/office/build.sh")
            .arg(&folder)
            .current_dir(project)
            .stdout(Stdio::null())
            .status()?;
        ensure!(
            status.success(),
            "tests/vm/office/build.sh: {status} (tests/setup.sh installs what it needs)"
        );
        let (content, stick) = (case.dir().join("content"), case.dir().join("stick.ext4"));
        fs::create_dir(&content)?;
        for file in files {
            let name = file.file_name().context("a file's name")?;
            fs::copy(file, content.join(name))
                .with_context(|| format!("copying {}", file.display()))?;
        }
        let path = |path: &Path| path.to_str().map(str::to_owned).context("a path in UTF-8");
        run(
            "mke2fs",
            &[
                "-q",
                "-t",
                "ext4",
                "-L",
                "stick",
                "-d",
                &path(&content)?,
                &path(&stick)?,
                "512M",
            ],
        )?;
        fs::remove_dir_all(&content)?;
        Ok(Self { folder, stick })
    }

    /// Switches it on; the serial line is its console.
    pub(crate) fn boot(self, case: &Case, lan: &Lan) -> Result<Worker> {
        let tap = lan.tap()?;
        let netdev = format!("tap,id=n,ifname={},script=no,downscript=no", tap.name);
        let mac = format!("52:54:00:12:35:{:02x}", tap.number);
        let disk = |name: &str, file: &Path, how: &str| {
            format!("id={name},file={},format=raw,if=none,{how}", file.display())
        };
        let mut qemu = command("qemu-system-x86_64");
        qemu.args([
            "-machine",
            "q35,graphics=off",
            "-nodefaults",
            "-smp",
            "2",
            "-m",
            "1024",
        ])
        .args([
            "-chardev",
            "stdio,id=console,signal=off",
            "-serial",
            "chardev:console",
        ])
        .args(["-netdev", &netdev])
        // The place says the interface's name: enp0s3.
        .args([
            "-device",
            &format!("virtio-net-pci,romfile=,netdev=n,addr=3,mac={mac}"),
        ])
        .args([
            "-drive",
            &disk("root", &self.folder.join("office.ext4"), "snapshot=on"),
        ])
        .args(["-device", "virtio-blk-pci,drive=root"])
        .args(["-drive", &disk("stick", &self.stick, "snapshot=on")])
        .args(["-device", "virtio-blk-pci,drive=stick"])
        .args(["-append", "root=LABEL=root ro console=ttyS0 quiet"])
        .arg("-kernel")
        .arg(self.folder.join("office.vmlinuz"))
        .arg("-initrd")
        .arg(self.folder.join("office.initrd"));
        switch_on(case, tap, qemu)
    }
}
