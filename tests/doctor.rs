//! `ramboot doctor` on a network of its own: with a manager that is well, and with one thing wrong at a time.
#![allow(
    clippy::disallowed_methods,
    reason = "tests start programs and wait for them"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use ramboot::pi::files::pack;
use ramboot::store::commit::Staging;
use ramboot::store::{Generation, ImageFacts, PiBoot};
use ramboot_wire::image::{CHUNK_LEN, chaining_value};
use ramboot_wire::{Arch, ImageId};
use serde_json::Value;
use tempfile::TempDir;

/// lan0 is the manager's, far0 in a namespace of its own; `far` runs a program there. The script is process 1 of a namespace, so
/// all that it started ends with it.
const LAN: &str = r#"
program=$1 state=$2
ip link set lo up
unshare --net sleep infinity & there=$!
until [ "$(readlink /proc/$there/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do :; done
ip link add lan0 type veth peer name far0 netns $there
ip address add 10.9.8.1/24 dev lan0
ip link set lan0 up
far() { nsenter --net=/proc/$there/ns/net "$@"; }
far ip address add 10.9.8.9/24 dev far0
far ip link set far0 up
serve() {
    rm -f "$state/run/control.sock"
    "$program" serve --state "$state" --interface lan0 --run-dir "$state/run" \
        --ipxe-dir "$state/ipxe" "$@" 2>"$state/log" & manager=$!
    until [ -S "$state/run/control.sock" ]; do kill -0 $manager; sleep 0.02; done
}
beside() { dnsmasq_there; serve --dhcp proxy; }
full() { serve --dhcp full --pool 10.9.8.100-10.9.8.199; }
dnsmasq_there() {
    far dnsmasq --keep-in-foreground --user=root --group= --conf-file=/dev/null --port=0 --no-ping \
        --pid-file="$state/dnsmasq.pid" --dhcp-leasefile="$state/leases" --interface=far0 \
        --dhcp-range=10.9.8.50,10.9.8.59 2>"$state/dnsmasq.log" &
    until [ -s "$state/dnsmasq.pid" ]; do kill -0 $!; sleep 0.02; done
}
doctor() {
    code=0
    "$program" doctor --state "$state" --run-dir "$state/run" --ipxe-dir "$state/ipxe" --json "$@" || code=$?
    echo "exit $code"
}
"#;

/// What doctor said.
struct Said {
    code: String,
    verdict: String,
    findings: Vec<Value>,
}

impl Said {
    /// Runs a script on the LAN; its last command is `doctor`.
    fn of(state: &Path, script: &str) -> Self {
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net"])
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-euc"])
            .arg(format!("{LAN}{script}"))
            .args(["sh", env!("CARGO_BIN_EXE_ramboot")])
            .arg(state)
            .env_remove("RAMBOOT_LOG")
            .env_remove("RAMBOOT_STATE")
            .output()
            .expect("unshare");
        let text = String::from_utf8_lossy(&output.stdout);
        let log = fs::read_to_string(state.join("log")).unwrap_or_default();
        let told = || format!("{text}{}{log}", String::from_utf8_lossy(&output.stderr));
        let end = text.rfind("exit ").unwrap_or_else(|| panic!("{}", told()));
        let json: Value =
            serde_json::from_str(&text[..end]).unwrap_or_else(|e| panic!("{e}: {}", told()));
        println!("{json:#}");
        Self {
            code: text[end..].trim().to_owned(),
            verdict: json["verdict"].as_str().expect("a word").to_owned(),
            findings: json["findings"].as_array().expect("a list").clone(),
        }
    }

    /// Topic, check and verdict of all that is not as it should be.
    fn wrong(&self) -> Vec<String> {
        let wrong = |one: &&Value| one["verdict"] == "warning" || one["verdict"] == "bad";
        let words = |one: &Value| {
            let word = |key: &str| one[key].as_str().expect("a word").to_owned();
            assert!(one["remedy"].is_string(), "no remedy: {one}");
            [word("topic"), word("check"), word("verdict")].join(" ")
        };
        self.findings.iter().filter(wrong).map(words).collect()
    }

    /// The sentences of a topic's check, with what to do.
    fn text(&self, topic: &str, check: &str) -> String {
        let of = |one: &&Value| one["topic"] == topic && one["check"] == check;
        let words = |one: &Value| {
            let remedy = one["remedy"].as_str().unwrap_or_default();
            format!("{} > {remedy}", one["sentence"].as_str().expect("text"))
        };
        let found = self.findings.iter().filter(of).map(words);
        found.collect::<Vec<_>>().join("\n")
    }

    /// Both machines came as far as the first chunk of their image.
    fn both_boot(&self) {
        for topic in ["pi", "pc"] {
            let image = self.text(topic, "image");
            assert!(
                image.contains("its chunk list and first chunk are proven"),
                "{topic}: {image}"
            );
        }
    }
}

fn noise(bytes: usize, seed: u8) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new()
        .update(&[seed])
        .finalize_xof()
        .fill(&mut out);
    out
}

/// A store with an image for PCs and one for Raspberry Pis, three chunks each, and a folder with iPXE.
fn filled() -> TempDir {
    let folder = tempfile::tempdir().expect("folder");
    for (name, arch) in [("pc", Arch::X86_64), ("pi", Arch::Aarch64)] {
        publish(folder.path(), name, arch);
    }
    let ipxe = folder.path().join("ipxe");
    fs::create_dir(&ipxe).expect("folder");
    for name in ["undionly.kpxe", "snponly.efi"] {
        fs::write(ipxe.join(name), noise(90_000, 9)).expect("written");
    }
    folder
}

fn publish(state: &Path, name: &str, arch: Arch) {
    let staging = Staging::begin(state).expect("begun");
    let image = noise(2 * CHUNK_LEN + 1000, u8::from(arch == Arch::X86_64));
    let mut file = staging.create_image().expect("made");
    file.write_all(&image).expect("written");
    let chunks: Vec<u8> = image
        .chunks(CHUNK_LEN)
        .zip(0..)
        .flat_map(|(chunk, index)| chaining_value(index, chunk))
        .collect();
    let add = |kind, content: &[u8]| staging.add_boot(kind, content).expect("added");
    let firmware = ["start4.elf", "fixup4.dat", "bcm2711-rpi-4-b.dtb"];
    let firmware: BTreeMap<_, _> = firmware
        .into_iter()
        .map(|file| (file.to_owned(), noise(5000, 7)))
        .collect();
    let (id, size) = (
        ImageId(*blake3::hash(&image).as_bytes()),
        image.len() as u64,
    );
    let generation = Generation {
        number: 0,
        image: id,
        size,
        kernel: add("vmlinuz", &noise(300_000, 2)),
        initrd: add("initrd", &noise(200_000, 3)),
        stub: None,
        pi: (arch == Arch::Aarch64).then(|| PiBoot {
            files: add("pi", &pack(firmware).expect("packed")),
            kernel: add("vmlinuz", &noise(100_000, 4)),
            initrd: add("initrd", &noise(50_000, 5)),
            upstream: false,
            config: Vec::new(),
            boards: Vec::new(),
        }),
        kernel_version: "6.1.0".to_owned(),
        arch,
        published: 0,
        note: String::new(),
        forced: Vec::new(),
    };
    let facts = ImageFacts {
        id,
        size,
        compressor: "zstd".to_owned(),
        block_size: 131_072,
        kernel_version: "6.1.0".to_owned(),
        arch,
        forced: Vec::new(),
    };
    let name = name.parse().expect("a name");
    staging
        .commit(&facts, &chunks, &name, &generation)
        .expect("committed");
}

fn a_manager_that_is_well_boots_both_machines() {
    let state = filled();
    let said = Said::of(state.path(), "full; doctor --deep");
    assert_eq!((said.wrong(), said.code.as_str()), (vec![], "exit 0"));
    said.both_boot();
    assert_eq!(
        said.text("manager", "runs").split(") on ").nth(1),
        Some("lan0 10.9.8.1: it gives addresses (DHCP full), HTTP 8067 > ")
    );
    assert!(
        said.text("images", "image")
            .contains("each byte read and proven")
    );
    assert!(said.text("pi", "dhcp").contains("10.9.8.1 offers 10.9.8.1"));
    assert!(
        said.text("pi", "kernel")
            .contains("(100 KB) with an initramfs of 50 KB")
    );
    assert!(
        said.text("pc", "program")
            .contains("loads efi/…/boot.efi (90 KB) by TFTP from 10.9.8.1: that is iPXE")
    );
    assert!(
        said.text("pc", "kernel")
            .contains("the kernel (300 KB) and the initramfs (200 KB)")
    );
}

fn beside_another_server_it_is_the_one_that_gives_addresses() {
    let state = filled();
    let said = Said::of(state.path(), "beside; doctor");
    assert_eq!((said.wrong(), said.code.as_str()), (vec![], "exit 0"));
    said.both_boot();
    assert!(
        said.text("dhcp", "other")
            .contains("10.9.8.9 gives addresses on lan0 (it offered 10.9.8.5")
    );
    for topic in ["pi", "pc"] {
        let dhcp = said.text(topic, "dhcp");
        assert!(dhcp.contains("10.9.8.9 offers 10.9.8.5"), "{dhcp}");
        assert!(dhcp.contains("10.9.8.1 says "), "{dhcp}");
    }
}

fn nobody_gives_addresses_in_proxy_mode() {
    let state = filled();
    let said = Said::of(state.path(), "serve --dhcp proxy; doctor");
    assert_eq!(
        (said.wrong(), said.code.as_str()),
        (vec!["dhcp other bad".to_owned()], "exit 1")
    );
    let text = said.text("dhcp", "other");
    assert!(
        text.ends_with("--dhcp full --pool 10.9.8.100-10.9.8.199"),
        "{text}"
    );
    // The rest is tried with an address that is played.
    said.both_boot();
}

fn two_servers_that_give_addresses_are_one_too_many() {
    let state = filled();
    let said = Said::of(state.path(), "full; dnsmasq_there; doctor");
    assert_eq!(
        (said.wrong(), said.code.as_str()),
        (vec!["dhcp other bad".to_owned()], "exit 1")
    );
    let text = said.text("dhcp", "other");
    assert!(
        text.contains("another DHCP server answers on lan0: 10.9.8.9"),
        "{text}"
    );
}

fn without_a_manager_it_says_how_to_start_one_and_who_is_in_its_place() {
    let state = filled();
    let tftp = "dnsmasq --keep-in-foreground --user=root --group= --conf-file=/dev/null --port=0 --enable-tftp \
        --tftp-root=/ --pid-file=\"$state/tftp.pid\" 2>\"$state/log\" & taken=$!; \
        until [ -s \"$state/tftp.pid\" ]; do kill -0 $taken; sleep 0.02; done";
    let script = format!("{tftp}; doctor --interface lan0 --dhcp full");
    let said = Said::of(state.path(), &script);
    assert_eq!(
        (said.wrong(), said.code.as_str()),
        (
            vec!["manager runs bad".to_owned(), "ports udp-69 bad".to_owned()],
            "exit 1"
        )
    );
    let text = said.text("manager", "runs");
    assert!(
        text.contains("sudo ramboot serve --interface lan0 --run-dir "),
        "{text}"
    );
    let text = said.text("ports", "udp-69");
    assert!(
        text.starts_with("UDP 69 (TFTP) is taken by dnsmasq (pid "),
        "{text}"
    );
    assert!(text.contains(" > take enable-tftp out of "), "{text}");
    assert!(
        said.text("ports", "ports")
            .contains("UDP 67, UDP 4011, TCP 8067: free")
    );
}

/// It says that it serves lan0 and lan7, and has no socket there: as one whose interfaces were made anew and that did not notice.
fn a_manager_is_not_believed_that_it_listens() {
    use ramboot::control::{About, Answer, SOCKET, Served};
    let state = filled();
    let run = state.path().join("run");
    fs::create_dir(&run).expect("folder");
    let served = |name: &str, third| Served {
        name: name.to_owned(),
        address: [10, 9, third, 1].into(),
        prefix_len: 24,
        trouble: None,
    };
    let about = Answer::About(Box::new(About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: 1,
        dhcp: "full".to_owned(),
        interfaces: vec![served("lan0", 8), served("lan7", 7)],
        http_port: 8067,
        state: state.path().to_owned(),
        config: None,
        ipxe_dir: state.path().join("ipxe"),
    }));
    let about = serde_json::to_vec(&about).expect("JSON");
    let socket = std::os::unix::net::UnixListener::bind(run.join(SOCKET)).expect("bind");
    // It ends with the program.
    std::thread::spawn(move || {
        for stream in socket.incoming() {
            let mut stream = stream.expect("a connection");
            // Whoever hangs up before has its answer.
            let _ = std::io::BufRead::read_line(
                &mut std::io::BufReader::new(&stream),
                &mut String::new(),
            );
            let _ = stream.write_all(&about);
        }
    });
    let said = Said::of(state.path(), "doctor");
    assert_eq!(said.code, "exit 1");
    let wrong = said.wrong();
    for want in [
        "network served bad",
        "ports udp-67 bad",
        "ports udp-4011 bad",
        "ports udp-69 bad",
        "ports http bad",
    ] {
        assert!(wrong.iter().any(|one| one == want), "{want}: {wrong:#?}");
    }
    assert_eq!(
        said.text("network", "served"),
        "the manager serves lan7, which is away: there is no interface lan7; there are lo 127.0.0.1/8, lan0 10.9.8.1/24 \
         > bring it back, with an IPv4 address: the manager answers on it again by itself"
    );
    assert!(
        said.text("ports", "udp-67")
            .starts_with("nobody listens on UDP 67 (DHCP) of lan0, though the manager that runs says that it serves there"),
    );
}

fn a_rule_that_drops_is_named() {
    let state = filled();
    let rule = "nft -f - <<END\ntable inet gate { chain in { type filter hook input priority 0; policy accept; \
        iifname lan0 udp dport 69 drop; meta l4proto tcp limit rate over 1000/second drop; }; }\nEND\n";
    let said = Said::of(state.path(), &format!("beside; {rule} doctor"));
    assert_eq!(
        (said.wrong(), said.code.as_str()),
        (
            vec![
                "firewall nft bad".to_owned(),
                "firewall nft warning".to_owned()
            ],
            "exit 1"
        )
    );
    let text = said.text("firewall", "nft");
    assert!(
        text.contains("UDP 69 (TFTP) is kept away: a rule of chain inet gate in drops it"),
        "{text}"
    );
    assert!(
        text.contains("> nft insert rule inet gate in iifname \"lan0\" udp dport 69 accept"),
        "{text}"
    );
    assert!(
        text.contains("TCP 8067 (HTTP) may be kept away: "),
        "{text}"
    );
}

fn a_byte_that_changed_on_the_disk_is_found_by_reading_all() {
    let state = filled();
    let id = blake3::hash(&noise(2 * CHUNK_LEN + 1000, 1)).to_hex();
    let path = state.path().join(format!("images/{id}/image.sqfs"));
    let mut image = fs::read(&path).expect("read");
    image[CHUNK_LEN + 7] ^= 1;
    fs::write(&path, image).expect("written");
    let said = Said::of(state.path(), "beside; doctor --deep");
    assert_eq!(
        (said.wrong(), said.code.as_str()),
        (vec!["images image bad".to_owned()], "exit 1")
    );
    let text = said.text("images", "image");
    assert!(text.contains("image.sqfs is damaged"), "{text}");
    assert!(text.contains("ramboot rollback pc --state "), "{text}");

    // In the first chunk, a worker would see it, too.
    let mut image = fs::read(&path).expect("read");
    image[7] ^= 1;
    fs::write(&path, image).expect("written");
    let said = Said::of(state.path(), "beside; doctor");
    assert_eq!(
        (said.wrong(), said.code.as_str()),
        (vec!["pc image bad".to_owned()], "exit 1")
    );
}

fn nothing_is_published() {
    let state = tempfile::tempdir().expect("folder");
    let said = Said::of(state.path(), "beside; doctor");
    assert_eq!(
        (said.wrong(), said.code.as_str(), said.verdict.as_str()),
        (
            [
                "firmware ipxe warning",
                "firmware ipxe warning",
                "images published bad",
                "pi files warning",
                "pc boot warning",
            ]
            .map(str::to_owned)
            .to_vec(),
            "exit 1",
            "bad"
        )
    );
    let text = said.text("pi", "files");
    assert!(text.contains("asks for 00000001/start4.elf, "), "{text}");
    let text = said.text("images", "published");
    assert!(
        text.contains(
            "> ramboot build SOURCE -o image.sqfs --fix && ramboot publish image.sqfs --state "
        ),
        "{text}"
    );
}

fn who_may_not_look_is_told_what_was_not_looked_at() {
    let state = filled();
    let script = "full; program=\"setpriv --bounding-set=-all --inh-caps=-all $program\"; \
        doctor() { code=0; $program doctor --state \"$state\" --run-dir \"$state/run\" --ipxe-dir \"$state/ipxe\" --json || code=$?; echo \"exit $code\"; }; doctor";
    let said = Said::of(state.path(), script);
    assert_eq!((said.wrong(), said.code.as_str()), (vec![], "exit 0"));
    assert!(said.text("dhcp", "other").contains("was not looked for"));
    assert!(said.text("firewall", "nft").contains("not looked at: "));
    said.both_boot();
}

/// Each waits some seconds for DHCP servers that may be there, so all do at once.
#[test]
fn each_case() {
    let cases: &[(&str, fn())] = &[
        (
            "a_manager_that_is_well_boots_both_machines",
            a_manager_that_is_well_boots_both_machines,
        ),
        (
            "beside_another_server_it_is_the_one_that_gives_addresses",
            beside_another_server_it_is_the_one_that_gives_addresses,
        ),
        (
            "nobody_gives_addresses_in_proxy_mode",
            nobody_gives_addresses_in_proxy_mode,
        ),
        (
            "two_servers_that_give_addresses_are_one_too_many",
            two_servers_that_give_addresses_are_one_too_many,
        ),
        (
            "without_a_manager_it_says_how_to_start_one_and_who_is_in_its_place",
            without_a_manager_it_says_how_to_start_one_and_who_is_in_its_place,
        ),
        (
            "a_manager_is_not_believed_that_it_listens",
            a_manager_is_not_believed_that_it_listens,
        ),
        ("a_rule_that_drops_is_named", a_rule_that_drops_is_named),
        (
            "a_byte_that_changed_on_the_disk_is_found_by_reading_all",
            a_byte_that_changed_on_the_disk_is_found_by_reading_all,
        ),
        ("nothing_is_published", nothing_is_published),
        (
            "who_may_not_look_is_told_what_was_not_looked_at",
            who_may_not_look_is_told_what_was_not_looked_at,
        ),
    ];
    let running: Vec<_> = cases
        .iter()
        .map(|(name, case)| (name, std::thread::spawn(case)))
        .collect();
    // Who panicked has said so above.
    let failed: Vec<_> = running
        .into_iter()
        .filter_map(|(name, case)| case.join().is_err().then_some(name))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}
