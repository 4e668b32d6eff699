use ramboot_fetch::event::{Event, Next, Progress, Wait, What};
use ramboot_fetch::fault::{Fault, Why};

use super::super::trouble::Sentence;
use super::*;
use crate::clock;
use proptest::prelude::*;

fn line(stage: Stage, ms: u64, facts: &[(&str, &str)]) -> StageLine {
    StageLine {
        stage,
        error: None,
        facts: facts
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        ms,
    }
}

fn at(start: Instant, second: u64) -> Instant {
    start + Duration::from_secs(second)
}

/// In the middle of a fetch, 14 s after the start.
fn fetching(start: Instant) -> View {
    let mut view = View::new(start);
    view.host = "node-1".to_owned();
    view.image = Some(("ba161eadbe64".to_owned(), 139_000_000));
    view.end(&line(Stage::Early, 19, &[("kernel", "6.1.0-56-amd64")]));
    view.end(&line(Stage::Modules, 589, &[("loaded", "11")]));
    let mac = "52:54:00:12:34:56";
    view.end(&line(Stage::Net, 114, &[("link", "eth0"), ("mac", mac)]));
    let facts = [
        ("addr", "10.9.0.58"),
        ("link", "eth0"),
        ("server", "10.9.0.1"),
    ];
    view.end(&line(Stage::Dhcp, 61_152, &facts));
    view.end(&line(Stage::Files, 41, &[("entries", "7")]));
    view.end(&line(Stage::Chunks, 133, &[("chunks", "531")]));
    view.begin(Stage::Fetch, at(start, 2));
    let wait = |done, since, next| {
        Event::Wait(Wait {
            what: What::Source("http://10.9.0.1:8067".to_owned()),
            since: Duration::from_secs(since),
            why: Some(Why {
                fault: Fault::Refused,
                text: String::new(),
            }),
            next: Next::TryIn(Duration::from_secs(next)),
            here: Some((done, 139_000_000)),
        })
    };
    view.take(&wait(12_000_000, 0, 1), at(start, 4));
    view.take(&wait(62_000_000, 0, 1), at(start, 6));
    view.take(&wait(62_000_000, 6, 5), at(start, 12));
    view
}

/// What a terminal shows that knows what is used here; rows without trailing blanks.
fn shown(frame: &str) -> Vec<String> {
    let mut out = String::new();
    let mut rest = frame;
    while let Some((before, after)) = rest.split_once('\x1b') {
        out.push_str(before);
        let end = after
            .find(|c: char| c.is_ascii_alphabetic())
            .expect("an end");
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    out.lines().map(|row| row.trim_end().to_owned()).collect()
}

#[test]
fn the_picture() {
    let start = clock::now();
    let picture = shown(&frame(&fetching(start), at(start, 14), Size::VGA));
    let want = [
        " ramboot  node-1                                    image ba161eadbe64, 139 MB",
        "",
        "   [ ok ] early          0.0 s   Linux 6.1.0-56-amd64",
        "   [ ok ] modules        0.6 s   11 drivers",
        "   [ ok ] net            0.1 s   eth0, 52:54:00:12:34:56",
        "   [ ok ] dhcp      1 min 01 s   10.9.0.58 on eth0, from 10.9.0.1",
        "   [ ok ] files          0.0 s   7 files",
        "   [ ok ] chunks         0.1 s   531 chunks",
        "   [ .. ] fetch         12.0 s   fetching the image into RAM",
        "   [    ] mount",
        "   [    ] handover",
        "",
        "   [##########################----------------------------------]  44 %",
        "   62 of 139 MB, nothing comes",
        "",
        "   The manager at 10.9.0.1:8067 does not answer (connection refused) for",
        "   8 s. Next try in 3 s.",
        "   Is `ramboot serve` running there?",
        "",
        "   14 s since start",
    ];
    assert_eq!(picture, want, "{picture:#?}");
}

#[test]
fn a_place_in_a_queue() {
    let start = clock::now();
    let mut view = fetching(start);
    let turn = Event::Wait(Wait {
        what: What::Turn {
            base: "http://10.9.0.1:8067".to_owned(),
            place: "17/120".parse().ok(),
        },
        since: Duration::from_secs(6),
        why: None,
        next: Next::TryIn(Duration::from_secs(2)),
        here: Some((0, 139_000_000)),
    });
    view.take(&turn, at(start, 14));
    let picture = shown(&frame(&view, at(start, 14), Size::VGA));
    let want = [
        "   0 of 139 MB, nothing comes",
        "",
        "   Waiting for our turn: 17th of 120 at 10.9.0.1:8067 for 6 s. Next try in",
        "   2 s.",
        "   Nothing is wrong: the manager serves some machines at a time.",
    ];
    assert_eq!(picture[13..18], want, "{picture:#?}");
}

#[test]
fn a_transfer_that_moves() {
    let start = clock::now();
    let mut view = fetching(start);
    view.take(
        &Event::Progress(Progress {
            done: 92_000_000,
            total: 139_000_000,
            per_second: 0.0,
            trouble: None,
        }),
        at(start, 14),
    );
    let rows = shown(&frame(&view, at(start, 14), Size::VGA));
    let want = [
        "   92 of 139 MB, 8.0 MB/s, 5 s left",
        "",
        "   14 s since start",
    ];
    assert_eq!(rows[13..], want, "{rows:#?}");
}

#[test]
fn clocks_go_on_by_themselves() {
    let start = clock::now();
    let mut view = fetching(start);
    view.deadline = Some(at(start, 600));
    let rows = shown(&frame(&view, at(start, 197), Size::VGA)).join("\n");
    for part in [
        "(connection refused) for\n   3 min 11 s. Trying again.",
        "3 min 17 s since start; reboots in 6 min 43 s",
    ] {
        assert!(rows.contains(part), "no {part:?} in\n{rows}");
    }
}

#[test]
fn a_small_terminal_loses_what_matters_least() {
    let start = clock::now();
    let small = Size {
        columns: 40,
        rows: 11,
    };
    let picture = shown(&frame(&fetching(start), at(start, 14), small));
    let want = [
        " ramboot  node-1  image ba161eadbe64, 1",
        "   [ ok ] chunks         0.1 s   531 ch",
        "   [ .. ] fetch         12.0 s   fetchi",
        "   [##########-------------]  44 %",
        "   62 of 139 MB, nothing comes",
        "   The manager at 10.9.0.1:8067 does",
        "   not answer (connection refused)",
        "   for 8 s. Next try in 3 s.",
        "   Is `ramboot serve` running there?",
        "   14 s since start",
    ];
    assert_eq!(picture, want, "{picture:#?}");
}

#[test]
fn what_stays_for_the_image() {
    let start = clock::now();
    let text = farewell(&fetching(start), "/sbin/init", at(start, 14), Size::VGA);
    assert!(text.starts_with("\x1b[0m\x1b[H\x1b[J"), "cleared: {text:?}");
    assert!(text.ends_with("\r\n\x1b[?25h"), "with a cursor: {text:?}");
    assert_eq!(
        shown(&text).join(" "),
        "ramboot: image ba161eadbe64, 139 MB, is in the RAM of node-1 after 14.0 s (early 0.0 s, modules 0.6 s, net 0.1 s, \
         dhcp 1 min 01 s, files 0.0 s, chunks 0.1 s). The manager is not needed any more; /sbin/init starts."
    );
}

#[test]
fn a_boot_that_stopped() {
    let start = clock::now();
    let mut view = fetching(start);
    view.end(&StageLine {
        error: Some("no room".to_owned()),
        ..line(Stage::Fetch, 2, &[])
    });
    let sentence = Sentence {
        fact: "This image needs 269 MiB, 100 MiB are free".to_owned(),
        remedy: "Add RAM or publish a smaller image.".to_owned(),
    };
    view.stop(sentence, at(start, 14));
    let rows = shown(&frame(&view, at(start, 900), Size::VGA)).join("\n");
    for part in [
        "   [FAIL] fetch          0.0 s\n",
        "   This image needs 269 MiB, 100 MiB are free. This machine waits for\n   somebody.\n   Add RAM or publish a smaller image.\n",
    ] {
        assert!(rows.contains(part), "no {part:?} in\n{rows}");
    }
}

proptest! {
    /// Whatever a server, a cable or a command line says: it fits, it scrolls nothing, it sends no control sequence.
    #[test]
    fn every_frame_fits(
        words in proptest::collection::vec("\\PC{0,90}|[\u{0}-\u{1f}]{0,9}", 6),
        numbers in proptest::array::uniform4(any::<u64>()),
        columns: u16,
        rows in 0_u16..80,
        second in 0_u64..1_000_000,
    ) {
        let start = clock::now();
        let mut view = fetching(start);
        view.host = words[0].clone();
        view.image = Some((words[1].clone(), numbers[0]));
        view.end(&line(Stage::Fetch, numbers[1], &[("mbps", &words[2])]));
        view.transfer.here = Some((numbers[2], numbers[3]));
        let sentence = Sentence { fact: words[3].clone(), remedy: words[4].clone() };
        view.stop(sentence, start);
        let (size, now) = (Size { columns, rows }, at(start, second));
        for drawn in [frame(&view, now, size), farewell(&view, &words[5], now, size)] {
            let (columns, rows) = usable(size);
            let shown = shown(&drawn);
            prop_assert!(drawn.starts_with("\x1b[0m\x1b[H") || shown.len() <= rows, "{:?}", size);
            for row in &shown {
                prop_assert!(row.len() <= columns && row.bytes().all(|b| matches!(b, b' '..=b'~')), "{row:?}");
            }
            prop_assert!(drawn.chars().all(|c| matches!(c, ' '..='~' | '\x1b' | '\r' | '\n')));
            prop_assert_eq!(drawn.matches("\r\n").count(), drawn.matches('\n').count());
        }
    }
}
