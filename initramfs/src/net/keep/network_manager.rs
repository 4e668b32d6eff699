//! NetworkManager: a profile in /run/NetworkManager/system-connections, where those of an initramfs belong (man
//! nm-settings-keyfile(5), nm-initrd-generator(8)).
//!
//! When it starts it touches nothing that is configured already: it makes the link's state the profile that describes it,
//! ours (keep-configuration in man NetworkManager.conf(5)). Ours also is the first choice should the link come anew.

use super::ini::entries;
use super::{Claim, HandoverFile, TextFile, Uplink, Why, address, claim};
use crate::net::lease::Lease;

pub(super) fn decide(
    files: &[TextFile],
    uplink: &Uplink,
    lease: &Lease,
) -> Result<HandoverFile, Why> {
    for file in files {
        let path = || file.path.clone();
        let profile = Profile::read(&file.text);
        match profile.claims(uplink) {
            Claim::Other => {}
            Claim::Named(what) => return Err(Why::Named { path: path(), what }),
            Claim::Generic => {
                if let Some(what) = profile.more_than_dhcp {
                    let what = what.to_owned();
                    return Err(Why::MoreThanDhcp { path: path(), what });
                }
            }
        }
    }
    Ok(HandoverFile {
        path: "/run/NetworkManager/system-connections/ramboot.nmconnection".to_owned(),
        mode: 0o600,
        content: content(uplink, lease),
    })
}

fn content(uplink: &Uplink, lease: &Lease) -> String {
    let mut text = format!(
        "# Made by ramboot's /init: the address this machine booted with stays.\n\
         [connection]\n\
         id=ramboot\n\
         type=ethernet\n\
         autoconnect-priority=999\n\n\
         [ethernet]\n\
         mac-address={}\n\
         # The address was given to this MAC.\n\
         cloned-mac-address=preserve\n",
        uplink.mac
    );
    if let Some(mtu) = lease.mtu {
        text += &format!("mtu={mtu}\n");
    }
    text += &format!("\n[ipv4]\nmethod=manual\naddress1={}\n", address(lease));
    let mut number = 0;
    for route in &lease.routes {
        match route.via {
            Some(router) if route.is_default() => text += &format!("gateway={router}\n"),
            via => {
                number += 1;
                text += &format!("route{number}={route}");
                // The next hop may lie outside of the subnet.
                text += &via.map_or_else(
                    || "\n".to_owned(),
                    |router| format!(",{router}\nroute{number}_options=onlink=true\n"),
                );
            }
        }
    }
    if !lease.dns.is_empty() {
        let servers: String = lease.dns.iter().map(|dns| format!("{dns};")).collect();
        text += &format!("dns={servers}\n");
    }
    if !lease.search_list().is_empty() {
        text += &format!("dns-search={};\n", lease.search_list().join(";"));
    }
    text + "\n[ipv6]\nmethod=auto\nmay-fail=true\n"
}

/// What matters of a profile.
#[derive(Debug, Default)]
struct Profile<'a> {
    wired: bool,
    name: Option<&'a str>,
    mac: Option<&'a str>,
    more_than_dhcp: Option<&'a str>,
}

impl<'a> Profile<'a> {
    fn read(text: &'a str) -> Self {
        let mut this = Self::default();
        for entry in entries(text).filter(|entry| !entry.value.is_empty()) {
            match (entry.section, entry.key) {
                // The long names are what these were before 1.0, and still valid.
                ("connection", "type") => {
                    this.wired = matches!(entry.value, "ethernet" | "802-3-ethernet");
                }
                ("connection" | "match", "interface-name") => this.name = Some(entry.value),
                ("ethernet" | "802-3-ethernet", "mac-address") => this.mac = Some(entry.value),
                ("connection", "master" | "controller") => this.more_than_dhcp = Some(entry.key),
                ("ipv4", "method") if entry.value != "auto" => {
                    this.more_than_dhcp = Some("a method other than auto");
                }
                ("ipv4", key) if key.starts_with("address") => this.more_than_dhcp = Some(key),
                _ => {}
            }
        }
        this
    }

    fn claims(&self, uplink: &Uplink) -> Claim {
        if !self.wired {
            return Claim::Other;
        }
        if let Some(mac) = self.mac {
            let ours = mac.parse().is_ok_and(|mac| uplink.mac == mac);
            return if ours {
                Claim::Named(uplink.mac.to_string())
            } else {
                Claim::Other
            };
        }
        self.name.map_or(Claim::Generic, |name| claim(name, uplink))
    }
}
