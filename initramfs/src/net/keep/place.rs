//! Where the boot link sits, read from sysfs and the device tree for [`super::names`].

use std::fs;
use std::path::Path;

use super::names::{Place, address};
use crate::net::links::Link;

/// What sysfs says of a link. What is not there is left out.
pub(super) fn place(link: &Link) -> Place {
    let class = Path::new("/sys/class/net").join(&link.name);
    let real = |path: &Path| fs::canonicalize(path).map(|path| path.display().to_string());
    let path = real(&class).unwrap_or_default();
    let number = |file: &str| {
        let device = address(&path).and_then(|pci| path.find(pci).map(|at| at + pci.len()));
        let file = Path::new(path.get(..device?)?).join(file);
        fs::read_to_string(file).ok()?.trim_end().parse().ok()
    };
    let node = real(&class.join("device/of_node")).unwrap_or_default();
    Place {
        name: link.name.clone(),
        mac: link.mac,
        onboard: number("acpi_index").or_else(|| number("index")),
        slot: address(&path).and_then(slot),
        alias: alias(&node),
        path,
    }
}

/// /sys/bus/pci/slots/N/address is the device's without its function.
fn slot(address: &str) -> Option<u32> {
    let (device, _function) = address.rsplit_once('.')?;
    let slots = fs::read_dir("/sys/bus/pci/slots").ok()?.flatten();
    slots
        .filter(|slot| {
            fs::read_to_string(slot.path().join("address")).is_ok_and(|a| a.trim_end() == device)
        })
        .find_map(|slot| slot.file_name().to_str()?.parse().ok())
}

fn alias(node: &str) -> Option<u32> {
    (0..10).find(|n| {
        let path = format!("/proc/device-tree/aliases/ethernet{n}");
        fs::read_to_string(path).is_ok_and(|target| {
            let target = target.trim_end_matches('\0');
            !target.is_empty() && node.ends_with(target)
        })
    })
}
