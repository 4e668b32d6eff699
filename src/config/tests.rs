use ramboot_wire::Arch;

use super::worker::Matcher;
use super::*;

#[test]
fn all_that_can_stand_there() {
    let config = Config::parse(
        r#"
            [dhcp]
            mode = "full"
            pool = "10.0.0.100-10.0.0.199"
            lease = 3600
            router = "10.0.0.254"
            dns = ["10.0.0.253", "9.9.9.9"]
            [http]
            port = 80
            [boot]
            image = "worker"
            cmdline = "console=ttyS0"
            overlay = "50%"
            tmpfs = ["/srv/cache"]
            deadline = 600
            debug = true
            heartbeat = false
            pi_prefix = "pis/"
            bases = ["http://10.0.0.2:8067", "http://10.0.0.3/cache"]
            overlays = ["lab"]
            mode = "stream"
            gate = "tables"
            [identity]
            hostname = "node-{{ id }}"
            [[network]]
            address = "10.1.0.0/24"
            pool = "10.1.0.100-10.1.0.199"
            router = "10.1.0.254"
            dns = ["10.1.0.253"]
            lease = 600
            [[network]]
            address = "10.2.0.0/16"
            pool = "10.2.1.0-10.2.2.0"
            [[worker]]
            mac = "52-54-00-12-34-56"
            image = "gpu"
            hostname = "node-1"
            address = "10.0.0.9"
            cmdline = "quiet"
            overlays = ["lab", "gpu"]
            mode = "full"
            gate = "none"
            [[worker]]
            mac = "52:54:00:*"
            serial = "5b154510"
            uuid = "4c4c4544-0042-4810-8056-b4c04f395332"
            arch = "aarch64"
        "#,
    )
    .expect("a config");
    let address = |last| Ipv4Addr::new(10, 0, 0, last);
    assert_eq!(
        config,
        Config {
            dhcp: Dhcp {
                mode: DhcpMode::Full,
                pool: Some(Pool {
                    first: address(100),
                    last: address(199)
                }),
                lease: 3600,
                router: Some(address(254)),
                dns: vec![address(253), Ipv4Addr::new(9, 9, 9, 9)],
            },
            http_port: 80,
            boot: Boot {
                image: Some("worker".to_owned()),
                cmdline: "console=ttyS0".to_owned(),
                overlay: Some(Overlay::Percent(50)),
                tmpfs: vec!["/srv/cache".parse().expect("a folder")],
                deadline: Some(600),
                debug: true,
                heartbeat: false,
                pi_prefix: "pis/".to_owned(),
                bases: ["http://10.0.0.2:8067", "http://10.0.0.3/cache"]
                    .map(|base| base.parse().expect("a base"))
                    .to_vec(),
                overlays: vec!["lab".to_owned()],
                mode: Mode::Stream,
                gate: Gate::Tables,
            },
            hostname: "node-{{ id }}".to_owned(),
            networks: vec![
                Subnet {
                    network: Network::of(Ipv4Addr::new(10, 1, 0, 0), 24),
                    pool: "10.1.0.100-10.1.0.199".parse().expect("a pool"),
                    lease: 600,
                    router: Some(Ipv4Addr::new(10, 1, 0, 254)),
                    dns: vec![Ipv4Addr::new(10, 1, 0, 253)],
                },
                Subnet {
                    network: Network::of(Ipv4Addr::new(10, 2, 0, 0), 16),
                    pool: "10.2.1.0-10.2.2.0".parse().expect("a pool"),
                    lease: 3600,
                    router: None,
                    dns: vec![],
                },
            ],
            workers: vec![
                Worker {
                    which: Matcher {
                        mac: "52:54:00:12:34:56".parse().ok(),
                        ..Matcher::default()
                    },
                    image: Some("gpu".to_owned()),
                    hostname: Some("node-1".to_owned()),
                    address: Some(address(9)),
                    cmdline: Some("quiet".to_owned()),
                    overlays: Some(vec!["lab".to_owned(), "gpu".to_owned()]),
                    mode: Some(Mode::Full),
                    gate: Some(Gate::None),
                },
                Worker {
                    which: Matcher {
                        mac: "52:54:00:*".parse().ok(),
                        serial: Some(0x5b15_4510),
                        uuid: "4c4c4544-0042-4810-8056-b4c04f395332".parse().ok(),
                        arch: Some(Arch::Aarch64),
                    },
                    image: None,
                    hostname: None,
                    address: None,
                    cmdline: None,
                    overlays: None,
                    mode: None,
                    gate: None,
                },
            ],
        }
    );
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(Config::parse(""), Ok(Config::default()));
    assert_eq!(Config::parse("# nothing\n[dhcp]\n"), Ok(Config::default()));
    assert_eq!(Config::default().http_port, 8067);
    assert_eq!(Config::default().dhcp.mode, DhcpMode::Proxy);
}

#[test]
fn a_rule_says_each_key_of_streaming_by_itself() {
    let mac: Mac = "52:54:00:12:34:56".parse().expect("a MAC");
    for (boot, rule, want) in [
        ("", "", None),
        ("", "gate = \"none\"", None),
        ("mode = \"stream\"", "", Some(Gate::Hot)),
        ("mode = \"stream\"", "mode = \"full\"", None),
        ("", "mode = \"stream\"", Some(Gate::Hot)),
        ("gate = \"tables\"", "mode = \"stream\"", Some(Gate::Tables)),
        (
            "mode = \"stream\"\ngate = \"tables\"",
            "gate = \"hot\"",
            Some(Gate::Hot),
        ),
    ] {
        let text = format!("[boot]\n{boot}\n[[worker]]\nmac = \"52:*\"\n{rule}");
        let config = Config::parse(&text).expect("a config");
        let streaming = config.streaming(&Machine {
            mac: Some(mac),
            ..Machine::default()
        });
        assert_eq!(streaming, want.map(|gate| Streaming { gate }), "{text}");
    }
}

#[test]
fn what_is_wrong_is_shown_with_its_place_and_a_remedy() {
    for (text, want) in [
        (
            "[dhcp]\nmod = 1\n",
            "line 2, column 1: unknown field `mod`, expected one of `mode`, `pool`, `lease`, `router`, `dns`",
        ),
        (
            "dhpc = 1",
            "line 1, column 1: unknown field `dhpc`, expected one of `dhcp`, `http`, `boot`, `identity`, `network`, `worker`",
        ),
        (
            "[dhcp]\nmode = \"on\"",
            "line 2, column 8: unknown variant `on`, expected one of `proxy`, `full`, `off`",
        ),
        (
            "[http]\nport = \"80\"",
            "line 2, column 8: invalid type: string \"80\", expected u16",
        ),
        (
            "[http]\nport = 80670",
            "line 2, column 8: invalid value: integer `80670`, expected u16",
        ),
        (
            "[http]\nport = 0",
            "line 2, column 8: port 0 cannot be told to a machine: use 1 to 65535, or leave it out for 8067",
        ),
        (
            "[dhcp]\npool = \"10.0.0.9-10.0.0.1\"",
            "line 2, column 8: the range ends (10.0.0.1) before it begins (10.0.0.9)",
        ),
        (
            "[dhcp]\nlease = 5",
            "line 2, column 9: a lease of 5 s; at least 60 are needed",
        ),
        (
            "[dhcp]\nrouter = \"gateway\"",
            "line 2, column 10: \"gateway\" is not an IPv4 address such as 10.0.0.1",
        ),
        (
            "[dhcp]\ndns = [\"1.1.1.1\",\n \"127.0.0.1\"]",
            "line 3, column 2: 127.0.0.1 is not the address of a machine on a network",
        ),
        (
            "[[network]]\naddress = \"10.1.0.1/24\"\npool = \"\"",
            "line 2, column 11: 10.1.0.1 is an address in the network 10.1.0.0/24: write the network",
        ),
        (
            "[[network]]\naddress = \"10.1.0.0/24\"",
            "line 1, column 1: missing field `pool`",
        ),
        (
            "[[network]]\naddress = \"10.1.0.0/24\"\npool = \"10.1.0.5-10.1.1.9\"",
            "line 3, column 8: the pool's last address 10.1.1.9 is not in [[network]] 10.1.0.0/24: change one of the two",
        ),
        (
            "[[network]]\naddress = \"10.1.0.0/24\"\npool = \"10.1.0.5-10.1.0.9\"\nrouter = \"10.0.0.1\"",
            "line 4, column 10: the router 10.0.0.1 is not in [[network]] 10.1.0.0/24: change one of the two",
        ),
        (
            "[[network]]\naddress = \"10.1.0.0/16\"\npool = \"10.1.0.5-10.1.0.9\"\n[[network]]\naddress = \"10.1.7.0/24\"\npool = \"10.1.7.5-10.1.7.9\"",
            "line 5, column 11: [[network]] 10.1.7.0/24 overlaps [[network]] 10.1.0.0/16: keep one, or change a prefix",
        ),
        (
            "[boot]\noverlays = [\"a\", \"../b\"]",
            "line 2, column 18: \"../b\" is not a name of a folder in overlays/: letters, digits, '.', '-', '_' and '+', at most 100",
        ),
        (
            "[boot]\noverlays = [\"common\"]",
            "line 2, column 13: every worker gets overlays/common, without its name standing anywhere: leave it out",
        ),
        (
            "[[worker]]\narch = \"x86_64\"\noverlays = [\"a\", \"a\"]",
            "line 3, column 18: the overlay a stands on line 3 already: keep one of the two",
        ),
        (
            "[identity]\nhostname = \"{{ id\"",
            "line 2, column 12: syntax error: unexpected end of input, expected end of variable block (in hostname:1)",
        ),
        (
            "[[worker]]\nmac = \"52:54:00:12:34\"",
            "line 2, column 7: \"52:54:00:12:34\" is not a MAC address such as 52:54:00:12:34:56, or the beginning of one such as 52:54:00:*",
        ),
        (
            "[[worker]]\nimage = \"a\"",
            "line 1, column 1: names no machine: give mac, serial, uuid or arch; what is for all stands in [boot]",
        ),
        (
            "[[worker]]\nmac = \"52:54:00:12:34:56\"\n[[worker]]\nmac = \"52-54-00-12-34-56\"",
            "line 4, column 7: the rule for 52:54:00:12:34:56 stands on line 2 already: keep one of the two",
        ),
        (
            "[[worker]]\nmac = \"52:54:00:12:34:56\"\naddress = \"10.0.0.9\"\n[[worker]]\nmac = \"52:54:00:12:34:57\"\naddress = \"10.0.0.9\"",
            "line 6, column 11: the address 10.0.0.9 stands on line 3 already: keep one of the two",
        ),
        (
            "[[worker]]\nmac = \"52:54:00:12:34:56\"\nhostname = \"a\"\n[[worker]]\nmac = \"52:54:00:12:34:57\"\nhostname = \"A\"",
            "line 6, column 12: the host name a stands on line 3 already: keep one of the two",
        ),
        (
            "[[worker]]\nmac = \"52:54:00:12:34:56\"\naddress = 5",
            "line 3, column 11: invalid type: integer `5`, expected a string",
        ),
        (
            "[[worker]]\nmac = \"52:54:00:12:34:56\"\nhostname = \"no_de\"",
            "line 3, column 12: ramboot.hostname=no_de: a host name as RFC 1123 has it is wanted",
        ),
        (
            "[[worker]]\nmac = \"52:54:00:*\"\nhostname = \"a\"",
            "line 3, column 12: the rule for 52:54:00:*:*:* is for many machines, which cannot all be a: give a whole mac, serial or uuid",
        ),
        (
            "[[worker]]\nserial = \"5b154510\"\naddress = \"10.0.0.9\"",
            "line 3, column 11: an address can be reserved for a whole mac only, not for serial 5b154510",
        ),
        (
            "[[worker]]\narch = \"arm64\"",
            "line 2, column 8: \"arm64\" is not an architecture: x86_64 and aarch64 are",
        ),
        (
            "[boot]\nimage = \"../x\"",
            "line 2, column 9: \"../x\" is not a name of an image: letters, digits, '.', '-', '_' and '+', at most 100",
        ),
        (
            "[boot]\nbases = [\"http://10.0.0.2\", \"manager:8067\"]",
            "line 2, column 29: \"manager:8067\": http://ADDRESS[:PORT] is wanted",
        ),
        (
            "[boot]\npi_prefix = \"../x/\"",
            "line 2, column 13: \"../x/\" is not a TFTP_PREFIX_STR: letters, digits, '.', '-', '_' and '/', at most 32",
        ),
        (
            "[boot]\noverlay = \"much\"",
            "line 2, column 11: \"much\": a size such as 512M or 2G, or a percentage such as 50%, is wanted",
        ),
        (
            "[boot]\ntmpfs = [\"/srv\", \"/run/x\"]",
            "line 2, column 18: \"/run/x\": /, and what is in /dev, /proc, /sys, /run cannot be on the writable tmpfs: name a folder that is on the disk of other machines",
        ),
        (
            "[boot]\ncmdline = \"quiet ramboot.image=1\"",
            "line 2, column 11: \"ramboot.image=1\" is written by ramboot itself: use the keys hostname, overlay, tmpfs, deadline, debug, heartbeat, mode or gate",
        ),
        (
            "[boot]\ncmdline = \"ramboot.mode=stream\"",
            "line 2, column 11: \"ramboot.mode=stream\" is written by ramboot itself: use the keys hostname, overlay, tmpfs, deadline, debug, heartbeat, mode or gate",
        ),
        (
            "[boot]\nmode = \"fast\"",
            "line 2, column 8: \"fast\" is no mode: \"full\" starts an image when all of it is there, \"stream\" before that",
        ),
        (
            "[[worker]]\nmac = \"52:*\"\ngate = \"warm\"",
            "line 3, column 8: \"warm\" is no gate: \"hot\" waits for what boots read before their network is up, \"tables\" for the file system's tables, \"none\" for nothing",
        ),
        (
            "[boot]\ncmdline = \"a ${net0/mac}\"",
            "line 2, column 11: \"${\" would be expanded by iPXE: leave it out",
        ),
        (
            "[boot]\ncmdline = \"a || shell\"",
            "line 2, column 11: the word \"||\" would end the line in iPXE: leave it out",
        ),
        (
            "[boot]\ncmdline = \"a\\nshell\"",
            "line 2, column 11: '\\n' cannot stand on a kernel command line: use printable ASCII",
        ),
        (
            "[boot]\ndebug = true\ndebug = true",
            "line 3, column 1: duplicate key",
        ),
    ] {
        let error = Config::parse(text).expect_err(text).to_string();
        assert_eq!(error, want, "{text}");
    }
}

#[test]
fn what_no_editor_writes_is_refused_with_a_line() {
    let many = "1".repeat(MAX_FILE_BYTES + 1);
    let deep = format!("a = {}", "[".repeat(100_000));
    for text in [
        "\0",
        "[boot]\nimage = \"a\0b\"",
        "[dhcp",
        "=",
        "\u{feff}\u{feff}",
        &many,
        &deep,
    ] {
        let error = Config::parse(text).expect_err("refused").to_string();
        assert!(error.starts_with("line "), "{error:.80}");
    }
    let long = format!(
        "[boot]\ncmdline = \"{}\"",
        "a".repeat(words::MAX_CMDLINE_BYTES + 1)
    );
    let error = Config::parse(&long).expect_err("too long").to_string();
    assert_eq!(
        error,
        "line 2, column 11: 1001 bytes of kernel parameters, 1000 are possible"
    );
}

#[test]
fn reading_names_the_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("ramboot.toml");
    let error = format!("{:#}", Config::read(&path).expect_err("absent"));
    assert!(
        error.contains("ramboot.toml: there is no such file: make it"),
        "{error}"
    );
    std::fs::write(&path, "[http]\nport = 81\n").expect("writes");
    assert_eq!(Config::read(&path).expect("reads").http_port, 81);
    std::fs::write(&path, "x").expect("writes");
    let error = format!("{:#}", Config::read(&path).expect_err("not TOML"));
    assert!(
        error.contains("ramboot.toml: line 1, column 2: "),
        "{error}"
    );
    std::fs::write(&path, b"\xff").expect("writes");
    let error = format!("{:#}", Config::read(&path).expect_err("not UTF-8"));
    assert!(error.contains("invalid utf-8"), "{error}");
}

#[test]
fn the_sample_in_packaging_is_a_config_with_and_without_its_marks() {
    let sample = include_str!("../../packaging/ramboot.toml");
    assert_eq!(Config::parse(sample), Ok(Config::default()));
    let unmarked: Vec<&str> = sample
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.starts_with(' ') => key,
            _ => line,
        })
        .collect();
    let all = Config::parse(&unmarked.join("\n")).expect("every key is known");
    assert_eq!((all.workers.len(), all.networks.len()), (1, 1));
    assert_eq!(all.boot.deadline, Some(600));
}
