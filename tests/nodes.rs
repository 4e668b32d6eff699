//! The fleet as a real manager tells it, in a network of its own: reports and heartbeats in; table, JSON, metrics and events
//! out. And what others can do to it: make machines up, and put things into texts that act on a terminal or a log.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::thread;

use ramboot_wire::{Heartbeat, ImageId, Mac};
use serde_json::{Value, json};

/// The manager has 10.9.8.1, workers the addresses after it. `answers` waits until it serves.
const UP: &str = r#"
    mount -t tmpfs none /run
    ip link set lo up
    ip link add lan0 type bridge
    for last in 1 2 3 4; do ip address add 10.9.8.$last/24 dev lan0; done
    ip link set lan0 up
    ramboot=$1 state=$2 url=http://10.9.8.1:$port
    setpriv --pdeathsig KILL "$ramboot" serve --state "$state" --interface lan0 --http-port $port &
    manager=$!
    trap 'kill $manager; wait $manager || :' EXIT
    answers() { curl -sf -o /dev/null --retry 60 --retry-connrefused --retry-max-time 60 $url/healthz; }
    # report LAST JSON: a worker says how a stage ended.
    report() { curl -sf --interface 10.9.8.$1 -d "$2" $url/report; }
    # beat LAST JSON: its heartbeat. Bash has no way to choose the sender's address, so the route says it.
    beat() {
        ip route replace local 10.9.8.1 dev lan0 table local src 10.9.8.$1
        printf %s "$2" >/dev/udp/10.9.8.1/$port
    }
    answers
"#;

fn story(script: &str) -> Output {
    story_at(8067, script)
}

fn story_at(port: u16, script: &str) -> Output {
    let state = tempfile::tempdir().expect("folder");
    let out = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--net",
            "--mount",
            "bash",
            "-euc",
        ])
        .arg(format!("port={port}\n{UP}{script}"))
        .arg("bash")
        .arg(env!("CARGO_BIN_EXE_ramboot"))
        .arg(state.path())
        .env_remove("RAMBOOT_LOG")
        .env_remove("RAMBOOT_MANAGER")
        .output()
        .expect("unshare");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        out.status.success(),
        "{}\n{}",
        text(&out.stdout),
        text(&out.stderr)
    );
    out
}

fn image() -> ImageId {
    ImageId([7; 32])
}

fn report(last: u8, stage: &str, facts: &Value) -> String {
    json!({
        "mac": Mac([0x52, 0x54, 0, 0, 0, last]),
        "image": image(),
        "line": {"stage": stage, "facts": facts, "ms": 250},
    })
    .to_string()
}

fn beat(last: u8) -> String {
    let beat = Heartbeat {
        mac: Mac([0x52, 0x54, 0, 0, 0, last]),
        image: image(),
        hostname: Some(format!("node-{last}")),
        boot_ms: 8_100,
        up_s: 90_000,
        memory: 8 << 30,
        available: 7 << 30,
        load_percent: 42,
        filling: None,
    };
    String::from_utf8(beat.encode()).expect("text")
}

#[test]
fn what_workers_say_is_shown() {
    let early = report(2, "early", &json!([["machine", "Acme <b>Box</b>"]]));
    let handover = report(2, "handover", &json!([]));
    let beat = beat(3);
    let script = format!(
        r#"
        "$ramboot" nodes
        report 2 '{early}'
        report 2 '{handover}'
        beat 3 '{beat}'
        until "$ramboot" nodes --json | grep -q node-3; do :; done
        "$ramboot" nodes --manager 10.9.8.1
        echo "=== json"
        "$ramboot" nodes --json
        echo "=== metrics"
        curl -sf $url/metrics
        "#
    );
    let out = String::from_utf8(story(&script).stdout).expect("text");
    let (table, rest) = out.split_once("=== json\n").expect("json");
    let (json, metrics) = rest.split_once("=== metrics\n").expect("metrics");

    assert!(
        table.starts_with(
            "no machine was seen yet, and no image is published: ramboot publish IMAGE\n"
        ),
        "{table}"
    );
    assert!(table.contains("2 machines: 2 up\n"), "{table}");
    let line = table
        .lines()
        .find(|line| line.contains("52:54:00:00:00:03"));
    let words: Vec<&str> = line.expect("node-3").split_whitespace().collect();
    let want =
        "node-3 52:54:00:00:00:03 10.9.8.3 unknown, 8 GB - 070707070707 up 25 h 8.1 s 7 GB 0.42";
    assert_eq!(words.join(" "), want);

    let all: Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(all["version"], 1);
    let row = &all["workers"][1];
    assert_eq!(
        row["mac"], "52:54:00:00:00:02",
        "without a name it comes last"
    );
    assert_eq!(row["model"], "Acme <b>Box</b>");
    assert_eq!(row["state"], "up");
    assert_eq!(row["address"], "10.9.8.2");

    for line in [
        "ramboot_boots_total{outcome=\"up\",stage=\"handover\"} 1",
        "ramboot_stage_seconds_sum{stage=\"early\"} 0.25",
        "ramboot_workers{state=\"up\"} 2",
        "ramboot_workers{state=\"failed\"} 0",
        "ramboot_build_info{version=\"0.1.0\"} 1",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} in\n{metrics}"
        );
    }
}

/// The heartbeat of one that runs with 37 % of its image.
fn fills(last: u8) -> String {
    let mut beat: Value = serde_json::from_str(&beat(last)).expect("JSON");
    beat["filling"] = json!({
        "resident": 74_000_000, "size": 200_000_000, "per_second": 10_500_000, "blocked_ms": 0,
    });
    beat.to_string()
}

#[test]
fn a_machine_that_runs_with_a_part_of_its_image_is_seen() {
    let (fills, beat) = (fills(2), beat(2));
    let fetch = report(2, "fetch", &json!([["gate", "hot"], ["resident", "9%"]]));
    let handover = report(2, "handover", &json!([]));
    let end = report(2, "untethered", &json!([["bytes", "126000000"]]));
    let impossible = fills.replace("74000000", "200000001");
    let waits = fills.replace("\"blocked_ms\":0", "\"blocked_ms\":12000");
    let script = format!(
        r#"
        state() {{ "$ramboot" nodes | grep -F "$1" || {{ "$ramboot" nodes >&2; false; }}; }}
        until_state() {{ until "$ramboot" nodes | grep -qF "$1"; do :; done; state "$1"; }}
        metric() {{ curl -sf $url/metrics | grep "^ramboot_$1"; }}
        report 2 '{fetch}'
        report 2 '{handover}'
        state "running, 9 % resident"
        beat 2 '{impossible}'
        until metric 'reports_refused_total 1'; do :; done
        state "running, 9 % resident"
        beat 2 '{fills}'
        until_state "running, 37 % resident, 1"
        metric workers_tethered
        "$ramboot" nodes --json
        beat 2 '{waits}'
        until_state "a program of this machine has waited 12 s for a part of the image 070707070707"
        # It knows nothing, and hears of it anew.
        kill $manager; wait $manager || :
        setpriv --pdeathsig KILL "$ramboot" serve --state "$state" --interface lan0 --http-port $port &
        manager=$!
        answers
        state "no machine was seen yet"
        beat 2 '{fills}'
        until_state "running, 37 % resident, 1"
        beat 2 '{beat}'
        state "running, 37 % resident, 1"
        report 2 '{end}'
        until "$ramboot" nodes | grep -qx "1 machine: 1 up"; do :; done
        metric workers_tethered
        metric untethered_seconds_sum
        metric untethered_seconds_count
        "#
    );
    let out = String::from_utf8(story(&script).stdout).expect("text");
    let (json, rest): (Vec<&str>, Vec<&str>) = out.lines().partition(|line| line.starts_with('{'));
    let all: Value = serde_json::from_str(json[0]).expect("JSON");
    let row = &all["workers"][0];
    assert_eq!(row["state"], "up");
    let filling = &row["filling"];
    for (key, want) in [
        ("percent", 37),
        ("resident", 74_000_000),
        ("size", 200_000_000),
        ("bytes_per_s", 10_500_000),
        ("blocked_s", 0),
    ] {
        assert_eq!(filling[key], want, "{key} of {filling}");
    }
    let metrics = rest.iter().filter(|line| line.starts_with("ramboot_"));
    let want = [
        "ramboot_reports_refused_total 1",
        "ramboot_workers_tethered 1",
        "ramboot_workers_tethered 0",
        "ramboot_untethered_seconds_sum 0.25",
        "ramboot_untethered_seconds_count 1",
    ];
    assert_eq!(metrics.copied().collect::<Vec<_>>(), want);
}

#[test]
fn who_watches_hears_of_a_change() {
    let early = report(2, "early", &json!([]));
    let script = format!(
        r#"
        exec 3< <(curl -sNf --max-time 60 $url/events)
        read -r -u 3 first; read -r -u 3 number; read -r -u 3 blank
        report 2 '{early}'
        read -r -u 3 second
        echo "$first|$number|$blank|$second"
        kill $!
        "#
    );
    let out = String::from_utf8(story(&script).stdout).expect("text");
    assert!(out.starts_with("event: change|data: "), "{out}");
    assert!(out.ends_with("||event: change\n"), "{out}");
}

#[test]
fn a_manager_says_itself_at_which_port_it_is() {
    let out = story_at(9067, "\"$ramboot\" nodes");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.starts_with("no machine was seen yet"), "{text}");
}

#[test]
fn without_a_manager_it_says_how_to_start_one() {
    let out = Command::new(env!("CARGO_BIN_EXE_ramboot"))
        .args(["nodes", "--manager", "127.0.0.1:9"])
        .output()
        .expect("runs");
    assert_eq!(out.status.code(), Some(1));
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(
        text.starts_with(
            "ramboot: no manager answers (127.0.0.1:9: connecting: Connection refused"
        ) && text.contains(
            "start one (ramboot serve, systemctl start ramboot), or name it with --manager ADDRESS"
        ),
        "{text}"
    );
}

/// One address names 8 100 machines in URLs, and sixty at once look at all of them: few of those are machines, whoever looks
/// is answered or told to come back, a machine gets its script meanwhile, and memory stays bounded.
#[test]
fn who_makes_machines_up_stops_nobody() {
    let beat = beat(3);
    let script = format!(
        r#"
        beat 3 '{beat}'
        until "$ramboot" nodes --json | grep -q node-3; do :; done
        curl -sf -o /dev/null --interface 10.9.8.4 "$url/ipxe/52-54-00-00-[10-99]-[10-99]"
        for number in $(seq 60); do
            curl -s -o /dev/null -w 'looked %{{http_code}}\n' $url/nodes.json &
            looking="${{looking:-}} $!"
        done
        curl -sf -o /dev/null -w 'script %{{http_code}}\n' --interface 10.9.8.2 $url/ipxe/52-54-00-00-00-02
        curl -sf -o /dev/null -w 'health %{{http_code}}\n' $url/healthz
        wait $looking
        grep VmHWM /proc/$manager/status
        # What was made before may be a second old.
        until "$ramboot" nodes --json | grep -q 52:54:00:00:00:02; do :; done
        curl -s -o /dev/null -w 'bad %{{http_code}}\n' "$url/nodes.json?state=asleep"
        curl -sf "$url/nodes.json?state=up"; echo
        "$ramboot" nodes --json
        "#
    );
    let out = String::from_utf8(story(&script).stdout).expect("text");
    let lines = |start: &str| -> Vec<&str> {
        let lines = out.lines().filter(|line| line.starts_with(start));
        lines.collect()
    };
    assert_eq!(lines("script"), ["script 200"]);
    assert_eq!(lines("health"), ["health 200"]);
    assert_eq!(lines("bad"), ["bad 400"]);
    let looked = lines("looked");
    assert_eq!(looked.len(), 60, "{out}");
    let may = ["looked 200", "looked 503"];
    assert!(looked.iter().all(|line| may.contains(line)), "{looked:?}");
    let [up, all] = lines("{")[..] else {
        panic!("{out}");
    };
    let macs = |json: &str| -> Vec<String> {
        let all: Value = serde_json::from_str(json).expect("JSON");
        assert_eq!(all["manager"]["unlisted"], 0);
        let rows = all["workers"].as_array().expect("rows");
        rows.iter().map(|row| row["mac"].to_string()).collect()
    };
    assert_eq!(macs(up), ["\"52:54:00:00:00:03\""]);
    let known = macs(all);
    assert_eq!(known.len(), 3, "one machine for each address: {known:?}");
    let peak: u64 = lines("VmHWM")[0]
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("KiB");
    assert!(peak < 256 << 10, "{peak} KiB");
}

/// Whoever may post a report chooses the text of its keys, facts and errors.
#[test]
fn a_report_writes_no_line_of_its_own() {
    let forged = json!({
        "mac": Mac([0x52, 0x54, 0, 0, 0, 2]),
        "image": image(),
        "line": {
            "stage": "early",
            "error": "one\u{85}two\u{202e}",
            "facts": [["x\n2026-01-01T00:00:00Z ERROR forged", "a\u{1b}[2J\u{2066}b"]],
            "ms": 250,
        },
    });
    let script = format!("report 2 '{forged}'; report 2 '{{\"\\n\\u001b[2J\":1}}' || :");
    let log = String::from_utf8(story(&script).stderr).expect("text");
    let acts = |c: char| c.is_control() && c != '\n';
    let turns = |c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!log.contains(acts) && !log.contains(turns), "{log:?}");
    let line = log.lines().find(|line| line.contains("stage=early"));
    let line = line.expect("it is logged");
    assert!(line.contains("x_2026-01-01T00:00:00Z_ERROR_for="), "{line}");
    assert!(
        !log.lines().any(|line| line.starts_with("2026-01-01")),
        "{log}"
    );
}

/// A manager that somebody else runs, at an address of this machine: it answers one request.
fn hostile(status: &str, body: &str) -> (String, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let place = listener.local_addr().expect("address").to_string();
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    let serves = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("asked");
        let mut asked = [0; 1024];
        let read = stream.read(&mut asked).expect("a request");
        assert!(asked[..read].starts_with(b"GET /nodes.json"));
        stream.write_all(answer.as_bytes()).expect("answered");
    });
    (place, serves)
}

#[test]
fn a_hostile_manager_does_nothing_to_the_terminal() {
    let evil = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}x";
    let quoted = serde_json::to_string(evil).expect("JSON");
    let row = json!({
        "mac": "52:54:00:00:00:02", "name": evil, "address": null, "model": evil, "serial": evil, "uuid": evil,
        "arch": null, "memory": null, "image": null, "next": null, "would_change": false, "state": "failed",
        "stage": evil, "sentence": evil, "since_s": 1, "up_s": null, "boot_ms": null, "available": null,
        "load_percent": null, "seen_s": 1, "boot": [], "fetch": null, "filling": null,
        "problem": {"sentence": evil, "remedy": evil, "since_s": 1},
    });
    let snapshot = json!({
        "version": 1,
        "manager": {"version": evil, "up_s": 1, "bytes_per_s": 0, "bytes": 0, "refused": 0},
        "images": [],
        "workers": [row],
    });
    let snapshot = snapshot.to_string();
    for (status, body, json, works) in [
        ("200 OK", &*snapshot, false, true),
        ("200 OK", &snapshot, true, true),
        ("200 OK", &format!("{{\"version\":{quoted}}}"), false, false),
        (
            "200 OK",
            &format!("{{\"version\":1,\"manager\":{quoted}}}"),
            false,
            false,
        ),
        ("500 Oops", &evil.repeat(99), false, false),
    ] {
        let (place, serves) = hostile(status, body);
        let mut nodes = Command::new(env!("CARGO_BIN_EXE_ramboot"));
        nodes.args(["nodes", "--manager", &place]);
        let out = nodes.args(json.then_some("--json")).output().expect("runs");
        serves.join().expect("it was asked");
        let text = String::from_utf8([out.stdout.clone(), out.stderr].concat()).expect("text");
        assert_eq!(out.status.success(), works, "{text:?}");
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(acts), "{text:?}");
        if json {
            let all: Value = serde_json::from_slice(&out.stdout).expect("the same JSON");
            assert_eq!(all["workers"][0]["name"], evil);
        }
    }
}
