//! An initramfs of busybox, a few modules and a script, for machines that are booted without `/init`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::case::Case;
use crate::image::Image;
use crate::process::{command, run};

/// Modules of the image's kernel with all they need, in a folder, and their names in the order they are loaded.
pub(crate) fn modules(
    case: &Case,
    image: &Image,
    wanted: &[&str],
) -> Result<(PathBuf, Vec<String>)> {
    let image = image.path.to_str().context("a path in UTF-8")?;
    let folder = case.dir().join("modules");
    let tree = folder.to_str().context("a path in UTF-8")?;
    run(
        "unsquashfs",
        &[
            "-quiet",
            "-no-progress",
            "-no-xattrs",
            "-dest",
            tree,
            image,
            "usr/lib/modules",
        ],
    )?;
    let version = fs::read_dir(folder.join("usr/lib/modules"))?
        .next()
        .context("a version")??
        .path();
    let index = fs::read_to_string(version.join("modules.dep"))?;
    let mut order: Vec<&str> = Vec::new();
    for wanted in wanted {
        // path/virtio_net.ko: path/net_failover.ko path/failover.ko: the last one is loaded first.
        let file = format!("/{wanted}.ko:");
        let line = index.lines().find(|line| line.contains(&file));
        let line = line.with_context(|| format!("no {wanted} in modules.dep"))?;
        for path in line.split([':', ' ']).filter(|path| !path.is_empty()).rev() {
            if !order.contains(&path) {
                order.push(path);
            }
        }
    }
    let flat = case.dir().join("floor/modules");
    fs::create_dir_all(&flat)?;
    let mut names = Vec::new();
    for path in order {
        let (_, name) = path.rsplit_once('/').context("a module in a folder")?;
        fs::copy(version.join(path), flat.join(name))?;
        names.push(name.to_owned());
    }
    fs::remove_dir_all(&folder)?;
    Ok((flat, names))
}

/// A cpio archive of the folder above `modules`, with busybox and the script as /init.
pub(crate) fn pack(case: &Case, modules: &Path, script: &str) -> Result<PathBuf> {
    let root = modules.parent().context("a folder above")?;
    for folder in ["bin", "dev", "proc"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))
        .context("tests/setup.sh installs busybox-static")?;
    let init = root.join("init");
    fs::write(&init, script)?;
    run("chmod", &["755", init.to_str().context("a path in UTF-8")?])?;
    let archive = case.dir().join("floor.cpio");
    let status = command("sh")
        .args([
            "-euc",
            "find . -print0 | cpio --null --create --quiet --format=newc --owner=0:0",
        ])
        .current_dir(root)
        .stdout(fs::File::create(&archive)?)
        .stdin(Stdio::null())
        .status()?;
    ensure!(status.success(), "cpio: {status}");
    Ok(archive)
}
