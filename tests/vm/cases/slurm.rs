//! Nodes add themselves and work is spread: the recipe `images/slurm-worker` with its worker files, as its README says.
//!
//! One image for all. Worker files make one machine the controller; the others know only its address.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::BOOT;
use crate::case::Case;
use crate::console::Console;
use crate::image::Image;
use crate::lan::{Lan, POOL};
use crate::machine::Machine;
use crate::manager::Manager;
use crate::process::run;
use crate::wait;

/// The controller's, outside the pool's first addresses.
const CONTROLLER: &str = "192.168.77.150";

/// Machines get their MACs in the order in which they are switched on.
const CONFIG: &str = r#"
[boot]
cmdline = "console=ttyS0 quiet"
overlays = ["slurm"]
[[worker]]
mac = "52:54:00:12:34:00"
hostname = "controller"
address = "192.168.77.150"
overlays = ["slurm", "slurm-controller"]
[[worker]]
mac = "52:54:00:12:34:01"
hostname = "node-a"
[[worker]]
mac = "52:54:00:12:34:02"
hostname = "node-b"
"#;

/// Prints one line for each node that takes jobs, not more often than is good for a controller.
const IDLE: &str = "sleep 1; sinfo --noheader --Node --states=idle --format=%N";
/// When node-b's slurmd came up, as the controller knows it.
const STARTED: &str =
    "sleep 1; scontrol --oneliner show node node-b | grep -o 'SlurmdStartTime=[^ ]*'";
/// Where a job ran, and in which boot of that machine. srun would eat what is typed next.
const WHERE: &str = r#"srun --nodes=2 --input=none sh -c 'echo "$(hostname) $(cat /proc/sys/kernel/random/boot_id)"' | sort"#;

/// Two workers join a controller, a job runs on both; one that starts over is taken again, and runs one again.
pub(super) fn nodes_add_themselves(case: &Case) -> Result<()> {
    let store = case.own_store(&Image::slurm_worker()?)?;
    overlays(&store)?;
    let lan = Lan::new()?;
    let args = ["--dhcp", "full", "--pool", POOL];
    let _manager = Manager::serve(case, &store, CONFIG, &args)?;
    // One after the other: three that start at once on two processors make systemd wait too long for their devices.
    let mut controller = Machine::direct(768).boot(case, &lan)?;
    controller.console.login()?;
    let mut a = Machine::direct(640).boot(case, &lan)?;
    a.console.login()?;
    let mut b = Machine::direct(640).boot(case, &lan)?;
    b.console.login()?;
    let number = b.tap.number;
    let [a_first, b_first] = ran_on_both(&mut controller.console)
        .with_context(|| logs(&mut a.console))
        .with_context(|| logs(&mut controller.console))?;

    let started = controller.console.run(STARTED)?;
    b.console.run("systemctl --no-block reboot")?;
    b.reset(BOOT)?;
    drop(b);
    let mut b = Machine::direct(640).again(number).boot(case, &lan)?;
    b.console.login()?;
    wait::until("node-b to register again", BOOT, || {
        Ok((controller.console.run(STARTED)? != started).then_some(()))
    })?;
    let [a_second, b_second] = ran_on_both(&mut controller.console)?;
    println!("srun --nodes=2: {a_first}, {b_first}; then {a_second}, {b_second}");
    ensure!(
        a_first == a_second,
        "node-a was not switched off: boot {a_first}, then {a_second}"
    );
    ensure!(
        b_first != b_second,
        "node-b started over, and the job ran in its boot {b_first}"
    );
    Ok(())
}

/// Waits for two nodes that take jobs, and runs one on both: in which boots of node-a and node-b it ran.
fn ran_on_both(console: &mut Console) -> Result<[String; 2]> {
    wait::until("two idle nodes", BOOT, || {
        let idle = console.run(IDLE)?;
        Ok((idle.lines().count() == 2).then_some(()))
    })?;
    let ran = console.run(WHERE)?;
    let boots: Vec<&str> = ran
        .lines()
        .zip(["node-a ", "node-b "])
        .filter_map(|(line, node)| line.strip_prefix(node))
        .collect();
    let [a, b] = boots[..] else {
        bail!("srun --nodes=2 should print a line for node-a and node-b: {ran}");
    };
    ensure!(a != b, "two machines in one boot: {ran}");
    Ok([a.to_owned(), b.to_owned()])
}

/// What Slurm's daemons said.
fn logs(console: &mut Console) -> String {
    let said = console.run(
        "sinfo --list-reasons; journalctl --no-pager --lines=40 --unit slurmctld --unit slurmd --unit munge -t slurmd -t slurmstepd",
    );
    said.unwrap_or_else(|error| format!("{error:#}"))
}

/// Copies the recipe's worker files, with this network's controller in them.
fn overlays(store: &Path) -> Result<()> {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/slurm-worker/overlays");
    let script = format!(
        "mkdir -p \"$2\"; cp -a \"$1\"/. \"$2\"; cd \"$2\"; chmod 600 slurm/etc/slurm/munge.key.j2
        sed -i 's/10\\.0\\.0\\.2/{CONTROLLER}/' slurm/etc/default/slurmd slurm-controller/etc/slurm/slurm.conf.j2"
    );
    let path = |path: &Path| path.to_str().map(str::to_owned).context("a path in UTF-8");
    let (from, to) = (path(&recipe)?, path(&store.join("overlays"))?);
    run("sh", &["-euc", &script, "sh", &from, &to]).map(drop)
}
