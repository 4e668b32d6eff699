//! systemd-networkd: a .network file in /run/systemd/network with the address as a fixed one (man systemd.network(5)).
//!
//! networkd takes the first file that matches, by name and whatever the folder. Ours comes just before the first rule for
//! whatever there is, hence after those that are for one link which only a running system can tell (`Path=`, `Driver=`).

use super::ini::{Entry, entries};
use super::netplan;
use super::{Claim, HandoverFile, TextFile, Uplink, Why, address, claim};
use crate::net::lease::Lease;

pub(super) fn decide(
    files: &[TextFile],
    uplink: &Uplink,
    lease: &Lease,
) -> Result<HandoverFile, Why> {
    let mut before = None;
    for file in in_order(files) {
        match claims(file, uplink) {
            Claim::Other => {}
            Claim::Named(what) => {
                return Err(Why::Named {
                    path: file.path.clone(),
                    what,
                });
            }
            Claim::Generic => {
                if let Some(what) = more_than_dhcp(file) {
                    return Err(Why::MoreThanDhcp {
                        path: file.path.clone(),
                        what,
                    });
                }
                before = Some(just_before(file));
                break;
            }
        }
    }
    let name = before.unwrap_or_else(|| LAST.to_owned());
    Ok(HandoverFile {
        path: format!("/run/systemd/network/{name}.network"),
        mode: 0o644,
        content: content(uplink, lease),
    })
}

fn content(uplink: &Uplink, lease: &Lease) -> String {
    let mut text = format!(
        "# Made by ramboot's /init: the address this machine booted with stays.\n\
         [Match]\n\
         MACAddress={}\n\
         # A bridge, bond or VLAN over the link has its MAC, too, and a type of its own.\n\
         Type=ether\n\n\
         [Network]\n\
         Address={}\n",
        uplink.mac,
        address(lease)
    );
    for dns in &lease.dns {
        text += &format!("DNS={dns}\n");
    }
    if !lease.search_list().is_empty() {
        text += &format!("Domains={}\n", lease.search_list().join(" "));
    }
    for server in &lease.ntp {
        text += &format!("NTP={server}\n");
    }
    // Neither taken away at networkd's start, nor at its stop, nor while the cable is out (the last key implies
    // IgnoreCarrierLoss=). It also spares systemd-networkd-wait-online 12 s for an IPv6 router.
    text += "KeepConfiguration=yes\nConfigureWithoutCarrier=yes\n";
    for route in &lease.routes {
        text += "\n[Route]\n";
        // A gateway alone makes it the default route.
        if !route.is_default() || route.via.is_none() {
            text += &format!("Destination={route}\n");
        }
        text += &route.via.map_or_else(
            || "Scope=link\n".to_owned(),
            |router| format!("Gateway={router}\nGatewayOnLink=yes\n"),
        );
    }
    if let Some(mtu) = lease.mtu {
        text += &format!("\n[Link]\nMTUBytes={mtu}\n");
    }
    text
}

/// The files that count: of two with one name the first (/etc before /usr), then by name.
fn in_order(files: &[TextFile]) -> Vec<&TextFile> {
    let mut counted: Vec<&TextFile> = Vec::new();
    for file in files.iter().filter(|file| is_network(file)) {
        if !counted.iter().any(|other| name(other) == name(file)) {
            counted.push(file);
        }
    }
    counted.sort_by(|a, b| order(a).cmp(order(b)));
    counted
}

fn is_network(file: &TextFile) -> bool {
    file.path.ends_with(".network") || is_netplan(file)
}

/// netplan makes 10-netplan-ID.network of it while systemd starts.
fn is_netplan(file: &TextFile) -> bool {
    file.path.ends_with(".yaml")
}

fn order(file: &TextFile) -> &str {
    if is_netplan(file) {
        netplan::ORDER
    } else {
        name(file)
    }
}

/// A name that comes before this file's, and after those of all that come before it: '+' sorts before '-', and that before
/// '.'.
fn just_before(file: &TextFile) -> String {
    let name = order(file);
    match name.strip_suffix(".network") {
        Some(stem) => format!("{stem}-ramboot"),
        None => format!("{name}+ramboot"),
    }
}

fn name(file: &TextFile) -> &str {
    file.path.rsplit('/').next().unwrap_or_default()
}

/// What `[Match]` says; all of it must be true for a link.
fn claims(file: &TextFile, uplink: &Uplink) -> Claim {
    if is_netplan(file) {
        return netplan::claims(&file.text, uplink);
    }
    let mut all = Claim::Generic;
    let mut sections = false;
    for Entry {
        section,
        key,
        value,
    } in entries(&file.text)
    {
        sections |= section == "Match";
        if section != "Match" || value.is_empty() {
            continue;
        }
        match one(key, value, uplink) {
            Claim::Other => return Claim::Other,
            Claim::Generic => {}
            named => all = named,
        }
    }
    // Without [Match] networkd ignores a file (since 243 it says so).
    if sections { all } else { Claim::Other }
}

fn one(key: &str, value: &str, uplink: &Uplink) -> Claim {
    let words = value.split_ascii_whitespace();
    match key {
        "MACAddress" | "PermanentMACAddress" => {
            let ours = words
                .filter_map(|word| word.parse().ok())
                .any(|mac| uplink.mac == mac);
            if ours {
                Claim::Named(uplink.mac.to_string())
            } else {
                Claim::Other
            }
        }
        "Name" if value.starts_with('!') => Claim::Generic,
        "Name" => {
            let mut best = Claim::Other;
            for word in words {
                match claim(word, uplink) {
                    Claim::Other => {}
                    Claim::Generic => best = Claim::Generic,
                    named => return named,
                }
            }
            best
        }
        "Type" | "Kind" if value.starts_with('!') => Claim::Generic,
        "Type" if words.into_iter().any(|word| word == "ether" || word == "*") => Claim::Generic,
        // Of the machine, not of the link.
        "Architecture" | "KernelVersion" | "Credential" | "Firmware" => Claim::Generic,
        _ => Claim::Other,
    }
}

/// What a rule for whatever there is says beside DHCP that would be lost if another file came first.
fn more_than_dhcp(file: &TextFile) -> Option<String> {
    if is_netplan(file) {
        return netplan::more_than_dhcp(&file.text);
    }
    let own = [
        "Address",
        "Bridge",
        "Bond",
        "VRF",
        "BatmanAdvanced",
        "Unmanaged",
    ];
    let mut found = entries(&file.text).filter(|e| !e.value.is_empty());
    found
        .find(|e| own.contains(&e.key) && ["Network", "Address", "Link"].contains(&e.section))
        .map(|e| e.key.to_owned())
}

/// If the image has no rule for whatever there is.
const LAST: &str = "99-ramboot";
