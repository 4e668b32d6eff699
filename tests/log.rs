//! What stands in the log, of a process of its own: this test, started once more.
#![allow(
    clippy::disallowed_methods,
    reason = "tests start programs and read the environment"
)]

use std::process::Command;
use std::{env, thread};

const PANICS: &str = "RAMBOOT_TEST_PANICS";

#[test]
fn a_panic_is_one_line_of_level_error() {
    if env::var_os(PANICS).is_some() {
        ramboot::host::log::to_stderr(&"warn".parse().expect("a filter"));
        let panics = thread::spawn(|| panic!("first\nsecond"));
        panics.join().expect_err("it panics");
        return;
    }
    let out = Command::new(env::current_exe().expect("this"))
        .args([
            "--exact",
            "a_panic_is_one_line_of_level_error",
            "--nocapture",
        ])
        .env(PANICS, "1")
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in [
        " ERROR ",
        "a fault of ramboot itself, please report it: panicked at tests/log.rs:",
        " first second",
    ] {
        assert!(said.contains(part), "{part:?}: {said}");
    }
}
