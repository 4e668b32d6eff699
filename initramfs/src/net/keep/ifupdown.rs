//! Debian's ifupdown: a stanza for the link's MAC, whatever its name will be (man interfaces(5), pattern matching).
//!
//! The first line that brings a link up counts and later ones find it up, so ours stands at the head of
//! /etc/network/interfaces. Its commands change nothing while all is as `/init` left it; `ifup` after `ifdown` sets all
//! anew. The method is `manual`, as `static` fails if the address is there.

use super::{HandoverFile, TextFile, Uplink, Why, address, spaced};
use crate::net::lease::Lease;

pub(super) fn decide(
    files: &[TextFile],
    uplink: &Uplink,
    lease: &Lease,
) -> Result<HandoverFile, Why> {
    for file in files {
        if let Some(what) = named(&file.text, uplink) {
            let path = file.path.clone();
            return Err(Why::Named { path, what });
        }
    }
    let main = files.iter().find(|file| file.path == PATH);
    if main.is_some_and(|file| !file.whole) {
        let path = PATH.to_owned();
        return Err(Why::NotText { path });
    }
    let rest = main.map_or("", |file| &file.text);
    Ok(HandoverFile {
        path: PATH.to_owned(),
        mode: 0o644,
        content: stanza(uplink, lease) + rest,
    })
}

fn stanza(uplink: &Uplink, lease: &Lease) -> String {
    let Uplink { mac, names } = uplink;
    // Here patterns are not understood.
    let names = names.join(" ");
    // In a /31 and a /32 there is no broadcast address.
    let broadcast = if lease.prefix < 31 { "brd + " } else { "" };
    let mut text = format!(
        "# Made by ramboot's /init: the address this machine booted with stays.\n\
         auto mac/{mac}=ramboot\n\
         allow-hotplug mac/{mac}=ramboot\n\
         no-auto-down {names}\n\
         iface ramboot inet manual\n    \
             up ip address replace {} {broadcast}dev $IFACE\n",
        address(lease)
    );
    if let Some(mtu) = lease.mtu {
        text += &format!("    up ip link set dev $IFACE mtu {mtu}\n");
    }
    for route in &lease.routes {
        let to = if route.is_default() {
            "default".to_owned()
        } else {
            route.to_string()
        };
        text += &match route.via {
            Some(router) => {
                format!("    up ip route replace {to} via {router} dev $IFACE onlink\n")
            }
            None => format!("    up ip route replace {to} dev $IFACE scope link\n"),
        };
    }
    if !lease.dns.is_empty() {
        // For resolvconf, if it is there.
        text += &format!("    dns-nameservers {}\n", spaced(&lease.dns));
    }
    if !lease.search_list().is_empty() {
        text += &format!("    dns-search {}\n", lease.search_list().join(" "));
    }
    text + "\n"
}

/// What in it is for the link itself. A stanza for IPv6 says nothing of our address.
fn named(text: &str, uplink: &Uplink) -> Option<String> {
    text.lines().find_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            ["iface", name, "inet", ..] if uplink.is_named(name) => Some((*name).to_owned()),
            ["auto" | "allow-auto" | "allow-hotplug", patterns @ ..] => patterns
                .iter()
                .filter_map(|pattern| pattern.strip_prefix("mac/")?.split(['/', '=']).next())
                .find(|mac| mac.parse().is_ok_and(|mac| uplink.mac == mac))
                .map(str::to_owned),
            _ => None,
        }
    })
}

const PATH: &str = "/etc/network/interfaces";
