use std::net::Ipv4Addr;

use proptest::prelude::*;
use ramboot_wire::Mac;

use super::*;

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
no-auto-down mac/52:54:00:12:34:56
iface ramboot inet manual
    up ip address replace 10.0.0.5/24 dev $IFACE
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

/// `Ok`: the name of the file that is written. `Err`: what the reason ends with.
#[test]
fn networkd_rules() {
    let etc = |name: &str| format!("/etc/systemd/network/{name}.network");
    let host0 = "[Match]\nKind=veth\nName=host0\n[Network]\nDHCP=yes\n";
    let all = "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n";
    let named = "names eth0: the address is the image's own affair";
    let more =
        |key| format!("says {key} for links of this kind: the address is the image's own affair");
    for (files, want) in [
        // Debian 12 and 13 as they come.
        (vec![("80-container-host0", host0)], Ok("99-ramboot")),
        // What people write for all machines.
        (vec![("20-wired", all)], Ok("20-wired-ramboot")),
        (vec![("50-z", all), ("20-a", all)], Ok("20-a-ramboot")),
        (
            vec![("20-e", "[Match]\nType=ether\n[Network]\nDHCP=ipv4\n")],
            Ok("20-e-ramboot"),
        ),
        (
            vec![("20-x", "[Match]\nName=!wl*\n[Network]\nDHCP=yes\n")],
            Ok("20-x-ramboot"),
        ),
        // For others, or for whom only a running system can tell.
        (
            vec![("20-w", "[Match]\nName=wl*\n[Network]\nDHCP=yes\n")],
            Ok("99-ramboot"),
        ),
        (
            vec![(
                "20-w",
                "[Match]\nName=enp9s0\n[Network]\nAddress=10.9.9.9/24\n",
            )],
            Ok("99-ramboot"),
        ),
        (
            vec![
                (
                    "10-p",
                    "[Match]\nPath=pci-0000:02:00.0\n[Network]\nAddress=10.9.9.9/24\n",
                ),
                ("20-a", all),
            ],
            Ok("20-a-ramboot"),
        ),
        (
            vec![(
                "20-m",
                "[Match]\nMACAddress=52:54:00:00:00:01\n[Network]\nDHCP=no\n",
            )],
            Ok("99-ramboot"),
        ),
        (
            vec![("20-n", "[Network]\nAddress=10.9.9.9/24\n")],
            Ok("99-ramboot"),
        ),
        (vec![("20-e", "")], Ok("99-ramboot")),
        // The image's own.
        (
            vec![("20-e", "[Match]\nName=eth0\n[Network]\nDHCP=yes\n")],
            Err(named.to_owned()),
        ),
        (
            vec![("20-e", "[Match]\nName = wlan0 enp0s2\n")],
            Err(named.replace("eth0", "enp0s2")),
        ),
        (
            vec![("20-e", "[Match]\nMACAddress=52-54-00-12-34-56\n")],
            Err(named.replace("eth0", "52:54:00:12:34:56")),
        ),
        (
            vec![("20-b", "[Match]\nName=e*\n[Network]\nBridge=br0\n")],
            Err(more("Bridge")),
        ),
        (
            vec![("20-s", "[Match]\nName=*\n[Address]\nAddress=10.9.9.9/24\n")],
            Err(more("Address")),
        ),
        (
            vec![("20-u", "[Match]\nType=ether\n[Link]\nUnmanaged=yes\n")],
            Err(more("Unmanaged")),
        ),
        // It never applies to the link: an earlier one does.
        (
            vec![("20-a", all), ("30-e", "[Match]\nName=eth0\n")],
            Ok("20-a-ramboot"),
        ),
    ] {
        let files: Vec<_> = files
            .iter()
            .map(|(name, text)| (etc(name), *text))
            .collect();
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| (path.as_str(), *text))
            .collect();
        let got = one(Manager::Networkd, &files, &lease());
        let got = got.map(|file| file.path);
        match want {
            Ok(name) => assert_eq!(
                got,
                Ok(format!("/run/systemd/network/{name}.network")),
                "{files:?}"
            ),
            Err(end) => assert!(
                got.as_ref().is_err_and(|why| why.ends_with(&end)),
                "{got:?} for {files:?}"
            ),
        }
    }
}

#[test]
fn a_file_in_etc_hides_that_of_usr() {
    let rule = "[Match]\nName=eth0\n";
    let files = [
        ("/etc/systemd/network/20-e.network", ""),
        ("/usr/lib/systemd/network/20-e.network", rule),
    ];
    one(Manager::Networkd, &files, &lease()).expect("hidden");
    let [a, b] = files;
    one(Manager::Networkd, &[b, a], &lease()).expect_err("the first counts");
}

#[test]
fn netplan_rules() {
    // /etc/netplan/90-default.yaml of Debian 13's cloud image, shortened.
    let debian = "network:\n    version: 2\n    ethernets:\n        all-en:\n            match:\n                name: en*\n            dhcp4: true\n";
    let installer = "network:\n  ethernets:\n    enp0s2:\n      dhcp4: true\n  version: 2\n";
    let desktop = "network:\n  version: 2\n  renderer: NetworkManager\n";
    let fixed = "network:\n  ethernets:\n    all:\n      match: {name: e*}\n      addresses: [10.9.9.9/24]\n";
    let mac = "network:\n  ethernets:\n    a:\n      match:\n        macaddress: \"52:54:00:12:34:56\"\n      dhcp4: true\n";
    for (text, want) in [
        (debian, Some("10-netplan-ramboot")),
        (desktop, Some("99-ramboot")),
        ("# network: {}\n", Some("10-netplan-ramboot")),
        (installer, None),
        (fixed, None),
        (mac, None),
    ] {
        let files = [("/etc/netplan/90-default.yaml", text)];
        let got = one(Manager::Networkd, &files, &lease())
            .ok()
            .map(|file| file.path);
        let want = want.map(|name| format!("/run/systemd/network/{name}.network"));
        assert_eq!(got, want, "{text}");
    }
}

#[test]
fn network_manager_rules() {
    let path = "/etc/NetworkManager/system-connections/x.nmconnection";
    let profile = |rest: &str| format!("[connection]\nid=x\ntype=ethernet\n{rest}\n");
    for (text, ok) in [
        (profile("[ipv4]\nmethod=auto\n"), true),
        (
            profile("interface-name=enp9s0\n[ipv4]\nmethod=manual"),
            true,
        ),
        (profile("[ethernet]\nmac-address=52:54:00:00:00:01"), true),
        // Raspberry Pi OS bookworm: what the imager writes.
        (
            "[connection]\nid=preconfigured\ntype=wifi\n[ipv4]\nmethod=auto\n".to_owned(),
            true,
        ),
        (String::new(), true),
        (profile("interface-name=eth0"), false),
        (profile("[ethernet]\nmac-address=52:54:00:12:34:56"), false),
        (
            profile("[802-3-ethernet]\nmac-address=52:54:00:12:34:56"),
            false,
        ),
        (
            profile("[ipv4]\nmethod=manual\naddress1=10.9.9.9/24"),
            false,
        ),
        (profile("[ipv4]\nmethod=disabled"), false),
        (profile("master=br0\nslave-type=bridge"), false),
    ] {
        let got = one(Manager::NetworkManager, &[(path, &text)], &lease());
        assert_eq!(got.is_ok(), ok, "{got:?} for {text}");
    }
}

#[test]
fn ifupdown_rules() {
    let path = "/etc/network/interfaces";
    for (text, ok) in [
        // Debian 12.
        (
            "# interfaces(5)\nsource /etc/network/interfaces.d/*\n",
            true,
        ),
        ("auto lo\niface lo inet loopback\n", true),
        ("auto /e*=wired\niface wired inet dhcp\n", true),
        (
            "auto eth1\niface eth1 inet static\n    address 10.9.9.9/24\n",
            true,
        ),
        ("iface eth0 inet6 auto\n", true),
        ("# iface eth0 inet dhcp\n", true),
        ("auto eth0\niface eth0 inet dhcp\n", false),
        ("allow-hotplug enp0s2\niface  enp0s2\tinet static\n", false),
        ("auto mac/52:54:00:12:34:56=lan\n", false),
        ("auto lo mac/52:54:00:12:34:56\n", false),
    ] {
        for path in [path, "/etc/network/interfaces.d/wired"] {
            let got = one(Manager::Ifupdown, &[(path, text)], &lease());
            assert_eq!(got.is_ok(), ok, "{got:?} for {text}");
        }
    }
    // Ours comes first, and what was there is still there.
    let text = "auto /e*=wired\niface wired inet dhcp\n";
    let content = one(Manager::Ifupdown, &[(path, text)], &lease())
        .expect("a file")
        .content;
    let (ours, rest) = content.split_at(content.len() - text.len());
    assert!(ours.contains("iface ramboot inet manual"), "{ours}");
    assert_eq!(rest, text);
}

#[test]
fn dhcpcd_rules() {
    for (text, want) in [
        ("", None),
        // Raspberry Pi OS bullseye.
        (
            "hostname\nclientid\npersistent\nslaac private\n#interface eth0\n",
            None,
        ),
        ("interface eth1\nstatic ip_address=10.9.9.9/24\n", None),
        ("denyinterfaces wlan0 veth*\n", None),
        ("allowinterfaces eth0\n", None),
        ("allowinterfaces e*,wlan0\n", None),
        (
            "interface eth0\nstatic ip_address=10.9.9.9/24\n",
            Some("names eth0"),
        ),
        ("  interface \t enp0s2\n", Some("names enp0s2")),
        ("denyinterfaces wlan0 e*\n", Some("keeps it away")),
        ("denyinterfaces wlan0,eth0\n", Some("keeps it away")),
        ("allowinterfaces wlan0\n", Some("keeps it away")),
    ] {
        let got = one(Manager::Dhcpcd, &[("/etc/dhcpcd.conf", text)], &lease());
        match want {
            None => assert!(
                got.is_ok_and(|file| file.content.starts_with(text)),
                "{text}"
            ),
            Some(why) => assert!(got.is_err_and(|got| got.contains(why)), "{text}"),
        }
    }
}

#[test]
fn what_cannot_be_repeated_is_not_replaced() {
    for (manager, path) in [
        (Manager::Ifupdown, "/etc/network/interfaces"),
        (Manager::Dhcpcd, "/etc/dhcpcd.conf"),
    ] {
        let file = TextFile {
            whole: false,
            ..file(path, "")
        };
        let files = vec![file];
        let plan = plan(&[Present { manager, files }], &uplink(), &lease());
        let path = path.to_owned();
        assert_eq!(plan.left, [(manager, Why::NotText { path })]);
        assert_eq!(plan.files, []);
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
