//! Coldplug: every device in /sys says by its `modalias` which driver it wants; the table from publish time says
//! which file that is and what must be loaded before.
//!
//! The PHY of a network card has no `modalias`. The kernel asks modprobe for its driver, which is not here, and takes its
//! "Generic PHY" when the link comes up, which sets no RGMII delays (Documentation/networking/phy.rst): a board that needs
//! them has a carrier and no packets. So `phy_id` is read, too, before links are brought up. Seen on a Cadence GEM (QEMU).
//!
//! A module that fails is named, once, and stops nothing: the machine may well boot without it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ramboot_wire::ModuleTable;
use ramboot_wire::modules::{MODULES_DIR, TABLE_PATH};
use rustix::io::Errno;
use rustix::system::finit_module;

use crate::console;

/// What is loaded, and what was asked for.
#[derive(Debug, Default)]
pub struct Modules {
    table: ModuleTable,
    /// Everything tried so far, with or without success.
    tried: BTreeSet<usize>,
    seen: BTreeSet<String>,
    /// How many were loaded.
    pub loaded: usize,
    /// How many failed.
    pub failed: usize,
}

impl Modules {
    /// Reads the table. An initramfs without one belongs to a kernel with everything built in.
    ///
    /// # Errors
    /// The table is there and wrong.
    pub fn open() -> anyhow::Result<Self> {
        let path = Path::new("/").join(TABLE_PATH);
        let table = match fs::read_to_string(&path) {
            Ok(text) => ModuleTable::parse(&text)?,
            Err(error) if error.kind() == ErrorKind::NotFound => ModuleTable::default(),
            Err(error) => return Err(error).context("reading the module table"),
        };
        Ok(Self {
            table,
            ..Self::default()
        })
    }

    /// Loads what every machine needs.
    pub fn always(&mut self) {
        let always = self.table.always.clone();
        self.load(always);
    }

    /// Loads what the devices that are there now want, until that reveals no more: a bus driver brings devices.
    pub fn coldplug(&mut self) {
        loop {
            let fresh: Vec<String> = modaliases(Path::new("/sys/devices"))
                .into_iter()
                .filter(|alias| !self.seen.contains(alias))
                .collect();
            if fresh.is_empty() {
                return;
            }
            let wanted: Vec<usize> = fresh
                .iter()
                .flat_map(|alias| self.table.matching(alias))
                .collect();
            self.seen.extend(fresh);
            self.load(wanted);
        }
    }

    /// Gives the RAM of the module files back. No module can be loaded after that.
    pub fn drop_files(&mut self) {
        self.table = ModuleTable::default();
        fs::remove_dir_all(Path::new("/").join(MODULES_DIR)).ok();
        fs::remove_file(Path::new("/").join(TABLE_PATH)).ok();
    }

    fn load(&mut self, wanted: Vec<usize>) {
        for number in self.table.closure(wanted) {
            if !self.tried.insert(number) {
                continue;
            }
            let Some(module) = self.table.modules.get(number) else {
                continue;
            };
            match insert(&Path::new("/").join(MODULES_DIR).join(&module.path)) {
                Ok(()) => {
                    self.loaded += 1;
                    console::debug(|| format!("loaded {}", module.path));
                }
                Err(error) => {
                    self.failed += 1;
                    console::say(&format!("ramboot: module {}: {error:#}", module.path));
                }
            }
        }
    }
}

fn insert(path: &Path) -> anyhow::Result<()> {
    let file = File::open(path).context("opening")?;
    match finit_module(&file, c"", 0) {
        // Built in, or loaded by the kernel's own request meanwhile.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error).context("loading"),
    }
}

/// What the kernel would ask modprobe for (`MDIO_ID_FMT`): `0x01410cc2` → `mdio:00000001010000010000110011000010`.
fn phy_alias(id: &str) -> Option<String> {
    let id = u32::from_str_radix(id.trim_end().strip_prefix("0x")?, 16).ok()?;
    // A PHY of clause 45 has its numbers elsewhere.
    (id != 0).then(|| format!("mdio:{id:032b}"))
}

/// The distinct `modalias` texts of all devices below `root`, and those of PHYs. Symbolic links lead in circles in /sys; none is followed.
fn modaliases(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        // A device may be unplugged while we look.
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                // Every device has this folder, and it holds no device: four of ten folders.
                if entry.file_name() != "power" {
                    open.push(entry.path());
                }
            } else if entry.file_name() == "modalias" {
                let text = fs::read_to_string(entry.path());
                found.extend(text.map(|text| text.trim_end().to_owned()));
            } else if entry.file_name() == "phy_id" {
                let text = fs::read_to_string(entry.path());
                found.extend(text.ok().and_then(|text| phy_alias(&text)));
            }
        }
    }
    found.remove("");
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phy_has_the_alias_that_its_driver_names() {
        // QEMU's Cadence GEM has a Marvell 88E1111; the pattern is the one of Debian's marvell.ko.
        let table = ModuleTable::parse(
            "ramboot-modules 1\nm marvell.ko\na mdio:0000000101000001000011001100???? 0\n",
        )
        .expect("a table");
        let alias = phy_alias("0x01410cc2\n").expect("an id");
        assert_eq!(alias, "mdio:00000001010000010000110011000010");
        assert_eq!(table.matching(&alias).collect::<Vec<_>>(), [0]);
        for none in ["", "0x", "0x00000000\n", "01410cc2", "0x101410cc2"] {
            assert_eq!(phy_alias(none), None, "{none}");
        }
    }

    #[test]
    fn modaliases_are_found_at_any_depth_and_links_are_not_followed() {
        let root = std::env::temp_dir().join(format!("ramboot-modalias-{}", std::process::id()));
        let deep = root.join("pci0000:00/0000:00:03.0/virtio0");
        fs::create_dir_all(&deep).expect("folders");
        fs::write(deep.join("modalias"), "virtio:d00000001v00001AF4\n").expect("file");
        fs::write(root.join("pci0000:00/modalias"), "\n").expect("file");
        fs::write(root.join("pci0000:00/phy_id"), "0x00000005\n").expect("file");
        std::os::unix::fs::symlink(&root, deep.join("subsystem")).expect("link");
        let found = modaliases(&root);
        fs::remove_dir_all(&root).expect("clean up");
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [
                "mdio:00000000000000000000000000000101",
                "virtio:d00000001v00001AF4"
            ]
        );
    }
}
