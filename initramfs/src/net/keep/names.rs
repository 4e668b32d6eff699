//! The names the image's udev may give the boot link. ifupdown and dhcpcd know links by name; an image's own rules name
//! them, too.
//!
//! From man systemd.net-naming-scheme(7): onboard (`eno1`), slot (`ens3`), path (`enp0s2`), device tree (`end0`), MAC
//! (`enx525400123456`). Kernels before 6.2 rename no link that is up, so there it keeps the name it has. One name too
//! many does no harm.

use ramboot_wire::Mac;

/// Where a link sits, as sysfs has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The kernel's name for it.
    pub name: String,
    /// Its hardware address.
    pub mac: Mac,
    /// The device's folder: `/sys/devices/pci0000:00/0000:00:02.0/virtio0/net/eth0`.
    pub path: String,
    /// The number of an onboard device, by ACPI or SMBIOS.
    pub onboard: Option<u32>,
    /// The number of its PCI slot.
    pub slot: Option<u32>,
    /// N of the device tree's alias `ethernetN`.
    pub alias: Option<u32>,
}

/// The name it has, then those it may get.
#[must_use]
pub fn names(place: &Place) -> Vec<String> {
    let mut names = vec![place.name.clone()];
    names.extend(place.onboard.map(|n| format!("eno{n}")));
    if let Some(pci) = pci(&place.path) {
        let domain = match pci.domain {
            0 => String::new(),
            n => format!("P{n}"),
        };
        let slot = place.slot.map(|n| format!("en{domain}s{n}"));
        let path = format!("en{domain}p{}s{}", pci.bus, pci.device);
        // Whether the device has more than one function stands in its configuration space only.
        for name in slot.into_iter().chain([path]) {
            if pci.function == 0 {
                names.push(name.clone());
            }
            names.push(format!("{name}f{}", pci.function));
        }
    }
    names.extend(place.alias.map(|n| format!("end{n}")));
    names.push(format!("enx{}", place.mac.to_string().replace(':', "")));
    names
}

/// `0000:00:02.0`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pci {
    domain: u32,
    bus: u32,
    device: u32,
    function: u32,
}

/// The PCI device a link is a part of. One behind USB is none: those go by MAC (Debian's 73-usb-net-by-mac.link).
fn pci(path: &str) -> Option<Pci> {
    address(path).and_then(parse)
}

/// `0000:00:02.0` in the path of a device.
pub(super) fn address(path: &str) -> Option<&str> {
    let mut parts = path.rsplit('/').skip(2);
    let part = parts.next()?;
    if part.starts_with("virtio") {
        parts.next()
    } else {
        Some(part)
    }
}

fn parse(address: &str) -> Option<Pci> {
    let (domain, rest) = address.split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    let hex = |digits| u32::from_str_radix(digits, 16).ok();
    Some(Pci {
        domain: hex(domain)?,
        bus: hex(bus)?,
        device: hex(device)?,
        function: hex(function)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> Place {
        Place {
            name: "eth0".to_owned(),
            mac: Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
            path: format!("/sys/devices/{path}/net/eth0"),
            onboard: None,
            slot: None,
            alias: None,
        }
    }

    #[test]
    fn names_udev_may_give() {
        let mac = "enx525400123456";
        let q35 = place("pci0000:00/0000:00:02.0/virtio0");
        let server = Place {
            onboard: Some(1),
            slot: Some(6),
            ..place("pci0000:64/0000:64:00.0/0000:65:00.1")
        };
        let pi = Place {
            alias: Some(0),
            ..place("platform/scb/fd580000.ethernet")
        };
        let usb = place("pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0");
        let odd = place("pci0000:00/0000:00:zz.0");
        let far = place("pci10000:00/10000:01:1f.0");
        for (place, want) in [
            (q35, vec!["eth0", "enp0s2", "enp0s2f0", mac]),
            (server, vec!["eth0", "eno1", "ens6f1", "enp101s0f1", mac]),
            (pi, vec!["eth0", "end0", mac]),
            (usb, vec!["eth0", mac]),
            (odd, vec!["eth0", mac]),
            (far, vec!["eth0", "enP65536p1s31", "enP65536p1s31f0", mac]),
        ] {
            assert_eq!(names(&place), want, "{place:?}");
        }
    }
}
