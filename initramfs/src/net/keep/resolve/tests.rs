use super::*;

fn lease() -> Lease {
    Lease {
        addr: [10, 0, 0, 5].into(),
        prefix: 24,
        routes: Vec::new(),
        dns: vec![[10, 0, 0, 2].into(), [10, 0, 0, 3].into()],
        ntp: vec![[10, 0, 0, 4].into()],
        domain: Some("lab".to_owned()),
        search: Vec::new(),
        mtu: None,
        server: [10, 0, 0, 1].into(),
    }
}

fn silent() -> Lease {
    Lease {
        dns: Vec::new(),
        ntp: Vec::new(),
        ..lease()
    }
}

fn link(path: &str) -> Services {
    Services {
        resolv_conf: ResolvConf::Link(target(path)),
        ..Services::default()
    }
}

fn file(text: &str) -> Vec<TextFile> {
    vec![TextFile {
        path: "/etc/systemd/x.conf".to_owned(),
        text: text.to_owned(),
        whole: true,
    }]
}

/// `resolved: /run/…/ramboot.conf`, in order.
fn told(services: &Services, managers: &[Manager], lease: &Lease) -> String {
    let files = tell(services, managers, managers, lease);
    let said = files
        .iter()
        .map(|(who, file)| format!("{who}: {}", file.path));
    said.collect::<Vec<_>>().join(", ")
}

const RESOLVED: &str = "resolved: /run/systemd/resolved.conf.d/ramboot.conf";
const STUB: &str = "../run/systemd/resolve/stub-resolv.conf";
const PLAIN: &str = "resolv.conf: /etc/resolv.conf";

/// The table of name servers: what /etc/resolv.conf is, who makes it, which network manager runs.
#[test]
fn who_is_told_of_name_servers() {
    use Manager::{Dhcpcd, Ifupdown, NetworkManager, Networkd};
    let resolved = |services: Services| Services {
        resolved: Some(file("[Resolve]\n#DNS=\n")),
        ..services
    };
    let with = |resolvconf, services: Services| Services {
        resolvconf: Some(resolvconf),
        ..services
    };
    let own = Services {
        resolv_conf: ResolvConf::Own,
        ..Services::default()
    };
    let left = Services {
        resolv_conf: ResolvConf::File,
        ..Services::default()
    };
    let debian = "resolvconf: /run/resolvconf/interface/ramboot";
    let openresolv =
        "resolvconf: /run/resolvconf/interfaces/ramboot, resolvconf: /run/resolvconf/keys/ramboot";
    let none = Services::default;
    for (what, services, managers, want) in [
        // A plain file, whoever keeps the address.
        ("nothing", none(), &[][..], PLAIN.to_owned()),
        ("networkd", none(), &[Networkd], PLAIN.to_owned()),
        (
            "NetworkManager",
            none(),
            &[NetworkManager],
            PLAIN.to_owned(),
        ),
        ("ifupdown", none(), &[Ifupdown], PLAIN.to_owned()),
        ("dhcpcd", none(), &[Dhcpcd], PLAIN.to_owned()),
        ("a build machine's", left.clone(), &[], PLAIN.to_owned()),
        ("the worker's own", own.clone(), &[], String::new()),
        // resolved: once, by its manager or by /init.
        ("alone", resolved(link(STUB)), &[], RESOLVED.to_owned()),
        (
            "ifupdown",
            resolved(link(STUB)),
            &[Ifupdown],
            RESOLVED.to_owned(),
        ),
        (
            "dhcpcd",
            resolved(link(STUB)),
            &[Dhcpcd],
            RESOLVED.to_owned(),
        ),
        ("networkd", resolved(link(STUB)), &[Networkd], String::new()),
        ("NM", resolved(link(STUB)), &[NetworkManager], String::new()),
        ("own", resolved(own), &[], RESOLVED.to_owned()),
        (
            "no link",
            resolved(none()),
            &[],
            format!("{RESOLVED}, {PLAIN}"),
        ),
        ("left", resolved(left), &[Networkd], PLAIN.to_owned()),
        // Its link, and it does not run: what it would write.
        (
            "off",
            link("/run/systemd/resolve/resolv.conf"),
            &[Networkd],
            "resolv.conf: /run/systemd/resolve/resolv.conf".to_owned(),
        ),
        // Either resolvconf.
        (
            "Debian's",
            with(Resolvconf::Debian, link("../run/resolvconf/resolv.conf")),
            &[Ifupdown],
            debian.to_owned(),
        ),
        (
            "by /etc/resolvconf",
            with(Resolvconf::Debian, link("/etc/resolvconf/run/resolv.conf")),
            &[],
            debian.to_owned(),
        ),
        (
            "openresolv",
            with(Resolvconf::Openresolv, none()),
            &[Dhcpcd],
            format!("{openresolv}, {PLAIN}"),
        ),
        // NetworkManager's file, with and without it.
        (
            "NM",
            link("/var/run/NetworkManager/resolv.conf"),
            &[NetworkManager],
            String::new(),
        ),
        (
            "no NM",
            link("/run/NetworkManager/resolv.conf"),
            &[Ifupdown],
            "resolv.conf: /run/NetworkManager/resolv.conf".to_owned(),
        ),
        // A link inside of the image is followed.
        ("inside", link("resolv.conf.lab"), &[], PLAIN.to_owned()),
    ] {
        let lease = Lease {
            ntp: Vec::new(),
            ..lease()
        };
        assert_eq!(told(&services, managers, &lease), want, "{what}");
    }
}

#[test]
fn a_lease_without_name_servers_leaves_the_images_own() {
    for (resolv_conf, want) in [
        (ResolvConf::Missing, PLAIN),
        (ResolvConf::File, ""),
        (ResolvConf::Own, ""),
        (ResolvConf::Link("/run/systemd/resolve/x".to_owned()), ""),
    ] {
        let services = Services {
            resolv_conf,
            resolved: Some(Vec::new()),
            resolvconf: Some(Resolvconf::Debian),
            timesyncd: Some(Vec::new()),
            chrony: true,
        };
        assert_eq!(told(&services, &[], &silent()), want, "{services:?}");
    }
    let made = tell(&Services::default(), &[], &[], &silent());
    assert_eq!(made[0].1.content, "", "one that is there");
}

/// Its manager starts, and is told nothing, since the image configures the link: then it will not tell resolved of these.
#[test]
fn a_manager_that_keeps_nothing_passes_nothing_on() {
    let services = Services {
        resolved: Some(Vec::new()),
        timesyncd: Some(Vec::new()),
        ..link(STUB)
    };
    let files = tell(&services, &Manager::ALL, &[], &lease());
    let who: Vec<_> = files.iter().map(|(who, _)| *who).collect();
    assert_eq!(who, [Listener::Resolved, Listener::Timesyncd]);
}

#[test]
fn servers_that_the_image_sets_are_its_own_affair() {
    let services = |resolve: &str, time: &str| Services {
        resolved: Some(file(resolve)),
        timesyncd: Some(file(time)),
        ..link(STUB)
    };
    let both = format!("{RESOLVED}, timesyncd: /run/systemd/timesyncd.conf.d/ramboot.conf");
    for (resolve, time, want) in [
        ("[Resolve]\nDNS=9.9.9.9\n", "[Time]\nNTP=10.9.9.9\n", ""),
        (
            "[Resolve]\nDNS=\nFallbackDNS=9.9.9.9\n",
            "[Time]\nFallbackNTP=0.pool\n",
            &both,
        ),
    ] {
        assert_eq!(told(&services(resolve, time), &[], &lease()), want);
    }
}

#[test]
fn who_is_told_of_the_time() {
    let timesyncd = Services {
        resolv_conf: ResolvConf::Own,
        timesyncd: Some(Vec::new()),
        ..Services::default()
    };
    let chrony = Services {
        resolv_conf: ResolvConf::Own,
        chrony: true,
        ..Services::default()
    };
    let drop_in = "timesyncd: /run/systemd/timesyncd.conf.d/ramboot.conf";
    for (services, managers, want) in [
        (&timesyncd, &[][..], drop_in),
        (&timesyncd, &[Manager::NetworkManager], drop_in),
        (&timesyncd, &[Manager::Networkd], ""),
        (
            &chrony,
            &[Manager::Networkd],
            "chrony: /run/chrony-dhcp/ramboot.sources",
        ),
    ] {
        assert_eq!(told(services, managers, &lease()), want);
    }
}

#[test]
fn whole_files() {
    let services = Services {
        resolv_conf: ResolvConf::File,
        resolved: Some(Vec::new()),
        resolvconf: Some(Resolvconf::Debian),
        timesyncd: Some(Vec::new()),
        chrony: true,
    };
    let lease = Lease {
        search: vec!["a.lab".to_owned(), "lab".to_owned()],
        ..lease()
    };
    let files = tell(&services, &[], &[], &lease);
    let head = "# Made by ramboot's /init of what DHCP said.\n";
    let names = "search a.lab lab\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n";
    let want = [
        "[Resolve]\nDNS=10.0.0.2 10.0.0.3\nDomains=a.lab lab\n",
        names,
        names,
        "[Time]\nNTP=10.0.0.4\n",
        "server 10.0.0.4 iburst\n",
    ];
    let got: Vec<_> = files.iter().map(|(_, file)| &*file.content).collect();
    assert_eq!(got, want.map(|text| format!("{head}{text}")));
}

#[test]
fn where_links_lead() {
    for (link, want) in [
        (STUB, "/run/systemd/resolve/stub-resolv.conf"),
        ("/run/x", "/run/x"),
        ("../../../run/./x", "/run/x"),
        ("x", "/etc/x"),
        ("/var/run/x", "/run/x"),
        ("", "/etc"),
    ] {
        assert_eq!(target(link), want, "{link}");
    }
}
