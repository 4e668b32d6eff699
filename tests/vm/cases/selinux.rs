//! SELinux enforces on a worker as it does on a disk: the kernel denies nothing there that it does not deny the same system whose
//! root is a disk.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::BOOT;
use crate::case::Case;
use crate::console::Console;
use crate::image::Image;
use crate::initramfs;
use crate::lan::{Lan, POOL};
use crate::machine::{Board, Machine};
use crate::manager::Manager;
use crate::process::run;

const ENFORCING: &str = "console=ttyS0 security=selinux selinux=1 enforcing=1";
/// What a disk is mounted with.
const MODULES: [&str; 4] = ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"];
const MEBIBYTES: u32 = 768;
const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x36, 1];

/// A worker with labels of the policy comes up, enforcing; what it wrote before has the policy's labels; and nothing is denied that
/// is not denied on a disk.
pub(super) fn enforces(case: &Case) -> Result<()> {
    let image = labelled(case)?;
    let store = case.own_store(&image)?;
    let lan = Lan::new()?;

    let mut disk = on_disk(case, &lan)?;
    disk.console.take_over()?;
    let on_disk = denied(&mut disk.console)?;
    drop(disk);

    let config = format!("[boot]\ncmdline = \"{ENFORCING}\"\n");
    let args = ["--dhcp", "full", "--pool", POOL];
    let _manager = Manager::serve(case, &store, &config, &args)?;
    let mut worker = Machine::direct(MEBIBYTES).boot(case, &lan)?;
    worker.console.login()?;
    let labels = worker.console.run(LABELS)?;
    let denied = denied(&mut worker.console)?;
    println!("on the disk:\n{}", lines(&on_disk));
    println!("on the worker:\n{}", lines(&denied));
    ensure!(labels == RIGHT, "labels are\n{labels}\ninstead of\n{RIGHT}");
    let more: BTreeSet<_> = denied.difference(&on_disk).cloned().collect();
    ensure!(
        more.is_empty(),
        "denied on the worker and not on the disk:\n{}",
        lines(&more)
    );
    Ok(())
}

/// Of what `/init` made or wrote: the root, files of the image that it wrote anew, and one that the image has not.
const LABELS: &str = "cd /; touch /etc/fstab; stat -c '%n %C' / /etc /etc/machine-id /etc/hostname /etc/resolv.conf /etc/fstab \
    /var/lib";
const RIGHT: &str = "/ system_u:object_r:root_t:s0\n/etc system_u:object_r:etc_t:s0\n\
    /etc/machine-id system_u:object_r:etc_t:s0\n/etc/hostname system_u:object_r:net_conf_t:s0\n\
    /etc/resolv.conf system_u:object_r:net_conf_t:s0\n/etc/fstab system_u:object_r:etc_t:s0\n\
    /var/lib system_u:object_r:var_lib_t:s0";

/// What the kernel denied so far, of the machine's whole run: what for, to whom, on what.
fn denied(console: &mut Console) -> Result<BTreeSet<String>> {
    let mode = console.run("cat /sys/fs/selinux/enforce")?;
    ensure!(mode.trim() == "1", "SELinux does not enforce: {mode:?}");
    let said = console
        .run("journalctl --boot --no-pager --quiet --output=cat | grep 'avc:  denied' || true")?;
    Ok(said.lines().filter_map(denial).collect())
}

/// `avc:  denied  { read } for  pid=1 comm="x" … scontext=u:r:a_t:s0 tcontext=u:r:b_t:s0 tclass=file permissive=0`
fn denial(line: &str) -> Option<String> {
    let what = line.split_once('{')?.1.split_once('}')?.0.trim();
    let value = |key: &str| {
        line.split_ascii_whitespace()
            .find_map(|word| word.strip_prefix(key))
    };
    let (by, on) = (value("scontext=")?, value("tcontext=")?);
    Some(format!("{what}: {by} on {on} {}", value("tclass=")?))
}

fn lines(denied: &BTreeSet<String>) -> String {
    denied.iter().map(|line| format!("  {line}\n")).collect()
}

/// The recipe's image with the policy's labels, and the same files on a disk; the kernel beside them.
fn labelled(case: &Case) -> Result<Image> {
    let map = fs::read_to_string("/proc/self/uid_map")?;
    ensure!(
        map.split_ascii_whitespace().last() == Some("4294967295"),
        "only real root can set labels: this case does not run in a user namespace"
    );
    let recipe = Image::selinux()?;
    let tree = case.dir().join("tree");
    let path = case.dir().join("selinux.sqfs");
    let (disk, kernel) = (case.dir().join(DISK), case.dir().join(KERNEL));
    let shown = |path: &Path| path.to_str().map(str::to_owned).context("a path in UTF-8");
    let paths = [&recipe.path, &tree, &path, &disk, &kernel].map(|path| shown(path));
    let paths: Vec<String> = paths.into_iter().collect::<Result<_>>()?;
    let mut args = vec!["-euc", LABEL, "sh"];
    args.extend(paths.iter().map(String::as_str));
    run("sh", &args)?;
    Ok(Image { path })
}

const DISK: &str = "disk.ext4";
const KERNEL: &str = "vmlinuz";

/// RECIPE TREE IMAGE DISK KERNEL.
const LABEL: &str = r#"
    PATH=$PATH:/usr/sbin:/sbin
    unsquashfs -quiet -no-progress -dest "$2" "$1" >/dev/null
    # It names files by /proc/self/fd.
    unshare --mount sh -euc 'mount --bind /proc "$1"/proc
        chroot "$1" /usr/sbin/setfiles -m -F -e /proc /etc/selinux/default/contexts/files/file_contexts /' sh "$2"
    mksquashfs "$2" "$3" -quiet -no-progress -noappend -comp zstd -Xcompression-level 3 >/dev/null
    truncate -s 900M "$4"
    mke2fs -q -t ext4 -d "$2" "$4"
    cp "$2"/boot/vmlinuz-* "$5"
    rm -rf "$2"
"#;

/// A PC with that disk, which an initramfs mounts and starts the init of.
fn on_disk(case: &Case, lan: &Lan) -> Result<crate::machine::Worker> {
    let (modules, names) = initramfs::modules(case, &Image::selinux()?, &MODULES)?;
    let mut script = "#!/bin/busybox sh\n\
        export PATH=/bin; /bin/busybox --install -s /bin\n\
        mount -t devtmpfs dev /dev; mount -t proc proc /proc\n"
        .to_owned();
    for name in names {
        script += &format!("insmod /modules/{name}\n");
    }
    script += "mkdir /new; until mount -t ext4 /dev/vda /new; do sleep 0.1; done\n\
        umount /proc; mount -o move /dev /new/dev; exec switch_root /new /sbin/init\n";
    let initramfs = initramfs::pack(case, &modules, &script)?;
    let kernel = case.dir().join(KERNEL);
    let machine = Machine::handed_over(
        Board::Pc(MEBIBYTES),
        &kernel,
        &initramfs,
        Path::new(""),
        ENFORCING,
        MAC,
    );
    let worker = machine.with_disk(&case.dir().join(DISK)).boot(case, lan)?;
    worker.console.expect("systemd[1]: ", BOOT)?;
    Ok(worker)
}
