use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;

/// A folder that is a root, gone with this value.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ramboot-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("folder");
        Self(path)
    }

    fn with(self, path: &str, text: &str) -> Self {
        self.folder_of(path);
        fs::write(self.0.join(path), text).expect("file");
        self
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.folder_of(path);
        symlink(target, self.0.join(path)).expect("link");
        self
    }

    fn folder_of(&self, path: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
    }

    fn present(&self, cmdline: &str) -> Vec<Present> {
        present(&File::open(&self.0).expect("open"), cmdline)
    }

    fn managers(&self, cmdline: &str) -> Vec<Manager> {
        let present = self.present(cmdline);
        present.iter().map(|present| present.manager).collect()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// All four, installed as Debian 12 does, none enabled.
fn debian(name: &str) -> Root {
    Root::new(name)
        .link("lib", "usr/lib")
        .link("sbin", "usr/sbin")
        .with("usr/lib/systemd/systemd", "")
        .with("usr/lib/systemd/systemd-networkd", "")
        .with("usr/sbin/NetworkManager", "")
        .with("usr/sbin/ifup", "")
        .with("usr/sbin/dhcpcd", "")
}

fn wants(root: Root, target: &str, unit: &str) -> Root {
    let path = format!("etc/systemd/system/{target}.wants/{unit}");
    root.link(&path, &format!("/lib/systemd/system/{unit}"))
}

#[test]
fn distributions() {
    use Manager::{Dhcpcd, Ifupdown, NetworkManager, Networkd};
    let multi = "multi-user.target";
    // Debian 12: ifupdown; networkd is part of systemd and rests.
    let plain = wants(debian("debian"), multi, "networking.service");
    // Ubuntu 22.04 and 24.04, Debian 13's cloud image.
    let ubuntu = wants(debian("ubuntu"), multi, "systemd-networkd.service");
    // Raspberry Pi OS bookworm; ifupdown is installed as well.
    let bookworm = wants(debian("bookworm"), multi, "NetworkManager.service");
    let bookworm = wants(bookworm, "network-online.target", "networking.service");
    // Raspberry Pi OS bullseye: /lib and /sbin are links there, too.
    let bullseye = wants(debian("bullseye"), multi, "dhcpcd.service");
    // Enabled by the distribution, and masked by the image.
    let masked = Root::link(
        wants(debian("masked"), multi, "dhcpcd.service"),
        "etc/systemd/system/dhcpcd.service",
        "/dev/null",
    );
    let vendor = debian("vendor").link(
        "usr/lib/systemd/system/multi-user.target.wants/NetworkManager.service",
        "../NetworkManager.service",
    );
    // Nobody's.
    let none = wants(Root::new("none"), multi, "dhcpcd.service");
    // No systemd, hence no units.
    let sysv = Root::new("sysv").with("sbin/ifup", "");
    for (root, want) in [
        (plain, vec![Ifupdown]),
        (ubuntu, vec![Networkd]),
        (bookworm, vec![NetworkManager, Ifupdown]),
        (bullseye, vec![Dhcpcd]),
        (masked, vec![]),
        (vendor, vec![NetworkManager]),
        (none, vec![]),
        (sysv, vec![Ifupdown]),
        (debian("resting"), vec![]),
    ] {
        assert_eq!(root.managers(""), want, "{}", root.0.display());
    }
}

#[test]
fn the_command_line_has_the_last_word() {
    let root = wants(debian("cmdline"), "multi-user.target", "dhcpcd.service");
    for (cmdline, want) in [
        ("quiet systemd.wants=dhcpcd", vec![Manager::Dhcpcd]),
        (
            "systemd.wants=NetworkManager.service",
            vec![Manager::NetworkManager, Manager::Dhcpcd],
        ),
        (
            "systemd.mask=dhcpcd.service systemd.wants=dhcpcd.service",
            vec![],
        ),
        ("x=systemd.mask=dhcpcd.service", vec![Manager::Dhcpcd]),
    ] {
        assert_eq!(root.managers(cmdline), want, "{cmdline}");
    }
}

#[test]
fn files_are_read_in_order_and_no_further_than_allowed() {
    let long = "x".repeat(usize::try_from(MAX_FILE_BYTES + 1).expect("small"));
    let etc = "etc/systemd/network";
    let root = wants(debian("files"), "a.target", "systemd-networkd.service")
        .with("usr/lib/systemd/network/10-a.network", "vendor")
        .with(&format!("{etc}/20-b.network"), "b")
        .with(&format!("{etc}/.hidden.network"), "")
        .with(&format!("{etc}/30-long.network"), &long)
        .with(&format!("{etc}/40-folder.network/file"), "")
        .link(&format!("{etc}/10-a.network"), "/dev/null");
    let bytes = root.0.join(format!("{etc}/50-bytes.network"));
    fs::write(bytes, b"\xff[Match]").expect("file");
    // Nobody writes into it: reading it must not wait.
    let fifo = root.0.join(format!("{etc}/60-fifo.network"));
    rustix::fs::mkfifoat(rustix::fs::CWD, fifo, Mode::from_raw_mode(0o600)).expect("FIFO");
    let [Present { files, .. }] = &root.present("")[..] else {
        panic!("one manager");
    };
    let found: Vec<_> = files
        .iter()
        .map(|f| (f.path.as_str(), f.text.len(), f.whole))
        .collect();
    let max = usize::try_from(MAX_FILE_BYTES).expect("small");
    assert_eq!(
        found,
        [
            ("/etc/systemd/network/10-a.network", 0, true),
            ("/etc/systemd/network/20-b.network", 1, true),
            ("/etc/systemd/network/30-long.network", max, false),
            ("/etc/systemd/network/50-bytes.network", 10, false),
            ("/usr/lib/systemd/network/10-a.network", 6, true),
            // /lib is a link to /usr/lib here.
            ("/lib/systemd/network/10-a.network", 6, true),
        ]
    );
}

#[test]
fn more_files_than_anybody_has_are_not_read() {
    let mut root = wants(debian("many"), "a.target", "systemd-networkd.service");
    for n in 0..=MAX_FILES {
        root = root.with(&format!("etc/systemd/network/{n:04}.network"), "");
    }
    assert_eq!(root.present("")[0].files.len(), MAX_FILES);
}

#[test]
fn no_link_leads_out_of_the_root() {
    let outside = Root::new("out")
        .with("dhcpcd.conf", "interface eth0\n")
        .with("folder/20-x.network", "outside");
    let there = outside.0.display();
    let root = wants(debian("in"), "a.target", "dhcpcd.service");
    let root = wants(root, "a.target", "systemd-networkd.service")
        .link("etc/dhcpcd.conf", &format!("{there}/dhcpcd.conf"))
        .link("etc/systemd/network", &format!("{there}/folder"));
    for present in root.present("") {
        assert_eq!(present.files, [], "{}", present.manager);
    }
    // A link up goes to the root and stays there; so does what is written through it.
    let up = format!("../../../../../..{there}/dhcpcd.conf");
    fs::remove_file(root.0.join("etc/dhcpcd.conf")).expect("remove");
    let root = root.link("etc/dhcpcd.conf", &up);
    root.folder_of(&format!("{}/x", &there.to_string()[1..]));
    let file = HandoverFile {
        path: "/etc/dhcpcd.conf".to_owned(),
        mode: 0o644,
        content: "ours\n".to_owned(),
    };
    let handle = File::open(&root.0).expect("open");
    write(&handle, Path::new("/nowhere"), &file).expect("writes");
    let inside = root.0.join(&there.to_string()[1..]).join("dhcpcd.conf");
    assert_eq!(fs::read_to_string(inside).expect("inside"), "ours\n");
    let kept = fs::read_to_string(outside.0.join("dhcpcd.conf"));
    assert_eq!(kept.expect("outside"), "interface eth0\n");
}

#[test]
fn a_profile_in_run_is_for_root_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let (root, run) = (Root::new("root"), Root::new("run"));
    let file = HandoverFile {
        path: "/run/NetworkManager/system-connections/ramboot.nmconnection".to_owned(),
        mode: 0o600,
        content: "secret\n".to_owned(),
    };
    let handle = File::open(&root.0).expect("open");
    write(&handle, &run.0, &file).expect("writes");
    let path = run
        .0
        .join("NetworkManager/system-connections/ramboot.nmconnection");
    let mode = fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_to_string(path).expect("text"), "secret\n");
    assert_eq!(fs::read_dir(&root.0).expect("root").count(), 0);
    write(&handle, &run.0, &file).expect_err("it is there already");
}

/// What became of an image: who was told, and its files.
fn informed(root: &Root, run: &Root, news: &News<'_>) -> String {
    let handle = File::open(&root.0).expect("open");
    let told = services::inform((&handle, &run.0), "", news, (&[], &[]));
    listed(&told)
}

fn link() -> Link {
    Link {
        name: "eth0".to_owned(),
        index: 2,
        mac: ramboot_wire::Mac([2; 6]),
        carrier: true,
    }
}

fn lease(dns: &[[u8; 4]]) -> Lease {
    Lease {
        addr: [10, 0, 0, 5].into(),
        prefix: 24,
        routes: Vec::new(),
        dns: dns.iter().map(|a| (*a).into()).collect(),
        ntp: Vec::new(),
        domain: Some("lab".to_owned()),
        search: Vec::new(),
        mtu: None,
        server: [10, 0, 0, 1].into(),
    }
}

const NAMES: &str =
    "# Made by ramboot's /init of what DHCP said.\nsearch lab\nnameserver 10.0.0.2\n";

/// What a build machine left in /etc/resolv.conf is not this network's, be it a file or a link into nowhere. A file of
/// the worker's own is.
#[test]
fn name_servers_of_the_build_machine_give_way() {
    let (link, lease) = (link(), lease(&[[10, 0, 0, 2]]));
    let news = |files| News {
        link: &link,
        lease: &lease,
        hostname: None,
        files,
    };
    let own = [Entry {
        folder: "etc".into(),
        name: "resolv.conf".into(),
        mode: 0o644,
        uid: 0,
        gid: 0,
        node: crate::root::worker_files::archive::Node::File(Vec::new()),
    }];
    let left = "nameserver 192.168.99.1\n";
    let file = |name| Root::new(name).with("etc/resolv.conf", left);
    let to = |name, target| Root::link(Root::new(name), "etc/resolv.conf", target);
    for (root, files, text) in [
        (file("left"), &[][..], NAMES),
        (file("own"), &own, left),
        (Root::new("no-file").with("etc/x", ""), &[], NAMES),
        (to("wsl", "/mnt/wsl/resolv.conf"), &[], NAMES),
        (to("near", "resolv.conf.real"), &[], NAMES),
    ] {
        let run = Root::new("names-run");
        let told = informed(&root, &run, &news(files));
        assert_eq!(told == "resolv.conf", files.is_empty(), "{told}");
        let got = fs::read_to_string(root.0.join("etc/resolv.conf"));
        assert_eq!(got.expect("text"), text, "{}", root.0.display());
    }
    // resolved's link, and it starts, then does not.
    let stub = "../run/systemd/resolve/stub-resolv.conf";
    let resting = to("resting", stub).with("usr/lib/systemd/systemd", "");
    let resting = resting.with("usr/lib/systemd/systemd-resolved", "");
    let running = to("running", stub).with("usr/lib/systemd/systemd-resolved", "");
    for (root, path, who) in [
        (running, "systemd/resolved.conf.d/ramboot.conf", "resolved"),
        (resting, "systemd/resolve/stub-resolv.conf", "resolv.conf"),
    ] {
        let run = Root::new("stub-run");
        assert_eq!(informed(&root, &run, &news(&[])), who);
        assert!(fs::symlink_metadata(root.0.join("etc/resolv.conf")).is_ok_and(|m| m.is_symlink()));
        let text = fs::read_to_string(run.0.join(path)).expect("told");
        assert!(text.contains("10.0.0.2"), "{text}");
    }
}

#[test]
fn the_worker_knows_its_own_name() {
    let (link, lease) = (link(), lease(&[]));
    let news = |hostname| News {
        link: &link,
        lease: &lease,
        hostname,
        files: &[],
    };
    let module = format!(
        "usr/lib/{}-linux-gnu/libnss_myhostname.so.2",
        std::env::consts::ARCH
    );
    let image = |name| {
        Root::new(name)
            .with("etc/resolv.conf", "")
            .with("etc/hosts", "127.0.0.1\tlocalhost\n")
            .with("etc/hostname", "gpu\n")
    };
    let asked = image("asked")
        .with(&module, "")
        .with("etc/nsswitch.conf", "hosts: files myhostname dns\n");
    for (root, hostname, line) in [
        (
            image("given"),
            Some("worker-1"),
            "10.0.0.5\tworker-1.lab worker-1\n",
        ),
        (image("its-own"), None, "10.0.0.5\tgpu.lab gpu\n"),
        (
            image("module").with(&module, ""),
            None,
            "10.0.0.5\tgpu.lab gpu\n",
        ),
        (asked, Some("worker-1"), ""),
        (image("odd").with("etc/hostname", "a b\n"), None, ""),
    ] {
        let told = informed(&root, &Root::new("hosts-run"), &news(hostname));
        assert_eq!(told, if line.is_empty() { "none" } else { "hosts" });
        let hosts = fs::read_to_string(root.0.join("etc/hosts")).expect("text");
        assert_eq!(hosts, format!("127.0.0.1\tlocalhost\n{line}"));
    }
}
