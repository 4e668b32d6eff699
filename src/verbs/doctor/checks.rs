//! From facts about this machine to findings. Pure: `facts` asks the system.

mod dhcp;
mod store;

use std::io;
use std::path::Path;

pub(super) use self::dhcp::rivals;
pub(super) use self::store::{images, ipxe};
use super::facts::{LinkFacts, Ruled};
use super::finding::{Finding, Topic};
use super::firewall;
use super::ports::{PortFact, PortState};
use crate::control::{About, FOLDER, SOCKET, Served};
use crate::host::interface::{ChooseError, Interface};
use crate::host::port_owner::Owner;

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

/// Interfaces that the manager serves, beside the one that all else is looked at on: whether they are there.
#[must_use]
pub(super) fn served(one: &Served, there: &Result<Interface, ChooseError>) -> Vec<Finding> {
    let Served { name, address, .. } = one;
    match there {
        Ok(there) if there.address == *address => Vec::new(),
        Ok(there) => vec![Finding::bad(
            Topic::Network,
            "served",
            format!(
                "{name} has {}, and the manager tells machines to come to {address}",
                there.address
            ),
            "sudo systemctl restart ramboot",
        )],
        Err(error) => {
            let why = error.problem();
            vec![Finding::bad(
                Topic::Network,
                "served",
                format!("the manager serves {name}, which is away: {why}"),
                "bring it back, with an IPv4 address: the manager answers on it again by itself",
            )]
        }
    }
}

/// Whether there is an interface to serve on.
#[must_use]
pub(super) fn interface(chosen: &Result<Interface, ChooseError>, link: &LinkFacts) -> Vec<Finding> {
    let topic = Topic::Network;
    let one = match chosen {
        Ok(one) => one,
        Err(error) => {
            let (problem, remedy) = (error.problem(), error.remedy());
            return vec![Finding::bad(topic, "interface", problem, remedy)];
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
pub(super) fn ports(facts: &[PortFact], http_port: u16, interface: &str) -> Vec<Finding> {
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
    for fact in facts.iter().filter(|fact| fact.state == PortState::Missing) {
        found.push(Finding::bad(
            topic,
            fact.check,
            format!(
                "nobody listens on {} ({}) of {interface}, though the manager that runs says that it serves there",
                fact.name, fact.what
            ),
            "sudo systemctl restart ramboot, and please report this",
        ));
    }
    for (number, fact) in facts.iter().enumerate() {
        match &fact.state {
            PortState::Free | PortState::Manager | PortState::Missing => {}
            PortState::Taken(by) => {
                let unseen = || "a process that this user may not see".to_owned();
                let named = by.as_ref().map_or_else(unseen, ToString::to_string);
                found.push(Finding::bad(
                    topic,
                    fact.check,
                    format!("{} ({}) is taken by {named}", fact.name, fact.what),
                    stop(by.as_ref(), fact, http_port),
                ));
            }
            // Ports with the same reason share one finding, where the first of them stands.
            PortState::Unknown(why) => {
                let (before, from_here) = facts.split_at(number);
                if before.iter().any(|other| other.state == fact.state) {
                    continue;
                }
                let same = from_here.iter().filter(|other| other.state == fact.state);
                let names: Vec<&str> = same.map(|other| other.name.as_str()).collect();
                let sentence = format!("{}: {why}", names.join(", "));
                found.push(
                    Finding::note(topic, fact.check, sentence).with_remedy("sudo ramboot doctor"),
                );
            }
        }
    }
    found
}

/// What usually has such a port, and how it is told to leave it.
fn stop(by: Option<&Owner>, fact: &PortFact, http_port: u16) -> String {
    let program = by.map(|by| by.program.as_str());
    match (program, fact.check) {
        (_, "http") => format!("stop it, or give another port: [http] port in the config, or --http-port (now {http_port})"),
        (Some("dnsmasq"), "udp-69") => "take enable-tftp out of dnsmasq's config and restart it, or stop it: systemctl disable --now dnsmasq".to_owned(),
        (Some("dnsmasq"), _) => "let dnsmasq leave this interface (except-interface=, bind-interfaces), or stop it: systemctl disable --now dnsmasq; if it is to go on giving addresses, let it run on another machine".to_owned(),
        (Some("in.tftpd"), _) => "systemctl disable --now tftpd-hpa".to_owned(),
        (Some("systemd"), _) => "a socket unit has it: systemctl list-sockets names it".to_owned(),
        (Some("ramboot"), _) => "another manager runs: if it is yours, tell doctor its --run-dir; else stop it: systemctl stop ramboot".to_owned(),
        (Some(program), _) => format!("stop {program}"),
        (None, _) => "sudo ramboot doctor, which sees the process".to_owned(),
    }
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

#[cfg(test)]
mod tests;
