use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tracing::info;

use super::*;

/// What was written.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8(bytes.clone()).expect("text");
        text.lines()
            .map(|line| line.trim_start().to_owned())
            .collect()
    }
}

impl io::Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged by `work`, at one moment.
fn logged(work: impl FnOnce(), ration: &Arc<Ration>) -> Vec<String> {
    let memory = Memory::default();
    let writer = memory.clone();
    let subscriber = lines(
        tracing_subscriber::fmt::format().without_time(),
        (move || writer.clone(), false),
        EnvFilter::new("info"),
        Arc::clone(ration),
    );
    tracing::subscriber::with_default(subscriber, work);
    memory.lines()
}

#[test]
fn an_event_is_one_line_whatever_is_in_it() {
    let ration = Ration::new(|| Duration::ZERO);
    let name = "a\n\x1b[2J\u{202e}b\u{9b}\u{2028}c";
    let found = logged(
        || {
            info!(client = %name, name, debug = ?name, source = %name, number = 7, "{name} came");
            warn!(error = %anyhow::anyhow!("one\ntwo").context("three\n"), "failed");
            error!("{}", "x".repeat(10_000));
        },
        &ration,
    );
    let clean = "a  [2J\u{fffd}b \u{fffd}c";
    let quoted = r#""a\n\u{1b}[2J\u{202e}b\u{9b}\u{2028}c""#;
    let want = [
        format!("INFO {clean} came client={clean} name={quoted} debug={quoted} number=7"),
        "WARN failed error=three ".to_owned(),
    ];
    assert_eq!(found[..2], want);
    assert_eq!(found.len(), 3);
    assert!(found[2].chars().count() < 4_200 && found[2].ends_with('…'));
}

#[test]
fn who_causes_many_lines_leaves_others_room() {
    static SECONDS: Mutex<u64> = Mutex::new(0);
    let now = || Duration::from_secs(*SECONDS.lock().expect("whole"));
    let ration = Ration::new(now);
    let flood = |port: u16, address: &str| info!(client = %format!("{address}:{port}"), "asks");
    let found = logged(
        || {
            for port in 1..=1_000 {
                flood(port, "10.0.0.66");
                info!(source = "02:00:00:00:00:07", "a packet");
            }
            flood(1, "10.0.0.1");
            for _ in 0..1_000 {
                info!("of our own");
                tracing::debug!(client = "10.0.0.66", "what nobody asked for");
            }
        },
        &ration,
    );
    let count = |what: &str| found.iter().filter(|line| line.contains(what)).count();
    assert_eq!(count("asks client=10.0.0.66:"), 64);
    assert_eq!(count("asks client=10.0.0.1:"), 1);
    assert_eq!(count("a packet"), 64);
    assert!(!found.iter().any(|line| line.contains("source")));
    assert_eq!(count("of our own"), 1_000);
    *SECONDS.lock().expect("whole") = 10;
    let mut due = ration.due();
    due.sort_by_key(|out| out.source.clone());
    let told: Vec<_> = due
        .iter()
        .map(|out| (out.source.as_deref(), out.lines, &*out.text))
        .collect();
    let want = [
        (Some("02:00:00:00:00:07"), 936, "a packet"),
        (Some("10.0.0.66"), 936, "asks client=10.0.0.66:65"),
    ];
    assert_eq!(told, want);
}

/// Folders of what others talk to.
const OUTSIDE: [&str; 8] = [
    "boot",
    "dhcp",
    "fleet",
    "http",
    "pi",
    "serve/tftp_files.rs",
    "tftp",
    "http.rs",
];
/// Fields that say whose line it is ([`line`]).
const WHOSE: [&str; 8] = [
    "source =", "%peer", "peer =", "%client", "client =", "%worker", "worker =", "%from",
];
/// Lines that nobody outside can cause as often as they like.
const OWN: [&str; 11] = [
    // What the kernel says of our own sockets, and a pause after it.
    "receiving on {}",
    "receiving heartbeats",
    "TFTP: receiving",
    "HTTP: accepting a connection failed",
    "asking for {address}",
    // A task of ours that panicked.
    "TFTP: {error}",
    // Once for each server, and few of them.
    "another DHCP server",
    // At the start.
    "BIOS machines without iPXE in their ROM cannot boot: reading",
    "left out: reading",
    "addresses on {} are offered without asking",
    "addresses behind relays are offered without asking",
];

/// Whatever is logged because of a packet or a request says whose it is, or has no bound.
#[test]
fn every_line_that_others_cause_has_a_source() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files: Vec<_> = OUTSIDE.map(|name| src.join(name)).to_vec();
    let (mut seen, mut without) = (0, Vec::new());
    while let Some(path) = files.pop() {
        if path.is_dir() {
            let found = fs::read_dir(&path).expect("a folder");
            files.extend(found.map(|entry| entry.expect("an entry").path()));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        let text = text
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or_default();
        for macro_name in ["info!(", "warn!(", "error!("] {
            for (at, _) in text.match_indices(macro_name) {
                let call = &text[at..];
                let call = &call[..call
                    .find(");")
                    .or_else(|| call.find("),"))
                    .unwrap_or(call.len())];
                seen += 1;
                let has = |words: &[&str]| words.iter().any(|word| call.contains(word));
                if !has(&WHOSE) && !has(&OWN) {
                    without.push(format!("{}: {call}", path.display()));
                }
            }
        }
    }
    assert!(seen > 20, "{seen} were found");
    assert!(without.is_empty(), "{without:#?}");
}

/// What a command prints goes through one module, which leaves nothing in it that acts on a terminal.
#[test]
fn nothing_is_printed_beside_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![src.clone()];
    let mut found = Vec::new();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder");
            files.extend(entries.map(|entry| entry.expect("an entry").path()));
            continue;
        }
        let name = path.strip_prefix(&src).expect("below it").to_owned();
        if name.ends_with("tests.rs") {
            continue;
        }
        if ["host/terminal.rs", "host/log.rs"]
            .map(Path::new)
            .contains(&&*name)
        {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        let ways = ["println!(", "print!(", "dbg!(", "stdout().", "stderr()."];
        for line in text.lines().filter(|line| !line.contains("is_terminal()")) {
            if ways.iter().any(|way| line.contains(way)) {
                found.push(format!("{}: {line}", name.display()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
