//! Wired network links as /sys/class/net shows them: Ethernet, with hardware behind, not wireless.

use std::fs;
use std::path::Path;

use ramboot_wire::Mac;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// `eth0`
    pub name: String,
    /// The kernel's number for it; a rename does not change it.
    pub index: u32,
    /// Its hardware address.
    pub mac: Mac,
    /// Something is at the other end of the cable.
    pub carrier: bool,
}

/// All there are, by number.
#[must_use]
pub fn wired(class_net: &Path) -> Vec<Link> {
    let Ok(entries) = fs::read_dir(class_net) else {
        return Vec::new();
    };
    let mut links: Vec<Link> = entries
        .flatten()
        .filter_map(|entry| link(&entry.path()))
        .collect();
    links.sort_by_key(|link| link.index);
    links
}

/// Whether something is at the other end of the cable of the link with this name; true if the kernel does not say.
#[must_use]
pub fn has_carrier(class_net: &Path, name: &str) -> bool {
    let text = fs::read_to_string(class_net.join(name).join("carrier"));
    text.map_or(true, |text| text.trim_end() != "0")
}

fn link(folder: &Path) -> Option<Link> {
    let read = |file: &str| {
        let text = fs::read_to_string(folder.join(file)).ok()?;
        Some(text.trim_end().to_owned())
    };
    let has = |file: &str| fs::symlink_metadata(folder.join(file)).is_ok();
    // ARPHRD_ETHER; bridges, bonds and the like have no device behind them.
    if read("type")? != "1" || !has("device") || has("wireless") || has("phy80211") {
        return None;
    }
    Some(Link {
        name: folder.file_name()?.to_str()?.to_owned(),
        index: read("ifindex")?.parse().ok()?,
        mac: read("address")?.parse().ok()?,
        // Reading fails with EINVAL while the link is down.
        carrier: read("carrier").as_deref() == Some("1"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wired_hardware_counts() {
        let root = std::env::temp_dir().join(format!("ramboot-links-{}", std::process::id()));
        let make = |name: &str, index: &str, extra: &[(&str, &str)]| {
            let folder = root.join(name);
            fs::create_dir_all(&folder).expect("folder");
            let base = [
                ("type", "1"),
                ("ifindex", index),
                ("address", "52:54:00:12:34:56"),
            ];
            for (file, text) in base.iter().chain(extra) {
                fs::write(folder.join(file), format!("{text}\n")).expect("file");
            }
        };
        make("lo", "1", &[("type", "772")]);
        make("eth1", "3", &[("device", ""), ("carrier", "1")]);
        make("eth0", "2", &[("device", ""), ("carrier", "0")]);
        make("wlan0", "4", &[("device", ""), ("phy80211", "")]);
        make("br0", "5", &[]);
        make("odd0", "6", &[("device", ""), ("address", "not a MAC")]);
        let found: Vec<(String, bool)> = wired(&root)
            .into_iter()
            .map(|link| (link.name, link.carrier))
            .collect();
        let carriers = ["eth0", "eth1", "gone0"].map(|name| has_carrier(&root, name));
        fs::remove_dir_all(&root).expect("clean up");
        assert_eq!(
            found,
            [("eth0".to_owned(), false), ("eth1".to_owned(), true)]
        );
        assert_eq!(carriers, [false, true, true]);
    }
}
