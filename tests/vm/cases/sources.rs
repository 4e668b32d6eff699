//! From any root file system to a worker: a tar, a container image and a disk image are built, published and booted, and in each
//! worker every file has owner, mode, links, attributes and capabilities of the source.

mod disk;
mod oci;
mod tree;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::case::Case;
use crate::image::Image;
use crate::lan::{Lan, POOL};
use crate::machine::Machine;
use crate::manager::{Manager, RAMBOOT, publish_with};
use crate::process::run;
use tree::{Tree, WHERE};

/// A source of `ramboot build`, and what must be in a worker that was made of it.
struct Source {
    name: &'static str,
    path: PathBuf,
    tree: Tree,
}

/// Machines get their MACs in the order in which they are switched on.
const CONFIG: &str = r#"
[boot]
cmdline = "console=ttyS0 quiet"
[[worker]]
mac = "52:54:00:12:34:00"
image = "oci"
[[worker]]
mac = "52:54:00:12:34:01"
image = "disk"
[[worker]]
mac = "52:54:00:12:34:02"
image = "tar"
"#;

/// All three, one after the other.
pub(super) fn all_boot(case: &Case) -> Result<()> {
    let store = case.dir().join("store");
    let sources = sources(case)?;
    for source in &sources {
        build_and_publish(case, source, &store)?;
    }
    let lan = Lan::new()?;
    let args = ["--dhcp", "full", "--pool", POOL];
    let _manager = Manager::serve(case, &store, CONFIG, &args)?;
    for source in &sources {
        boots_with_all(case, &lan, source).with_context(|| format!("source {}", source.name))?;
    }
    Ok(())
}

/// A tar of the Debian image with some rarities, the same tar below another layer, and a disk with that tree.
fn sources(case: &Case) -> Result<[Source; 3]> {
    let folder = case.dir();
    let tar = folder.join("debian.tar");
    let tree = tree::write_tar(&Image::debian()?.path, &tar)?;
    let container = folder.join("container.tar");
    let disk = folder.join("disk.img");
    Ok([
        Source {
            name: "oci",
            tree: oci::write(&tar, &tree, &container)?,
            path: container,
        },
        Source {
            name: "disk",
            tree: disk::write(folder, &tar, &tree, &disk)?,
            path: disk,
        },
        Source {
            name: "tar",
            path: tar,
            tree,
        },
    ])
}

fn build_and_publish(case: &Case, source: &Source, store: &Path) -> Result<()> {
    let image = case.dir().join(format!("{}.sqfs", source.name));
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a path in UTF-8");
    let (from, to) = (text(&source.path)?, text(&image)?);
    let said = run(RAMBOOT, &["build", &from, "-o", &to])?;
    println!("{said}");
    let said = publish_with(&image, store, &["--name", source.name])?;
    println!("{said}");
    Ok(())
}

fn boots_with_all(case: &Case, lan: &Lan, source: &Source) -> Result<()> {
    let mut worker = Machine::direct(768).boot(case, lan)?;
    let console = &mut worker.console;
    console.login()?;
    // Too much for a serial line: digests, and what differs only if they do.
    let (wanted, files) = (source.tree.listing(), tree::LIST);
    let digest = console.run(&format!("{files} >/run/listing; sha256sum </run/listing"))?;
    if !digest.starts_with(&tree::sha256(&wanted)?) {
        let lines = console.run(
            "wc -l </run/listing; grep -e kept -e /boot/ /run/listing; head -n 20 /run/listing",
        )?;
        let (some, ours): (Vec<_>, Vec<_>) = (
            wanted.lines().take(20).collect(),
            wanted
                .lines()
                .filter(|line| line.contains("kept") || line.contains("/boot/"))
                .collect(),
        );
        anyhow::bail!(
            "files of the worker:\n{lines}\nof the source: {}\n{}\n{}",
            wanted.lines().count(),
            ours.join("\n"),
            some.join("\n")
        );
    }
    let attributes = console.run(&format!(
        "getfattr -R -P -h -d -m - -e hex --absolute-names {WHERE} | grep ."
    ))?;
    let wanted = source.tree.attributes();
    ensure!(
        tree::attributes_of(&attributes) == wanted,
        "attributes in the worker:\n{attributes}\nof the source:\n{wanted:#?}"
    );
    let capable = console.run(&format!("getcap -r {WHERE} | LC_ALL=C sort"))?;
    let wanted: Vec<_> = source
        .tree
        .capable()
        .map(|path| format!("{path} cap_net_raw=ep"))
        .collect();
    ensure!(
        wanted.len() > 1 && capable == wanted.join("\n"),
        "capabilities in the worker:\n{capable}\nof the source:\n{}",
        wanted.join("\n")
    );
    let devices = console.run("stat -c '%F %t:%T %a %u:%g %n' /opt/kept/null /opt/kept/loop")?;
    ensure!(
        devices == tree::DEVICES,
        "devices in the worker:\n{devices}\ninstead of\n{}",
        tree::DEVICES
    );
    Ok(())
}
