//! The fleet as a real manager tells it, in a network of its own: reports and heartbeats in; table, JSON, metrics and events
//! out.

use std::process::{Command, Output};

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
