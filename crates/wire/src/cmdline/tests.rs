use super::*;
use proptest::prelude::*;

fn minimal() -> BootArgs {
    BootArgs {
        image: ImageId([7; 32]),
        size: 1000,
        bases: vec!["http://10.0.0.1:8067".parse().expect("base")],
        overlay: None,
        tmpfs: Vec::new(),
        hostname: None,
        files: None,
        debug: false,
        heartbeat: true,
        deadline: None,
        bootif: None,
        streaming: None,
        boot: None,
    }
}

fn files() -> BootFiles {
    BootFiles {
        kernel: "vmlinuz-0123456789abcdef".to_owned(),
        initrd: "initrd-0123456789abcdef".to_owned(),
    }
}

/// It is for after the boot: it keeps no machine from booting.
#[test]
fn names_of_boot_files_give_way_where_there_is_no_room() {
    let args = BootArgs {
        boot: Some(files()),
        ..minimal()
    };
    let line = args.render("").expect("renders");
    let word = " ramboot.boot=vmlinuz-0123456789abcdef,initrd-0123456789abcdef";
    assert!(line.ends_with(word), "{line}");
    let room = MAX_CMDLINE_BYTES - line.len() - 1;
    let with = args.render(&"x".repeat(room)).expect("all of it");
    let without = args.render(&"x".repeat(room + 1)).expect("the rest");
    assert_eq!(BootArgs::parse(&with), Ok(args.clone()));
    assert_eq!(BootArgs::parse(&without), Ok(minimal()));
    let too_long = args.render(&"x".repeat(room + word.len() + 1));
    assert_eq!(too_long, Err(CmdlineError::TooLong(MAX_CMDLINE_BYTES + 1)));
    for value in ["", "vmlinuz", "a,", "a,b,c", "../a,b", "a,b/c", ".a,b"] {
        assert!(value.parse::<BootFiles>().is_err(), "{value}");
    }
}

#[test]
fn what_is_written_is_read_back() {
    let full = BootArgs {
        bases: vec![
            "http://10.0.0.1".parse().expect("base"),
            "http://10.0.0.2:81/cache/a".parse().expect("base"),
        ],
        overlay: Some(Overlay::Percent(25)),
        tmpfs: ["/srv/cache", "/var/lib/x"]
            .map(|path| path.parse().expect("a folder"))
            .to_vec(),
        hostname: Some("node-1.lab".to_owned()),
        files: Some(Files {
            id: crate::FilesId([3; 32]),
            size: 5000,
            worker: "gpu~10.0.0.1:8067~01-02-03-04-05-06~~x86_64~"
                .parse()
                .expect("a worker"),
        }),
        debug: true,
        heartbeat: false,
        deadline: Some(600),
        bootif: Some(Mac([1, 2, 3, 4, 5, 6])),
        streaming: Some(Streaming { gate: Gate::Tables }),
        boot: Some(files()),
        ..minimal()
    };
    for args in [minimal(), full] {
        let line = args.render("console=ttyS0 quiet").expect("renders");
        assert_eq!(BootArgs::parse(&line), Ok(args.clone()), "{line}");
        assert!(line.ends_with(" console=ttyS0 quiet"));
    }
}

#[test]
fn a_key_given_twice_is_fatal() {
    let line = minimal().render("").expect("renders");
    let id = ImageId([8; 32]);
    for extra in [
        format!("ramboot.image={id}"),
        "ramboot.size=1".into(),
        "ramboot.url=http://6.6.6.6".into(),
    ] {
        let error = BootArgs::parse(&format!("{line} {extra}"))
            .expect_err("twice")
            .to_string();
        assert!(
            error.ends_with("stands twice on the kernel command line"),
            "{error}"
        );
    }
    assert!(
        minimal().render("ramboot.size=2").is_err(),
        "the manager refuses to write it, too"
    );
}

#[test]
fn lying_values_are_named() {
    let id = ImageId([7; 32]);
    for (line, want) in [
        (
            String::new(),
            "ramboot.image is missing on the kernel command line",
        ),
        (
            format!("ramboot.image={id}"),
            "ramboot.size is missing on the kernel command line",
        ),
        (
            format!("ramboot.image={id} ramboot.size=9"),
            "ramboot.url is missing on the kernel command line",
        ),
        (
            "ramboot.image=abc".into(),
            "ramboot.image=abc: \"abc\" is not an image id: 64 hexadecimal digits, as b3sum prints",
        ),
        (
            "ramboot.size=0".into(),
            "ramboot.size=0: 1 to 68719476736 bytes are possible",
        ),
        (
            "ramboot.size=-1".into(),
            "ramboot.size=-1: 1 to 68719476736 bytes are possible",
        ),
        (
            "ramboot.url=https://10.0.0.1".into(),
            "ramboot.url=https://10.0.0.1: http://ADDRESS[:PORT] is wanted",
        ),
        (
            "ramboot.url=http://manager".into(),
            "ramboot.url=http://manager: an IPv4 address is wanted after http://",
        ),
        (
            "ramboot.deadline=soon".into(),
            "ramboot.deadline=soon: a number of seconds is wanted",
        ),
        (
            "ramboot.heartbeat=no".into(),
            "ramboot.heartbeat=no: on or off is wanted",
        ),
        (
            "ramboot.mode=fast".into(),
            "ramboot.mode=fast: full or stream is wanted",
        ),
        (
            "ramboot.tmpfs=/srv,var/lib/x".into(),
            "ramboot.tmpfs=var/lib/x: an absolute path such as /var/lib/docker is wanted, without // . or .., of letters, digits and . - _ + @ :, at most 200 bytes",
        ),
        (
            format!("ramboot.tmpfs={}", ["/x"; 17].join(",")),
            "ramboot.tmpfs=/x,/x,/x,/x,/x,/x,/x,/x,/x,/x,/x,/x,/x,/x,/x,/x,/x: 17 folders, 16 are possible",
        ),
        (
            "ramboot.gate=all".into(),
            "ramboot.gate=all: hot, tables or none is wanted",
        ),
        (
            "ramboot.hostname=-a".into(),
            "ramboot.hostname=-a: a host name as RFC 1123 has it is wanted",
        ),
    ] {
        assert_eq!(
            BootArgs::parse(&line).expect_err("refused").to_string(),
            want
        );
    }
    for overlay in [
        "0",
        "0%",
        "101%",
        "12Q",
        "-1M",
        "99999999999999999999",
        "18446744073709551615G",
        "",
        "%",
    ] {
        assert!(overlay.parse::<Overlay>().is_err(), "{overlay}");
    }
    assert_eq!("2G".parse(), Ok(Overlay::Bytes(2 << 30)));
}

#[test]
fn words_are_split_as_the_kernel_does() {
    assert_eq!(split("a  b=\"c d\" \te=f\n"), ["a", "b=c d", "e=f"]);
    let line = minimal()
        .render("dyndbg=\"file x +p\" -- ramboot.size=3")
        .expect("after -- is init's");
    assert_eq!(BootArgs::parse(&line), Ok(minimal()));
}

#[test]
fn what_is_urgent_is_read_from_any_command_line() {
    for (line, debug, deadline) in [
        ("", false, None),
        (
            "ramboot.size=x ramboot.deadline=600 quiet",
            false,
            Some(600),
        ),
        (
            "ramboot.debug ramboot.deadline=soon ramboot.deadline=9",
            true,
            Some(9),
        ),
        ("ramboot.deadline=1 ramboot.deadline=2", false, Some(1)),
        (
            "init=/init -- ramboot.deadline=7 ramboot.debug",
            false,
            None,
        ),
    ] {
        assert_eq!(Urgent::parse(line), Urgent { debug, deadline }, "{line:?}");
    }
}

#[test]
fn too_long_is_said_with_both_numbers() {
    let error = minimal()
        .render(&"x".repeat(MAX_CMDLINE_BYTES))
        .expect_err("too long")
        .to_string();
    assert!(error.contains("1500 are possible"), "{error}");
}

proptest! {
    #[test]
    fn never_panics(line in "\\PC{0,200}") {
        let _ = (BootArgs::parse(&line), Urgent::parse(&line));
    }

    #[test]
    fn never_panics_on_near_misses(key in "(ramboot\\.[a-z]{3,8}|BOOTIF)", value in "\\PC{0,40}") {
        let _ = BootArgs::parse(&format!("{key}={value}"));
    }
}
