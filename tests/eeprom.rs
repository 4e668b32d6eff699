//! `ramboot eeprom` as a user meets it, and its offers as a board meets them: by TFTP, over real sockets.
#![allow(clippy::disallowed_methods, reason = "tests wait with deadlines")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ramboot::boot::current::Current;
use ramboot::boot::ipxe_binaries::Roms;
use ramboot::boot::planner::Planner;
use ramboot::boot::worker_files::WorkerFiles;
use ramboot::config::Config;
use ramboot::fleet::shared::SharedFleet;
use ramboot::host::packet_socket::{Frames, Link};
use ramboot::pi::boards_seen::Seen;
use ramboot::pi::eeprom::update::Updates;
use ramboot::pi::files::pack;
use ramboot::pi::id::Identity;
use ramboot::serve::tftp_files::TftpFiles;
use ramboot::store::commit::Staging;
use ramboot::store::{Generation, ImageFacts, PiBoot, Store};
use ramboot_sim::{Conditions, Date, Params, Wire};
use ramboot_wire::{Arch, ImageId, Mac};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const PI4: usize = 512 * 1024;
const PI5: usize = 2 * 1024 * 1024;

const SETTINGS: &str = "[all]\nBOOT_UART=0\nBOOT_ORDER=0xf41\n";

/// An image as they are laid out, with the settings at the end.
fn image(size: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut section = |magic: u32, content: &[u8], to_the_end_of_the_sector: bool| {
        bytes.extend(magic.to_be_bytes());
        bytes.extend(u32::try_from(content.len()).expect("small").to_be_bytes());
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(8), 0xff);
        if to_the_end_of_the_sector {
            let len = (bytes.len() + 8).next_multiple_of(4096) - bytes.len() - 8;
            bytes.extend(0x55aa_feef_u32.to_be_bytes());
            bytes.extend(u32::try_from(len).expect("small").to_be_bytes());
            bytes.resize(bytes.len() + len, 0xff);
        }
    };
    let code: Vec<u8> = (0..70_000_u32)
        .map(|i| ((i * 7) >> 3).to_le_bytes()[0])
        .collect();
    section(0x55aa_f00f, &code, true);
    section(0x55aa_f11f, b"pubkey.bin\0\0\0\0\0\0", true);
    section(0x55aa_f11f, b"bootconf.sig\0\0\0\0", true);
    let settings = [b"bootconf.txt\0\0\0\0", SETTINGS.as_bytes()].concat();
    section(0x55aa_f11f, &settings, false);
    bytes.resize(size, 0xff);
    bytes
}

fn ramboot(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ramboot"))
        .arg("eeprom")
        .args(args)
        .current_dir(folder)
        .env("RAMBOOT_STATE", "state")
        .env_remove("RAMBOOT_LOG")
        .output()
        .expect("runs")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn json_of(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).expect("JSON")
}

fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr.clone()).expect("text")
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A folder with an image for each chip.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("pi4.bin"), image(PI4)).expect("written");
    fs::write(folder.path().join("pi5.bin"), image(PI5)).expect("written");
    folder
}

#[test]
fn settings_go_into_an_image_and_are_read_from_it() {
    let folder = folder();
    let folder = folder.path();
    let recommended = stdout(&ramboot(folder, &["conf"]));
    for (name, chip) in [("pi4.bin", "BCM2711"), ("pi5.bin", "BCM2712")] {
        assert_eq!(stdout(&ramboot(folder, &["read", name])), SETTINGS);
        let written = ramboot(
            folder,
            &["write", name, "-o", "pieeprom.upd", "--sig", "--json"],
        );
        let bytes = fs::read(folder.join("pieeprom.upd")).expect("written");
        assert_eq!(
            json_of(&written),
            json!({
                "output": "pieeprom.upd",
                "chip": chip,
                "bytes": bytes.len(),
                "sha256": sha256(&bytes),
                "boot_order": "0xf2",
                "sig": "pieeprom.sig",
            })
        );
        let sig = fs::read_to_string(folder.join("pieeprom.sig")).expect("written");
        let time = sig
            .strip_prefix(&(sha256(&bytes) + "\nts: "))
            .expect("digest first");
        let time: u64 = time
            .strip_suffix('\n')
            .expect("a line")
            .parse()
            .expect("seconds");
        assert!(time > 1_700_000_000, "{time}");
        assert_eq!(
            stdout(&ramboot(folder, &["read", "pieeprom.upd"])),
            recommended
        );
        let before = fs::read(folder.join(name)).expect("still there");
        assert_eq!(before, image(before.len()), "the source is not changed");
        let changed = (0..bytes.len()).filter(|&at| bytes[at] != before[at]);
        let changed: Vec<usize> = changed.collect();
        assert!(
            changed.iter().all(|at| (0x14000..0x15000).contains(at)),
            "{changed:x?}"
        );
    }
    fs::write(folder.join("boot.conf"), "[all]\nBOOT_ORDER=0xf41\n").expect("written");
    let written = ramboot(
        folder,
        &["write", "pi4.bin", "-o", "out.bin", "--conf", "boot.conf"],
    );
    assert_eq!(
        stdout(&written),
        "out.bin for BCM2711 (Pi 4B, 400, CM4)\n  \
         boots from  SD card or eMMC, USB stick or disk, again from the first: BOOT_ORDER=0xf41\n\
         warning: a board with these settings never boots from the network\n"
    );
    let read = json_of(&ramboot(folder, &["read", "out.bin", "--json"]));
    assert_eq!(read["bootconf"], "[all]\nBOOT_ORDER=0xf41\n");
    let file =
        |name, offset: usize, bytes: usize| json!({"name": name, "offset": offset, "bytes": bytes});
    assert_eq!(
        read["files"],
        json!([
            file("pubkey.bin", 0x12000, 0),
            file("bootconf.sig", 0x13000, 0),
            file("bootconf.txt", 0x14000, 23),
        ])
    );
}

#[test]
fn what_is_refused_is_named_and_nothing_is_written() {
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("short.bin"), &image(PI4)[..PI4 - 1]).expect("written");
    fs::write(folder.join("long.bin"), vec![0; PI5 + 1]).expect("written");
    let mut damaged = image(PI4);
    damaged[0x13000] = 0;
    fs::write(folder.join("damaged.bin"), damaged).expect("written");
    fs::write(folder.join("windows.conf"), "[all]\r\nBOOT_ORDER=0xf2\r\n").expect("written");
    fs::write(folder.join("card.conf"), "BOOT_ORDER=0xf1\n").expect("written");
    let write = |image, conf: &[&'static str]| {
        let args = [&["write", image, "-o", "out.bin"], conf].concat();
        refusal(&ramboot(folder, &args))
    };
    let offer = |args: &[&'static str]| {
        let args = [&["offer", "--serial", "5b154510"], args].concat();
        refusal(&ramboot(folder, &args))
    };
    for (found, want) in [
        (
            write("short.bin", &[]),
            "ramboot: short.bin: it has 524287 bytes; an image of a bootloader's EEPROM has 524288 (BCM2711: Pi 4B, 400, CM4) or 2097152 (BCM2712: Pi 5, 500, CM5)\n",
        ),
        (
            write("long.bin", &[]),
            "ramboot: long.bin has more than 2097152 bytes\n",
        ),
        (
            write("damaged.bin", &[]),
            "ramboot: damaged.bin: at offset 0x13000 stands 0x00aaf11f and not 0x55aaf..f, with which a section begins: it is no image, or damaged\n",
        ),
        (
            write("absent.bin", &[]),
            "ramboot: opening absent.bin: No such file or directory (os error 2)\n",
        ),
        (
            write("pi4.bin", &["--conf", "windows.conf"]),
            "ramboot: windows.conf: line 1 ends with CR LF, and bootloaders want LF alone: sed -i 's/\\r$//' takes it away\n",
        ),
        (
            offer(&["pi4.bin", "--conf", "card.conf"]),
            "ramboot: with these settings (SD card or eMMC, again from the first: BOOT_ORDER=0xf1) a board never boots from the network again, and somebody would have to go there: take others, or say --force\n",
        ),
        (
            offer(&["pi4.bin", "--as-is"]),
            "ramboot: with these settings (SD card or eMMC, USB stick or disk, again from the first: BOOT_ORDER=0xf41) a board never boots from the network again, and somebody would have to go there: take others, or say --force\n",
        ),
        (
            refusal(&ramboot(folder, &["withdraw", "--serial", "5b154510"])),
            "ramboot: nothing is offered to 5b154510 in state, and to no other board\n",
        ),
    ] {
        assert_eq!(found, want);
    }
    assert!(!folder.join("out.bin").exists() && !folder.join("state").exists());
    let wrong = ramboot(folder, &["conf", "--order", "0x8"]);
    assert_eq!(wrong.status.code(), Some(2));
    let text = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(text.contains("the digit 8 stands for nothing"), "{text}");
}

#[test]
fn offers_are_made_shown_and_withdrawn() {
    let folder = folder();
    let folder = folder.path();
    let none = stdout(&ramboot(folder, &["offers"]));
    assert_eq!(none, "no board is offered a bootloader\n");
    let args = [
        "offer",
        "pi4.bin",
        "--serial",
        "5b154510",
        "--serial",
        "100000000000beef",
    ];
    assert_eq!(
        stdout(&ramboot(folder, &args)),
        "offered to 5b154510, 0000beef: an image for BCM2711 (Pi 4B, 400, CM4)\n  \
         boots from  network, again from the first: BOOT_ORDER=0xf2\n\
         next: start the board from the network, and do not take its power away while it writes\n"
    );
    let forced = [
        "offer", "pi5.bin", "--serial", "0000beef", "--as-is", "--force", "--json",
    ];
    let forced = json_of(&ramboot(folder, &forced));
    let listed = json_of(&ramboot(folder, &["offers", "--json"]));
    assert_eq!(listed["offers"][0], forced["offers"][0]);
    assert_eq!(listed["offers"][0]["sha256"], sha256(&image(PI5)));
    assert_eq!(listed["offers"][1]["serial"], "5b154510");
    assert_eq!(listed["offers"][1]["boot_order"], "0xf2");
    let damaged = folder.join("state/eeprom/5b154510/pieeprom.upd");
    fs::remove_file(&damaged).expect("removed");
    fs::write(&damaged, image(PI4)).expect("written");
    let text = stdout(&ramboot(folder, &["offers"]));
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("SERIAL    CHIP     BOOT_ORDER  OFFERED"),
        "{text}"
    );
    assert!(lines[1].starts_with("0000beef  BCM2712  0xf41 "), "{text}");
    assert_eq!(
        lines[2],
        "5b154510  damaged: pieeprom.upd is not what pieeprom.sig says: offer it again"
    );
    let other = refusal(&ramboot(folder, &["withdraw", "--serial", "00000001"]));
    assert_eq!(
        other,
        "ramboot: nothing is offered to 00000001 in state, only to 0000beef, 5b154510\n"
    );
    let both = ["withdraw", "--serial", "5b154510", "--serial", "0000beef"];
    assert_eq!(
        stdout(&ramboot(folder, &both)),
        "withdrawn from 5b154510, 0000beef: a board that has it keeps it\n"
    );
    assert_eq!(
        fs::read_dir(folder.join("state/eeprom"))
            .expect("a folder")
            .count(),
        0
    );
}

/// TFTP of a manager over the folder `state`, on a port of its own.
struct Server {
    address: SocketAddr,
    boards: Arc<Seen>,
    _runtime: tokio::runtime::Runtime,
}

fn serve(state: &Path) -> Server {
    let boards = Arc::<Seen>::default();
    let planner = Planner {
        store: Arc::new(Store::open(state).expect("a store")),
        config: Arc::new(Config::default()),
        roms: Arc::new(Roms::read(state)),
        worker_files: Arc::new(WorkerFiles::open(state).expect("a secret")),
        fleet: Arc::new(SharedFleet::new(Box::new(drop))),
    };
    let updates = Updates::new(state, Arc::clone(&boards));
    let shelf = TftpFiles::new(Arc::new(Current::new(planner)), updates);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let address = socket.local_addr().expect("an address");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.spawn(ramboot::tftp::run(socket, Arc::new(shelf), Arc::default()));
    Server {
        address,
        boards,
        _runtime: runtime,
    }
}

impl Server {
    /// What a bootloader gets, in blocks of 1 468 bytes; else the server's error packet.
    fn fetch(&self, name: &str) -> Result<Vec<u8>, Vec<u8>> {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let wait = Some(Duration::from_secs(10));
        socket.set_read_timeout(wait).expect("a timeout");
        let words = [name, "octet", "tsize", "0", "blksize", "1468"].join("\0");
        let request = [b"\0\x01", words.as_bytes(), b"\0"].concat();
        socket.send_to(&request, self.address).expect("sent");
        let mut buffer = [0; 2048];
        let mut content = Vec::new();
        let mut acknowledged = 0_u16;
        loop {
            let (len, from) = socket.recv_from(&mut buffer).expect("an answer");
            let [high, low] = match &buffer[..len] {
                [0, 6, ..] => [0, 0],
                [0, 3, high, low, block @ ..] => {
                    let number = u16::from_be_bytes([*high, *low]);
                    // On a busy machine our answer comes too late, and the block comes again (RFC 1350, 2).
                    if number != acknowledged {
                        assert_eq!(number, acknowledged + 1);
                        acknowledged += 1;
                        content.extend_from_slice(block);
                    }
                    [*high, *low]
                }
                other => return Err(other.to_vec()),
            };
            socket.send_to(&[0, 4, high, low], from).expect("sent");
            if buffer[1] == 3 && len < 1472 {
                return Ok(content);
            }
        }
    }
}

/// As its bootloader says it in option 97 (the first is the one of raspberrypi/rpi-eeprom#58).
fn said(revision: [u8; 4], serial: u32) -> Identity {
    let id = [
        b"\0RPi4",
        &revision[..],
        b"\x32\x2e\xf8\xed",
        &serial.to_le_bytes(),
    ]
    .concat();
    let mac = Mac([0xdc, 0xa6, 0x32, 1, 2, 3]);
    Identity::recognise(&id, mac, 1).expect("a Pi")
}

#[test]
fn a_board_gets_what_it_was_offered_and_nobody_else_anything() {
    const A_4B: [u8; 4] = [0x11, 0x31, 0xa0, 0];
    const A_5: [u8; 4] = [0x70, 0x41, 0xd0, 0];
    let folder = folder();
    let state = folder.path().join("state");
    for (image, serial) in [
        ("pi4.bin", "5b154510"),
        ("pi5.bin", "0000beef"),
        // The board has the other chip.
        ("pi4.bin", "00000005"),
        // The board said nothing by DHCP.
        ("pi4.bin", "00000006"),
    ] {
        stdout(&ramboot(
            folder.path(),
            &["offer", image, "--serial", serial],
        ));
    }
    let server = serve(&state);
    for (revision, serial) in [
        (A_4B, 0x5b15_4510),
        (A_5, 0x0000_beef),
        (A_5, 5),
        // Nothing is offered to it.
        (A_4B, 7),
    ] {
        server.boards.note(&said(revision, serial));
    }
    for (serial, size) in [("5b154510", PI4), ("0000beef", PI5)] {
        let offered = state.join("eeprom").join(serial);
        for slashes in ["/", "//"] {
            let sig = server
                .fetch(&format!("{serial}{slashes}pieeprom.sig"))
                .expect("a file");
            assert_eq!(sig, fs::read(offered.join("pieeprom.sig")).expect("a file"));
            let upd = server
                .fetch(&format!("{serial}{slashes}pieeprom.upd"))
                .expect("a file");
            assert_eq!(
                (
                    upd.len(),
                    upd == fs::read(offered.join("pieeprom.upd")).expect("a file")
                ),
                (size, true)
            );
            assert!(sig.starts_with(sha256(&upd).as_bytes()));
        }
    }
    let not_found = |name: &str| {
        let error = server.fetch(name).expect_err("no file");
        // Code 1: a bootloader goes on at once.
        assert_eq!(error[..4], [0, 5, 0, 1], "{name}");
    };
    for file in ["pieeprom.sig", "pieeprom.upd"] {
        for prefix in [
            "00000005/",
            "00000006/",
            "00000007/",
            "",
            "/",
            "dc-a6-32-01-02-03/",
            "state/eeprom/5b154510/",
            "../eeprom/5b154510/",
        ] {
            not_found(&format!("{prefix}{file}"));
        }
    }
    not_found("5b154510/vl805.sig");
    not_found("5b154510/pieeprom.bin");
    stdout(&ramboot(
        folder.path(),
        &["withdraw", "--serial", "5b154510"],
    ));
    not_found("5b154510/pieeprom.sig");
    not_found("5b154510/pieeprom.upd");
}

/// A manager beside nobody, and a cable that [`boards_on_the_cable`] holds the other end of.
const LAN: &str = "ip link set lo up; ip link add lan0 type bridge; ip address add 10.9.8.1/24 dev lan0; \
                   ip link add pis0 type veth peer name pis1; ip link set pis0 master lan0 up; ip link set pis1 up; \
                   ip link set lan0 up; \
                   exec \"$1\" serve --state \"$2\" --interface lan0 --dhcp full --pool 10.9.8.100-10.9.8.120 --force";
/// Set where [`boards_on_the_cable`] is to do something.
const ON_THE_CABLE: &str = "RAMBOOT_TEST_BOARDS";

/// From DHCP, where a board says what it is, to the last block of the image: simulated boards, a manager in a network of
/// its own, and an offer to each of them. One has the wrong chip; each of them boots.
#[test]
fn simulated_boards_take_what_is_for_their_chip() {
    let folder = folder();
    let state = folder.path().join("state");
    publish(&state);
    // Serial numbers of simulated boards (ramboot-sim): Pi 4 number 1 and 2, Pi 5 number 1 and 2.
    for (image, serial) in [
        ("pi4.bin", "5b400001"),
        ("pi5.bin", "e1500001"),
        ("pi4.bin", "e1500002"),
    ] {
        stdout(&ramboot(
            folder.path(),
            &["offer", image, "--serial", serial],
        ));
    }
    let manager = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--net",
            "sh",
            "-euc",
            LAN,
            "sh",
        ])
        .arg(env!("CARGO_BIN_EXE_ramboot"))
        .arg(&state)
        .stderr(Stdio::piped())
        .spawn();
    let mut manager = Ended(manager.expect("unshare"));
    let mut lines = BufReader::new(manager.0.stderr.take().expect("piped")).lines();
    let ready = |line: &io::Result<String>| {
        line.as_ref()
            .is_ok_and(|line| line.contains("serving on lan0"))
    };
    assert!(lines.any(|line| ready(&line)), "it is not ready");
    let boards = Command::new("nsenter")
        .args(["--user", "--preserve-credentials", "--net", "--target"])
        .arg(manager.0.id().to_string())
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", "boards_on_the_cable", "--ignored"])
        .env(ON_THE_CABLE, folder.path().join("got"))
        .output()
        .expect("nsenter");
    drop(manager);
    let log: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(boards.status.success(), "{boards:#?}\n{log:#?}");
    let got = fs::read_to_string(folder.path().join("got")).expect("what they got");
    let offered = |serial: &str, file: &str| {
        let bytes = fs::read(state.join("eeprom").join(serial).join(file)).expect("an offer");
        format!(
            "{serial}/{file} {} {:x}",
            bytes.len(),
            ramboot_sim::digest(&bytes)
        )
    };
    let want = [
        offered("5b400001", "pieeprom.sig"),
        offered("5b400001", "pieeprom.upd"),
        "absent 5b400002/pieeprom.sig".to_owned(),
        offered("e1500001", "pieeprom.sig"),
        offered("e1500001", "pieeprom.upd"),
        "absent e1500002/pieeprom.sig".to_owned(),
    ];
    assert_eq!(got.lines().collect::<Vec<_>>(), want, "{log:#?}");
    let refused: Vec<&String> = log
        .iter()
        .filter(|line| line.contains("not handed out"))
        .collect();
    assert!(
        refused.len() == 1
            && refused[0].contains("e1500002")
            && refused[0].contains("the image is for a BCM2711"),
        "{refused:#?}"
    );
}

/// A process that does not outlive its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An image for arm64 with what boards ask for before their kernel.
fn publish(state: &Path) {
    let staging = Staging::begin(state).expect("begun");
    let mut image = staging.create_image().expect("made");
    image.write_all(b"image").expect("written");
    let add = |kind, content: &[u8]| staging.add_boot(kind, content).expect("added");
    let files = [
        "start4.elf",
        "fixup4.dat",
        "bcm2711-rpi-4-b.dtb",
        "bcm2712-rpi-5-b.dtb",
    ];
    let files = files.map(|name| (name.to_owned(), name.as_bytes().to_vec()));
    let generation = Generation {
        number: 0,
        image: ImageId(*blake3::hash(b"image").as_bytes()),
        size: 5,
        kernel: add("vmlinuz", b"kernel"),
        initrd: add("initrd", b"initramfs"),
        stub: None,
        pi: Some(PiBoot {
            files: add("pi", &pack(BTreeMap::from(files)).expect("packed")),
            kernel: add("vmlinuz", b"kernel under gzip"),
            initrd: add("initrd", b"small initramfs"),
            upstream: false,
            config: Vec::new(),
            boards: Vec::new(),
        }),
        kernel_version: "6.1.0".to_owned(),
        arch: Arch::Aarch64,
        published: 0,
        note: String::new(),
        forced: Vec::new(),
    };
    let facts = ImageFacts {
        id: generation.image,
        size: 5,
        compressor: "zstd".to_owned(),
        block_size: 131_072,
        kernel_version: "6.1.0".to_owned(),
        arch: Arch::Aarch64,
        forced: Vec::new(),
    };
    let name = "default".parse().expect("a name");
    staging
        .commit(&facts, &[], &name, &generation)
        .expect("committed");
}

/// Not a test of its own: the other end of the cable, in the manager's network.
#[test]
#[ignore = "started by simulated_boards_take_what_is_for_their_chip"]
fn boards_on_the_cable() {
    let Some(got) = std::env::var_os(ON_THE_CABLE) else {
        return;
    };
    let date = Date(2026, 1, 1);
    let boards = vec![
        Params::pi4(1, date),
        Params::pi4(2, date),
        Params::pi5(1, date),
        Params::pi5(2, date),
    ];
    let mut cable = Cable(Link::open("pis1", Frames::All).expect("the cable"));
    let begin = Instant::now();
    let conditions = Conditions::good(Duration::from_secs(60));
    let outcomes = ramboot_sim::boot_all(boards, conditions, &mut cable, &mut || begin.elapsed());
    let mut text = String::new();
    for outcome in outcomes.expect("carried") {
        assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
        let booted = outcome.boot.expect("booted");
        for (path, file) in booted
            .files
            .iter()
            .filter(|(path, _)| path.contains("pieeprom"))
        {
            text += &format!("{path} {} {:x}\n", file.len, file.digest);
        }
        for path in booted
            .absent
            .iter()
            .filter(|path| path.contains("pieeprom"))
        {
            text += &format!("absent {path}\n");
        }
    }
    fs::write(got, text).expect("written");
}

struct Cable(Link);

impl Wire for Cable {
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.0.send(frame)
    }

    fn receive(&mut self, buffer: &mut [u8], wait: Duration) -> io::Result<Option<usize>> {
        self.0.receive(buffer, wait)
    }
}
