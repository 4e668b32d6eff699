//! netplan, which makes networkd's files from YAML while systemd starts: 10-netplan-ID.network (man netplan-generate(8)).
//!
//! The YAML is not parsed. What matters is whether it speaks of one link or of more than DHCP, and for that its keys will
//! do. One key too many leaves the link to the image, which is the safe side.

use super::{Claim, Uplink};

/// How the names of its files begin.
pub(super) const ORDER: &str = "10-netplan";

pub(super) fn claims(text: &str, uplink: &Uplink) -> Claim {
    let lower = text.to_ascii_lowercase();
    if !lower.contains("network:") || lower.contains("renderer: networkmanager") {
        return Claim::Other;
    }
    let mac = uplink.mac.to_string();
    if lower.contains(&mac) {
        return Claim::Named(mac);
    }
    let mut keys = keys(text);
    keys.find(|key| uplink.is_named(key))
        .map_or(Claim::Generic, |name| Claim::Named(name.to_owned()))
}

pub(super) fn more_than_dhcp(text: &str) -> Option<String> {
    keys(text).find(|key| OWN.contains(key)).map(str::to_owned)
}

/// The keys of block mappings, and the items of lists.
fn keys(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim).filter(|l| !l.starts_with('#'));
    lines.filter_map(|line| {
        let key = line.trim_start_matches([' ', '-']).split(':').next()?;
        Some(key.trim_matches(['"', '\'', ' ']))
    })
}

/// What is more than DHCP.
const OWN: [&str; 5] = ["addresses", "bridges", "bonds", "vlans", "vrfs"];
