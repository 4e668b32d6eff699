//! The recipe `images/k3s-worker` up to the agent's start: a stand-in for k3s writes down what it was started with.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::case::Case;
use crate::image::Image;
use crate::lan::{Lan, POOL};
use crate::machine::Machine;
use crate::manager::Manager;
use crate::process::{command, run};

const STAND_IN: &str = r#"#!/bin/sh
{
    echo "arguments: $*"
    stat -c 'password: %a %u:%g' /etc/rancher/node/password
    cat /etc/rancher/node/password
    grep -v '^#' /etc/rancher/k3s/config.yaml
    stat -c 'token: %a %u:%g' /etc/rancher/k3s/token
    findmnt --noheadings --raw --output TARGET,FSTYPE /var/lib/rancher
    findmnt --noheadings --raw --output TARGET,FSTYPE /var/lib/kubelet
} >/run/stand-in.new
mv /run/stand-in.new /run/stand-in
exec sleep infinity
"#;

const CONFIG: &str = "[boot]\ncmdline = \"console=ttyS0\"\noverlays = [\"k3s\"]\n";

/// The agent starts with the manager's files, on mounts that containerd takes, and with the same name and password after
/// a reboot.
pub(super) fn agent_starts(case: &Case) -> Result<()> {
    let store = case.own_store(&image(case)?)?;
    overlays(&store)?;
    let lan = Lan::new()?;
    let args = ["--dhcp", "full", "--pool", POOL];
    let _manager = Manager::serve(case, &store, CONFIG, &args)?;
    let mut machine = Machine::direct(640);
    let mut starts = Vec::new();
    for _ in 0..2 {
        let mut worker = machine.boot(case, &lan)?;
        machine = machine.again(worker.tap.number);
        worker.console.login()?;
        let start = "until [ -e /run/stand-in ]; do sleep 0.2; done; cat /run/stand-in";
        starts.push(worker.console.run(start)?);
        if starts.len() == 1 {
            worker.console.run(READY)?;
        }
    }
    let [first, second] = &starts[..] else {
        return Err(anyhow::anyhow!("two boots, {} starts", starts.len()));
    };
    ensure!(
        first == second,
        "the second boot's agent started with\n{second}\ninstead of\n{first}"
    );
    for wanted in [
        "arguments: agent",
        "password: 600 0:0",
        "server: https://10.0.0.2:6443",
        "token-file: /etc/rancher/k3s/token",
        "node-name: worker-",
        "ramboot/image=default",
        "token: 600 0:0",
        "/var/lib/rancher tmpfs",
        "/var/lib/kubelet tmpfs",
    ] {
        ensure!(first.contains(wanted), "no {wanted:?} in\n{first}");
    }
    let password = first.lines().nth(2).unwrap_or_default();
    ensure!(
        password.len() == 32 && password.bytes().all(|b| b.is_ascii_hexdigit()),
        "the password is {password:?}"
    );
    Ok(())
}

/// What containerd, flannel and kubelet look for.
const READY: &str = "cd /var/lib/rancher && mkdir l u w m && mount -t overlay overlay -o lowerdir=l,upperdir=u,workdir=w m && \
    umount m && rm -r l u w m && test -d /sys/module/br_netfilter -a -d /sys/module/vxlan && \
    test \"$(cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/bridge/bridge-nf-call-iptables | tr -d '\\n')\" = 11";

/// The recipe's files on the Debian that is there: the package it adds is for the real k3s.
fn image(case: &Case) -> Result<Image> {
    let debian = Image::debian()?;
    let tree = case.dir().join("tree");
    debian.unpack(&tree, &[])?;
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/k3s-worker");
    let program = case.dir().join("k3s");
    fs::write(&program, STAND_IN)?;
    fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    let sum = run("sha256sum", &[shown(&program)?])?;
    let digest = sum.split(' ').next().context("sha256sum prints a digest")?;
    run(
        "cp",
        &[
            "-a",
            "--no-preserve=ownership",
            &format!("{}/rootfs/.", shown(&recipe)?),
            shown(&tree)?,
        ],
    )?;
    let customize = |digest: &str| {
        let mut command = command(shown(&recipe.join("customize.sh"))?);
        command
            .arg(&tree)
            .env("K3S", &program)
            .env("K3S_SHA256", digest);
        command.output().context("running customize.sh")
    };
    let wrong = customize(&"0".repeat(64))?;
    let said = String::from_utf8_lossy(&wrong.stderr);
    ensure!(
        !wrong.status.success() && said.contains(digest) && said.contains(&"0".repeat(64)),
        "another program's digest must be refused: {}: {said}",
        wrong.status
    );
    let right = customize(digest)?;
    ensure!(
        right.status.success(),
        "customize.sh: {}",
        String::from_utf8_lossy(&right.stderr)
    );
    let image = Image::of_tree(&tree, case.dir(), "k3s.sqfs")?;
    fs::remove_dir_all(&tree)?;
    Ok(image)
}

fn overlays(store: &Path) -> Result<()> {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/k3s-worker/overlays");
    let script = "mkdir -p \"$2\"; cp -a \"$1\"/. \"$2\"; install -m 600 /dev/null \"$2\"/k3s/etc/rancher/k3s/token";
    run(
        "sh",
        &[
            "-euc",
            script,
            "sh",
            shown(&recipe)?,
            shown(&store.join("overlays"))?,
        ],
    )
    .map(drop)
}

fn shown(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}
