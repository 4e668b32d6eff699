//! dhcpcd: blocks at the end of /etc/dhcpcd.conf (man dhcpcd.conf(5)), the only file it reads.
//!
//! dhcpcd knows links by name alone, and exactly: one block for each name that the link has or may get. A static address is
//! kept without a lease; `persistent` leaves it there when dhcpcd ends.

use std::net::Ipv4Addr;

use super::{Claim, HandoverFile, TextFile, Uplink, Why, address, claim, spaced};
use crate::net::lease::Lease;

pub(super) fn decide(
    files: &[TextFile],
    uplink: &Uplink,
    lease: &Lease,
) -> Result<HandoverFile, Why> {
    let path = || PATH.to_owned();
    let main = files.iter().find(|file| file.path == PATH);
    if main.is_some_and(|file| !file.whole) {
        return Err(Why::NotText { path: path() });
    }
    let text = main.map_or("", |file| &file.text);
    for (option, value) in options(text) {
        let patterns = || {
            value
                .split([' ', ',', '\t'])
                .filter(|word| !word.is_empty())
        };
        match option {
            "interface" if uplink.is_named(value) => {
                let what = value.to_owned();
                return Err(Why::Named { path: path(), what });
            }
            "denyinterfaces" if patterns().any(|p| claim(p, uplink) != Claim::Other) => {
                return Err(Why::NotIts { path: path() });
            }
            "allowinterfaces" if patterns().all(|p| claim(p, uplink) == Claim::Other) => {
                return Err(Why::NotIts { path: path() });
            }
            _ => {}
        }
    }
    let mut content = text.to_owned();
    content += "\n# Made by ramboot's /init: the address this machine booted with stays.\n";
    for name in &uplink.names {
        content += &block(name, lease);
    }
    Ok(HandoverFile {
        path: path(),
        mode: 0o644,
        content,
    })
}

fn block(name: &str, lease: &Lease) -> String {
    let mut text = format!(
        "interface {name}\n    static ip_address={}\n",
        address(lease)
    );
    for route in &lease.routes {
        // One a line; a gateway must stand there, and 0.0.0.0 is none.
        text += &match route.via {
            Some(router) if route.is_default() => format!("    static routers={router}\n"),
            via => {
                let router = via.unwrap_or(Ipv4Addr::UNSPECIFIED);
                format!("    static routes={route} {router}\n")
            }
        };
    }
    if !lease.dns.is_empty() {
        text += &format!("    static domain_name_servers={}\n", spaced(&lease.dns));
    }
    if !lease.search_list().is_empty() {
        let list = lease.search_list().join(" ");
        text += &format!("    static domain_search={list}\n");
    }
    if !lease.ntp.is_empty() {
        text += &format!("    static ntp_servers={}\n", spaced(&lease.ntp));
    }
    if let Some(mtu) = lease.mtu {
        text += &format!("    static interface_mtu={mtu}\n");
    }
    text + "    persistent\n"
}

/// The first word of each line and the rest of it.
fn options(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.lines().map(str::trim).filter(|l| !l.starts_with('#'));
    lines.filter_map(|line| {
        let (option, value) = line.split_once([' ', '\t'])?;
        Some((option, value.trim_start()))
    })
}

const PATH: &str = "/etc/dhcpcd.conf";
