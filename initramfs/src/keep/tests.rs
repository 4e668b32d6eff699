use std::net::Ipv4Addr;

use proptest::prelude::*;
use ramboot_wire::Mac;

use super::*;

mod rules;

fn uplink() -> Uplink {
    Uplink {
        names: ["eth0", "enp0s2"].map(str::to_owned).to_vec(),
        mac: Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
    }
}

fn lease() -> Lease {
    Lease {
        addr: Ipv4Addr::new(10, 0, 0, 5),
        prefix: 24,
        router: Some(Ipv4Addr::new(10, 0, 0, 1)),
        dns: vec![Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3)],
        domain: Some("lab".to_owned()),
        mtu: Some(1400),
        server: Ipv4Addr::new(10, 0, 0, 1),
    }
}

fn bare() -> Lease {
    Lease {
        router: None,
        dns: Vec::new(),
        domain: None,
        mtu: None,
        ..lease()
    }
}

fn file(path: &str, text: &str) -> TextFile {
    TextFile {
        path: path.to_owned(),
        text: text.to_owned(),
        whole: true,
    }
}

fn one(manager: Manager, files: &[(&str, &str)], lease: &Lease) -> Result<HandoverFile, String> {
    let files = files.iter().map(|(path, text)| file(path, text)).collect();
    let present = [Present { manager, files }];
    let mut plan = plan(&present, &uplink(), lease);
    match (plan.files.pop(), plan.left.pop()) {
        (Some((_, file)), None) => Ok(file),
        (None, Some((_, why))) => Err(why.to_string()),
        both => Err(format!("either of {both:?}")),
    }
}

#[test]
fn whole_files() {
    let networkd = "\
# Made by ramboot's /init: the address this machine booted with stays.
[Match]
MACAddress=52:54:00:12:34:56
# A bridge, bond or VLAN over the link has its MAC, too, and a type of its own.
Type=ether

[Network]
Address=10.0.0.5/24
DNS=10.0.0.2
DNS=10.0.0.3
Domains=lab
KeepConfiguration=yes
ConfigureWithoutCarrier=yes

[Route]
Gateway=10.0.0.1
GatewayOnLink=yes

[Link]
MTUBytes=1400
";
    let network_manager = "\
# Made by ramboot's /init: the address this machine booted with stays.
[connection]
id=ramboot
type=ethernet
autoconnect-priority=999

[ethernet]
mac-address=52:54:00:12:34:56
# The address was given to this MAC.
cloned-mac-address=preserve
mtu=1400

[ipv4]
method=manual
address1=10.0.0.5/24
gateway=10.0.0.1
dns=10.0.0.2;10.0.0.3;
dns-search=lab;

[ipv6]
method=auto
may-fail=true
";
    let ifupdown = "\
# Made by ramboot's /init: the address this machine booted with stays.
auto mac/52:54:00:12:34:56=ramboot
allow-hotplug mac/52:54:00:12:34:56=ramboot
no-auto-down eth0 enp0s2
iface ramboot inet manual
    up ip address replace 10.0.0.5/24 brd + dev $IFACE
    up ip route replace default via 10.0.0.1 dev $IFACE onlink
    dns-nameservers 10.0.0.2 10.0.0.3
    dns-search lab

source /etc/network/interfaces.d/*
";
    let block = "
    static ip_address=10.0.0.5/24
    static routers=10.0.0.1
    static domain_name_servers=10.0.0.2 10.0.0.3
    static domain_search=lab
    static interface_mtu=1400
    persistent
";
    let dhcpcd = format!(
        "duid\n\n# Made by ramboot's /init: the address this machine booted with stays.\n\
         interface eth0{block}interface enp0s2{block}"
    );
    for (manager, there, path, mode, content) in [
        (
            Manager::Networkd,
            None,
            "/run/systemd/network/99-ramboot.network",
            0o644,
            networkd,
        ),
        (
            Manager::NetworkManager,
            None,
            "/run/NetworkManager/system-connections/ramboot.nmconnection",
            0o600,
            network_manager,
        ),
        (
            Manager::Ifupdown,
            Some("source /etc/network/interfaces.d/*\n"),
            "/etc/network/interfaces",
            0o644,
            ifupdown,
        ),
        (
            Manager::Dhcpcd,
            Some("duid\n"),
            "/etc/dhcpcd.conf",
            0o644,
            &dhcpcd,
        ),
    ] {
        let there: Vec<_> = there.map(|text| (path, text)).into_iter().collect();
        let want = HandoverFile {
            path: path.to_owned(),
            mode,
            content: content.to_owned(),
        };
        assert_eq!(one(manager, &there, &lease()), Ok(want));
        // What the lease does not say, nobody is told.
        let bare = one(manager, &there, &bare()).expect("a file").content;
        for word in ["10.0.0.1", "10.0.0.2", "lab", "1400", "None"] {
            assert!(!bare.contains(word), "{word} in {bare}");
        }
    }
}

fn lines_that_matter() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "\\PC{0,40}",
        "\\[(Match|Network|Address|connection|ipv4|ethernet)\\]",
        "(Name|MACAddress|Type|Address|type|method|interface-name)=[a-z0-9!*?:. -]{0,20}",
        "(auto|iface|interface|denyinterfaces|allow-hotplug) [a-z0-9/=*:, ]{0,30}",
    ];
    proptest::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    /// Whatever an image's files say: no panic, a word for each manager, and nothing but known files.
    #[test]
    fn any_image_gets_a_plan(text in lines_that_matter(), name in "[a-z0-9.*-]{0,12}") {
        for manager in Manager::ALL {
            let path = match manager {
                Manager::Networkd => format!("/etc/systemd/network/{name}.network"),
                Manager::NetworkManager => format!("/etc/NetworkManager/system-connections/{name}"),
                Manager::Ifupdown => "/etc/network/interfaces".to_owned(),
                Manager::Dhcpcd => "/etc/dhcpcd.conf".to_owned(),
            };
            let present = [Present { manager, files: vec![file(&path, &text)] }];
            let plan = plan(&present, &uplink(), &lease());
            prop_assert_eq!(plan.files.len() + plan.left.len(), 1);
            for (_, made) in plan.files {
                prop_assert!(made.path.split('/').all(|part| part != ".."), "{}", made.path);
                prop_assert!(made.content.contains(&text) || made.path.starts_with("/run/"));
            }
        }
    }

    /// A server's words make no line of their own.
    #[test]
    fn a_lease_adds_no_lines(domain in "\\PC{0,60}|[a-z\n\r;=\\[\\] ]{0,60}", dns in 0..4_u8) {
        // As Lease::from_message takes it.
        let domain = ramboot_wire::cmdline::hostname(&domain).ok();
        let lease = Lease {
            dns: (0..dns).map(|n| Ipv4Addr::new(10, 0, 0, 10 + n)).collect(),
            ..lease()
        };
        for manager in Manager::ALL {
            let lines = |domain: Option<String>| {
                let lease = Lease { domain, ..lease.clone() };
                one(manager, &[], &lease).expect("a file").content.lines().count()
            };
            let blocks = if manager == Manager::Dhcpcd { 2 } else { 1 };
            let more = if domain.is_some() { blocks } else { 0 };
            prop_assert_eq!(lines(domain.clone()), lines(None) + more);
        }
    }
}
