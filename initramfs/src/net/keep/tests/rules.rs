//! What images say of their links, and what becomes of it: a table for each manager.

use super::*;

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
        (debian, Some("10-netplan+ramboot")),
        (desktop, Some("99-ramboot")),
        ("# network: {}\n", Some("10-netplan+ramboot")),
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

/// networkd sorts by bytes, ours among those of the image.
#[test]
fn ours_is_read_at_its_turn() {
    let all = "[Match]\nName=en*\n[Network]\nDHCP=yes\n";
    let path = |name: &str| format!("/etc/systemd/network/{name}");
    for (first, rule, made, next) in [
        (
            "20-vlan.network",
            path("20-wired.network"),
            all,
            "20-wired.network",
        ),
        (
            "20-wired",
            path("20-wired.network"),
            all,
            "20-wired.network",
        ),
        (
            "05-x.network",
            "/etc/netplan/a.yaml".to_owned(),
            "network:\n",
            "10-netplan-all-en.network",
        ),
    ] {
        let got = one(Manager::Networkd, &[(&rule, made)], &lease()).expect("a file");
        let name = got.path.rsplit('/').next().expect("a name").to_owned();
        assert!(
            first < name.as_str() && name.as_str() < next,
            "{first} {name} {next}"
        );
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
