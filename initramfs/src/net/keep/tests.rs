use std::net::Ipv4Addr;

use proptest::prelude::*;
use ramboot_wire::Mac;

use super::*;
use crate::net::lease::Route;

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
        routes: vec![
            Route::by_default([10, 0, 0, 1].into()),
            route([10, 8, 0, 0], Some([10, 9, 9, 9])),
            route([10, 17, 0, 0], None),
        ],
        dns: vec![Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3)],
        ntp: vec![Ipv4Addr::new(10, 0, 0, 4), Ipv4Addr::new(10, 0, 0, 6)],
        domain: Some("lab".to_owned()),
        search: ["a.lab", "b.lab"].map(str::to_owned).to_vec(),
        mtu: Some(1400),
        server: Ipv4Addr::new(10, 0, 0, 1),
    }
}

fn route(to: [u8; 4], via: Option<[u8; 4]>) -> Route {
    Route {
        to: to.into(),
        prefix: 16,
        via: via.map(Into::into),
    }
}

fn bare() -> Lease {
    Lease {
        routes: Vec::new(),
        dns: Vec::new(),
        ntp: Vec::new(),
        domain: None,
        search: Vec::new(),
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
Domains=a.lab b.lab
NTP=10.0.0.4
NTP=10.0.0.6
KeepConfiguration=yes
ConfigureWithoutCarrier=yes

[Route]
Gateway=10.0.0.1
GatewayOnLink=yes

[Route]
Destination=10.8.0.0/16
Gateway=10.9.9.9
GatewayOnLink=yes

[Route]
Destination=10.17.0.0/16
Scope=link

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
route1=10.8.0.0/16,10.9.9.9
route1_options=onlink=true
route2=10.17.0.0/16
dns=10.0.0.2;10.0.0.3;
dns-search=a.lab;b.lab;

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
    up ip link set dev $IFACE mtu 1400
    up ip route replace default via 10.0.0.1 dev $IFACE onlink
    up ip route replace 10.8.0.0/16 via 10.9.9.9 dev $IFACE onlink
    up ip route replace 10.17.0.0/16 dev $IFACE scope link
    dns-nameservers 10.0.0.2 10.0.0.3
    dns-search a.lab b.lab

source /etc/network/interfaces.d/*
";
    let block = "
    static ip_address=10.0.0.5/24
    static routers=10.0.0.1
    static routes=10.8.0.0/16 10.9.9.9
    static routes=10.17.0.0/16 0.0.0.0
    static domain_name_servers=10.0.0.2 10.0.0.3
    static domain_search=a.lab b.lab
    static ntp_servers=10.0.0.4 10.0.0.6
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
        for word in [
            "10.0.0.1", "10.0.0.2", "10.0.0.4", "/16", "lab", "1400", "None",
        ] {
            assert!(!bare.contains(word), "{word} in {bare}");
        }
    }
}

/// A default route to hosts of the link itself (RFC 3442) is one without a gateway.
#[test]
fn a_default_route_without_a_router() {
    let everything = Route {
        to: Ipv4Addr::UNSPECIFIED,
        prefix: 0,
        via: None,
    };
    let lease = Lease {
        routes: vec![everything],
        ..bare()
    };
    for (manager, want) in [
        (
            Manager::Networkd,
            "[Route]\nDestination=0.0.0.0/0\nScope=link\n",
        ),
        (Manager::NetworkManager, "\nroute1=0.0.0.0/0\n"),
        (
            Manager::Ifupdown,
            "up ip route replace default dev $IFACE scope link\n",
        ),
        (Manager::Dhcpcd, "static routes=0.0.0.0/0 0.0.0.0\n"),
    ] {
        let made = one(manager, &[], &lease).expect("a file").content;
        assert!(made.contains(want), "{made}");
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
        // As Lease::read takes it.
        let domain = ramboot_wire::cmdline::hostname(&domain).ok();
        let lease = Lease {
            dns: (0..dns).map(|n| Ipv4Addr::new(10, 0, 0, 10 + n)).collect(),
            search: Vec::new(),
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
