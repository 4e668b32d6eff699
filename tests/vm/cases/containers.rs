//! Containers are built and run on workers, whose root is an overlay: podman and containerd mount overlays of their own.
//!
//! The image has `apt install podman containerd runc` and no word of configuration; no registry is there.

use anyhow::{Result, ensure};

use crate::BOOT;
use crate::case::Case;
use crate::console::Console;
use crate::image::Image;
use crate::lan::{Lan, POOL};
use crate::machine::Machine;
use crate::manager::Manager;

/// Machines get their MACs in the order in which they are switched on. The second one's content is copied while it comes.
const CONFIG: &str = r#"
[boot]
cmdline = "console=ttyS0 quiet"
tmpfs = ["/opt/work"]
[[worker]]
mac = "52:54:00:12:34:01"
mode = "stream"
gate = "tables"
"#;

/// By program, by list of the image, by config. None of them is a folder of the image but /srv/scratch.
const FOLDERS: [&str; 4] = [
    "/opt/work",
    "/srv/scratch",
    "/var/lib/containerd",
    "/var/lib/containers",
];

const BUILD: &str = "mkdir /tmp/hello && cd /tmp/hello && cp /bin/busybox . && printf '%s\\n' 'FROM scratch' \
    'COPY busybox /bin/busybox' 'RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]' >Dockerfile && \
    podman build --quiet --network=none --tag hello . >/dev/null && podman info --format '{{.Store.GraphDriverName}}'";
const PODMAN: &str = "podman run --rm --network=none hello /bin/sh -c 'echo \"in podman\" >/file; cat /file; grep \" / \" /proc/mounts'";
const IMPORT: &str = "podman save --quiet --format=docker-archive --output=/tmp/hello.tar hello && \
    ctr images import /tmp/hello.tar >/dev/null && ctr images list --quiet";
const CONTAINERD: &str = "ctr run --rm localhost/hello:latest one /bin/sh -c 'echo \"in containerd\" >/file; cat /file; \
    grep \" / \" /proc/mounts'";

/// Two workers, one of which has all of its image before it starts, build an image of nothing but what is there and run it
/// with podman, then with containerd.
pub(super) fn run(case: &Case) -> Result<()> {
    let store = case.own_store(&Image::containers()?)?;
    let lan = Lan::new()?;
    let args = ["--dhcp", "full", "--pool", POOL];
    let _manager = Manager::serve(case, &store, CONFIG, &args)?;
    for _ in 0..2 {
        let mut worker = Machine::direct(1024).boot(case, &lan)?;
        worker.console.login()?;
        on_tmpfs(&mut worker.console)?;
        run_in(&mut worker.console)?;
    }
    Ok(())
}

fn on_tmpfs(console: &mut Console) -> Result<()> {
    for folder in FOLDERS {
        let kind = console.run(&format!("findmnt --noheadings --output FSTYPE {folder}"))?;
        ensure!(kind == "tmpfs", "{folder} is on {kind}");
    }
    let kept =
        console.run("cat /srv/scratch/hello; stat -c %a:%U /srv/scratch /var/lib/containers")?;
    ensure!(
        kept == "what the image has here is kept\n755:root\n711:root",
        "{kept}"
    );
    let root = console.run("findmnt --noheadings --output FSTYPE /")?;
    ensure!(root == "overlay", "/ is {root}");
    Ok(())
}

fn run_in(console: &mut Console) -> Result<()> {
    let driver = console.run_within(BUILD, BOOT)?;
    ensure!(
        driver.lines().last() == Some("overlay"),
        "podman's driver is {driver}"
    );
    let said = console.run_within(PODMAN, BOOT)?;
    ensure!(
        said.starts_with("in podman\noverlay / overlay "),
        "a container of podman says {said}"
    );
    let images = console.run_within(IMPORT, BOOT)?;
    ensure!(
        images == "localhost/hello:latest",
        "containerd has {images}"
    );
    let said = console.run_within(CONTAINERD, BOOT)?;
    ensure!(
        said.starts_with("in containerd\noverlay / overlay "),
        "a container of containerd says {said}"
    );
    Ok(())
}
