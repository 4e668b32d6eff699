//! A worker is the same worker at each boot, though nobody remembers it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ramboot_wire::stage::Stage;

use crate::case::Case;
use crate::image::Image;
use crate::lan::{Lan, MANAGER, POOL};
use crate::machine::{Machine, Worker};
use crate::manager::Manager;
use crate::process::run;

const CONFIG: &str = "[boot]\ncmdline = \"console=ttyS0\"\n\
    [[worker]]\nmac = \"52:54:00:*\"\noverlays = [\"cluster\"]\n";

/// Two boots of one machine, with a new manager in between: machine-id, host name and SSH host key are the same, and sshd
/// runs with that key. Files of both overlays have their mode and owner, and templates are filled in.
pub(super) fn itself_again(case: &Case) -> Result<()> {
    let store = case.own_store(&Image::network_managers()?)?;
    let owner = overlays(&store.join("overlays"))?;
    let first = once(case, &store, owner)?;
    let second = once(case, &store, owner)?;
    ensure!(
        first == second,
        "first it was\n{first}\nthen it was\n{second}"
    );
    Ok(())
}

/// Whose the key is, which is somebody's only where root may give files away: in a namespace of one user it stays root's.
fn overlays(folder: &Path) -> Result<u32> {
    for (path, text, mode) in [
        (
            "common/etc/motd.j2",
            "{{ hostname }} ({{ machine_id }}) runs {{ image }} of {{ manager }}\n",
            0o644,
        ),
        (
            "cluster/etc/munge/munge.key.j2",
            "{{ secret(\"munge\") }}\n",
            0o400,
        ),
        ("cluster/etc/systemd/system/said.service", UNIT, 0o644),
    ] {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        fs::write(&path, text)?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    let munge = folder.join("cluster/etc/munge");
    fs::set_permissions(&munge, Permissions::from_mode(0o700))?;
    let give = |path: &Path| chown(path, Some(OWNER), Some(OWNER)).is_ok();
    let given = give(&munge) && give(&munge.join("munge.key.j2"));
    let wants = folder.join("cluster/etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    std::os::unix::fs::symlink("../said.service", wants.join("said.service"))?;
    Ok(if given { OWNER } else { 0 })
}

/// Nobody's number on any side.
const OWNER: u32 = 1234;

/// It is in the root before the image's init looks for units.
const UNIT: &str =
    "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=cp /etc/motd /run/said\n";

/// A boot from a manager that has never seen this machine; what it is.
fn once(case: &Case, store: &Path, owner: u32) -> Result<String> {
    // In a new network the machine has its first MAC again.
    let lan = Lan::new()?;
    let manager = Manager::serve(case, store, CONFIG, &["--dhcp", "full", "--pool", POOL])?;
    let mut worker = Machine::direct(768).boot(case, &lan)?;
    let console = &mut worker.console;
    console.login()?;
    let fetched = console.stage(Stage::Files, crate::ANSWER)?;
    let laid = console.stage(Stage::Handover, crate::ANSWER)?;
    ensure!(
        fetched.fact("retries") == Some("0") && laid.fact("files") != Some("0"),
        "{fetched}\n{laid}"
    );
    manager.terminate()?;
    looks_right(&mut worker, owner)?;
    worker.console.run(
        "hostname; cat /etc/machine-id; systemd-machine-id-setup --print; cat /etc/ssh/ssh_host_ed25519_key.pub; cat /run/said; \
         sha256sum /etc/munge/munge.key /etc/ssh/ssh_host_ed25519_key",
    )
}

fn looks_right(worker: &mut Worker, owner: u32) -> Result<()> {
    let console = &mut worker.console;
    let name = console.run("cat /proc/sys/kernel/hostname /etc/hostname | uniq")?;
    ensure!(name == "worker-123400", "the host name is {name:?}");
    let modes = console.run(
        "stat -c '%a %u:%g %n' /etc/machine-id /etc/ssh/ssh_host_ed25519_key /etc/motd /etc/munge /etc/munge/munge.key; ls /etc/rancher 2>&1; true",
    )?;
    let want = format!(
        "444 0:0 /etc/machine-id\n\
        600 0:0 /etc/ssh/ssh_host_ed25519_key\n\
        644 0:0 /etc/motd\n\
        700 {owner}:{owner} /etc/munge\n\
        400 {owner}:{owner} /etc/munge/munge.key"
    );
    ensure!(modes.starts_with(&want), "modes and owners are\n{modes}");
    ensure!(
        modes.contains("No such file"),
        "an image without k3s has no /etc/rancher: {modes}"
    );
    let motd = console.run("cat /run/said")?;
    let id = console.run("cat /etc/machine-id")?;
    let want = format!("{name} ({id}) runs default of http://{MANAGER}:8067");
    ensure!(motd == want, "the template became {motd:?}");
    // Whom a client on the network meets.
    let public = console.run("cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub")?;
    console.run("systemctl is-active ssh.service said.service")?;
    let dhcp = console.stage(Stage::Dhcp, crate::ANSWER)?;
    let address = dhcp.fact("addr").context("an address")?;
    let met = run("ssh-keyscan", &["-t", "ed25519", "-T", "60", address])?;
    ensure!(met.contains(&public), "{met:?} is not {public:?}");
    Ok(())
}
