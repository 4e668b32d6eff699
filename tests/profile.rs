//! What boots of an image read, from the worker that says it to the next image: a real manager in a network of its own.

#[allow(dead_code, reason = "others need the rest")]
mod small_image;

use std::fs;
use std::path::Path;
use std::process::Command;

use ramboot_wire::{Heartbeat, ImageId, Mac};
use serde_json::Value;

/// The manager has 10.9.8.1, the worker 10.9.8.2.
const STORY: &str = r#"
    mount -t tmpfs none /run
    ip link set lo up
    ip link add lan0 type bridge
    for last in 1 2; do ip address add 10.9.8.$last/24 dev lan0; done
    ip link set lan0 up
    export RAMBOOT_STATE=$2 RAMBOOT_LOG=info
    cd "$3"
    ramboot=$1 url=http://10.9.8.1:8067
    said() { echo "=== $1"; shift; "$@" 2>&1 || echo "exit $?"; }
    "$ramboot" publish old.sqfs --name worker --json >published.json
    image=$(grep -o '"image":"[0-9a-f]*"' published.json | cut -d '"' -f 4)
    said unknown "$ramboot" profile worker
    said nobody "$ramboot" profile nobody
    said nothing "$ramboot" publish new.sqfs --name worker --profile worker
    setpriv --pdeathsig KILL "$ramboot" serve --interface lan0 --dhcp off 2>log &
    manager=$!
    trap 'kill $manager; wait $manager || :' EXIT
    curl -sf -o /dev/null --retry 60 --retry-connrefused --retry-max-time 60 $url/healthz
    ip route replace local 10.9.8.1 dev lan0 table local src 10.9.8.2
    printf %s "$4" | sed "s/IMAGE/$image/" >/dev/udp/10.9.8.1/8067
    until "$ramboot" nodes --json | grep -q 02:02:02:02:02:02; do :; done
    printf %s "$5" | sed "s/IMAGE/$image/" >recording
    said early curl -s --interface 10.9.8.2 -w '%{http_code}\n' --data-binary @recording $url/images/$image/profile
    # Every boot fetches the image's end.
    curl -sf --interface 10.9.8.2 -r -1 -o end $url/images/$image/image.sqfs
    said taken curl -s --interface 10.9.8.2 -w '%{http_code}\n' --data-binary @recording $url/images/$image/profile
    curl -sf -o served $url/images/$image/profile
    said shown "$ramboot" profile worker --svg worker.svg
    said json "$ramboot" profile "${image:0:12}" --json
    said images "$ramboot" images
    said listed "$ramboot" images --json
    said publish "$ramboot" publish new.sqfs --name worker --profile worker
    said again "$ramboot" publish new.sqfs --name worker --profile worker
    said carried "$ramboot" profile worker --json
    echo garbage >"$2/profiles/$image.json"
    said damaged "$ramboot" images worker
    "$ramboot" unpublish worker >/dev/null
    kill $manager; wait $manager || :
    trap - EXIT
    "$ramboot" gc >/dev/null
    said left ls "$2/profiles"
"#;

/// Bytes that nothing makes smaller.
fn noise(seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; 2 << 20];
    blake3::Hasher::new()
        .update(&[seed])
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

fn images(folder: &Path) {
    let mut files = small_image::debian_like();
    files.push(("/usr/bin/read".to_owned(), noise(1)));
    files.push(("/usr/bin/unread".to_owned(), noise(2)));
    fs::write(folder.join("old.sqfs"), small_image::squashfs(&files)).expect("written");
    files.insert(0, ("/a/new".to_owned(), noise(3)));
    fs::write(folder.join("new.sqfs"), small_image::squashfs(&files)).expect("written");
}

fn beat() -> String {
    let beat = Heartbeat {
        mac: Mac([2; 6]),
        image: ImageId([7; 32]),
        hostname: None,
        boot_ms: 8_100,
        up_s: 9,
        memory: 8 << 30,
        available: 7 << 30,
        load_percent: 42,
        filling: None,
    };
    let text = String::from_utf8(beat.encode()).expect("text");
    text.replace(&ImageId([7; 32]).to_string(), "IMAGE")
}

/// What stands under a heading.
fn under<'a>(out: &'a str, what: &str) -> &'a str {
    let (_, rest) = out.split_once(&format!("=== {what}\n")).expect(what);
    rest.split_once("=== ").map_or(rest, |(own, _)| own)
}

#[test]
fn a_recording_is_kept_shown_and_carried_over() {
    let folder = tempfile::tempdir().expect("a folder");
    images(folder.path());
    // All of the first file, and what is before it.
    let touched: Vec<String> = (0..9).map(|i| format!("[{i},{i}]")).collect();
    let recording = format!(
        r#"{{"mac":"02:02:02:02:02:02","image":"IMAGE","online_ms":1200,"ready_ms":5400,"touched":[{},[16,3000]]}}"#,
        touched.join(",")
    );
    let out = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--net",
            "--mount",
            "bash",
            "-euc",
        ])
        .args([STORY, "bash", env!("CARGO_BIN_EXE_ramboot")])
        .arg(folder.path().join("state"))
        .arg(folder.path())
        .args([beat(), recording])
        .output()
        .expect("unshare");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, errors) = (text(&out.stdout), text(&out.stderr));
    let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    let shown = format!("{out}\n{errors}\n{log}");
    assert!(out.contains("=== left"), "{shown}");

    for (what, sentence) in [
        ("unknown", "boot one worker of it with mode = \"stream\""),
        ("nobody", "nothing is published as nobody in "),
        ("nobody", "only: worker"),
        ("nothing", "nothing is known yet of how worker"),
        ("early", "403"),
        ("early", "has not fetched the end of this image"),
        ("taken", "204"),
        ("shown", "hot       2.4 MB, "),
        ("shown", "9 chunks: read before the network was up"),
        ("shown", "02:02:02:02:02:02"),
        ("shown", "1.2 s  5.4 s"),
        ("images", " HOT "),
        ("damaged", "a profile is not shown: "),
        ("damaged", ".json is damaged: remove it"),
        ("damaged", "*  worker    3  "),
        ("publish", "  profile    "),
        ("publish", "MB unpacked) are the same here, 0 are not; "),
    ] {
        assert!(under(&out, what).contains(sentence), "{sentence}: {shown}");
    }
    let again = under(&out, "again");
    assert!(
        again.contains("generation 3") && !again.contains("  profile "),
        "{shown}"
    );
    assert!(
        !under(&out, "nothing").contains("published worker"),
        "{shown}"
    );
    let served = fs::read(folder.path().join("served")).expect("served");
    assert_eq!(
        served.iter().filter(|want| **want > 0x80).count(),
        9,
        "{shown}"
    );
    let svg = fs::read_to_string(folder.path().join("worker.svg")).expect("drawn");
    assert!(svg.contains("<title>worker (image "), "{svg}");
    let json = |what: &str| -> Value { serde_json::from_str(under(&out, what)).expect(&shown) };
    let (before, after) = (json("json"), json("carried"));
    assert_eq!(before["warm"]["chunks"], 1);
    let listed = &json("listed")["names"][0]["generations"][0];
    assert_eq!(listed["hot"], before["hot"], "{listed}");
    assert_eq!(before["recordings"][0]["ready_ms"], 5400);
    assert_eq!(after["recordings"].as_array().map(Vec::len), Some(0));
    assert_eq!(after["carried"]["from"], before["image"]);
    let hot = after["hot"]["bytes"].as_u64().expect("a number");
    assert!((2_000_000..3_700_000).contains(&hot), "{hot}: {shown}");
    assert_eq!(under(&out, "left").trim(), "", "{shown}");
    assert!(
        log.contains("what the worker read while it booted is kept"),
        "{shown}"
    );
}
