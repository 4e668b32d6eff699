//! The worker's image on the host: built by its recipe, and asked what its files should be.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{command, run};

/// A squashfs.
#[derive(Debug)]
pub(crate) struct Image {
    /// Where.
    pub(crate) path: PathBuf,
}

/// sha256 by path, as sha256sum prints them.
pub(crate) type Digests = BTreeMap<String, String>;

impl Image {
    /// images/debian, built now if its recipe changed since it was built.
    pub(crate) fn debian() -> Result<Self> {
        Self::built("debian")
    }

    /// The same for arm64, with what Raspberry Pis boot from.
    pub(crate) fn raspberry_pi() -> Result<Self> {
        Self::built("raspberry-pi")
    }

    /// The first one with four network managers, of which none starts unless the kernel command line says so.
    pub(crate) fn network_managers() -> Result<Self> {
        Self::built("network-managers")
    }

    /// The first one with podman and containerd.
    pub(crate) fn containers() -> Result<Self> {
        Self::built("containers")
    }

    /// The first one with SELinux's policy, and without its labels.
    pub(crate) fn selinux() -> Result<Self> {
        Self::built("selinux")
    }

    /// The first one with Slurm.
    pub(crate) fn slurm_worker() -> Result<Self> {
        Self::built("slurm-worker")
    }

    fn built(recipe: &str) -> Result<Self> {
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = project.join(format!("target/images/{recipe}.sqfs"));
        let status = command("images/build.sh")
            .arg(recipe)
            .arg(&path)
            .current_dir(project)
            .stdout(Stdio::null())
            .status()?;
        ensure!(
            status.success(),
            "images/build.sh {recipe}: {status} (tests/setup.sh installs what it needs)"
        );
        Ok(Self { path })
    }

    /// A squashfs of all below `tree`, as root owns it.
    pub(crate) fn of_tree(tree: &Path, folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(name);
        let status = command("mksquashfs")
            .args([tree, &path])
            .args(["-quiet", "-no-progress", "-noappend", "-all-root"])
            .args(["-comp", "zstd", "-Xcompression-level", "3"])
            .stdout(Stdio::null())
            .status()?;
        ensure!(status.success(), "packing {}: {status}", path.display());
        Ok(Self { path })
    }

    /// These files and folders of it, below `tree`.
    pub(crate) fn unpack(&self, tree: &Path, paths: &[&str]) -> Result<()> {
        let tree = tree.to_str().context("a path in UTF-8")?;
        let image = self.path.to_str().context("a path in UTF-8")?;
        let mut args = vec!["-quiet", "-no-progress", "-no-xattrs", "-force", "-dest"];
        args.extend([tree, image]);
        args.extend(paths);
        run("unsquashfs", &args).map(drop)
    }

    /// A copy with this text file more, which it does not have yet.
    pub(crate) fn with_file(&self, folder: &Path, path: &str, text: &str) -> Result<Self> {
        let (tree, made) = (folder.join("more"), folder.join("more.sqfs"));
        let file = tree.join(path);
        fs::create_dir_all(file.parent().context("a folder")?)?;
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        let script = format!(
            "sqfs2tar '{image}' >more.tar; tar --append --file=more.tar --owner=0 --group=0 --directory=more {path}; \
             mksquashfs - more.sqfs -tar -root-mode 0755 -quiet -no-progress -comp zstd -Xcompression-level 1 <more.tar >/dev/null; \
             rm -r more more.tar",
            image = self.path.display()
        );
        let status = command("sh")
            .args(["-euc", &script])
            .current_dir(folder)
            .status()?;
        ensure!(status.success(), "adding /{path}: {status}");
        Ok(Self { path: made })
    }

    /// A copy with so many more bytes that no compression makes fewer.
    pub(crate) fn padded(&self, folder: &Path, bytes: u64) -> Result<Self> {
        let (path, noise) = (folder.join("padded.sqfs"), folder.join("noise"));
        fs::copy(&self.path, &path).context("copying the image")?;
        let mut random = File::open("/dev/urandom")?.take(bytes);
        let copied = io::copy(&mut random, &mut File::create(&noise)?)?;
        ensure!(copied == bytes, "{copied} random bytes instead of {bytes}");
        let status = command("mksquashfs")
            .args([&noise, &path])
            .args(["-quiet", "-no-progress"])
            .stdout(Stdio::null())
            .status()?;
        ensure!(
            status.success(),
            "appending to {}: {status}",
            path.display()
        );
        fs::remove_file(&noise)?;
        Ok(Self { path })
    }

    /// Bytes.
    pub(crate) fn size(&self) -> Result<u64> {
        Ok(fs::metadata(&self.path)?.len())
    }

    /// Digests of all files below some folders of the image, read from the squashfs on the host.
    pub(crate) fn digests(&self, scratch: &Path, folders: &[&str]) -> Result<Digests> {
        let tree = scratch.join("tree");
        self.unpack(&tree, folders)?;
        let tree_name = tree.to_str().context("a path in UTF-8")?;
        let out = run(
            "sh",
            &["-euc", &format!("cd '{tree_name}'; {}", sum_of(folders))],
        )?;
        fs::remove_dir_all(&tree)?;
        let digests = parse(&out)?;
        ensure!(
            digests.len() > folders.len(),
            "only {} files below {folders:?} in {}",
            digests.len(),
            self.path.display()
        );
        Ok(digests)
    }
}

/// In the place of an init what `publish` asks of one: the head of a program for this machine (`e_machine`).
pub(crate) fn put_init(tree: &Path, machine: u8) -> Result<()> {
    let mut head = vec![0; 64];
    head[..6].copy_from_slice(b"\x7fELF\x02\x01");
    // ET_EXEC
    head[16] = 2;
    head[18] = machine;
    let path = tree.join("sbin/init");
    fs::create_dir_all(tree.join("sbin"))?;
    fs::write(&path, head).with_context(|| format!("writing {}", path.display()))?;
    fs::set_permissions(&path, Permissions::from_mode(0o755)).context("making init executable")
}

/// The command that prints digests of all files below some folders of the current one, here and in a worker.
pub(crate) fn sum_of(folders: &[&str]) -> String {
    format!(
        "find {} -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum",
        folders.join(" ")
    )
}

/// Reads what sha256sum printed.
pub(crate) fn parse(text: &str) -> Result<Digests> {
    text.lines()
        .map(|line| match line.split_once("  ") {
            Some((digest, path)) if digest.len() == 64 => Ok((path.to_owned(), digest.to_owned())),
            _ => bail!("{line:?} is no line of sha256sum"),
        })
        .collect()
}
