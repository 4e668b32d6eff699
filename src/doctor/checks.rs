//! From facts about this machine to findings. Pure: `facts` asks the system.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use super::facts::{Ipxe, LinkFacts, PortFact, PortState, Published, Ruled};
use super::finding::{Finding, Topic, size};
use super::firewall;
use ramboot_wire::Arch;

use crate::cli::{DEFAULT_STATE, DhcpMode};
use crate::control::{About, FOLDER, SOCKET};
use crate::dhcp::rival::Rival;
use crate::interface::{ChooseError, Interface};

/// Whether a manager runs, and which.
#[must_use]
pub(super) fn manager(
    about: &Result<About, io::ErrorKind>,
    folder: &Path,
    interface: &str,
) -> Vec<Finding> {
    let topic = Topic::Manager;
    match about {
        Ok(about) => {
            let served = about
                .interfaces
                .iter()
                .map(|one| format!("{} {}", one.name, one.address));
            let served: Vec<String> = served.collect();
            let mode = match about.dhcp.as_str() {
                "full" => "gives addresses (DHCP full)",
                "off" => "answers no DHCP (off)",
                _ => "says what to boot beside the DHCP server that is there (proxy)",
            };
            let sentence = format!(
                "ramboot {} runs (pid {}) on {}: it {mode}, HTTP {}",
                about.version,
                about.pid,
                served.join(", "),
                about.http_port
            );
            let mut found = vec![Finding::good(topic, "runs", sentence)];
            if about.version != env!("CARGO_PKG_VERSION") {
                let own = env!("CARGO_PKG_VERSION");
                found.push(
                    Finding::note(
                        topic,
                        "version",
                        format!(
                            "this program is ramboot {own}, the manager is {}",
                            about.version
                        ),
                    )
                    .with_remedy(
                        "sudo systemctl restart ramboot: machines that boot meanwhile go on",
                    ),
                );
            }
            found
        }
        Err(io::ErrorKind::PermissionDenied) => vec![Finding::warning(
            topic,
            "runs",
            format!(
                "whether a manager runs, and what it would answer, cannot be asked: {} is for root and the manager's own user",
                folder.join(SOCKET).display()
            ),
            "sudo ramboot doctor",
        )],
        Err(_) => vec![Finding::bad(
            topic,
            "runs",
            format!(
                "no manager runs: nobody listens at {}",
                folder.join(SOCKET).display()
            ),
            format!(
                "sudo systemctl start ramboot, or: sudo ramboot serve --interface {interface}{}",
                if folder == Path::new(FOLDER) {
                    String::new()
                } else {
                    format!(" --run-dir {}", folder.display())
                }
            ),
        )],
    }
}

/// Whether there is an interface to serve on.
#[must_use]
pub(super) fn interface(chosen: &Result<Interface, ChooseError>, link: &LinkFacts) -> Vec<Finding> {
    let topic = Topic::Network;
    let one = match chosen {
        Ok(one) => one,
        Err(error) => {
            let text = error.to_string();
            let (what, remedy) = text.rsplit_once(": ").unwrap_or((&text, "see ip address"));
            return vec![Finding::bad(topic, "interface", what, remedy)];
        }
    };
    let (name, address, length) = (&one.name, one.address, one.prefix_len);
    let mut found = vec![Finding::good(
        topic,
        "interface",
        format!("{name} is up and has {address}/{length}"),
    )];
    if length > 29 {
        found.push(Finding::warning(
            topic,
            "prefix",
            format!("the network {address}/{length} has no room for machines"),
            format!("ip address add {address}/24 dev {name}, and take the other one away"),
        ));
    }
    if address.is_link_local() {
        found.push(Finding::warning(
            topic,
            "link-local",
            format!("{address} is an address that a machine takes when nobody gave it one (RFC 3927): workers get others"),
            format!("give {name} a fixed address"),
        ));
    }
    if link.carrier == Some(false) {
        found.push(Finding::warning(
            topic,
            "carrier",
            format!("{name} has no carrier: nothing is plugged in, or what is there is off"),
            "plug the cable in, or switch the switch on",
        ));
    }
    if let Some(seconds) = link.stp_delay.filter(|seconds| *seconds > 0) {
        found.push(Finding::warning(
            topic,
            "stp",
            format!("{name} is a bridge with spanning tree: a machine that is switched on is not heard for {} s, and ROMs give up before", 2 * seconds),
            format!("ip link set {name} type bridge stp_state 0 (on switches: PortFast, or an edge port)"),
        ));
    }
    found
}

/// Who has the ports.
#[must_use]
pub(super) fn ports(facts: &[PortFact], http_port: u16) -> Vec<Finding> {
    let topic = Topic::Ports;
    let mut found = Vec::new();
    let named = |wanted: fn(&PortState) -> bool| {
        let names: Vec<&str> = facts
            .iter()
            .filter(|fact| wanted(&fact.state))
            .map(|fact| fact.name.as_str())
            .collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    if let Some(names) = named(|state| *state == PortState::Manager) {
        found.push(Finding::good(
            topic,
            "ports",
            format!("the manager has {names}"),
        ));
    }
    if let Some(names) = named(|state| *state == PortState::Free) {
        found.push(Finding::good(topic, "ports", format!("{names}: free")));
    }
    for fact in facts {
        match &fact.state {
            PortState::Free | PortState::Manager => {}
            PortState::Taken(by) => {
                let by = by
                    .as_deref()
                    .unwrap_or("a process that this user may not see");
                found.push(Finding::bad(
                    topic,
                    fact.check,
                    format!("{} ({}) is taken by {by}", fact.name, fact.what),
                    stop(by, fact, http_port),
                ));
            }
            PortState::Unknown(why) => found.push(
                Finding::note(
                    topic,
                    fact.check,
                    format!("{} ({}): {why}", fact.name, fact.what),
                )
                .with_remedy("sudo ramboot doctor"),
            ),
        }
    }
    found
}

/// What usually has such a port, and how it is told to leave it.
fn stop(by: &str, fact: &PortFact, http_port: u16) -> String {
    let program = by.split(' ').next().unwrap_or_default();
    match (program, fact.check) {
        (_, "http") => format!("stop it, or give another port: [http] port in the config, or --http-port (now {http_port})"),
        ("dnsmasq", "udp-69") => "take enable-tftp out of dnsmasq's config and restart it, or stop it: systemctl disable --now dnsmasq".to_owned(),
        ("dnsmasq", _) => "let dnsmasq leave this interface (except-interface=, bind-interfaces), or stop it: systemctl disable --now dnsmasq; if it is to go on giving addresses, let it run on another machine".to_owned(),
        ("in.tftpd", _) => "systemctl disable --now tftpd-hpa".to_owned(),
        ("systemd", _) => "a socket unit has it: systemctl list-sockets names it".to_owned(),
        ("ramboot", _) => "another manager runs: if it is yours, tell doctor its --run-dir; else stop it: systemctl stop ramboot".to_owned(),
        (program, _) => format!("stop {program}"),
    }
}

/// What other DHCP servers mean in each mode.
#[must_use]
pub(super) fn rivals(
    found: &io::Result<Option<Rival>>,
    mode: DhcpMode,
    interface: &Interface,
) -> Vec<Finding> {
    let (topic, name) = (Topic::Dhcp, &interface.name);
    let rival = match found {
        Ok(rival) => rival,
        Err(error) => {
            return vec![
                Finding::note(topic, "other", format!("whether another DHCP server is on {name} was not looked for: opening a packet socket: {error}"))
                    .with_remedy("sudo ramboot doctor"),
            ];
        }
    };
    let mut all = vec![match (rival, mode) {
        (None, DhcpMode::Full) => Finding::good(
            topic,
            "other",
            format!("no other DHCP server answers on {name}"),
        ),
        (None, DhcpMode::Proxy | DhcpMode::Off) => Finding::bad(
            topic,
            "other",
            format!(
                "no DHCP server answers on {name}, and ramboot gives no addresses in this mode ({}): machines get none",
                mode.word()
            ),
            format!(
                "switch the DHCP server of this network on, or let ramboot give addresses: --dhcp full{}",
                pool(interface)
            ),
        ),
        (Some(rival), DhcpMode::Full) => Finding::bad(
            topic,
            "other",
            format!(
                "another DHCP server answers on {name}: {rival}; two may give one address to two machines"
            ),
            "stop it, or serve beside it: --dhcp proxy",
        ),
        (Some(rival), DhcpMode::Proxy) => Finding::good(
            topic,
            "other",
            format!(
                "{} gives addresses on {name} (it offered {}), ramboot says what to boot",
                rival.server, rival.offered
            ),
        ),
        (Some(rival), DhcpMode::Off) => Finding::good(
            topic,
            "other",
            format!(
                "{} gives addresses on {name} (it offered {})",
                rival.server, rival.offered
            ),
        ),
    }];
    if let Some(Rival {
        server,
        boots: Some(boots),
        ..
    }) = rival
        && mode != DhcpMode::Off
    {
        all.push(Finding::warning(
            topic,
            "other-boots",
            format!("{server} itself tells machines to boot {boots}: some firmware takes that and never asks ramboot"),
            "take next-server, options 66 and 67 out of that server's config",
        ));
    }
    all
}

/// A hundred addresses in the interface's own network, where it has so many.
fn pool(interface: &Interface) -> String {
    if interface.prefix_len > 24 {
        return " --pool FIRST-LAST".to_owned();
    }
    let [a, b, c, _] = interface.address.octets();
    let address = |last| Ipv4Addr::new(a, b, c, last);
    format!(" --pool {}-{}", address(100), address(199))
}

/// Whether packets get in.
#[must_use]
pub(super) fn firewall(rules: &Ruled, probes: &[firewall::Probe], interface: &str) -> Vec<Finding> {
    let topic = Topic::Firewall;
    let mut found = match rules {
        Ruled::Rules { json, .. } => match firewall::Ruleset::parse(json) {
            Ok(ruleset) => firewall::findings(&ruleset, probes, interface),
            Err(error) => vec![Finding::note(
                topic,
                "nft",
                format!("nft's answer cannot be read: {error}"),
            )],
        },
        Ruled::NoNft => vec![Finding::note(
            topic,
            "nft",
            "not looked at: there is no program nft (apt install nftables)",
        )],
        Ruled::NotRoot => vec![
            Finding::note(topic, "nft", "not looked at: rules are shown to root only")
                .with_remedy("sudo ramboot doctor"),
        ],
        Ruled::Failed(why) => vec![Finding::note(topic, "nft", format!("not looked at: {why}"))],
    };
    if let Ruled::Rules { legacy: true, .. } = rules {
        found.push(Finding::note(topic, "iptables", "rules of the old iptables are there, too, and were not looked at: iptables-legacy -S INPUT"));
    }
    found
}

/// iPXE for each kind of firmware.
#[must_use]
pub(super) fn ipxe(facts: &Ipxe) -> Vec<Finding> {
    let topic = Topic::Firmware;
    let folder = facts.folder.display();
    let mut there = Vec::new();
    let mut found = Vec::new();
    for (firmware, file, bytes) in &facts.files {
        match bytes {
            Some(bytes) => there.push(format!("{firmware} ({file}, {})", size(*bytes))),
            None if firmware.contains("arm64") => found.push(Finding::note(
                topic,
                "ipxe",
                format!("no iPXE for {firmware} in {folder}: these boot by UEFI HTTP Boot, or by the slower TFTP, and need none"),
            )),
            None => found.push(Finding::warning(
                topic,
                "ipxe",
                format!("no iPXE for {firmware}: {file} is not in {folder}"),
                "apt install ipxe and restart the manager, or say --ipxe-dir",
            )),
        }
    }
    if !there.is_empty() {
        found.insert(
            0,
            Finding::good(topic, "ipxe", format!("iPXE for {}", there.join(", "))),
        );
    }
    found
}

/// What machines can boot.
#[must_use]
pub(super) fn images(
    published: &anyhow::Result<Vec<Published>>,
    state: &Path,
    wanted: &[String],
) -> Vec<Finding> {
    let topic = Topic::Images;
    let published = match published {
        Ok(published) => published,
        Err(error) => {
            return vec![Finding::bad(
                topic,
                "store",
                format!("the store in {} cannot be read: {error:#}", state.display()),
                "be root, or say --state",
            )];
        }
    };
    let flag = if state == Path::new(DEFAULT_STATE) {
        String::new()
    } else {
        format!(" --state {}", state.display())
    };
    if published.is_empty() {
        return vec![Finding::bad(
            topic,
            "published",
            format!(
                "nothing is published in {}: machines find the manager, and wait",
                state.display()
            ),
            format!("ramboot build SOURCE -o image.sqfs --fix && ramboot publish image.sqfs{flag}"),
        )];
    }
    let mut found: Vec<Finding> = published.iter().map(|one| image(one, &flag)).collect();
    for name in wanted {
        if !published.iter().any(|one| one.name == *name) {
            found.push(Finding::warning(
                topic,
                "wanted",
                format!("the config gives machines image {name}, and nothing is published under that name: they wait"),
                format!("ramboot publish IMAGE --name {name}{flag}, or change the config"),
            ));
        }
    }
    found
}

fn image(one: &Published, flag: &str) -> Finding {
    let name = &one.name;
    match &one.state {
        Ok(facts) => {
            let boots = match (facts.arch, facts.pis) {
                (Arch::X86_64, _) => "for x86_64 PCs",
                (Arch::Aarch64, true) => "for arm64 machines and Raspberry Pis",
                (Arch::Aarch64, false) => "for arm64 machines, not for Raspberry Pis",
            };
            let how = if facts.deep {
                "each byte read and proven"
            } else {
                "boot files proven (the image itself: --deep)"
            };
            let what = format!(
                "{name}: {}, {}, kernel {}, {boots}; {how}",
                facts.id,
                size(facts.size),
                facts.kernel
            );
            Finding::good(Topic::Images, "image", what)
        }
        Err(error) => Finding::bad(
            Topic::Images,
            "image",
            format!("{name}: {error:#}"),
            format!(
                "machines refuse what is not what was published: go back with \"ramboot rollback {name}{flag}\", or publish the image again"
            ),
        ),
    }
}

#[cfg(test)]
mod tests;
